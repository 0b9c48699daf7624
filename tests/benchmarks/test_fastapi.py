"""FastAPI on spica and on Starlette: both sides answer every case, and what is printed is right."""

import pytest

from benchmarks.fastapi_cases import SIDES, fastapi_cases
from benchmarks.fastapi_compare import complaints_of, table
from benchmarks.fastapi_load import servers_table, slower_ones
from benchmarks.fastapi_process import FastAPIProcess
from benchmarks.table import Row


@pytest.mark.parametrize("side", SIDES)
def test_every_case_is_answered(side):
    with FastAPIProcess(side) as process:
        assert {case.name: process.prepare(case.name) for case in fastapi_cases()} == {
            case.name: "" for case in fastapi_cases()
        }
        assert 0 < process.take_time() < 1


def test_a_process_that_ended_is_told():
    with (
        FastAPIProcess("nothing") as process,
        pytest.raises(RuntimeError, match=r"fastapi_process', 'nothing'\] has ended with 1"),
    ):
        process.prepare("no such case")


def row(spica, starlette, target=1.0, fault=""):
    rounds = {"spica": [spica * 1e-6, 1.0], "starlette": [starlette * 1e-6, 1.0]}
    return Row("one", "title", target, rounds, {"spica": fault} if fault else {})


@pytest.mark.parametrize(
    ("measured", "line"),
    [
        (row(10, 40), "| title | 10.0 | 40.0 | 0.25 | 1.00 | 4.0 |"),
        (row(50, 400, 1 / 8), "| title | 50.0 | 400 | 0.12 | 0.12 | 8.0 |"),
        (row(60, 400, 1 / 8), "| title | 60.0 | 400 | 0.150 | 0.12 (missed) | 6.7 |"),
        (Row("one", "title", 1.0), "| title |  |  |  | 1.00 |  |"),
    ],
)
def test_a_row_is_shown(measured, line):
    assert table([measured]).splitlines()[-1] == line


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (row(40, 40), []),
        (row(41, 40), ["one: not 1.0"]),
        (row(1, 2, fault="answered 500"), ["one, FastAPI on spica: answered 500"]),
    ],
)
def test_what_is_wrong_is_said(measured, said):
    assert complaints_of([measured]) == said


def test_the_rates_of_servers_are_shown():
    rates = {
        "faster": {"spica": [30.0, 20.0, 10.0], "starlette": [10.0, 10.0, 10.0]},
        "slower": {"spica": [9.4], "starlette": [10.0]},
        "the same": {"spica": [9.6], "starlette": [10.0]},
    }
    assert servers_table(rates).splitlines()[2:] == [
        "| faster | 20 | 10 | 2.00 |",
        "| slower | 9 | 10 | 0.94 |",
        "| the same | 10 | 10 | 0.96 |",
    ]
    assert slower_ones(rates) == ["slower"]
