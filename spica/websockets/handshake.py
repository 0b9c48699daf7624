"""Watch the handshake of a WebSocket through its ``send``.

The exception layer of every application uses this, so the module imports little.

Standard: ASGI WebSocket specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from spica.websockets.state import WebSocketState

if TYPE_CHECKING:
    from spica.types import Message, Send


class HandshakeSend:
    """Remember the state of a handshake: no HTTP response can follow it, and nothing can follow a close.

    Once a connection is accepted, its `WebSocket` calls the wrapped `send` directly, so frames cost nothing
    extra. The `WebSocket` knows the state from then on.
    """

    __slots__ = ("is_over", "send", "state", "websocket")

    def __init__(self, send: Send) -> None:
        self.send = send
        self.is_over = False
        self.state = WebSocketState.CONNECTING
        self.websocket: HasState | None = None
        """The connection that has skipped this object since it was accepted."""

    async def __call__(self, message: Message) -> None:
        """Send `message`."""
        self.is_over = True
        kind = message["type"]
        if kind in _STATES:
            self.state = _STATES[kind]
            if kind == "websocket.http.response.body" and message.get("more_body", False):
                self.state = WebSocketState.RESPONSE
        await self.send(message)

    def find_state(self) -> WebSocketState:
        """Return the state of the application's side."""
        if self.websocket is None or self.state is WebSocketState.DISCONNECTED:
            return self.state
        return self.websocket.application_state


_STATES = {
    "websocket.accept": WebSocketState.CONNECTED,
    "websocket.close": WebSocketState.DISCONNECTED,
    "websocket.http.response.start": WebSocketState.RESPONSE,
    "websocket.http.response.body": WebSocketState.DISCONNECTED,
}
"""The state of the application's side after each message (ASGI "WebSocket")."""


class HasState(Protocol):
    """A `WebSocket`."""

    application_state: WebSocketState


def past_handshake(send: Send, websocket: HasState) -> Send:
    """Return the `send` to use once the handshake of `websocket` is over."""
    while type(send) is HandshakeSend:
        send.websocket = websocket  # pyright: ignore[reportFunctionMemberAccess]
        send = send.send  # pyright: ignore[reportFunctionMemberAccess]
    return send
