"""Tests of conformance/dependents: its data is in order, and runs are compared well."""

import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
try:
    from conformance.__main__ import main
    from conformance.dependents import suites as module
    from conformance.dependents.outcome import Outcome, read_outcome
    from conformance.dependents.suites import Suite, choose, load_losses, load_suites
    from conformance.dependents.verdicts import Comparison, find_regressions, forgive
    from conformance.lists import KINDS, Entry
finally:
    sys.path.remove(str(ROOT))

SUITES = load_suites()
SUITE = Suite("one", "one==1.0", "one")


def read_losses():
    return tomllib.loads((module.HERE / "losses.toml").read_text(encoding="utf-8"))["entry"]


# -- the data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_has_its_release_and_its_environment(name):
    suite = SUITES[name]
    assert suite.distribution
    assert suite.version
    requirements = ROOT / "requirements" / "dependents" / f"{suite.requirements}.txt"
    pins = requirements.read_text(encoding="utf-8").splitlines()
    assert f"{suite.distribution}=={suite.version}" in pins
    assert "starlette==1.10.0" in pins
    assert not any(pin.startswith("spica") for pin in pins)


def test_every_loss_names_its_suite_its_tests_a_kind_and_a_reason():
    for entry in read_losses():
        assert entry["suite"] in SUITES
        assert entry["kind"] in set(KINDS) - {"deviation"}
        assert entry["tests"]
        assert entry["reason"].strip()


def test_no_loss_is_listed_twice():
    listed = [(entry["suite"], test) for entry in read_losses() for test in entry["tests"]]
    assert len(listed) == len(set(listed))


def test_losses_belong_to_their_suite():
    assert sum(len(load_losses(name)) for name in SUITES) == len(read_losses())
    assert load_losses("unknown") == []


def test_a_suite_is_read_from_its_table(tmp_path):
    path = tmp_path / "suites.toml"
    path.write_text('[a]\nrelease = "b==1.2"\nslow = ["x"]\n', encoding="utf-8")
    suite = load_suites(path)["a"]
    assert (suite.name, suite.distribution, suite.version) == ("a", "b", "1.2")
    assert (suite.requirements, suite.slow, suite.tests) == ("a", ("x",), ("tests",))


# -- the choice ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([], []),
        (["mcp"], ["mcp"]),
        (["mcp", "fastapi", "mcp"], ["mcp", "fastapi"]),
        (["all"], list(SUITES)),
        (["fast"], [name for name, suite in SUITES.items() if suite.is_fast]),
    ],
)
def test_suites_are_chosen_by_name(names, chosen):
    assert [suite.name for suite in choose(names, SUITES)] == chosen


def test_an_unknown_suite_is_a_wrong_command_line(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["nothing"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "no suite is named 'nothing'" in said
    assert "fastapi" in said


def test_the_suites_are_listed(capsys):
    assert main(["--list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ["starlette", *SUITES])


# -- the verdict -----------------------------------------------------------------------------------


def test_the_report_is_read():
    lines = [
        '{"package": "spica"}',
        '{"id": "a", "outcome": "passed"}',
        '{"id": "b", "outcome": "failed", "text": "E why"}',
        '{"id": "b", "outcome": "passed"}',
        '{"id": "c", "outcome": "skipped"}',
    ]
    outcome = read_outcome(lines)
    assert outcome.package == "spica"
    assert outcome.tests == {"a": "passed", "b": "failed", "c": "skipped"}
    assert outcome.texts == {"b": "E why"}


@pytest.mark.parametrize("ours", [{"t": "failed"}, {"t": "skipped"}, {}])
def test_what_passes_on_starlette_alone_is_a_regression(ours):
    assert find_regressions(Outcome({"t": "passed"}), Outcome(ours)) == ["t"]


@pytest.mark.parametrize("baseline", [{"t": "failed"}, {"t": "skipped"}, {}])
def test_what_fails_on_both_is_none(baseline):
    assert find_regressions(Outcome(baseline), Outcome({"t": "failed"})) == []


def test_what_passes_when_run_again_is_unsteady():
    ours = Outcome({"a": "failed", "b": "failed", "c": "passed"})
    again = Outcome({"a": "passed", "b": "failed", "c": "passed"})
    assert forgive(ours, again) == ["a"]
    assert ours.tests == {"a": "passed", "b": "failed", "c": "passed"}


def settled(baseline, ours, losses, **more):
    comparison = Comparison(SUITE, Outcome(baseline), Outcome(ours), **more)
    comparison.settle(losses)
    return comparison


LOSS = Entry("brand", ("t/a.py::test",), "why")


def test_a_listed_regression_is_known():
    comparison = settled({"t/a.py::test[1]": "passed"}, {"t/a.py::test[1]": "failed"}, [LOSS])
    assert comparison.listed == {"t/a.py::test[1]": "brand"}
    assert (comparison.regressions, comparison.status) == ([], 0)


def test_an_unlisted_regression_is_not_good():
    comparison = settled({"t/b.py::test": "passed"}, {"t/b.py::test": "failed"}, [])
    assert (comparison.regressions, comparison.status) == (["t/b.py::test"], 1)


def test_a_listed_test_that_passes_is_not_good():
    comparison = settled({"t/a.py::test": "passed"}, {"t/a.py::test": "passed"}, [LOSS])
    assert (comparison.stale, comparison.status) == (["t/a.py::test"], 1)


@pytest.mark.parametrize(("is_quick", "status"), [(False, 1), (True, 0)])
def test_a_listed_test_must_be_there_if_all_were_run(is_quick, status):
    tests = {"t/b.py::test": "passed"}
    assert settled(tests, tests, [LOSS], is_quick=is_quick).status == status


@pytest.mark.parametrize(("is_missing", "status"), [(False, 1), (True, 3)])
def test_a_suite_that_did_not_run_is_no_success(is_missing, status):
    comparison = Comparison(SUITE, Outcome(), Outcome(), trouble="why", is_missing=is_missing)
    assert comparison.status == status
