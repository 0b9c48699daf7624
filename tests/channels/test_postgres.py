"""The Postgres backend of channels: pools and connections of yours."""

import asyncpg
import pytest

from spica.channels import Channels
from spica.channels.postgres import PostgresBackend

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


@pytest.fixture
async def make_pool(postgres_url):
    pools = []

    async def make(max_size):
        pools.append(await asyncpg.create_pool(postgres_url, min_size=0, max_size=max_size))
        return pools[-1]

    yield make
    for pool in pools:
        await pool.close()


async def test_a_pool_with_two_connections_is_enough(make_pool):
    channels = Channels(PostgresBackend(await make_pool(2)))
    async with channels.lifespan(), channels.subscribe("news") as subscription:
        for number in range(10):
            await channels.publish("news", number)
        assert [(await anext(subscription)).data for _ in range(10)] == [*range(10)]


async def test_a_pool_with_one_connection_is_refused(make_pool):
    pool = await make_pool(1)
    with pytest.raises(ValueError, match="needs two connections or more"):
        PostgresBackend(pool)


async def test_errors_in_your_transaction_are_no_outage(make_pool):
    pool = await make_pool(3)
    channels = Channels(PostgresBackend(pool))
    async with channels.lifespan():
        await channels.publish("news", 1)
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.execute("SELECT 1 / 0")
            for _ in range(10):
                with pytest.raises(asyncpg.InFailedSQLTransactionError):
                    await channels.publish("news", 2, connection=connection)
            assert channels.backend._listener.database.guard.failures.count == 0
            await transaction.rollback()
        await channels.publish("news", 3)


async def test_the_first_event_may_be_one_of_your_transaction(make_pool):
    pool = await make_pool(3)
    channels = Channels(PostgresBackend(pool))
    async with pool.acquire() as connection, channels.lifespan():
        async with connection.transaction():
            await channels.publish("news", 1, connection=connection)
        assert [message.data for message in await channels.history("news")] == [1]


async def test_another_object_than_a_connection_is_refused(make_pool):
    channels = Channels(PostgresBackend(await make_pool(2)))
    async with channels.lifespan():
        with pytest.raises(TypeError, match="connection must be a connection of asyncpg"):
            await channels.publish("news", 1, connection=object())
