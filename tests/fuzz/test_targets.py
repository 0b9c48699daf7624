"""A few inputs of each target of scripts/fuzz, the same in every run, and a look at the runner itself."""

import pytest
from fuzz.campaign import run_batch
from fuzz.targets import Finding, Target, demand, load
from hypothesis import strategies as st

from fuzz import __main__ as command

INPUTS = 60
SLOW_INPUTS = 80


@pytest.mark.parametrize("name", load())
def test_no_input_breaks_a_promise(name):
    target = load()[name]
    outcome = run_batch(target, 1, SLOW_INPUTS if target.is_slow else INPUTS)
    assert outcome.finding == ""
    assert outcome.inputs > 0


def refuse_long(value: bytes) -> None:
    """Fail on purpose"""
    demand(len(value) < 3, "too long:", value)


FAILING = Target("failing", st.binary(), refuse_long, False)


def test_what_fails_is_shown_as_small_as_possible():
    finding = run_batch(FAILING, 7, 200).finding
    assert r"value=b'\x00\x00\x00'" in finding
    assert Finding.__name__ in finding


def test_a_seed_gives_the_same_inputs_again():
    seen = []
    target = Target("seen", st.binary(), seen.append, False)
    run_batch(target, 3, 20)
    run_batch(target, 3, 20)
    half = len(seen) // 2
    assert seen[:half] == seen[half:]


def test_the_command_ends_with_1_and_tells_how_to_see_it_again(monkeypatch, capsys):
    monkeypatch.setattr(command, "load", lambda: {"failing": FAILING})
    assert command.main(["--target", "failing", "--seed", "7", "--batch", "200"]) == 1
    said = capsys.readouterr().out
    assert "Again: scripts/fuzz --target failing --seed 7 --batch 200" in said


def test_the_command_ends_with_0_when_all_is_well(capsys):
    assert command.main(["--target", "host", "--seed", "1", "--batch", "5"]) == 0
    assert "host" in capsys.readouterr().out


def test_the_command_lists_the_targets(capsys):
    assert command.main(["--list"]) == 0
    assert "multipart" in capsys.readouterr().out
