"""The time that a client may take for a request body: RFC 9110 s.15.5.9."""

import asyncio
import math
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
from asgi_kit import DISCONNECT, Exchange, http_scope
from stacks import ForeignPass
from virtual_time import run_in_virtual_time

from spica._asgi.body import BodyChannel
from spica._asgi.deadline import (
    BODY_GRACE_SECONDS,
    DEFAULT_BODY_IDLE_SECONDS,
    DEFAULT_MIN_BODY_RATE,
    BodyDeadline,
    BodyTimeout,
    wait_in_time,
)
from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.body_limit import BodyDeadlineMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route, Router

pytestmark = pytest.mark.parametrize("backend", ["asyncio", "trio"])

IDLE, GRACE, RATE = DEFAULT_BODY_IDLE_SECONDS, BODY_GRACE_SECONDS, DEFAULT_MIN_BODY_RATE
Step = tuple[float, bytes]


class SlowClient:
    """Send chunks, each after some seconds; then nothing, or the end of the body."""

    def __init__(self, *steps: Step, ends: bool = False) -> None:
        self.messages: list[tuple[float, Any]] = [
            (seconds, {"type": "http.request", "body": chunk, "more_body": True})
            for seconds, chunk in steps
        ]
        if ends:
            self.messages.append((0, {"type": "http.request", "body": b"", "more_body": False}))
        self.waits = 0

    async def __call__(self) -> Any:
        self.waits += 1
        if not self.messages:
            await anyio.sleep_forever()
        await anyio.sleep(self.messages[0][0])
        return self.messages.pop(0)[1]

    def close(self) -> None:
        """The response is complete."""


class Guarding:
    """Wait as a server does that has a scope of its own around its wait."""

    def __init__(self, client: SlowClient) -> None:
        self.client = client

    async def __call__(self) -> Any:
        with anyio.fail_after(1e9):
            return await self.client()


async def size(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def streamed_size(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(sum([len(chunk) async for chunk in request.stream()])))


async def json_value(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(await request.json()))


async def form_size(request: Request) -> PlainTextResponse:
    async with request.form() as form:
        return PlainTextResponse(str(len(form)))


async def raw_size(scope: Any, receive: Any, send: Any) -> None:
    total, more = 0, True
    while more:
        message = await receive()
        total, more = total + len(message["body"]), message["more_body"]
    await PlainTextResponse(str(total))(scope, receive, send)


def post(endpoint: Any = size, **settings: Any) -> Route:
    return Route("/", endpoint, methods=["POST"], **settings)


async def _run(app: Any, client: Any, exchange: Exchange) -> float:
    exchange.receive = client
    start = anyio.current_time()
    await exchange.run(app)
    return anyio.current_time() - start


def exchange_with(backend: str, app: Any, client: Any, **more: Any) -> tuple[Exchange, float]:
    """Return what became of a request, and the seconds it took."""
    headers = [("content-type", "multipart/form-data; boundary=b")]
    exchange = Exchange(http_scope("POST", "/", headers=headers, **more))
    return exchange, run_in_virtual_time(backend, partial(_run, app, client, exchange))


# -- a client that stops ---------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", [size, streamed_size, json_value, form_size])
def test_a_body_that_never_comes_is_a_408(backend: str, endpoint: Any) -> None:
    exchange, seconds = exchange_with(backend, Spica(routes=[post(endpoint)]), SlowClient())
    assert (exchange.status, seconds) == (408, IDLE)
    assert exchange.body == b"No part of the request body arrived for 30 seconds."
    assert exchange.headers["connection"] == "close"


@pytest.mark.parametrize("layer", [None, ForeignPass])
def test_a_foreign_app_that_receives_is_answered_for(backend: str, layer: Any) -> None:
    middleware = [Middleware(layer)] if layer else []
    app = Spica(routes=[Mount("", raw_size)], middleware=middleware)
    exchange, seconds = exchange_with(backend, app, SlowClient((1, b"a")))
    assert (exchange.status, seconds) == (408, 1 + IDLE)


@pytest.mark.parametrize(("seconds", "status"), [(IDLE - 1, 200), (IDLE + 1, 408)])
def test_a_pause_is_as_long_as_the_limit_at_most(backend: str, seconds: float, status: int) -> None:
    client = SlowClient((0, bytes(10_000)), (seconds, b""), ends=True)
    exchange, _ = exchange_with(backend, Spica(routes=[post()]), client)
    assert exchange.status == status


def test_a_server_may_have_a_scope_around_its_wait(backend: str) -> None:
    exchange, seconds = exchange_with(backend, Spica(routes=[post()]), Guarding(SlowClient()))
    assert (exchange.status, seconds) == (408, IDLE)


def test_http_2_has_no_connection_field(backend: str) -> None:
    app = Spica(routes=[post()])
    exchange, _ = exchange_with(backend, app, SlowClient(), http_version="2")
    assert (exchange.status, "connection" in exchange.headers) == (408, False)


def test_later_readers_get_the_same_error(backend: str) -> None:
    async def twice(request: Request) -> PlainTextResponse:
        with pytest.raises(BodyTimeout) as first:
            await request.body()
        with pytest.raises(BodyTimeout) as second:
            await anext(request.stream())
        with pytest.raises(BodyTimeout) as third:
            await request.receive()
        return PlainTextResponse(str(first.value is second.value is third.value))

    exchange, seconds = exchange_with(backend, Spica(routes=[post(twice)]), SlowClient((1, b"a")))
    assert (exchange.body, seconds) == (b"True", 1 + IDLE)


def test_a_reader_behind_a_listener_is_timed(backend: str) -> None:
    async def listening(request: Request) -> PlainTextResponse:
        assert not await request.is_disconnected()
        return await size(request)

    exchange, seconds = exchange_with(backend, Spica(routes=[post(listening)]), SlowClient())
    assert (exchange.status, seconds) == (408, IDLE)


# -- a client that is slow -------------------------------------------------------------------------------


def test_one_byte_every_few_seconds_is_too_slow(backend: str) -> None:
    client = SlowClient(*[(5, b"x")] * 1000)
    exchange, seconds = exchange_with(backend, Spica(routes=[post()]), client)
    assert (exchange.status, seconds) == (408, 15)
    assert exchange.body == b"The request body arrived at less than 256 bytes per second."


@pytest.mark.parametrize(
    ("chunk", "status"), [(RATE * 5 - 1, 408), (RATE * 5, 200), (RATE * 5 + 1, 200)]
)
def test_the_rate_counts_after_the_grace(backend: str, chunk: int, status: int) -> None:
    client = SlowClient((GRACE + 5, bytes(chunk)), ends=True)
    exchange, _ = exchange_with(backend, Spica(routes=[post()]), client)
    assert exchange.status == status


def test_a_body_that_is_complete_is_not_refused(backend: str) -> None:
    client = SlowClient((29, b"x"))
    client.messages[0][1]["more_body"] = False
    exchange, _ = exchange_with(backend, Spica(routes=[post()]), client)
    assert exchange.body == b"1"


def test_only_waiting_for_the_client_counts(backend: str) -> None:
    async def slow_reader(request: Request) -> PlainTextResponse:
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            await anyio.sleep(100)
        return PlainTextResponse(str(total))

    client = SlowClient(*[(1, b"x")] * 5, ends=True)
    exchange, seconds = exchange_with(backend, Spica(routes=[post(slow_reader)]), client)
    assert (exchange.body, seconds) == (b"5", 5 + 600)


# -- what is not timed -----------------------------------------------------------------------------------


def test_a_wait_for_a_disconnect_is_not_timed(backend: str) -> None:
    async def wait(request: Request) -> PlainTextResponse:
        with request.cancel_on_disconnect():
            await anyio.sleep(1000)
        return await size(request)

    client = SlowClient((0, b"x"), (999, b"y"), ends=True)
    exchange, seconds = exchange_with(backend, Spica(routes=[post(wait)]), client)
    assert (exchange.body, seconds) == (b"2", 1000)


def test_a_receive_behind_the_end_of_the_body_is_not_timed(backend: str) -> None:
    async def until_gone(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await PlainTextResponse("gone")(scope, receive, send)

    client = SlowClient(ends=True)
    client.messages.append((1000, DISCONNECT))
    exchange, seconds = exchange_with(backend, Spica(routes=[Mount("", until_gone)]), client)
    assert (exchange.body, seconds) == (b"gone", 1000)


async def echo(request: Request) -> StreamingResponse:
    return StreamingResponse(request.stream())


async def foreign_echo(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


async def dispatch(request: Request, call_next: Any) -> Any:
    return await call_next(request)


@pytest.mark.parametrize("route", [post(echo), Mount("", foreign_echo)], ids=["value", "foreign"])
@pytest.mark.parametrize(
    "layers", [[], [Middleware(BaseHTTPMiddleware, dispatch=dispatch)], [Middleware(ForeignPass)]]
)  # fmt: skip
def test_a_conversation_is_not_timed(backend: str, route: Any, layers: Any) -> None:
    client = SlowClient((1, b"a"), (100, b"b"), (1000, b"c"), ends=True)
    exchange, seconds = exchange_with(backend, Spica(routes=[route], middleware=layers), client)
    assert (exchange.body, exchange.error, seconds) == (b"abc", None, 1101)


def test_a_message_that_is_there_sets_no_timer(backend: str) -> None:
    class Counting:
        waited = 0.0
        asked = 0

        def idle_limit(self) -> float:
            self.asked += 1
            return 1

        def give_up(self) -> None:
            raise AssertionError

    async def ready() -> str:
        return "there"

    async def main() -> None:
        clock = Counting()
        assert await wait_in_time(clock, ready) == "there"
        assert clock.asked == (1 if backend == "trio" else 0)

    run_in_virtual_time(backend, main)


# -- cancellation and errors -------------------------------------------------------------------------------


def test_a_cancelled_wait_stays_cancelled(backend: str) -> None:
    async def main() -> None:
        channel = BodyChannel(SlowClient((5, b"x"), ends=True), http_scope("POST"))
        with anyio.move_on_after(1) as scope:
            await channel.read()
        assert scope.cancelled_caught
        assert channel.refused is None
        assert await channel.read() == b"x"

    run_in_virtual_time(backend, main)


def test_a_cancellation_at_the_same_time_wins(backend: str) -> None:
    async def main() -> None:
        channel = BodyChannel(SlowClient(), http_scope("POST"))
        with anyio.move_on_after(IDLE) as scope:
            with pytest.raises(BodyTimeout):
                await channel.read()
            scope.cancel()
        await anyio.sleep(1)  # the task is not cancelled any more

    run_in_virtual_time(backend, main)


def test_an_error_of_the_server_passes(backend: str) -> None:
    async def failing() -> Any:
        await anyio.sleep(1)
        raise OSError("broken")

    async def main() -> None:
        with pytest.raises(OSError, match="broken"):
            await BodyChannel(failing, http_scope("POST")).read()

    run_in_virtual_time(backend, main)


def test_a_wait_that_is_given_up_is_closed(backend: str) -> None:
    if backend == "trio":
        pytest.skip("trio's tasks are never given up")
    closed = []

    async def waiting() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    async def main() -> None:
        channel = BodyChannel(SlowClient(), http_scope("POST"))
        steps: Any = wait_in_time(channel, waiting).__await__()
        next(steps)
        steps.close()

    run_in_virtual_time(backend, main)
    assert closed == [True]


class Bare:
    """What granian's ``receive`` returns: an iterator without ``send``, ``throw`` and ``close``."""

    def __init__(self, future: Any) -> None:
        self.future = future

    def __await__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self.future.done():
            raise StopIteration(self.future.result())
        self.future._asyncio_future_blocking = True
        return self.future


@pytest.mark.parametrize("arrives", [True, False])
def test_a_bare_iterator_is_timed(backend: str, arrives: bool) -> None:
    if backend == "trio":
        pytest.skip("a way of asyncio")
    message = {"type": "http.request", "body": b"x", "more_body": False}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if arrives:
            loop.call_later(5, future.set_result, message)
        channel = BodyChannel(lambda: Bare(future), http_scope("POST"))
        if arrives:
            assert await channel.read() == b"x"
        else:
            with pytest.raises(BodyTimeout):
                await channel.read()

    run_in_virtual_time(backend, main)


# -- settings --------------------------------------------------------------------------------------------

PLACES: dict[str, Callable[..., Any]] = {
    "application": lambda **own: Spica(routes=[post()], **own),
    "router": lambda **own: Spica(routes=[Mount("", Router([post()], **own))]),
    "mount": lambda **own: Spica(routes=[Mount("", routes=[post()], **own)]),
    "route": lambda **own: Spica(routes=[post(**own)]),
    "middleware": lambda **own: Spica(
        routes=[post()], middleware=[Middleware(BodyDeadlineMiddleware, **own)]
    ),
    "over the application": lambda **own: Spica(
        routes=[post(**own)], body_idle_seconds=1, min_body_rate=10**9
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_both_limits_are_set_everywhere(backend: str, place: str) -> None:
    app = PLACES[place](body_idle_seconds=5, min_body_rate=1)
    exchange, seconds = exchange_with(backend, app, SlowClient())
    assert (exchange.status, seconds) == (408, 5)
    exchange, seconds = exchange_with(backend, app, SlowClient(*[(4, b"x")] * 100))
    assert (exchange.status, seconds) == (408, 16)
    assert b"less than 1 bytes" in exchange.body


@pytest.mark.parametrize("rate", [0, math.inf])
@pytest.mark.parametrize("place", PLACES)
def test_both_limits_can_be_lifted(backend: str, place: str, rate: float) -> None:
    app = PLACES[place](body_idle_seconds=math.inf, min_body_rate=rate)
    exchange, seconds = exchange_with(backend, app, SlowClient((1000, b"x"), ends=True))
    assert (exchange.body, seconds) == (b"1", 1000)


def test_what_is_not_set_is_as_it_is_outside(backend: str) -> None:
    app = Spica(routes=[post(min_body_rate=1)], body_idle_seconds=7)
    exchange, seconds = exchange_with(backend, app, SlowClient())
    assert (exchange.status, seconds) == (408, 7)


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ({"body_idle_seconds": 0}, ValueError, "Spica: body_idle_seconds must be more than 0, not 0"),
        ({"body_idle_seconds": math.nan}, ValueError, "must be more than 0, not nan"),
        ({"body_idle_seconds": "5"}, TypeError, r"a number of seconds or None \(math.inf: no limit\)"),
        ({"min_body_rate": -1}, ValueError, "min_body_rate must not be negative, but is -1"),
        ({"min_body_rate": True}, TypeError, "a number of bytes per second or None"),
    ],
)  # fmt: skip
def test_a_limit_that_is_none_is_an_error(
    backend: str, setting: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        Spica(**setting)


def test_the_error_survives_a_pickle(backend: str) -> None:
    error = pickle.loads(pickle.dumps(BodyTimeout("why", "2")))
    assert (error.status_code, error.detail, error.headers) == (408, "why", None)


def test_the_rate_is_exact(backend: str) -> None:
    deadline = BodyDeadline(min_rate=10)
    assert deadline.allows(100, GRACE + 10)
    assert not deadline.allows(99, GRACE + 10)
    assert BodyDeadline(min_rate=0).allows(0, 1e9)
