"""Run pytest on a directory of tests, and keep what became of each test."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conformance.alias import OURS, THEIRS

OPTIONS = [
    "--override-ini=addopts=",  # Theirs ask for a summary; ours is printed at the end.
    "--strict-markers",
    "--continue-on-collection-errors",
    "-pno:terminal",
    "-pno:cacheprovider",
]


@dataclass(slots=True)
class Results:
    """What became of each test, by its id. A file that can't be imported counts as one test."""

    passed: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    """With what pytest says about it."""
    unwanted: int = 0
    """How many tests were there, but not asked for."""

    @property
    def all(self) -> set[str]:
        return self.passed | self.skipped | self.failed.keys()


class Recorder:
    """A plugin that writes into `results`, and lets only tests pass that were asked for."""

    def __init__(self, names: Collection[str]) -> None:
        self.results = Results()
        self._names = names

    def pytest_configure(self, config: pytest.Config) -> None:
        for line in config.getini("filterwarnings"):
            if (ours := _translate_filter(line)) != line:
                config.addinivalue_line("filterwarnings", ours)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        wanted = [item for item in items if self._wants(item.nodeid)]
        self.results.unwanted = len(items) - len(wanted)
        items[:] = wanted
        for item in items:
            for mark in list(item.iter_markers("filterwarnings")):
                ours = map(_translate_filter, mark.args)
                item.add_marker(pytest.mark.filterwarnings(*ours))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and self._wants(report.nodeid):
            self.results.failed[report.nodeid] = report.longreprtext

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        results = self.results
        if report.failed:  # also a test that was expected to fail and did not
            results.failed[report.nodeid] = report.longreprtext
            results.passed.discard(report.nodeid)
        elif report.skipped:
            expected = hasattr(report, "wasxfail")
            (results.passed if expected else results.skipped).add(report.nodeid)
        elif report.when == "call":
            results.passed.add(report.nodeid)

    def _wants(self, test: str) -> bool:
        return not self._names or any(name in test for name in self._names)


def _translate_filter(line: str) -> str:
    """Let what is said of warnings about their modules, or out of them, hold for ours."""
    fields = line.split(":")  # action, message, category, module, line
    for place in (1, 3):
        if place < len(fields):
            fields[place] = fields[place].replace(THEIRS, OURS)
    return ":".join(fields)


def run(directory: Path, names: Collection[str]) -> Results:
    """Run the tests in `directory` whose ids contain one of `names`, or all if there are none."""
    recorder = Recorder(names)
    before = Path.cwd()
    os.chdir(directory)  # some of them look for files beside them
    try:
        pytest.main([*OPTIONS, "tests"], plugins=[recorder])
    finally:
        os.chdir(before)
    return recorder.results
