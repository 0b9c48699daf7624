"""The commands of ``python -m spica`` that examine an application: ``check`` and ``routes``."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from typing import Any

from spica.checks.finding import Severity
from spica.checks.loading import Loaded, LoadError, load_application
from spica.checks.middleware import findings_of_warnings
from spica.checks.report import examine, format_json, format_routes, format_text, has_colours

EXIT_FINE, EXIT_WRONG, EXIT_UNUSABLE = 0, 1, 2

_CHECK = """\
Examine an application without serving it: routes that no request reaches, middleware in the wrong order or
with settings that can't work, lifted limits, missing packages. No lifespan runs."""


def add_commands(commands: Any) -> None:
    """Add the two commands to the sub-parsers of a command line."""
    check = commands.add_parser(
        "check", help="find the mistakes in an application", description=_CHECK
    )
    add_target(check)
    check.add_argument(
        "--format", choices=("text", "json"), default="text", help="format of the report"
    )
    check.add_argument("--strict", action="store_true", help="exit with 1 for warnings too")
    check.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="the number of processes that will serve (default: $WEB_CONCURRENCY, or 1)",
    )
    check.set_defaults(run=run_check)

    words = "list the routes of an application"
    routes = commands.add_parser("routes", help=words, description=words.capitalize() + ".")
    add_target(routes)
    routes.set_defaults(run=run_routes)


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name an application."""
    parser.add_argument(
        "target",
        nargs="?",
        help="module:attribute, module or file.py; the attribute is app, or the only application."
        " Default: the application in main.py, app.py or the single package",
    )
    parser.add_argument(
        "--app-dir",
        default="",
        metavar="DIR",
        help="directory to import from (default: the working directory)",
    )
    parser.add_argument(
        "--factory",
        action="store_true",
        help="call the attribute, a function that returns the application",
    )
    parser.add_argument(
        "--compat",
        action="store_true",
        help="run a program for Starlette, such as a FastAPI application, on spica (spica.compat)",
    )


def run_check(options: argparse.Namespace) -> int:
    """Print the findings. Return 0 without errors, 1 with errors, and 2 if no application is found."""
    if options.workers is not None:
        os.environ["WEB_CONCURRENCY"] = str(options.workers)
    loaded = _load(options)
    if loaded is None:
        return EXIT_UNUSABLE
    findings = examine(loaded.application, findings_of_warnings(loaded.warnings))
    if options.format == "json":
        print(format_json(findings, loaded.target))
    else:
        colours = has_colours(sys.stdout, os.environ)
        print(format_text(findings, loaded.target, colours=colours))
    worst = Severity.WARNING if options.strict else Severity.ERROR
    return EXIT_WRONG if any(finding.severity <= worst for finding in findings) else EXIT_FINE


def run_routes(options: argparse.Namespace) -> int:
    """Print the routes. Return 0, or 2 if no application is found."""
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
