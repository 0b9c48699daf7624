"""Tests of spica/_layers/timeout.py: timeouts and deadlines, in virtual time."""

import asyncio
import math
import threading
from contextlib import nullcontext
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope
from stacks import ForeignPass
from virtual_time import run_in_virtual_time

from spica._asgi.deadline import wait_in_time
from spica.applications import Spica
from spica.concurrency import run_in_threadpool
from spica.endpoints import HTTPEndpoint
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.timeout import Deadline, TimeoutMiddleware, current_deadline
from spica.requests import Request
from spica.responses import JSONResponse, PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route, WebSocketRoute

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def sleep(request: Request) -> PlainTextResponse:
    await anyio.sleep(float(request.query_params["s"]))
    return PlainTextResponse("slept")


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    """Take some seconds until the start, and some until the end."""
    before, after = Request(scope).query_params["s"].split(",")
    await anyio.sleep(float(before))
    await send({"type": "http.response.start", "status": 200})
    await anyio.sleep(float(after))
    await send({"type": "http.response.body", "body": b"done"})


async def chunks(seconds: float) -> Any:
    yield b"a"
    await anyio.sleep(seconds)
    yield b"b"


async def stream(request: Request) -> StreamingResponse:
    return StreamingResponse(chunks(float(request.query_params["s"])))


def application(*options: Any, **settings: Any) -> Spica:
    routes = [
        Route("/sleep", sleep),
        Route("/stream", stream),
        Mount("/foreign", foreign),
    ]
    return Spica(routes=routes, middleware=[Middleware(TimeoutMiddleware, *options, **settings)])


def exchange_in(backend: str, app: Any, path: str) -> tuple[Exchange, float]:
    """Return the exchange of one request, and the seconds that it took."""

    async def run() -> tuple[Exchange, float]:
        start = anyio.current_time()
        exchange = await Exchange(http_scope(path=path)).run(app)
        return exchange, anyio.current_time() - start

    result: tuple[Exchange, float] = run_in_virtual_time(backend, run)
    return result


@both
@pytest.mark.parametrize(
    ("path", "status", "seconds"),
    [
        ("/sleep?s=0", 200, 0),
        ("/sleep?s=29", 200, 29),
        ("/sleep?s=31", 504, 30),
        ("/foreign/?s=29,5", 200, 34),
        ("/foreign/?s=31,5", 504, 30),
        ("/stream?s=100", 200, 100),
    ],
)
def test_the_response_must_start_in_time(
    backend: str, path: str, status: int, seconds: float
) -> None:
    """RFC 9110 s.15.6.5."""
    exchange, took = exchange_in(backend, application(), path)
    assert (exchange.status, took) == (status, pytest.approx(seconds))
    assert exchange.is_complete
    assert exchange.error is None


@both
@pytest.mark.parametrize(
    "path", ["/stream?s=31", "/foreign/?s=1,30"], ids=["stream", "foreign app"]
)
def test_a_stream_is_broken_off_at_the_deadline_if_you_say_so(backend: str, path: str) -> None:
    exchange, took = exchange_in(backend, application(streams=True), path)
    assert (exchange.status, took, exchange.is_complete) == (200, pytest.approx(30), False)
    assert isinstance(exchange.error, TimeoutError)


@both
@pytest.mark.parametrize("path", ["/stream?s=29", "/foreign/?s=9,20", "/sleep?s=29"])
def test_a_stream_in_time_is_complete(backend: str, path: str) -> None:
    exchange, _ = exchange_in(backend, application(streams=True), path)
    assert (exchange.is_complete, exchange.error) == (True, None)


@both
def test_a_handler_makes_the_response_and_layers_outside_edit_it(backend: str) -> None:
    async def too_late(request: Request, exc: Exception) -> JSONResponse:
        return JSONResponse("too late", status_code=503)

    app = application(seconds=5)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    app.add_exception_handler(504, too_late)
    scope = http_scope(path="/sleep?s=6", headers=[("origin", "https://example.org")])
    exchange = run_in_virtual_time(backend, partial(Exchange(scope).run, app))
    assert (exchange.status, exchange.json) == (503, "too late")
    assert exchange.headers["access-control-allow-origin"] == "*"


@both
def test_the_status_and_the_time_can_be_others(backend: str) -> None:
    exchange, took = exchange_in(backend, application(2.5, 503), "/sleep?s=3")
    assert (exchange.status, took) == (503, pytest.approx(2.5))


@both
def test_it_works_around_an_app_of_another_framework(backend: str) -> None:
    exchange, _ = exchange_in(backend, TimeoutMiddleware(foreign, 5), "/?s=6,0")
    assert (exchange.status, exchange.error) == (504, None)


@both
@pytest.mark.parametrize("between", [ForeignPass, BaseHTTPMiddleware], ids=["foreign", "dispatch"])
def test_other_layers_may_be_inside(backend: str, between: Any) -> None:
    class Pass(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            return await call_next(request)

    app = Spica(
        routes=[Route("/sleep", sleep)],
        middleware=[
            Middleware(TimeoutMiddleware, 5),
            Middleware(Pass if between is BaseHTTPMiddleware else between),
        ],
    )
    assert exchange_in(backend, app, "/sleep?s=4")[0].status == 200
    exchange, took = exchange_in(backend, app, "/sleep?s=6")
    assert (exchange.status, took) == (504, pytest.approx(5))


@both
@pytest.mark.parametrize(
    ("outer", "inner", "took"),
    [(5, 9, 5), (9, 5, 5), (5, 5, 5), (math.inf, 5, 5), (5, math.inf, 5)],
)
def test_of_nested_timeouts_the_shorter_one_applies(
    backend: str, outer: float, inner: float, took: float
) -> None:
    found: list[float] = []

    async def endpoint(request: Request) -> PlainTextResponse:
        assert request.deadline is not None
        found.append(request.deadline.remaining_seconds)
        return await sleep(request)

    app = Spica(
        routes=[Route("/", endpoint, timeout_seconds=inner)],
        middleware=[Middleware(TimeoutMiddleware, outer)],
    )
    exchange, seconds = exchange_in(backend, app, "/?s=20")
    assert (exchange.status, seconds, found) == (504, pytest.approx(took), [pytest.approx(took)])


# -- the deadline ------------------------------------------------------------------------------------


@both
def test_the_endpoint_sees_the_time_that_is_left(backend: str) -> None:
    async def endpoint(request: Request) -> JSONResponse:
        deadline = request.deadline
        assert deadline is not None
        assert deadline is current_deadline.get()
        before = deadline.remaining_seconds
        await anyio.sleep(3)
        return JSONResponse([before, deadline.remaining_seconds, deadline.is_over])

    app = Spica(routes=[Route("/", endpoint, timeout_seconds=8)])
    assert exchange_in(backend, app, "/")[0].json == [pytest.approx(8), pytest.approx(5), False]


@pytest.mark.anyio
async def test_a_worker_thread_sees_the_deadline() -> None:
    def look() -> bool:
        deadline = current_deadline.get()
        return deadline is not None and 0 < deadline.remaining_seconds <= 600

    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(await anyio.to_thread.run_sync(look))

    exchange = await call(Spica(routes=[Route("/", endpoint, timeout_seconds=600)]))
    assert (exchange.json, current_deadline.get()) == (True, None)


class Over:
    """A clock without any time left."""

    waited = 0.0

    def idle_limit(self) -> float:
        return 0

    def give_up(self) -> Exception:
        return TimeoutError()


@pytest.mark.parametrize("waits_longer", [False, True])
def test_the_timeout_lets_a_thread_end(waits_longer: bool) -> None:
    """A thread can't be cancelled. If its slot were given back early, more and more threads would run."""
    may_return = threading.Event()
    steps: list[str] = []

    async def work() -> None:
        await run_in_threadpool(may_return.wait, 10)
        steps.append("thread")
        if waits_longer:
            await anyio.sleep(60)
            steps.append("never")

    async def release() -> None:
        for _ in range(3):  # the timer runs
            await asyncio.sleep(0)
        steps.append("release")
        may_return.set()

    async def main() -> None:
        await run_in_threadpool(int)  # the first call in a process takes another way
        releasing = asyncio.create_task(release())
        await wait_in_time(Over(), work)
        await releasing

    with pytest.raises(TimeoutError) if waits_longer else nullcontext():
        asyncio.run(main())
    assert steps == ["release", "thread"]


@both
def test_without_a_timeout_there_is_no_deadline(backend: str) -> None:
    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse([request.deadline, current_deadline.get()])

    exchange, _ = exchange_in(backend, Spica(routes=[Route("/", endpoint)]), "/")
    assert exchange.json == [None, None]


def test_a_deadline_ends_at_zero() -> None:
    now = 10.0
    deadline = Deadline(12.0, lambda: now)
    assert (deadline.remaining_seconds, deadline.is_over) == (2.0, False)
    assert repr(deadline) == "<Deadline in 2.000 s>"
    now = 12.0
    assert (deadline.remaining_seconds, deadline.is_over) == (0.0, True)
    now = 13.0
    assert (deadline.remaining_seconds, deadline.is_over) == (0.0, True)


@both
def test_the_body_of_a_stream_has_no_deadline_unless_it_applies(backend: str) -> None:
    seen: list[Any] = []

    async def body() -> Any:
        seen.append(current_deadline.get() is None)
        yield b""

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(body())

    for streams in (False, True):
        recipe = Middleware(TimeoutMiddleware, streams=streams)
        exchange_in(backend, Spica(routes=[Route("/", endpoint)], middleware=[recipe]), "/")
    assert seen == [True, False]


# -- cancellation ------------------------------------------------------------------------------------


@both
def test_a_shielded_cleanup_completes(backend: str) -> None:
    log: list[str] = []

    async def endpoint(request: Request) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2)
                log.append("cleaned up")

    app = Spica(routes=[Route("/", endpoint, timeout_seconds=5)])
    exchange, took = exchange_in(backend, app, "/")
    assert (exchange.status, took, log) == (504, pytest.approx(7), ["cleaned up"])


def test_on_asyncio_a_finally_may_await() -> None:
    log: list[str] = []

    async def endpoint(request: Request) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)
            log.append("connection returned")

    app = Spica(routes=[Route("/", endpoint, timeout_seconds=5)])
    exchange, _ = exchange_in("asyncio", app, "/")
    assert (exchange.status, log) == (504, ["connection returned"])


@both
def test_scopes_and_task_groups_of_the_endpoint_are_cancelled(backend: str) -> None:
    log: list[str] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append("child")

    async def endpoint(request: Request) -> None:
        with anyio.move_on_after(100):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(child)
                await anyio.sleep_forever()

    app = Spica(routes=[Route("/", endpoint, timeout_seconds=5)])
    exchange, took = exchange_in(backend, app, "/")
    assert (exchange.status, took, log) == (504, pytest.approx(5), ["child"])


@both
def test_a_shorter_timeout_of_the_endpoint_is_its_own(backend: str) -> None:
    async def endpoint(request: Request) -> PlainTextResponse:
        with anyio.move_on_after(2):
            await anyio.sleep_forever()
        return PlainTextResponse("on its own")

    app = Spica(routes=[Route("/", endpoint, timeout_seconds=5)])
    exchange, took = exchange_in(backend, app, "/")
    assert (exchange.text, took) == ("on its own", pytest.approx(2))


@both
def test_an_endpoint_that_answers_although_it_was_cancelled_is_heard(backend: str) -> None:
    async def endpoint(request: Request) -> PlainTextResponse:
        with anyio.CancelScope(shield=backend == "trio"):
            try:
                await anyio.sleep(6)
            except BaseException:
                pass
        return PlainTextResponse("an answer")

    app = Spica(routes=[Route("/", endpoint, timeout_seconds=5)])
    assert exchange_in(backend, app, "/")[0].text == "an answer"


@both
def test_a_cancellation_from_outside_is_not_a_timeout(backend: str) -> None:
    async def run() -> None:
        exchange = Exchange(http_scope(path="/sleep?s=20"))
        with anyio.move_on_after(3) as scope:
            await exchange.run(application())
        assert scope.cancelled_caught
        assert exchange.sent == []

    run_in_virtual_time(backend, run)


@both
def test_an_error_of_the_endpoint_stays_that_error(backend: str) -> None:
    async def endpoint(request: Request) -> None:
        await anyio.sleep(1)
        raise TimeoutError("of a database")

    app = Spica(routes=[Route("/", endpoint, timeout_seconds=5)])
    exchange, _ = exchange_in(backend, app, "/")
    assert exchange.status == 500
    assert str(exchange.error) == "of a database"


@both
def test_a_response_that_the_endpoint_sends_by_hand_ends_the_time(backend: str) -> None:
    async def endpoint(request: Request) -> None:
        await request._send({"type": "http.response.start", "status": 200})
        await anyio.sleep(10)
        await request._send({"type": "http.response.body", "body": b"by hand"})

    app = Spica(routes=[Route("/", endpoint, timeout_seconds=5)])
    assert exchange_in(backend, app, "/")[0].body == b"by hand"


@both
def test_a_websocket_has_no_timeout(backend: str) -> None:
    async def endpoint(websocket: Any) -> None:
        await websocket.accept()
        await anyio.sleep(60)
        assert websocket.deadline is None
        await websocket.close()

    recipe = Middleware(TimeoutMiddleware, 5)
    app = Spica(routes=[WebSocketRoute("/", endpoint)], middleware=[recipe])
    exchange = Exchange(websocket_scope(), [{"type": "websocket.connect"}])
    run_in_virtual_time(backend, partial(exchange.run, app))
    assert exchange.types == ["websocket.accept", "websocket.close"]


# -- settings ----------------------------------------------------------------------------------------


class AsyncClass(HTTPEndpoint):
    async def get(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("")


class SyncClass(AsyncClass):
    def post(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("")


def in_thread(request: Request) -> PlainTextResponse:
    return PlainTextResponse("")


@pytest.mark.parametrize(
    "endpoint", [in_thread, partial(in_thread), SyncClass], ids=["def", "partial", "class"]
)
def test_a_route_refuses_a_thread(endpoint: Any) -> None:
    with pytest.raises(TypeError, match=r"Route\('/'\): timeout_seconds needs an `async def`"):
        Route("/", endpoint, timeout_seconds=5)


def test_a_route_takes_async_functions_and_apps() -> None:
    for endpoint in (sleep, AsyncClass, application()):
        Route("/", endpoint, timeout_seconds=5)


@pytest.mark.parametrize(
    ("seconds", "error", "text"),
    [
        (0, ValueError, "more than 0"),
        (-1, ValueError, "more than 0"),
        (math.nan, ValueError, "more than 0"),
        ("5", TypeError, "a number of seconds"),
        (True, TypeError, "a number of seconds"),
    ],
)
def test_wrong_times_are_refused(seconds: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=r"Route\('/'\): timeout_seconds must be " + text):
        Route("/", sleep, timeout_seconds=seconds)
    with pytest.raises(error, match="TimeoutMiddleware: seconds must be " + text):
        TimeoutMiddleware(foreign, seconds)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"status_code": 200}, ValueError),
        ({"status_code": 600}, ValueError),
        ({"status_code": "504"}, TypeError),
        ({"streams": "no"}, TypeError),
    ],
    ids=str,
)
def test_wrong_settings_are_refused(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="TimeoutMiddleware: " + next(iter(options))):
        TimeoutMiddleware(foreign, **options)


@pytest.mark.anyio
async def test_a_request_that_never_waits_needs_no_timer(anyio_backend: str) -> None:
    if anyio_backend != "asyncio":
        return
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)  # type: ignore[attr-defined]  # no public count of timers

    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(len(loop._scheduled) - before)  # type: ignore[attr-defined]

    app = Spica(routes=[Route("/", endpoint, timeout_seconds=5)])
    assert (await call(app)).json == 0
