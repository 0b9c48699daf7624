"""Databases, roles and pools with settings of their own, for the store and the channels in Postgres."""

import asyncio
import json
import time
import uuid

import asyncpg
import pytest
from services import postgres_command, until_waiting

from spica.channels import Channels, ChannelsUnavailable
from spica.stores import PostgresStore, StoreUnavailable, open_store

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

FAR = time.time() + 86400
LEVELS = pytest.mark.parametrize("level", ["repeatable%20read", "serializable"])


@LEVELS
async def test_the_store_waits_for_a_row_in_any_isolation_level(level, postgres_url):
    url = f"{postgres_url}&default_transaction_isolation={level}"
    async with (
        asyncpg.create_pool(postgres_url) as pool,
        open_store(url, timeout_seconds=60) as store,
        asyncio.TaskGroup() as group,
    ):
        await store.set("a", b"1")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("UPDATE spica_value SET value = '2'")
            setting = group.create_task(store.set("a", b"3"))
            await until_waiting(pool)
        assert await setting
        assert await store.get("a") == b"3"


@LEVELS
async def test_channels_wait_for_a_row_in_any_isolation_level(level, postgres_url, monkeypatch):
    for module in ("server", "postgres"):
        monkeypatch.setattr(f"spica.channels.{module}.TIMEOUT_SECONDS", 60.0)
    channels = Channels(f"{postgres_url}&default_transaction_isolation={level}")
    async with (
        asyncpg.create_pool(postgres_url) as pool,
        channels.lifespan(),
        asyncio.TaskGroup() as group,
    ):
        await channels.publish("news", 1)
        async with pool.acquire() as connection, connection.transaction():
            await channels.publish("news", 2, connection=connection)
            publishing = group.create_task(channels.publish("news", 3))
            await until_waiting(pool)
        assert (await publishing).endswith("-3")


async def test_a_pool_may_have_codecs_for_json(postgres_url):
    async def add_codec(connection):
        await connection.set_type_codec(
            "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )

    async with asyncpg.create_pool(postgres_url, min_size=0, init=add_codec) as pool:
        store = PostgresStore(pool, timeout_seconds=60)
        await store.create("a", {"x": b"1", "y": b"2"}, idle_seconds=60, ends_at=FAR)
        await store.merge("a", {"x": None, "z": b"3"}, idle_seconds=60)
        record = await store.read("a")
        assert record is not None
        assert record.fields == {"y": b"2", "z": b"3"}


@pytest.mark.parametrize(
    ("setting", "fix"),
    [
        ("default_transaction_read_only=on", "use the primary"),
        ("search_path=missing", r"add \?search_path=NAME to the URL"),
    ],
)
async def test_the_message_names_the_fix_of_a_setting(setting, fix, postgres_url):
    async with open_store(f"{postgres_url.partition('?')[0]}?{setting}", timeout_seconds=60) as s:
        with pytest.raises(StoreUnavailable, match=fix):
            await s.set("a", b"1")


async def test_a_role_with_a_lock_timeout_opens_no_breaker(postgres_url):
    async with (
        asyncpg.create_pool(postgres_url) as pool,
        open_store(f"{postgres_url}&lock_timeout=1", timeout_seconds=60) as store,
    ):
        await store.set("a", b"1")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("UPDATE spica_value SET value = '2'")
            for _ in range(6):
                with pytest.raises(StoreUnavailable, match="the role has a lock_timeout"):
                    await store.set("a", b"3")
        assert await store.get("a") == b"2"


@pytest.fixture
def limited_url(postgres_url, postgres_server):
    """The URL of a role that has one connection, and no right to create tables."""
    role = f"role_{uuid.uuid4().hex}"
    url = postgres_server.url
    postgres_command(url, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
    schema = postgres_url.partition("search_path=")[2]
    postgres_command(url, f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    yield f"{url.replace('spica@', f'{role}@')}?search_path={schema}"
    postgres_command(url, f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_too_few_connections_open_no_breaker(postgres_server, postgres_url, limited_url):
    async with (
        open_store(postgres_url, timeout_seconds=60) as creator,
        open_store(limited_url, timeout_seconds=60) as store,
        asyncpg.create_pool(postgres_url) as pool,
        asyncio.TaskGroup() as group,
    ):
        await creator.set("a", b"1")
        await pool.execute(
            "GRANT ALL ON ALL TABLES IN SCHEMA "
            f"{postgres_url.partition('search_path=')[2]} TO PUBLIC"
        )
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("UPDATE spica_value SET value = '2'")
            setting = group.create_task(store.set("a", b"3"))
            await until_waiting(pool)
            opened = await store._database.pool()
            opened.pool._wait_seconds = 0.01
            for _ in range(6):
                with pytest.raises(StoreUnavailable, match="the server allows no more than 1"):
                    await store.get("a")
        assert await setting


async def test_a_role_that_may_not_create_tables_gets_a_migration_as_fix(limited_url):
    async with open_store(limited_url, timeout_seconds=60) as store:
        with pytest.raises(StoreUnavailable, match="execute SCHEMA of"):
            await store.get("a")


async def test_a_database_that_lacks_characters_is_refused(postgres_server):
    name = f"latin_{uuid.uuid4().hex}"
    encoding = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
    postgres_command(postgres_server.url, f"CREATE DATABASE {name} TEMPLATE template0 {encoding}")
    url = postgres_server.url.replace("/postgres", f"/{name}")
    async with open_store(url, timeout_seconds=60) as store:
        with pytest.raises(StoreUnavailable, match="ENCODING 'UTF8'"):
            await store.get("a")
    channels = Channels(url)
    async with channels.lifespan():
        with pytest.raises(ChannelsUnavailable):
            await channels.publish("news", 1)
    postgres_command(postgres_server.url, f"DROP DATABASE {name} WITH (FORCE)")
