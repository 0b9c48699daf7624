"""Tests of spica/websockets.py."""

import json
import pickle
from contextlib import suppress

import pytest
from hostile_json import REFUSED, as_bytes

from spica.applications import Spica
from spica.exceptions import HTTPException, SpicaConfigurationWarning, WebSocketException
from spica.responses.base import PlainTextResponse
from spica.routing import WebSocketRoute
from spica.websockets import (
    MalformedJSON,
    UnexpectedFrame,
    WebSocket,
    WebSocketClose,
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
)

pytestmark = pytest.mark.anyio

CONNECT = {"type": "websocket.connect"}
ACCEPTED = {"type": "websocket.accept", "subprotocol": None, "headers": []}
DENIAL = {"websocket.http.response": {}}


def text(data):
    return {"type": "websocket.receive", "text": data}


def binary(data):
    return {"type": "websocket.receive", "bytes": data}


def disconnect(**fields):
    return {"type": "websocket.disconnect", "code": 1001, **fields}


class Peer:
    """The server's side: gives the messages of a list, and keeps what is sent."""

    def __init__(self, *messages):
        self.messages = list(messages)
        self.sent = []
        self.breaks_on = None

    async def receive(self):
        return self.messages.pop(0)

    async def send(self, message):
        if message["type"] == self.breaks_on:
            raise OSError("connection reset")
        self.sent.append(message)


def connect(peer, cls=WebSocket, **fields):
    scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": [], **fields}
    return cls(scope, peer.receive, peer.send)


async def accepted(peer, cls=WebSocket):
    peer.messages.insert(0, CONNECT)
    websocket = connect(peer, cls)
    await websocket.accept()
    peer.sent.clear()
    return websocket


# Making one


def test_a_scope_of_another_type_is_refused():
    with pytest.raises(
        RuntimeError, match="WebSocket needs a scope of type 'websocket', not 'http'"
    ):
        WebSocket({"type": "http"}, None, None)


def test_both_sides_begin_as_connecting():
    websocket = connect(Peer())
    assert websocket.client_state is WebSocketState.CONNECTING
    assert websocket.application_state is WebSocketState.CONNECTING


def test_it_is_a_connection():
    websocket = connect(Peer(), query_string=b"a=1", headers=[(b"host", b"example.org")])
    assert str(websocket.url) == "http://example.org/?a=1"
    assert websocket.query_params["a"] == "1"
    assert websocket["type"] == "websocket"


def test_states_keep_their_values_and_can_be_keys():
    assert [state.value for state in WebSocketState] == [0, 1, 2, 3]
    assert {WebSocketState.CONNECTED: 1}[pickle.loads(pickle.dumps(WebSocketState(1)))] == 1


# accept


async def test_accept_waits_for_the_peer_and_answers():
    peer = Peer(CONNECT)
    websocket = connect(peer)
    await websocket.accept()
    assert peer.sent == [ACCEPTED]
    assert websocket.client_state is WebSocketState.CONNECTED
    assert websocket.application_state is WebSocketState.CONNECTED


async def test_accept_after_a_raw_receive_does_not_wait_again():
    peer = Peer(CONNECT)
    websocket = connect(peer)
    await websocket.receive()
    await websocket.accept()
    assert peer.sent == [ACCEPTED]


@pytest.mark.parametrize(
    "headers",
    [[(b"X-A", b"1"), (b"x-b", b"2")], [("X-A", "1"), ("x-b", "2")], {"X-A": "1", "x-b": "2"}],
    ids=["bytes", "text", "mapping"],
)
async def test_accept_sends_headers_with_lower_case_names(headers):
    """ASGI "Accept": header names must be lower-cased."""
    peer = Peer(CONNECT)
    await connect(peer, subprotocols=["chat"]).accept(subprotocol="chat", headers=headers)
    assert peer.sent == [
        {
            "type": "websocket.accept",
            "subprotocol": "chat",
            "headers": [(b"x-a", b"1"), (b"x-b", b"2")],
        }
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {"headers": [(b"x-a", b"1\r\nx-b: 2")]},
        {"headers": [(b"x a", b"1")]},
        {"subprotocol": "a\r\nb"},
        {"subprotocol": ""},
    ],
    ids=["header value", "header name", "subprotocol", "empty subprotocol"],
)
async def test_accept_refuses_what_may_not_stand_in_a_header(arguments):
    peer = Peer(CONNECT)
    with pytest.raises(ValueError):
        await connect(peer).accept(**arguments)
    assert peer.sent == []


async def test_a_wrong_subprotocol_is_named():
    with pytest.raises(ValueError, match=r"^The subprotocol 'a b' is not a token \(RFC 9110 s"):
        await connect(Peer(CONNECT)).accept("a b")


@pytest.mark.parametrize(
    ("offered", "words"),
    [
        ({}, "It offered none."),
        ({"subprotocols": []}, "It offered none."),
        ({"subprotocols": ["soap", "Chat"]}, "It offered 'soap', 'Chat'. Accept one of these"),
    ],
    ids=["no key", "none", "others"],
)
async def test_a_subprotocol_must_be_one_that_the_peer_offered(offered, words):
    """RFC 6455 s.4.1: the client must fail a connection with another one."""
    peer = Peer(CONNECT)
    websocket = connect(peer, **offered)
    with pytest.raises(ValueError, match=f"did not offer the subprotocol 'chat'.*{words}"):
        await websocket.accept("chat")
    with pytest.raises(ValueError, match="did not offer the subprotocol 'chat'"):
        await websocket.send({"type": "websocket.accept", "subprotocol": "chat"})
    assert peer.sent == []
    await websocket.close()
    assert [message["type"] for message in peer.sent] == ["websocket.close"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Sec-WebSocket-Protocol", r"Write accept\(subprotocol=...\)"),
        ("sec-websocket-extensions", "which the server writes"),
        ("Connection", "which the server writes"),
        ("Content-Length", "which the server writes"),
    ],
)
async def test_accept_refuses_headers_of_the_handshake_itself(name, words):
    """ASGI "Accept"; RFC 6455 s.4.2.2."""
    peer = Peer(CONNECT)
    with pytest.raises(ValueError, match=words):
        await connect(peer).accept(headers={name: "1"})
    assert peer.sent == []


async def test_accept_twice():
    websocket = await accepted(Peer())
    expected = (
        'Expected ASGI message "websocket.send" or "websocket.close", but got \'websocket.accept\'. '
        "The WebSocket is accepted already."
    )
    with pytest.raises(RuntimeError) as caught:
        await websocket.accept()
    assert str(caught.value) == expected


# The raw messages


async def test_the_first_message_must_be_connect():
    websocket = connect(Peer(text("x")))
    with pytest.raises(RuntimeError) as caught:
        await websocket.receive()
    expected = "Expected ASGI message \"websocket.connect\", but got 'websocket.receive'"
    assert str(caught.value) == expected


async def test_a_second_connect_is_out_of_place():
    websocket = await accepted(Peer(CONNECT))
    with pytest.raises(RuntimeError) as caught:
        await websocket.receive()
    assert str(caught.value) == (
        'Expected ASGI message "websocket.receive" or "websocket.disconnect", '
        "but got 'websocket.connect'"
    )


async def test_receive_after_a_disconnect():
    websocket = await accepted(Peer(disconnect()))
    assert (await websocket.receive())["code"] == 1001
    assert websocket.client_state is WebSocketState.DISCONNECTED
    message = 'Cannot call "receive" once a disconnect message has been received.'
    with pytest.raises(WebSocketDisconnected, match=message):
        await websocket.receive()


async def test_send_before_accept():
    websocket = connect(Peer(CONNECT))
    with pytest.raises(RuntimeError) as caught:
        await websocket.send_text("x")
    assert str(caught.value) == (
        'Expected ASGI message "websocket.accept", "websocket.close" or '
        "\"websocket.http.response.start\", but got 'websocket.send'. Call `await websocket.accept()` first."
    )


async def test_send_of_an_unknown_message():
    websocket = await accepted(Peer())
    with pytest.raises(RuntimeError, match="but got 'odd'"):
        await websocket.send({"type": "odd"})


@pytest.mark.parametrize("method", ["send_text", "send_bytes", "send_json"])
async def test_send_after_close(method):
    websocket = await accepted(Peer())
    await websocket.close()
    message = 'Cannot call "send" once a close message has been sent.'
    with pytest.raises(WebSocketDisconnected, match=message):
        await getattr(websocket, method)(b"" if method == "send_bytes" else "")


async def test_a_disconnect_may_be_received_after_close():
    websocket = await accepted(Peer(disconnect()))
    await websocket.close()
    assert (await websocket.receive())["type"] == "websocket.disconnect"


# close


async def test_close_before_accept_refuses_the_handshake():
    peer = Peer()
    websocket = connect(peer)
    await websocket.close()
    assert peer.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]
    assert websocket.application_state is WebSocketState.DISCONNECTED


async def test_close_sends_code_and_reason():
    peer = Peer()
    websocket = await accepted(peer)
    await websocket.close(3001, "enough")
    assert peer.sent == [{"type": "websocket.close", "code": 3001, "reason": "enough"}]


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1006, None), (1008, [{"loc": ["query"]}]), (1008, "x" * 124), (99999, b"")],
    ids=["code", "list", "long", "number"],
)
async def test_a_refusal_carries_no_code_and_no_reason_so_they_are_not_checked(code, reason):
    """ASGI "Close": before the handshake is complete, the server answers 403."""
    peer = Peer()
    websocket = connect(peer)
    await websocket.close(code, reason)
    assert [message["type"] for message in peer.sent] == ["websocket.close"]
    assert websocket.application_state is WebSocketState.DISCONNECTED


async def test_close_and_the_exception_agree_on_what_may_be_sent():
    for code in [0, *range(990, 1025), 1999, 2999, 3000, 4999, 5000, 65536]:
        try:
            WebSocketException(code)
        except ValueError:
            with pytest.raises(ValueError, match=f"{code} may not be sent"):
                await (await accepted(Peer())).close(code)
        else:
            await (await accepted(Peer())).close(code)


async def test_close_refuses_a_code_that_may_not_be_sent():
    peer = Peer()
    websocket = await accepted(peer)
    with pytest.raises(ValueError, match="Close code 1006 may not be sent"):
        await websocket.close(1006)
    assert peer.sent == []
    assert websocket.application_state is WebSocketState.CONNECTED


async def test_a_raw_close_is_checked_too():
    websocket = await accepted(Peer())
    with pytest.raises(ValueError, match="Close code 1005 may not be sent"):
        await websocket.send({"type": "websocket.close", "code": 1005})


async def test_a_reason_that_is_too_long_is_cut_with_a_warning_at_the_line():
    """RFC 6455 s.5.5. The close code still arrives."""
    raw = {"type": "websocket.close", "code": 3000, "reason": "é" * 62}
    for close in (
        lambda socket: socket.close(3000, raw["reason"]),
        lambda socket: socket.send(raw),
    ):
        peer = Peer()
        websocket = await accepted(peer)
        with pytest.warns(SpicaConfigurationWarning, match="123 bytes of UTF-8") as caught:
            await close(websocket)
        assert peer.sent == [{"type": "websocket.close", "code": 3000, "reason": "é" * 60 + "..."}]
        assert caught[0].filename == __file__
    assert raw["reason"] == "é" * 62


async def test_websocket_close_cuts_its_reason():
    peer = Peer()
    with pytest.warns(SpicaConfigurationWarning, match="123 bytes of UTF-8"):
        app = WebSocketClose(1008, "x" * 124)
    await app({"type": "websocket"}, peer.receive, peer.send)
    assert peer.sent == [{"type": "websocket.close", "code": 1008, "reason": "x" * 120 + "..."}]


async def test_a_raw_close_needs_no_code():
    peer = Peer()
    websocket = await accepted(peer)
    await websocket.send({"type": "websocket.close"})
    assert peer.sent == [{"type": "websocket.close"}]


async def test_websocket_close_is_an_app():
    peer = Peer()
    await WebSocketClose(1008, "no")({"type": "websocket"}, peer.receive, peer.send)
    assert peer.sent == [{"type": "websocket.close", "code": 1008, "reason": "no"}]


def test_websocket_close_is_checked_when_it_is_made():
    with pytest.raises(ValueError, match="Close code 1015 may not be sent"):
        WebSocketClose(1015)


# Receiving


@pytest.mark.parametrize(
    ("method", "message", "value"),
    [
        ("receive_text", text("hi"), "hi"),
        ("receive_text", text(""), ""),
        ("receive_text", {**text("hi"), "bytes": None}, "hi"),
        ("receive_bytes", binary(b"hi"), b"hi"),
        ("receive_bytes", binary(b""), b""),
        ("receive_json", text('{"a": [1]}'), {"a": [1]}),
    ],
)
async def test_receiving_data(method, message, value):
    websocket = await accepted(Peer(message))
    assert await getattr(websocket, method)() == value


async def test_json_may_come_in_binary_frames():
    websocket = await accepted(Peer(binary(b"[1]")))
    assert await websocket.receive_json(mode="binary") == [1]


@pytest.mark.parametrize("method", ["receive_text", "receive_bytes", "receive_json"])
async def test_receiving_before_accept(method):
    message = 'WebSocket is not connected. Need to call "accept" first.'
    with pytest.raises(WebSocketDisconnected, match=message):
        await getattr(connect(Peer(CONNECT)), method)()


async def test_receiving_data_after_close():
    websocket = await accepted(Peer(text("x")))
    await websocket.close()
    with pytest.raises(WebSocketDisconnected, match="WebSocket is not connected"):
        await websocket.receive_text()


@pytest.mark.parametrize("method", ["receive_text", "receive_bytes", "receive_json"])
async def test_receiving_when_the_peer_leaves(method):
    websocket = await accepted(Peer(disconnect(reason="bye")))
    with pytest.raises(WebSocketDisconnect) as caught:
        await getattr(websocket, method)()
    assert (caught.value.code, caught.value.reason) == (1001, "bye")
    assert websocket.client_state is WebSocketState.DISCONNECTED


async def test_a_disconnect_without_a_code_is_1005():
    """RFC 6455 s.7.1.5."""
    websocket = await accepted(Peer({"type": "websocket.disconnect"}))
    with pytest.raises(WebSocketDisconnect) as caught:
        await websocket.receive_text()
    assert (caught.value.code, caught.value.reason) == (1005, "")


async def test_receiving_data_after_the_peer_has_left():
    websocket = await accepted(Peer(disconnect()))
    await websocket.receive()
    with pytest.raises(WebSocketDisconnected, match='Cannot call "receive"'):
        await websocket.receive_text()


@pytest.mark.parametrize(
    ("method", "message", "words"),
    [
        ("receive_text", binary(b"x"), "Expected a text frame, received a binary frame."),
        ("receive_text", {**binary(b"x"), "text": None}, "Expected a text frame"),
        ("receive_bytes", text("x"), "Expected a binary frame, received a text frame."),
        ("receive_json", binary(b"{}"), "Expected a text frame"),
    ],
)
async def test_a_frame_of_the_other_kind(method, message, words):
    websocket = await accepted(Peer(message))
    with pytest.raises(UnexpectedFrame, match=words) as caught:
        await getattr(websocket, method)()
    assert caught.value.code == 1003
    assert websocket.client_state is WebSocketState.CONNECTED


async def test_a_message_of_another_type_is_the_servers_mistake():
    websocket = await accepted(Peer({"type": "odd"}))
    with pytest.raises(RuntimeError, match="but got 'odd'"):
        await websocket.receive_text()


@pytest.mark.parametrize(
    ("mode", "message"),
    [("text", text(each)) for each in [*REFUSED.values(), "\ud800"] if isinstance(each, str)]
    + [("binary", binary(as_bytes(each))) for each in REFUSED.values()],
    ids=lambda value: repr(value)[:50],
)
async def test_what_is_not_json(mode, message):
    websocket = await accepted(Peer(message))
    with pytest.raises(MalformedJSON) as caught:
        await websocket.receive_json(mode)
    assert caught.value.code == 1007
    assert isinstance(caught.value, json.JSONDecodeError)


async def test_iteration_ends_when_the_peer_leaves():
    websocket = await accepted(Peer(text("a"), text("b"), disconnect()))
    assert [data async for data in websocket.iter_text()] == ["a", "b"]


async def test_iteration_over_bytes_and_json():
    websocket = await accepted(Peer(binary(b"a"), disconnect()))
    assert [data async for data in websocket.iter_bytes()] == [b"a"]
    websocket = await accepted(Peer(text("[1]"), disconnect()))
    assert [data async for data in websocket.iter_json()] == [[1]]


async def test_iteration_raises_other_errors():
    websocket = await accepted(Peer(binary(b"a")))
    with pytest.raises(UnexpectedFrame):
        [data async for data in websocket.iter_text()]


# Sending


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("send_text", ("hi",), {"type": "websocket.send", "text": "hi"}),
        ("send_bytes", (b"hi",), {"type": "websocket.send", "bytes": b"hi"}),
        ("send_json", ({"é": [1]},), {"type": "websocket.send", "text": '{"é":[1]}'}),
        ("send_json", ([1], "binary"), {"type": "websocket.send", "bytes": b"[1]"}),
    ],
)
async def test_sending_data(method, arguments, message):
    peer = Peer()
    websocket = await accepted(peer)
    await getattr(websocket, method)(*arguments)
    assert peer.sent == [message]


async def test_send_text_refuses_bytes():
    websocket = await accepted(Peer())
    with pytest.raises(TypeError, match=r"send_text\(\) takes a str, not bytes"):
        await websocket.send_text(b"x")


async def test_send_bytes_refuses_text():
    websocket = await accepted(Peer())
    with pytest.raises(TypeError, match=r"send_bytes\(\) takes bytes, not str"):
        await websocket.send_bytes("x")


async def test_send_json_refuses_what_json_has_not():
    peer = Peer()
    websocket = await accepted(peer)
    with pytest.raises(ValueError):
        await websocket.send_json(float("nan"))
    assert peer.sent == []


@pytest.mark.parametrize("call", ["receive", "send"])
async def test_the_mode_of_json_is_text_or_binary(call):
    websocket = await accepted(Peer())
    with pytest.raises(RuntimeError, match='The "mode" argument should be "text" or "binary"'):
        await (websocket.send_json(1, "x") if call == "send" else websocket.receive_json("x"))


@pytest.mark.parametrize("method", ["send_text", "send_bytes", "close"])
async def test_a_broken_connection_is_a_disconnect(method):
    """ASGI "Disconnected client": send raises OSError."""
    peer = Peer()
    websocket = await accepted(peer)
    peer.breaks_on = "websocket.close" if method == "close" else "websocket.send"
    arguments = {"send_text": ("x",), "send_bytes": (b"x",), "close": ()}[method]
    with pytest.raises(WebSocketDisconnect) as caught:
        await getattr(websocket, method)(*arguments)
    assert caught.value.code == 1006
    assert isinstance(caught.value.__cause__, OSError)
    assert websocket.application_state is WebSocketState.DISCONNECTED
    with pytest.raises(WebSocketDisconnect, match="1006"):
        await websocket.send_text("x")


@pytest.mark.parametrize("when", ["at once", "at the close"])
async def test_an_exception_is_not_told_to_a_peer_that_has_left(when):
    """Found by scripts/soak: the close that tells it was an error in the log."""
    peer = Peer(CONNECT)
    peer.breaks_on = "websocket.send" if when == "at once" else "websocket.close"

    async def fail(websocket):
        await websocket.accept()
        with suppress(WebSocketDisconnect):
            await websocket.send_text("x")
        raise WebSocketException(1003, "not that")

    app = Spica(routes=[WebSocketRoute("/", fail)])
    await app(connect(peer).scope, peer.receive, peer.send)
    assert "websocket.close" not in [message["type"] for message in peer.sent]


async def test_a_connection_that_breaks_in_the_handshake():
    peer = Peer(CONNECT)
    peer.breaks_on = "websocket.accept"
    with pytest.raises(WebSocketDisconnect):
        await connect(peer).accept()


# Methods that were replaced


class Loud(WebSocket):
    """Changes every message in the raw methods."""

    async def receive(self):
        message = await super().receive()
        return {**message, "text": message["text"].upper()} if "text" in message else message

    async def send(self, message):
        await super().send(
            {**message, "text": message["text"] + "!"} if "text" in message else message
        )


async def test_all_goes_through_overridden_methods():
    peer = Peer(text("hi"), disconnect())
    websocket = await accepted(peer, Loud)
    await websocket.send_text(await websocket.receive_text())
    assert peer.sent == [{"type": "websocket.send", "text": "HI!"}]
    with pytest.raises(WebSocketDisconnect):
        await websocket.receive_text()


async def test_all_goes_through_methods_replaced_on_one_object():
    peer = Peer(CONNECT, text("hi"))
    websocket = connect(peer)
    other = connect(Peer(text("replaced")))
    websocket.receive = other._receive
    websocket.client_state = WebSocketState.CONNECTED
    await websocket.accept()
    assert await websocket.receive_text() == "replaced"


async def test_all_goes_through_methods_patched_on_the_class(monkeypatch):
    seen = []
    born = WebSocket.send

    async def send(self, message):
        seen.append(message["type"])
        await born(self, message)

    monkeypatch.setattr(WebSocket, "send", send)
    websocket = await accepted(Peer())
    await websocket.send_text("x")
    assert seen == ["websocket.accept", "websocket.send"]


async def test_the_servers_callables_may_be_replaced_at_any_time():
    websocket = await accepted(Peer())

    async def receive():
        return text("late")

    websocket._receive = receive
    assert await websocket.receive_text() == "late"


# Denial


async def test_a_denial_response():
    peer = Peer()
    websocket = connect(peer, extensions=DENIAL)
    await websocket.send_denial_response(PlainTextResponse("no", status_code=404))
    assert [message["type"] for message in peer.sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert peer.sent[0]["status"] == 404
    assert websocket.application_state is WebSocketState.DISCONNECTED


async def test_a_denial_in_parts():
    peer = Peer()
    websocket = connect(peer, extensions=DENIAL)
    body = {"type": "websocket.http.response.body", "body": b"x"}
    await websocket.send({"type": "websocket.http.response.start", "status": 403, "headers": []})
    await websocket.send({**body, "more_body": True})
    assert websocket.application_state is WebSocketState.RESPONSE
    await websocket.send(body)
    assert websocket.application_state is WebSocketState.DISCONNECTED


async def test_only_its_body_may_follow_a_denial():
    websocket = connect(Peer(), extensions=DENIAL)
    await websocket.send({"type": "websocket.http.response.start", "status": 403, "headers": []})
    with pytest.raises(RuntimeError) as caught:
        await websocket.close()
    assert str(caught.value) == (
        "Expected ASGI message \"websocket.http.response.body\", but got 'websocket.close'"
    )


@pytest.mark.parametrize("fields", [{}, {"extensions": None}, {"extensions": {}}])
async def test_a_denial_needs_the_servers_support(fields):
    websocket = connect(Peer(), **fields)
    message = "The server doesn't support the Websocket Denial Response extension"
    with pytest.raises(RuntimeError, match=message):
        await websocket.send_denial_response(PlainTextResponse("no"))


@pytest.mark.parametrize("method", ["receive_text", "receive_bytes", "receive_json", "iter_text"])
async def test_a_connection_that_broke_for_one_task_is_over_for_the_others(method):
    """One task sends while another receives. Found by scripts/soak: it was told to call "accept" first."""
    peer = Peer()
    websocket = await accepted(peer)
    peer.breaks_on = "websocket.send"
    for send in (websocket.send_text("a"), websocket.send_text("b"), websocket.close()):
        with pytest.raises(WebSocketDisconnect, match="1006"):
            await send
    if method == "iter_text":
        assert [text async for text in websocket.iter_text()] == []
    else:
        with pytest.raises(WebSocketDisconnect, match="1006"):
            await getattr(websocket, method)()


async def test_the_query_may_be_left_out():
    """ASGI "WebSocket Connection Scope": query_string is optional. Found by scripts/fuzz."""
    websocket = connect(Peer())
    del websocket.scope["query_string"]
    assert list(websocket.query_params) == []
    assert websocket.url.query == ""


@pytest.mark.parametrize(("extensions", "kind"), [(DENIAL, "http.response.start"), ({}, "close")])
async def test_an_http_exception_refuses_with_what_the_server_can_send(extensions, kind):
    """Found by scripts/fuzz: it was an error where the server has no denial responses."""
    peer = Peer(CONNECT)

    async def refuse(websocket):
        raise HTTPException(401, "Who are you?")

    app = Spica(routes=[WebSocketRoute("/", refuse)])
    await app(connect(peer, extensions=extensions).scope, peer.receive, peer.send)
    assert peer.sent[0]["type"] == f"websocket.{kind}"


async def test_a_denial_after_accept_is_out_of_place():
    peer = Peer(CONNECT)
    websocket = connect(peer, extensions=DENIAL)
    await websocket.accept()
    with pytest.raises(RuntimeError, match=r"but got 'websocket\.http\.response\.start'"):
        await websocket.send_denial_response(PlainTextResponse("no"))


# WebSocketDisconnect


def test_a_disconnect_has_defaults():
    error = WebSocketDisconnect()
    assert (error.code, error.reason, str(error)) == (1000, "", "1000")


def test_a_disconnect_says_code_and_reason():
    error = WebSocketDisconnect(1001, "bye")
    assert str(error) == "1001: bye"
    assert repr(error) == "WebSocketDisconnect(code=1001, reason='bye')"


@pytest.mark.parametrize(
    "error", [WebSocketDisconnect(1001, "bye"), WebSocketDisconnect(code=1001, reason="bye")]
)
def test_a_disconnect_pickles(error):
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.code, twin.reason) == (1001, "bye")
