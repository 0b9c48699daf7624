"""Print what the suites say."""

import platform
from collections import Counter
from collections.abc import Sequence

from conformance.dependents.verdicts import Comparison

HEAD = ("suite", "version", "tests", "baseline", "spica", "listed", "regressions", "seconds")


def print_details(comparison: Comparison, is_verbose: bool) -> None:
    """Print what is wrong with one suite, and what is known to be."""
    if comparison.trouble:
        print(f"\n{comparison.suite.name}: {comparison.trouble}")
    for test in comparison.regressions:
        text = comparison.ours.texts.get(test, "is skipped or not there")
        print(f"\nREGRESSION in {comparison.suite.name}: {test}\n{_shorten(text, is_verbose)}")
    for test in comparison.stale:
        print(f"\nLISTED for {comparison.suite.name}, but passes or is no test: {test}")
    for test in comparison.unsteady:
        print(f"Unsteady in {comparison.suite.name}: {test} passed when run again.")


def print_table(comparisons: Sequence[Comparison]) -> None:
    """Print one line a suite."""
    rows = [HEAD, *map(_row, comparisons)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"\nDependents on Starlette and on spica, Python {platform.python_version()}")
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        print("  ".join([*left, *right]))
    if any(each.is_quick for each in comparisons):
        print("Baseline of a quick run: only what failed on spica was run on Starlette.")


def _row(comparison: Comparison) -> tuple[str, ...]:
    suite, ours = comparison.suite, comparison.ours
    if comparison.trouble:
        return suite.name, suite.version, *["-"] * 5, "NOT RUN"
    baseline, spica = (Counter(each.tests.values()) for each in (comparison.baseline, ours))
    return (
        suite.name,
        suite.version,
        str(len(ours.tests)),
        f"{baseline['passed']}{'*' if comparison.is_quick else ''}",
        str(spica["passed"]),
        str(len(comparison.listed)),
        str(len(comparison.regressions)),
        f"{comparison.baseline.seconds:.0f} + {ours.seconds:.0f}",
    )


def _shorten(text: str, is_verbose: bool) -> str:
    """Keep what pytest says is wrong, and where, of a traceback."""
    lines = text.splitlines()
    wrong = [line for line in lines if line.startswith("E ")]
    return text if is_verbose else "\n".join([*wrong[:8], *lines[-1:]])
