"""The limits of request headers: RFC 6585 s.5."""

import json
import math
from typing import Any

import pytest
from asgi_kit import Exchange, http_scope, websocket_scope

from spica._layers.header_limits import DEFAULT_MAX_HEADER_SIZE, DEFAULT_MAX_HEADERS
from spica.applications import Spica
from spica.middleware import Middleware
from spica.responses import PlainTextResponse
from spica.routing import Mount, Route, WebSocketRoute

pytestmark = pytest.mark.anyio


async def plain(request: Any) -> PlainTextResponse:
    assert request.headers.get("none") is None
    return PlainTextResponse("ok")


async def unread(request: Any) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def accept(websocket: Any) -> None:
    await websocket.accept()
    await websocket.close()


class Untouched:
    """A middleware that must not see a request over a limit."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert len(scope["headers"]) <= DEFAULT_MAX_HEADERS
        await self.app(scope, receive, send)


ROUTES = [Route("/", plain), Route("/unread", unread), WebSocketRoute("/", accept)]


def lines(number: int) -> Any:
    return [("x", "y")] * number


def of_size(size: int) -> Any:
    """Two lines whose names and values have this many bytes together."""
    return [("x", "a" * 10), ("y" * 10, "b" * (size - 21))]


LIMITS: list[Any] = [(lines, DEFAULT_MAX_HEADERS, {}), (of_size, DEFAULT_MAX_HEADER_SIZE, {})]
LIMITS += [(lines, 3, {"max_headers": 3}), (of_size, 100, {"max_header_size": 100})]
LIMITS += [(lines, 0, {"max_headers": 0})]


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize(("make", "limit", "settings"), LIMITS)
async def test_a_limit_holds_exactly(make: Any, limit: int, settings: Any, more: int) -> None:
    if limit + more < 0:
        pytest.skip("fewer than none")
    app = Spica(routes=ROUTES, middleware=[Middleware(Untouched)], **settings)
    exchange = await Exchange(http_scope(headers=make(limit + more))).run(app)
    assert exchange.status == (431 if more > 0 else 200)
    scope = websocket_scope(headers=make(limit + more))
    scope["extensions"] = {"websocket.http.response": {}}
    denied = await Exchange(scope).run(app)
    first = denied.sent[0] if denied.sent else {}
    assert (first.get("status") == 431) == (more > 0)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (lines(257), b"The request has more than 256 header lines."),
        (of_size(65537), b"The request headers are larger than 65536 bytes."),
    ],
    ids=["lines", "bytes"],
)
async def test_the_answer_says_why(headers: Any, reason: bytes) -> None:
    exchange = await Exchange(http_scope(headers=headers)).run(Spica(routes=ROUTES))
    assert exchange.body == reason


async def test_the_answer_may_be_problem_details() -> None:
    app = Spica(routes=ROUTES, problem_details=True)
    headers = [("accept", "application/json"), *lines(256)]
    exchange = await Exchange(http_scope(headers=headers)).run(app)
    assert json.loads(exchange.body)["detail"] == "The request has more than 256 header lines."


async def test_a_handshake_is_closed_where_it_cannot_be_denied() -> None:
    scope = websocket_scope(headers=lines(257))
    denied = await Exchange(scope).run(Spica(routes=ROUTES))
    assert denied.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


async def test_a_few_lines_are_measured_when_they_are_first_read() -> None:
    headers = [("x", "a" * 65536), ("y", "z")]
    statuses = []
    for path in ("/", "/unread"):
        exchange = await Exchange(http_scope("GET", path, headers=headers)).run(
            Spica(routes=ROUTES)
        )
        statuses.append(exchange.status)
    assert statuses == [431, 200]


async def test_a_huge_last_line_and_many_lines_are_refused_before_the_layers() -> None:
    for headers in ([("x", "y"), ("z", "a" * 65537)], [("x", "a" * 1100)] * 65):
        exchange = await Exchange(http_scope("GET", "/unread", headers=headers)).run(
            Spica(routes=ROUTES)
        )
        assert exchange.status == 431


async def test_cookies_are_measured_too() -> None:
    async def read(request: Any) -> PlainTextResponse:
        return PlainTextResponse(str(len(request.cookies)))

    app = Spica(routes=[Route("/", read)])
    headers = [("cookie", "a=" + "b" * 65536), ("x", "y")]
    assert (await Exchange(http_scope(headers=headers)).run(app)).status == 431


@pytest.mark.parametrize("setting", ["max_headers", "max_header_size"])
async def test_a_limit_can_be_lifted(setting: str) -> None:
    limits: Any = {"max_headers": math.inf, "max_header_size": math.inf, setting: math.inf}
    headers = [*lines(10_000), ("z", "z" * 200_000)]
    exchange = await Exchange(http_scope(headers=headers)).run(Spica(routes=ROUTES, **limits))
    assert exchange.status == 200


async def test_a_mounted_application_has_limits_of_its_own() -> None:
    app = Spica(routes=[Mount("/small", Spica(routes=ROUTES, max_headers=2)), *ROUTES])
    statuses = []
    for path in ("/small/", "/"):
        exchange = await Exchange(http_scope("GET", path, headers=lines(3))).run(app)
        statuses.append(exchange.status)
    assert statuses == [431, 200]


@pytest.mark.parametrize("headers", [None, iter([(b"x", b"y")]), ((b"x", b"y"),)])
async def test_headers_may_be_any_iterable_or_left_out(headers: Any) -> None:
    scope = http_scope()
    del scope["headers"]
    if headers is not None:
        scope["headers"] = headers
    exchange = await Exchange(scope).run(Spica(routes=ROUTES))
    assert exchange.status == 200


async def test_an_application_that_skips_init_has_the_defaults() -> None:
    class Other(Spica):
        def __init__(self) -> None:
            made = Spica(routes=ROUTES)
            self.__dict__.update(vars(made))
            del self.max_headers, self.max_header_size

    exchange = await Exchange(http_scope(headers=lines(257))).run(Other())
    assert exchange.status == 431


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ({"max_headers": -1}, ValueError, "Spica: max_headers must not be negative, but is -1"),
        (
            {"max_headers": 1.5},
            TypeError,
            r"max_headers must be a whole number, None \(the default, 256\)",
        ),
        ({"max_header_size": True}, TypeError, "max_header_size must be a whole number"),
        ({"max_header_size": "1k"}, TypeError, r"math.inf \(no limit\), not '1k'"),
    ],
)
async def test_a_limit_that_is_none_is_an_error(setting: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        Spica(**setting)
