"""Tests of spica/websockets/handshake.py."""

import pytest

from spica.websockets import WebSocket, WebSocketState
from spica.websockets.handshake import HandshakeSend, past_handshake

pytestmark = pytest.mark.anyio


class Sent(list):
    """Keeps what is sent."""

    async def send(self, message):
        self.append(message["type"])


async def receive():
    return {"type": "websocket.connect"}


def connect(send):
    return WebSocket({"type": "websocket", "path": "/", "headers": []}, receive, send)


async def test_it_sends_on_and_remembers():
    sent = Sent()
    watching = HandshakeSend(sent.send)
    assert not watching.is_over
    await watching({"type": "websocket.close"})
    assert watching.is_over
    assert sent == ["websocket.close"]


async def test_an_accepted_websocket_goes_on_with_the_inner_send():
    sent = Sent()
    watching = HandshakeSend(HandshakeSend(sent.send))
    websocket = connect(watching)
    await websocket.accept()
    await websocket.send_text("x")
    assert watching.is_over
    assert websocket._send == sent.send
    assert sent == ["websocket.accept", "websocket.send"]


async def test_until_then_it_is_watched():
    watching = HandshakeSend(Sent().send)
    websocket = connect(watching)
    await websocket.close()
    assert websocket._send is watching
    assert watching.is_over


async def test_a_subclass_is_somebody_elses_and_stays():
    class Counting(HandshakeSend):
        """Wants to see every message."""

    counting = Counting(Sent().send)
    assert past_handshake(counting, connect(counting)) is counting


@pytest.mark.parametrize(
    ("messages", "state"),
    [
        ([], WebSocketState.CONNECTING),
        (["accept"], WebSocketState.CONNECTED),
        (["accept", "send"], WebSocketState.CONNECTED),
        (["accept", "close"], WebSocketState.DISCONNECTED),
        (["close"], WebSocketState.DISCONNECTED),
        (["http.response.start"], WebSocketState.RESPONSE),
        (["http.response.start", "http.response.body"], WebSocketState.DISCONNECTED),
    ],
)
async def test_it_knows_the_state_of_an_app_that_sends_by_hand(messages, state):
    watching = HandshakeSend(Sent().send)
    for kind in messages:
        await watching({"type": f"websocket.{kind}"})
    assert watching.find_state() is state


async def test_a_denial_of_several_chunks_is_not_over_after_the_first():
    watching = HandshakeSend(Sent().send)
    await watching({"type": "websocket.http.response.start"})
    await watching({"type": "websocket.http.response.body", "more_body": True})
    assert watching.find_state() is WebSocketState.RESPONSE


async def test_it_knows_the_state_of_a_websocket_that_has_skipped_it():
    watching = HandshakeSend(HandshakeSend(Sent().send))
    websocket = connect(watching)
    await websocket.accept()
    assert watching.find_state() is WebSocketState.CONNECTED
    await websocket.close()
    assert watching.find_state() is watching.send.find_state() is WebSocketState.DISCONNECTED
