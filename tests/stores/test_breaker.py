"""The circuit breaker, with a clock of the test."""

import logging
import sqlite3

import pytest
import redis.exceptions

from spica.stores import StoreUnavailable
from spica.stores.breaker import MAX_FAILURES, Breaker, describe_error, is_refusal


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def breaker():
    breaker = Breaker("TestStore", 0.25)
    breaker.clock = Clock()
    return breaker


def fail(breaker, times):
    for _ in range(times):
        breaker.enter("get")
        breaker.fail("get", "refused")


def is_open(breaker):
    try:
        breaker.enter("get")
    except StoreUnavailable:
        return True
    breaker.leave()
    return False


def test_five_failures_in_a_row_open_it_for_a_second(breaker):
    fail(breaker, 4)
    assert not is_open(breaker)
    fail(breaker, 1)
    assert is_open(breaker)
    breaker.clock.now += 0.99
    assert is_open(breaker)
    breaker.clock.now += 0.02
    assert not is_open(breaker)


def test_an_operation_that_found_no_connection_is_no_failure(breaker):
    for _ in range(MAX_FAILURES + 3):
        breaker.enter("get")
        error = breaker.refuse("get", "no connection was free")
    assert str(error) == "TestStore.get() failed: no connection was free"
    assert not is_open(breaker)


class DiskFullError(Exception):
    sqlstate = "53100"


class TooManyConnectionsError(Exception):
    sqlstate = "53300"


@pytest.mark.parametrize(
    ("error", "is_outage"),
    [
        (redis.exceptions.OutOfMemoryError("maxmemory"), False),
        (redis.exceptions.NoPermissionError("no right"), False),
        (DiskFullError(), False),
        (TooManyConnectionsError(), True),
        (redis.exceptions.ReadOnlyError("a replica"), True),
        (redis.exceptions.BusyLoadingError("loading"), True),
        (redis.exceptions.ConnectionError("gone"), True),
        (OSError("gone"), True),
    ],
)
def test_a_server_that_refuses_some_operations_is_no_outage(breaker, error, is_outage):
    for _ in range(MAX_FAILURES):
        breaker.enter("set")
        breaker.fail("set", "refused", is_outage=not is_refusal(error))
    assert is_open(breaker) == is_outage


def test_a_success_starts_the_count_again(breaker):
    for _ in range(10):
        fail(breaker, 4)
        breaker.succeed()
    assert not is_open(breaker)


def test_one_probe_at_a_time(breaker):
    fail(breaker, 5)
    breaker.clock.now += 1
    breaker.enter("get")
    assert is_open(breaker)
    breaker.succeed()
    assert not is_open(breaker)


def test_a_cancelled_probe_makes_room_for_the_next(breaker):
    fail(breaker, 5)
    breaker.clock.now += 1
    breaker.enter("get")
    breaker.leave()
    assert not is_open(breaker)


def test_each_failed_probe_doubles_the_time_up_to_half_a_minute(breaker):
    fail(breaker, 5)
    waits = []
    for _ in range(7):
        with pytest.raises(StoreUnavailable) as raised:
            breaker.enter("get")
        waits.append(raised.value.retry_after_seconds)
        breaker.clock.now += waits[-1]
        fail(breaker, 1)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    breaker.clock.now += 30
    breaker.enter("get")
    breaker.succeed()
    fail(breaker, 5)
    breaker.clock.now += 1
    assert not is_open(breaker)


def test_operations_that_fail_late_do_not_lengthen_the_time(breaker):
    for _ in range(50):
        breaker.enter("get")
    for _ in range(50):
        breaker.fail("get", "refused")
    breaker.clock.now += 1
    assert not is_open(breaker)


def test_an_outage_logs_one_line_per_minute_and_the_recovery(breaker, caplog):
    caplog.set_level(logging.INFO, "spica.stores")
    for _ in range(61):
        breaker.fail("get", "refused")
        breaker.clock.now += 1
    breaker.succeed()
    assert [record.message for record in caplog.records] == [
        "TestStore.get() failed: refused",
        "TestStore.get() failed: refused",
        "TestStore works again.",
    ]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), 3600])
def test_a_timeout_out_of_range_is_refused(timeout):
    with pytest.raises(ValueError, match="TestStore: timeout_seconds must be above 0"):
        Breaker("TestStore", timeout)


def test_an_open_breaker_says_so():
    breaker = Breaker("TestStore", 1)
    assert not breaker.is_open
    for _ in range(MAX_FAILURES):
        breaker.fail("get", "refused")
    assert breaker.is_open
    breaker.succeed()
    assert not breaker.is_open


@pytest.mark.parametrize("seconds", [None, "1", True])
def test_the_timeout_is_a_number(seconds):
    with pytest.raises(TypeError, match="RedisStore: timeout_seconds must be a number of seconds"):
        Breaker("RedisStore", seconds)


@pytest.mark.parametrize(
    ("name", "message", "fix"),
    [
        ("MovedError", "3999 127.0.0.1:7001", "a node of a Redis Cluster"),
        ("OutOfMemoryError", "command not allowed", "raise it"),
        ("ResponseError", "@user_script: 4: -OOM command not allowed", "maxmemory: raise it"),
        ("ResponseError", "-READONLY You can't write", "use the URL of the primary"),
        ("ResponseError", "The user executing the script can't publish", "&spica:*"),
        ("NoPermissionError", "this user has no permissions", "~spica:*"),
    ],
)
def test_the_reason_names_the_fix_of_a_setting(name, message, fix):
    reason = describe_error(type(name, (Exception,), {})(message))
    assert reason.startswith(f"{name}: {message} (")
    assert fix in reason


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (sqlite3.SQLITE_BUSY, "end its transaction"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "write access to the file and its folder"),
        (sqlite3.SQLITE_CANTOPEN, "write access to the file and its folder"),
        (sqlite3.SQLITE_FULL, "the disk is full"),
        (sqlite3.SQLITE_NOTADB, "another file has this name"),
    ],
)
def test_the_reason_names_the_fix_of_a_file(code, fix):
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = code
    assert describe_error(error).startswith("OperationalError: it failed (")
    assert fix in describe_error(error)


def test_the_reason_of_another_error_is_its_message():
    assert describe_error(OSError("no route to host")) == "OSError: no route to host"
