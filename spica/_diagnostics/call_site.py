"""Where in the user's code something was written, so that errors and warnings can point there."""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from typing import Any, NamedTuple

from spica._muting import is_configuration_muted
from spica.exceptions import SpicaConfigurationWarning

_PACKAGE = __name__.partition(".")[0]
_REGISTRY: dict[Any, Any] = {}  # of what was warned of: once for each text and place


class Place(NamedTuple):
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


UNKNOWN = Place("<unknown>", 1)


def user_line() -> Place:
    """Return the nearest line on the stack that is not of this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            return Place(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return UNKNOWN


def package_name() -> str:
    """Return the name by which programs know this package: "starlette" while the switch is on."""
    switched = sys.modules.get("starlette.exceptions")
    return "starlette" if switched is sys.modules["spica.exceptions"] else _PACKAGE


def warn_importer(text: str, category: type[Warning]) -> None:
    """Warn of a module at the line that imports it, from the body of the module.

    ``warnings.warn`` passes over some frames of the import system only, and none of the switch's.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        bound = frame.f_globals
        name = bound.get("__name__", "")
        if name.partition(".")[0] not in (_PACKAGE, "importlib"):
            registry = bound.setdefault("__warningregistry__", {})
            file, line = frame.f_code.co_filename, frame.f_lineno
            warnings.warn_explicit(text, category, file, line, name, registry)
            return
        frame = frame.f_back
    warn_at(None, text, category)


def warn_at(place: Place | None, text: str, category: type[Warning]) -> None:
    """Warn of a line; by default Python shows the same warning once."""
    if category is SpicaConfigurationWarning and is_configuration_muted(text):
        return
    place = place or UNKNOWN
    warnings.warn_explicit(
        text,
        category,
        filename=place.file,
        lineno=place.line,
        module=_PACKAGE,  # by which a filter finds it
        registry=_REGISTRY,
    )
