"""All checks of an application, in one list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spica.checks.extras import check_extras
from spica.checks.finding import Finding
from spica.checks.middleware import check_middleware
from spica.checks.routes import check_routes
from spica.checks.settings import check_settings

CHECKS = (check_routes, check_middleware, check_settings, check_extras)


def examine(application: Any, more: Iterable[Finding] = ()) -> list[Finding]:
    """Return what was found in an application or router, the gravest first, each once.

    ``more`` are findings from elsewhere that belong into the list.
    """
    found = [*more]
    for check in CHECKS:
        found += check(application)
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda finding: (finding.severity, *_where(finding), finding.code))


def _where(finding: Finding) -> tuple[str, int]:
    file, line = finding.file_and_line
    return file or "", line or 0
