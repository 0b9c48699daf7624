"""One finding of the checks, and its severity."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from spica._diagnostics.call_site import Place


class Severity(enum.IntEnum):
    """The severity of a finding."""

    ERROR = 0
    """The application fails, or a part of it can never work."""
    WARNING = 1
    """The application works, but probably not as you intend."""
    INFO = 2
    """You should know this before you deploy to production."""

    @property
    def word(self) -> str:
        """The name in reports: "error", "warning" or "info"."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake in an application, or a fact to know before production.

    Args:
        severity: How much it matters.
        code: The stable name of this kind of finding, for filters: "unreachable-route".
        message: The mistake and the fix.
        place: The line to look at, as "file:line", or "" if it is unknown.
    """

    severity: Severity
    code: str
    message: str
    place: str = ""

    @property
    def file_and_line(self) -> tuple[str | None, int | None]:
        """The file and the line of ``place``; (None, None) if it is unknown."""
        file, _, line = self.place.rpartition(":")
        return (file, int(line)) if file and line.isdigit() else (None, None)


def error(code: str, message: str, place: Place | str | None = "") -> Finding:
    """Return a finding with the severity ERROR."""
    return Finding(Severity.ERROR, code, message, str(place or ""))


def warning(code: str, message: str, place: Place | str | None = "") -> Finding:
    """Return a finding with the severity WARNING."""
    return Finding(Severity.WARNING, code, message, str(place or ""))


def info(code: str, message: str, place: Place | str | None = "") -> Finding:
    """Return a finding with the severity INFO."""
    return Finding(Severity.INFO, code, message, str(place or ""))
