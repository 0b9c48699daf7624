"""What a request leaves to be done."""

from typing import Any

import anyio
import pytest

from spica._asgi.aftermath import Aftermath

pytestmark = pytest.mark.anyio


class Begun:
    """An app that notes how it was ended."""

    def __init__(self, name: str, steps: list[Any], error: Exception | None = None) -> None:
        self.name, self.steps, self.error = name, steps, error

    async def finish(self) -> None:
        self.steps.append(("finish", self.name))
        if self.error is not None:
            raise self.error

    async def abandon(self) -> None:
        self.steps.append(("abandon", self.name))


async def failing_task() -> None:
    raise ValueError("task")


async def waiting_task() -> None:
    await anyio.sleep_forever()


async def test_an_empty_one_has_nothing_to_do() -> None:
    aftermath = Aftermath()
    assert aftermath.is_empty
    assert await aftermath.settle() == []
    aftermath.raise_failures()


async def test_apps_end_before_tasks_run_and_the_last_one_first() -> None:
    steps: list[Any] = []

    async def task() -> None:
        steps.append("task")

    aftermath = Aftermath()
    aftermath.add_task(task)
    aftermath.add_begun(Begun("a", steps))
    aftermath.add_begun(Begun("b", steps))
    await aftermath.settle()
    assert steps == [("finish", "b"), ("finish", "a"), "task"]


async def test_an_app_that_has_ended_leaves_nothing() -> None:
    aftermath = Aftermath()
    begun = Begun("a", [])
    aftermath.add_begun(begun)
    assert not aftermath.is_empty
    aftermath.forget_begun(begun)
    assert aftermath.is_empty
    assert aftermath.begun == ()


async def test_what_else_there_is_stays_when_an_app_has_ended() -> None:
    steps: list[Any] = []
    aftermath = Aftermath()
    begun = Begun("a", steps)
    aftermath.add_begun(begun)
    aftermath.add_failure(ValueError())
    aftermath.forget_begun(begun)
    assert not aftermath.is_empty

    others = Aftermath()
    for each in (begun, Begun("b", steps)):
        others.add_begun(each)
    others.forget_begun(begun)
    await others.settle()
    assert steps == [("finish", "b"), ("finish", "a")]


async def test_each_step_is_taken_whatever_the_others_do() -> None:
    steps: list[Any] = []

    async def task() -> None:
        steps.append("task")

    aftermath = Aftermath()
    aftermath.add_begun(Begun("a", steps, KeyError("a")))
    aftermath.add_task(failing_task)
    aftermath.add_task(task)
    late = await aftermath.settle()
    assert [repr(error) for error in late] == ["KeyError('a')", "ValueError('task')"]
    assert steps == [("finish", "a"), "task"]
    with pytest.raises(ExceptionGroup) as info:
        aftermath.raise_failures()
    assert [repr(error) for error in info.value.exceptions] == [
        "KeyError('a')",
        "ValueError('task')",
    ]


async def test_one_failure_is_raised_as_it_is() -> None:
    aftermath = Aftermath()
    aftermath.add_task(failing_task)
    await aftermath.settle()
    with pytest.raises(ValueError, match="task"):
        aftermath.raise_failures()


async def test_a_failure_is_noted_once() -> None:
    error = ValueError("noted before")
    aftermath = Aftermath()
    aftermath.add_failure(error)
    aftermath.add_failure(error)
    aftermath.add_begun(Begun("a", [], error))
    assert await aftermath.settle() == []
    with pytest.raises(ValueError, match="noted before"):
        aftermath.raise_failures()


class Alike(Exception):
    """An error that is equal to every other one of its class."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike)

    __hash__ = Exception.__hash__


async def test_errors_that_are_equal_are_two() -> None:
    aftermath = Aftermath()
    aftermath.add_failure(Alike("a"))
    aftermath.add_begun(Begun("a", [], Alike("b")))
    assert [error.args for error in await aftermath.settle()] == [("b",)]
    assert [error.args for error in aftermath.failures] == [("a",), ("b",)]


async def test_what_a_task_has_begun_or_opened_is_ended_too() -> None:
    steps: list[Any] = []
    aftermath = Aftermath()

    async def close() -> None:
        steps.append("close")

    async def task() -> None:
        steps.append("task")
        aftermath.add_begun(Begun("late", steps))
        aftermath.add_closer(close)

    aftermath.add_begun(Begun("early", steps))
    aftermath.add_task(task)
    await aftermath.settle()
    assert steps == [("finish", "early"), "task", ("finish", "late"), "close"]


async def test_what_was_begun_is_abandoned_when_settling_is_cancelled() -> None:
    steps: list[Any] = []
    aftermath = Aftermath()
    aftermath.add_begun(Begun("a", steps))
    aftermath.add_task(waiting_task)
    with anyio.move_on_after(0):
        await aftermath.settle()
    assert steps == [("finish", "a"), ("abandon", "a")]


async def test_two_of_them_share_nothing() -> None:
    one, other = Aftermath(), Aftermath()
    one.add_task(failing_task)
    one.add_failure(ValueError())
    assert other.is_empty
    assert (list(other.tasks), list(other.failures), list(other.begun)) == ([], [], [])


@pytest.mark.parametrize("end", ["settle", "abandon"])
async def test_what_is_to_be_closed_is_closed_last(end: str) -> None:
    steps: list[Any] = []
    aftermath = Aftermath()

    async def note(step: str) -> None:
        steps.append(step)

    aftermath.add_closer(lambda: note("close"))
    aftermath.add_task(lambda: note("task"))
    aftermath.add_begun(Begun("app", steps))
    assert not aftermath.is_empty
    await getattr(aftermath, end)()
    assert steps[-1] == "close"
    assert steps[0] == ("finish" if end == "settle" else "abandon", "app")
    assert ("task" in steps) == (end == "settle")


async def test_a_closer_that_has_run_is_forgotten() -> None:
    aftermath = Aftermath()
    closed: list[int] = []

    async def first() -> None:
        closed.append(1)

    async def second() -> None:
        closed.append(2)

    aftermath.add_closer(first)
    aftermath.forget_closer(second)
    assert not aftermath.is_empty
    aftermath.forget_closer(first)
    assert aftermath.is_empty
    assert await aftermath.settle() == []
    assert closed == []


async def test_forgetting_a_closer_keeps_the_rest() -> None:
    aftermath = Aftermath()

    async def close() -> None:
        pass

    aftermath.add_closer(close)
    aftermath.add_task(waiting_task)
    aftermath.forget_closer(close)
    assert not aftermath.is_empty
