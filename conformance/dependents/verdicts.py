"""Hold a run on spica against one on Starlette."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from conformance.dependents.outcome import Outcome
from conformance.dependents.suites import Suite
from conformance.lists import Entry, judge


@dataclass(slots=True)
class Comparison:
    """What a suite says of spica."""

    suite: Suite
    baseline: Outcome
    """On Starlette; after a quick run only the tests that failed on spica."""
    ours: Outcome
    is_quick: bool = False
    listed: dict[str, str] = field(default_factory=dict)
    """Regressions that the list of losses knows, and their kind."""
    regressions: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    """Listed tests that pass, and what is listed and no test."""
    unsteady: list[str] = field(default_factory=list)
    """Tests that failed on spica, and passed when they were run again by themselves."""
    trouble: str = ""
    """Why nothing is known; empty if the suite ran."""
    is_missing: bool = False
    """Whether it did not run because something could not be fetched."""

    @property
    def status(self) -> int:
        """The exit status: 0 as listed, 1 not, 3 not run."""
        if self.is_missing:
            return 3
        return int(bool(self.trouble or self.regressions or self.stale))

    def settle(self, losses: Iterable[Entry]) -> None:
        """Find the regressions, and divide them by the list."""
        failed = find_regressions(self.baseline, self.ours)
        verdict = judge(losses, self.ours.ids("passed"), failed, is_whole=not self.is_quick)
        self.listed, self.regressions = verdict.known, verdict.unexpected
        self.stale = verdict.stale


def find_regressions(baseline: Outcome, ours: Outcome) -> list[str]:
    """Return what passes on Starlette and does not on spica: it fails, is skipped or is not there."""
    passed = ours.ids("passed")
    return sorted(test for test in baseline.ids("passed") if test not in passed)


def forgive(ours: Outcome, again: Outcome) -> list[str]:
    """Let what passed when run again count as passed, and return it."""
    unsteady = sorted(again.ids("passed") & ours.ids("failed"))
    for test in unsteady:
        ours.tests[test] = "passed"
    return unsteady
