"""The time limit and the circuit breaker of operations on servers."""

import pytest

from spica.channels import ChannelsUnavailable
from spica.channels.server import MAX_FAILURES, Guard
from spica.stores.waiting import Busy

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


def refuse(calls):
    calls.append("called")
    raise ConnectionError("gone")


async def test_a_call_that_raises_before_it_returns_an_awaitable_is_an_outage():
    with pytest.raises(ChannelsUnavailable, match="publish failed: ConnectionError: gone"):
        await Guard((OSError,)).run("publish", refuse, [])


async def test_an_open_breaker_does_not_call():
    guard, calls = Guard((OSError,)), []
    for _ in range(MAX_FAILURES + 3):
        with pytest.raises(ChannelsUnavailable):
            await guard.run("publish", refuse, calls)
    assert len(calls) == MAX_FAILURES


async def test_a_long_wait_for_a_connection_does_not_open_the_breaker():
    async def wait():
        calls.append("called")
        raise Busy("no connection was free")

    guard, calls = Guard((OSError,)), []
    for _ in range(MAX_FAILURES + 3):
        with pytest.raises(ChannelsUnavailable, match="publish failed: no connection was free"):
            await guard.run("publish", wait)
    assert len(calls) == MAX_FAILURES + 3


async def test_an_answer_of_the_server_opens_no_breaker():
    class DiskFullError(Exception):
        sqlstate = "53100"

    async def publish():
        calls.append("called")
        raise DiskFullError

    guard, calls = Guard((DiskFullError,)), []
    guard.failures.count = MAX_FAILURES - 1
    for _ in range(MAX_FAILURES + 3):
        with pytest.raises(ChannelsUnavailable, match="DiskFullError"):
            await guard.run("publish", publish)
    assert len(calls) == MAX_FAILURES + 3


async def test_another_error_is_raised_as_it_is():
    with pytest.raises(ConnectionError, match="gone"):
        await Guard((ValueError,)).run("publish", refuse, [])


async def test_a_connection_that_postgres_closed_is_an_outage(postgres_url):
    from spica.channels.postgres import _call_method, _Database

    database = _Database(None, postgres_url)
    connection = await database.acquire()
    await database.release(connection)
    database.terminate(connection)
    with pytest.raises(ChannelsUnavailable, match="connection is closed"):
        await database.guard.run("reading", _call_method, connection, "fetch", "SELECT 1")
    await database.close()


async def test_a_connection_that_uvloop_reports_as_closed_is_an_outage():
    async def write():
        raise RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed")

    with pytest.raises(ChannelsUnavailable, match="the handler is closed"):
        await Guard(()).run("publish", write)
