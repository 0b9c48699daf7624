"""The Redis store: its clients and connections."""

import asyncio
import gc
import sys
import time
import warnings

import anyio
import anyio.from_thread
import pytest
import redis.asyncio
from services import RedisServer

from spica.channels import Channels, ChannelsUnavailable
from spica.stores import Rate, RedisStore, StoreUnavailable, open_store
from spica.stores.redis import Script

pytestmark = pytest.mark.anyio

FAR = time.time() + 86400


async def test_on_trio_it_raises_a_type_error(anyio_backend):
    store = open_store("redis://127.0.0.1:1/0")
    if anyio_backend == "trio":
        with pytest.raises(TypeError, match="works on asyncio only"):
            await store.get("a")
    await store.aclose()


def test_a_client_of_another_kind_is_refused():
    with pytest.raises(
        TypeError, match=r"client of redis.asyncio or valkey.asyncio, not redis\.client"
    ):
        RedisStore(redis.Redis())
    with pytest.raises(ValueError, match="without decode_responses=True"):
        RedisStore(redis.asyncio.Redis(decode_responses=True))


def test_a_cluster_is_refused():
    cluster = redis.asyncio.RedisCluster.__new__(redis.asyncio.RedisCluster)
    with pytest.raises(TypeError, match="does not support a cluster"):
        RedisStore(cluster)


class ClusterNode(RedisServer):
    """A node of a Redis Cluster that has no slots yet."""

    def __init__(self, program, folder):
        super().__init__(program, folder)
        while self.port > 55_535:  # the nodes use another port, 10,000 above
            super().__init__(program, folder)

    def command(self):
        yield from super().command()
        yield from ("--cluster-enabled", "yes")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_url_of_a_cluster_is_named_in_the_error(own_redis_server, tmp_path):
    """Without a client, only the answers of the server show it."""
    node = ClusterNode(own_redis_server.program, tmp_path)
    node.start()
    try:
        async with open_store(node.url, timeout_seconds=30) as store:
            for operation in (store.get("a"), store.take("a", Rate(1, 60))):
                with pytest.raises(
                    StoreUnavailable, match="a Redis Cluster, which is not supported"
                ):
                    await operation
        channels = Channels(node.url)
        async with channels.lifespan():
            with pytest.raises(
                ChannelsUnavailable, match="a Redis Cluster, which is not supported"
            ):
                await channels.publish("news", 1)
    finally:
        node.stop()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_client_of_yours_stays_open(redis_url):
    client = redis.asyncio.Redis.from_url(redis_url)
    store = RedisStore(client, timeout_seconds=60)
    assert await store.take("a", Rate(1, 60))
    await store.aclose()
    assert await client.ping()
    await client.aclose()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("max_connections", [1, 2])
async def test_operations_wait_for_the_connections_of_your_client(redis_url, max_connections):
    client = redis.asyncio.Redis.from_url(redis_url, max_connections=max_connections)
    store = RedisStore(client, timeout_seconds=5)
    allowed = await asyncio.gather(*[store.take("a", Rate(20, 60)) for _ in range(50)])
    assert sum(answer.allowed for answer in allowed) == 20
    await client.aclose()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_connections_that_you_use_yourself_are_no_outage(redis_url):
    client = redis.asyncio.Redis.from_url(redis_url, max_connections=1)
    store = RedisStore(client)
    await store.ping()
    taken = await client.connection_pool.get_connection()
    for _ in range(10):
        with pytest.raises(StoreUnavailable, match="all connections of the client are in use"):
            await store.ping()
    assert store.is_available
    await client.connection_pool.release(taken)
    await store.ping()
    await client.aclose()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_keys_are_readable_and_expire(redis_url):
    async with open_store(redis_url, timeout_seconds=60) as store:
        shop = store.prefixed("shop")
        await shop.set("a", b"1", seconds=60)
        await shop.take("a", Rate(1, 60))
        await shop.acquire("a", "me", seconds=60)
        await shop.create("a", {}, idle_seconds=60, ends_at=FAR, group="g")
        execute = store._server.current[1].execute
        times = {key: await execute("PTTL", key) for key in await execute("KEYS", "*")}
    keys = {
        b"spica:v:shop:a",
        b"spica:t:shop:a",
        b"spica:l:shop:a",
        b"spica:r:shop:a",
        b"spica:g:shop:g",
    }
    assert times.keys() == keys
    assert all(0 < left <= 60_000 for key, left in times.items() if key != b"spica:g:shop:g")
    assert 60_000 < times[b"spica:g:shop:g"] <= 86_400_000


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_members_that_expired_leave_the_group(redis_url):
    async with open_store(redis_url, timeout_seconds=60) as store:
        await store.create("b", {}, idle_seconds=60, ends_at=FAR, group="g")
        execute = store._server.current[1].execute
        await execute("ZADD", "spica:g:g", 1, "old")
        await store.create("a", {}, idle_seconds=60, ends_at=FAR, group="g")
        assert await execute("ZRANGE", "spica:g:g", 0, -1) == [b"b", b"a"]


class NoScriptError(Exception):
    """Named like the error of the drivers."""


async def test_a_script_is_one_round_trip_once_the_server_knows_it():
    sent = []

    async def execute(command, *args):
        sent.append(command)
        if len(sent) == 1:
            raise NoScriptError
        return 1

    script = Script("return 1")
    await script.run(execute, [b"a"])
    await script.run(execute, [b"a"])
    assert sent == ["EVALSHA", "EVAL", "EVALSHA"]


def test_a_store_moves_to_another_event_loop(redis_url):
    store = open_store(redis_url, timeout_seconds=60)

    async def take():
        async with store:
            return await store.take("a", Rate(3, 60))

    assert [asyncio.run(take()).remaining for _ in range(3)] == [2, 1, 0]
    asyncio.run(store.aclose())


def test_each_event_loop_has_its_connections(redis_url):
    store = open_store(redis_url, timeout_seconds=60)
    with (
        anyio.from_thread.start_blocking_portal() as one,
        anyio.from_thread.start_blocking_portal() as other,
    ):
        for _ in range(3):
            assert one.call(store.set, "a", b"1")
            assert other.call(store.set, "a", b"1")
        assert sorted(len(own._all) for own, _ in store._server.own.values()) == [1, 1]
        other.call(store.aclose)
        assert one.call(store.get, "a") == b"1"
        one.call(store.aclose)
    assert store._server.own == {}


def test_a_client_of_yours_moves_to_another_event_loop(redis_url):
    client = redis.asyncio.Redis.from_url(redis_url)
    store = RedisStore(client, timeout_seconds=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the connections of the loops that have ended
        assert [asyncio.run(store.set("a", b"1")) for _ in range(3)] == [True] * 3
        del store, client
        gc.collect()


def test_the_message_for_a_missing_driver_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ImportError, match=r"pip install 'spica\[redis\]'"):
        open_store("redis://localhost/0")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_connection_that_uvloop_reports_as_closed_is_an_outage():
    class Closed(redis.asyncio.Redis):
        async def execute_command(self, *args, **options):
            raise RuntimeError(
                "unable to perform operation on <TCPTransport>; the handler is closed"
            )

    store = RedisStore(Closed())  # a subclass of the client is welcome
    with pytest.raises(StoreUnavailable, match="the handler is closed"):
        await store.get("a")
