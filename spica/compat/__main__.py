"""``python -m spica.compat``: run a program with the switch on, or look after the switch.

    python -m spica.compat MODULE [ARGUMENT ...]      like python -m MODULE
    python -m spica.compat FILE.py [ARGUMENT ...]     like python FILE.py
    python -m spica.compat enable                     let SPICA_COMPAT=1 switch in this environment
    python -m spica.compat disable                    undo that
    python -m spica.compat doctor                     report the state of the switch and its problems

The switch is also on in processes that the program starts: workers and reloaders.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from spica.compat.startup import VARIABLE, find_startup_file
from spica.compat.switch import install

CHILDREN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "children")
"""The directory of the ``sitecustomize`` for processes that the program starts."""


def main(arguments: Sequence[str]) -> int | str | None:
    """Run a command line; return the exit status, or a message for status 1."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    command = arguments[0]
    if command not in ("doctor", "enable", "disable"):
        return run(arguments)
    if len(arguments) > 1:
        print(f"spica.compat: {command} takes no arguments.", file=sys.stderr)
        return 2
    if command == "doctor":
        from spica.compat.doctor import examine

        return examine()
    from spica.compat import enabling

    return enabling.enable() if command == "enable" else enabling.disable()


def run(arguments: Sequence[str]) -> str | None:
    """Run a module or a file as a program, with the switch on."""
    program = arguments[0]
    if program.endswith(".py") and not os.path.isfile(program):
        return f"spica.compat: there is no file {program!r} in {os.getcwd()}."
    install()
    switch_children()
    sys.argv[:] = arguments
    if program.endswith(".py"):
        sys.path[0] = os.path.dirname(os.path.abspath(program))
        runpy.run_path(program, run_name="__main__")
    elif _is_module(program):
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        return (
            f"spica.compat: there is no module {program!r}. The name of a file must end with .py."
        )
    return None


def switch_children() -> None:
    """Turn the switch on in the processes that this one starts."""
    os.environ[VARIABLE] = "1"
    if find_startup_file() is None:
        directories = [CHILDREN, os.environ.get("PYTHONPATH")]
        root = os.path.dirname(os.path.dirname(os.path.dirname(CHILDREN)))
        if root not in sys.path[1:]:
            directories.append(root)  # spica was found in the working directory
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, directories))
    if sys.flags.ignore_environment:
        print(
            "spica.compat: Python was started with -I or -E, which processes that this program starts may "
            "inherit. They ignore the environment then, and use Starlette itself.",
            file=sys.stderr,
        )


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # a parent that is missing, or no name at all
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
