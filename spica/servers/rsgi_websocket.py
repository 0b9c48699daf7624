"""One WebSocket over RSGI, as an ASGI ``receive`` and ``send``.

RSGI can't choose a subprotocol, add headers to the handshake, send a close code or a reason, or report those
of the client. Such a part of a message is dropped with one warning in the log.

Standards: ASGI WebSocket specification, RFC 6455 s.7.4; RSGI specification, "Websocket protocol interface".
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from spica.servers.rsgi_protocol import WS_BYTES, WS_CLOSED

if TYPE_CHECKING:
    from spica.servers.rsgi_protocol import WebSocketProtocol, WebSocketTransport
    from spica.types import Message

NO_CODE = 1005
"""The client closed, and RSGI does not tell the code (RFC 6455 s.7.4.1)."""

LOST = 1006
"""The connection ended without a close frame (RFC 6455 s.7.4.1)."""

_logger = logging.getLogger("spica.servers.rsgi")
_warned: set[str] = set()


class WebSocketExchange:
    """Translate the messages of one WebSocket."""

    __slots__ = ("_accepted", "_close_code", "_is_announced", "_protocol", "_transport")

    def __init__(self, protocol: WebSocketProtocol) -> None:
        self._protocol = protocol
        # The server sends the close frame when nothing holds the transport any more. So it is kept here
        # alone, in no local variable, which a traceback might keep.
        self._transport: WebSocketTransport | None = None
        self._accepted: asyncio.Future[None] | None = None  # for a receive before the accept
        self._is_announced = False  # websocket.connect was returned
        self._close_code: int | None = None  # of whoever closed first

    async def receive(self) -> Message:
        """Return the connect message, then the client's messages, then the disconnect."""
        if not self._is_announced:
            self._is_announced = True
            return {"type": "websocket.connect"}
        if self._transport is None and self._close_code is None:
            if self._accepted is None:
                self._accepted = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._accepted)
        if self._transport is None or self._close_code is not None:
            return self._disconnect(LOST)
        try:
            message = await self._transport.receive()
        except RuntimeError:  # RSGIProtocolClosed
            return self._disconnect(LOST)
        if message.kind == WS_CLOSED:
            return self._disconnect(NO_CODE)
        key = "bytes" if message.kind == WS_BYTES else "text"
        return {"type": "websocket.receive", key: message.data}

    def _disconnect(self, code: int) -> Message:
        if self._close_code is None:
            self._close_code = code
        return {"type": "websocket.disconnect", "code": self._close_code, "reason": ""}

    async def send(self, message: Message) -> None:
        """Pass a message to the server.

        Raises:
            OSError: the client has left (ASGI WebSocket specification 2.4).
            RuntimeError: the message does not follow the ones before, or RSGI has none of its type.
        """
        kind = message["type"]
        if kind == "websocket.send":
            await self._send_data(message)
        elif kind == "websocket.accept":
            await self._accept(message)
        elif kind == "websocket.close":
            self._close(message)
        else:
            raise RuntimeError(
                f"RSGI has no message of type {kind!r}. The scope's 'extensions' name those it has."
            )

    async def _accept(self, message: Message) -> None:
        if self._transport is not None or self._close_code is not None:
            raise RuntimeError(
                "The application sent 'websocket.accept' after its answer to the handshake."
            )
        if message.get("subprotocol"):
            _warn_once("a subprotocol")
        if message.get("headers"):
            _warn_once("headers of the handshake")
        try:
            self._transport = await self._protocol.accept()
        except RuntimeError as exc:
            self._close_code = LOST
            raise ConnectionResetError("The client has left.") from exc
        finally:
            self._wake()

    async def _send_data(self, message: Message) -> None:
        if self._close_code is not None:
            raise ConnectionResetError("The WebSocket is closed.")
        if self._transport is None:
            raise RuntimeError("The application sent 'websocket.send' before 'websocket.accept'.")
        data = message.get("bytes")
        try:
            if data is None:
                await self._transport.send_str(message["text"])
            else:
                await self._transport.send_bytes(data)
        except RuntimeError as exc:
            raise ConnectionResetError("The client has left.") from exc

    def _close(self, message: Message) -> None:
        if self._close_code is not None:
            return  # both sides closed at the same time
        code = message.get("code", 1000)
        self._close_code = code
        if self._transport is None:
            self._protocol.close(403)  # ASGI, "Close - send event": before the accept
            self._wake()
            return
        if code != 1000 or message.get("reason"):
            _warn_once("a close code or reason")
        self._protocol.close(code)
        self._transport = None

    def _wake(self) -> None:
        if self._accepted is not None and not self._accepted.done():
            self._accepted.set_result(None)

    def close_unfinished(self) -> None:
        """Close what the application has left open."""
        if self._close_code is None:
            self._close_code = LOST
            self._protocol.close(500 if self._transport is None else 1011)
            self._wake()
        self._transport = None


def _warn_once(what: str) -> None:
    if what not in _warned:
        _warned.add(what)
        _logger.warning(
            "The application sent %s, and RSGI can't transmit it. Serve this application over ASGI "
            "(granian --interface asgi) if clients depend on it.",
            what,
        )
