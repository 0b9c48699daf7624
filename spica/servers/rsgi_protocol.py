"""The objects that an RSGI server passes to an application, as far as the adapter uses them.

Standard: RSGI specification 1.6, sections "HTTP protocol" and "Websocket protocol".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any, Protocol

RSGIHeaders = list[tuple[str, str]]
"""Response headers. The server writes the strings as UTF-8."""

WS_CLOSED = 0
WS_BYTES = 1
WS_STRING = 2
"""The values of ``kind`` of a WebSocket message."""


class RequestHeaders(Protocol):
    """The headers of a request, names in lower case."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return the first value of a header."""

    def items(self) -> list[tuple[str, str]]:
        """Return all headers in order, repeated ones too."""
        ...


class RSGIScope(Protocol):
    """One connection."""

    proto: str
    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    authority: str | None
    headers: RequestHeaders


class StreamTransport(Protocol):
    """The rest of a response, in chunks. The response ends when the last reference is gone."""

    def send_bytes(self, data: bytes) -> Awaitable[None]:
        """Send a chunk, and wait while the client is slow."""
        ...


class HTTPProtocol(Protocol):
    """One HTTP exchange."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def client_disconnect(self) -> Awaitable[None]:
        """Wait until the client has left."""
        ...

    def response_empty(self, status: int, headers: RSGIHeaders) -> None:
        """Send a response without a body."""

    def response_bytes(self, status: int, headers: RSGIHeaders, body: bytes | memoryview) -> None:
        """Send a response."""

    def response_file(self, status: int, headers: RSGIHeaders, file: str) -> None:
        """Send a file as the body."""

    def response_stream(self, status: int, headers: RSGIHeaders) -> StreamTransport:
        """Start a response whose body follows in chunks."""
        ...


class WebSocketMessage(Protocol):
    """A message from the client. One of the kind ``WS_CLOSED`` has no ``data``."""

    kind: int
    data: Any


class WebSocketTransport(Protocol):
    """An accepted WebSocket."""

    def receive(self) -> Awaitable[WebSocketMessage]:
        """Return the next message."""
        ...

    def send_bytes(self, data: bytes) -> Awaitable[None]:
        """Send a binary message."""
        ...

    def send_str(self, data: str) -> Awaitable[None]:
        """Send a text message."""
        ...


class WebSocketProtocol(Protocol):
    """A WebSocket handshake, and the connection after it."""

    def accept(self) -> Awaitable[WebSocketTransport]:
        """Accept the handshake."""
        ...

    def close(self, status: int | None) -> Any:
        """Refuse the handshake with an HTTP status, or close the connection."""
