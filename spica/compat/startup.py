"""The environment switch: a file that Python reads at its start, and that acts on SPICA_COMPAT.

The file, ``spica_compat.pth``, is installed beside the package. Python's ``site`` module executes its one
line in every process of the environment. Without the variable that line does nothing but look for it.
"""

from __future__ import annotations

import site
from pathlib import Path

VARIABLE = "SPICA_COMPAT"
"""The environment variable: "1" turns the switch on; "0", nothing, or its absence leaves it off."""

STARTUP_FILE = "spica_compat.pth"


def find_startup_file() -> Path | None:
    """Return the start-up file in the directories where Python looks for such files, or None."""
    for directory in (*site.getsitepackages(), site.getusersitepackages()):
        path = Path(directory, STARTUP_FILE)
        if path.is_file():
            return path
    return None
