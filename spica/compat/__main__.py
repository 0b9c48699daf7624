"""``python -m spica.compat``: run a program with the switch on, or look at the switch.

    python -m spica.compat MODULE [ARGUMENT ...]      like python -m MODULE
    python -m spica.compat FILE.py [ARGUMENT ...]     like python FILE.py
    python -m spica.compat doctor                     say what is switched, and whether all is well

Processes that the program starts (workers, reloaders) are switched too, by SPICA_COMPAT=1 in their
environment.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from spica.compat.startup import VARIABLE, find_startup_file
from spica.compat.switch import install


def main(arguments: Sequence[str]) -> int | str | None:
    """Do what the command line says; return the exit status, or a message that means 1."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    if arguments[0] == "doctor":
        from spica.compat.doctor import examine

        return examine()
    return run(arguments)


def run(arguments: Sequence[str]) -> str | None:
    """Run a module or a file as a program, with Starlette's name meaning spica."""
    program = arguments[0]
    if program.endswith(".py") and not os.path.isfile(program):
        return f"spica.compat: there is no file {program!r} in {os.getcwd()}."
    install()
    os.environ[VARIABLE] = "1"
    if find_startup_file() is None:
        print(
            "spica.compat: spica is not installed by pip, so its start-up file is missing: processes "
            "that this program starts will use Starlette itself.",
            file=sys.stderr,
        )
    sys.argv[:] = arguments
    if program.endswith(".py"):
        sys.path[0] = os.path.dirname(os.path.abspath(program))
        runpy.run_path(program, run_name="__main__")
    elif _is_module(program):
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        return (
            f"spica.compat: there is no module {program!r}, and it is no file that ends with .py."
        )
    return None


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # a parent that is missing, or no name at all
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
