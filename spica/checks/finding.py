"""One thing that was found, and how much it weighs."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from spica._diagnostics.call_site import Place


class Severity(enum.IntEnum):
    """How much a finding weighs."""

    ERROR = 0
    """It can't work, or can't be meant."""
    WARNING = 1
    """It works, and is probably not what was meant."""
    INFO = 2
    """It is good to know before it goes into production."""

    @property
    def word(self) -> str:
        """The word for it in reports."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found.

    ``code`` is a stable name of its kind, ``message`` says what is wrong and what to do, ``place`` is
    "file:line" of the line that is to be looked at, or "" where that is not known.
    """

    severity: Severity
    code: str
    message: str
    place: str = ""

    @property
    def file_and_line(self) -> tuple[str | None, int | None]:
        """The place in its two parts."""
        file, _, line = self.place.rpartition(":")
        return (file, int(line)) if file and line.isdigit() else (None, None)


def error(code: str, message: str, place: Place | str | None = "") -> Finding:
    """Return a finding that is an error."""
    return Finding(Severity.ERROR, code, message, str(place or ""))


def warning(code: str, message: str, place: Place | str | None = "") -> Finding:
    """Return a finding that is a warning."""
    return Finding(Severity.WARNING, code, message, str(place or ""))


def info(code: str, message: str, place: Place | str | None = "") -> Finding:
    """Return a finding that is good to know."""
    return Finding(Severity.INFO, code, message, str(place or ""))
