"""What stands before the server's ``send``: a memory of the start, and the denial of a WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spica.types import Message, Send

DENIAL_TYPES = {
    "http.response.start": "websocket.http.response.start",
    "http.response.body": "websocket.http.response.body",
}
"""ASGI "WebSocket Denial Response" extension: an HTTP answer to a WebSocket handshake."""


class StartedSend:
    """Remember whether the response has started, after which an error can't be answered any more."""

    __slots__ = ("has_started", "send")

    def __init__(self, send: Send) -> None:
        self.send = send
        self.has_started = False

    async def __call__(self, message: Message) -> None:
        """Send ``message`` on."""
        if message["type"] == "http.response.start":
            self.has_started = True
        await self.send(message)


class DenialSend:
    """Send an HTTP response as the answer to a WebSocket handshake."""

    __slots__ = ("send",)

    def __init__(self, send: Send) -> None:
        self.send = send

    async def __call__(self, message: Message) -> None:
        """Send ``message`` under its name in the denial response extension, if it has one."""
        kind = DENIAL_TYPES.get(message["type"])
        await self.send(message if kind is None else {**message, "type": kind})
