"""Obey the variable SPICA_COMPAT when an interpreter starts.

Python's ``site`` module executes the lines of ``.pth`` files in site-packages that begin with ``import``.
``python -m spica.compat enable`` writes such a file, `STARTUP_FILE`, with the line `STARTUP_LINE`. Without
the variable, the line looks it up and does nothing.

``site`` reports an error of such a line and goes on. The program would then run on Starlette itself, so
`start` ends the interpreter instead.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path

VARIABLE = "SPICA_COMPAT"
"""The environment variable that turns the switch on, in an environment where it is enabled."""

ON = ("1", "true", "yes", "on")
"""The values that turn the switch on; upper case and blanks around them do not matter."""

OFF = ("", "0", "false", "no", "off")
"""The values that leave it off, as the absence of the variable does."""

STARTUP_FILE = "spica_compat.pth"

# The line itself handles the error if spica can't be imported, since no module of spica can. It leaves the
# values of OFF alone, so that they cost no import. Python -I and -E ignore the variables named PYTHON...,
# and this one too.
STARTUP_LINE = (
    "import os, sys; exec("
    f"\"if os.environ.get({VARIABLE!r}, '').strip().lower() not in {OFF!r}"
    " and not sys.flags.ignore_environment:\\n"
    " try: from spica.compat.startup import start\\n"
    " except BaseException as error:\\n"
    f"  print({VARIABLE!r}, 'is set, but spica fails to import, so Python stops here instead of running on"
    f" Starlette itself. Unset the variable, or remove {STARTUP_FILE} from site-packages.',"
    " repr(error), file=sys.stderr, flush=True)\\n"
    "  os._exit(1)\\n"
    ' start()")'
)
"""The content of the start-up file: a single line, since ``site`` executes each line by itself."""


def is_on(value: str) -> bool:
    """Return whether this value of the variable turns the switch on.

    Raises:
        ValueError: the value is neither in `ON` nor in `OFF`.
    """
    word = value.strip().lower()
    if word not in ON and word not in OFF:
        raise ValueError(
            f"{VARIABLE} is {value!r:.80}. Set it to one of {', '.join(ON)} to turn the switch on, or to "
            f"one of {', '.join(filter(None, OFF))} to leave it off."
        )
    return word in ON


def start() -> None:
    """Turn the switch on if the variable says so; end the interpreter if that fails."""
    from spica.compat.switch import CompatError, install

    try:
        if not sys.flags.ignore_environment and is_on(os.environ.get(VARIABLE, "")):
            install()
    except (ValueError, CompatError) as error:
        stop(f"spica.compat: {error}")
    except BaseException:
        import traceback

        stop(
            f"{traceback.format_exc()}spica.compat: the switch can't be turned on. Python stops here instead "
            f"of running on Starlette itself. Unset {VARIABLE} to start without the switch."
        )


def stop(message: str) -> None:
    """Print ``message`` and end the interpreter with status 1.

    ``site`` swallows exceptions, and reports a SystemExit as a fatal error of Python's own.
    """
    print(message, file=sys.stderr, flush=True)
    os._exit(1)


def find_startup_file() -> Path | None:
    """Return the start-up file in the directories where Python looks for such files, or None."""
    for directory in (*site.getsitepackages(), site.getusersitepackages()):
        path = Path(directory, STARTUP_FILE)
        if path.is_file():
            return path
    return None


def is_obeyed() -> bool:
    """Return whether a new interpreter obeys the variable: start one and look."""
    code = "import sys; sys.exit('spica.compat.switch' not in sys.modules)"
    environment = os.environ | {VARIABLE: "1"}
    asked = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    return asked.returncode == 0
