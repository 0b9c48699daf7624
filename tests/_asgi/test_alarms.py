"""Deadlines of one time limit, with one timer of the event loop."""

import asyncio

import pytest
from virtual_time import run_in_virtual_time

from spica._asgi.alarms import Alarm, Alarms
from spica._asgi.deadline import resume


class Over(Exception):
    pass


async def limited(alarms, seconds, work):
    """Await ``work`` for at most ``seconds`` after its first step."""
    steps = work.__await__()
    return await resume(Alarm(alarms, alarms.loop.time() + seconds, Over), steps, next(steps))


def run(main):
    async def start():
        return await main(Alarms(asyncio.get_running_loop()))

    return run_in_virtual_time("asyncio", start)


def test_each_deadline_ends_at_its_own_time():
    async def one(alarms, delay, ends):
        await asyncio.sleep(delay)
        begin = alarms.loop.time()
        with pytest.raises(Over):
            await limited(alarms, 5, asyncio.sleep(60))
        ends.append(alarms.loop.time() - begin)

    async def main(alarms):
        ends = []
        await asyncio.gather(*(one(alarms, delay, ends) for delay in (0, 0, 1, 3.5)))
        return ends, len(alarms.armed)

    ends, left = run(main)
    assert ends == pytest.approx([5, 5, 5, 5], abs=0.01)
    assert left == 0


def test_requests_that_are_quick_share_one_timer(monkeypatch):
    async def main(alarms):
        timers = []
        call_at = alarms.loop.call_at
        monkeypatch.setattr(
            alarms.loop, "call_at", lambda *args, **kw: timers.append(args) or call_at(*args, **kw)
        )
        for _ in range(100):
            assert await limited(alarms, 30, asyncio.sleep(0, "done")) == "done"
        return len(timers), len(alarms.armed)

    assert run(main) == (1, 0)


def test_a_cancellation_from_outside_stays_one():
    async def main(alarms):
        task = asyncio.ensure_future(limited(alarms, 5, asyncio.sleep(60)))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(alarms.armed)

    assert run(main) == 0


def test_an_answer_at_the_deadline_counts():
    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "answer"

    async def main(alarms):
        answer = await limited(alarms, 5, stubborn())
        await asyncio.sleep(1)  # the task is not cancelled any more
        return answer, asyncio.current_task().cancelling()

    assert run(main) == ("answer", 0)
