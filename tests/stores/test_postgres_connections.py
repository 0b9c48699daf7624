"""The connections to Postgres of a store and of channels, with a driver of the test."""

import asyncio

import anyio
import pytest

from spica.stores import postgres_connections
from spica.stores.postgres_connections import Connections, split_options
from spica.stores.waiting import Busy

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"  # like the driver


class TooManyConnectionsError(Exception):
    sqlstate = "53300"


class Connection:
    closed = False

    fails_to_close = False

    def is_closed(self):
        return self.closed

    def terminate(self):
        self.closed = True

    async def close(self):
        self.closed = True
        if self.fails_to_close:
            raise ConnectionResetError


class Driver:
    """A server that allows a number of connections, and makes clients wait for `open`."""

    def __init__(self, allowed=100):
        self.allowed = allowed
        self.is_down = False
        self.attempts = 0
        self.made = []
        self.open = asyncio.Event()
        self.open.set()

    async def connect(self, url, *, timeout):
        self.attempts += 1
        await asyncio.sleep(0)
        await self.open.wait()
        if self.is_down:
            raise ConnectionRefusedError
        if sum(not connection.closed for connection in self.made) >= self.allowed:
            raise TooManyConnectionsError("sorry, too many clients already")
        self.made.append(Connection())
        return self.made[-1]


def pool_of(driver, seconds=60):
    return Connections(driver, "postgresql://", max_connections=10, timeout_seconds=seconds)


async def work(pool, turns=1):
    connection = await pool.acquire()
    for _ in range(turns):
        await asyncio.sleep(0)
    await pool.release(connection)


async def test_operations_share_the_connections_that_the_server_allows():
    driver = Driver(allowed=2)
    pool = pool_of(driver)
    await asyncio.gather(*(work(pool, 5) for _ in range(100)))
    assert (pool.get_size(), driver.attempts) == (2, 10)
    await asyncio.gather(*(work(pool, 5) for _ in range(100)))
    assert driver.attempts == 10  # the next attempt is due a second later


async def test_a_server_without_any_connection_is_an_error():
    with pytest.raises(TooManyConnectionsError):
        await pool_of(Driver(allowed=0)).acquire()


async def test_a_long_wait_at_the_limit_of_the_server_names_it():
    pool = pool_of(Driver(allowed=1), seconds=0.01)
    await pool.acquire()
    with pytest.raises(Busy, match=r"no more than 1 .sorry, too many clients"):
        await pool.acquire()
    assert not pool._waiters


async def test_a_connection_that_is_closed_makes_room_for_another():
    driver = Driver(allowed=1)
    pool = pool_of(driver)
    first = await pool.acquire()
    pool._full_until = 0.0
    waiting = asyncio.create_task(pool.acquire())
    while not pool._waiters:
        await asyncio.sleep(0)
    first.terminate()
    await pool.release(first)
    assert await waiting is driver.made[1]


async def test_a_connection_opens_although_its_operation_has_timed_out():
    driver = Driver()
    driver.open.clear()
    pool = pool_of(driver)
    with anyio.move_on_after(0.001):
        await pool.acquire()
    driver.open.set()
    while not pool._free:
        await asyncio.sleep(0)
    assert await pool.acquire() is driver.made[0]
    assert driver.attempts == 1


async def test_a_late_connection_is_left_to_the_next_operation():
    driver = Driver()
    pool = pool_of(driver, seconds=0)  # so each connection is late
    first = await pool.acquire()
    first.terminate()  # its operation ran out of time
    await pool.release(first)
    with pytest.raises(Busy, match="opened late"):
        await pool.acquire()
    assert await pool.acquire() is driver.made[1]


async def test_a_connection_for_an_operation_that_was_cancelled_goes_to_the_next():
    pool = pool_of(Driver(allowed=1))
    connection = await pool.acquire()
    tasks = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    while len(pool._waiters) < 2:
        await asyncio.sleep(0)
    await pool.release(connection)
    tasks[0].cancel()  # it has got the connection, but has not run since
    assert await tasks[1] is connection
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]


async def test_idle_connections_are_closed(monkeypatch):
    monkeypatch.setattr(postgres_connections, "IDLE_SECONDS", 0.0)
    driver = Driver()
    pool = pool_of(driver)
    await work(pool)
    with anyio.fail_after(60):
        while pool.get_size():
            await asyncio.sleep(0)
    assert driver.made[0].closed


async def test_expired_connections_are_replaced_also_those_in_use():
    driver = Driver()
    pool = pool_of(driver)
    used, idle = await pool.acquire(), await pool.acquire()
    await pool.release(idle)
    pool.expire()
    assert (used.closed, idle.closed) == (False, True)
    await pool.release(used)
    assert used.closed
    assert await pool.acquire() is driver.made[2]


async def test_closing_breaks_the_connections_in_use():
    driver = Driver()
    pool = pool_of(driver)
    used, idle = await pool.acquire(), await pool.acquire()
    await pool.release(idle)
    await pool.close()
    assert (used.closed, idle.closed, pool.get_size()) == (True, True, 0)


async def test_operations_that_wait_during_an_outage_get_its_error():
    driver = Driver()
    driver.is_down = True
    pool = pool_of(driver)
    with anyio.fail_after(30):
        results = await asyncio.gather(*(work(pool) for _ in range(25)), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionRefusedError] * 25
    assert driver.attempts == 25


async def test_a_connection_that_breaks_while_closing_keeps_no_other_open():
    driver = Driver()
    pool = pool_of(driver)
    both = [await pool.acquire(), await pool.acquire()]
    for connection in both:
        connection.fails_to_close = True
        await pool.release(connection)
    await pool.close()
    assert [connection.closed for connection in both] == [True, True]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://a/b", ("postgresql://a/b", {})),
        ("postgresql://a,b/c?statement_cache_size=0", ("postgresql://a,b/c", {0})),
        ("postgresql://a?x=1&statement_cache_size=0&y=2", ("postgresql://a?x=1&y=2", {0})),
    ],
)
def test_an_option_of_the_driver_leaves_the_url(url, expected):
    address, options = split_options(url)
    assert (address, set(options.values()) or {}) == expected


def test_an_option_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="must be a number, such as 0, not 'off'"):
        split_options("postgresql://a?statement_cache_size=off")
