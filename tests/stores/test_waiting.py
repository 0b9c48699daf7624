"""The limits on the connections in use and on the wait for an answer."""

import asyncio
import socket
import time

import pytest
from virtual_time import run_in_virtual_time

from spica.channels import ChannelsUnavailable
from spica.channels.server import Guard
from spica.stores.waiting import WAIT_PART, AnswerTimeout, Busy, Slots


def test_no_more_than_the_given_number_run_at_once():
    running, most = 0, 0

    async def work(slots):
        nonlocal running, most
        async with slots:
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

    async def main():
        slots = Slots(3, 10)
        await asyncio.gather(*(work(slots) for _ in range(20)))

    run_in_virtual_time("asyncio", main)
    assert most == 3


def test_a_wait_that_is_too_long_ends_before_the_operation_does():
    async def main():
        slots = Slots(1, 1.0)
        async with slots:
            begin = asyncio.get_running_loop().time()
            with pytest.raises(Busy, match=r"no connection was free for 0\.8 s"):
                async with slots:
                    pass
            waited = asyncio.get_running_loop().time() - begin
        async with slots:
            return waited

    assert run_in_virtual_time("asyncio", main) == pytest.approx(WAIT_PART, abs=0.01)


def test_a_wait_ends_after_its_time():
    async def wait():
        loop = asyncio.get_running_loop()
        begin = loop.time()
        with pytest.raises(TimeoutError):
            async with AnswerTimeout(5):
                await asyncio.sleep(60)
        return loop.time() - begin

    assert run_in_virtual_time("asyncio", wait) == 5


async def receive(server, client):
    """Block the event loop until long after the time limit, and then read the answer that came before."""
    loop = asyncio.get_running_loop()
    answer = asyncio.ensure_future(loop.sock_recv(client, 10))
    await asyncio.sleep(0)
    server.send(b"answer")
    time.sleep(0.05)  # noqa: ASYNC251  # the fault itself
    return await asyncio.shield(answer)


@pytest.fixture
def connection():
    server, client = socket.socketpair()
    client.setblocking(False)
    with server, client:
        yield server, client


def test_an_answer_that_came_in_time_counts_though_the_event_loop_was_blocked(connection):
    async def ask():
        async with AnswerTimeout(0.01):
            return await receive(*connection)

    assert asyncio.run(ask()) == b"answer"


def test_a_blocked_event_loop_is_no_outage_of_channels(connection, monkeypatch):
    monkeypatch.setattr("spica.channels.server.TIMEOUT_SECONDS", 0.01)
    guard = Guard(())
    assert asyncio.run(guard.run("read", receive, *connection)) == b"answer"
    assert guard.failures.count == 0
    with pytest.raises(ChannelsUnavailable):
        asyncio.run(guard.run("read", asyncio.sleep, 60))


def test_a_cancelled_wait_stays_cancelled():
    async def cancel():
        async with AnswerTimeout(5):
            asyncio.current_task().cancel()
            await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
