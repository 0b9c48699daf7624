"""Channels in a SQLite file, for all workers of one machine.

The file must be on a local disk: SQLite's write-ahead log needs shared memory
(https://sqlite.org/wal.html). A killed worker loses nothing. A power failure may lose the last milliseconds
(``synchronous=NORMAL``).

One thread of each process owns the connection, so that neither a lock nor the disk stops the event loop. Only
one process writes at a time, so the order of ids is the order of commits. While there are subscribers, the
thread looks for changes every 5 ms: ``PRAGMA data_version`` costs a few microseconds and reads no table.
"""

from __future__ import annotations

import asyncio
import os
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from spica.channels.backend import (
    KEEP_COUNTER_SECONDS,
    MIN_KEPT_EVENTS,
    TIMEOUT_SECONDS,
    Feed,
    Page,
    kept,
)
from spica.channels.messages import ChannelsUnavailable, Event, History, Position, new_epoch
from spica.channels.server import Failures
from spica.stores.breaker import describe_error
from spica.stores.sqlite import real_path
from spica.stores.sqlite_operations import read_clock, read_clock_offset

POLL_SECONDS = 0.005
"""The time between two looks for events of other processes."""
MAX_BATCH = 256
"""The largest number of operations in one transaction."""
POLL_EVENTS = 500
"""The number of new events that are read at once."""
PRUNE_EVERY = 1000
"""The number of events of this process between two searches for expired ones."""
CHECK_SECONDS = 1.0
"""The time between two looks whether the file was replaced."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spica_channel (
    name TEXT PRIMARY KEY, epoch TEXT NOT NULL, seq INTEGER NOT NULL, used REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spica_event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, seq INTEGER NOT NULL, event TEXT,
    at REAL NOT NULL, data BLOB NOT NULL, UNIQUE (channel, seq)
);
CREATE TABLE IF NOT EXISTS spica_presence (
    channel TEXT NOT NULL, member TEXT NOT NULL, value BLOB NOT NULL, expires REAL NOT NULL,
    PRIMARY KEY (channel, member)
) WITHOUT ROWID;
CREATE TEMP TABLE wanted (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_COUNT = """
INSERT INTO spica_channel (name, epoch, seq, used) VALUES (?, ?, 1, ?)
ON CONFLICT (name) DO UPDATE SET seq = seq + 1, used = excluded.used RETURNING epoch, seq
"""
# The unary plus keeps SQLite from an index: new events are at the end of the table.
_NEW = """
SELECT e.id, e.channel, c.epoch, e.seq, e.event, e.data, e.at
FROM spica_event AS e CROSS JOIN spica_channel AS c ON c.name = e.channel
WHERE e.id > ? AND +e.channel IN (SELECT name FROM wanted) ORDER BY e.id LIMIT ?
"""
_PAGE = """
SELECT seq, event, data, at FROM spica_event
WHERE channel = ? AND seq > ? AND at >= ? ORDER BY seq LIMIT ?
"""


class _Operations:
    """The operations on a connection, within a transaction of the caller."""

    def __init__(self, connection: sqlite3.Connection, clock_offset: int | None) -> None:
        self.execute = connection.execute
        self.clock_offset = clock_offset
        self._published = 0

    def _now(self) -> float:
        """Return the time in seconds. A change of the wall clock does not change it."""
        return read_clock(self.clock_offset) / 1e6

    def publish(
        self, key: str, name: str | None, body: bytes, at: float, history: History
    ) -> Position:
        epoch, number = self.execute(_COUNT, (key, new_epoch(), at)).fetchone()
        self.execute(
            "INSERT INTO spica_event (channel, seq, event, at, data) VALUES (?, ?, ?, ?, ?)",
            (key, number, name, at, body),
        )
        if number % MIN_KEPT_EVENTS == 0:
            self.execute(
                "DELETE FROM spica_event WHERE channel = ? AND seq <= ?",
                (key, number - kept(history).max_events),
            )
        self._published += 1
        if self._published % PRUNE_EVERY == 0:
            self._prune(history)
        return Position(epoch, number)

    def _prune(self, history: History) -> None:
        # The oldest events have the lowest ids, so this needs no index by time.
        oldest = time.time() - kept(history).seconds
        self.execute(
            "DELETE FROM spica_event WHERE at < ? AND id IN "
            "(SELECT id FROM spica_event ORDER BY id LIMIT ?)",
            (oldest, 2 * PRUNE_EVERY),
        )
        self.execute(
            "DELETE FROM spica_channel WHERE used < ? AND NOT EXISTS "
            "(SELECT 1 FROM spica_event WHERE channel = name)",
            (oldest - KEEP_COUNTER_SECONDS,),
        )

    def read(self, key: str, after: int, limit: int, history: History) -> Page:
        row = self.execute("SELECT epoch, seq FROM spica_channel WHERE name = ?", (key,)).fetchone()
        if row is None:
            return Page("", 0, ())
        epoch, last = row
        after = max(after, last - history.max_events)
        if not limit or after >= last:
            return Page(epoch, last, ())
        oldest = time.time() - history.seconds
        rows = self.execute(_PAGE, (key, after, oldest, limit))
        return Page(epoch, last, [Event(*row) for row in rows])

    def touch(self, keys: Collection[str], now: float) -> None:
        for key in keys:
            self.execute("UPDATE spica_channel SET used = ? WHERE name = ?", (now, key))

    def join(self, key: str, members: Mapping[str, bytes], seconds: float) -> list[str]:
        new, expires = [], self._now() + seconds
        for member, value in members.items():
            known = "SELECT 1 FROM spica_presence WHERE channel = ? AND member = ?"
            if self.execute(known, (key, member)).fetchone() is None:
                new.append(member)
            self.execute(
                "INSERT OR REPLACE INTO spica_presence (channel, member, value, expires) "
                "VALUES (?, ?, ?, ?)",
                (key, member, value, expires),
            )
        return new

    def leave(self, key: str, members: Collection[str]) -> list[str]:
        delete = "DELETE FROM spica_presence WHERE channel = ? AND member = ?"
        return [member for member in members if self.execute(delete, (key, member)).rowcount]

    def members(self, key: str) -> dict[str, bytes]:
        select = "SELECT member, value FROM spica_presence WHERE channel = ? AND expires > ?"
        return dict(self.execute(select, (key, self._now())).fetchall())

    def sweep(self, key: str) -> dict[str, bytes]:
        expired = dict(
            self.execute(
                "SELECT member, value FROM spica_presence WHERE channel = ? AND expires <= ?",
                (key, self._now()),
            ).fetchall()
        )
        self.leave(key, expired)
        return expired


_WRITES = frozenset(["publish", "touch", "join", "leave", "sweep"])


class _Job:
    """One operation on its way through the thread."""

    __slots__ = ("args", "done", "error", "is_abandoned", "operation", "result")

    def __init__(self, operation: str, args: tuple[Any, ...]) -> None:
        self.operation = operation
        self.args = args
        self.done = anyio.Event()
        self.is_abandoned = False
        self.result: Any = None
        self.error: str | None = None


class _Worker:
    """The thread with the connection."""

    def __init__(self, path: Path, feed: Feed) -> None:
        self._path = path
        self._feed = feed
        self._post = _post_function()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._operations: _Operations | None = None
        self._wanted: set[str] = set()
        self._inode = 0
        self._last_id = 0
        self._version = -1
        self._checked_at = 0.0
        self.thread = threading.Thread(target=self._run, name="spica-channels", daemon=True)
        self.thread.start()

    def put(self, job: _Job | None) -> None:
        """Hand an operation to the thread. None ends it."""
        self._jobs.put(job)

    # -- in the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            jobs = self._next_jobs()
            live = [job for job in jobs if job is not None and not job.is_abandoned]
            self._carry_out([job for job in live if job.operation not in _WRITES])
            self._carry_out([job for job in live if job.operation in _WRITES])
            if None in jobs:
                break
            if self._wanted:
                self._look()
        self._close()

    def _next_jobs(self) -> list[_Job | None]:
        """Wait for operations, at most until the next look for events."""
        try:
            jobs = [self._jobs.get(timeout=POLL_SECONDS if self._wanted else None)]
        except queue.Empty:
            return []
        while len(jobs) < MAX_BATCH and not self._jobs.empty():
            jobs.append(self._jobs.get())
        return jobs

    def _carry_out(self, jobs: list[_Job]) -> None:
        if jobs:
            self._try(jobs)
            self._tell(_finish, jobs)

    def _try(self, jobs: list[_Job]) -> None:
        """Carry out operations in one transaction. Its failure is an error of each of them."""
        try:
            self._check_file()
            self._open()
            is_write = jobs[0].operation in _WRITES
            self._begin("BEGIN IMMEDIATE" if is_write else "BEGIN")
            for job in jobs:
                owner = self if job.operation in ("listen", "unlisten") else self._operations
                job.result = getattr(owner, job.operation)(*job.args)
            self._execute("COMMIT")
            if is_write:
                self._version = -1  # a connection does not see its own changes in data_version
        except Exception as exc:
            self._give_up(exc)
            if len(jobs) > 1 and not isinstance(exc, sqlite3.OperationalError):
                for job in jobs:  # one of them is to blame, and the others must not fail with it
                    self._try([job])
                return
            for job in jobs:
                job.error = describe_error(exc)

    def _check_file(self) -> None:
        """Close a file that was replaced or deleted: what is written to it would be lost."""
        if self._connection is None:
            return
        try:
            is_same = self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            is_same = False
        if not is_same:
            self._close()

    def listen(self, key: str) -> None:
        """Include a channel in the search for new events."""
        self._execute("INSERT OR IGNORE INTO wanted VALUES (?)", (key,))
        self._wanted.add(key)

    def unlisten(self, key: str) -> None:
        """Exclude a channel."""
        self._execute("DELETE FROM wanted WHERE name = ?", (key,))
        self._wanted.discard(key)

    def _look(self) -> None:
        """Pass on the events that were committed since the last look."""
        try:
            now = time.monotonic()
            if now - self._checked_at >= CHECK_SECONDS:
                self._checked_at = now
                self._check_file()
            self._open()
            [version] = self._execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return
            more = True
            while more:
                more = self._read_new()
            self._version = version
        except (sqlite3.Error, OSError) as exc:
            self._give_up(exc)
            error = ChannelsUnavailable("reading", describe_error(exc))
            self._tell(self._feed.log_outage, error)
            time.sleep(POLL_SECONDS * 10)

    def _read_new(self) -> bool:
        self._execute("BEGIN")
        try:
            [top] = self._execute("SELECT max(id) FROM spica_event").fetchone()
            rows = self._execute(_NEW, (self._last_id, POLL_EVENTS)).fetchall()
        finally:
            self._execute("COMMIT")
        is_full = len(rows) == POLL_EVENTS
        self._last_id = rows[-1][0] if is_full else max(self._last_id, top or 0)
        if rows:
            self._tell(_deliver, self._feed, rows)
        return is_full

    def _execute(self, statement: str, args: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        assert self._connection is not None
        return self._connection.execute(statement, args)

    def _begin(self, statement: str) -> None:
        """Execute a statement that waits for a lock: short random pauses give all processes their turn."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                self._execute(statement)
                return
            except sqlite3.OperationalError as exc:
                if not _is_locked(exc) or time.monotonic() >= deadline:
                    raise
            time.sleep(random.uniform(0.0002, 0.002))

    def _open(self) -> None:
        if self._connection is not None:
            return
        self._connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            self._begin("PRAGMA journal_mode = WAL")
            self._execute("PRAGMA synchronous = NORMAL")
            self._execute("PRAGMA journal_size_limit = 16777216")
            self._begin("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                self._execute(statement)
            clock_offset = read_clock_offset(self._execute)
            self._connection.executemany(
                "INSERT INTO wanted VALUES (?)", [(k,) for k in self._wanted]
            )
            [top] = self._execute("SELECT max(id) FROM spica_event").fetchone()
            positions = [
                (key, *row)
                for key in self._wanted
                for row in self._execute(
                    "SELECT epoch, seq FROM spica_channel WHERE name = ?", (key,)
                )
                or [("", 0)]
            ]
            self._execute("COMMIT")
            self._inode = self._path.stat().st_ino
        except Exception:
            self._close()
            raise
        self._operations = _Operations(self._connection, clock_offset)
        self._last_id = top or 0
        self._version = -1
        self._tell(_observe, self._feed, positions)

    def _give_up(self, exc: Exception) -> None:
        """Undo the transaction. After anything but a lock, open the file again the next time."""
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._execute("ROLLBACK")
        except sqlite3.Error:
            self._close()
        if not _is_locked(exc):
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                pass

    def _tell(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a function in the event loop."""
        try:
            self._post(partial(function, *args))
        except RuntimeError:
            pass  # the loop has ended, and with it the readers
        except Exception as exc:
            if type(exc).__name__ != "RunFinishedError":  # the same on trio
                raise


def _post_function() -> Callable[[Callable[[], Any]], Any]:
    """Return the function that runs a callback in this event loop, from any thread."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon


def _is_locked(exc: Exception) -> bool:
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _finish(jobs: list[_Job]) -> None:
    for job in jobs:
        job.done.set()


def _deliver(feed: Feed, rows: list[tuple[Any, ...]]) -> None:
    for _, key, epoch, *event in rows:
        feed.deliver(key, epoch, Event(*event))


def _observe(feed: Feed, positions: list[tuple[str, str, int]]) -> None:
    for key, epoch, last in positions:
        feed.observe(key, epoch, last)


class SQLiteBackend:
    """Channels in a SQLite file that all workers of a machine share.

    Args:
        path: The file. Its folder must exist and be on a local disk. A store may use the same file.

    Raises:
        ValueError: There is no such folder, or it is on a network file system.
    """

    across = "machine"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = real_path("SQLiteBackend", path)
        self._worker: _Worker | None = None
        self._failures = {False: Failures(), True: Failures()}

    async def _run(self, operation: str, *args: Any) -> Any:
        if self._worker is None:
            raise ChannelsUnavailable(operation, "the backend is not connected")
        # Each has its own: a file that is locked for writing can be read.
        failures = self._failures[operation in _WRITES]
        failures.check(operation)
        job = _Job(operation, args)
        self._worker.put(job)
        try:
            with anyio.move_on_after(TIMEOUT_SECONDS):
                await job.done.wait()
        finally:
            job.is_abandoned = True
        if job.done.is_set() and job.error is None:
            failures.count = 0
            return job.result
        failures.note()
        reason = f"no answer in {TIMEOUT_SECONDS:g} s"
        raise ChannelsUnavailable(operation, job.error or reason)

    async def start(self, feed: Feed) -> None:
        """Start the thread.

        Raises:
            RuntimeError: Another `Channels` uses the object.
        """
        if self._worker is not None:
            raise RuntimeError(
                "SQLiteBackend: make one for each Channels. They may share the file."
            )
        self._worker = _Worker(self._path, feed)

    async def stop(self, feed: Feed) -> None:
        """End the thread."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.put(None)
            await anyio.to_thread.run_sync(worker.thread.join)

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
        position: Position = await self._run("publish", key, name, body, published_at, history)
        return position

    async def read(self, key: str, after: int, limit: int, history: History) -> Page:
        """Return events: see `ChannelBackend.read`."""
        page: Page = await self._run("read", key, after, limit, history)
        return page

    async def listen(self, feed: Feed, key: str) -> None:
        """Pass events to the feed from now on."""
        await self._run("listen", key)

    async def unlisten(self, feed: Feed, key: str) -> None:
        """Pass no more events to the feed."""
        await self._run("unlisten", key)

    async def touch(self, keys: Collection[str], history: History) -> None:
        """Keep the counters of channels: see `ChannelBackend.touch`."""
        await self._run("touch", keys, time.time())

    async def join(self, key: str, members: Mapping[str, bytes], seconds: float) -> list[str]:
        """Store members: see `ChannelBackend.join`."""
        new: list[str] = await self._run("join", key, members, seconds)
        return new

    async def leave(self, key: str, members: Collection[str]) -> list[str]:
        """Delete members: see `ChannelBackend.leave`."""
        gone: list[str] = await self._run("leave", key, members)
        return gone

    async def members(self, key: str) -> dict[str, bytes]:
        """Return the members: see `ChannelBackend.members`."""
        members: dict[str, bytes] = await self._run("members", key)
        return members

    async def sweep(self, key: str) -> dict[str, bytes]:
        """Delete expired members: see `ChannelBackend.sweep`."""
        expired: dict[str, bytes] = await self._run("sweep", key)
        return expired
