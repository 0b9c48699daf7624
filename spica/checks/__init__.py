"""Find mistakes in an application without a request, for ``python -m spica check module:app``.

`examine` returns the findings, and the command line prints them. The checks build the middleware, as a
server does at start-up. They send no request and run no lifespan.
"""

from collections.abc import Iterable
from typing import Any

from spica.checks.finding import Finding, Severity
from spica.checks.loading import LoadError, load_application
from spica.checks.middleware import check_middleware
from spica.checks.routes import check_extras, check_routes
from spica.checks.settings import check_settings

__all__ = ["Finding", "LoadError", "Severity", "examine", "load_application"]

CHECKS = (check_routes, check_middleware, check_settings, check_extras)


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
