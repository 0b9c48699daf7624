"""WSGI applications (PEP 3333) served in threads."""

import contextlib
import importlib
import io
import sys
import threading
import warnings

import anyio
import pytest
from asgi_kit import DISCONNECT, Exchange, body_messages, call, http_scope, websocket_scope

from spica.applications import Spica
from spica.concurrency import endpoint_threads, wsgi_threads
from spica.exceptions import SpicaDeprecationWarning
from spica.requests import ClientDisconnect
from spica.routing import Mount

with warnings.catch_warnings():
    warnings.simplefilter("ignore", SpicaDeprecationWarning)
    from spica.middleware import wsgi
    from spica.middleware.wsgi import WSGIMiddleware, WSGIResponder, build_environ

pytestmark = pytest.mark.anyio


class Body:
    """An iterable that knows whether it was closed, and in which thread."""

    def __init__(self, *chunks):
        self.chunks = iter(chunks)
        self.closed_in = None

    def __iter__(self):
        return self

    def __next__(self):
        chunk = next(self.chunks)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def close(self):
        self.closed_in = threading.current_thread()


def answer_with(body, status="200 OK", headers=()):
    def app(environ, start_response):
        start_response(status, list(headers))
        return body

    return app


def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [environ["wsgi.input"].read()]


async def run(app, scope=None, messages=None, **options):
    return await Exchange(scope, messages, **options).run(WSGIMiddleware(app))


# -- the environment -----------------------------------------------------------------------------------


def test_the_environment_has_what_pep_3333_asks_for():
    scope = http_scope(
        "POST",
        "/a?b=c%20d",
        headers=[("host", "example.org"), ("content-type", "text/x"), ("content-length", "3")],
        scheme="https",
    )
    environ = build_environ(scope, b"abc")
    assert environ.pop("wsgi.input").read() == b"abc"
    assert environ == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a",
        "QUERY_STRING": "b=c%20d",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "example.org",
        "SERVER_PORT": 80,
        "REMOTE_ADDR": "192.0.2.1",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "3",
        "HTTP_HOST": "example.org",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.errors": sys.stdout,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def test_bytes_that_are_no_text_are_one_character_each():
    """PEP 3333, "Unicode Issues": every text of the environment can be encoded as latin-1."""
    scope = http_scope()
    scope["query_string"] = b"a=\xff\xc3\xa9"
    scope["path"] = "/\udcff"  # PEP 383: what a server makes of a byte that it can't decode
    environ = build_environ(scope, b"")
    assert environ["QUERY_STRING"].encode("latin-1") == b"a=\xff\xc3\xa9"
    assert environ["PATH_INFO"].encode("latin-1") == b"/\xff"


@pytest.mark.parametrize(
    ("root_path", "path", "script_name", "path_info"),
    [
        ("", "/a", "", "/a"),
        ("/app", "/app/a", "/app", "/a"),
        ("/app", "/app", "/app", ""),
        ("/app", "/application", "/app", "/application"),
        ("/app/", "/app/a", "/app/", "a"),
        ("/app", "/other", "/app", "/other"),
        ("/ä", "/ä/☃", "/Ã¤", "/â\x98\x83"),
    ],
)
def test_the_path_is_split_at_a_segment(root_path, path, script_name, path_info):
    scope = http_scope(root_path=root_path)
    scope["path"] = path
    environ = build_environ(scope, b"")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, path_info)


@pytest.mark.parametrize(
    ("scheme", "server", "name", "port"),
    [
        ("http", None, "localhost", 80),
        ("https", None, "localhost", 443),
        ("https", ("/run/app.sock", None), "localhost", 443),
        ("http", ("example.org", 8000), "example.org", 8000),
    ],
)
def test_the_server_always_has_a_name_and_a_port(scheme, server, name, port):
    environ = build_environ(http_scope(scheme=scheme, server=server), b"")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)


def test_an_unknown_client_has_no_address():
    assert "REMOTE_ADDR" not in build_environ(http_scope(client=None), b"")


@pytest.mark.parametrize(
    ("headers", "key", "value"),
    [
        ([("x-a", "1"), ("x-a", "2")], "HTTP_X_A", "1,2"),
        ([("cookie", "a=1"), ("cookie", "b=2")], "HTTP_COOKIE", "a=1; b=2"),
        ([("x-a", "1"), ("x_a", "forged")], "HTTP_X_A", "1"),
        ([("x_a", "forged")], "HTTP_X_A", None),
        ([("proxy", "evil.example")], "HTTP_PROXY", None),
        ([("transfer-encoding", "chunked")], "HTTP_TRANSFER_ENCODING", None),
        ([("x-latin", b"\xe9")], "HTTP_X_LATIN", "\xe9"),
    ],
)
def test_headers_become_variables(headers, key, value):
    assert build_environ(http_scope(headers=headers), b"").get(key) == value


def test_a_body_without_a_declared_length_has_one():
    assert build_environ(http_scope("POST"), b"abcd")["CONTENT_LENGTH"] == "4"


async def test_the_application_gets_texts_and_the_error_stream():
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        start_response("204 No Content", [])
        return []

    await run(app)
    assert seen["SERVER_PORT"] == "80"
    assert seen["wsgi.errors"] is sys.stderr


# -- the body of the request ---------------------------------------------------------------------------


async def test_a_body_in_chunks_is_read_whole():
    exchange = await run(echo, http_scope("POST"), body_messages(b"ab", b"", b"cd"))
    assert exchange.body == b"abcd"


@pytest.mark.parametrize("size", [-1, 0, 1])
async def test_a_large_body_is_kept_in_a_file(size, monkeypatch):
    monkeypatch.setattr(wsgi, "MAX_BODY_IN_MEMORY", 1000)
    kinds = []

    def app(environ, start_response):
        kinds.append(type(environ["wsgi.input"]) is io.BytesIO)
        return echo(environ, start_response)

    chunks = [b"x" * 900, b"y" * (100 + size), b"z" * 0]
    exchange = await run(app, http_scope("POST"), body_messages(*chunks))
    assert exchange.body == b"".join(chunks)
    assert kinds == [size <= 0]


async def test_a_client_that_leaves_while_it_sends_is_not_served():
    called = []
    messages = [{"type": "http.request", "body": b"a", "more_body": True}, DISCONNECT]
    exchange = await run(lambda *args: called.append(args), http_scope("POST"), messages)
    assert (called, exchange.sent, exchange.error) == ([], [], None)


async def test_a_client_that_leaves_after_much_is_not_served_either(monkeypatch):
    monkeypatch.setattr(wsgi, "MAX_BODY_IN_MEMORY", 1)
    messages = [{"type": "http.request", "body": b"abc", "more_body": True}, DISCONNECT]
    exchange = await run(echo, http_scope("POST"), messages)
    assert (exchange.sent, exchange.error) == ([], None)


@pytest.mark.parametrize(("size", "status"), [(4, 200), (5, 200), (6, 413)])
async def test_the_limit_of_the_body_is_kept(size, status):
    app = Spica(routes=[Mount("/", WSGIMiddleware(echo))], max_body_size=5)
    exchange = await call(app, "POST", body=[b"a", b"b" * (size - 1)])
    assert exchange.status == status


async def test_without_a_free_thread_the_answer_is_503(monkeypatch):
    monkeypatch.setattr(wsgi_threads, "max_wait_seconds", 0.01)
    limiter = wsgi_threads.current()
    busy = [object() for _ in range(int(limiter.total_tokens))]
    for borrower in busy:
        limiter.acquire_on_behalf_of_nowait(borrower)
    exchange = await run(echo)
    for borrower in busy:
        limiter.release_on_behalf_of(borrower)
    assert (exchange.status, exchange.headers["retry-after"]) == (503, "5")


# -- the response --------------------------------------------------------------------------------------


async def test_chunks_are_sent_as_they_come():
    body = Body(b"a", b"", b"b")
    exchange = await run(answer_with(body, "201 Created", [("X-A", "\xe9")]))
    assert exchange.chunks == [b"a", b"b", b""]
    assert (exchange.status, exchange.raw_headers) == (201, [(b"x-a", b"\xe9")])
    assert body.closed_in not in (None, threading.current_thread())


async def test_one_chunk_has_a_length():
    """PEP 3333, "Handling the Content-Length Header"."""
    exchange = await run(answer_with([b"abc"]))
    assert (exchange.chunks, exchange.headers) == ([b"abc"], {"content-length": "3"})


async def test_a_length_that_is_given_stays():
    exchange = await run(answer_with([b"abc"], headers=[("Content-Length", "3")]))
    assert exchange.raw_headers == [(b"content-length", b"3")]


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Same")]
)
async def test_a_response_without_content_gets_no_length(method, status):
    exchange = await run(answer_with([b""], status), http_scope(method))
    assert exchange.headers == {}


async def test_start_response_may_come_with_the_first_chunk():
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"late"

    assert (await run(app)).body == b"late"


async def test_write_sends_before_what_is_returned():
    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"a")
        return [b"b"]

    assert (await run(app)).chunks == [b"a", b"b"]


async def test_a_status_needs_no_reason():
    assert (await run(answer_with([b""], "200"))).status == 200


async def test_context_variables_reach_the_application():
    import contextvars

    variable = contextvars.ContextVar("variable")
    variable.set("here")

    def app(environ, start_response):
        start_response("200 OK", [])
        return [variable.get().encode()]

    assert (await run(app)).body == b"here"


# -- errors --------------------------------------------------------------------------------------------


def error_info():
    try:
        raise ValueError("handled")
    except ValueError:
        return sys.exc_info()


async def test_an_error_is_raised_before_anything_is_sent():
    def app(environ, start_response):
        raise ValueError("broken")

    exchange = await run(app)
    assert (repr(exchange.error), exchange.sent) == ("ValueError('broken')", [])


async def test_an_error_in_the_middle_leaves_the_body_open_and_closes_the_iterable():
    body = Body(b"a", ValueError("broken"))
    exchange = await run(answer_with(body))
    assert (exchange.chunks, exchange.is_complete) == ([b"a"], False)
    assert isinstance(exchange.error, ValueError)
    assert body.closed_in is not None


async def test_exc_info_replaces_a_response_that_has_not_started():
    def app(environ, start_response):
        start_response("200 OK", [("X-A", "1")])
        start_response("500 Broken", [("X-B", "2")], error_info())
        return Body(b"sorry")

    exchange = await run(app)
    assert (exchange.status, exchange.body) == (500, b"sorry")
    assert exchange.headers == {"x-b": "2"}
    assert exchange.is_complete
    assert repr(exchange.error) == "ValueError('handled')"


async def test_exc_info_is_raised_once_the_response_has_started():
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"a"
        start_response("500 Broken", [], error_info())

    exchange = await run(app)
    assert (exchange.status, exchange.is_complete) == (200, False)
    assert repr(exchange.error) == "ValueError('handled')"


@pytest.mark.parametrize(
    ("app", "error", "text"),
    [
        (lambda environ, start: [b"a"], RuntimeError, "did not call start_response"),
        (answer_with(None), TypeError, "returned None, but must return an iterable of bytes"),
        (answer_with(["text"]), TypeError, "sent 'text' as its body, but must send bytes"),
        (answer_with([b""], "OK"), ValueError, "must be like '200 OK', not 'OK'"),
        (answer_with([b""], "99 Low"), ValueError, "not '99 Low'"),
        (answer_with([b""], headers=[("X-A", "a\r\nb")]), ValueError, "control character"),
        (answer_with([b""], headers=[("X A", "b")]), ValueError, "not a valid header name"),
    ],
)
async def test_broken_rules_are_named(app, error, text):
    exchange = await run(app)
    assert isinstance(exchange.error, error)
    assert text in str(exchange.error)
    assert exchange.sent == []


async def test_a_second_start_response_is_an_error():
    def app(environ, start_response):
        start_response("200 OK", [])
        start_response("200 OK", [])
        return []

    exchange = await run(app)
    assert isinstance(exchange.error, RuntimeError)
    assert "test_a_second_start_response_is_an_error" in str(exchange.error)
    assert "second time" in str(exchange.error)


# -- disconnects ---------------------------------------------------------------------------------------


async def test_a_send_that_fails_ends_the_application():
    body = Body(b"a", b"b", b"c")
    exchange = await run(answer_with(body), gone_after=2)
    assert isinstance(exchange.error, ClientDisconnect)
    assert body.closed_in is not None
    assert list(body.chunks) == [b"c"]


async def test_a_client_that_leaves_ends_the_application_at_its_next_chunk():
    exchange = Exchange()
    body = Body()

    def chunks():
        yield b"a"
        exchange_has_left.wait(60)
        while True:
            yield b"b"

    exchange_has_left = threading.Event()

    async def send(message):
        await exchange.send(message)
        if message.get("body"):
            exchange.receive.close()
            exchange_has_left.set()
            await anyio.lowlevel.checkpoint()

    body.chunks = chunks()
    with anyio.fail_after(30):
        await WSGIMiddleware(answer_with(body))(exchange.scope, exchange.receive, send)
    assert not exchange.is_complete
    assert body.closed_in is not None


async def test_an_os_error_of_the_application_stays_its_own():
    exchange = await run(answer_with(Body(OSError("disk"))))
    assert repr(exchange.error) == "OSError('disk')"


# -- other scopes, and the module ----------------------------------------------------------------------


async def test_a_websocket_is_closed():
    exchange = await run(echo, websocket_scope())
    assert exchange.types == ["websocket.close"]


async def test_a_lifespan_is_refused():
    exchange = await run(echo, {"type": "lifespan"})
    assert isinstance(exchange.error, RuntimeError)
    assert "serves HTTP only, not a 'lifespan' scope" in str(exchange.error)


def test_the_application_must_be_callable():
    with pytest.raises(TypeError, match=r"^WSGIMiddleware: app must be a WSGI application"):
        WSGIMiddleware("app:app")


async def test_a_responder_works_alone():
    exchange = Exchange()
    await WSGIResponder(answer_with([b"a"]), exchange.scope)(exchange.receive, exchange.send)
    assert exchange.body == b"a"


async def test_it_can_be_mounted():
    app = Spica(routes=[Mount("/old", WSGIMiddleware(answer_with([b"a"])))])
    assert (await call(app, path="/old/page")).body == b"a"


def test_the_import_warns_the_importer(monkeypatch):
    monkeypatch.delitem(sys.modules, "spica.middleware.wsgi")
    with pytest.warns(
        SpicaDeprecationWarning, match=r"^spica\.middleware\.wsgi is deprecated"
    ) as caught:
        importlib.import_module("spica.middleware.wsgi")
    assert caught[0].filename == __file__
    monkeypatch.setattr("spica.middleware.wsgi", wsgi)


# -- header lines --------------------------------------------------------------------------------------


def test_many_header_lines_are_joined_in_linear_time():
    class Counted(bytes):
        decoded = 0

        def decode(self, *args):
            Counted.decoded += len(self)
            return super().decode(*args)

    size = 3000
    headers = [(b"cookie", Counted(b"a=1"))] * size + [(b"x-a", Counted(b"2"))] * size
    environ = build_environ({**http_scope(), "headers": headers}, b"")
    assert Counted.decoded == 4 * size
    assert environ["HTTP_COOKIE"] == "; ".join(["a=1"] * size)
    assert environ["HTTP_X_A"] == ",".join(["2"] * size)


@pytest.mark.parametrize(
    "name",
    ["content_length", "content_type", "transfer_encoding", "x_forwarded_for", "proxy", "pRoxy"],
)
def test_no_header_passes_for_another(name):
    """RFC 3875 s.4.1.18 spells both hyphens and underscores as underscores."""
    scope = http_scope()
    before = build_environ(scope, b"")
    scope["headers"] = [*scope["headers"], (name.encode(), b"forged")]
    after = build_environ(scope, b"")
    assert {**after, "wsgi.input": None} == {**before, "wsgi.input": None}


# -- threads of its own --------------------------------------------------------------------------------


async def test_slow_readers_take_no_thread_of_endpoints(monkeypatch):
    monkeypatch.setattr(wsgi_threads, "total", 2)
    accepted = anyio.Event()
    may_go = anyio.Event()
    waiting = []

    async def send(message):
        waiting.append(message)
        if len(waiting) == 2:
            accepted.set()
        await may_go.wait()

    app = WSGIMiddleware(answer_with([b"a"]))
    async with anyio.create_task_group() as group:
        for _ in range(2):
            exchange = Exchange()
            group.start_soon(app, exchange.scope, exchange.receive, send)
        await accepted.wait()
        assert (wsgi_threads.running, endpoint_threads.running) == (2, 0)
        monkeypatch.setattr(wsgi_threads, "max_wait_seconds", 0)
        exchange = await run(answer_with([b"a"]))
        assert (exchange.status, exchange.headers["retry-after"]) == (503, "5")
        may_go.set()


async def test_a_client_that_accepts_nothing_is_given_up():
    exchange = Exchange()
    body = Body(b"a", b"b")

    async def send(message):
        if message["type"] == "http.response.body":
            await anyio.sleep_forever()
        await exchange.send(message)

    app = WSGIMiddleware(answer_with(body), max_send_seconds=0.01)
    with pytest.raises(ClientDisconnect, match=r"did not accept a piece .+ within 0\.01 seconds"):
        await app(exchange.scope, exchange.receive, send)
    assert not exchange.is_complete
    assert body.closed_in is not None
    assert list(body.chunks) == [b"b"]
    assert wsgi_threads.running == 0


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), ("60", TypeError), (True, TypeError)]
)
def test_the_time_limit_must_be_one(value, error):
    with pytest.raises(error, match=r"^WSGIMiddleware: max_send_seconds"):
        WSGIMiddleware(echo, max_send_seconds=value)


async def test_the_time_limit_can_be_lifted():
    exchange = Exchange()
    await WSGIMiddleware(echo, max_send_seconds=None)(
        exchange.scope, exchange.receive, exchange.send
    )
    assert exchange.is_complete


@pytest.mark.parametrize(("size", "pieces"), [(-1, 1), (0, 1), (1, 2)])
async def test_a_large_chunk_is_sent_in_pieces(size, pieces):
    """The time limit is for one piece, so that a slow client gets a large file."""
    body = b"x" * (wsgi.MAX_PIECE_SIZE + size)
    exchange = await run(answer_with([body]))
    assert (exchange.body, len(exchange.chunks)) == (body, pieces)
    assert exchange.headers["content-length"] == str(len(body))


# -- responses without a body --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Same")]
)
async def test_a_response_without_content_sends_none_and_ends(method, status):
    def endless():
        while True:
            yield b"a"

    body = Body()
    body.chunks = endless()
    exchange = await run(answer_with(body, status), http_scope(method))
    assert (exchange.body, exchange.is_complete) == (b"", True)
    assert body.closed_in is not None
    exchange = await run(answer_with([b"abc"], status), http_scope(method))
    assert (exchange.body, exchange.headers) == (b"", {})


# -- subclasses of the responder, as MLflow has one ----------------------------------------------------


def two_chunks(environ, start_response):
    start_response("201 Created", [("X-A", "1")])
    yield b"a"
    yield environ["wsgi.input"].read()


class Streaming(WSGIResponder):
    """Runs the application by itself, and lets the stream carry the messages."""

    async def __call__(self, receive, send):
        environ = build_environ(self.scope, (await receive())["body"])
        async with anyio.create_task_group() as group:
            group.start_soon(self.sender, send)
            async with self.stream_send:
                await anyio.to_thread.run_sync(self.wsgi, environ, self.start_response)


class OwnInit(Streaming):
    """Sets the attributes by itself."""

    def __init__(self, app, scope):
        self.app = app
        self.scope = scope
        self.status = None
        self.response_headers = None
        self.stream_send, self.stream_receive = anyio.create_memory_object_stream(float("inf"))
        self.response_started = False
        self.exc_info = None


class OwnSender(WSGIResponder):
    async def sender(self, send):
        async def counted(message):
            self.count = getattr(self, "count", 0) + 1
            await send(message)

        await super().sender(counted)


class OwnWSGI(WSGIResponder):
    def wsgi(self, environ, start_response):
        for chunk in self.app(environ, start_response):
            self.put(chunk)
        self.put(b"", more_body=False)

    def put(self, body, more_body=True):
        message = {"type": "http.response.body", "body": body, "more_body": more_body}
        anyio.from_thread.run(self.stream_send.send, message)


class OwnStart(WSGIResponder):
    def start_response(self, status, response_headers, exc_info=None):
        return super().start_response(status, [*response_headers, ("X-B", "2")], exc_info)


@pytest.mark.parametrize("cls", [Streaming, OwnInit, OwnSender, OwnWSGI, OwnStart])
async def test_a_responder_may_be_subclassed(cls):
    exchange = Exchange(http_scope("POST"), body_messages(b"body"))
    responder = cls(two_chunks, exchange.scope)
    await responder(exchange.receive, exchange.send)
    assert (exchange.status, exchange.body, exchange.is_complete) == (201, b"abody", True)
    assert exchange.headers["x-a"] == "1"
    assert ("x-b" in exchange.headers) is (cls is OwnStart)
    assert (responder.status, responder.response_started) == ("201 Created", True)
    assert responder.response_headers[0] == ("X-A", "1")
    assert getattr(responder, "count", 4) == 4


@pytest.mark.parametrize("cls", [OwnSender, OwnWSGI, OwnStart])
async def test_errors_of_a_subclass_are_raised_as_they_are(cls):
    def broken(environ, start_response):
        start_response("200 OK", [])
        yield b"a"
        raise ValueError("broken")

    exchange = Exchange()
    with pytest.raises(ValueError, match="broken"):
        await cls(broken, exchange.scope)(exchange.receive, exchange.send)
    assert not exchange.is_complete


@pytest.mark.parametrize("cls", [OwnSender, OwnStart])
async def test_a_subclass_stops_when_the_client_has_left(cls):
    exchange = Exchange(gone_after=2)
    body = Body(b"a", b"b", b"c", b"d", b"e")
    with contextlib.suppress(ClientDisconnect):  # unless the wait for it was faster
        await cls(answer_with(body), exchange.scope)(exchange.receive, exchange.send)
    assert not exchange.is_complete
    assert body.closed_in is not None
    assert len(list(body.chunks)) >= 2  # what was made ahead is bounded


def test_what_a_responder_has_before_it_runs():
    responder = WSGIResponder(echo, http_scope())
    assert (responder.status, responder.response_headers) == (None, None)
    assert (responder.response_started, responder.exc_info) == (False, None)
    assert not hasattr(responder, "stream")
