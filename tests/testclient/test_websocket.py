import json
import pickle
from typing import Any

import anyio
import pytest

from spica.testclient import WebSocketDenialResponse, WebSocketTestSession
from spica.testclient import exchange as exchange_module
from spica.testclient.interface import httpx
from spica.websockets import WebSocketDisconnect

ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}
DENIAL = {"type": "websocket.http.response.start", "status": 403, "headers": [(b"a", b"b")]}
RECEIVE = "receive"


def text(data: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": data}


def binary(data: bytes) -> dict[str, Any]:
    return {"type": "websocket.send", "bytes": data}


class Script:
    """An application that does what it is told, and notes what it receives."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.received: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == {"type": "websocket.connect"}
        for step in self.steps:
            if step is RECEIVE:
                self.received.append(await receive())
            elif isinstance(step, BaseException):
                raise step
            else:
                await send(step)


def disconnect(code: int = 1000, reason: str | None = None) -> dict[str, Any]:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


# The connection


def test_a_session_connects_and_leaves(make_client: Any) -> None:
    accept = {**ACCEPT, "subprotocol": "b", "headers": [(b"a", b"b")]}
    app = Script(accept, RECEIVE)
    with make_client(app).websocket_connect("/", ["a", "b"]) as session:
        assert isinstance(session, WebSocketTestSession)
        assert session.accepted_subprotocol == "b"
        assert session.extra_headers == [(b"a", b"b")]
        assert session.scope["subprotocols"] == ["a", "b"]
        assert session.portal.call(lambda: "in the loop") == "in the loop"
    assert app.received == [disconnect()]


def test_a_session_can_be_entered_again(make_client: Any) -> None:
    app = Script(ACCEPT, CLOSE)
    session = make_client(app).websocket_connect("/")
    for _ in range(2):
        with session, pytest.raises(WebSocketDisconnect):
            session.receive_text()


def test_a_session_that_is_not_entered_says_so(make_client: Any) -> None:
    session = make_client(Script(ACCEPT)).websocket_connect("/")
    with pytest.raises(RuntimeError, match="use it as a context manager"):
        session.send_text("a")
    with pytest.raises(RuntimeError, match="use it as a context manager"):
        session.receive()


@pytest.mark.parametrize(
    ("close", "code", "reason"),
    [(CLOSE, 1000, ""), ({**CLOSE, "code": 4000, "reason": "why"}, 4000, "why")],
)
def test_a_refusal_is_a_disconnect(make_client: Any, close: Any, code: int, reason: str) -> None:
    with pytest.raises(WebSocketDisconnect) as caught:
        with make_client(Script(close)).websocket_connect("/"):
            pass
    assert (caught.value.code, caught.value.reason) == (code, reason)


def test_a_denial_is_a_response_and_a_disconnect(make_client: Any) -> None:
    bodies = [
        {"type": "websocket.http.response.body", "body": b'{"a":', "more_body": True},
        {"type": "websocket.http.response.body", "body": b"1}"},
    ]
    with pytest.raises(WebSocketDenialResponse) as caught:
        with make_client(Script(DENIAL, *bodies)).websocket_connect("/"):
            pass
    denial = caught.value
    assert isinstance(denial, httpx.Response)
    assert isinstance(denial, WebSocketDisconnect)
    assert (denial.status_code, denial.json(), denial.headers["a"]) == (403, {"a": 1}, "b")
    assert (denial.code, denial.reason) == (1006, "")


def test_a_denial_survives_pickling() -> None:
    denial = pickle.loads(pickle.dumps(WebSocketDenialResponse(403, content=b"no")))
    assert (denial.status_code, denial.content, denial.code) == (403, b"no", 1006)


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        pytest.param([], AssertionError, "without an answer to the handshake", id="returns"),
        pytest.param([ValueError("x")], ValueError, "x", id="raises"),
        pytest.param([DENIAL], AssertionError, "Missing: 'websocket.http", id="half a denial"),
        pytest.param([DENIAL, ValueError("x")], ValueError, "x", id="raises in a denial"),
        pytest.param([text("a")], AssertionError, "before it accepted", id="breaks a rule"),
    ],
)
def test_a_failing_handshake_is_raised(
    make_client: Any, steps: list[Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        with make_client(Script(*steps)).websocket_connect("/"):
            pass


# Frames


def test_frames_of_both_kinds(make_client: Any) -> None:
    app = Script(ACCEPT, RECEIVE, RECEIVE, text("c"), binary(b"d"))
    with make_client(app).websocket_connect("/") as session:
        session.send_text("a")
        session.send_bytes(b"b")
        assert session.receive_text() == "c"
        assert session.receive_bytes() == b"d"
    assert app.received == [
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.receive", "bytes": b"b"},
    ]


def test_json_in_frames_of_both_kinds(make_client: Any) -> None:
    app = Script(ACCEPT, RECEIVE, RECEIVE, text('{"é":1}'), binary(b"[2]"))
    with make_client(app).websocket_connect("/") as session:
        session.send_json({"é": 1})
        session.send_json([2], mode="binary")
        assert session.receive_json() == {"é": 1}
        assert session.receive_json(mode="binary") == [2]
    assert app.received == [
        {"type": "websocket.receive", "text": '{"é":1}'},
        {"type": "websocket.receive", "bytes": b"[2]"},
    ]


def test_messages_pass_as_they_are(make_client: Any) -> None:
    app = Script(ACCEPT, RECEIVE, text("a"))
    with make_client(app).websocket_connect("/") as session:
        session.send({"type": "websocket.receive", "text": "x", "more": 1})
        assert session.receive() == text("a")
    assert app.received == [{"type": "websocket.receive", "text": "x", "more": 1}]


@pytest.mark.parametrize(
    ("sent", "method"), [(text("a"), "receive_bytes"), (binary(b"a"), "receive_text")]
)
def test_a_frame_of_the_other_kind_is_named(make_client: Any, sent: Any, method: str) -> None:
    with make_client(Script(ACCEPT, sent, RECEIVE)).websocket_connect("/") as session:
        with pytest.raises(AssertionError, match=r"The test waits for a frame of \w+, but"):
            getattr(session, method)()


def test_json_that_is_none_is_the_error_of_the_standard_library(make_client: Any) -> None:
    with make_client(Script(ACCEPT, text("{"), RECEIVE)).websocket_connect("/") as session:
        with pytest.raises(json.JSONDecodeError):
            session.receive_json()


@pytest.mark.parametrize(("method", "arguments"), [("send_json", [1]), ("receive_json", [])])
def test_a_mode_is_text_or_binary(make_client: Any, method: str, arguments: list[Any]) -> None:
    with make_client(Script(ACCEPT, RECEIVE)).websocket_connect("/") as session:
        with pytest.raises(RuntimeError, match=r'should be "text" or "binary", not \'other\''):
            getattr(session, method)(*arguments, mode="other")


# The end


def test_a_close_of_the_test_reaches_the_application(make_client: Any) -> None:
    app = Script(ACCEPT, RECEIVE)
    with make_client(app).websocket_connect("/") as session:
        session.close(3000, "bye")
    assert app.received == [disconnect(3000, "bye")]


def test_a_close_without_a_code_is_a_normal_one(make_client: Any) -> None:
    """RFC 6455 s.7.4.1."""
    app = Script(ACCEPT, RECEIVE)
    with make_client(app).websocket_connect("/") as session:
        session.close()
    assert app.received == [{"type": "websocket.disconnect", "code": 1000, "reason": None}]


def test_a_close_of_the_application_is_a_message_first(make_client: Any) -> None:
    close = {**CLOSE, "code": 4000, "reason": "bye"}
    with make_client(Script(ACCEPT, close)).websocket_connect("/") as session:
        assert session.receive() == close
        for method in (session.receive, session.receive_text, session.receive_bytes):
            with pytest.raises(WebSocketDisconnect) as caught:
                method()
            assert (caught.value.code, caught.value.reason) == (4000, "bye")


def test_who_closes_can_wait_for_the_peer(make_client: Any) -> None:
    app = Script(ACCEPT, {**CLOSE, "code": 4000}, RECEIVE)
    with make_client(app).websocket_connect("/") as session:
        with pytest.raises(WebSocketDisconnect):
            session.receive_text()
    assert app.received == [disconnect(4000)]


def test_waiting_for_an_application_that_has_returned_does_not_hang(make_client: Any) -> None:
    with make_client(Script(ACCEPT, text("a"))).websocket_connect("/") as session:
        assert session.receive_text() == "a"
        for _ in range(2):
            with pytest.raises(AssertionError, match="the application has returned"):
                session.receive_text()


@pytest.mark.parametrize("raise_server_exceptions", [True, False])
def test_a_failure_is_raised_where_the_test_waits(
    make_client: Any, raise_server_exceptions: bool
) -> None:
    app = Script(ACCEPT, text("a"), ValueError("x"))
    client = make_client(app, raise_server_exceptions=raise_server_exceptions)
    with client.websocket_connect("/") as session:
        assert session.receive_text() == "a"
        with pytest.raises(ValueError, match="x"):
            session.receive_text()


def test_a_failure_that_the_test_did_not_see_is_raised_on_leaving(make_client: Any) -> None:
    with pytest.raises(ValueError, match="x"):
        with make_client(Script(ACCEPT, RECEIVE, ValueError("x"))).websocket_connect("/"):
            pass


def test_the_error_of_the_test_is_not_lost(make_client: Any) -> None:
    app = Script(ACCEPT, RECEIVE)
    with pytest.raises(ZeroDivisionError):
        with make_client(app).websocket_connect("/"):
            raise ZeroDivisionError
    assert app.received == [disconnect()]


def test_an_application_may_clean_up_after_the_disconnect(make_client: Any) -> None:
    log = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await receive()
        await receive()
        await anyio.to_thread.run_sync(log.append, "clean")
        log.append("end")

    with make_client(app).websocket_connect("/"):
        pass
    assert log == ["clean", "end"]


def test_an_application_that_stays_is_cancelled(
    make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        try:
            await anyio.sleep_forever()
        finally:
            log.append("cancelled")

    monkeypatch.setattr(exchange_module, "UNNOTICED_SECONDS", 0.001)
    with make_client(app).websocket_connect("/"):
        pass
    assert log == ["cancelled"]
