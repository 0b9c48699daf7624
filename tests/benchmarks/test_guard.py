"""The bounds that hold the speed. No time is taken here."""

import pytest

from benchmarks.cases import all_cases
from benchmarks.guard import BOUNDS, LEFT_OUT, Guard, read_bounds, report, with_figures

TEXT = """# Why.

factor = 2.0

[python."3.12"]
plain = 3.0
json-echo = 4.5
"""


def test_the_figures_of_a_python_are_read():
    assert read_bounds(TEXT, "3.12") == (2.0, {"plain": 3.0, "json-echo": 4.5})


def test_an_unknown_python_has_none():
    assert read_bounds(TEXT, "3.13") == (2.0, {})


def test_figures_are_written_in_the_place_of_the_old_ones():
    assert with_figures(TEXT, "3.12", {"plain": 2.54}) == TEXT.replace(
        "plain = 3.0\njson-echo = 4.5", "plain = 2.5"
    )


def test_figures_of_another_python_are_added():
    text = with_figures(TEXT, "3.13", {"plain": 2.0})

    assert read_bounds(text, "3.12") == read_bounds(TEXT, "3.12")
    assert read_bounds(text, "3.13") == (2.0, {"plain": 2.0})
    assert text.startswith(TEXT)


def test_the_table_shows_what_has_a_figure():
    table = report({"plain": 4.0, "new": 1.0}, {"plain": 3.0}, {"plain": 6.0})

    assert table.splitlines()[2:] == ["| plain | 4.0 | 3.0 | 6.0 |"]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_case_that_is_ours_is_held(version):
    _, figures = read_bounds(BOUNDS.read_text("utf-8"), version)

    assert set(figures) == {case.name for case in all_cases()} - LEFT_OUT


class Measured(Guard):
    """A guard that is told what it measures."""

    def __init__(self, *results):
        self.cases = dict.fromkeys(results[0])
        self.results = list(results)
        self.asked = []

    async def ratios(self, names):
        self.asked.append(names)
        return self.results.pop(0)


@pytest.mark.anyio
async def test_what_is_within_its_bound_is_measured_once():
    guard = Measured({"plain": 2.0, "new": 9.0})

    assert await guard.best_ratios({"plain": 2.0}) == {"plain": 2.0, "new": 9.0}
    assert len(guard.asked) == 1


@pytest.mark.anyio
async def test_what_is_above_is_measured_again_and_the_best_counts():
    guard = Measured({"plain": 3.0, "json": 1.0}, {"plain": 2.5}, {"plain": 1.5})

    assert await guard.best_ratios({"plain": 2.0, "json": 2.0}) == {"plain": 1.5, "json": 1.0}
    assert guard.asked[1:] == [["plain"], ["plain"]]


@pytest.mark.anyio
async def test_what_stays_above_is_told_after_four_attempts():
    guard = Measured({"plain": 4.0}, {"plain": 5.0}, {"plain": 3.0}, {"plain": 4.0})

    assert await guard.best_ratios({"plain": 2.0}) == {"plain": 3.0}
