"""Stores whose server is down, slow or restarted: no operation hangs, and none gives a wrong answer."""

import time

import anyio
import pytest
from services import Proxy

from spica.stores import Rate, RedisStore, StoreUnavailable, open_store

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


@pytest.fixture
async def patient_store(server):
    """A store that a busy machine does not make fail."""
    async with open_store(server.url, timeout_seconds=60) as store:
        yield store


async def until(operation):
    """Repeat an operation until it works, and return its result."""
    with anyio.fail_after(60):
        while True:
            try:
                return await operation()
            except StoreUnavailable:
                await anyio.sleep(0.01)


async def fail_all(store, tasks=20):
    """Fail one operation in each of several tasks. No task may wait for a server that never answers."""

    async def fail():
        with pytest.raises(StoreUnavailable):
            await store.get("a")

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for _ in range(tasks):
                group.start_soon(fail)


async def test_a_paused_server_delays_no_operation_beyond_the_timeout(store, server):
    await until(lambda: store.set("a", b"1"))
    server.pause()
    breaker = store._server.breaker if isinstance(store, RedisStore) else store._database.breaker
    breaker.clock = lambda: 0.0  # the next try is never due
    await fail_all(store)
    with pytest.raises(StoreUnavailable, match="not due yet"):
        await store.get("a")
    breaker.clock = time.monotonic
    server.resume()
    assert await until(lambda: store.get("a")) == b"1"


async def test_a_stopped_server_is_found_again(store, server):
    server.stop()
    await fail_all(store)
    server.start()
    assert await until(lambda: store.set("a", b"2"))
    assert await until(lambda: store.get("a")) == b"2"


async def test_a_crashed_server_is_found_again(store, server):
    server.kill()
    await fail_all(store)
    server.start()
    await until(store.ping)


async def test_committed_data_of_postgres_survives_a_crash(postgres_server):
    async with open_store(postgres_server.url, timeout_seconds=60) as store:
        await until(lambda: store.set("kept", b"1"))
        await store.create("kept", {"x": b"2"}, idle_seconds=3600, ends_at=time.time() + 3600)
        await store.acquire("kept", "me", seconds=3600)
        await store.take("kept", Rate(1, 3600))
        postgres_server.kill()
        postgres_server.start()
        assert await until(lambda: store.get("kept")) == b"1"
        assert (await store.read("kept")).fields == {"x": b"2"}
        assert not await store.acquire("kept", "you", seconds=3600)
        assert await store.take("kept", Rate(1, 3600))  # documented: the table of rates is unlogged
        await store.delete("kept")


async def test_redis_that_sleeps_does_not_stop_the_event_loop(redis_server):
    async with open_store(redis_server.url) as store:
        await until(store.ping)
        redis_server.pause()
        # One time must show it: a busy machine may stop the event loop.
        assert max([await count_steps(store) for _ in range(4)]) > 5
        redis_server.resume()


async def count_steps(store):
    """Return how often another task has its turn while an operation waits for the server."""
    steps = 0

    async def step():
        nonlocal steps
        while True:
            await anyio.sleep(0.01)
            steps += 1

    async with anyio.create_task_group() as group:
        group.start_soon(step)
        await fail_all(store, 1)
        group.cancel_scope.cancel()
    return steps


async def test_a_script_is_loaded_again_after_a_flush(redis_server):
    async with open_store(redis_server.url, timeout_seconds=60) as store:
        await store.take("a", Rate(1, 3600))
        await store._server.current[1].execute("SCRIPT", "FLUSH")
        assert not await store.take("a", Rate(1, 3600))
        await store.delete("a")


async def test_a_redis_without_memory_refuses_and_stays_readable(redis_server):
    async with open_store(redis_server.url, timeout_seconds=60) as store:
        await store.set("a", b"1")
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
            await fail_all(store, 4)
            proxy.flow()
            assert await until(lambda: store.get("a")) == b"1"
            proxy.cut()
            await fail_all(store, 4)
            proxy.flow()
            assert await until(lambda: store.get("a")) == b"1"


async def test_cancelled_operations_leave_the_store_usable(patient_store):
    for n in range(20):
        with anyio.move_on_after(0.0005 * n):
            await patient_store.set("a", str(n).encode())
    await patient_store.set("a", b"last")
    assert await patient_store.get("a") == b"last"


async def test_an_answer_never_reaches_another_operation(patient_store):
    for n in range(30):
        await patient_store.set(f"k{n}", str(n).encode())
    for n in range(30):
        with anyio.move_on_after(0.0003):
            await patient_store.get("k0")
        assert await patient_store.get(f"k{n}") == str(n).encode()
