"""A coroutine that callbacks of asyncio resume."""

import asyncio
import contextvars

import pytest

from spica._asgi.callback_task import CallbackTask

variable = contextvars.ContextVar("variable", default=0)


def run(function):
    asyncio.run(function())


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


class Started:
    """A callback task, and what its end was."""

    def __init__(self, function):
        self.ends = []
        self.task = CallbackTask(asyncio.get_running_loop(), function, self.ends.append)


def test_it_waits_for_futures_and_turns_without_a_task():
    async def main():
        future, steps = asyncio.get_running_loop().create_future(), []

        async def function():
            await asyncio.sleep(0)
            steps.append(await future)

        started = Started(function)
        before = len(asyncio.all_tasks())
        await turns()
        assert (steps, started.ends, len(asyncio.all_tasks())) == ([], [], before)
        future.set_result("done")
        await turns()
        assert (steps, started.ends) == (["done"], [None])

    run(main)


def test_an_error_is_passed_to_the_end():
    async def main():
        async def function():
            async with asyncio.timeout(1):  # needs a current task
                await asyncio.sleep(0)

        started = Started(function)
        await turns()
        assert isinstance(started.ends[0], RuntimeError)

    run(main)


@pytest.mark.parametrize("has_begun", [True, False])
def test_cancelling_runs_the_cleanup_and_cancels_the_future(has_begun):
    async def main():
        future, steps = asyncio.get_running_loop().create_future(), []

        async def function():
            try:
                await future
            finally:
                steps.append("cleanup")

        started = Started(function)
        if has_begun:
            await turns()
        started.task.cancel()
        started.task.cancel()
        assert steps == (["cleanup"] if has_begun else [])
        assert future.cancelled() is has_begun
        await turns()
        assert started.ends == []

    run(main)


def test_a_cancellation_during_the_wait_is_an_end():
    async def main():
        future = asyncio.get_running_loop().create_future()

        async def function():
            await future

        started = Started(function)
        await turns()
        future.cancel()
        await turns()
        assert isinstance(started.ends[0], asyncio.CancelledError)

    run(main)


def test_it_has_the_context_of_its_creator():
    async def main():
        seen = []

        async def function():
            seen.append(variable.get())
            await asyncio.sleep(0)
            seen.append(variable.get())

        variable.set(7)
        Started(function)
        variable.set(8)
        await turns()
        assert seen == [7, 7]

    run(main)
