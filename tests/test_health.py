"""Tests of spica/health.py."""

import threading
import time

import anyio
import pytest
from asgi_kit import call
from stable_ids import stable_id

from spica.applications import Spica
from spica.authentication import AuthenticationBackend
from spica.health import health_routes
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.stores import MemoryStore

pytestmark = pytest.mark.anyio


async def get(app, path="/readyz"):
    """Return the status and the text of a response."""
    exchange = await call(app, "GET", path)
    return exchange.starts[0]["status"], exchange.text


def service(checks=None, **options):
    return Spica(routes=health_routes(checks, **options))


class Counted:
    """A check that counts its calls, and passes or fails."""

    def __init__(self, result=None):
        self.calls = 0
        self.result = result

    async def __call__(self):
        self.calls += 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Strangers(AuthenticationBackend):
    async def authenticate(self, conn):
        return None


def refuse():
    raise ConnectionRefusedError("port 5432")


async def test_a_process_without_checks_is_live_and_ready():
    app = service()

    assert await get(app, "/livez") == (200, "live")
    assert await get(app) == (200, "ready")


async def test_the_routes_are_public():
    layer = Middleware(AuthenticationMiddleware, backend=Strangers())
    app = Spica(routes=health_routes(), middleware=[layer], default_scopes=["authenticated"])

    assert await get(app) == (200, "ready")


@pytest.mark.parametrize("result", [None, True, 0, ""], ids=repr)
async def test_a_check_passes_unless_it_returns_false_or_raises(result):
    assert await get(service({"cache": Counted(result)})) == (200, "ready")


@pytest.mark.parametrize(
    "check",
    [Counted(False), Counted(OSError("gone")), refuse, lambda: False],
    ids=["false", "raises", "def", "lambda"],
)
async def test_a_failed_check_makes_the_process_unready(check):
    assert await get(service({"database": check})) == (503, "not ready")


async def test_details_name_the_failed_checks_only():
    checks = {"database": refuse, "mail": Counted(False), "cache": Counted()}

    assert await get(service(checks, details=True)) == (503, "not ready: database, mail")


async def test_liveness_does_not_depend_on_checks():
    assert await get(service({"database": refuse}), "/livez") == (200, "live")


async def test_a_check_that_hangs_fails_after_its_timeout():
    app = service({"slow": anyio.sleep_forever}, timeout_seconds=0.01)

    assert await get(app) == (503, "not ready")


async def test_a_thread_that_hangs_is_left_alone_and_no_second_one_starts():
    release, calls = threading.Event(), []

    def hang():
        calls.append(threading.get_ident())
        release.wait(60)

    app = service({"slow": hang}, timeout_seconds=0.05, cache_seconds=0)
    try:
        assert await get(app) == (503, "not ready")
        assert await get(app) == (503, "not ready")
        assert len(calls) == 1
    finally:
        release.set()


async def test_checks_run_concurrently():
    arrived = [anyio.Event(), anyio.Event()]

    async def first():
        arrived[0].set()
        await arrived[1].wait()

    async def second():
        arrived[1].set()
        await arrived[0].wait()

    assert await get(service({"first": first, "second": second})) == (200, "ready")


async def test_a_result_is_used_again_until_it_expires():
    check = Counted()
    app = service({"cache": check}, cache_seconds=60)

    await get(app)
    await get(app)

    assert check.calls == 1


async def test_without_a_cache_each_request_runs_the_checks():
    check = Counted()
    app = service({"cache": check}, cache_seconds=0)

    await get(app)
    check.result = False

    assert await get(app) == (503, "not ready")


async def test_requests_that_come_together_share_one_run():
    check, results = Counted(), []
    app = service({"cache": check}, cache_seconds=60)

    async def ask():
        results.append(await get(app))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(ask)

    assert results == [(200, "ready")] * 10
    assert check.calls == 1


async def test_a_cancelled_request_does_not_stop_the_next_one():
    gate = anyio.Event()
    app = service({"slow": gate.wait}, timeout_seconds=60)
    with anyio.move_on_after(0.01):
        await get(app)
    gate.set()

    assert await get(app) == (200, "ready")


async def test_a_shutdown_makes_the_process_unready_at_once():
    app = service({"cache": Counted()}, cache_seconds=60)
    assert await get(app) == (200, "ready")

    app.shutdown.begin("test")

    assert await get(app) == (503, "shutting down")
    assert await get(app, "/livez") == (200, "live")


async def test_a_blocked_event_loop_is_not_live():
    app = service(max_lag_seconds=0.05)

    async def block():
        time.sleep(0.2)  # noqa: ASYNC251  # the fault itself

    async with anyio.create_task_group() as group:
        group.start_soon(block)
        assert await get(app, "/livez") == (503, "blocked")


async def test_responses_are_not_stored():
    exchange = await call(service(), "GET", "/readyz")

    assert (b"cache-control", b"no-store") in exchange.starts[0]["headers"]


async def test_the_log_has_the_error_once_and_the_recovery(caplog):
    check = Counted(OSError("port 5432"))
    app = service({"database": check}, cache_seconds=0)

    await get(app)
    await get(app)
    check.result = None
    await get(app)

    assert caplog.messages == [
        "The health check 'database' fails: OSError: port 5432",
        "The health check 'database' passes again",
    ]


async def test_the_ping_of_a_store_is_a_check():
    async with MemoryStore() as store:
        assert await get(service({"store": store.ping})) == (200, "ready")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"checks": [refuse]}, TypeError, "must map names to functions"),
        ({"checks": {"a": 1}}, TypeError, "'a' must be a function without arguments"),
        ({"checks": {1: refuse}}, TypeError, "name of a check must be a string"),
        ({"live": "livez"}, ValueError, "live must be a path"),
        ({"live": "/readyz"}, ValueError, "need different paths"),
        ({"timeout_seconds": 0}, ValueError, "timeout_seconds must be more than 0"),
        ({"timeout_seconds": "1"}, TypeError, "timeout_seconds must be a number"),
        ({"cache_seconds": -1}, ValueError, "cache_seconds must be 0 or more"),
        ({"details": "no"}, TypeError, "details must be True or False"),
    ],
    ids=stable_id,
)
async def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        health_routes(**arguments)
