"""The limits of forms, and the turns that a parser gives to other tasks."""

import math
from typing import Any

import anyio
import pytest

from spica.formparsers import FormLimits
from spica.formparsers.limits import Pacer


def test_what_is_open_is_taken_from_the_outer_one() -> None:
    inner, outer = FormLimits(max_files=0, max_fields=2), FormLimits(max_files=5, max_headers=3)
    assert inner.over(outer) == FormLimits(max_files=0, max_fields=2, max_headers=3)


@pytest.mark.parametrize("value", [None, 0, 1, math.inf])
def test_what_may_be_a_limit(value: Any) -> None:
    assert FormLimits(max_part_size=value).max_part_size == value


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-1, ValueError, "FormLimits: max_files must not be negative, but is -1."),
        (1.5, TypeError, "FormLimits: max_files must be an int, math.inf or None, not 1.5."),
        ("1", TypeError, "FormLimits: max_files must be an int, math.inf or None, not '1'."),
        (True, TypeError, "FormLimits: max_files must be an int, math.inf or None, not True."),
        (math.nan, TypeError, "FormLimits: max_files must be an int, math.inf or None, not nan."),
    ],
)
def test_what_may_not(value: Any, error: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        FormLimits(max_files=value)
    assert str(caught.value) == text


def test_rest_is_due_when_enough_bytes_were_counted():
    pacer = Pacer(quantum=1000)
    assert not pacer.is_due(700)
    assert pacer.is_due(100)


def test_a_tiny_chunk_is_work_too():
    pacer = Pacer(quantum=1000)
    assert [pacer.is_due(1) for _ in range(4)] == [False, False, False, True]


@pytest.mark.anyio
async def test_rest_lets_other_tasks_run():
    other_ran = anyio.Event()

    async def other():
        other_ran.set()

    pacer = Pacer(quantum=1000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        with anyio.fail_after(30):
            while not other_ran.is_set():
                await pacer.rest()


@pytest.mark.anyio
async def test_after_a_rest_counting_starts_again():
    pacer = Pacer(quantum=1000)
    assert pacer.is_due(900)
    await pacer.rest()
    assert not pacer.is_due(700)
