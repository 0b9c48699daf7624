"""Tests of spica/endpoints.py."""

import pickle
import threading

import pytest
from hostile_json import REFUSED, as_bytes

from spica.endpoints import (
    BadMessage,
    HTTPEndpoint,
    WebSocketEndpoint,
    answer,
    answers_by_value,
    methods_of,
)
from spica.exceptions import HTTPException, WebSocketException
from spica.requests import Request
from spica.responses.base import PlainTextResponse
from spica.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

pytestmark = pytest.mark.anyio


def http_scope(method="GET", **fields):
    return {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": b"",
        "headers": [],
        **fields,
    }


async def receive_nothing():
    return {"type": "http.request", "body": b"", "more_body": False}


async def run(cls, method="GET", **fields):
    """Serve one request; return status, headers and body."""
    sent = []

    async def send(message):
        sent.append(message)

    await cls(http_scope(method, **fields), receive_nothing, send)
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


class Page(HTTPEndpoint):
    """Serves some methods, and has helpers with the names of others."""

    async def get(self, request):
        return PlainTextResponse("get")

    def post(self, request):
        return PlainTextResponse(f"post {threading.current_thread() is threading.main_thread()}")

    async def propfind(self, request):
        return PlainTextResponse("propfind")

    async def update(self, request):
        return PlainTextResponse("a helper")


# Which method is served


@pytest.mark.parametrize(
    ("method", "body"),
    [("GET", b"get"), ("HEAD", b"get"), ("POST", b"post False"), ("PROPFIND", b"propfind")],
)
async def test_a_method_is_served_by_the_method_of_its_name(method, body):
    status, _, sent = await run(Page, method)
    assert (status, sent) == (200, body)


@pytest.mark.parametrize(
    "name", ["get", "head", "post", "put", "patch", "delete", "options", "query"]
)
async def test_every_standard_method_is_served(name):
    async def serve(self, request):
        return PlainTextResponse(request.method)

    cls = type("Endpoint", (HTTPEndpoint,), {name: serve})
    assert (await run(cls, name.upper()))[2] == name.upper().encode()


async def test_a_dash_becomes_an_underscore():
    class Versioned(HTTPEndpoint):
        async def version_control(self, request):
            return PlainTextResponse("ok")

    assert (await run(Versioned, "VERSION-CONTROL"))[0] == 200


@pytest.mark.parametrize(
    "method",
    ["PUT", "get", "Get", "propfind", "UPDATE", "DISPATCH", "METHOD_NOT_ALLOWED", "SCOPE", "SEND"]
    + ["__INIT__", "_RESPOND", "options", "BREW"],
)
async def test_other_methods_are_405(method):
    """RFC 9110 s.9.1: method names are case-sensitive; s.15.5.6: 405 lists those allowed."""
    status, headers, body = await run(Page, method)
    assert status == 405
    assert headers[b"allow"] == b"GET, HEAD, POST, PROPFIND"
    assert body == b"Method Not Allowed"


@pytest.mark.parametrize("scope", [{}, {"app": object()}], ids=["alone", "in an application"])
async def test_options_is_answered_by_itself(scope):
    """RFC 9110 s.9.3.7."""
    status, headers, body = await run(Page, "OPTIONS", **scope)
    assert (status, body) == (200, b"")
    assert headers[b"allow"] == b"GET, HEAD, OPTIONS, POST, PROPFIND"


class TestMethodsOf:
    """What a class serves is known without an instance, unless the class sees to that itself."""

    def test_the_methods_that_it_defines(self):
        assert methods_of(Page) == {"GET", "HEAD", "POST", "PROPFIND"}
        assert methods_of(HTTPEndpoint) == frozenset()

    def test_named_ones_and_ones_taken_back(self):
        class Named(Page):
            http_methods = {"UPDATE"}
            post = None

        assert methods_of(Named) == {"GET", "HEAD", "PROPFIND", "UPDATE"}

    @pytest.mark.parametrize(
        "name",
        [
            "__init__",
            "__await__",
            "dispatch",
            "method_not_allowed",
            "__getattr__",
            "__getattribute__",
        ],
    )
    def test_a_class_that_does_more(self, name):
        assert methods_of(type("More", (Page,), {name: lambda self, *args: None})) is None

    @pytest.mark.parametrize("endpoint", [print, WebSocketEndpoint, object()])
    def test_what_is_no_class_endpoint(self, endpoint):
        assert methods_of(endpoint) is None


async def test_within_an_application_405_is_raised():
    with pytest.raises(HTTPException) as caught:
        await run(Page, "PUT", app=object())
    assert caught.value.status_code == 405
    assert caught.value.headers == {"Allow": "GET, HEAD, POST, PROPFIND"}


async def test_head_may_have_a_method_of_its_own():
    class Own(Page):
        async def head(self, request):
            return PlainTextResponse("", headers={"x-own": "1"})

    assert (await run(Own, "HEAD"))[1][b"x-own"] == b"1"


async def test_without_get_there_is_no_head():
    class Post(HTTPEndpoint):
        async def post(self, request):
            return PlainTextResponse("x")

    assert (await run(Post, "HEAD"))[1][b"allow"] == b"POST"


async def test_an_inherited_method_can_be_taken_away():
    class Less(Page):
        post = None

    assert (await run(Less, "POST"))[1][b"allow"] == b"GET, HEAD, PROPFIND"


async def test_an_empty_endpoint_serves_nothing():
    status, headers, _ = await run(HTTPEndpoint)
    assert (status, headers[b"allow"]) == (405, b"")


async def test_more_methods_can_be_named():
    class Named(Page):
        http_methods = ("UPDATE", "get-list")

        async def get_list(self, request):
            return PlainTextResponse("list")

    assert (await run(Named, "UPDATE"))[2] == b"a helper"
    assert (await run(Named, "get-list"))[2] == b"list"
    status, headers, _ = await run(Named, "GET-LIST")
    assert status == 405
    assert headers[b"allow"] == b"GET, HEAD, POST, PROPFIND, UPDATE, get-list"


def test_a_named_method_must_be_there():
    with pytest.raises(TypeError, match=r"^Lost\.http_methods names 'COPY', but the class has no"):

        class Lost(HTTPEndpoint):
            http_methods = {"COPY"}


def test_named_methods_are_a_collection():
    with pytest.raises(TypeError, match=r"Text\.http_methods is the string 'COPY'"):

        class Text(HTTPEndpoint):
            http_methods = "COPY"


async def test_method_not_allowed_can_be_overridden():
    class Custom(HTTPEndpoint):
        def method_not_allowed(self, request):
            return PlainTextResponse("no such thing", status_code=405)

    assert (await run(Custom, "GET"))[2] == b"no such thing"


# What is returned


async def test_what_is_no_response_is_an_error_that_names_the_method():
    class Forgetful(HTTPEndpoint):
        async def get(self, request):
            PlainTextResponse("lost")

    with pytest.raises(TypeError, match=r"Forgetful\.get .*returned None") as caught:
        await run(Forgetful)
    assert "test_endpoints.py" in str(caught.value)


async def test_any_asgi_app_may_be_returned():
    async def app(scope, receive, send):
        await PlainTextResponse("app")(scope, receive, send)

    class Delegating(HTTPEndpoint):
        async def get(self, request):
            return app

    assert (await run(Delegating))[2] == b"app"


async def test_an_object_with_an_async_call_may_serve_a_method():
    class Handler:
        async def __call__(self, request):
            return PlainTextResponse("called")

    cls = type("Endpoint", (HTTPEndpoint,), {"get": Handler()})
    assert (await run(cls))[2] == b"called"


# An instance for each request


async def test_an_instance_has_scope_receive_and_send():
    class Looking(HTTPEndpoint):
        async def get(self, request):
            assert request.scope is self.scope
            assert await self.receive() == await receive_nothing()
            await self.send({"type": "http.response.start", "status": 204, "headers": []})

            async def app(scope, receive, send):
                await send({"type": "http.response.body", "body": b""})

            return app

    assert (await run(Looking))[0] == 204


def test_another_type_of_scope_is_refused():
    with pytest.raises(RuntimeError, match="Page needs a scope of type 'http', not 'websocket'"):
        Page({"type": "websocket"}, None, None)


# By value


async def test_an_answer_by_value():
    response = await answer(Page, Request(http_scope(), receive_nothing))
    assert response.body == b"get"


async def test_by_value_the_methods_get_the_same_request():
    seen = []

    class Looking(HTTPEndpoint):
        async def get(self, request):
            seen.append(request)
            return PlainTextResponse("")

    request = Request(http_scope(), receive_nothing)
    await answer(Looking, request)
    assert seen == [request]


def test_a_class_as_it_was_born_answers_by_value():
    assert answers_by_value(Page)
    assert answers_by_value(HTTPEndpoint)


@pytest.mark.parametrize("name", ["dispatch", "__await__"])
def test_a_class_with_its_own_way_of_sending_does_not(name):
    async def replaced(self):
        pass

    assert not answers_by_value(type("Endpoint", (Page,), {name: replaced}))


def test_a_patched_class_does_not(monkeypatch):
    async def dispatch(self):
        pass

    monkeypatch.setattr(HTTPEndpoint, "dispatch", dispatch)
    assert not answers_by_value(Page)


# WebSockets


CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept", "subprotocol": None, "headers": []}
LEAVE = {"type": "websocket.disconnect", "code": 1001}


def text(data):
    return {"type": "websocket.receive", "text": data}


def binary(data):
    return {"type": "websocket.receive", "bytes": data}


class Recorder(WebSocketEndpoint):
    """Keeps what its hooks are given."""

    async def on_connect(self, websocket):
        self.scope["seen"].append("connect")
        await super().on_connect(websocket)

    async def on_receive(self, websocket, data):
        self.scope["seen"].append(data)

    async def on_disconnect(self, websocket, close_code):
        self.scope["seen"].append(close_code)


async def serve(cls, *messages, **fields):
    """Serve one connection; return what was seen and what was sent."""
    pending = [CONNECT, *messages]
    sent = []

    async def receive():
        return pending.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [], "seen": [], **fields}
    try:
        await cls(scope, receive, send)
    except Exception as exc:
        return scope["seen"], sent, exc
    return scope["seen"], sent, None


async def test_a_handshake_that_nobody_answers_is_an_error():
    class Silent(Recorder):
        async def on_connect(self, websocket):
            self.scope["seen"].append("connect")

    seen, sent, error = await serve(Silent)

    assert str(error) == (
        "Silent.on_connect() must answer the handshake: "
        "await websocket.accept(), or websocket.close()."
    )
    assert (seen, sent) == (["connect", 1011], [])


def with_encoding(encoding):
    return type("Encoded", (Recorder,), {"encoding": encoding})


async def test_the_hooks_are_called_in_order():
    seen, sent, error = await serve(Recorder, text("a"), text("b"), LEAVE)
    assert seen == ["connect", "a", "b", 1001]
    assert sent == [ACCEPT]
    assert error is None


async def test_the_hooks_do_little_by_default():
    _, sent, error = await serve(WebSocketEndpoint, text("a"), LEAVE)
    assert (sent, error) == ([ACCEPT], None)


@pytest.mark.parametrize(
    ("encoding", "message", "data"),
    [
        (None, text("a"), "a"),
        (None, text(""), ""),
        (None, binary(b"a"), b"a"),
        ("text", text("a"), "a"),
        ("text", text(""), ""),
        ("text", {**text("a"), "bytes": None}, "a"),
        ("bytes", binary(b"a"), b"a"),
        ("bytes", {**binary(b""), "text": None}, b""),
        ("json", text("[1]"), [1]),
        ("json", binary(b"[1]"), [1]),
        ("json", {**binary(b"[1]"), "text": None}, [1]),
    ],
)
async def test_data_is_as_the_encoding_says(encoding, message, data):
    seen, _, error = await serve(with_encoding(encoding), message, LEAVE)
    assert seen == ["connect", data, 1001]
    assert error is None


BAD_MESSAGES = [
    ("text", binary(b"a"), "Expected text websocket messages, but got bytes"),
    ("text", {**binary(b"a"), "text": None}, "Expected text websocket messages, but got bytes"),
    ("bytes", text("a"), "Expected bytes websocket messages, but got text"),
    ("json", text("{"), "Malformed JSON data received."),
    ("json", text(""), "Malformed JSON data received."),
    *(
        ("json", binary(as_bytes(each)), "Malformed JSON data received.")
        for each in REFUSED.values()
    ),
]


@pytest.mark.parametrize(("encoding", "message", "words"), BAD_MESSAGES)
async def test_other_data_closes_the_connection(encoding, message, words):
    """RFC 6455 s.7.4.1: 1003, a type of data that cannot be accepted."""
    seen, sent, error = await serve(with_encoding(encoding), message)
    assert sent == [ACCEPT, {"type": "websocket.close", "code": 1003, "reason": ""}]
    assert seen == ["connect", 1011]
    assert isinstance(error, RuntimeError)
    assert str(error) == words


@pytest.mark.parametrize(("encoding", "message", "words"), BAD_MESSAGES)
async def test_other_data_is_left_to_the_exception_layer(encoding, message, words):
    handlers = {"starlette.exception_handlers": ({}, {})}
    _, sent, error = await serve(with_encoding(encoding), message, **handlers)
    assert sent == [ACCEPT]
    assert isinstance(error, BadMessage)
    assert isinstance(error, WebSocketException)
    assert (error.code, error.reason, error.detail) == (1003, "", words)


def test_the_error_survives_pickling():
    twin = pickle.loads(pickle.dumps(BadMessage("why")))
    assert (str(twin), twin.code, twin.reason) == ("why", 1003, "")


async def test_a_hook_that_fails():
    class Failing(Recorder):
        async def on_receive(self, websocket, data):
            raise LookupError("x")

    seen, sent, error = await serve(Failing, text("a"))
    assert seen == ["connect", 1011]
    assert sent == [ACCEPT]
    assert isinstance(error, LookupError)


async def test_a_farewell_to_a_closed_connection_does_not_hide_the_error():
    class Failing(Recorder):
        async def on_receive(self, websocket, data):
            await websocket.close()
            raise LookupError("x")

        async def on_disconnect(self, websocket, close_code):
            await websocket.send_text("bye")

    _, sent, error = await serve(Failing, text("a"))
    assert sent[1:] == [{"type": "websocket.close", "code": 1000, "reason": ""}]
    assert isinstance(error, LookupError)
    assert "Failing.on_disconnect() then raised WebSocketDisconnected(" in error.__notes__[0]


async def test_a_farewell_that_fails_alone_is_an_error():
    class Failing(Recorder):
        async def on_receive(self, websocket, data):
            await websocket.close()

        async def on_disconnect(self, websocket, close_code):
            await websocket.send_text("bye")

    _, _, error = await serve(Failing, text("a"), LEAVE)
    assert isinstance(error, WebSocketDisconnected)


async def test_a_peer_that_leaves_within_a_hook():
    class Reading(Recorder):
        async def on_receive(self, websocket, data):
            await websocket.receive_text()

    seen, _, error = await serve(Reading, text("a"), LEAVE)
    assert seen == ["connect", 1011]
    assert isinstance(error, WebSocketDisconnect)


async def test_on_connect_that_fails_is_not_followed_by_on_disconnect():
    class Failing(Recorder):
        async def on_connect(self, websocket):
            raise LookupError("x")

    seen, sent, _ = await serve(Failing)
    assert (seen, sent) == ([], [])


async def test_a_handshake_that_is_refused():
    class Refusing(Recorder):
        async def on_connect(self, websocket):
            await websocket.close(3000)

    seen, sent, error = await serve(Refusing, LEAVE)
    assert sent == [{"type": "websocket.close", "code": 3000, "reason": ""}]
    assert error is None
    assert seen == [1001]


async def test_a_connection_that_is_closed_in_a_hook():
    class Closing(Recorder):
        async def on_receive(self, websocket, data):
            assert isinstance(websocket, WebSocket)
            await websocket.close(3000)

    seen, sent, error = await serve(Closing, text("a"), LEAVE)
    assert sent == [ACCEPT, {"type": "websocket.close", "code": 3000, "reason": ""}]
    assert (seen, error) == (["connect", 1001], None)


async def test_a_disconnect_without_a_code():
    """RFC 6455 s.7.1.5."""
    seen, _, _ = await serve(Recorder, {"type": "websocket.disconnect"})
    assert seen == ["connect", 1005]


def test_an_unknown_encoding_is_refused():
    with pytest.raises(ValueError, match="Unsupported 'encoding' attribute 'xml' of Encoded"):
        with_encoding("xml")


def test_a_websocket_endpoint_refuses_http():
    with pytest.raises(RuntimeError, match="needs a scope of type 'websocket', not 'http'"):
        Recorder({"type": "http"}, None, None)
