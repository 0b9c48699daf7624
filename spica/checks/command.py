"""The commands of ``python -m spica`` that look at an application: ``check`` and ``routes``."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from typing import Any

from spica.checks.examine import examine
from spica.checks.finding import Severity
from spica.checks.loading import Loaded, LoadError, load_application
from spica.checks.middleware import findings_of_warnings
from spica.checks.report import format_json, format_routes, format_text, has_colours

EXIT_FINE, EXIT_WRONG, EXIT_UNUSABLE = 0, 1, 2

_CHECK = """\
Look at an application without serving it: routes that are never reached, middleware in the wrong place or
with settings that can't work, limits that were lifted, packages that are missing. No lifespan runs."""


def add_commands(commands: Any) -> None:
    """Add the two commands to the sub-parsers of a command line."""
    check = commands.add_parser(
        "check", help="say what is wrong with an application", description=_CHECK
    )
    _add_target(check)
    check.add_argument("--format", choices=("text", "json"), default="text", help="of the report")
    check.add_argument("--strict", action="store_true", help="exit with 1 for warnings, too")
    check.set_defaults(run=run_check)

    words = "list the routes of an application"
    routes = commands.add_parser("routes", help=words, description=words.capitalize() + ".")
    _add_target(routes)
    routes.set_defaults(run=run_routes)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", help="module:attribute, as for a server; the attribute is app by default"
    )
    parser.add_argument(
        "--app-dir", default="", metavar="DIR", help="where to look for the module first"
    )
    parser.add_argument(
        "--factory",
        action="store_true",
        help="the attribute is a function that makes the application",
    )
    parser.add_argument(
        "--compat", action="store_true", help="run a program for Starlette on spica (spica.compat)"
    )


def run_check(options: argparse.Namespace) -> int:
    """Print what was found; return 0 if nothing is wrong, 1 if something is, 2 if nothing is known."""
    loaded = _load(options)
    if loaded is None:
        return EXIT_UNUSABLE
    findings = examine(loaded.application, findings_of_warnings(loaded.warnings))
    if options.format == "json":
        print(format_json(findings, options.target))
    else:
        colours = has_colours(sys.stdout, os.environ)
        print(format_text(findings, options.target, colours=colours))
    worst = Severity.WARNING if options.strict else Severity.ERROR
    return EXIT_WRONG if any(finding.severity <= worst for finding in findings) else EXIT_FINE


def run_routes(options: argparse.Namespace) -> int:
    """Print the routes; return 0, or 2 if there is no application."""
    loaded = _load(options)
    if loaded is None:
        return EXIT_UNUSABLE
    print(format_routes(loaded.application))
    return EXIT_FINE


def _load(options: argparse.Namespace) -> Loaded | None:
    try:
        return load_application(
            options.target,
            app_dir=options.app_dir,
            is_factory=options.factory,
            compat=options.compat,
        )
    except LoadError as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        print(f"spica: {error}", file=sys.stderr)
        return None
