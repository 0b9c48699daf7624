"""``python -m spica.compat enable`` and ``disable``: write and remove the start-up file.

The file goes into the site-packages of the environment whose Python runs, and into no other.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path

from spica.compat.startup import (
    STARTUP_FILE,
    STARTUP_LINE,
    VARIABLE,
    find_startup_file,
    is_obeyed,
)

_OTHER_WAY = "`python -m spica.compat MODULE ...` needs no start-up file."


def enable() -> str | None:
    """Let SPICA_COMPAT=1 turn the switch on in this environment; return an error message, or None."""
    path = _path()
    if path.is_file() and is_current(path):
        print(f"Already enabled: {path}")
        return None
    if not _is_site_directory(path.parent):
        return (
            f"spica.compat: Python reads no start-up files in {path.parent}, so nothing was written. Use a "
            f"virtual environment. {_OTHER_WAY}"
        )
    try:
        _write(path)
    except OSError as error:
        return _explain(f"write {path}", error)
    if not is_obeyed():
        path.unlink()
        return (
            f"spica.compat: a new interpreter of this environment does not find spica, so {path} was "
            "removed again. Install spica with pip: a directory on PYTHONPATH is not enough."
        )
    print(f"Enabled: {path}\nPrograms of {sys.prefix} run on spica where {VARIABLE}=1 is set.")
    return None


def disable() -> str | None:
    """Undo `enable`; return an error message, or None."""
    path = _path()
    try:
        path.unlink()
    except FileNotFoundError:
        print(f"Not enabled: there is no {path}")
    except OSError as error:
        return _explain(f"remove {path}", error)
    else:
        print(f"Disabled: removed {path}")
    other = find_startup_file()
    if other is not None:
        return f"spica.compat: still enabled by {other}, which is outside of this environment."
    return None


def _path() -> Path:
    return Path(sysconfig.get_path("purelib"), STARTUP_FILE)


def is_current(path: Path) -> bool:
    """Return whether the start-up file has the line that this version of spica writes."""
    return path.read_text("utf-8", "replace").strip() == STARTUP_LINE


def _is_site_directory(directory: Path) -> bool:
    return any(
        os.path.realpath(each) == os.path.realpath(directory) for each in site.getsitepackages()
    )


def _write(path: Path) -> None:
    """Write the file in one step: another interpreter may start meanwhile."""
    new = path.with_name(f"{STARTUP_FILE}.{os.getpid()}.new")
    try:
        new.write_text(STARTUP_LINE + "\n", "utf-8")
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _explain(task: str, error: OSError) -> str:
    return (
        f"spica.compat: can't {task}: {error.strerror}. Run the command as the user who owns this "
        f"environment, or make a virtual environment of your own. {_OTHER_WAY}"
    )
