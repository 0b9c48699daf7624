"""The store in a SQLite file, for all workers of one machine.

The file must be on a local disk: SQLite's write-ahead log needs shared memory (https://sqlite.org/wal.html).
A worker that is killed loses nothing. A power failure may lose the last milliseconds
(``synchronous=NORMAL``).

One thread in each process owns the connection. It carries out all waiting operations in one transaction, so
the store gets faster per operation when many tasks use it. It works on asyncio and trio.
"""

import asyncio
import os
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from spica.stores.base import BaseStore
from spica.stores.breaker import Breaker, describe_error
from spica.stores.sqlite_operations import READS, Operations

MAX_BATCH = 256
"""The largest number of operations in one transaction."""
IDLE_SECONDS = 60
"""How long the thread waits for the next operation before it closes the file and ends."""
PRUNE_SECONDS = 1.0
"""The time between two looks for expired rows."""
MIN_PRUNED = 100
"""How many rows of each table one look covers at least."""

NETWORK_FILE_SYSTEMS = frozenset(
    [
        "afs",
        "afpfs",
        "ceph",
        "cifs",
        "davfs",
        "fuse.ceph",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.s3fs",
    ]
    + [
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb2",
        "smb3",
        "smbfs",
    ]
)
"""File systems that SQLite's write-ahead log does not work on."""


def file_system_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that a path is on, according to ``/proc/mounts``."""
    found, longest = "", -1
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        point = point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        if path.is_relative_to(point) and len(point) >= longest:
            found, longest = kind, len(point)
    return found


def real_path(owner: str, path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a database file, without symbolic links.

    Raises:
        ValueError: There is no such folder, or it is on a network file system. The message begins with
            ``owner``.
    """
    real = Path(os.path.realpath(path))
    _check_path(owner, real)
    return real


def _check_path(owner: str, path: Path) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"{owner}: the folder {str(path.parent)!r} does not exist. Create it.")
    if path.is_dir():
        raise ValueError(f"{owner}: {str(path)!r} is a folder. Name a file.")
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape")
    except OSError:
        return  # not on Linux
    kind = file_system_of(path, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise ValueError(
            f"{owner}: {str(path)!r} is on a network file system ({kind}), where SQLite loses data. "
            "Use a file on a local disk, or Redis or Postgres for several machines."
        )


class _Job:
    """One operation on its way through the thread."""

    __slots__ = (
        "args",
        "deadline",
        "error",
        "event",
        "is_abandoned",
        "operation",
        "post",
        "result",
    )

    def __init__(self, operation: str, args: tuple[Any, ...], deadline: float) -> None:
        self.operation = operation
        self.args = args
        self.deadline = deadline
        self.event = anyio.Event()
        self.post = _post()
        self.is_abandoned = False
        self.result: Any = None
        self.error: str | None = None

    def run(self, operations: Operations) -> None:
        """Carry out the operation, if its task still waits."""
        if not self.is_abandoned:
            self.result = getattr(operations, self.operation)(*self.args)


def _post() -> Callable[..., Any]:
    """Return the function that runs a callback in this event loop, from any thread."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon


def _finish(jobs: list[_Job]) -> None:
    for job in jobs:
        job.event.set()


class _Worker:
    """The thread with the connection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pid = os.getpid()
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.operations: Operations | None = None
        self.inode = 0
        self.pruned_at = time.monotonic()
        self.writes = 0
        self.ended = False
        self.thread = threading.Thread(target=self._run, name="spica-sqlite", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            try:
                jobs: list[_Job | None] = [self.jobs.get(timeout=IDLE_SECONDS)]
            except queue.Empty:
                jobs = [None]
            while len(jobs) < MAX_BATCH and not self.jobs.empty():
                jobs.append(self.jobs.get())
            live = [job for job in jobs if job is not None and not job.is_abandoned]
            if live:
                self._carry_out(live)
            if None in jobs:
                break
        self.ended = True
        self._close()
        while not self.jobs.empty():  # operations that came while the thread ended
            job = self.jobs.get()
            if job is not None:
                job.error = "the store was closed"
                self._answer([job])

    def _answer(self, jobs: list[_Job]) -> None:
        """Wake up the tasks that wait, with one call for each event loop."""
        loops: dict[Any, list[_Job]] = {}
        for job in jobs:
            loops.setdefault(job.post, []).append(job)
        for post, group in loops.items():
            try:
                post(_finish, group)
            except RuntimeError:
                pass  # the loop has ended, and with it the tasks
            except Exception as error:
                if type(error).__name__ != "RunFinishedError":  # the same on trio
                    raise

    def _carry_out(self, jobs: list[_Job]) -> None:
        self._try(jobs)
        self._answer(jobs)
        if time.monotonic() - self.pruned_at >= PRUNE_SECONDS:
            self._delete_expired()

    def _try(self, jobs: list[_Job]) -> None:
        """Carry out operations in one transaction. Its failure is an error of each of them."""
        deadline = max(job.deadline for job in jobs)  # the tasks give up by themselves
        writes = sum(job.operation not in READS for job in jobs)
        self.writes += writes
        try:
            self._check_file()
            operations = self.operations or self._open(deadline)
            self._begin("BEGIN IMMEDIATE" if writes else "BEGIN", deadline)
            for job in jobs:
                job.run(operations)
            operations.execute("COMMIT")
        except Exception as error:
            self._give_up(error)
            if len(jobs) > 1 and not isinstance(error, sqlite3.OperationalError):
                for job in jobs:  # one of them is to blame, and the others must not fail with it
                    self._try([job])
                return
            for job in jobs:
                job.error = describe_error(error)

    def _check_file(self) -> None:
        """Close a file that was replaced or deleted: what is written to it would be lost."""
        if self.operations is None:
            return
        try:
            is_same = self.path.stat().st_ino == self.inode
        except FileNotFoundError:
            is_same = False
        if not is_same:
            self._close()

    def _give_up(self, error: Exception) -> None:
        """Undo the transaction. After anything but a lock, open the file again the next time."""
        connection = self.operations.connection if self.operations else None
        try:
            if connection is not None and connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._close()
        if not _is_locked(error):
            self._close()

    def _open(self, deadline: float) -> Operations:
        connection = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        self.operations = operations = Operations(connection)
        try:
            self._begin("PRAGMA journal_mode = WAL", deadline)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 16777216")
            self._begin("BEGIN IMMEDIATE", deadline)
            operations.create_schema()
            operations.open_clock()
            connection.execute("COMMIT")
        except sqlite3.Error:
            self._close()
            raise
        self.inode = self.path.stat().st_ino
        return operations

    def _close(self) -> None:
        operations, self.operations = self.operations, None
        if operations is not None:
            try:
                operations.connection.close()
            except sqlite3.Error:
                pass

    def _begin(self, statement: str, deadline: float) -> None:
        """Execute a statement that waits for a lock.

        SQLite's own way of waiting sleeps up to 100 ms between two tries. Short random pauses give all
        processes their turn.
        """
        assert self.operations is not None
        while True:
            try:
                self.operations.execute(statement)
                return
            except sqlite3.OperationalError as error:
                if not _is_locked(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(random.uniform(0.0002, 0.002))

    def _delete_expired(self) -> None:
        """Delete expired rows, more of them after many writes."""
        self.pruned_at = time.monotonic()
        limit, self.writes = max(MIN_PRUNED, 2 * self.writes), 0
        try:
            if self.operations is not None:
                self._begin("BEGIN IMMEDIATE", 0)
                self.operations.prune(limit)
                self.operations.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)


def _is_locked(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class _File:
    """The state that all views of a store share."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        self.path = path
        self.breaker = Breaker("SQLiteStore", timeout_seconds)
        self.worker: _Worker | None = None
        self._lock = threading.Lock()
        self._inherited: list[_Worker] = []
        """The threads of parent processes. A fork must never close their connections:
        https://sqlite.org/howtocorrupt.html s.2.6."""

    def put(self, job: _Job) -> None:
        """Hand an operation to the thread. A forked process gets a thread and a connection of its own."""
        with self._lock:
            worker = self.worker
            if worker is not None and worker.pid != os.getpid():
                self._inherited.append(worker)
                worker = None
            if worker is None or worker.ended:
                worker = self.worker = _Worker(self.path)
            worker.jobs.put(job)

    def end(self) -> _Worker | None:
        """Ask the thread to end, and return it."""
        with self._lock:
            worker, self.worker = self.worker, None
        if worker is None or worker.pid != os.getpid():
            return None
        worker.jobs.put(None)
        return worker


class SQLiteStore(BaseStore):
    """A store in a SQLite file that all workers of a machine share.

    Give it a file of its own. The tables' names begin with ``spica_``, so they do not collide with yours, but
    a long transaction of your code would block the store.

    Args:
        path: the file. Its folder must exist and be on a local disk.
        timeout_seconds: the timeout of an operation, 0.25 s by default. It includes the wait for a lock.

    Raises:
        ValueError: There is no such folder, or it is on a network file system.

    Example:
        ``store = SQLiteStore("var/state.db")``, or ``open_store("sqlite:///var/state.db")``
    """

    across = "machine"

    def __init__(self, path: str | os.PathLike[str], *, timeout_seconds: float = 0.25) -> None:
        self._file = _File(real_path("SQLiteStore", path), timeout_seconds)

    async def _run(self, operation: str, *args: Any) -> Any:
        breaker = self._file.breaker
        breaker.enter(operation)
        job = _Job(operation, args, time.monotonic() + breaker.timeout_seconds)
        try:
            self._file.put(job)
            with anyio.move_on_after(breaker.timeout_seconds):
                await job.event.wait()
        except BaseException:
            job.is_abandoned = True
            breaker.leave()
            raise
        if not job.event.is_set():
            job.is_abandoned = True
            raise breaker.timed_out(operation)
        if job.error is not None:
            raise breaker.fail(operation, job.error)
        breaker.succeed()
        return job.result

    @property
    def is_available(self) -> bool:
        """Whether the circuit breaker is closed: see `BaseStore.is_available`."""
        return not self._file.breaker.is_open

    async def aclose(self) -> None:
        """Close the file and end the thread: see `Store.aclose`."""
        worker = self._file.end()
        if worker is not None:
            await anyio.to_thread.run_sync(worker.thread.join)
