"""What stands before the server's ``send``: a memory of the start, and the denial of a WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spica.exceptions import HTTPException

if TYPE_CHECKING:
    from spica.types import Message, Scope, Send

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
        if message["type"] != "http.response.start":
            await self.send(message)
            return
        self.has_started = True
        try:
            await self.send(message)
        except HTTPException:
            self.has_started = False  # a layer further out has refused it: nothing was sent
            raise


class DenialSend:
    """Send an HTTP response as the answer to a WebSocket handshake.

    Where the server does not offer that, the handshake is refused, and the response is dropped.
    """

    __slots__ = ("is_offered", "send")

    def __init__(self, send: Send, scope: Scope) -> None:
        self.send = send
        extensions = scope.get("extensions")
        if extensions is None:
            # ASGI: no extensions. But every server's scope has "asgi"; one without was made by hand.
            self.is_offered = "asgi" not in scope
        else:
            self.is_offered = "websocket.http.response" in extensions

    async def __call__(self, message: Message) -> None:
        """Send ``message`` under its name in the denial response extension, if it has one."""
        kind = DENIAL_TYPES.get(message["type"])
        if kind is None:
            await self.send(message)
        elif self.is_offered:
            await self.send({**message, "type": kind})
        elif message["type"] == "http.response.start":
            # RFC 6455 s.7.4.1: 1008, "violates its policy". No peer sees it: the server answers 403.
            await self.send({"type": "websocket.close", "code": 1008, "reason": ""})
