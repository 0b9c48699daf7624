"""Stores whose server is down, slow or restarted: no operation hangs, and none gives a wrong answer."""

import time

import anyio
import pytest
from services import Proxy

from spica.stores import Rate, StoreUnavailable, open_store

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(params=["redis", "postgres"])
def server(request):
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
async def store(server):
    async with open_store(server.url) as store:
        await until(store.ping)
        yield store


async def until(operation, seconds=10):
    """Repeat an operation until it works, and return its result."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await operation()
        except StoreUnavailable:
            assert time.monotonic() < deadline
            await anyio.sleep(0.01)


async def longest_wait(store, tasks=20):
    """Fail one operation in each of several tasks, and return the longest time that it took."""
    waits = []

    async def fail():
        start = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.get("a")
        waits.append(time.monotonic() - start)

    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(fail)
    return max(waits)


async def test_a_paused_server_delays_no_operation_beyond_the_timeout(store, server):
    await store.set("a", b"1")
    server.pause()
    assert (
        await longest_wait(store) < 0.25 + 0.75
    )  # much for a busy machine; the server sleeps for ever
    with pytest.raises(StoreUnavailable, match="not due yet"):
        await store.get("a")
    server.resume()
    assert await until(lambda: store.get("a")) == b"1"


async def test_a_stopped_server_is_found_again(store, server):
    server.stop()
    assert await longest_wait(store) < 1
    server.start()
    assert await until(lambda: store.set("a", b"2"))
    assert await store.get("a") == b"2"


async def test_a_crashed_server_is_found_again(store, server):
    server.kill()
    assert await longest_wait(store) < 1
    server.start()
    await until(store.ping, 20)


async def test_committed_data_of_postgres_survives_a_crash(postgres_server):
    async with open_store(postgres_server.url) as store:
        await until(lambda: store.set("kept", b"1"))
        await store.create("kept", {"x": b"2"}, idle_seconds=60, ends_at=time.time() + 60)
        await store.acquire("kept", "me", seconds=60)
        await store.take("kept", Rate(1, 60))
        postgres_server.kill()
        postgres_server.start()
        assert await until(lambda: store.get("kept"), 20) == b"1"
        assert (await store.read("kept")).fields == {"x": b"2"}
        assert not await store.acquire("kept", "you", seconds=60)
        assert await store.take("kept", Rate(1, 60))  # documented: the table of rates is unlogged
        await store.delete("kept")


async def test_redis_that_sleeps_does_not_stop_the_event_loop(redis_server):
    async with open_store(redis_server.url) as store:
        await until(store.ping)
        gaps = []
        async with anyio.create_task_group() as group:
            group.start_soon(measure_gaps, gaps)
            redis_server.pause()
            assert await longest_wait(store) < 1
            redis_server.resume()
            group.cancel_scope.cancel()
        assert len(gaps) > 5  # the loop went on while the operations waited


async def measure_gaps(gaps):
    while True:
        await anyio.sleep(0.01)
        gaps.append(time.monotonic())


async def test_a_script_is_loaded_again_after_a_flush(redis_server):
    async with open_store(redis_server.url) as store:
        await until(lambda: store.take("a", Rate(1, 60)))
        await store._server.current[1].execute("SCRIPT", "FLUSH")
        assert not await store.take("a", Rate(1, 60))
        await store.delete("a")


async def test_a_redis_without_memory_refuses_and_stays_readable(redis_server):
    async with open_store(redis_server.url) as store:
        await until(lambda: store.set("a", b"1"))
        execute = store._server.current[1].execute
        await execute("CONFIG", "SET", "maxmemory", "1")
        try:
            with pytest.raises(StoreUnavailable, match="OutOfMemory"):
                await store.set("b", b"2")
            assert await store.get("a") == b"1"
        finally:
            await execute("CONFIG", "SET", "maxmemory", "0")


@pytest.mark.parametrize("name", ["redis", "postgres"])
async def test_connections_that_stall_or_break_are_replaced(name, request):
    server = request.getfixturevalue(f"{name}_server")
    with Proxy(server.port) as proxy:
        url = server.url.replace(str(server.port), str(proxy.port))
        async with open_store(url) as store:
            await until(lambda: store.set("a", b"1"))
            proxy.stall()
            assert await longest_wait(store, 4) < 1
            proxy.flow()
            assert await until(lambda: store.get("a")) == b"1"
            proxy.cut()
            assert await longest_wait(store, 4) < 1
            proxy.flow()
            assert await until(lambda: store.get("a")) == b"1"


async def test_cancelled_operations_leave_the_store_usable(store):
    for n in range(20):
        with anyio.move_on_after(0.0005 * n):
            await store.set("a", str(n).encode())
    await store.set("a", b"last")
    assert await store.get("a") == b"last"


async def test_an_answer_never_reaches_another_operation(store):
    for n in range(30):
        await store.set(f"k{n}", str(n).encode())
    for n in range(30):
        with anyio.move_on_after(0.0003):
            await store.get("k0")
        assert await store.get(f"k{n}") == str(n).encode()
