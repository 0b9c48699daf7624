"""What a client sends wrong is a 4xx or a close code, by value and by message, and no server error."""

import os
from typing import Any

import pytest
from asgi_kit import Exchange, http_scope, websocket_scope

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.sessions import SessionMiddleware
from spica.middleware.trustedhost import TrustedHostMiddleware
from spica.requests import Request
from spica.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from spica.routing import Host, Mount, Route, WebSocketRoute

pytestmark = pytest.mark.anyio


class Foreign:
    """A layer that is not ours."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


async def echo_json(request: Request) -> Response:
    return JSONResponse(await request.json())


async def form(request: Request) -> Response:
    async with request.form() as found:
        return JSONResponse(sorted(found))


async def show(request: Request) -> Response:
    return JSONResponse(
        {
            "url": str(request.url),
            "query": request.query_params.multi_items(),
            "path": request.path_params,
            "cookies": request.cookies,
            "host": request.url.hostname,
            "session": dict(request.session),
        }
    )


async def file(request: Request) -> Response:
    return FileResponse(__file__, conditional=True)


async def sets_header(request: Request) -> Response:
    value = request.query_params["value"]
    try:
        return PlainTextResponse("set", headers={"x-value": value})
    except ValueError:
        return PlainTextResponse("refused", status_code=400)


async def redirects(request: Request) -> Response:
    return RedirectResponse(request.query_params["value"])


async def names_file(request: Request) -> Response:
    return FileResponse(__file__, filename=request.query_params["value"])


async def sets_cookie(request: Request) -> Response:
    response = PlainTextResponse("set")
    try:
        response.set_cookie("k", request.query_params["value"])
    except ValueError:
        response.status_code = 400
    return response


ROUTES = [
    Route("/json", echo_json, methods=["POST"]),
    Route("/form", form, methods=["POST"]),
    Route("/number/{number:int}", show),
    Route("/float/{number:float}", show),
    Route("/uuid/{number:uuid}", show),
    Route("/show", show),
    Route("/file", file),
    Route("/header", sets_header),
    Route("/redirect", redirects),
    Route("/name", names_file),
    Route("/cookie", sets_cookie),
    Mount("/mount", routes=[Route("/{rest:path}", show)]),
    Host("{tenant}.example.net", Route("/show", show)),
]


def application(is_foreign: bool, *more: Any) -> Spica:
    layers = [Middleware(Foreign)] if is_foreign else []
    layers.append(Middleware(SessionMiddleware, secret_key="a secret of some length"))
    return Spica(routes=ROUTES, middleware=[*more, *layers])


PATHS = pytest.mark.parametrize("is_foreign", [False, True], ids=["value", "message"])

MULTIPART = [("content-type", "multipart/form-data; boundary=b")]
URLENCODED = [("content-type", "application/x-www-form-urlencoded")]
CUT_OFF = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nvalu'


async def ask(
    app: Any, method: str, path: str, headers: Any = (), body: bytes = b"", **scope: Any
) -> Exchange:
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    whole = {**http_scope(method, "/", headers=headers), **scope}
    whole["path"], _, query = path.partition("?")
    if query:
        whole["query_string"] = query.encode()
    exchange = await Exchange(whole, messages).run(app)
    assert exchange.error is None, "no error of the server's"
    assert exchange.is_complete
    return exchange


class TestBodies:
    @PATHS
    @pytest.mark.parametrize(
        ("path", "headers", "body", "status"),
        [
            ("/json", [], b"{", 400),
            ("/json", [], b"", 400),
            ("/json", [], b"\xff\xfe", 400),
            ("/json", [], b'"\xe9"', 400),
            ("/json", [], b'"\\ud800"', 400),
            ("/json", [], b"NaN", 400),
            ("/json", [], b"[" * 1025 + b"]" * 1025, 400),
            ("/json", [], b"[" * 200_000, 400),
            ("/json", [], b'{"a":' * 200_000, 400),
            ("/json", [], b"1" * 5000, 400),
            ("/form", MULTIPART, CUT_OFF, 400),
            ("/form", MULTIPART, b"\xff" * 100, 400),
            ("/form", [("content-type", "multipart/form-data")], b"a", 400),
            ("/form", [("content-type", "multipart/form-data; boundary=" + "b" * 500)], b"", 400),
            ("/form", URLENCODED, b"a=1&" * 1001, 400),
        ],
        ids=lambda value: repr(value)[:40],
    )
    async def test_malformed(
        self, is_foreign: bool, path: str, headers: Any, body: bytes, status: int
    ) -> None:
        exchange = await ask(application(is_foreign), "POST", path, headers, body)
        assert exchange.status == status
        assert exchange.text, "the answer says why"

    @PATHS
    @pytest.mark.parametrize("levels", [990, 1000, 1024])
    async def test_json_that_is_deep_but_read_is_written_too(
        self, is_foreign: bool, levels: int
    ) -> None:
        body = b"[" * levels + b"]" * levels
        assert (await ask(application(is_foreign), "POST", "/json", (), body)).body == body


class TestTargets:
    @PATHS
    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/number/" + "1" * 5000, 404),
            ("/number/\u0661", 404),
            ("/float/" + "9" * 5000, 404),
            ("/float/nan", 404),
            ("/uuid/" + "0" * 5000, 404),
            ("/nowhere", 404),
            ("/show\n", 404),
            ("/" + "a/" * 5000, 404),
        ],
        ids=lambda value: repr(value)[:30],
    )
    async def test_paths(self, is_foreign: bool, path: str, status: int) -> None:
        exchange = await ask(application(is_foreign), "GET", path, raw_path=b"/")
        assert exchange.status == status

    @PATHS
    @pytest.mark.parametrize(
        "query", [b"\xff=\xfe", b"%ff=%fe", b"%", b"&&;=", b"a=%00", b"=" * 5000]
    )
    async def test_queries(self, is_foreign: bool, query: bytes) -> None:
        exchange = await ask(application(is_foreign), "GET", "/show", query_string=query)
        assert exchange.status == 200

    @PATHS
    @pytest.mark.parametrize(
        "path", ["/mount/\N{REPLACEMENT CHARACTER}", "/mount/\x00", "/mount/%ff"]
    )
    async def test_a_path_that_is_not_utf_8(self, is_foreign: bool, path: str) -> None:
        """Servers differ in what they make of it: a replacement, or escapes."""
        exchange = await ask(application(is_foreign), "GET", path, raw_path=b"/mount/\xff")
        assert exchange.status is not None
        assert exchange.status < 500


class TestHosts:
    HOSTS = pytest.mark.parametrize(
        "hosts",
        [
            [],
            [b""],
            [b"a b"],
            [b"a/b"],
            [b"a@b"],
            [b"\xff"],
            [b"[::1"],
            [b"a:b"],
            [b"a:99999999999"],
            [b"example.org", b"example.com"],
            [b"x" * 5000],
        ],
        ids=lambda hosts: repr(hosts)[:30],
    )

    @PATHS
    @HOSTS
    async def test_are_no_error(self, is_foreign: bool, hosts: list[bytes]) -> None:
        headers = [("host", host) for host in hosts]
        assert (await ask(application(is_foreign), "GET", "/show", headers)).status == 200

    @PATHS
    @HOSTS
    async def test_are_refused_where_hosts_are_known(
        self, is_foreign: bool, hosts: list[bytes]
    ) -> None:
        layer = Middleware(TrustedHostMiddleware, allowed_hosts=["example.org"])
        headers = [("host", host) for host in hosts]
        app = application(is_foreign, layer)
        assert (await ask(app, "GET", "/show", headers)).status == 400


class TestFiles:
    @PATHS
    @pytest.mark.parametrize(
        ("header", "statuses"),
        [
            ("lines=0-1", {200}),
            ("bytes", {200, 400}),
            ("bytes=", {200, 400}),
            ("bytes=a-b", {200, 400}),
            ("bytes=5-1", {200, 400, 416}),
            ("bytes=" + "9" * 5000 + "-", {200, 400, 416}),
            ("bytes=" + "0-0," * 5000, {200, 206, 400}),
            ("bytes=99999999-", {416}),
            ("\xff", {200, 400}),
        ],
        ids=lambda value: repr(value)[:30],
    )
    async def test_ranges(self, is_foreign: bool, header: str, statuses: set[int]) -> None:
        """RFC 9110 s.14.2: an unknown unit is ignored."""
        exchange = await ask(application(is_foreign), "GET", "/file", [("range", header)])
        assert exchange.status in statuses

    @PATHS
    @pytest.mark.parametrize("name", ["if-none-match", "if-modified-since", "if-match", "if-range"])
    @pytest.mark.parametrize("value", ["", "\xff", '"', "W/", "Mon, 99 Foo", ',"' * 5000, "*"])
    async def test_conditions(self, is_foreign: bool, name: str, value: str) -> None:
        headers = [(name, value), ("range", "bytes=0-1")]
        exchange = await ask(application(is_foreign), "GET", "/file", headers)
        assert exchange.status in (200, 206, 304, 400, 412)

    @PATHS
    async def test_a_file_that_is_gone_or_shorter_does_not_look_whole(
        self, is_foreign: bool, tmp_path: Any
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"x" * 1000)
        status = os.stat(path)

        async def endpoint(request: Request) -> Response:
            return FileResponse(path, stat_result=status)

        layers = [Middleware(Foreign)] if is_foreign else []
        app = Spica(routes=[Route("/", endpoint)], middleware=layers)
        for change in (lambda: path.write_bytes(b"y"), path.unlink):
            change()
            exchange = await Exchange().run(app)
            assert exchange.status == 500 or not exchange.is_complete
            assert isinstance(exchange.error, RuntimeError)


class TestValuesThatAnEndpointPassesOn:
    @PATHS
    @pytest.mark.parametrize("path", ["/header", "/redirect", "/name", "/cookie"])
    @pytest.mark.parametrize("value", ["a%0d%0ax-evil:%201", "a%0ab", "a%00b", "%C3%BC%E2%98%83"])
    async def test_cannot_break_out_of_a_header(
        self, is_foreign: bool, path: str, value: str
    ) -> None:
        exchange = await ask(application(is_foreign), "GET", f"{path}?value={value}")
        assert "x-evil" not in exchange.headers
        for _, field in exchange.raw_headers:
            assert not {0, 10, 13} & {*field}


class TestCookies:
    @PATHS
    @pytest.mark.parametrize(
        "cookie", [b"\xff", b"=", b";" * 5000, b"session=\xff", b'a="', b"session=x.y.z"]
    )
    async def test_any_cookie_is_read_or_passed_over(self, is_foreign: bool, cookie: bytes) -> None:
        exchange = await ask(application(is_foreign), "GET", "/show", [("cookie", cookie)])
        assert exchange.json["session"] == {}


class TestFrames:
    @PATHS
    @pytest.mark.parametrize(
        ("expects", "frame", "code"),
        [
            ("text", {"bytes": b"a"}, 1003),
            ("bytes", {"text": "a"}, 1003),
            ("json", {"text": "{"}, 1007),
            ("json", {"text": "[" * 100_000}, 1007),
            ("json", {"bytes": b"{}"}, 1003),
            ("json", {"text": '"\\ud800"'}, 1007),
        ],
        ids=lambda value: repr(value)[:25],
    )
    async def test_close_the_connection(
        self, is_foreign: bool, expects: str, frame: Any, code: int
    ) -> None:
        async def endpoint(websocket: Any) -> None:
            await websocket.accept()
            await getattr(websocket, f"receive_{expects}")()

        messages = [{"type": "websocket.connect"}, {"type": "websocket.receive", **frame}]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        layers = [Middleware(Foreign)] if is_foreign else []
        app = Spica(routes=[WebSocketRoute("/", endpoint)], middleware=layers)
        await app(websocket_scope(), receive, send)
        assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
        assert sent[1]["code"] == code
        assert sent[1]["reason"]
