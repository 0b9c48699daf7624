"""Channels in Postgres, for many machines and for events that commit with your data.

One statement counts and inserts an event. The row of the channel stays locked until the commit, so the
order of numbers is the order of commits, without holes. NOTIFY only wakes the other processes up. It runs
outside of the publishing transaction, because a commit with NOTIFY locks the whole database, and at most
once in 10 ms for each process. A lost wake-up delays events by a second at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import nullcontext
from typing import Any

import anyio

from spica.channels import postgres_statements as statements
from spica.channels.backend import (
    KEEP_COUNTER_SECONDS,
    MIN_KEPT_EVENTS,
    TIMEOUT_SECONDS,
    Feed,
    Page,
    kept,
)
from spica.channels.messages import ChannelsUnavailable, Event, History, Position, new_epoch
from spica.channels.postgres_statements import SCHEMA as SCHEMA
from spica.channels.server import Guard, require_asyncio
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
from spica.stores.waiting import WAIT_PART, Busy, Slots

POLL_SECONDS = 1.0
"""The time between two looks at the counters without a wake-up."""
NOTIFY_SECONDS = 0.01
"""The time in which wake-ups are collected."""
MAX_PAYLOAD_SIZE = 7000
"""The largest list of channels in a wake-up, in bytes. Postgres allows 8000. A longer list becomes "all"."""
MAX_CONNECTIONS = 10
"""The number of connections of a backend that was made from a URL."""
PRUNE_EVERY = 1000
"""The number of events of this process between two searches for expired ones."""
WAKE_UP = "spica_channels"
OUTAGE_CLASSES = ("08", "53")
"""Classes of SQLSTATE: the connection failed, or the server lacks resources."""
OUTAGE_CODES = ("57P01", "57P02", "57P03")
"""The server stops, has crashed, or starts."""

_TABLES = Tables(SCHEMA, "spica_presence", 2)


def _import_asyncpg() -> Any:
    try:
        return __import__("asyncpg")
    except ImportError as exc:
        raise ImportError(
            "Channels on Postgres need the package asyncpg: pip install 'spica[postgres]'."
        ) from exc


def _ignore_result(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


async def _call_method(connection: Any, method: str, *args: Any) -> Any:
    """Call a method of a connection. Its lookup also raises InterfaceError if the pool has it back."""
    return await getattr(connection, method)(*args)


async def _detached(call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Await a call that a timeout leaves behind: asyncpg may take long to cancel on a server that hangs."""
    task = asyncio.ensure_future(call(*args))
    task.add_done_callback(_ignore_result)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        raise


class _CallersGuard(Guard):
    """The guard of operations on a connection of the caller, in the caller's transaction.

    Only a server that is away is an outage. An aborted transaction, a deadlock, a serialization failure, a
    timeout that the caller has set or a connection that is closed are errors of the caller, which rolls back.
    """

    def is_outage(self, error: Exception) -> bool:
        """Whether the server is away: see appendix A of the manual of Postgres, "Error Codes"."""
        code: str = getattr(error, "sqlstate", None) or ""
        if code:
            return code[:2] in OUTAGE_CLASSES or code in OUTAGE_CODES
        return type(error).__name__ != "InterfaceError" and super().is_outage(error)


class _Guard(Guard):
    """The guard of operations on the pool. A pool that can't be opened is an outage, for any reason."""

    def __init__(self, database: _Database) -> None:
        super().__init__(database.errors)
        self._database = database

    def is_refusal(self, error: Exception) -> bool:
        """Whether the server has answered: see `Guard.is_refusal`."""
        return self._database.is_open() and super().is_refusal(error)


_Opened = tuple[Any, Slots | nullcontext[None]]


class _Database:
    """The pool, and the schema that is created at the first operation."""

    def __init__(self, pool: Any, url: str) -> None:
        asyncpg = _import_asyncpg()
        self._asyncpg = asyncpg
        self._given = pool
        self._pool: Any = None
        self._url = url
        self._needs_transactions = False
        self._opening: asyncio.Future[_Opened] | None = None
        self._expired_at = -EXPIRE_SECONDS
        self.errors = (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,  # a connection that breaks in the middle of an answer
            OSError,
            TimeoutError,
            UnusableDatabase,
        )
        self.guard = _Guard(self)
        self.listening: Any = None
        """The connection that receives the wake-ups."""

    def is_open(self) -> bool:
        """Whether the pool and the tables are ready."""
        return is_open(self._opening)

    async def open(self) -> _Opened:
        """Return the pool, and the limit on its connections in use. The first operation opens it."""
        opening = self._opening
        if opening is None or (opening.done() and not is_open(opening)):
            # A task of its own: it goes on after the time limit of an operation.
            opening = self._opening = asyncio.ensure_future(self._open())
            opening.add_done_callback(_ignore_result)
        return await asyncio.shield(opening)

    async def acquire(self) -> Any:
        """Return a connection."""
        pool, _ = await self.open()
        return await take_connection(pool)

    async def _open(self) -> _Opened:
        pool = self._given or Connections(
            self._asyncpg,
            self._url,
            max_connections=MAX_CONNECTIONS,
            timeout_seconds=TIMEOUT_SECONDS,
        )
        try:
            self._needs_transactions = await _TABLES.prepare_on(pool)
        except BaseException:
            if self._given is None:
                pool.terminate()  # an open transaction would keep its locks
            raise
        self._pool = pool
        if self._given is None:
            return pool, nullcontext()  # it limits itself
        return pool, Slots(pool.get_max_size() - 1, TIMEOUT_SECONDS)  # one connection listens

    async def release(self, connection: Any) -> None:
        """Give a connection back."""
        pool = self._given or self._pool  # yours gets it back after `close`, too
        if pool is not None:
            with anyio.CancelScope(shield=True):
                await pool.release(connection, timeout=TIMEOUT_SECONDS)

    def terminate(self, connection: Any) -> None:
        """Close a connection without waiting for the server."""
        try:
            connection.terminate()
        except self.errors:
            pass  # the server has closed it, and the pool has it back

    async def _call(self, method: str, statement: str, args: tuple[Any, ...]) -> Any:
        pool, slots = await self.open()
        async with slots:
            connection = await take_connection(pool)
            try:
                async with begin(connection, self._needs_transactions):
                    return await getattr(connection, method)(statement, *args)
            except asyncio.CancelledError:
                # The answer may still come: the connection is of no use to another operation.
                self.terminate(connection)
                raise
            except self._asyncpg.LockNotAvailableError:
                raise Busy(
                    "another transaction has published to the channel and is still open"
                ) from None
            except self._asyncpg.ReadOnlySQLTransactionError:
                self.terminate(connection)
                await self._expire(pool)
                raise
            finally:
                await self.release(connection)

    async def _expire(self, pool: Any) -> None:
        """Replace all connections: the server is a replica by now, for example after a failover.

        That includes the one that listens, which would wait for events of the old primary for ever. At most
        once a second, in case the address is that of a replica.
        """
        now = time.monotonic()
        if now - self._expired_at < EXPIRE_SECONDS:
            return
        self._expired_at = now
        if self.listening is not None:
            self.terminate(self.listening)
        await expire_connections(pool)

    async def run(self, operation: str, method: str, statement: str, *args: Any) -> Any:
        """Execute a statement within the time limit."""
        return await self.guard.run(operation, _detached, self._call, method, statement, args)

    async def run_on(
        self, connection: Any, operation: str, method: str, statement: str, *args: Any
    ) -> Any:
        """Execute a statement in a transaction of the application. Its errors are not an outage for others.

        Raises:
            TypeError: It is not a connection of asyncpg.
            Exception: An error of asyncpg that is not an outage.
        """
        if not isinstance(connection, self._asyncpg.Connection):
            raise TypeError(
                f"Channels: connection must be a connection of asyncpg, not {connection!r:.100}."
            )
        await self.guard.run(operation, self.open)  # the tables, if this is the first operation
        guard = _CallersGuard(self.errors)  # of its own, so that it opens no breaker for others
        return await guard.run(operation, _call_method, connection, method, statement, *args)

    async def close(self) -> None:
        """Close the pool, unless it was given."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait([opening], timeout=TIMEOUT_SECONDS)
        pool, self._pool = self._pool, None
        if pool is not None and self._given is None:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await pool.close()
            except self.errors:
                pool.terminate()
        await asyncio.sleep(0)  # connections that were terminated are closed in the next round


class _Listener:
    """The tasks of a process that learn about new events and wake the subscribers."""

    def __init__(self, database: _Database, feed: Feed) -> None:
        self.database = database
        self._feed = feed
        self.wanted: set[str] = set()
        self._woken: set[str] = set()
        self._wake = asyncio.Event()
        self._published: set[str] = set()
        self._must_notify = asyncio.Event()
        self._transactions: list[tuple[Any, str]] = []

    # -- telling -----------------------------------------------------------------------------------

    def announce(self, key: str, connection: Any = None) -> None:
        """Wake up all processes for an event, after the transaction of ``connection``."""
        if connection is None:
            self._published.add(key)
            self._on_names([key])
        else:
            self._transactions.append((connection, key))
        self._must_notify.set()

    async def notify(self) -> None:
        """Send the wake-ups, collected over 10 ms."""
        while True:
            await self._must_notify.wait()
            await asyncio.sleep(NOTIFY_SECONDS)
            open_transactions = []
            for connection, key in self._transactions:
                if self._is_in_transaction(connection):
                    open_transactions.append((connection, key))
                else:
                    self._published.add(key)
                    self._on_names([key])
            self._transactions = open_transactions
            names, self._published = self._published, set()
            if not open_transactions:
                self._must_notify.clear()
            if names:
                payload = "\n".join(sorted(names))
                if len(payload.encode()) > MAX_PAYLOAD_SIZE:
                    payload = ""
                await self.database.run(
                    "notify", "execute", "SELECT pg_notify($1, $2)", WAKE_UP, payload
                )

    def _is_in_transaction(self, connection: Any) -> bool:
        try:
            return bool(connection.is_in_transaction()) and not connection.is_closed()
        except self.database.errors:
            return False  # the pool has it back

    # -- hearing -----------------------------------------------------------------------------------

    def _on_notify(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        self._on_names(payload.split("\n") if payload else self.wanted)

    def _on_names(self, names: Collection[str]) -> None:
        woken = self.wanted.intersection(names)
        if woken:
            self._woken |= woken
            self._wake.set()

    async def run(self) -> None:
        """Compare the counters after each wake-up, and every second."""
        connection = await self.database.guard.run("receiving", _detached, self.database.acquire)
        self.database.listening = connection
        try:
            await self._ask(connection, "add_listener", WAKE_UP, self._on_notify)
            self._woken |= self.wanted
            while True:
                names, self._woken = self._woken, set()
                if names:
                    found = await self._ask(connection, "fetch", statements.COUNTERS, list(names))
                    counters = {name: (epoch, seq) for name, epoch, seq in found}
                    for name in names:
                        self._feed.observe(name, *counters.get(name, ("", 0)))
                self._wake.clear()
                if not self._woken:
                    await self._wait()
        finally:
            self.database.listening = None
            # No code resets a connection of the pool, and this one listens.
            self.database.terminate(connection)
            await self.database.release(connection)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            self._woken |= self.wanted

    def _ask(self, connection: Any, method: str, *args: Any) -> Awaitable[Any]:
        return self.database.guard.run(
            "receiving", _detached, _call_method, connection, method, *args
        )


class PostgresBackend:
    """Channels in Postgres, on your own pool.

    Args:
        pool: A pool of asyncpg. You close it yourself. The backend keeps one of its connections.

    Raises:
        TypeError: The object is not a pool of asyncpg.
        ValueError: The pool has a single connection.
    """

    across = "machines"
    accepts_connection = True

    def __init__(self, pool: Any) -> None:
        if not isinstance(pool, _import_asyncpg().Pool):
            raise TypeError(f"PostgresBackend needs a pool of asyncpg, not {pool!r:.100}.")
        if pool.get_max_size() < 2:
            raise ValueError(
                "PostgresBackend needs two connections or more, one of them to receive wake-ups: make the "
                f"pool with a larger max_size than {pool.get_max_size()}."
            )
        self._pool = pool
        self._url = ""
        self._listener: _Listener | None = None
        self._count = 0

    @classmethod
    def from_url(cls, url: str) -> PostgresBackend:
        """Return a backend with connections of its own, at most 10.

        Raises:
            ImportError: The package asyncpg is not installed.
            ValueError: The option ``statement_cache_size`` of the URL is not a number.
        """
        _import_asyncpg()
        split_options(url)
        backend = cls.__new__(cls)
        backend._pool, backend._url = None, url
        backend._listener = None
        backend._count = 0
        return backend

    async def start(self, feed: Feed) -> None:
        """Connect in the background.

        Raises:
            RuntimeError: Another `Channels` uses the object.
            TypeError: trio runs.
        """
        require_asyncio("PostgresBackend")
        if self._listener is not None:
            raise RuntimeError(
                "PostgresBackend: make one for each Channels. They may share the pool."
            )
        self._listener = _Listener(_Database(self._pool, self._url), feed)
        feed.start_soon(self._listener.run)
        feed.start_soon(self._listener.notify)

    async def stop(self, feed: Feed) -> None:
        """Disconnect."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.database.close()

    def _database(self, operation: str) -> _Database:
        if self._listener is None:
            raise ChannelsUnavailable(operation, "the backend is not connected")
        return self._listener.database

    async def publish(
        self,
        key: str,
        name: str | None,
        body: bytes,
        published_at: float,
        history: History,
        connection: Any = None,
    ) -> Position:
        """Append an event and pass it on: see `ChannelBackend.publish`."""
        database = self._database("publish")
        args = (key, new_epoch(), name, body)
        if connection is None:
            limit = str(round(TIMEOUT_SECONDS * WAIT_PART * 1000))
            row = await database.run(
                "publish", "fetchrow", statements.PUBLISH_WITHIN_LIMIT, *args, limit
            )
        else:
            row = await database.run_on(
                connection, "publish", "fetchrow", statements.PUBLISH_IN_TRANSACTION, *args
            )
        position = Position(*row)
        if self._listener is not None:
            self._listener.announce(key, connection)
        self._count += 1
        if position.number % MIN_KEPT_EVENTS == 0 or self._count % PRUNE_EVERY == 0:
            await self._prune(database, key, position, kept(history))
        return position

    async def _prune(
        self, database: _Database, key: str, position: Position, history: History
    ) -> None:
        try:
            last = position.number - history.max_events
            await database.run("prune", "execute", statements.PRUNE_CHANNEL, key, last)
            if self._count % PRUNE_EVERY == 0:
                seconds = history.seconds
                await database.run("prune", "execute", statements.PRUNE, seconds)
                keep = seconds + KEEP_COUNTER_SECONDS
                await database.run("prune", "execute", statements.PRUNE_CHANNELS, keep)
        except ChannelsUnavailable:
            pass  # the event is published; the next one prunes

    async def read(self, key: str, after: int, limit: int, history: History) -> Page:
        """Return events: see `ChannelBackend.read`."""
        args = (key, after, limit, history.max_events, float(history.seconds))
        rows = await self._database("reading").run("reading", "fetch", statements.READ, *args)
        if not rows:
            return Page("", 0, ())
        epoch, last = rows[0][:2]
        return Page(
            epoch, last, [Event(*row[2:]) for row in map(tuple, rows) if row[2] is not None]
        )

    async def listen(self, feed: Feed, key: str) -> None:
        """Pass events to the feed from now on."""
        self._database("subscribe")
        if self._listener is not None:
            self._listener.wanted.add(key)

    async def unlisten(self, feed: Feed, key: str) -> None:
        """Pass no more events to the feed."""
        if self._listener is not None:
            self._listener.wanted.discard(key)

    async def touch(self, keys: Collection[str], history: History) -> None:
        """Keep the counters of channels: see `ChannelBackend.touch`."""
        await self._database("reading").run("reading", "execute", statements.TOUCH, list(keys))

    # -- presence ----------------------------------------------------------------------------------

    async def join(self, key: str, members: Mapping[str, bytes], seconds: float) -> list[str]:
        """Store members: see `ChannelBackend.join`."""
        args = (key, list(members), list(members.values()), float(seconds))
        rows = await self._database("presence").run("presence", "fetch", statements.JOIN, *args)
        return [row[0] for row in rows]

    async def leave(self, key: str, members: Collection[str]) -> list[str]:
        """Delete members: see `ChannelBackend.leave`."""
        rows = await self._database("presence").run(
            "presence", "fetch", statements.LEAVE, key, list(members)
        )
        return [row[0] for row in rows]

    async def members(self, key: str) -> dict[str, bytes]:
        """Return the members: see `ChannelBackend.members`."""
        rows = await self._database("presence").run("presence", "fetch", statements.MEMBERS, key)
        return dict(map(tuple, rows))

    async def sweep(self, key: str) -> dict[str, bytes]:
        """Delete expired members: see `ChannelBackend.sweep`."""
        rows = await self._database("presence").run("presence", "fetch", statements.SWEEP, key)
        return dict(map(tuple, rows))
