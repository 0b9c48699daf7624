"""The store in Postgres, for many machines.

Each operation is one statement. All times are those of the server, so the clocks of the machines do not
matter, except for `ends_at` of records. A committed change survives a crash, but for the table of rates: it
is UNLOGGED, so a crash of the server empties it. asyncio only, like the driver.

The store creates its tables in the first schema of the search path. If its role may not do that, execute
`SCHEMA` in your migrations.
"""

import asyncio
import base64
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import orjson

from spica.stores.base import BaseStore
from spica.stores.breaker import READ_ONLY, Breaker, describe_error, is_lost_connection, is_refusal
from spica.stores.postgres_connections import Connections, split_options
from spica.stores.postgres_tables import (
    EXPIRE_SECONDS,
    Tables,
    UnusableDatabase,
    begin,
    expire_connections,
    is_open,
    take_connection,
)
from spica.stores.values import Allowance, Rate, Record, take
from spica.stores.waiting import Busy, Slots

MAX_CONNECTIONS = 10
"""How many connections a store opens at most, in each process."""
PRUNE_SECONDS = 1.0
"""The least time between two looks for expired rows."""
PRUNE_PART = 0.01
"""The part of the time in which a process looks for expired rows, at most. Rates and leases have no index for
it, because each request would have to change that. So a look at a million rows takes about 50 ms."""
MIN_PRUNED = 100
"""How many expired rows one look deletes at least."""
LOCK_NOT_AVAILABLE = "55P03"
"""Code of an error: see appendix A of the manual of Postgres."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS spica_value
    (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL, expires bigint);
CREATE UNLOGGED TABLE IF NOT EXISTS spica_rate
    (key text COLLATE "C" PRIMARY KEY, tat bigint NOT NULL, now bigint NOT NULL, allowed boolean NOT NULL)
    WITH (fillfactor = 70);
CREATE TABLE IF NOT EXISTS spica_lease
    (key text COLLATE "C" PRIMARY KEY, owner text NOT NULL, expires bigint NOT NULL);
CREATE TABLE IF NOT EXISTS spica_record
    (key text COLLATE "C" PRIMARY KEY, fields jsonb NOT NULL, created bigint NOT NULL, used bigint NOT NULL,
    expires bigint NOT NULL, ends bigint NOT NULL, grp text COLLATE "C");
CREATE INDEX IF NOT EXISTS spica_value_expires ON spica_value (expires) WHERE expires IS NOT NULL;
CREATE INDEX IF NOT EXISTS spica_record_grp ON spica_record (grp) WHERE grp IS NOT NULL;
CREATE INDEX IF NOT EXISTS spica_record_expires ON spica_record (expires);
CREATE TABLE IF NOT EXISTS spica_generation (grp text COLLATE "C" PRIMARY KEY, number bigint NOT NULL);
"""
"""The tables of the store. Times are in microseconds since the epoch."""

_TABLES = Tables(SCHEMA, "spica_generation", 1)
# The time of the server in microseconds, once per statement. now() would be the time of the transaction.
_N = "n AS MATERIALIZED (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS t)"
_T = "(SELECT t FROM n)"
_LIVE = f"expires > {_T} AND ends > {_T}"
# A clock that was set back, or a rate that was changed: no state is further ahead than a whole burst. Two
# statements that wait for each other may see each other's time as 5 seconds ahead.
_TAT = "CASE WHEN r.tat > {n} + $2::bigint + 5000000 THEN {n} + $2::bigint ELSE greatest(r.tat, {n}) END"
_TAT = _TAT.format(n=_T)

# Two statements that lock the same rows or tables in another order would wait for each other. Each statement
# locks tables in the order of `SCHEMA`, and several rows of a table in the order of their keys.
# A pool may have a codec for jsonb, so JSON is sent and read as text.
_STATEMENTS = {
    "ping": "SELECT 1",
    "get": f"WITH {_N} SELECT value FROM spica_value WHERE key = $1 AND (expires IS NULL OR expires > {_T})",
    "set": f"""WITH {_N} INSERT INTO spica_value AS v VALUES ($1, $2, {_T} + $3::bigint)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires RETURNING true""",
    "set absent": f"""WITH {_N} INSERT INTO spica_value AS v VALUES ($1, $2, {_T} + $3::bigint)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires
        WHERE v.expires <= {_T} RETURNING true""",
    "set present": f"""WITH {_N} UPDATE spica_value SET value = $2, expires = {_T} + $3::bigint
        WHERE key = $1 AND (expires IS NULL OR expires > {_T}) RETURNING true""",
    "delete": f"""WITH {_N},
        v AS (DELETE FROM spica_value WHERE key IN (SELECT key FROM spica_value
            WHERE key = ANY ($1::text[]) ORDER BY key FOR UPDATE) RETURNING key, expires),
        t AS (DELETE FROM spica_rate WHERE key IN (SELECT key FROM spica_rate
            WHERE key = ANY ($1::text[]) ORDER BY key FOR UPDATE) RETURNING key, tat),
        r AS (DELETE FROM spica_record WHERE key IN (SELECT key FROM spica_record
            WHERE key = ANY ($1::text[]) ORDER BY key FOR UPDATE) RETURNING key, expires, ends)
        SELECT count(*) FROM (SELECT key FROM v WHERE expires IS NULL OR expires > {_T}
        UNION SELECT key FROM t WHERE tat > {_T} UNION SELECT key FROM r WHERE {_LIVE}) AS k""",
    # $2: whole burst, $3: interval * cost. A refused request also writes the row, because only
    # RETURNING shows the state that the decision was made on.
    "take": f"""WITH {_N} INSERT INTO spica_rate AS r VALUES ($1, {_T} + $3::bigint, {_T}, true)
        ON CONFLICT (key) DO UPDATE SET now = {_T},
        allowed = {_TAT} + $3::bigint - $2::bigint <= {_T},
        tat = {_TAT} + CASE WHEN {_TAT} + $3::bigint - $2::bigint <= {_T} THEN $3::bigint ELSE 0 END
        RETURNING allowed, tat, now""",
    "peek": f"WITH {_N} SELECT (SELECT tat FROM spica_rate WHERE key = $1), t FROM n",
    "acquire": f"""WITH {_N} INSERT INTO spica_lease AS l VALUES ($1, $2, {_T} + $3::bigint)
        ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, expires = excluded.expires
        WHERE l.owner = excluded.owner OR l.expires <= {_T} RETURNING true""",
    "release": f"""WITH {_N} DELETE FROM spica_lease WHERE key = $1 AND owner = $2 AND expires > {_T}
        RETURNING true""",
    "read": f"""WITH {_N} SELECT fields::text, created, used, ends FROM spica_record
        WHERE key = $1 AND {_LIVE}""",
    "create": f"""WITH {_N} INSERT INTO spica_record VALUES ($1, $2::text::jsonb, {_T}, {_T},
        least({_T} + $3::bigint, $4::bigint), $4::bigint, $5)
        ON CONFLICT (key) DO UPDATE SET fields = excluded.fields, created = excluded.created,
        used = excluded.used, expires = excluded.expires, ends = excluded.ends,
        grp = excluded.grp""",
    "merge": f"""WITH {_N} UPDATE spica_record SET fields = (fields || $2::text::jsonb) - $3::text[],
        used = {_T}, expires = least({_T} + $4::bigint, ends) WHERE key = $1 AND {_LIVE} RETURNING true""",
    "members": f"""WITH {_N} SELECT array(SELECT key FROM spica_record WHERE grp = $1 AND {_LIVE}
        ORDER BY created, key)""",
    "delete_group": f"""WITH {_N}, d AS (DELETE FROM spica_record WHERE key IN (SELECT key FROM spica_record
        WHERE grp = $1 AND key IS DISTINCT FROM $2 ORDER BY key FOR UPDATE)
        RETURNING expires, ends) SELECT count(*) FROM d WHERE {_LIVE}""",
    "generation": "SELECT number FROM spica_generation WHERE grp = $1",
    "bump": """INSERT INTO spica_generation AS g VALUES ($1, 1)
        ON CONFLICT (grp) DO UPDATE SET number = g.number + 1 RETURNING number""",
}
_PRUNE = {
    table: f"""WITH {_N} DELETE FROM {table} WHERE key IN (SELECT key FROM {table} WHERE {condition}
        LIMIT $1 FOR UPDATE SKIP LOCKED)"""
    for table, condition in {
        "spica_value": f"expires <= {_T}",
        "spica_rate": f"tat <= {_T}",
        "spica_lease": f"expires <= {_T}",
        "spica_record": f"expires <= {_T}",
    }.items()
}


def _microseconds(seconds: float) -> int:
    return max(1, round(seconds * 1_000_000))


def _name(field: str) -> str:
    """Return a field's name in a form that jsonb can store: without NUL and lone surrogates."""
    return field.encode("unicode_escape").decode("ascii")


def _json(fields: Mapping[str, bytes]) -> str:
    return orjson.dumps(
        {_name(name): base64.b64encode(value).decode("ascii") for name, value in fields.items()}
    ).decode()


class _Operations:
    """The operations on a connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def _row(self, statement: str, *args: Any) -> Any:
        return await self.connection.fetchrow(_STATEMENTS[statement], *args)

    async def _one(self, statement: str, *args: Any) -> Any:
        return await self.connection.fetchval(_STATEMENTS[statement], *args)

    async def ping(self) -> None:
        await self._one("ping")

    async def get(self, key: str) -> Any:
        return await self._one("get", key)

    async def set(self, key: str, value: bytes, seconds: float | None, only_if: str | None) -> Any:
        statement = f"set {only_if}" if only_if else "set"
        expires = None if seconds is None else _microseconds(seconds)
        return await self._one(statement, key, value, expires)

    async def delete(self, keys: list[str]) -> Any:
        return await self._one("delete", keys)

    async def take(self, key: str, rate: Rate, cost: int) -> Allowance:
        interval, full = rate.interval, rate.interval * rate.burst
        if not cost:
            tat, now = await self._row("peek", key)
            return take(tat or 0, now, rate, 0)[0]
        allowed, tat, now = await self._row("take", key, full, interval * cost)
        remaining = max(0, (now + full - tat) // interval)
        wait = 0 if allowed else max(tat + interval * cost - full - now, 1)
        return Allowance(allowed, remaining, wait / 1e6, max(tat - now, 0) / 1e6)

    async def acquire(self, key: str, owner: str, seconds: float) -> Any:
        return await self._one("acquire", key, owner, _microseconds(seconds))

    async def release(self, key: str, owner: str) -> Any:
        return await self._one("release", key, owner)

    async def read(self, key: str) -> Record | None:
        row = await self._row("read", key)
        if row is None:
            return None
        data, *times = row
        fields = {
            name.encode("ascii").decode("unicode_escape"): base64.b64decode(value)
            for name, value in orjson.loads(data).items()
        }
        return Record(fields, *(moment / 1e6 for moment in times))

    async def create(
        self, key: str, fields: dict[str, bytes], idle: float, ends_at: float, group: str | None
    ) -> None:
        times = (_microseconds(idle), _microseconds(ends_at))
        await self._one("create", key, _json(fields), *times, group)

    async def merge(self, key: str, changes: dict[str, bytes | None], idle: float) -> Any:
        deleted = [_name(name) for name, value in changes.items() if value is None]
        written = {name: value for name, value in changes.items() if value is not None}
        return await self._one("merge", key, _json(written), deleted, _microseconds(idle))

    async def members(self, group: str) -> Any:
        return await self._one("members", group)

    async def delete_group(self, group: str, keep: str | None) -> Any:
        return await self._one("delete_group", group, keep)

    async def generation(self, group: str, bump: bool) -> Any:
        return await self._one("bump" if bump else "generation", group) or 0

    async def prune(self, limit: int) -> None:
        for statement in _PRUNE.values():
            await self.connection.execute(statement, limit)


def _import_asyncpg() -> Any:
    try:
        return __import__("asyncpg")
    except ImportError as error:
        raise ImportError(
            "The store needs the package 'asyncpg': pip install 'spica[postgres]'."
        ) from error


class _Open(NamedTuple):
    pool: Any
    slots: "Slots | nullcontext[None]"
    needs_transactions: bool


class _Database:
    """The pool that all views of a store share: yours, or one for each event loop."""

    def __init__(self, pool: Any, url: str, timeout_seconds: float) -> None:
        self.asyncpg = _import_asyncpg()
        self.url = url
        self.owned = pool is None
        self.given = pool
        self.breaker = Breaker("PostgresStore", timeout_seconds)
        self.errors = (
            self.asyncpg.PostgresError,
            self.asyncpg.InterfaceError,
            self.asyncpg.InternalClientError,
            UnusableDatabase,
            OSError,
            TimeoutError,
        )
        self.openings: dict[asyncio.AbstractEventLoop, asyncio.Task[_Open]] = {}
        """The tasks that open the pools, by event loop: connections cannot move to another loop."""
        self.calls: set[_Call] = set()
        self.prune_at = time.monotonic() + PRUNE_SECONDS
        self.writes = 0
        self.expired_at = -EXPIRE_SECONDS

    def pool(self) -> "asyncio.Task[_Open]":
        """Return the task that opens the pool, for this event loop. It goes on after a timeout."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise TypeError(
                "PostgresStore works on asyncio only, because its driver does. On trio use MemoryStore or "
                "SQLiteStore."
            ) from None
        opening = self.openings.get(loop)
        if opening is None or (opening.done() and not is_open(opening)):
            for other in [other for other in self.openings if other.is_closed()]:
                self.openings.pop(other, None)  # such as those of test clients
            opening = self.openings[loop] = loop.create_task(self._open())
            opening.add_done_callback(_note_exception)
        return opening

    def is_open(self) -> bool:
        """Whether the pool of this event loop and the tables are ready."""
        return is_open(self.openings.get(asyncio.get_running_loop()))

    async def _open(self) -> "_Open":
        seconds = self.breaker.timeout_seconds
        pool = self.given or Connections(
            self.asyncpg, self.url, max_connections=MAX_CONNECTIONS, timeout_seconds=seconds
        )
        try:
            needs_transactions = await _TABLES.prepare_on(pool)
        except BaseException:
            if self.owned:
                pool.terminate()
            raise
        # Your pool waits for no connection when the server is full. Ours limits itself.
        slots = nullcontext() if self.owned else Slots(pool.get_max_size(), seconds)
        return _Open(pool, slots, needs_transactions)

    async def run(self, call: "_Call") -> Any:
        """Open the pool if necessary, and carry out one operation."""
        self.calls.add(call)
        try:
            opened = await asyncio.shield(self.pool())
            async with opened.slots:
                try:
                    return await call.carry_out(opened)
                except self.asyncpg.ReadOnlySQLTransactionError:
                    await self._expire(opened.pool)
                    raise
        finally:
            self.calls.discard(call)

    async def _expire(self, pool: Any) -> None:
        """Replace all connections: the server is a replica by now, for example after a failover.

        At most once a second, in case the address is that of a replica.
        """
        now = time.monotonic()
        if now - self.expired_at >= EXPIRE_SECONDS:
            self.expired_at = now
            await expire_connections(pool)

    def start(self, call: "_Call") -> "asyncio.Task[Any]":
        """Carry out an operation in a task of its own. After a timeout it ends in the background."""
        task = asyncio.get_running_loop().create_task(self.run(call))
        task.add_done_callback(_note_exception)
        return task

    def prune(self) -> None:
        """Delete some expired rows in the background, if it is time to."""
        self.writes += 1
        if time.monotonic() >= self.prune_at:
            self.prune_at = math.inf  # one look at a time
            limit, self.writes = max(MIN_PRUNED, 2 * self.writes), 0
            started_at = time.monotonic()
            task = self.start(_Call("prune", (limit,)))
            task.add_done_callback(lambda _: self._plan_prune(started_at))

    def _plan_prune(self, started_at: float) -> None:
        """Plan the next look for expired rows: the later, the longer this one took."""
        now = time.monotonic()
        self.prune_at = now + max(PRUNE_SECONDS, (now - started_at) / PRUNE_PART)

    async def close(self) -> None:
        if not self.openings:
            return
        loop = asyncio.get_running_loop()
        opening = self.openings.pop(loop, None)
        if opening is None:
            return
        for call in [*self.calls]:
            if call.loop is loop:
                call.abandon()
        if not opening.done():
            opening.cancel()
        elif self.owned and is_open(opening):
            pool = opening.result().pool
            try:
                async with asyncio.timeout(self.breaker.timeout_seconds):
                    await pool.close()
            except TimeoutError:
                pool.terminate()


class _Call:
    """One operation on a connection of the pool.

    asyncpg does not like to be cancelled: a cancelled connect raises errors in callbacks, and a cancelled
    query sends another request to a server that may not answer. So the task goes on, and its connection is
    closed.
    """

    def __init__(self, operation: str, args: tuple[Any, ...]) -> None:
        self.operation = operation
        self.args = args
        self.loop = asyncio.get_running_loop()
        self.connection: Any = None
        self.is_abandoned = False

    async def carry_out(self, opened: _Open) -> Any:
        """Return the result. Without a caller that waits, do nothing.

        Raises:
            Busy: The role has a ``lock_timeout``, or too few connections.
            Exception: The server or the connection failed: an error of the driver, or an OSError.
        """
        connection = await take_connection(opened.pool)
        try:
            if not self.is_abandoned:
                self.connection = connection
                async with begin(connection, opened.needs_transactions):
                    return await getattr(_Operations(connection), self.operation)(*self.args)
        except BaseException as error:
            code = getattr(error, "sqlstate", None)
            if code == LOCK_NOT_AVAILABLE:
                raise Busy(f"{error} (the role has a lock_timeout)") from None
            if code is None or code == READ_ONLY:
                # Its state is unknown, or its server is no longer the primary.
                connection.terminate()
            raise
        finally:
            self.connection = None
            await opened.pool.release(connection)

    def abandon(self) -> None:
        """Give the operation up. Its connection is of no use to another one: the answer may still come."""
        self.is_abandoned = True
        if self.connection is not None:
            self.connection.terminate()


def _note_exception(task: "asyncio.Task[Any]") -> None:
    """Mark an exception as seen: the operation that waited has raised its own."""
    if not task.cancelled():
        task.exception()


class PostgresStore(BaseStore):
    """A store in Postgres, on your pool.

    Make the pool with ``reset`` set to an async function that does nothing, or each operation takes
    a second round trip. Behind PgBouncer in transaction mode, make it with ``statement_cache_size=0``. A URL
    may have that option, too.

    Args:
        pool: an ``asyncpg.Pool``. You close it yourself.
        timeout_seconds: the timeout of an operation, 0.25 s by default.

    Raises:
        TypeError: The pool is of another kind.

    Example:
        ``store = PostgresStore(pool)``, or ``open_store("postgresql://user@localhost/app")``
    """

    across = "machines"

    def __init__(self, pool: Any, *, timeout_seconds: float = 0.25) -> None:
        if not isinstance(pool, _import_asyncpg().Pool):
            cls = type(pool)
            raise TypeError(
                f"PostgresStore needs an asyncpg.Pool, not {cls.__module__}.{cls.__qualname__}."
            )
        self._database = _Database(pool, "", timeout_seconds)

    @classmethod
    def from_url(cls, url: str, *, timeout_seconds: float = 0.25) -> "PostgresStore":
        """Return a store with connections of its own, at most 10: see `open_store`."""
        split_options(url)
        store = cls.__new__(cls)
        store._database = _Database(None, url, timeout_seconds)
        return store

    async def _run(self, operation: str, *args: Any) -> Any:
        database = self._database
        breaker = database.breaker
        database.pool()  # a TypeError on trio
        breaker.enter(operation)
        call = _Call(operation, args)
        task = database.start(call)
        try:
            await asyncio.wait({task}, timeout=breaker.timeout_seconds)
        except BaseException:
            call.abandon()
            breaker.leave()
            raise
        if not task.done():
            call.abandon()
            raise breaker.timed_out(operation)
        try:
            result = task.result()
        except Busy as error:
            raise breaker.refuse(operation, str(error)) from None
        except database.errors as error:
            is_outage = not (database.is_open() and is_refusal(error))
            raise breaker.fail(operation, describe_error(error), is_outage=is_outage) from error
        except BaseException as error:
            if is_lost_connection(error):
                raise breaker.fail(operation, str(error)) from error
            breaker.leave()
            raise
        breaker.succeed()
        database.prune()
        return result

    @property
    def is_available(self) -> bool:
        """Whether the circuit breaker is closed: see `BaseStore.is_available`."""
        return not self._database.breaker.is_open

    async def aclose(self) -> None:
        """Close the connections that the store opened: see `Store.aclose`."""
        await self._database.close()
