"""The server's side of a WebSocket, which a test scripts while the application runs."""

from collections import deque
from typing import Any

import anyio

from spica.websockets import WebSocket


class Peer:
    """A server that passes on what the test puts into it, and keeps what the application sends.

    Like granian, it loses the message for which a cancelled ``receive`` has waited.
    """

    def __init__(self, **fields: Any) -> None:
        self._messages: deque[Any] = deque([{"type": "websocket.connect"}])
        self._arrived: anyio.Event | None = None
        self.lost = 0
        self.error: Exception | None = None
        self.sent: list[Any] = []
        self.is_broken = False
        self.is_slow = False
        self.scope = {"type": "websocket", "path": "/", "headers": [], "extensions": {}, **fields}

    async def receive(self) -> Any:
        try:
            while len(self._messages) <= self.lost:
                if self.error is not None:
                    raise self.error
                self._arrived = anyio.Event()
                await self._arrived.wait()
        except BaseException:
            self.lost += 1
            raise
        while self.lost:
            self._messages.popleft()
            self.lost -= 1
        return self._messages.popleft()

    def _add(self, message: Any) -> None:
        self._messages.append(message)
        if self._arrived is not None:
            self._arrived.set()

    def fail(self, error: Exception) -> None:
        """Let ``receive`` raise an error."""
        self.error = error

    async def send(self, message: Any) -> None:
        if self.is_broken:
            raise OSError("connection reset")
        if self.is_slow and message["type"] == "websocket.send":
            await anyio.sleep_forever()
        self.sent.append(message)

    def put(self, *data: str | bytes) -> None:
        """Let the peer send messages."""
        for each in data:
            kind = "text" if isinstance(each, str) else "bytes"
            self._add({"type": "websocket.receive", kind: each})

    def leave(self, code: int = 1001) -> None:
        """Let the peer leave."""
        self._add({"type": "websocket.disconnect", "code": code})

    def connect(self) -> WebSocket:
        """Return the application's side."""
        return WebSocket(self.scope, self.receive, self.send)

    async def accepted(self) -> WebSocket:
        """Return the application's side of an accepted connection."""
        websocket = self.connect()
        await websocket.accept()
        self.sent.clear()
        return websocket

    @property
    def texts(self) -> list[str]:
        """The texts and binary messages that were sent."""
        messages = [each for each in self.sent if each["type"] == "websocket.send"]
        return [each.get("text", each.get("bytes")) for each in messages]

    @property
    def close(self) -> tuple[int, str] | None:
        """The code and the reason of the close message, if it was sent."""
        closes = [each for each in self.sent if each["type"] == "websocket.close"]
        return (closes[0]["code"], closes[0]["reason"]) if closes else None
