"""What became of the tests of a suite in one run."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

WORST = ("passed", "skipped", "failed")
"""A test that is reported more than once (set-up, call, parts of it) is what its worst report says."""


@dataclass(slots=True)
class Outcome:
    """One run: what became of each test, by its id."""

    tests: dict[str, str] = field(default_factory=dict)
    """`passed`, `skipped` or `failed`. A file that can't be imported counts as one test."""
    texts: dict[str, str] = field(default_factory=dict)
    """What pytest says of those that failed."""
    package: str = ""
    """The package that was imported as `starlette`."""
    seconds: float = 0.0
    trouble: str = ""
    """Why the run as a whole says nothing; empty if it does."""

    def ids(self, outcome: str) -> set[str]:
        return {test for test, became in self.tests.items() if became == outcome}

    def add(self, test: str, outcome: str, text: str = "") -> None:
        before = self.tests.get(test, WORST[0])
        self.tests[test] = max(before, outcome, key=WORST.index)
        if text:
            self.texts.setdefault(test, text)


def read_outcome(lines: Iterable[str]) -> Outcome:
    """Put together what the plugin wrote."""
    outcome = Outcome()
    for line in lines:
        report = json.loads(line)
        if "package" in report:
            outcome.package = report["package"]
        else:
            outcome.add(report["id"], report["outcome"], report.get("text", ""))
    return outcome
