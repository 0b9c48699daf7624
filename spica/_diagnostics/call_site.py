"""Point errors and warnings at the user's code: the line of a call, the file and line of a function.

This module imports nothing of the package but the muting switch, so every module can use it.
"""

from __future__ import annotations

import functools
import sys
import warnings
from types import FrameType
from typing import Any, NamedTuple

_PACKAGE = __name__.partition(".")[0]
# pytest may import the package through a loader of its own.
_PASSED_OVER = {_PACKAGE, "_pytest", "importlib", "contextlib", "collections", "_collections_abc"}
_PASSED_OVER |= {"httpx", "httpx2"}
"""Packages whose frames are never the user's line. They call us on behalf of the user."""

_REGISTRY: dict[Any, Any] = {}
"""The warnings that were shown, by text and line. Python reads it to show each one once."""


class Place(NamedTuple):
    """A line of a file. As a string it reads ``file:line``, which editors and terminals can open."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


UNKNOWN = Place("<unknown>", 1)


# -- the line of a call --------------------------------------------------------------------------------


def user_line() -> Place:
    """Return the innermost line on the stack that belongs to the user, not to this package."""
    frame = _user_frame()
    return UNKNOWN if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)


def _user_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _PASSED_OVER:
            return frame
        frame = frame.f_back
    return None


def warn_at(
    place: Place | None, text: str, category: type[Warning], module: str = _PACKAGE
) -> None:
    """Show a warning at a line. By default, Python shows the same warning once per line.

    The warning carries the module name ``spica``, so that one filter matches all of them, or ``module``
    where programs filter Starlette's warning by its module. For a
    SpicaConfigurationWarning call `spica.exceptions.warn_configuration`, which the switch can mute.
    """
    file, line = place or UNKNOWN
    warnings.warn_explicit(
        text, category, filename=file, lineno=line, module=module, registry=_REGISTRY
    )


def warn_importer(text: str, category: type[Warning]) -> None:
    """Show a warning at the line that imports the module whose body calls this function.

    ``warnings.warn`` skips only some frames of the import system, and none of the switch's.
    """
    frame = _user_frame()
    if frame is None:
        warn_at(None, text, category)
        return
    bound = frame.f_globals
    registry = bound.setdefault("__warningregistry__", {})
    file, line = frame.f_code.co_filename, frame.f_lineno
    warnings.warn_explicit(text, category, file, line, bound.get("__name__", ""), registry)


def package_name() -> str:
    """Return the name under which programs import this package: "starlette" while the switch is on."""
    switched = sys.modules.get("starlette.exceptions")
    return "starlette" if switched is sys.modules["spica.exceptions"] else _PACKAGE


# -- functions and classes -----------------------------------------------------------------------------


def unwrap_partial(function: Any) -> Any:
    """Return the function inside any number of ``functools.partial`` objects."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def name_of(function: Any) -> str:
    """Return the qualified name of a function or class; for any other object, that of its class."""
    function = unwrap_partial(function)
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def location_of(function: Any) -> Place | None:
    """Return the line that defines a function or class, or the class of any other object.

    Partial objects and decorators that set ``__wrapped__`` are looked through. The result is None where
    Python knows no source: compiled code, or code that was typed into an interpreter.
    """
    import inspect  # for messages alone

    function = unwrap_partial(function)
    if not isinstance(function, type):
        function = inspect.unwrap(function)
        code = getattr(function, "__code__", None)
        if code is not None:
            return Place(code.co_filename, code.co_firstlineno)
        function = type(function)
    try:
        _, line = inspect.findsource(function)
        return Place(inspect.getsourcefile(function) or "", line + 1)
    except (OSError, TypeError):
        return None


def describe(function: Any) -> str:
    """Return the name of a function or class for a message, with its file and line if known."""
    place = location_of(function)
    return f"{name_of(function)} ({place})" if place else name_of(function)
