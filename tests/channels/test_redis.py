"""The Redis backend of channels: clients of yours, and epochs."""

import anyio
import pytest
import redis.asyncio
from ports import free_port
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from services import redis_command

from spica.channels import Channels, ChannelsUnavailable
from spica.channels.redis import RedisBackend
from spica.channels.server import MAX_FAILURES

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


@pytest.fixture
async def make_client(redis_url):
    clients = []

    def make(max_connections):
        options = {"retry": Retry(NoBackoff(), 0), "max_connections": max_connections}
        clients.append(redis.asyncio.Redis.from_url(redis_url, **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


async def test_a_client_of_yours_with_two_connections_is_enough(make_client):
    client = make_client(2)
    channels = Channels(RedisBackend(client))
    async with channels.lifespan(), channels.subscribe("news") as subscription:
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(channels.publish, "news", number)
        with anyio.fail_after(30):
            found = [(await anext(subscription)).data for _ in range(50)]
        assert sorted(found) == [*range(50)]
        await channels.backend.touch(["news"], channels.history_limits)
        await channels._hub.backend._listener._compare(["news"])
    assert await client.ping()  # still yours


async def test_a_client_with_one_connection_is_refused(make_client):
    with pytest.raises(ValueError, match="needs two connections or more"):
        RedisBackend(make_client(1))


async def test_a_url_that_decodes_responses_is_refused(anyio_backend):
    with pytest.raises(ValueError, match="Remove decode_responses from the URL"):
        Channels("redis://127.0.0.1:1/0?decode_responses=True")


async def test_connections_that_you_use_are_no_outage(make_client):
    client = make_client(2)
    channels = Channels(RedisBackend(client))
    async with channels.lifespan():
        await channels.publish("news", 1)
        backend = channels.backend
        taken = await client.connection_pool.get_connection()
        for _ in range(10):
            with pytest.raises(Exception, match="all connections of the client are in use"):
                await channels.publish("news", 2)
        assert backend._guard.failures.count == 0
        await client.connection_pool.release(taken)
        await channels.publish("news", 3)


async def test_an_epoch_that_may_be_in_use_is_not_used_again(redis_url):
    """Redis may have begun a counter with it, and lose the counter at a restart."""
    channels = Channels(redis_url)
    async with channels.lifespan():
        backend = channels.backend
        await channels.publish("news", 1)
        await channels.publish("news", 2)
        unused = backend._next_epoch
        await channels.publish("news", 3)
        assert backend._next_epoch == unused != ""  # making one takes time
        with anyio.CancelScope() as scope:
            scope.cancel()
            await channels.publish("other", 1)
        assert backend._next_epoch == ""
        await channels.publish("news", 4)
    async with channels.lifespan():  # perhaps in a fork, which has the memory of its parent
        assert backend._next_epoch == ""


async def test_an_event_is_not_stored_without_the_right_to_send_it(redis_server):
    rights = "ON >pw ~spica:* resetchannels &spica:* +@read +@write +@scripting +@pubsub +ping +time -publish"
    redis_command(redis_server.url, f"ACL SETUSER limited RESET {rights}")
    channels = Channels(f"redis://limited:pw@127.0.0.1:{redis_server.port}/0")
    try:
        async with channels.lifespan():
            for _ in range(MAX_FAILURES + 1):  # no outage: each attempt gets the same answer
                with pytest.raises(ChannelsUnavailable, match="allow the ACL user"):
                    await channels.publish("limited", 1)
            assert await channels.history("limited") == []
    finally:
        redis_command(redis_server.url, "ACL DELUSER limited")


async def test_a_subscription_names_the_reason_why_it_is_not_connected(redis_server, monkeypatch):
    monkeypatch.setattr("spica.channels.server.TIMEOUT_SECONDS", 0.5)
    rights = "ON >pw ~spica:* resetchannels &spica:* +@all -subscribe"
    redis_command(redis_server.url, f"ACL SETUSER limited RESET {rights}")
    channels = Channels(f"redis://limited:pw@127.0.0.1:{redis_server.port}/0")
    try:
        async with channels.lifespan():
            with anyio.fail_after(60):
                while not channels.backend._listener._failure:
                    await anyio.sleep(0.01)
            with pytest.raises(ChannelsUnavailable, match="subscribe failed: NoPermissionError"):
                async with channels.subscribe("limited"):
                    pass
    finally:
        redis_command(redis_server.url, "ACL DELUSER limited")


async def test_after_a_failover_subscriptions_lead_to_the_new_primary(redis_server):
    channels = Channels(redis_server.url)
    async with channels.lifespan(), channels.subscribe("news") as subscription:
        await channels.publish("news", 1)
        before = channels.backend._listener._pubsub
        redis_command(redis_server.url, f"REPLICAOF 127.0.0.1 {free_port()}")
        try:
            with pytest.raises(ChannelsUnavailable, match=r"READONLY|ReadOnlyError"):
                await channels.publish("news", 2)
        finally:
            redis_command(redis_server.url, "REPLICAOF NO ONE")
        with anyio.fail_after(60):
            while channels.backend._listener._pubsub in (None, before):
                await anyio.sleep(0.01)
            await channels.publish("news", 3)
            assert [(await anext(subscription)).data for _ in range(2)] == [1, 3]
