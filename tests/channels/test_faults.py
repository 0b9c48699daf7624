"""Faults of the servers and files behind channels."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import AsyncExitStack

import anyio
import pytest
from services import Proxy

from spica.channels import Channels, ChannelsUnavailable, Gap, server, topics
from spica.channels import redis as redis_backend

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits, so that a fault is noticed soon."""
    monkeypatch.setattr(redis_backend, "PING_SECONDS", 0.3)
    monkeypatch.setattr(redis_backend, "PONG_SECONDS", 0.3)
    monkeypatch.setattr(redis_backend, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(topics, "MAX_RETRY_SECONDS", 0.2)


@pytest.fixture
def hold_open(monkeypatch, limit_operations):
    """A function that keeps a breaker open, once it is open, and returns a function that ends that.

    Without it, the breaker tries an operation each second: too soon for a test on a busy machine.
    """

    def hold_open(failures):
        monkeypatch.setattr(server, "OPEN_SECONDS", 3600.0)

        def let_go():
            monkeypatch.setattr(server, "OPEN_SECONDS", 0.05)
            limit_operations(60.0)
            failures.open_until = 0.0

        return let_go

    return hold_open


@pytest.fixture
async def start():
    async with AsyncExitStack() as stack:

        async def start(url, **options):
            channels = Channels(url, **options)
            await stack.enter_async_context(channels.lifespan())
            return channels

        yield start


async def take(subscription, count, seconds=60):
    with anyio.fail_after(seconds):
        return [await anext(subscription) for _ in range(count)]


async def publish_again(channels, value, seconds=60):
    """Publish when the backend is back."""
    with anyio.fail_after(seconds):
        while True:
            try:
                return await channels.publish("news", value)
            except ChannelsUnavailable:
                await anyio.sleep(0.05)


async def test_a_redis_that_restarts_empty_is_one_gap(start, redis_server):
    channels = await start(redis_server.url)
    async with channels.subscribe("news") as subscription:
        await channels.publish("news", 1)
        await take(subscription, 1)
        redis_server.restart()
        await publish_again(channels, 2)
        gap, message = await take(subscription, 2)
        assert (gap, message.data) == (Gap("news", "restarted"), 2)
        await channels.publish("news", 3)
        assert [m.data for m in await take(subscription, 1)] == [3]


async def test_a_cut_connection_loses_nothing(start, redis_server):
    publisher = await start(redis_server.url)
    with Proxy(redis_server.port) as proxy:
        reader = await start(redis_server.url.replace(str(redis_server.port), str(proxy.port)))
        async with reader.subscribe("news") as subscription:
            for number in range(20):
                await publisher.publish("news", number)
                if number % 5 == 4:
                    proxy.cut()
                    proxy.flow()
            assert [m.data for m in await take(subscription, 20)] == [*range(20)]


async def test_a_connection_that_stalls_is_noticed(start, redis_server):
    publisher = await start(redis_server.url)
    with Proxy(redis_server.port) as proxy:
        reader = await start(redis_server.url.replace(str(redis_server.port), str(proxy.port)))
        async with reader.subscribe("news") as subscription:
            await publisher.publish("news", 1)
            await take(subscription, 1)
            before = len(proxy.sockets)
            proxy.stall()
            await publisher.publish("news", 2)
            with anyio.fail_after(60):
                while len(proxy.sockets) == before:  # until the reader connects again
                    await anyio.sleep(0.01)
            proxy.flow()
            assert [m.data for m in await take(subscription, 1)] == [2]


async def test_a_last_message_that_redis_dropped_is_found(start, redis_server):
    channels = await start(redis_server.url)
    async with channels.subscribe("news") as subscription:
        await channels.publish("news", 1)
        await take(subscription, 1)
        feed, channels.backend._listener._feed.deliver = channels._hub, lambda *event: None
        await channels.publish("news", 2)
        assert [m.data for m in await take(subscription, 1)] == [2]
        del feed.deliver


async def test_the_databases_of_a_redis_are_separate(start, redis_server):
    first, second = await start(redis_server.url), await start(redis_server.url[:-1] + "1")
    async with second.subscribe("news") as subscription:
        await first.publish("news", "of the first")
        await second.publish("news", "of the second")
        assert [m.data for m in await take(subscription, 1)] == ["of the second"]


async def test_a_redis_that_is_stopped_costs_a_second_then_nothing(
    start, redis_server, limit_operations, hold_open
):
    channels = await start(redis_server.url)
    async with channels.subscribe("news") as subscription:
        redis_server.pause()
        limit_operations()
        let_go = hold_open(channels.backend._guard.failures)
        results = await asyncio.gather(
            *[channels.publish("news", 0) for _ in range(6)], return_exceptions=True
        )
        assert {type(result) for result in results} == {ChannelsUnavailable}
        assert "no answer in 1 s" in str(results[0])
        with pytest.raises(ChannelsUnavailable, match="the last operations failed"):
            await channels.publish("news", 0)
        redis_server.resume()
        let_go()
        id = await publish_again(channels, "back")
        items = [None]
        while getattr(items[-1], "id", None) != id:
            items += await take(subscription, 1)


async def test_a_backend_that_is_down_at_the_start_does_not_stop_the_application(
    start, redis_server, caplog, limit_operations
):
    redis_server.stop()
    limit_operations(1)
    channels = await start(redis_server.url)
    with pytest.raises(ChannelsUnavailable) as info:
        await channels.publish("news", 1)
    assert info.value.status_code == 503
    with pytest.raises(ChannelsUnavailable):
        async with channels.subscribe("news"):
            pass
    limit_operations(60)
    redis_server.start()
    async with AsyncExitStack() as stack:
        with anyio.fail_after(60):
            while True:
                try:
                    subscription = await stack.enter_async_context(channels.subscribe("news"))
                    break
                except ChannelsUnavailable:
                    await anyio.sleep(0.05)
        await publish_again(channels, 2)
        assert [m.data for m in await take(subscription, 1)] == [2]
    assert sum("Channels:" in record.message for record in caplog.records) <= 1


async def test_a_postgres_that_restarts_loses_nothing(start, postgres_server):
    channels = await start(postgres_server.url)
    async with channels.subscribe("news") as subscription:
        await publish_again(channels, 1)
        await take(subscription, 1)
        postgres_server.restart()
        await publish_again(channels, 2)
        assert [m.data for m in await take(subscription, 1)] == [2]


async def test_an_event_commits_with_the_transaction_of_the_caller(start, postgres_url):
    import asyncpg

    channels = await start(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    async with channels.subscribe("news") as subscription:
        await channels.publish("other", 0)  # makes the tables
        transaction = connection.transaction()
        await transaction.start()
        await channels.publish("news", "undone", connection=connection)
        await transaction.rollback()
        async with connection.transaction():
            await channels.publish("news", "done", connection=connection)
            with anyio.move_on_after(0.1) as scope:
                await anext(subscription)
            assert scope.cancelled_caught
        [message] = await take(subscription, 1)
    await connection.close()
    assert (message.data, message.id[-2:]) == ("done", "-1")


@pytest.fixture
async def connect(postgres_url):
    import asyncpg

    async with AsyncExitStack() as stack:

        async def connect():
            connection = await asyncpg.connect(postgres_url)
            stack.push_async_callback(connection.close)
            return connection

        yield connect


async def test_a_serialization_failure_is_an_error_of_the_caller(start, connect, postgres_url):
    import asyncpg

    channels = await start(postgres_url)
    await channels.publish("news", 1)
    connection = await connect()
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    await connection.execute("SELECT 1")  # the snapshot of the transaction
    await channels.publish("news", 2)
    with pytest.raises(asyncpg.SerializationError):
        await channels.publish("news", 3, connection=connection)
    await transaction.rollback()


async def test_a_closed_connection_is_an_error_of_the_caller(start, connect, postgres_url):
    import asyncpg

    channels = await start(postgres_url)
    connection = await connect()
    await connection.close()
    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        await channels.publish("news", 1, connection=connection)
    assert await channels.publish("news", 2)


def test_only_a_server_that_is_away_is_an_outage_for_a_transaction():
    import asyncpg

    from spica.channels.postgres import _CallersGuard, _Database

    guard = _CallersGuard(_Database(None, "postgresql://").errors)
    outages = [
        asyncpg.AdminShutdownError("stopping"),
        asyncpg.ConnectionDoesNotExistError("lost"),
        asyncpg.TooManyConnectionsError("full"),
        asyncpg.InternalClientError("half an answer"),
        ConnectionResetError(),
    ]
    others = [
        asyncpg.InFailedSQLTransactionError("aborted"),
        asyncpg.DeadlockDetectedError("deadlock"),
        asyncpg.QueryCanceledError("statement timeout"),
        asyncpg.InsufficientPrivilegeError("denied"),
        asyncpg.InterfaceError("closed"),
        ValueError(),
    ]
    assert all(map(guard.is_outage, outages))
    assert not any(map(guard.is_outage, others))


async def test_other_backends_take_no_connection(start):
    channels = await start("memory://")
    with pytest.raises(TypeError, match="Postgres backend only"):
        await channels.publish("news", 1, connection=object())


async def test_a_locked_file_is_unavailable_and_readers_go_on(start, tmp_path, limit_operations):
    path = tmp_path / "channels.db"
    channels = await start(f"sqlite:///{path}")
    async with channels.subscribe("news") as subscription:
        id = await channels.publish("news", 1)
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        limit_operations()
        with pytest.raises(ChannelsUnavailable, match=r"1 s|locked"):
            await channels.publish("news", 2)
        limit_operations(60.0)
        assert [m.id for m in await channels.history("news")] == [id]
        other.rollback()
        other.close()
        await publish_again(channels, 3)
        seen = []
        while seen[-1:] != [3]:
            seen += [m.data for m in await take(subscription, 1)]
        assert seen in ([1, 3], [1, 2, 3])


async def test_a_file_that_stays_locked_refuses_events_at_once_and_can_be_read(
    start, tmp_path, limit_operations, hold_open
):
    channels = await start(f"sqlite:///{tmp_path}/channels.db")
    await channels.publish("news", 1)
    other = sqlite3.connect(tmp_path / "channels.db")
    other.execute("BEGIN IMMEDIATE")
    limit_operations(0.2)
    let_go = hold_open(channels.backend._failures[True])
    try:
        events = [channels.publish("news", number) for number in range(5)]
        results = await asyncio.gather(*events, return_exceptions=True)
        assert {type(each) for each in results} == {ChannelsUnavailable}
        with pytest.raises(ChannelsUnavailable, match="the last operations failed"):
            await channels.publish("news", 6)
        limit_operations(60.0)
        assert [m.data for m in await channels.history("news")] == [1]
    finally:
        let_go()
        other.close()
    await publish_again(channels, 7)


async def test_a_file_that_was_replaced_is_a_restart(start, tmp_path, monkeypatch):
    monkeypatch.setattr("spica.channels.sqlite.CHECK_SECONDS", 0.05)
    path = tmp_path / "channels.db"
    channels = await start(f"sqlite:///{path}")
    async with channels.subscribe("news") as subscription:
        await channels.publish("news", 1)
        await take(subscription, 1)
        for each in tmp_path.iterdir():
            each.unlink()
        path.touch()
        await publish_again(channels, 2)
        items = await take(subscription, 2)
    assert items[0] == Gap("news", "restarted")
    assert items[1].data == 2


async def test_a_publisher_without_subscribers_notices_a_file_that_was_replaced(start, tmp_path):
    publisher = await start(f"sqlite:///{tmp_path}/channels.db")
    await publisher.publish("news", 1)
    for each in tmp_path.iterdir():
        each.unlink()
    await publisher.publish("news", 2)
    reader = await start(f"sqlite:///{tmp_path}/channels.db")
    assert [message.data for message in await reader.history("news")] == [2]


async def test_an_operation_that_fails_spoils_no_other_one(start, tmp_path):
    channels = await start(f"sqlite:///{tmp_path}/channels.db")
    backend, history = channels.backend, channels.history_limits
    await channels.publish("news", 1)
    results = await asyncio.gather(
        channels.publish("news", 2),
        backend.publish("news", "\ud800", b"3", 0.0, history),
        channels.publish("news", 4),
        return_exceptions=True,
    )
    assert [isinstance(each, ChannelsUnavailable) for each in results] == [False, True, False]


async def test_a_subscription_that_an_open_breaker_refused_can_be_made_later(start, redis_server):
    channels = await start(redis_server.url)
    async with channels.subscribe("first"):
        failures = channels.backend._guard.failures
        failures.count, failures.open_until = 5, time.monotonic() + 60
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refused, channels)
            tasks.start_soon(refused, channels)  # so that the topic is never closed in between
        failures.count = 0
        async with channels.subscribe("news") as subscription:
            await channels.publish("news", 1)
            assert [m.data for m in await take(subscription, 1)] == [1]


async def refused(channels):
    topic = channels._hub.topics.setdefault(
        "news", topics.Topic("news", "news", channels._hub.burst)
    )
    topic.count += 1  # as if a client always tried
    with pytest.raises(ChannelsUnavailable):
        await channels.subscribe("news").__aenter__()


WORKER = """
import sys, anyio
from spica.channels import Channels, sqlite

sqlite.TIMEOUT_SECONDS = 60  # on a busy machine

async def main(url):
    channels = Channels(url)
    async with channels.lifespan(), channels.presence.track("room", "ann"):
        print("ready", flush=True)
        number = 0
        while True:
            await channels.publish("room", number)
            print(number, flush=True)
            number += 1

anyio.run(main, sys.argv[1])
"""


async def test_a_killed_worker_loses_no_published_event_and_leaves(start, tmp_path):
    url = f"sqlite:///{tmp_path / 'channels.db'}"
    channels = await start(url)
    async with channels.subscribe("room", after="0", on_slow="drop_oldest"):
        command = [sys.executable, "-c", WORKER, url]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
        lines = [await anyio.to_thread.run_sync(worker.stdout.readline) for _ in range(200)]
        os.kill(worker.pid, signal.SIGKILL)
        with worker.stdout:
            rest = await anyio.to_thread.run_sync(worker.stdout.read)
        worker.wait()
        last = int((lines + rest.split())[-1])
        events = await channels.history("room", max_events=1000)
        assert [m.data for m in events][: last + 1] == [*range(last + 1)][-1000:]
    assert await channels.presence.list("room") == {"ann": [{}]}
    monkey = channels.presence
    monkey._watched["room"] += 1
    await expire(tmp_path / "channels.db")
    await monkey._sweep("room")
    assert await channels.presence.list("room") == {}


async def expire(path):
    """Let the time of all members be over."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE spica_presence SET expires = 0")
    connection.close()


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_servers_need_asyncio(name):
    async def main():
        async with Channels(f"{name}ql://x" if name == "postgres" else "redis://x").lifespan():
            pass

    with pytest.raises(TypeError, match="works on asyncio only"):
        anyio.run(main, backend="trio")
