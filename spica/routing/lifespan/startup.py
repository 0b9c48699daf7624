"""Tell the server when an application could not start, whichever layer failed.

A server takes an application that raises before it has answered ``lifespan.startup`` for one without a
lifespan, and serves it. An application of ours has one: it would be served half-built.

Standard: ASGI lifespan specification 2.0 ("Startup Failed").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spica.types import ASGIApp, Message, Receive, Scope, Send


class StartupGuard:
    """Run ``app`` for the lifespan; what it raises before it has answered is a failed startup."""

    __slots__ = ("_has_answered", "_receive", "_send", "_was_asked")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._was_asked = False
        self._has_answered = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run the app."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            if not self._has_answered:
                await self._tell()
            raise

    async def receive(self) -> Message:
        """Return the server's next message."""
        self._was_asked = True
        return await self._receive()

    async def send(self, message: Message) -> None:
        """Send ``message`` to the server."""
        self._has_answered = True
        await self._send(message)

    async def _tell(self) -> None:
        import traceback

        text = traceback.format_exc()
        if not self._was_asked:
            await self.receive()  # an answer comes after its question
        await self.send({"type": "lifespan.startup.failed", "message": text})
