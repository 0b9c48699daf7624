"""Limits of request bodies, on every layer that has one."""

from typing import Any

import pytest
from asgi_kit import Exchange, body_messages, call, http_scope
from stacks import ForeignPass

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY, RequestBodyLimitMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse
from spica.routing import Mount, Route, Router

pytestmark = pytest.mark.anyio


async def count(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def ignore(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ignored")


async def foreign_count(scope: Any, receive: Any, send: Any) -> None:
    size, more_body = 0, True
    while more_body:
        message = await receive()
        size += len(message["body"])
        more_body = message["more_body"]
    await PlainTextResponse(str(size))(scope, receive, send)


def posts(endpoint: Any, **options: Any) -> Route:
    return Route("/", endpoint, methods=["POST"], **options)


async def post(app: Any, size: int, length: int | None = None) -> Exchange:
    headers = [] if length is None else [("content-length", str(length))]
    chunks = [b"x" * (size // 2), b"x" * (size - size // 2)]
    scope = http_scope("POST", headers=headers)
    return await Exchange(scope, body_messages(*chunks)).run(app)


APPS = {
    "value": lambda limit: RequestBodyLimitMiddleware(posts(count).app, limit),
    "opaque": lambda limit: RequestBodyLimitMiddleware(foreign_count, limit),
    "behind a foreign layer": lambda limit: RequestBodyLimitMiddleware(
        ForeignPass(posts(count).app), limit
    ),
    "application": lambda limit: Spica(routes=[posts(count)], max_body_size=limit),
    "application over an opaque app": lambda limit: Spica(
        routes=[Mount("/", app=foreign_count)], max_body_size=limit
    ),
    "router": lambda limit: Router([posts(count)], max_body_size=limit),
    "mount": lambda limit: Router([Mount("/", routes=[posts(count)], max_body_size=limit)]),
    "route": lambda limit: Router([posts(count, max_body_size=limit)]),
}


@pytest.mark.parametrize("make", APPS.values(), ids=APPS.keys())
@pytest.mark.parametrize("length", ["true", "absent", "too small"])
@pytest.mark.parametrize("size", [9, 10, 11])
async def test_around_the_limit(make: Any, size: int, length: str) -> None:
    declared = {"true": size, "absent": None, "too small": 1}[length]
    exchange = await post(make(10), size, declared)
    assert exchange.error is None
    if size > 10:
        assert (exchange.status, exchange.text) == (413, "Content Too Large")
    else:
        assert (exchange.status, exchange.text) == (200, str(size))


@pytest.mark.parametrize("make", APPS.values(), ids=APPS.keys())
async def test_a_declared_size_over_it_is_refused_unread(make: Any) -> None:
    exchange = await post(make(10), 11, 11)
    assert exchange.status == 413
    assert exchange.receive.calls == 0


@pytest.mark.parametrize("endpoint", [ignore, PlainTextResponse("ignored")])
async def test_also_where_nobody_reads_it(endpoint: Any) -> None:
    app = Spica(routes=[posts(endpoint)], max_body_size=10)
    assert (await post(app, 11, 11)).status == 413
    assert (await post(app, 10, 10)).status == 200


async def test_a_size_that_is_none_is_not_trusted() -> None:
    scope = http_scope("POST", headers=[("content-length", "1e3")])
    exchange = await Exchange(scope, body_messages(b"x" * 11)).run(
        Spica(routes=[posts(count)], max_body_size=10)
    )
    assert exchange.status == 413


@pytest.mark.parametrize("is_opaque", [False, True], ids=["value", "message"])
async def test_the_limit_stands_in_the_scope_of_what_is_inside(is_opaque: bool) -> None:
    seen = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope[MAX_BODY_SIZE_SCOPE_KEY])
        await PlainTextResponse("")(scope, receive, send)

    async def endpoint(request: Request) -> PlainTextResponse:
        seen.append(request.scope[MAX_BODY_SIZE_SCOPE_KEY])
        return PlainTextResponse("")

    scope = http_scope("POST")
    layer = RequestBodyLimitMiddleware(look if is_opaque else posts(endpoint).app, 10)
    await Exchange(scope, body_messages(b"x")).run(RequestBodyLimitMiddleware(layer, 20))
    assert seen == [10]
    assert MAX_BODY_SIZE_SCOPE_KEY not in scope


class TestNesting:
    @pytest.mark.parametrize(
        ("outer", "inner", "size", "status"),
        [
            (10, 20, 20, 200),
            (10, 20, 21, 413),
            (20, 10, 10, 200),
            (20, 10, 11, 413),
            (10, 10, 11, 413),
        ],
    )
    @pytest.mark.parametrize("length", [True, False])
    async def test_the_one_furthest_in_wins(
        self, outer: int, inner: int, size: int, status: int, length: bool
    ) -> None:
        app = Spica(routes=[posts(count, max_body_size=inner)], max_body_size=outer)
        exchange = await post(app, size, size if length else None)
        assert (exchange.status, exchange.error) == (status, None)

    async def test_none_lifts_those_outside(self) -> None:
        lifted = RequestBodyLimitMiddleware(posts(count).app, None)
        assert (await post(RequestBodyLimitMiddleware(lifted, 10), 11)).status == 200

    async def test_the_limits_of_two_requests_do_not_mix(self) -> None:
        app = Spica(routes=[posts(count, max_body_size=20)], max_body_size=10)
        assert (await post(app, 15)).status == 200
        assert (await call(app, "POST", "/nowhere", body=b"x" * 15)).status == 404

    async def test_a_call_s_own_limit_is_a_further_one(self) -> None:
        async def read(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str(len(await request.body(max_size=5))))

        app = Spica(routes=[posts(read)], max_body_size=10)
        assert [(await post(app, size)).status for size in (5, 6, 11)] == [200, 413, 413]


class TestErrors:
    async def test_an_endpoint_may_catch_it(self) -> None:
        async def careful(request: Request) -> PlainTextResponse:
            try:
                await request.body()
            except HTTPException as exc:
                return PlainTextResponse(f"caught {exc.status_code}", status_code=400)
            return PlainTextResponse("ok")

        app = Spica(routes=[posts(careful)], max_body_size=10)
        assert (await post(app, 11)).text == "caught 413"

    async def test_a_handler_answers_it(self) -> None:
        async def handler(request: Request, exc: Exception) -> PlainTextResponse:
            return PlainTextResponse("too much", status_code=413)

        app = Spica(routes=[posts(count)], max_body_size=10, exception_handlers={413: handler})
        assert (await post(app, 11)).text == "too much"

    async def test_a_middleware_that_reads_gets_it_too(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            await request.body()
            return await call_next(request)

        layer = Middleware(BaseHTTPMiddleware, dispatch=dispatch)
        app = Spica(routes=[posts(count)], middleware=[layer], max_body_size=10)
        exchange = await post(app, 11)
        assert (exchange.status, exchange.error) == (413, None)

    @pytest.mark.parametrize("foreign", [False, True], ids=["by value", "by messages"])
    @pytest.mark.parametrize("announced", [False, True], ids=["streamed", "announced"])
    async def test_a_refusal_further_in_keeps_what_layers_have_added(
        self, foreign: bool, announced: bool
    ) -> None:
        recipes: list[Any] = [Middleware(CORSMiddleware, allow_origins=["https://a.b"])]
        if foreign:
            recipes.append(Middleware(ForeignPass))
        app = Spica(routes=[posts(count)], middleware=recipes, max_body_size=10)
        headers = [("origin", "https://a.b"), *([("content-length", "11")] if announced else [])]
        exchange = await call(app, "POST", headers=headers, body=b"x" * 11)
        assert exchange.status == 413
        assert exchange.headers["access-control-allow-origin"] == "https://a.b"

    @pytest.mark.parametrize("foreign", [False, True], ids=["by value", "by messages"])
    @pytest.mark.parametrize("inside", ["application", "bare"])
    async def test_a_refusal_in_place_of_an_answer_can_be_read_by_the_page_that_asked(
        self, foreign: bool, inside: str
    ) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            answer = PlainTextResponse("ignored", headers={"etag": '"1"', "vary": "Accept"})
            await answer(scope, receive, send)

        if inside == "application":
            route: Any = Mount("/", app) if foreign else posts(ignore)
            layer = Middleware(CORSMiddleware, allow_origins=["https://a.b"])
            stack: Any = Spica(routes=[route], middleware=[layer], max_body_size=10)
        else:
            endpoint: Any = app if foreign else posts(ignore).app
            cors = CORSMiddleware(endpoint, allow_origins=["https://a.b"])
            stack = RequestBodyLimitMiddleware(cors, 10)
        headers = [("origin", "https://a.b"), ("content-length", "11")]
        exchange = await call(stack, "POST", headers=headers, body=b"")
        assert (exchange.status, exchange.text) == (413, "Content Too Large")
        assert exchange.headers["access-control-allow-origin"] == "https://a.b"
        assert "Origin" in exchange.headers["vary"]
        assert "etag" not in exchange.headers

    @pytest.mark.parametrize("foreign", [False, True], ids=["by value", "by messages"])
    async def test_one_that_a_middleware_has_raised_gets_the_edits_of_those_around_it(
        self, foreign: bool
    ) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            await request.body()
            return await call_next(request)

        layers: list[Any] = [
            Middleware(CORSMiddleware, allow_origins=["https://a.b"]),
            *([Middleware(ForeignPass)] if foreign else []),
            Middleware(BaseHTTPMiddleware, dispatch=dispatch),
        ]
        app = Spica(routes=[posts(count)], middleware=layers, max_body_size=10)
        exchange = await call(app, "POST", headers=[("origin", "https://a.b")], body=b"x" * 11)
        assert exchange.status == 413
        assert exchange.raw_headers.count((b"access-control-allow-origin", b"https://a.b")) == 1

    async def test_after_the_response_has_started_it_is_raised(self) -> None:
        async def late(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await receive()
            await receive()

        exchange = await post(RequestBodyLimitMiddleware(late, 10), 11)
        assert (exchange.status, exchange.is_complete) == (200, False)
        assert str(exchange.error) == "413: Content Too Large"

    @pytest.mark.parametrize("limit", [True, 1.5, "1"])
    def test_what_is_no_limit(self, limit: Any) -> None:
        with pytest.raises(TypeError, match="max_body_size must be a number of bytes or None"):
            RequestBodyLimitMiddleware(foreign_count, limit)

    def test_a_negative_one(self) -> None:
        with pytest.raises(ValueError, match="max_body_size must not be negative, but is -1"):
            RequestBodyLimitMiddleware(foreign_count, -1)

    def test_zero_is_one(self) -> None:
        assert RequestBodyLimitMiddleware(foreign_count, 0).max_body_size == 0


class TestNobodyReadsTheBody:
    """The endpoint answers without a look at a body that is declared too large. Found by scripts/fuzz."""

    @pytest.mark.parametrize("layers", [[], [Middleware(ForeignPass)]], ids=["ours", "foreign"])
    @pytest.mark.parametrize("is_foreign", [False, True], ids=["endpoint", "app"])
    async def test_it_is_a_413(self, layers: Any, is_foreign: bool) -> None:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("ignored")(scope, receive, send)

        route = Mount("/", answer) if is_foreign else posts(ignore)
        app = Spica(routes=[route], middleware=layers, max_body_size=5)
        exchange = await call(app, "POST", headers=[("content-length", "6")], body=b"")
        assert exchange.status == 413

    @pytest.mark.parametrize("layers", [[], [Middleware(ForeignPass)]], ids=["ours", "foreign"])
    async def test_what_the_answer_has_promised_is_done(self, layers: Any) -> None:
        done: list[str] = []

        async def promise(request: Request) -> PlainTextResponse:
            return PlainTextResponse("", background=BackgroundTask(done.append, "task"))

        app = Spica(routes=[posts(promise)], middleware=layers, max_body_size=5)
        exchange = await call(app, "POST", headers=[("content-length", "6")], body=b"")
        assert (exchange.status, done) == (413, ["task"])
