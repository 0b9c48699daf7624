"""A WebSocket connection, seen by the application as ASGI messages.

ASGI HTTP & WebSocket message format, "WebSocket"; ASGI extension "Websocket Denial Response".
"""

from collections import deque
from enum import Enum
from typing import Any

from spica._http.closecodes import check_close, describe_excess
from spica.testclient.exchange import Exchange, Flag
from spica.testclient.messages import (
    message_body,
    message_headers,
    message_status,
    message_text,
    message_type,
    misplaced,
)
from spica.types import Message

ACCEPT = "websocket.accept"
SEND = "websocket.send"
CLOSE = "websocket.close"
DENIAL_START = "websocket.http.response.start"
DENIAL_BODY = "websocket.http.response.body"


class WebSocketSide(Enum):
    """The state of the connection on the side of the application."""

    CONNECTING = "before it accepted the connection"
    OPEN = "on the open connection"
    DENYING = "while it was sending a denial response"
    CLOSED = "after it had closed the connection"


_ALLOWED = {
    WebSocketSide.CONNECTING: (ACCEPT, CLOSE, DENIAL_START),
    WebSocketSide.OPEN: (SEND, CLOSE),
    WebSocketSide.DENYING: (DENIAL_BODY,),
    WebSocketSide.CLOSED: (),
}


class WebSocketExchange(Exchange):
    """Run an application for one connection.

    The outbox contains the checked messages of the application, unchanged, and then `Signal.ENDED`.
    Neither side waits until the other receives a message.
    """

    def __init__(self, outbox: Any = None) -> None:
        super().__init__(outbox)
        self.side = WebSocketSide.CONNECTING
        self._inbox: deque[Message] = deque([{"type": "websocket.connect"}])
        self._is_disconnect_fed = False
        self._arrived = Flag()

    # -- the test --------------------------------------------------------------

    def feed(self, message: Message) -> None:
        """Queue a message for the application."""
        if message.get("type") == "websocket.disconnect":
            self._is_disconnect_fed = True
        self._inbox.append(message)
        self._arrived.set()

    def disconnect(self, code: int = 1000, reason: str | None = None) -> None:
        """Send the disconnect to the application, unless it has one already."""
        if not self._is_disconnect_fed:
            self.feed({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def leave(self) -> None:
        """Disconnect, and wait for the end of the application."""
        self.disconnect()
        await self.settle()

    # -- the application --------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next message. After the disconnect there is normally none."""
        while not self._inbox:
            if self._noticed.is_set():
                self._settled.set()
            self._arrived = Flag()
            await self._arrived.wait()
        message = self._inbox.popleft()
        if message.get("type") == "websocket.disconnect":
            self._noticed.set()
        return message

    async def send(self, message: Message) -> None:
        """Check a message and put it in the outbox."""
        kind = message_type(message)
        if kind not in _ALLOWED[self.side]:
            raise misplaced(kind, self.side.value, _ALLOWED[self.side])
        _CHECKS[kind](self, message)
        self.outbox.put(message)

    def _accept(self, message: Message) -> None:
        message_headers(message)
        message_text(message, "subprotocol")
        self.side = WebSocketSide.OPEN

    def _send_frame(self, message: Message) -> None:
        text, data = message.get("text"), message.get("bytes")
        # ASGI: one of the two must not be None
        fits = isinstance(text, str) if data is None else isinstance(data, bytes) and text is None
        if not fits:
            raise AssertionError(
                f"The application sent {message!r:.200}: "
                "'websocket.send' needs either a 'text' that is a str or 'bytes' that are bytes."
            )

    def _close(self, message: Message) -> None:
        if self.side is WebSocketSide.CONNECTING:
            # ASGI: the server answers 403 and never sends the code and the reason, so they are not
            # checked (FastAPI passes a list of errors). The peer reports 1006 (RFC 6455 s.7.1.5).
            self.side = WebSocketSide.CLOSED
            self.disconnect(1006)
            return
        code, reason = message.get("code", 1000), message.get("reason")
        try:
            check_close(code, reason)
            if excess := describe_excess(reason):
                raise ValueError(excess)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"The application sent {CLOSE!r}: {error}") from None
        self.side = WebSocketSide.CLOSED
        # RFC 6455 s.5.5.1: the peer answers with a close frame that usually has the same code
        self.disconnect(code, reason)

    def _start_denial(self, message: Message) -> None:
        message_status(message)
        message_headers(message)
        self.side = WebSocketSide.DENYING

    def _send_denial_body(self, message: Message) -> None:
        message_body(message)
        if not message.get("more_body", False):
            self.side = WebSocketSide.CLOSED
            # There was no connection, as after a refusal.
            self.disconnect(1006)

    def check_end(self) -> None:
        """Raise an AssertionError if the application returns before it has answered the handshake."""
        if self.side is WebSocketSide.CONNECTING and not self._is_disconnect_fed:
            raise AssertionError(
                "The application returned without an answer to the handshake: "
                "it sent neither 'websocket.accept' nor 'websocket.close'. "
                "Is `await websocket.accept()` missing?"
            )
        if self.side is WebSocketSide.DENYING:
            raise AssertionError(
                f"The application returned {self.side.value}. Missing: {DENIAL_BODY!r}."
            )


_CHECKS = {
    ACCEPT: WebSocketExchange._accept,
    SEND: WebSocketExchange._send_frame,
    CLOSE: WebSocketExchange._close,
    DENIAL_START: WebSocketExchange._start_denial,
    DENIAL_BODY: WebSocketExchange._send_denial_body,
}
