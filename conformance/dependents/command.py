"""Run suites of dependents one after the other, and tell what they say."""

import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from conformance.dependents import environments, table
from conformance.dependents.outcome import Outcome
from conformance.dependents.runs import Place, run
from conformance.dependents.suites import Suite, load_losses
from conformance.dependents.verdicts import Comparison, find_regressions, forgive
from conformance.release import Release, ReleaseMissing, fetch

MOST_REPEATED = 100
"""If more tests fail than that, it is no unsteadiness, and they are not run again."""

AT_ONCE = 2
"""How many suites run at a time: much of it is waiting, for the registry or within the tests."""


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
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for comparison in pool.map(partial(run_suite, wish, cache, workshop), suites):
                table.print_details(comparison, wish.is_verbose)
                comparisons.append(comparison)
    table.print_table(comparisons)
    statuses = {comparison.status for comparison in comparisons}
    return 1 if 1 in statuses else max(statuses, default=0)


def run_suite(wish: Wish, cache: Path, workshop: environments.Workshop, suite: Suite) -> Comparison:
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
    if wish.is_quick:
        comparison.baseline = _quick_baseline(comparison.ours, place)
        comparison.trouble = comparison.baseline.trouble


def _quick_baseline(ours: Outcome, place: Place) -> Outcome:
    """Run the files of what failed on spica. What is listed passes on Starlette: whole runs see to that."""
    failed = ours.ids("failed")
    listed = {test for test in failed if _is_listed(place.suite, test)}
    baseline = Outcome()
    if failed - listed:
        note(f"{place.suite.name}: the files of {len(failed - listed)} tests on Starlette")
        baseline = run(place, "starlette", files_of(failed - listed), 0)
    baseline.tests |= dict.fromkeys(listed, "passed")
    return baseline


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
    return forgive(ours, run(place, "spica", files_of(failed), 0))


def files_of(tests: Iterable[str]) -> list[str]:
    """Return the files that have these tests."""
    return sorted({test.partition("::")[0] for test in tests})


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
