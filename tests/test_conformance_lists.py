"""Tests of conformance/: the lists of what differs are in order, and the judge reads them well."""

import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
try:
    from conformance.lists import KINDS, MAX_DEVIATIONS, Entry, applies_here, judge, load
finally:
    sys.path.remove(str(ROOT))

FILES = ["deviations.toml", "private.toml"]


def read(name):
    return tomllib.loads((ROOT / "conformance" / name).read_text(encoding="utf-8"))["entry"]


@pytest.mark.parametrize("name", FILES)
def test_every_entry_names_tests_a_kind_and_a_reason(name):
    for entry in read(name):
        assert entry["kind"] in KINDS
        assert (entry["kind"] == "deviation") is (name == "deviations.toml")
        assert entry["reason"].strip()
        assert entry["tests"]
        assert all(test.startswith("tests/") for test in entry["tests"])


def test_no_test_is_listed_twice():
    tests = [test for name in FILES for entry in read(name) for test in entry["tests"]]
    assert len(tests) == len(set(tests))


def test_what_only_the_superuser_sees_is_listed_only_for_the_superuser(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    as_root = load()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert {entry.kind for entry in as_root} - {entry.kind for entry in load()} == {"machine"}


@pytest.mark.parametrize(
    ("version", "applies"), [((3, 9), True), ((3, 13), True), ((3, 14), False), ((3, 15), False)]
)
def test_an_entry_ends_with_a_python_version(version, applies):
    entry = Entry("deviation", ("tests/a.py",), "why", below_python="3.14")
    assert applies_here(entry, version) is applies


@pytest.mark.parametrize(
    ("listed", "test", "covers"),
    [
        ("tests/a.py::test_b", "tests/a.py::test_b", True),
        ("tests/a.py::test_b", "tests/a.py::test_b[trio]", True),
        ("tests/a.py::test_b", "tests/a.py::test_b_c", False),
        ("tests/a.py::test_b[trio]", "tests/a.py::test_b[trio]", True),
        ("tests/a.py::test_b[trio]", "tests/a.py::test_b[trio-1]", False),
        ("tests/a.py", "tests/a.py::test_b", True),
        ("tests/a.py", "tests/a.py", True),
        ("tests/a.py", "tests/aa.py", False),
    ],
)
def test_an_entry_covers_a_test_with_all_its_parameters(listed, test, covers):
    assert Entry("deviation", (listed,), "why").covers(test) is covers


ENTRIES = [
    Entry("deviation", ("tests/a.py::test_one",), "why"),
    Entry("private", ("tests/a.py::test_two", "tests/b.py"), "why"),
]
FAILED = [
    "tests/a.py::test_one[x]",
    "tests/a.py::test_one[y]",
    "tests/a.py::test_two",
    "tests/b.py",
]


def test_all_is_as_listed():
    verdict = judge(ENTRIES, ["tests/a.py::test_three"], FAILED)
    assert verdict.is_good
    assert verdict.known == dict(zip(FAILED, ["deviation"] * 2 + ["private"] * 2, strict=True))
    assert verdict.deviations == 2


def test_a_failure_that_is_not_listed_is_not_good():
    verdict = judge(ENTRIES, [], [*FAILED, "tests/a.py::test_three"])
    assert verdict.unexpected == ["tests/a.py::test_three"]
    assert not verdict.is_good


def test_a_listed_test_that_passes_is_not_good():
    verdict = judge(ENTRIES, ["tests/a.py::test_one[z]"], FAILED)
    assert verdict.stale == ["tests/a.py::test_one[z]"]
    assert not verdict.is_good


def test_a_listed_test_that_does_not_exist_is_not_good():
    verdict = judge(ENTRIES, [], FAILED[:-1])
    assert verdict.stale == ["tests/b.py"]
    assert not verdict.is_good


def test_a_part_of_the_tests_need_not_have_all_that_is_listed():
    assert judge(ENTRIES, [], FAILED[:1], is_whole=False).is_good


@pytest.mark.parametrize(
    ("number", "is_good"),
    [(MAX_DEVIATIONS - 1, True), (MAX_DEVIATIONS, True), (MAX_DEVIATIONS + 1, False)],
)
def test_deviations_are_few(number, is_good):
    failed = [f"tests/a.py::test_one[{index}]" for index in range(number)]
    assert judge(ENTRIES[:1], [], failed).is_good is is_good
