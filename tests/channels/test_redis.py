"""The Redis backend of channels: clients of yours, and epochs."""

import anyio
import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from spica.channels import Channels
from spica.channels.redis import RedisBackend

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
