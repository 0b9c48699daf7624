"""Run tests of others on spica: Starlette's own, and those of packages that are built on it.

SUITE is `starlette` (what is run when none is named), the name of a dependent (see --list), `fast` for
the dependents that every change is held against, or `all`. A dependent's tests are run on Starlette and
on spica in one environment of their own, and only what passes on the one and fails on the other counts.
Releases and environments are fetched from the package registry that pip uses, and kept in .conformance.

Exit status 0: all is as listed; 1: a test fails that is not listed, or a listed one passes; 2: the
command line is wrong; 3: something could not be fetched, so that nothing is known of it.
"""

import argparse
from pathlib import Path

from conformance import starlette_suite
from conformance.dependents import command
from conformance.dependents.suites import choose, load_suites

CACHE = Path(__file__).resolve().parents[1] / ".conformance"
STARLETTE = "starlette"


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    suites = load_suites()
    if options.list:
        print_list()
        return 0
    names = dict.fromkeys(options.suites or [STARLETTE])
    is_starlette = STARLETTE in names or "all" in names
    names.pop(STARLETTE, None)
    try:
        chosen = choose(names, suites)
    except KeyError as error:
        known = ", ".join([STARLETTE, *suites, "fast", "all"])
        parser.error(
            f"no suite is named {error.args[0]!r}; there are {known}. -k TEXT chooses tests."
        )
    statuses = []
    if chosen:
        wish = command.Wish(tuple(options.k), options.quick, options.verbose)
        statuses.append(command.run_suites(chosen, wish, CACHE))
    if is_starlette:
        statuses.append(starlette_suite.run(CACHE, options.k, options.verbose))
    return 1 if 1 in statuses else max(statuses)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/conformance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="what is run")
    parser.add_argument("--list", action="store_true", help="list the suites")
    parser.add_argument(
        "-k",
        action="append",
        default=[],
        metavar="TEXT",
        help="run only tests whose ids contain TEXT; may be given more than once",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="dependents: leave out slow tests, and run on Starlette only what fails on spica",
    )
    parser.add_argument("--verbose", action="store_true", help="print whole tracebacks")
    return parser


def print_list() -> None:
    """Print the suites, their releases and which are fast."""
    print(f"{STARLETTE:16} {starlette_suite.RELEASE.version:10} Starlette's own tests")
    for name, suite in load_suites().items():
        fast = "fast" if suite.is_fast else ""
        print(f"{name:16} {suite.version:10} {suite.distribution} {fast}".rstrip())


if __name__ == "__main__":
    raise SystemExit(main())
