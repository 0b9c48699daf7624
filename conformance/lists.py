"""What is known to differ, and whether the tests agree with it."""

import os
import sys
import tomllib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAX_DEVIATIONS = 33
"""How many tests, each set of parameters counted, spica may contradict."""

KINDS = ("deviation", "private", "internal", "brand", "machine")


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that differs, the tests that show it, and why it is so."""

    kind: str
    tests: tuple[str, ...]
    reason: str
    as_root: bool = False
    """Whether it differs only for the superuser, from whom no file is hidden."""
    below_python: str = ""
    """The first Python version on which it does not differ, such as "3.14"; empty if there is none."""

    def covers(self, test: str) -> bool:
        """Tell whether `test` is listed: by its id, or by its function or file for all below."""
        return any(
            test == listed or test.startswith((f"{listed}[", f"{listed}::"))
            for listed in self.tests
        )


@dataclass(slots=True)
class Verdict:
    """What the tests say about the lists."""

    known: dict[str, str]
    """The tests that failed as listed, and the kind of their entry."""
    unexpected: list[str]
    """Tests that failed and are not listed."""
    stale: list[str]
    """Listed tests that passed, and what is listed and no test."""

    @property
    def deviations(self) -> int:
        return sum(kind == "deviation" for kind in self.known.values())

    @property
    def is_good(self) -> bool:
        return not self.unexpected and not self.stale and self.deviations <= MAX_DEVIATIONS


def load(folder: Path = HERE) -> list[Entry]:
    """Read both lists, without the entries that do not apply to this user or this Python version."""
    return [*read_entries(folder / "deviations.toml"), *read_entries(folder / "private.toml")]


def read_entries(path: Path, suite: str = "") -> list[Entry]:
    """Read the entries of one list that apply here and name `suite`."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))["entry"]
    wanted = [table for table in tables if table.pop("suite", "") == suite]
    entries = [Entry(**{**table, "tests": tuple(table["tests"])}) for table in wanted]
    return [entry for entry in entries if applies_here(entry)]


def applies_here(entry: Entry, version: tuple[int, int] = sys.version_info[:2]) -> bool:
    """Return whether an entry applies to this user and this Python version."""
    if entry.as_root and os.geteuid() != 0:
        return False
    return not entry.below_python or version < tuple(map(int, entry.below_python.split(".")))


def judge(
    entries: Iterable[Entry],
    passed: Collection[str],
    failed: Collection[str],
    is_whole: bool = True,
) -> Verdict:
    """Hold results against the lists; `is_whole` if nothing was left out of the run."""
    verdict = Verdict({}, [], [])
    entries = list(entries)
    for test in failed:
        kind = next((entry.kind for entry in entries if entry.covers(test)), None)
        if kind is None:
            verdict.unexpected.append(test)
        else:
            verdict.known[test] = kind
    for entry in entries:
        verdict.stale += [test for test in passed if entry.covers(test)]
        if is_whole:
            verdict.stale += _without_test(entry, [*passed, *failed])
    verdict.unexpected.sort()
    verdict.stale.sort()
    return verdict


def _without_test(entry: Entry, tests: list[str]) -> list[str]:
    single = [Entry(entry.kind, (listed,), entry.reason) for listed in entry.tests]
    return [one.tests[0] for one in single if not any(map(one.covers, tests))]
