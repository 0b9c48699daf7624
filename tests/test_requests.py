"""What an endpoint sees of a connection, and of a request's body."""

import json
import math
import re
from typing import Any

import pytest
from asgi_kit import DISCONNECT, Exchange, Receive, body_messages, call, http_scope, websocket_scope
from hostile_json import REFUSED, as_bytes

from spica._asgi.body import DEFAULT_MAX_JSON_SIZE
from spica.applications import Spica
from spica.datastructures import (
    Address,
    FormData,
    Headers,
    MutableHeaders,
    QueryParams,
    State,
)
from spica.endpoints import HTTPEndpoint
from spica.exceptions import HTTPException, SpicaConfigurationWarning
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.requests import (
    ClientDisconnect,
    HTTPConnection,
    Request,
    cookie_parser,
    empty_receive,
    empty_send,
)
from spica.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from spica.routing import Route
from spica.testclient import TestClient

pytestmark = pytest.mark.anyio


def request_with(*chunks: bytes, leaves: bool = False, **scope: Any) -> Request:
    """Make a request whose body arrives in chunks, or breaks off."""
    messages = body_messages(*chunks)
    if leaves:
        if messages:
            messages[-1]["more_body"] = True
        messages.append(DISCONNECT)
    return Request(http_scope("POST", **scope), Receive(messages))


class TestConnection:
    def test_it_is_a_mapping_over_the_scope(self) -> None:
        scope = http_scope()
        conn: HTTPConnection = HTTPConnection(scope)
        assert conn["method"] == "GET"
        assert dict(conn) == scope
        assert len(conn) == len(scope)

    def test_it_equals_only_itself(self) -> None:
        scope = http_scope()
        one: HTTPConnection = HTTPConnection(scope)
        other: HTTPConnection = HTTPConnection(scope)
        assert one == one
        assert one != other
        assert len({one, other}) == 2

    @pytest.mark.parametrize("scope", [http_scope(), websocket_scope()])
    def test_both_kinds_of_scope(self, scope: Any) -> None:
        assert HTTPConnection(scope).scope is scope

    @pytest.mark.parametrize("cls", [HTTPConnection, Request])
    def test_another_kind_is_an_error(self, cls: Any) -> None:
        with pytest.raises(RuntimeError, match=cls.__name__ + " needs a scope of type .*lifespan"):
            cls({"type": "lifespan"})

    def test_a_request_is_no_websocket(self) -> None:
        with pytest.raises(RuntimeError, match="Request needs a scope of type 'http', not"):
            Request(websocket_scope())

    def test_attributes_can_be_set(self) -> None:
        request = Request(http_scope())
        request.injected = 1  # type: ignore[attr-defined]
        assert request.injected == 1  # type: ignore[attr-defined]


class TestWhatTheScopeTells:
    def test_url(self) -> None:
        request = Request(http_scope(path="/a/b?q=1", headers=[("host", "example.com:8000")]))
        assert str(request.url) == "http://example.com:8000/a/b?q=1"
        assert request.url is request.url

    def test_base_url(self) -> None:
        scope = http_scope(path="/api/sub/x?q=1", root_path="/api/sub", app_root_path="/api")
        assert str(Request(scope).base_url) == "http://example.org/api/"
        assert scope["path"] == "/api/sub/x"

    def test_base_url_without_a_prefix(self) -> None:
        assert str(Request(http_scope(path="/a")).base_url) == "http://example.org/"

    def test_headers(self) -> None:
        request = Request(http_scope(headers=[("X-A", "1"), ("x-a", "2")]))
        assert isinstance(request.headers, Headers)
        assert request.headers.getlist("x-A") == ["1", "2"]
        assert request.headers is request.headers

    def test_query(self) -> None:
        params = Request(http_scope(path="/?a=1&a=2&b=%20+")).query_params
        assert params == QueryParams([("a", "1"), ("a", "2"), ("b", "  ")])

    def test_a_query_that_is_not_utf_8_is_no_error(self) -> None:
        assert "a" in Request(http_scope(query_string=b"a=%ff&b=\xff")).query_params

    def test_path_params(self) -> None:
        assert Request(http_scope(path_params={"a": 1})).path_params == {"a": 1}
        assert Request(http_scope()).path_params == {}

    def test_cookies(self) -> None:
        assert Request(http_scope(headers=[("cookie", "a=1; b=2")])).cookies == {"a": "1", "b": "2"}
        assert Request(http_scope()).cookies == {}

    def test_a_change_of_the_cookies_warns_where_tests_run(self) -> None:
        def forget(request: Request) -> Response:
            del request.cookies["a"]
            return Response()

        client = TestClient(Spica(routes=[Route("/", forget)]), cookies={"a": "1"})
        with pytest.warns(SpicaConfigurationWarning, match="delete_cookie") as warned:
            client.get("/")
        assert warned[0].filename == __file__

    def test_several_cookie_fields(self) -> None:
        """RFC 9113 s.8.2.3: HTTP/2 clients may split the field."""
        request = Request(http_scope(headers=[("cookie", "a=1"), ("cookie", "b=2")]))
        assert request.cookies == {"a": "1", "b": "2"}

    def test_cookie_parser(self) -> None:
        assert cookie_parser("a=1; b") == {"a": "1", "": "b"}

    def test_client(self) -> None:
        assert Request(http_scope()).client == Address("192.0.2.1", 4000)
        assert Request(http_scope(client=None)).client is None

    def test_method(self) -> None:
        assert Request(http_scope("get")).method == "get"

    def test_app(self) -> None:
        assert Request(http_scope(app="app")).app == "app"
        with pytest.raises(KeyError):
            Request(http_scope()).app  # noqa: B018

    def test_state(self) -> None:
        scope = http_scope(state={"a": 1})
        request = Request(scope)
        request.state.b = 2
        assert isinstance(request.state, State)
        assert (request.state.a, scope["state"]) == (1, {"a": 1, "b": 2})

    def test_state_is_made_where_the_server_gives_none(self) -> None:
        scope = http_scope()
        del scope["state"]
        Request(scope).state.a = 1
        assert Request(scope).state.a == 1

    @pytest.mark.parametrize(
        ("name", "layer"),
        [
            ("session", "SessionMiddleware"),
            ("auth", "AuthenticationMiddleware"),
            ("user", "AuthenticationMiddleware"),
        ],
    )
    def test_what_a_layer_sets(self, name: str, layer: str) -> None:
        assert getattr(Request(http_scope(**{name: "set"})), name) == "set"
        with pytest.raises(AssertionError, match=f"{layer} must be installed to access request"):
            getattr(Request(http_scope()), name)

    def test_a_session_hears_that_it_is_used(self) -> None:
        class Session(dict):
            accessed = False

            def mark_accessed(self) -> None:
                self.accessed = True

        session = Session()
        assert Request(http_scope(session=session)).session is session
        assert session.accessed

    def test_url_for_needs_a_router(self) -> None:
        with pytest.raises(RuntimeError, match="inside a Spica application or with a router"):
            Request(http_scope()).url_for("home")


class TestScopeThatChanges:
    """A middleware may put something else into the scope after it, or another, has looked at the request."""

    CHANGED = {
        "path": "/new",
        "scheme": "https",
        "query_string": b"q=2",
        "headers": [(b"host", b"h"), (b"cookie", b"c=1"), (b"x", b"new")],
    }

    def look(self, conn: HTTPConnection) -> list[Any]:
        return [
            str(conn.url),
            str(conn.base_url),
            dict(conn.query_params),
            conn.cookies,
            conn.headers.get("x"),
        ]

    def test_it_is_seen(self) -> None:
        request = Request(http_scope(path="/old", headers=[("x", "old")]))
        assert self.look(request)[-1] == "old"
        request.scope.update(self.CHANGED)
        expected = ["https://h/new?q=2", "https://h/", {"q": "2"}, {"c": "1"}, "new"]
        assert self.look(request) == expected

    def test_what_has_not_changed_is_made_once(self) -> None:
        request = Request(http_scope(path="/old", headers=[("x", "old")]))
        self.look(request)
        assert request.url is request.url
        assert request.base_url is request.base_url
        assert request.headers is request.headers
        assert request.query_params is request.query_params
        assert request.cookies is request.cookies

    @pytest.mark.parametrize("is_looked_at", [False, True])
    def test_what_is_set_by_hand_stays(self, is_looked_at: bool) -> None:
        """Programs put headers into a request by its private names, and then into the scope."""
        request = Request(http_scope(path="/", headers=[("x", "old")]))
        if is_looked_at:
            self.look(request)
        request._headers = MutableHeaders({"x": "by hand"})
        request._query_params = QueryParams("q=3")
        request._cookies = {"c": "3"}
        assert request.headers["x"] == "by hand"
        assert (request.query_params["q"], request.cookies) == ("3", {"c": "3"})
        request.scope.update(headers=request.headers.raw)
        assert request.headers["x"] == "by hand"

    @pytest.mark.parametrize("foreign", [False, True], ids=["by value", "by messages"])
    async def test_the_endpoint_sees_it(self, foreign: bool) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            self.look(request)
            request.scope.update(self.CHANGED)
            return await call_next(request)

        class Foreign:
            def __init__(self, app: Any) -> None:
                self.app = app

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                await self.app(scope, receive, send)

        async def endpoint(request: Request) -> JSONResponse:
            return JSONResponse(self.look(request))

        layers: list[Any] = [Middleware(BaseHTTPMiddleware, dispatch=dispatch)]
        layers += [Middleware(Foreign)] if foreign else []
        app = Spica(routes=[Route("/new", endpoint)], middleware=layers)
        exchange = await call(app, path="/old")
        expected = ["https://h/new?q=2", "https://h/", {"q": "2"}, {"c": "1"}, "new"]
        assert json.loads(exchange.text) == expected


HOST = (b"host", b"h")
EDITS = {
    "append": lambda headers: headers.append((b"cookie", b"c=1")),
    "insert": lambda headers: headers.insert(0, (b"cookie", b"c=1")),
    "slice": lambda headers: headers.__setitem__(slice(None), [HOST, (b"cookie", b"c=1")]),
    "item": lambda headers: headers.__setitem__(1, (b"cookie", b"c=1")),
    "delete and append": lambda headers: (headers.pop(1), headers.append((b"cookie", b"c=1"))),
}


@pytest.mark.parametrize("kind", ["http", "websocket"])
class TestHeadersEditedInPlace:
    """The header list of the scope may be edited in place, also after an earlier look."""

    def connect(self, kind: str, *headers: tuple[bytes, bytes]) -> HTTPConnection:
        scope = http_scope() if kind == "http" else websocket_scope()
        scope["headers"] = list(headers)
        return HTTPConnection(scope)

    @pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
    def test_cookies(self, kind: str, edit: Any) -> None:
        conn = self.connect(kind, HOST, (b"cookie", b"old=1"))
        assert conn.cookies == {"old": "1"}
        edit(conn.scope["headers"])
        assert conn.cookies["c"] == "1"
        assert conn.headers.getlist("cookie")[-1] in ("c=1", "old=1")

    def test_a_removed_cookie_is_gone(self, kind: str) -> None:
        conn = self.connect(kind, HOST, (b"cookie", b"secret=1"))
        assert conn.cookies
        del conn.scope["headers"][1]
        assert (conn.cookies, conn.headers.get("cookie")) == ({}, None)

    def test_the_host_in_urls(self, kind: str) -> None:
        conn = self.connect(kind, HOST)
        before = conn.url
        assert (conn.url.hostname, conn.base_url.hostname) == ("h", "h")
        conn.scope["headers"][0] = (b"host", b"other")
        assert (conn.url.hostname, conn.base_url.hostname) == ("other", "other")
        assert before.hostname == "h"  # an object that was handed out does not change

    def test_a_url_that_was_not_read_yet_keeps_its_host(self, kind: str) -> None:
        conn = self.connect(kind, HOST)
        url = conn.url
        conn.scope["headers"].clear()
        assert url.hostname == "h"

    def test_an_iterator_of_headers_is_read_once(self, kind: str) -> None:
        conn = self.connect(kind)
        for read in ("url", "base_url", "cookies"):
            conn.scope["headers"] = iter([HOST, (b"cookie", b"c=1")])
            getattr(conn, read)
            assert conn.headers["host"] == "h"


def test_base_url_follows_a_root_path_that_is_set_later() -> None:
    request = Request(http_scope(path="/", headers=[("host", "h")]))
    assert str(request.base_url) == "http://h/"
    request.scope["root_path"] = "/api"
    assert str(request.base_url) == "http://h/api/"
    request.scope["app_root_path"] = "/app"
    assert str(request.base_url) == "http://h/app/"
    request.scope["server"] = ("other", 80)
    del request.scope["headers"][:]
    assert str(request.base_url) == "http://other/app/"


class TestWithoutInit:
    """Classes of dependents skip or replace ``__init__``."""

    @pytest.mark.parametrize("cls", [HTTPConnection, Request])
    def test_a_scope_is_enough(self, cls: Any) -> None:
        conn = cls.__new__(cls)
        conn.scope = http_scope(
            headers=[("host", "h"), ("cookie", "a=b")], query_string=b"q=1", path="/p"
        )
        assert (str(conn.url), str(conn.base_url)) == ("http://h/p?q=1", "http://h/")
        assert (conn.headers["host"], conn.cookies, conn.query_params["q"]) == (
            "h",
            {"a": "b"},
            "1",
        )
        assert (conn.path_params, conn.method if cls is Request else "GET") == ({}, "GET")
        conn.state.x = 1
        assert conn.state.x == 1

    async def test_the_channels_are_those_of_a_request_without_any(self) -> None:
        request: Request = Request.__new__(Request)
        request.scope = http_scope()
        with pytest.raises(RuntimeError, match="Receive channel"):
            await request.body()
        with pytest.raises(RuntimeError, match="Send channel"):
            await request._send({})

    async def test_channels_set_by_hand(self) -> None:
        sent = []

        async def send(message: Any) -> None:
            sent.append(message)

        request: Request = Request.__new__(Request)
        request.scope = http_scope(extensions={"http.response.push": {}})
        request._receive, request._send = Receive(body_messages(b"body")), send
        assert await request.body() == b"body"
        await request.send_push_promise("/x")
        assert request._send is send
        assert [message["path"] for message in sent] == ["/x"]

    async def test_a_subclass_answers_in_an_application(self) -> None:
        class Own(Request):
            def __init__(self, scope: Any) -> None:
                self.scope = scope

        async def endpoint(request: Request) -> JSONResponse:
            own = Own(request.scope)
            return JSONResponse([own.url.path, own.headers["host"]])

        exchange = await call(Spica(routes=[Route("/", endpoint)]), headers=[("host", "h")])
        assert exchange.text == '["/","h"]'

    @pytest.mark.parametrize("kind", ["function", "class"])
    async def test_a_dispatch_function_may_pass_it_on(self, kind: str) -> None:
        class Own(Request):
            def __init__(self, scope: Any) -> None:
                self.scope = scope

        async def dispatch(request: Request, call_next: Any) -> Any:
            return await call_next(Own(request.scope))

        async def endpoint(request: Request) -> Any:
            return StreamingResponse(iter([request.method]))

        class Endpoint(HTTPEndpoint):
            async def get(self, request: Request) -> Any:
                return PlainTextResponse(request.method)

        layers = [Middleware(BaseHTTPMiddleware, dispatch=dispatch)] * 2
        target: Any = endpoint if kind == "function" else Endpoint
        exchange = await call(Spica(routes=[Route("/", target)], middleware=layers))
        assert (exchange.error, exchange.text) == (None, "GET")


class TestPrivateState:
    """Dependents read and set the private attributes of Starlette's Request."""

    async def streamed(self, body: bytes = b"old=1") -> Request:
        request = request_with(
            body, headers=[("content-type", "application/x-www-form-urlencoded")]
        )
        assert b"".join([chunk async for chunk in request.stream()]) == body
        return request

    @pytest.mark.parametrize("body", [b"new=1", b""])
    async def test_a_body_that_is_set_after_the_stream_is_read_again(self, body: bytes) -> None:
        request = await self.streamed()
        request._body = body
        assert await request.body() == body
        assert b"".join([chunk async for chunk in request.stream()]) == body
        assert await request.body(max_size=10) == body
        assert dict(await request.form()) == ({"new": "1"} if body else {})

    async def test_json_of_such_a_body(self) -> None:
        request = await self.streamed()
        request._body = b'{"a": 1}'
        assert await request.json() == {"a": 1}

    async def test_parts_of_such_a_body(self) -> None:
        content_type = "multipart/form-data; boundary=b"
        request = request_with(b"", headers=[("content-type", content_type)])
        request._body = b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\nv\r\n--b--\r\n'
        assert [part.name async for part in request.parts()] == ["n"]

    async def test_a_body_set_before_or_after_reading_it(self) -> None:
        request = request_with(b"old")
        request._body = b"early"
        assert await request.body() == b"early"
        request._body = b"late"
        assert [await request.body(), b"".join([c async for c in request.stream()])] == [
            b"late"
        ] * 2

    async def test_an_app_inside_a_dispatch_function_sees_it(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            async for _ in request.stream():
                pass
            request._body = b"set by hand"
            return await call_next(request)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse((await receive())["body"])(scope, receive, send)

        layer = BaseHTTPMiddleware(app, dispatch=dispatch)
        exchange = await Exchange(http_scope("POST"), body_messages(b"old")).run(layer)
        assert exchange.text == "set by hand"

    async def test_json_and_form(self) -> None:
        request = request_with(b"{}")
        request._json, request._form = {"by": "hand"}, FormData(a="b")
        assert await request.json() == {"by": "hand"}
        assert await request.form() is request._form

    async def test_whether_the_stream_is_consumed(self) -> None:
        request = request_with(b"body")
        assert not request._stream_consumed
        request._stream_consumed = True
        with pytest.raises(RuntimeError, match="Stream consumed"):
            await request.body()
        request._stream_consumed = False
        assert await request.body() == b"body"
        assert (await self.streamed())._stream_consumed

    async def test_whether_the_client_has_left(self) -> None:
        request = request_with(b"body")
        assert not request._is_disconnected
        request._is_disconnected = True
        assert await request.is_disconnected()

    async def test_values_of_any_kind(self) -> None:
        request: Any = request_with(b"")
        names = ["url", "base_url", "headers", "query_params", "cookies", "state"]
        for name in names:
            setattr(request, f"_{name}", name)
        assert [getattr(request, name) for name in names] == names

    async def test_send_is_a_guard_that_is_made_once(self) -> None:
        exchange = Exchange()
        request = Request(exchange.scope, exchange.receive, exchange.send)
        assert request._send is request._send
        await request._send({"type": "http.response.start", "status": 204, "headers": []})
        assert exchange.status == 204
        assert Request(exchange.scope)._send is empty_send


class TestBody:
    async def test_whole_any_number_of_times(self) -> None:
        request = request_with(b"ab", b"cd")
        assert [await request.body(), await request.body()] == [b"abcd", b"abcd"]

    async def test_in_chunks_with_an_empty_one_at_the_end(self) -> None:
        request = request_with(b"ab", b"", b"cd")
        assert [chunk async for chunk in request.stream()] == [b"ab", b"cd", b""]

    async def test_in_chunks_after_whole(self) -> None:
        request = request_with(b"ab", b"cd")
        await request.body()
        assert [chunk async for chunk in request.stream()] == [b"abcd", b""]

    async def test_in_chunks_twice(self) -> None:
        request = request_with(b"ab")
        async for _ in request.stream():
            pass
        with pytest.raises(RuntimeError, match="Stream consumed"):
            async for _ in request.stream():
                pass

    async def test_a_stream_given_up_early_is_closed(self) -> None:
        request = request_with(b"ab", b"cd")
        chunks = request.stream()
        assert await anext(chunks) == b"ab"
        await chunks.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)

    async def test_several_requests_over_one_receive_see_the_same(self) -> None:
        outer = request_with(b"ab", b"cd")
        inner = Request(outer.scope, outer.receive)
        assert [await inner.body(), await outer.body()] == [b"abcd", b"abcd"]

    async def test_a_client_that_leaves(self) -> None:
        with pytest.raises(ClientDisconnect):
            await request_with(b"ab", leaves=True).body()

    async def test_polls_lose_nothing(self) -> None:
        request = request_with(b"ab", b"cd")
        for _ in range(3):
            assert await request.is_disconnected() is False
        assert await request.body() == b"abcd"

    async def test_a_client_that_has_left(self) -> None:
        request = Request(http_scope(), Receive([DISCONNECT]))
        assert await request.is_disconnected() is True

    async def test_a_receive_put_in_later_is_read(self) -> None:
        request = request_with(b"ab")
        request._receive = Receive(body_messages(b"other"))
        assert await request.body() == b"other"

    @pytest.mark.parametrize(("limit", "fits"), [(3, False), (4, True), (5, True)])
    async def test_a_limit_of_one_call(self, limit: int, fits: bool) -> None:
        request = request_with(b"ab", b"cd")
        if fits:
            assert await request.body(max_size=limit) == b"abcd"
        else:
            with pytest.raises(HTTPException) as info:
                await request.body(max_size=limit)
            assert info.value.status_code == 413

    async def test_a_subclass_may_keep_another_body(self) -> None:
        class Reversed(Request):
            async def body(self, *, max_size: int | None = None) -> bytes:
                if not hasattr(self, "_body"):
                    self._body = (await super().body())[::-1]
                return self._body

        request = request_with(b"]2", b",1[")
        reverse: Request = Reversed(request.scope, request.receive)
        assert await reverse.json() == [1, 2]
        assert await reverse.body() == b"[1,2]"

    async def test_a_limit_of_one_call_for_a_body_in_memory(self) -> None:
        request = request_with(b"abcd")
        await request.body()
        with pytest.raises(HTTPException):
            await request.body(max_size=3)

    async def test_a_response_may_stream_the_body_back(self) -> None:
        async def echo(request: Request) -> StreamingResponse:
            return StreamingResponse(request.stream())

        app = Spica(routes=[Route("/", echo, methods=["POST"])])
        exchange = await call(app, "POST", body=[b"ab", b"cd", b"ef"])
        assert exchange.text == "abcdef"

    async def test_without_channels(self) -> None:
        with pytest.raises(RuntimeError, match="Receive channel has not been made available"):
            await Request(http_scope()).body()
        with pytest.raises(RuntimeError, match="Receive channel has not been made available"):
            await empty_receive()
        with pytest.raises(RuntimeError, match="Send channel has not been made available"):
            await empty_send({})


async def echo_json(request: Request) -> JSONResponse:
    return JSONResponse(await request.json())


class TestJSON:
    async def test_a_value(self) -> None:
        request = request_with(b'{"a":', b' [1, "\xc3\xa9"]}')
        assert await request.json() == {"a": [1, "é"]}
        assert await request.json() is await request.json()

    async def test_what_was_not_read_is_not_there(self) -> None:
        request = request_with(b"[1]")
        assert not hasattr(request, "_body")
        assert not hasattr(request, "_json")
        await request.json()
        assert (request._body, request._json) == (b"[1]", [1])

    @pytest.mark.parametrize("body", [b"null", b"0", b"false", b'""'])
    async def test_values_that_are_nothing(self, body: bytes) -> None:
        request = request_with(body)
        assert [await request.json(), await request.json()] == [json.loads(body)] * 2

    @pytest.mark.parametrize("document", REFUSED.values(), ids=REFUSED.keys())
    async def test_what_is_none_is_a_400_with_the_position(self, document: str | bytes) -> None:
        app = Spica(routes=[Route("/", echo_json, methods=["POST"])])
        messages = body_messages(as_bytes(document))
        exchange = await Exchange(http_scope("POST"), messages).run(app)
        assert (exchange.status, exchange.error) == (400, None)
        assert re.fullmatch(r"Malformed JSON: .+: line \d+ column \d+ \(char \d+\)", exchange.text)

    @pytest.mark.parametrize("levels", [200, 500, 1000, 1024])
    async def test_a_deep_body_can_be_sent_back(self, levels: int) -> None:
        app = Spica(routes=[Route("/", echo_json, methods=["POST"])])
        body = b"[" * levels + b"]" * levels
        assert (await call(app, "POST", body=body)).body == body

    async def test_the_default_limit_is_smaller_than_that_of_a_body(self) -> None:
        body = b'"' + b"x" * (DEFAULT_MAX_JSON_SIZE - 2) + b'"'
        assert len(await request_with(body).json()) == len(body) - 2
        request = request_with(body + b" ")
        assert len(await request.body()) == len(body) + 1
        with pytest.raises(HTTPException) as info:
            await request.json()
        assert info.value.status_code == 413

    async def test_a_limit_of_the_call(self) -> None:
        large = b"[" + b" " * DEFAULT_MAX_JSON_SIZE + b"]"
        assert await request_with(large).json(max_size=math.inf) == []
        assert await request_with(b"[1]").json(max_size=3) == [1]
        with pytest.raises(HTTPException) as info:
            await request_with(b"[1]").json(max_size=2)
        assert info.value.status_code == 413

    @pytest.mark.parametrize("place", ["application", "route"])
    async def test_a_limit_further_out_replaces_the_default(self, place: str) -> None:
        large = b"[" + b" " * DEFAULT_MAX_JSON_SIZE + b"]"
        limits = {"max_body_size": 8 * 1024 * 1024}
        route = Route("/", echo_json, methods=["POST"], **limits if place == "route" else {})
        app = Spica(routes=[route], **limits if place == "application" else {})
        assert (await call(app, "POST", body=large)).body == b"[]"

    async def test_an_endpoint_may_catch_it(self) -> None:
        with pytest.raises(json.JSONDecodeError):
            await request_with(b"{").json()

    async def test_the_answer_repeats_nothing_of_the_body(self) -> None:
        app = Spica(routes=[Route("/", echo_json, methods=["POST"])])
        exchange = await call(app, "POST", body=b'{"password": secret}')
        assert exchange.text.startswith("Malformed JSON: ")
        assert "secret" not in exchange.text


class TestForm:
    urlencoded = [("content-type", "application/x-www-form-urlencoded")]
    multipart = [("content-type", "multipart/form-data; boundary=b")]
    file_body = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\nhello\r\n--b--\r\n'

    async def test_urlencoded(self) -> None:
        request = request_with(b"a=1&", b"a=2", headers=self.urlencoded)
        form = await request.form()
        assert form.multi_items() == [("a", "1"), ("a", "2")]
        assert await request.form() is form

    async def test_a_file(self) -> None:
        request = request_with(self.file_body, headers=self.multipart)
        async with request.form() as form:
            upload: Any = form["f"]
            assert (upload.filename, await upload.read()) == ("a.txt", b"hello")
        assert upload.file.closed

    async def test_closing_without_a_form(self) -> None:
        await Request(http_scope()).close()

    async def test_closing_after_reading(self) -> None:
        request = request_with(self.file_body, headers=self.multipart)
        form = await request.form()
        await request.close()
        assert form["f"].file.closed  # type: ignore[union-attr]

    async def test_another_type_is_an_empty_form(self) -> None:
        form = await request_with(b"a=1", headers=[("content-type", "text/plain")]).form()
        assert form.multi_items() == []

    async def test_a_form_of_a_body_that_was_read(self) -> None:
        request = request_with(b"a=1", headers=self.urlencoded)
        await request.body()
        assert (await request.form())["a"] == "1"

    @pytest.mark.parametrize(("fields", "status"), [(2, 200), (3, 400)])
    async def test_limits_are_answered(self, fields: int, status: int) -> None:
        async def endpoint(request: Request) -> PlainTextResponse:
            await request.form(max_fields=2)
            return PlainTextResponse("ok")

        app = Spica(routes=[Route("/", endpoint, methods=["POST"])])
        body = b"&".join([b"a=1"] * fields)
        exchange = await call(app, "POST", body=body, headers=self.urlencoded)
        assert exchange.status == status

    async def test_what_is_no_form_is_a_400(self) -> None:
        async def endpoint(request: Request) -> PlainTextResponse:
            await request.form()
            return PlainTextResponse("ok")

        app = Spica(routes=[Route("/", endpoint, methods=["POST"])])
        exchange = await call(app, "POST", body=b"--other", headers=self.multipart)
        assert exchange.status == 400

    async def test_parts_of_another_media_type_are_a_415(self) -> None:
        async def endpoint(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str([part.name async for part in request.parts()]))

        app = Spica(routes=[Route("/", endpoint, methods=["POST"])])
        headers = [("content-type", "application/json; charset=utf-8")]
        exchange = await call(app, "POST", body=b'{"a": 1}', headers=headers)
        assert exchange.status == 415
        assert exchange.text == (
            "The Content-Type of the body is not multipart/form-data but 'application/json'."
        )

    async def test_a_body_of_another_media_type_is_an_empty_form(self) -> None:
        headers = [("content-type", "application/json")]
        form = await request_with(b'{"a": 1}', headers=headers).form()
        assert form.multi_items() == []

    async def test_an_urlencoded_form_in_an_unknown_charset_is_a_415(self) -> None:
        async def endpoint(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str(await request.form()))

        app = Spica(routes=[Route("/", endpoint, methods=["POST"])])
        headers = [("content-type", "application/x-www-form-urlencoded; charset=klingon")]
        exchange = await call(app, "POST", body=b"a=1", headers=headers)
        assert exchange.status == 415
        assert (
            exchange.text
            == "The form is in the charset 'klingon', which is not supported. Use UTF-8."
        )

    async def test_parts_one_by_one(self) -> None:
        request = request_with(self.file_body[:50], self.file_body[50:], headers=self.multipart)
        seen = [(part.name, part.filename, await part.read()) async for part in request.parts()]
        assert seen == [("f", "a.txt", b"hello")]


class TestServerExtensions:
    """ASGI "Server Push" and "Early Hints": nothing happens where the server can't."""

    def request(self, *extensions: str) -> tuple[Request, list[Any]]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [("accept", "text/html"), ("cookie", "secret=1"), ("user-agent", "ua")]
        scope = http_scope(headers=headers, extensions={name: {} for name in extensions})
        return Request(scope, send=send), sent

    @pytest.mark.parametrize("path", ["", "a.css", "/a\r\nb", "/a b", "/\x00", "/ü"])
    async def test_a_push_of_what_is_no_path(self, path: str) -> None:
        request, sent = self.request("http.response.push")
        with pytest.raises(ValueError, match="is not a valid request path"):
            await request.send_push_promise(path)
        assert sent == []

    async def test_a_push(self) -> None:
        request, sent = self.request("http.response.push")
        await request.send_push_promise("/a.css")
        headers = [(b"accept", b"text/html"), (b"user-agent", b"ua")]
        assert sent == [{"type": "http.response.push", "path": "/a.css", "headers": headers}]

    async def test_early_hints(self) -> None:
        """RFC 8297."""
        request, sent = self.request("http.response.early_hint")
        await request.send_early_hints("</a.css>; rel=preload", "</b.js>")
        links = [b"</a.css>; rel=preload", b"</b.js>"]
        assert sent == [{"type": "http.response.early_hint", "links": links}]

    async def test_without_the_extensions(self) -> None:
        request, sent = self.request()
        await request.send_push_promise("/a.css")
        await request.send_early_hints("</a.css>")
        assert sent == []

    @pytest.mark.parametrize("extensions", [[], ["http.response.early_hint"]])
    async def test_a_link_is_checked(self, extensions: list[str]) -> None:
        request, _ = self.request(*extensions)
        with pytest.raises(ValueError, match="CR"):
            await request.send_early_hints("</a>\r\nx: 1")
