"""The SQLite store: its thread, its file, and faults of the disk."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

import spica
from spica.stores import Rate, SQLiteStore, StoreUnavailable, open_store
from spica.stores.sqlite import file_system_of, real_path
from spica.stores.sqlite_operations import Operations

pytestmark = pytest.mark.anyio

FAR = time.time() + 10 * 365 * 86400
ROOT = Path(spica.__file__).parents[1]


@pytest.fixture
async def store(tmp_path):
    async with SQLiteStore(tmp_path / "state.db", timeout_seconds=60) as store:
        yield store


def rows(path, table):
    with sqlite3.connect(path) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return count


# The file


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/data/app.db", "nfs4"),
        ("/srv/data", "nfs4"),
        ("/srv/database/app.db", "ext4"),
        ("/srv/my disk/app.db", "cifs"),
        ("/srv/data/local/app.db", "xfs"),
        ("/tmp/a.db", "tmpfs"),
    ],
)
def test_the_file_system_of_a_path(path, kind):
    mounts = (
        "/dev/sda / ext4 rw 0 0\nfiler:/x /srv/data nfs4 rw 0 0\n//nas/x /srv/my\\040disk cifs rw 0 0\n"
        "/dev/sdb /srv/data/local xfs rw 0 0\nnone /tmp ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n"
    )
    assert file_system_of(Path(path), mounts) == kind


def test_a_network_file_system_is_refused(tmp_path, monkeypatch):
    mounts = f"filer:/x {tmp_path} nfs4 rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: mounts)
    with pytest.raises(ValueError, match=r"network file system \(nfs4\), where SQLite loses data"):
        real_path("SQLiteStore", tmp_path / "app.db")


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"the folder '.*/missing' does not exist. Create it"):
        open_store(f"sqlite:///{tmp_path}/missing/app.db")
    with pytest.raises(ValueError, match="is a folder"):
        open_store(f"sqlite:///{tmp_path}")


async def test_nothing_happens_before_the_first_operation(tmp_path):
    store = SQLiteStore(tmp_path / "state.db")
    assert [*tmp_path.iterdir()] == []
    await store.aclose()
    assert [*tmp_path.iterdir()] == []


async def test_closing_ends_the_thread(store):
    await store.set("a", b"1")
    worker = store._file.worker
    await store.aclose()
    assert not worker.thread.is_alive()


async def test_a_file_with_tables_of_yours_keeps_them(tmp_path):
    with sqlite3.connect(tmp_path / "app.db") as connection:
        connection.execute("CREATE TABLE entry (key TEXT)")
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    async with SQLiteStore(tmp_path / "app.db", timeout_seconds=60) as store:
        await store.set("a", b"1")
    assert rows(tmp_path / "app.db", "entry") == 0


async def test_a_later_version_may_add_columns(store, tmp_path):
    await store.ping()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        for table in ("value", "rate", "lease", "record", "field", "generation"):
            connection.execute(f"ALTER TABLE spica_{table} ADD COLUMN extra TEXT")
    connection.close()
    await store.set("a", b"1")
    assert await store.take("a", Rate(1, 3600))
    assert await store.acquire("a", "owner", seconds=60)
    await store.create("a", {"user": b"ann"}, idle_seconds=60, ends_at=time.time() + 60)
    assert await store.generation("a", bump=True) == 1


async def test_a_table_of_another_form_is_named_in_the_error(store, tmp_path):
    await store.ping()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("ALTER TABLE spica_value RENAME COLUMN value TO other")
    connection.close()
    with pytest.raises(StoreUnavailable, match="use the version of spica that made it"):
        await store.get("a")


async def test_a_file_that_is_no_database_is_unavailable(tmp_path):
    (tmp_path / "state.db").write_bytes(b"hello" * 1000)
    async with SQLiteStore(tmp_path / "state.db", timeout_seconds=60) as store:
        with pytest.raises(StoreUnavailable, match="file is not a database"):
            await store.get("a")


async def test_a_file_that_was_replaced_is_opened_again(store, tmp_path):
    await store.set("a", b"1")
    for path in tmp_path.iterdir():
        path.unlink()
    await store.set("b", b"2")  # into the new file, or it would be lost
    assert (await store.get("a"), await store.get("b")) == (None, b"2")
    assert rows(tmp_path / "state.db", "spica_value") == 1


async def test_a_store_that_fails_is_not_available(tmp_path):
    (tmp_path / "state.db").write_bytes(b"not a database" * 100)
    async with SQLiteStore(tmp_path / "state.db", timeout_seconds=60) as store:
        assert store.is_available
        for _ in range(5):
            with pytest.raises(StoreUnavailable):
                await store.get("a")
        assert not store.is_available


# Transactions


async def test_operations_that_wait_share_a_transaction(store):
    await store.ping()
    operations = store._file.worker.operations
    statements = []
    execute = operations.execute
    all_wait = threading.Event()

    def note(statement, *values):
        all_wait.wait(60)
        statements.append(statement)
        return execute(statement, *values)

    operations.execute = note
    async with anyio.create_task_group() as group:
        for n in range(300):
            group.start_soon(store.take, str(n % 7), Rate(100, 60))
        for _ in range(5):  # each task queues its operation in its first step
            await anyio.lowlevel.checkpoint()
        all_wait.set()
    # The first one, perhaps with others, and batches of at most 256.
    assert 1 <= statements.count("COMMIT") <= 3


async def test_an_operation_that_fails_spoils_no_other_one(store):
    await store.ping()
    results = {}

    async def run(name, *args):
        try:
            results[name] = await store._run(*args)
        except StoreUnavailable as error:
            results[name] = type(error)

    async with anyio.create_task_group() as group:
        group.start_soon(run, "first", "set", "a", b"1", None, None)
        group.start_soon(run, "bad", "set", "b", object(), None, None)
        group.start_soon(run, "last", "set", "c", b"3", None, None)
    assert results == {"first": True, "bad": StoreUnavailable, "last": True}
    assert await store.get("c") == b"3"


async def test_stores_of_one_file_see_each_other(store, tmp_path):
    async with SQLiteStore(tmp_path / "state.db", timeout_seconds=60) as other:
        await store.set("a", b"1")
        assert await other.get("a") == b"1"


async def test_a_lock_delays_writes_to_the_timeout_and_reads_not_at_all(store, tmp_path):
    await store.set("a", b"1")
    async with SQLiteStore(tmp_path / "state.db", timeout_seconds=0.1) as other:
        connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=r"no answer within 0\.1 s|database is locked"):
            await other.set("a", b"2")
        assert await store.get("a") == b"1"
        connection.execute("COMMIT")
        connection.close()
        assert await store.set("a", b"3")
        assert await store.get("a") == b"3"


async def test_an_abandoned_operation_is_not_carried_out_later(tmp_path):
    async with SQLiteStore(tmp_path / "state.db", timeout_seconds=60) as store:
        await store.set("a", b"1")
        connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        with anyio.move_on_after(0.05):
            async with anyio.create_task_group() as group:
                group.start_soon(store.set, "b", b"")
                await anyio.sleep(0.02)
                group.start_soon(store.set, "a", b"2")  # waits behind the other one
        connection.execute("COMMIT")
        connection.close()
        assert await store.get("a") == b"1"


async def test_many_threads_use_one_store(store, anyio_backend):
    def use():
        anyio.run(store.take, "a", Rate(1, 3600, 10), backend=anyio_backend)

    threads = [threading.Thread(target=use) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)
    assert (await store.take("a", Rate(1, 3600, 10), cost=0)).remaining == 5


# The clock


async def test_setting_the_wall_clock_back_changes_nothing(store, monkeypatch):
    await store.set("a", b"1", seconds=3600)
    await store.take("a", Rate(1, 3600))
    await store.acquire("a", "me", seconds=0.05)
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() - 7200)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() - 7200 * 10**9)
    await anyio.sleep(0.06)
    assert await store.get("a") == b"1"
    assert (await store.take("a", Rate(1, 3600))).retry_after_seconds <= 3600
    assert await store.acquire("a", "you", seconds=1)


def test_without_a_boot_clock_it_is_the_wall_clock(tmp_path, monkeypatch):
    monkeypatch.setattr("spica.stores.sqlite_operations._boot_clock", lambda: ("", 0))
    connection = sqlite3.connect(tmp_path / "state.db")
    operations = Operations(connection)
    operations.create_schema()
    operations.open_clock()
    assert abs(operations.now() - time.time() * 1e6) < 1e6
    connection.close()


# Expired rows


async def test_expired_rows_are_deleted_page_by_page(store, tmp_path):
    for n in range(30):
        await store.set(f"v{n}", b"1", seconds=0.01)
        await store.acquire(f"l{n}", "me", seconds=0.01)
        await store.create(f"r{n}", {"x": b"1"}, idle_seconds=0.01, ends_at=FAR)
        await store.take(f"t{n}", Rate(1000, 1))
    await store.set("v99", b"1")
    await store.create("r99", {"x": b"1"}, idle_seconds=60, ends_at=FAR)
    await anyio.sleep(0.02)
    await store.aclose()
    connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    operations = Operations(connection)
    operations.open_clock()
    for _ in range(4):
        operations.prune(10)
    connection.close()
    left = [
        rows(tmp_path / "state.db", f"spica_{t}")
        for t in ("value", "rate", "lease", "record", "field")
    ]
    assert left == [1, 0, 0, 1, 1]


async def test_the_thread_prunes_by_itself(store, tmp_path):
    await store.set("a", b"1", seconds=0.01)
    await anyio.sleep(0.02)
    store._file.worker.pruned_at = 0
    await store.ping()
    await store.aclose()
    assert rows(tmp_path / "state.db", "spica_value") == 0


# Other processes


def run_program(program, path):
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)},
        text=True,
    )


WRITER = """
import asyncio, sys
from spica.stores import open_store
async def main():
    store, n = open_store("sqlite:///" + sys.argv[1], timeout_seconds=60), 0
    while True:
        await store.set(f"k{n}", b"1")
        print(n, flush=True)
        n += 1
asyncio.run(main())
"""


async def test_a_killed_worker_loses_no_write_that_returned(tmp_path):
    writer = run_program(WRITER, tmp_path / "state.db")
    for _ in range(20):
        last = writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    last = ([last, *writer.stdout.readlines()])[-1]
    writer.wait()
    writer.stdin.close()
    writer.stdout.close()
    async with SQLiteStore(tmp_path / "state.db", timeout_seconds=60) as store:
        for n in range(int(last)):
            assert await store.get(f"k{n}") == b"1"


FULL_DISK = """
import asyncio, json, resource, signal, sys
from spica.stores import StoreUnavailable, open_store
async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store, written, failed = open_store("sqlite:///" + sys.argv[1], timeout_seconds=60), 0, ""
    await store.set("first", b"1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        while True:
            await store.set(f"k{written}", bytes(50_000))
            written += 1
    except StoreUnavailable as error:
        failed = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    values = [await store.get(f"k{n}") for n in range(written)]
    ok = await store.set("after", b"1")
    print(json.dumps([written, failed, all(len(v) == 50_000 for v in values), ok]))
    await store.aclose()
asyncio.run(main())
"""


async def test_a_full_disk_refuses_writes_and_keeps_what_it_has(tmp_path):
    program = run_program(FULL_DISK, tmp_path / "state.db")
    output, _ = program.communicate()
    written, failed, kept, works = json.loads(output)
    assert written > 1
    assert "SQLiteStore.set() failed: OperationalError: " in failed
    assert kept
    assert works


FORK = """
import asyncio, os, sys
from spica.stores import open_store
store = open_store("sqlite:///" + sys.argv[1], timeout_seconds=60)
asyncio.run(store.set("a", b"1"))
pid = os.fork()
asyncio.run(store.set("child" if pid == 0 else "parent", b"1"))
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
print(asyncio.run(store.get("child")), asyncio.run(store.get("parent")))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork.")
def test_a_forked_worker_opens_its_own_connection(tmp_path):
    program = run_program(FORK, tmp_path / "state.db")
    output, _ = program.communicate()
    assert output == "b'1' b'1'\n"
