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
    """How far the application's side of the connection is."""

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

    The outbox holds the application's messages as they are, each of them checked, and after them
    `Signal.ENDED`. Neither side waits for the other to take a message.
    """

    def __init__(self, outbox: Any = None) -> None:
        super().__init__(outbox)
        self.side = WebSocketSide.CONNECTING
        self._inbox: deque[Message] = deque([{"type": "websocket.connect"}])
        self._is_disconnect_fed = False
        self._arrived = Flag()

    # What the test does

    def feed(self, message: Message) -> None:
        """Put a message where the application will receive it."""
        if message.get("type") == "websocket.disconnect":
            self._is_disconnect_fed = True
        self._inbox.append(message)
        self._arrived.set()

    def disconnect(self, code: int = 1000, reason: str | None = None) -> None:
        """Tell the application that the peer is gone, unless it was told before."""
        if not self._is_disconnect_fed:
            self.feed({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def leave(self) -> None:
        """Disconnect, and wait for the application's end."""
        self.disconnect()
        await self.settle()

    # What the application does

    async def receive(self) -> Message:
        """Give the next message; after the disconnect there is normally none."""
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
        # ASGI: at least one of both must not be None
        fits = isinstance(text, str) if data is None else isinstance(data, bytes) and text is None
        if not fits:
            raise AssertionError(
                f"The application sent {message!r:.200}: "
                "'websocket.send' needs either a 'text' that is a str or 'bytes' that are bytes."
            )

    def _close(self, message: Message) -> None:
        if self.side is WebSocketSide.CONNECTING:
            # ASGI: the server answers 403, so that code and reason are never sent, and are not
            # checked (FastAPI gives a list of errors). What a peer reports (RFC 6455 s.7.1.5) is
            # 1006.
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
            # As after a refusal: there never was a connection
            self.disconnect(1006)

    def check_end(self) -> None:
        """Refuse a return that leaves the handshake without a whole answer."""
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
