"""The connections to Redis of a store and of channels."""

import asyncio
from urllib.parse import urlsplit

import anyio
import pytest
import redis.asyncio
from ports import free_port
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import ResponseError
from services import Proxy, redis_command

from spica.stores.redis_connections import Connections, GivenClient
from spica.stores.waiting import Busy

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"  # like the driver


@pytest.fixture
async def connections(redis_url):
    connections = Connections(redis.asyncio, redis_url, max_connections=2, timeout_seconds=60)
    yield connections
    await connections.aclose()


async def id_of(connections):
    """Return the number that the server gave to the connection of the next command."""
    return await connections.execute("CLIENT", "ID")


async def test_commands_one_after_another_share_a_connection(connections):
    assert await connections.execute("SET", "a", b"1") == b"OK"
    assert await connections.execute("HSET", "h", "a", "1") == 1
    assert await connections.execute("HGETALL", "h") == [b"a", b"1"]
    assert await connections.execute("GET", "missing") is None
    assert await id_of(connections) == await id_of(connections)


async def test_commands_at_once_wait_for_one_of_the_connections(connections):
    ids = await asyncio.gather(*(id_of(connections) for _ in range(20)))
    assert len(set(ids)) == 2


async def test_an_error_of_the_server_keeps_the_connection(connections):
    id = await id_of(connections)
    with pytest.raises(ResponseError):
        await connections.execute("INCR", "a", "b")
    assert await id_of(connections) == id


async def test_a_cancelled_command_costs_its_connection(connections):
    id = await id_of(connections)
    task = asyncio.create_task(connections.execute("BLPOP", "nothing", 0))
    await asyncio.sleep(0)
    with anyio.fail_after(60):
        while b"cmd=blpop" not in await connections.execute("CLIENT", "LIST", "ID", id):
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert id not in await asyncio.gather(id_of(connections), id_of(connections))


async def test_a_connection_that_the_server_closed_is_replaced_before_its_use(
    connections, redis_url
):
    id = await id_of(connections)
    async with redis.asyncio.Redis.from_url(redis_url) as other:
        await other.client_kill_filter(_id=id)
    with anyio.fail_after(60):
        while not connections._free[0]._reader.at_eof():
            await asyncio.sleep(0)
    assert await id_of(connections) != id


async def test_closing_fails_the_commands_that_run(connections):
    await id_of(connections)
    task = asyncio.create_task(connections.execute("BLPOP", "nothing", 0))
    await asyncio.sleep(0)
    await connections.aclose()
    with pytest.raises((Lost, OSError)):
        await task
    assert await connections.execute("PING") == b"PONG"


async def test_a_connection_made_while_the_others_close_is_not_kept(connections):
    task = asyncio.create_task(connections.execute("PING"))
    await asyncio.sleep(0)
    await connections.aclose()
    assert await task == b"PONG"
    assert connections._free == []


async def test_a_connection_opens_although_its_command_has_timed_out(redis_url):
    with Proxy(urlsplit(redis_url).port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/1"
        connections = Connections(redis.asyncio, url, max_connections=1, timeout_seconds=60)
        proxy.stall()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await connections.execute("PING")
        with pytest.raises(Busy, match="still being opened"):
            await connections.execute("PING")
        proxy.flow()
        with anyio.fail_after(60):
            while not connections._free:
                await asyncio.sleep(0.01)
        assert await connections.execute("PING") == b"PONG"
        await connections.aclose()


async def test_a_late_connection_is_left_to_the_next_command(connections):
    connections._timeout_seconds = 0  # so each connection is late
    task = asyncio.create_task(connections.execute("BLPOP", "nothing", 0))
    with anyio.fail_after(60):
        while b"cmd=blpop" not in await connections.execute("CLIENT", "LIST"):
            await asyncio.sleep(0)
    task.cancel()  # the first command on its connection ran out of time
    await asyncio.wait([task])

    async def ping_twice():
        pings = (connections.execute("PING") for _ in range(2))
        return {str(answer) for answer in await asyncio.gather(*pings, return_exceptions=True)}

    assert await ping_twice() == {
        "b'PONG'",
        "the connection opened late: the next operation uses it",
    }
    assert await ping_twice() == {"b'PONG'"}


async def test_after_a_refused_write_your_client_connects_again(redis_server):
    async with redis.asyncio.Redis.from_url(redis_server.url, max_connections=1) as client:
        given = GivenClient(client, timeout_seconds=60)
        id = await given.execute("CLIENT", "ID")
        redis_command(redis_server.url, f"REPLICAOF 127.0.0.1 {free_port()}")
        try:
            with pytest.raises(ResponseError):
                await given.execute("SET", "a", b"1")
        finally:
            redis_command(redis_server.url, "REPLICAOF NO ONE")
        assert await given.execute("CLIENT", "ID") != id


async def test_after_a_refused_write_connections_lead_to_the_new_primary(redis_server, connections):
    ids = await asyncio.gather(id_of(connections), id_of(connections))
    redis_command(redis_server.url, f"REPLICAOF 127.0.0.1 {free_port()}")
    try:
        with pytest.raises(ResponseError):
            await connections.execute("SET", "a", b"1")
    finally:
        redis_command(redis_server.url, "REPLICAOF NO ONE")
    assert await connections.execute("SET", "a", b"1") == b"OK"
    new = await asyncio.gather(id_of(connections), id_of(connections))
    assert len(set(new) - set(ids)) == 2
