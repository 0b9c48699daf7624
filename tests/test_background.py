"""Background tasks: each runs, and no failure is lost."""

import functools
import logging
from typing import Any

import anyio
import pytest

from spica.background import LOGGER_NAME, BackgroundTask, BackgroundTasks

pytestmark = pytest.mark.anyio


class Log:
    """A list of what was called, with one method to be called async and one sync."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def note(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append((args, kwargs))

    def note_sync(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append((args, kwargs))

    async def fail(self, error: BaseException) -> None:
        self.calls.append(error)
        raise error

    def fail_sync(self, error: BaseException) -> None:
        self.calls.append(error)
        raise error


@pytest.fixture
def log() -> Log:
    return Log()


async def test_a_coroutine_function_is_awaited(log: Log) -> None:
    task = BackgroundTask(log.note, 1, key=2)

    await task()

    assert task.is_async
    assert log.calls == [((1,), {"key": 2})]


async def test_another_function_runs_in_a_thread(log: Log) -> None:
    task = BackgroundTask(log.note_sync, 1, key=2)

    await task()

    assert not task.is_async
    assert log.calls == [((1,), {"key": 2})]


async def test_a_partial_of_a_coroutine_function_is_awaited(log: Log) -> None:
    task = BackgroundTask(functools.partial(log.note, 1), 2)

    await task()

    assert log.calls == [((1, 2), {})]


async def test_a_function_that_was_replaced_is_the_one_that_runs(log: Log) -> None:
    task = BackgroundTask(log.fail, ValueError())

    task.func = log.note
    await task()

    assert len(log.calls) == 1


def test_what_is_not_callable_is_refused_with_the_remedy() -> None:
    with pytest.raises(TypeError, match=r"func must be callable, not None\. Pass the function and"):
        BackgroundTask(None)  # type: ignore[arg-type]  # the test


async def test_the_error_of_a_single_task_is_raised_as_it_is(log: Log) -> None:
    error = ValueError("x")

    with pytest.raises(ValueError) as raised:
        await BackgroundTask(log.fail_sync, error)()

    assert raised.value is error


async def test_tasks_run_in_their_order(log: Log) -> None:
    tasks = BackgroundTasks([BackgroundTask(log.note, 1)])
    tasks.add_task(log.note_sync, 2)
    tasks.add_task(log.note, 3)

    await tasks()

    assert [args for args, _ in log.calls] == [(1,), (2,), (3,)]


def test_the_list_that_was_given_is_not_changed(log: Log) -> None:
    given: list[BackgroundTask] = []
    tasks = BackgroundTasks(given)

    tasks.add_task(log.note)

    assert given == []
    assert len(tasks.tasks) == 1


async def test_a_task_that_is_added_by_a_running_task_runs_too(log: Log) -> None:
    tasks = BackgroundTasks()

    def add() -> None:
        tasks.add_task(log.note, "added")

    tasks.add_task(add)
    await tasks()

    assert log.calls == [(("added",), {})]


async def test_no_tasks_are_no_error() -> None:
    await BackgroundTasks()()


@pytest.mark.parametrize("name", ["fail", "fail_sync"])
async def test_the_tasks_after_a_failure_run_and_it_is_raised_at_the_end(
    log: Log, name: str
) -> None:
    error = ValueError("x")
    tasks = BackgroundTasks()
    tasks.add_task(getattr(log, name), error)
    tasks.add_task(log.note)

    with pytest.raises(ValueError) as raised:
        await tasks()

    assert raised.value is error
    assert len(log.calls) == 2


async def test_several_failures_are_raised_together(log: Log) -> None:
    first, second = ValueError("1"), KeyError("2")
    tasks = BackgroundTasks()
    tasks.add_task(log.fail, first)
    tasks.add_task(log.note)
    tasks.add_task(log.fail_sync, second)

    with pytest.raises(ExceptionGroup, match="2 background tasks failed") as raised:
        await tasks()

    assert raised.value.exceptions == (first, second)


async def test_each_failure_is_logged_with_the_name_of_its_task(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = BackgroundTasks()
    tasks.add_task(log.fail, ValueError("x"))
    tasks.add_task(functools.partial(log.fail, KeyError("y")))

    with caplog.at_level(logging.ERROR, LOGGER_NAME), pytest.raises(ExceptionGroup):
        await tasks()

    assert [record.getMessage() for record in caplog.records] == [
        "Background task Log.fail failed",
        "Background task Log.fail failed",
    ]
    assert caplog.records[0].exc_info is not None


async def test_cancellation_stops_the_tasks(log: Log) -> None:
    tasks = BackgroundTasks()
    with anyio.CancelScope() as scope:

        async def cancel() -> None:
            scope.cancel()
            await anyio.lowlevel.checkpoint()

        tasks.add_task(cancel)
        tasks.add_task(log.note)
        await tasks()

    assert scope.cancelled_caught
    assert log.calls == []
