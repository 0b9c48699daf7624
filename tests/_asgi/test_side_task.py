"""Tasks beside the caller's, and signals between the two."""

import asyncio
import contextvars
import sys

import anyio
import pytest

from spica._asgi.side_task import Signal, clock_of, running_asyncio_loop, start_side_task

pytestmark = pytest.mark.anyio

current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="unset")


class TestSignal:
    async def test_it_can_be_awaited_afterwards(self) -> None:
        signal = Signal()
        signal.set()
        assert signal.is_set
        await signal.wait()

    async def test_a_waiter_is_woken(self) -> None:
        signal, steps = Signal(), []

        async def wait() -> None:
            await signal.wait()
            steps.append("woken")

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                assert steps == []
                signal.set()
        assert steps == ["woken"]

    async def test_several_waiters_are_woken(self) -> None:
        signal, woken = Signal(), []

        async def wait(number: int) -> None:
            await signal.wait()
            woken.append(number)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(wait, 1)
                group.start_soon(wait, 2)
                await anyio.wait_all_tasks_blocked()
                assert woken == []
                signal.set()
        assert sorted(woken) == [1, 2]

    async def test_it_can_be_set_again_and_after_a_waiter_has_gone(self) -> None:
        signal = Signal()
        with anyio.move_on_after(0):
            await signal.wait()
        signal.set()
        signal.set()
        await signal.wait()


class TestSideTask:
    async def test_it_runs_beside_the_caller(self) -> None:
        over = Signal()

        async def run() -> None:
            over.set()

        start_side_task(run)
        assert not over.is_set
        with anyio.fail_after(30):
            await over.wait()

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio shares no context before 3.12")
    async def test_it_shares_the_caller_s_context(self) -> None:
        over, seen = Signal(), []

        async def run() -> None:
            seen.append(current.get())
            current.set("set inside")
            over.set()

        current.set("set outside")
        start_side_task(run)
        await over.wait()
        assert (seen, current.get()) == (["set outside"], "set inside")

    async def test_it_can_be_cancelled(self) -> None:
        waits, over = Signal(), Signal()

        async def run() -> None:
            try:
                waits.set()
                await anyio.sleep_forever()
            finally:
                over.set()

        task = start_side_task(run)
        with anyio.fail_after(30):
            await waits.wait()
            task.cancel()
            await over.wait()


async def test_which_loop_runs(anyio_backend: str) -> None:
    assert (running_asyncio_loop() is not None) == (anyio_backend == "asyncio")


def test_no_loop_runs() -> None:
    assert running_asyncio_loop() is None


class SlowedLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own, as tests use it."""

    def time(self) -> float:
        return super().time() / 1000


def test_the_clock_of_a_loop_is_its_own() -> None:
    for loop in (asyncio.new_event_loop(), SlowedLoop()):
        before = loop.time()
        assert before <= clock_of(loop)() <= loop.time()
        loop.close()
