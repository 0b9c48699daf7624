"""Run all checks, and format the findings as text for people and editors or as JSON for programs."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

import spica
from spica.checks.finding import Finding, Severity
from spica.checks.middleware import check_middleware
from spica.checks.routes import check_extras, check_routes
from spica.checks.settings import check_settings
from spica.checks.state import check_state
from spica.checks.walk import RouteEntry, routes_of
from spica.routing import Host, Mount, Route, WebSocketRoute
from spica.routing.lifespan.mounted import mounted_app

CHECKS = (check_routes, check_middleware, check_settings, check_state, check_extras)

_COLOURS = {Severity.ERROR: "31", Severity.WARNING: "33", Severity.INFO: "36"}


def examine(application: Any, more: Iterable[Finding] = ()) -> list[Finding]:
    """Return the findings of all checks, without duplicates: errors first, then warnings, then infos.

    Args:
        application: An application or a router.
        more: Findings of your own to sort into the list.
    """
    found = [*more]
    for check in CHECKS:
        found += check(application)
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda finding: (finding.severity, *_location(finding), finding.code))


def _location(finding: Finding) -> tuple[str, int]:
    file, line = finding.file_and_line
    return file or "", line or 0


def has_colours(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether ``stream`` is a terminal and NO_COLOR (no-color.org) is not set."""
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def format_text(findings: Sequence[Finding], target: str, *, colours: bool = False) -> str:
    """Return a line for each finding, in the format of compilers, and a summary."""
    lines = [_format_finding(finding, target, colours) for finding in findings]
    counts = count(findings)
    words = [
        f"{counts[severity.word]} {_plural(severity.word, counts[severity.word])}"
        for severity in Severity
    ]
    lines.append(f"{target}: {', '.join(words)}.")
    return "\n".join(lines)


def format_json(findings: Sequence[Finding], target: str) -> str:
    """Return the findings and the summary as one JSON object."""
    document: dict[str, Any] = {
        "spica": spica.__version__,
        "target": target,
        "summary": count(findings),
        "findings": [],
    }
    for finding in findings:
        file, line = finding.file_and_line
        document["findings"].append(
            {
                "severity": finding.severity.word,
                "code": finding.code,
                "message": finding.message,
                "file": file,
                "line": line,
            }
        )
    return json.dumps(document, indent=2)


def count(findings: Sequence[Finding]) -> dict[str, int]:
    """Return the number of findings for each severity."""
    counter = Counter(finding.severity for finding in findings)
    return {severity.word: counter[severity] for severity in Severity}


def _plural(word: str, number: int) -> str:
    return word if number == 1 else "infos" if word == "info" else word + "s"


def _format_finding(finding: Finding, target: str, colours: bool) -> str:
    word = finding.severity.word
    if colours:
        word = f"\x1b[{_COLOURS[finding.severity]}m{word}\x1b[0m"
    return f"{_shorten(finding.place) or target}: {word}: {finding.message} [{finding.code}]"


def _shorten(place: str) -> str:
    """Return a place relative to the working directory, if the file is below it."""
    prefix = os.getcwd() + os.sep
    return place.removeprefix(prefix)


def format_routes(application: Any) -> str:
    """Return one line for each route: methods, path, name and endpoint."""
    rows = [_row(entry) for entry in routes_of(application)]
    if not rows:
        return "There are no routes."
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[3]]).rstrip())
    return "\n".join(lines)


def _row(entry: RouteEntry) -> tuple[str, str, str, str]:
    route: Any = entry.route
    name = getattr(route, "name", "") or ""
    if isinstance(route, (Mount, Host)):
        return type(route).__name__.upper(), entry.path or "/", name, _describe(mounted_app(route))
    if isinstance(route, WebSocketRoute):
        methods = "WEBSOCKET"
    else:
        allowed = route.allowed_methods() if isinstance(route, Route) else None
        methods = ",".join(sorted(allowed or ("*",)))
    return methods, entry.path, name, _describe(getattr(route, "endpoint", route))


def _describe(obj: Any) -> str:
    name = getattr(obj, "__qualname__", None)
    module = getattr(obj, "__module__", None)
    if name and module:
        return f"{module}.{name}"
    return f"{type(obj).__module__}.{type(obj).__qualname__}"
