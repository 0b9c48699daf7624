"""Faults of a connection, for tests of error handling.

An ASGI application sees a fault in the form that a server reports it: a disconnect message, an OSError from
`send` (ASGI HTTP message format, "Disconnected Client"), small chunks, or delays.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import anyio

from spica.testclient.interface import ASGI3App
from spica.types import Message, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of all connections that begin while they are set.

    Args:
        disconnect_after: bytes of content, of both directions together, after which the connection
            breaks.
        send_fails_after: the number of messages that `send` takes before it raises an OSError.
        receive_chunk_size: the largest piece of a request body that the application receives.
        delay_seconds: the delay of each message, in both directions.

    Raises:
        ValueError: a value is out of range.
    """

    disconnect_after: int | None = None
    send_fails_after: int | None = None
    receive_chunk_size: int | None = None
    delay_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise ValueError(
                    f"{name} must be None or an int of at least {least}, not {value!r}."
                )
        if not 0 <= self.delay_seconds < math.inf:
            raise ValueError(
                f"delay_seconds must be a finite number of at least 0, not {self.delay_seconds!r}."
            )


_LEAST = {"disconnect_after": 0, "send_fails_after": 0, "receive_chunk_size": 1}


class FaultyApp:
    """Run an application behind a faulty connection, for one exchange.

    Args:
        app: the application.
        faults: the faults.
        exchange: the exchange whose connection breaks.
    """

    def __init__(self, app: ASGI3App, faults: Faults, exchange: Any) -> None:
        self.app = app
        self.faults = faults
        self.exchange = exchange
        self._pieces: deque[Message] = deque()
        self._sent_messages = 0
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with the faults between it and the test."""
        self._receive, self._send = receive, send
        await self.app(scope, self.receive, self.send)

    async def receive(self) -> Message:
        """Return the next message, or a piece of it."""
        await self._delay()
        if not self._pieces:
            self._pieces.extend(self._split(await self._receive()))
        message = self._pieces.popleft()
        if self.exchange.is_disconnected and message["type"] in _CONTENT_TYPES:
            # The connection broke before all pieces of the body arrived.
            return await self._receive()
        passing, reason = self._cut(message)
        if reason is not None:
            self.exchange.break_off(reason)
        return await self._receive() if passing is None else passing

    def _split(self, message: Message) -> list[Message]:
        size = self.faults.receive_chunk_size
        body = message.get("body", b"")
        if size is None or message["type"] != "http.request" or len(body) <= size:
            return [message]
        starts = range(0, len(body), size)
        pieces: list[Message] = [
            {"type": "http.request", "body": body[start : start + size], "more_body": True}
            for start in starts
        ]
        pieces[-1]["more_body"] = message.get("more_body", False)
        return pieces

    async def send(self, message: Message) -> None:
        """Send a message through the connection.

        Raises:
            OSError: `send_fails_after` messages were sent.
        """
        await self._delay()
        limit = self.faults.send_fails_after
        if limit is not None and self._sent_messages >= limit:
            self.exchange.break_off(f"after {limit} messages (send_fails_after)")
            raise OSError("The client is disconnected, as client.faults() demands.")
        self._sent_messages += 1
        if self.exchange.is_disconnected:
            await self._send(message)
            return
        passing, reason = self._cut(message)
        if passing is not None:
            await self._send(passing)
        if reason is not None:
            self.exchange.break_off(reason)

    async def _delay(self) -> None:
        if self.faults.delay_seconds:
            await anyio.sleep(self.faults.delay_seconds)

    def _cut(self, message: Message) -> tuple[Message | None, str | None]:
        """Return the part of a message that arrives, and the reason if the connection then breaks."""
        limit = self.faults.disconnect_after
        key, content = _content_of(message)
        if limit is None or key is None:
            return message, None
        rest = limit - self._bytes
        self._bytes += len(content)
        is_last = key == "body" and not message.get("more_body", False)
        if len(content) < rest or (is_last and len(content) == rest):
            return message, None
        reason = f"after {limit} bytes (disconnect_after)"
        if key == "body":
            return {**message, "body": content[:rest], "more_body": True}, reason
        # A WebSocket frame arrives as a whole or not at all
        return message if len(content) == rest else None, reason


_CONTENT_TYPES = ("http.request", "websocket.receive")


def _content_of(message: Message) -> tuple[str | None, Any]:
    """Return the key and the value of the content of a message, if it has any."""
    for key in ("body", "bytes", "text"):
        if message.get(key) is not None:
            return key, message[key]
    return None, b""
