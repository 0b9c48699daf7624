"""The Postgres backend of channels: pools and connections of yours."""

import asyncio

import anyio
import asyncpg
import pytest
from services import postgres_command, until_waiting

import spica.channels.postgres
from spica.channels import Channels, ChannelsUnavailable, History
from spica.channels.postgres import SCHEMA, PostgresBackend

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


async def test_a_worker_that_starts_does_not_wait_for_a_publisher(make_pool):
    pool = await make_pool(5)
    async with pool.acquire() as first, pool.acquire() as publisher, asyncio.TaskGroup() as group:
        await first.execute("SELECT pg_advisory_lock(7163, 2)")
        channels = Channels(PostgresBackend(pool))
        async with channels.lifespan():
            publishing = group.create_task(channels.publish("news", 1))
            await until_waiting(pool)
            await first.execute(SCHEMA)
            async with publisher.transaction():
                await publisher.execute("LOCK TABLE spica_event IN ROW EXCLUSIVE MODE")
                await first.execute("SELECT pg_advisory_unlock(7163, 2)")
                await publishing


@pytest.mark.parametrize(
    "change",
    [
        lambda backend: backend.join("room", {"b": b"", "a": b""}, 60),
        lambda backend: backend.leave("room", ["b", "a"]),
    ],
    ids=["join", "leave"],
)
async def test_changes_of_members_lock_them_in_their_order(change, make_pool):
    pool = await make_pool(5)
    backend = PostgresBackend(pool)
    channels = Channels(backend)
    async with channels.lifespan(), asyncio.TaskGroup() as group:
        for member in "ba":
            await backend.join("room", {member: b""}, 60)
        async with pool.acquire() as connection, connection.transaction():
            row = "SELECT FROM spica_presence WHERE member = '{}' FOR UPDATE NOWAIT"
            await connection.execute(row.format("a"))
            group.create_task(change(backend))
            await until_waiting(pool)
            await connection.execute(row.format("b"))


async def test_rows_of_your_transaction_do_not_hold_up_the_care_of_others(make_pool, monkeypatch):
    monkeypatch.setattr(spica.channels.postgres, "PRUNE_EVERY", 1)
    pool = await make_pool(5)
    backend = PostgresBackend(pool)
    channels = Channels(backend)
    async with channels.lifespan():
        for name in ("news", "sport"):
            await channels.publish(name, 1)
        await backend.join("room", {"a": b"", "b": b""}, 60)
        await pool.execute("UPDATE spica_channel SET used = 'epoch'")
        await pool.execute("UPDATE spica_event SET at = 'epoch'")
        await pool.execute("UPDATE spica_presence SET expires = 'epoch'")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM spica_event WHERE channel = 'news' FOR UPDATE")
            await connection.execute("SELECT FROM spica_channel WHERE name = 'news' FOR UPDATE")
            await connection.execute("SELECT FROM spica_presence WHERE member = 'b' FOR UPDATE")
            await backend.touch(["news"], History(10))
            await channels.publish("weather", 1)
            assert await backend.sweep("room") == {"a": b""}
            assert backend._listener.database.guard.failures.count == 0
            for table, column in ("spica_event", "channel"), ("spica_channel", "name"):
                rows = await pool.fetch(f"SELECT {column} FROM {table} ORDER BY 1")
                assert [*map(tuple, rows)] == [("news",), ("weather",)]


async def test_a_long_transaction_stops_no_other_channel(make_pool, limit_operations):
    limit_operations()
    pool = await make_pool(8)
    channels = Channels(PostgresBackend(pool))
    async with channels.lifespan():
        await channels.publish("news", 1)
        async with pool.acquire() as connection, connection.transaction():
            await channels.publish("news", 2, connection=connection)
            publishing = [asyncio.create_task(channels.publish("news", 3)) for _ in range(5)]
            for error in await asyncio.gather(*publishing, return_exceptions=True):
                assert isinstance(error, ChannelsUnavailable)
                assert "another transaction has published to the channel" in str(error)
            await channels.publish("sport", 1)
        await channels.publish("news", 4)
        assert [message.data for message in await channels.history("news")] == [1, 2, 4]
        assert await pool.fetchval("SHOW lock_timeout") == "0"


async def is_published(channels, value):
    try:
        return await channels.publish("failover", value)
    except ChannelsUnavailable:
        return None


async def test_after_a_failover_connections_lead_to_the_new_primary(postgres_server, monkeypatch):
    monkeypatch.setattr(spica.channels.postgres, "EXPIRE_SECONDS", 0.0)
    url, read_only = postgres_server.url, "ALTER ROLE spica SET default_transaction_read_only"
    channels = Channels(url)
    async with channels.lifespan(), channels.subscribe("failover") as subscription:
        await channels.publish("failover", 1)
        database = channels.backend._listener.database
        before = database.listening
        postgres_command(url, f"{read_only} = on")
        try:
            database._pool.expire()
            with pytest.raises(ChannelsUnavailable, match="the server is a replica"):
                await channels.publish("failover", 2)
        finally:
            postgres_command(f"{url}?default_transaction_read_only=off", f"{read_only} = off")
        with anyio.fail_after(60):
            while database.listening in (None, before):
                await anyio.sleep(0.01)
            while not await is_published(channels, 3):  # some connections may be of the time before
                await anyio.sleep(0.05)
            assert [(await anext(subscription)).data for _ in range(2)] == [1, 3]


async def test_your_pool_gets_a_connection_back_after_the_channels_have_stopped(make_pool):
    pool, other = await make_pool(4), await make_pool(2)
    channels = Channels(PostgresBackend(pool))
    async with other.acquire() as connection:
        async with channels.lifespan():
            await channels.publish("news", 1)
            lock = connection.transaction()
            await lock.start()
            await connection.execute("SELECT FROM spica_channel FOR UPDATE")
            publishing = asyncio.create_task(channels.publish("news", 2))
            await until_waiting(other)
        await lock.rollback()
    await asyncio.wait([publishing])
    with anyio.fail_after(60):
        await pool.close()
