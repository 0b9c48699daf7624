"""What a request leaves to be done."""

from typing import Any

import anyio
import pytest

from spica._asgi.cleanup import Cleanup

pytestmark = pytest.mark.anyio


class Started:
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
    cleanup = Cleanup()
    assert cleanup.is_empty
    assert await cleanup.run() == []
    cleanup.raise_failures()


async def test_apps_end_before_tasks_run_and_the_last_one_first() -> None:
    steps: list[Any] = []

    async def task() -> None:
        steps.append("task")

    cleanup = Cleanup()
    cleanup.add_task(task)
    cleanup.add_started(Started("a", steps))
    cleanup.add_started(Started("b", steps))
    await cleanup.run()
    assert steps == [("finish", "b"), ("finish", "a"), "task"]


async def test_an_app_that_has_ended_leaves_nothing() -> None:
    cleanup = Cleanup()
    app = Started("a", [])
    cleanup.add_started(app)
    assert not cleanup.is_empty
    cleanup.forget_started(app)
    assert cleanup.is_empty
    assert cleanup.started == ()


async def test_what_else_there_is_stays_when_an_app_has_ended() -> None:
    steps: list[Any] = []
    cleanup = Cleanup()
    app = Started("a", steps)
    cleanup.add_started(app)
    cleanup.add_failure(ValueError())
    cleanup.forget_started(app)
    assert not cleanup.is_empty

    others = Cleanup()
    for each in (app, Started("b", steps)):
        others.add_started(each)
    others.forget_started(app)
    await others.run()
    assert steps == [("finish", "b"), ("finish", "a")]


async def test_each_step_is_taken_whatever_the_others_do() -> None:
    steps: list[Any] = []

    async def task() -> None:
        steps.append("task")

    cleanup = Cleanup()
    cleanup.add_started(Started("a", steps, KeyError("a")))
    cleanup.add_task(failing_task)
    cleanup.add_task(task)
    late = await cleanup.run()
    assert [repr(error) for error in late] == ["KeyError('a')", "ValueError('task')"]
    assert steps == [("finish", "a"), "task"]
    with pytest.raises(ExceptionGroup) as info:
        cleanup.raise_failures()
    assert [repr(error) for error in info.value.exceptions] == [
        "KeyError('a')",
        "ValueError('task')",
    ]


async def test_one_failure_is_raised_as_it_is() -> None:
    cleanup = Cleanup()
    cleanup.add_task(failing_task)
    await cleanup.run()
    with pytest.raises(ValueError, match="task"):
        cleanup.raise_failures()


async def test_a_failure_is_noted_once() -> None:
    error = ValueError("noted before")
    cleanup = Cleanup()
    cleanup.add_failure(error)
    cleanup.add_failure(error)
    cleanup.add_started(Started("a", [], error))
    assert await cleanup.run() == []
    with pytest.raises(ValueError, match="noted before"):
        cleanup.raise_failures()


class Alike(Exception):
    """An error that is equal to every other one of its class."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike)

    __hash__ = Exception.__hash__


async def test_errors_that_are_equal_are_two() -> None:
    cleanup = Cleanup()
    cleanup.add_failure(Alike("a"))
    cleanup.add_started(Started("a", [], Alike("b")))
    assert [error.args for error in await cleanup.run()] == [("b",)]
    assert [error.args for error in cleanup.failures] == [("a",), ("b",)]


async def test_what_a_task_has_begun_or_opened_is_ended_too() -> None:
    steps: list[Any] = []
    cleanup = Cleanup()

    async def close() -> None:
        steps.append("close")

    async def task() -> None:
        steps.append("task")
        cleanup.add_started(Started("late", steps))
        cleanup.add_closer(close)

    cleanup.add_started(Started("early", steps))
    cleanup.add_task(task)
    await cleanup.run()
    assert steps == [("finish", "early"), "task", ("finish", "late"), "close"]


async def test_what_was_begun_is_abandoned_when_settling_is_cancelled() -> None:
    steps: list[Any] = []
    cleanup = Cleanup()
    cleanup.add_started(Started("a", steps))
    cleanup.add_task(waiting_task)
    with anyio.move_on_after(0):
        await cleanup.run()
    assert steps == [("finish", "a"), ("abandon", "a")]


async def test_two_of_them_share_nothing() -> None:
    one, other = Cleanup(), Cleanup()
    one.add_task(failing_task)
    one.add_failure(ValueError())
    assert other.is_empty
    assert (list(other.tasks), list(other.failures), list(other.started)) == ([], [], [])


@pytest.mark.parametrize("end", ["run", "abandon"])
async def test_what_is_to_be_closed_is_closed_last(end: str) -> None:
    steps: list[Any] = []
    cleanup = Cleanup()

    async def note(step: str) -> None:
        steps.append(step)

    cleanup.add_closer(lambda: note("close"))
    cleanup.add_task(lambda: note("task"))
    cleanup.add_started(Started("app", steps))
    assert not cleanup.is_empty
    await getattr(cleanup, end)()
    assert steps[-1] == "close"
    assert steps[0] == ("finish" if end == "run" else "abandon", "app")
    assert ("task" in steps) == (end == "run")


async def test_a_closer_that_has_run_is_forgotten() -> None:
    cleanup = Cleanup()
    closed: list[int] = []

    async def first() -> None:
        closed.append(1)

    async def second() -> None:
        closed.append(2)

    cleanup.add_closer(first)
    cleanup.forget_closer(second)
    assert not cleanup.is_empty
    cleanup.forget_closer(first)
    assert cleanup.is_empty
    assert await cleanup.run() == []
    assert closed == []


async def test_forgetting_a_closer_keeps_the_rest() -> None:
    cleanup = Cleanup()

    async def close() -> None:
        pass

    cleanup.add_closer(close)
    cleanup.add_task(waiting_task)
    cleanup.forget_closer(close)
    assert not cleanup.is_empty
