"""A tiny RSGI server in memory: scope and protocol objects like those of granian."""

import asyncio
from dataclasses import dataclass, field
from typing import Any


class ProtocolClosed(RuntimeError):
    """The client has left."""


class Headers:
    def __init__(self, fields: Any) -> None:
        self.fields = list(fields)

    def get(self, key: str, default: Any = None) -> Any:
        return next((value for name, value in self.fields if name == key), default)

    def items(self) -> list[tuple[str, str]]:
        return self.fields


@dataclass
class RSGIScope:
    method: str = "GET"
    path: str = "/"
    query_string: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    proto: str = "http"
    http_version: str = "1.1"
    rsgi_version: str = "1.6"
    server: str = "127.0.0.1:8000"
    client: str = "192.0.2.1:4000"
    scheme: str = "http"
    authority: str | None = None

    @property
    def headers(self) -> Headers:
        return Headers(self.fields)


@dataclass
class Transport:
    chunks: list[bytes]
    is_gone: bool = False

    async def send_bytes(self, data: bytes) -> None:
        if self.is_gone:
            raise ProtocolClosed
        self.chunks.append(bytes(data))


@dataclass
class HTTPProtocol:
    """Keep the response of one request: ``kind`` names the method that sent it."""

    chunks: tuple[bytes, ...] = ()
    kind: str | None = None
    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    file: str | None = None
    is_gone: bool = False

    def __post_init__(self) -> None:
        self.left = asyncio.Event()

    async def __aiter__(self) -> Any:
        for chunk in self.chunks:
            yield chunk

    async def client_disconnect(self) -> None:
        await self.left.wait()

    def _respond(self, kind: str, status: int, headers: Any) -> None:
        assert self.kind is None, "a second response"
        assert all(type(text) is str for pair in headers for text in pair)
        self.kind, self.status, self.headers = kind, status, headers

    def response_empty(self, status: int, headers: Any) -> None:
        self._respond("empty", status, headers)

    def response_bytes(self, status: int, headers: Any, body: bytes) -> None:
        self._respond("bytes", status, headers)
        self.sent.append(bytes(body))

    def response_file(self, status: int, headers: Any, file: str) -> None:
        self._respond("file", status, headers)
        self.file = file

    def response_stream(self, status: int, headers: Any) -> Transport:
        self._respond("stream", status, headers)
        return Transport(self.sent, self.is_gone)

    @property
    def body(self) -> bytes:
        return b"".join(self.sent)


@dataclass
class Message:
    kind: int
    data: Any = None


@dataclass
class WebSocketProtocol:
    """Give out ``messages``, and keep what the application did in ``done``; after them the client is gone."""

    messages: list[Message] = field(default_factory=list)
    done: list[Any] = field(default_factory=list)

    async def accept(self) -> "WebSocketProtocol":
        self.done.append("accept")
        return self

    def close(self, status: int | None) -> None:
        self.done.append(("close", status))

    async def receive(self) -> Message:
        if not self.messages:
            raise ProtocolClosed
        return self.messages.pop(0)

    async def send_bytes(self, data: bytes) -> None:
        self.done.append(data)

    async def send_str(self, data: str) -> None:
        self.done.append(data)
