"""The Postgres store: its pools and tables."""

import asyncio
import math
import sys
import time

import anyio
import asyncpg
import pytest
from services import postgres_command, until_waiting

from spica.stores import PostgresStore, Rate, StoreUnavailable, open_store
from spica.stores.postgres import SCHEMA, _Call

pytestmark = pytest.mark.anyio
ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])

FAR = time.time() + 86400


@pytest.fixture
async def store(postgres_url):
    async with open_store(postgres_url, timeout_seconds=60) as store:
        yield store


@pytest.fixture
async def pool(postgres_url):
    async with asyncpg.create_pool(postgres_url) as pool:
        yield pool


async def test_on_trio_it_raises_a_type_error(anyio_backend):
    store = open_store("postgresql://127.0.0.1:1/app")
    if anyio_backend == "trio":
        with pytest.raises(TypeError, match="works on asyncio only"):
            await store.get("a")
    await store.aclose()


def test_a_pool_of_another_kind_is_refused():
    with pytest.raises(TypeError, match=r"needs an asyncpg.Pool, not builtins.object"):
        PostgresStore(object())


@ASYNCIO
async def test_a_pool_of_yours_stays_open(postgres_url):
    async with asyncpg.create_pool(postgres_url, min_size=1, max_size=2) as pool:
        store = PostgresStore(pool, timeout_seconds=60)
        assert await store.take("a", Rate(1, 60))
        await store.aclose()
        assert await pool.fetchval("SELECT 1") == 1


def test_each_event_loop_has_one_pool(postgres_url):
    store = open_store(postgres_url, timeout_seconds=60)
    with (
        anyio.from_thread.start_blocking_portal() as one,
        anyio.from_thread.start_blocking_portal() as other,
    ):
        for _ in range(3):
            assert one.call(store.set, "a", b"1")
            assert other.call(store.set, "a", b"1")
        assert len(store._database.openings) == 2
        other.call(store.aclose)
        assert one.call(store.get, "a") == b"1"
        one.call(store.aclose)
    assert store._database.openings == {}


@ASYNCIO
async def test_stores_that_start_at_once_create_the_tables_once(postgres_url):
    stores = [open_store(postgres_url, timeout_seconds=60) for _ in range(8)]
    async with anyio.create_task_group() as group:
        for n, store in enumerate(stores):
            group.start_soon(store.set, str(n), b"1")
    for store in stores:
        await store.aclose()


@ASYNCIO
async def test_a_worker_that_starts_does_not_wait_for_writers(store, pool):
    async with asyncio.TaskGroup() as group:
        async with pool.acquire() as first, pool.acquire() as writer:
            await first.execute("SELECT pg_advisory_lock(7163, 1)")
            setting = group.create_task(store.set("a", b"1"))
            await until_waiting(pool)
            await first.execute(SCHEMA)
            async with writer.transaction():
                await writer.execute("LOCK TABLE spica_value, spica_record IN ROW EXCLUSIVE MODE")
                await first.execute("SELECT pg_advisory_unlock(7163, 1)")
                assert await setting


@ASYNCIO
@pytest.mark.parametrize(
    "delete",
    [lambda store: store.delete("b", "a"), lambda store: store.delete_group("g", keep="c")],
    ids=["keys", "group"],
)
async def test_deletions_lock_rows_in_the_order_of_their_keys(delete, store, pool):
    async with asyncio.TaskGroup() as group:
        for key in "bac":
            await store.create(key, {}, idle_seconds=60, ends_at=FAR, group="g")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM spica_record WHERE key LIKE '%a' FOR UPDATE")
            deleting = group.create_task(delete(store))
            await until_waiting(pool)
            await connection.execute(
                "SELECT FROM spica_record WHERE key LIKE '%b' FOR UPDATE NOWAIT"
            )
            await store.merge("c", {"name": b"1"}, idle_seconds=60)
        assert await deleting == 2


@ASYNCIO
async def test_a_deletion_that_waited_deletes_the_newest_state(store, pool):
    async with asyncio.TaskGroup() as group:
        await store.set("a", b"1")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("UPDATE spica_value SET value = '2'")
            deleting = group.create_task(store.delete("a"))
            await until_waiting(pool)
        assert await deleting == 1
        assert await store.get("a") is None


@ASYNCIO
async def test_tables_of_a_migration_need_no_permission_to_create_them(postgres_url):
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(SCHEMA)
    await connection.close()
    async with open_store(postgres_url, timeout_seconds=60) as store:
        assert await store.set("a", b"1")


@ASYNCIO
async def test_the_rates_are_unlogged_and_nothing_else(store, postgres_url):
    await store.ping()
    query = (
        "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relpersistence = 'u' "
        "AND relnamespace = current_schema()::regnamespace"
    )
    assert [tuple(row) for row in postgres_command(postgres_url, query)] == [("spica_rate",)]


@ASYNCIO
async def test_expired_rows_are_deleted(store, postgres_url):
    for n in range(5):
        await store.set(f"v{n}", b"1", seconds=0.001)
        await store.acquire(f"l{n}", "me", seconds=0.001)
        await store.create(f"r{n}", {}, idle_seconds=0.001, ends_at=FAR)
        await store.take(f"t{n}", Rate(1000, 1))
    await store.set("kept", b"1")
    await anyio.sleep(0.01)
    await store._run("prune", 100)
    counts = [
        postgres_command(postgres_url, f"SELECT count(*) FROM spica_{table}")[0][0]
        for table in ("value", "rate", "lease", "record")
    ]
    assert counts == [1, 0, 0, 0]


@ASYNCIO
async def test_a_state_far_in_the_future_delays_no_request_longer_than_a_burst(store, postgres_url):
    await store.take("a", Rate(5, 10))
    postgres_command(postgres_url, "UPDATE spica_rate SET tat = tat + 3600000000")
    refused = await store.take("a", Rate(5, 10))
    assert not refused
    assert 1.9 < refused.retry_after_seconds <= 2


@ASYNCIO
async def test_a_wrong_password_or_database_is_unavailable_with_its_reason(postgres_url):
    async with open_store(
        postgres_url.replace("/postgres?", "/missing?"), timeout_seconds=60
    ) as store:
        with pytest.raises(StoreUnavailable, match='database "missing" does not exist'):
            await store.get("a")


def test_the_message_for_a_missing_driver_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ImportError, match=r"pip install 'spica\[postgres\]'"):
        open_store("postgresql://localhost/app")


@ASYNCIO
async def test_a_look_for_expired_rows_that_took_long_delays_the_next(store):
    database = store._database
    database._plan_prune(time.monotonic() - 3)
    assert database.prune_at > time.monotonic() + 200


@ASYNCIO
async def test_a_record_that_ends_is_deleted_although_it_would_be_idle_for_longer(store, pool):
    await store.create("a", {"user": b"ann"}, idle_seconds=86400, ends_at=time.time() + 0.01)
    await store.create("b", {"user": b"ann"}, idle_seconds=10, ends_at=time.time() + 30)
    await store.merge("b", {"user": b"bob"}, idle_seconds=86400)
    assert await pool.fetchval("SELECT bool_and(expires <= ends) FROM spica_record")
    with anyio.fail_after(60):
        while await pool.fetchval("SELECT count(*) FROM spica_record") > 1:
            await store._database.start(_Call("prune", (100,)))


@ASYNCIO
async def test_after_a_failover_all_connections_are_replaced(store):
    store._database.prune_at = math.inf  # it would use a connection meanwhile
    await store.set("a", b"1")
    pool = (await store._database.pool()).pool
    connections = [await pool.acquire() for _ in range(3)]
    for connection in connections:  # as on a server that has become a replica
        await connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        await pool.release(connection)
    with pytest.raises(StoreUnavailable, match="the server is a replica"):
        await store.set("a", b"2")
    assert await store.set("a", b"3")
    assert all(connection.is_closed() for connection in connections)
