"""The cases as the documentation shows them."""

import dataclasses
import json

import pytest

from benchmarks.cases import all_cases
from benchmarks.environment import Environment, this_environment
from benchmarks.report import (
    MAIN_CASES,
    cases_table,
    floors_table,
    introduction,
    main_rows,
    pythons_table,
    read_result,
    verdict,
)
from benchmarks.table import Row

ENVIRONMENT = Environment(
    "3.13.0", {"Starlette": "1.10.0", "Falcon": "4.4.0"}, "a machine", "2026-11-22"
)


def row(name="plain", target=0.4, **microseconds):
    rounds = {framework: [value / 1e6, 9.0] for framework, value in microseconds.items()}
    return Row(name, name.title(), target, rounds)


def test_the_best_round_is_shown_and_compared():
    table = cases_table([row(spica=3, starlette=10, falcon=5.25)], ENVIRONMENT.packages)

    assert table.splitlines()[0].startswith(
        "| one request, in microseconds | spica | Starlette 1.10 |"
    )
    assert table.splitlines()[2] == "| Plain | 3.0 | 10.0 |  | 5.2 |  |  | 0.30 | 0.40 |"


def test_a_missed_aim_is_marked():
    assert cases_table([row(spica=5, starlette=10)], {}).endswith("| 0.500 | 0.40 (missed) |")


def test_the_main_table_has_ten_cases_that_exist():
    names = {case.name for case in all_cases()}
    rows = [row(name, spica=1, starlette=2) for name in names]

    assert sorted(row.name for row in main_rows(rows)) == sorted(MAIN_CASES)
    assert len(MAIN_CASES) == 10


def test_each_python_has_its_columns():
    table = pythons_table(
        {
            "3.11": [row(spica=4, starlette=10)],
            "3.12": [row(spica=5, starlette=10), row("late", 0.6, spica=1, starlette=2)],
        }
    )

    assert table.splitlines()[2:] == [
        "| Plain | 4.0 | 10.0 | 0.40 | 5.0 | 10.0 | 0.500 (missed) | 0.40 |",
        "| Late |  |  |  | 1.0 | 2.0 | 0.50 | 0.60 |",
    ]


def test_the_steps_of_each_python_stand_side_by_side():
    table = floors_table(
        {
            "Python 3.11": {"bare": ("a bare app", 1e-6)},
            "Python 3.12": {"bare": ("a bare app", 1.5e-6), "plain": ("the application", 4e-6)},
        }
    )

    assert table.splitlines() == [
        "| microseconds | Python 3.11 | Python 3.12 |",
        "| --- | ---: | ---: |",
        "| a bare app | 1.0 | 1.5 |",
        "| the application |  | 4.0 |",
    ]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        pytest.param([row(spica=3, starlette=10)], "All aims are met.", id="all is well"),
        pytest.param(
            [row(spica=5, starlette=10)],
            "Short of the aim: Plain (0.500, not 0.40).",
            id="short of the aim",
        ),
        pytest.param(
            [row(spica=3, starlette=10, falcon=2, blacksheep=4)],
            "All aims are met.\nAnother framework is ahead: Plain (Falcon 2.0, spica 3.0).",
            id="a peer is ahead",
        ),
        pytest.param([row(starlette=10)], "All aims are met.", id="not measured"),
    ],
)
def test_the_verdict_names_what_is_behind(rows, text):
    assert verdict(rows) == text


def test_a_result_is_read_as_it_was_written():
    rows = [row(spica=3, starlette=10)]
    text = json.dumps(
        {
            "environment": dataclasses.asdict(ENVIRONMENT),
            "rounds": 31,
            "rows": [dataclasses.asdict(one) for one in rows],
        }
    )

    result = read_result(text)

    assert result.rows == rows
    assert introduction(result).startswith("In memory")
    assert "CPython 3.13.0, Falcon 4.4.0, a machine, 2026-11-22." in introduction(result)


def test_this_environment_is_known():
    environment = this_environment()

    assert environment.python.startswith("3.")
    assert (
        environment.sentence()
        == f"CPython {environment.python}, {environment.machine}, {environment.day}"
    )
