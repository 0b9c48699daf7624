"""Run suites of dependents one after the other, and tell what they say."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.dependents import environments, table
from conformance.dependents.outcome import Outcome
from conformance.dependents.runs import Place, run
from conformance.dependents.suites import Suite, load_losses
from conformance.dependents.verdicts import Comparison, find_regressions, forgive
from conformance.release import Release, ReleaseMissing, fetch

MOST_REPEATED = 100
"""If more tests fail than that, it is no unsteadiness, and they are not run again."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How the suites are run."""

    words: tuple[str, ...] = ()
    """Run only tests whose ids contain one of these."""
    is_quick: bool = False
    """Leave out slow tests, and run on Starlette only what fails on spica."""
    is_verbose: bool = False

    @property
    def is_part(self) -> bool:
        return bool(self.is_quick or self.words)


def run_suites(suites: Sequence[Suite], wish: Wish, cache: Path) -> int:
    """Run them, print what they say, and return the exit status."""
    comparisons = []
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        workshop = environments.Workshop(cache, Path(name))
        for suite in suites:
            comparison = run_suite(suite, wish, cache, workshop)
            table.print_details(comparison, wish.is_verbose)
            comparisons.append(comparison)
    table.print_table(comparisons)
    statuses = {comparison.status for comparison in comparisons}
    return 1 if 1 in statuses else max(statuses, default=0)


def run_suite(suite: Suite, wish: Wish, cache: Path, workshop: environments.Workshop) -> Comparison:
    """Run one suite on Starlette and on spica."""
    comparison = Comparison(suite, Outcome(), Outcome(), wish.is_part)
    note(f"{suite.name}: preparing")
    try:
        directory = fetch(cache, Release(suite.distribution, suite.version))
        place = Place(suite, directory, workshop.prepare(suite))
    except (ReleaseMissing, environments.EnvironmentMissing) as error:
        comparison.trouble, comparison.is_missing = f"could not be fetched: {error}", True
        return comparison
    place.set_up()
    _measure(comparison, place, wish)
    if not comparison.trouble:
        comparison.settle(load_losses(suite.name))
    return comparison


def _measure(comparison: Comparison, place: Place, wish: Wish) -> None:
    words = _choose_tests(place.suite, wish)
    if not wish.is_quick:
        note(f"{place.suite.name}: on Starlette")
        comparison.baseline = run(place, "starlette", words, place.suite.workers)
    note(f"{place.suite.name}: on spica")
    comparison.ours = run(place, "spica", words, place.suite.workers)
    comparison.trouble = comparison.baseline.trouble or comparison.ours.trouble
    if comparison.trouble:
        return
    comparison.unsteady = _repeat(comparison, place, wish)
    failed = sorted(comparison.ours.ids("failed"))
    if wish.is_quick and failed:
        note(f"{place.suite.name}: {len(failed)} of the tests on Starlette")
        comparison.baseline = run(place, "starlette", failed, 0)
        comparison.trouble = comparison.baseline.trouble


def _repeat(comparison: Comparison, place: Place, wish: Wish) -> list[str]:
    """Run the files of what failed on spica again; return what passes then.

    Whole files, since a test may fail because of what one before it has left behind.
    """
    ours = comparison.ours
    failed = ours.ids("failed")
    if not wish.is_quick:
        failed &= set(find_regressions(comparison.baseline, ours))
    failed = {test for test in failed if not _is_listed(place.suite, test)}
    if not 0 < len(failed) <= MOST_REPEATED:
        return []
    note(f"{place.suite.name}: the files of {len(failed)} tests on spica again")
    files = sorted({test.partition("::")[0] for test in failed})
    return forgive(ours, run(place, "spica", files, 0))


def _is_listed(suite: Suite, test: str) -> bool:
    return any(entry.covers(test) for entry in load_losses(suite.name))


def _choose_tests(suite: Suite, wish: Wish) -> list[str]:
    words = list(suite.tests)
    if wish.words:
        words += ["-k", " or ".join(wish.words)]
    if wish.is_quick:
        words += [f"--ignore={path}" for path in suite.slow]
    return words


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
