"""One HTTP request over RSGI, as an ASGI ``receive`` and ``send``.

The start of a response is held until its first body message. A body that is complete by then leaves in one
call, without a stream.

Standards: ASGI HTTP specification, extension "Path Send"; RSGI specification, "HTTP protocol interface".
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from spica.servers.rsgi_protocol import HTTPProtocol, RSGIHeaders, RSGIScope, StreamTransport
    from spica.types import Message, Send

PATHSEND = "http.response.pathsend"
CHUNK_SIZE = 64 * 1024
"""Bytes that are read at once of a file that the server can't open by its name."""


class HTTPExchange:
    """Translate the messages of one request.

    ``is_complete`` tells whether the whole response was passed to the server.
    """

    # Defaults on the class: most requests change few of them, and have no body.
    _chunks: AsyncIterator[bytes] | None = None
    _has_left = False
    """Whether the application was told that the client has left."""
    _is_body_over = False
    _left: int | None = None
    """Bytes of the body that the client has announced and not sent."""
    _over: asyncio.Future[None] | None = None
    """Done when the response is complete, for a ``receive`` that waits."""
    _start: Message | None = None
    _transport: StreamTransport | None = None
    """The server ends the response when nothing holds this any more. So it is kept here alone, in no local
    variable, which a traceback might keep."""

    def __init__(self, scope: RSGIScope, protocol: HTTPProtocol) -> None:
        self.is_complete = False  # not on the class: each response changes it
        self._scope = scope
        self._protocol = protocol

    # -- the request -----------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next part of the body; after its end, wait until the client leaves."""
        if not self._is_body_over:
            if self._chunks is None and not self._begin_body():
                self._is_body_over = True
                return {"type": "http.request", "body": b"", "more_body": False}
            return await self._receive_chunk()
        if not self.is_complete:
            await self._wait_for_end()
        return self._disconnect()

    def _disconnect(self) -> Message:
        self._has_left = True
        return {"type": "http.disconnect"}

    def _begin_body(self) -> bool:
        """Start to read the body; return whether there is one."""
        headers = self._scope.headers
        length: str | None = headers.get("content-length")
        if length is not None and length.isdecimal():
            self._left = int(length)
            if not self._left:
                return False
        elif headers.get("transfer-encoding") is None and self._scope.http_version[:1] == "1":
            return False  # RFC 9112 s.6.3: a request without either has no body
        self._chunks = aiter(self._protocol)  # the whole body at once would have no limit
        return True

    async def _receive_chunk(self) -> Message:
        assert self._chunks is not None
        try:
            chunk = await anext(self._chunks)
            while not chunk and self._chunks is not None:
                chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self._is_body_over = True
            if self._left:  # the client left in the middle
                return self._disconnect()
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._chunks is None:  # the response was completed meanwhile
            return self._disconnect()
        if self._left is not None:
            self._left -= len(chunk)
            self._is_body_over = self._left <= 0
        return {"type": "http.request", "body": chunk, "more_body": not self._is_body_over}

    async def _wait_for_end(self) -> None:
        """Wait until the client leaves or the response is complete, whichever comes first."""
        if self._over is None:
            self._over = asyncio.get_running_loop().create_future()
        left = asyncio.ensure_future(self._protocol.client_disconnect())
        try:
            await asyncio.wait((left, self._over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()

    # -- the response ----------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Pass a message to the server.

        Raises:
            OSError: the client has left (ASGI HTTP specification 2.4).
            RuntimeError: the message does not follow the ones before, or is of an extension that RSGI does
                not have.
        """
        kind = message["type"]
        if kind == "http.response.start":
            if self._start is not None:
                raise RuntimeError("The application started a second response to one request.")
            self._start = message
        elif kind == "http.response.body":
            if self._transport is None and not message.get("more_body", False):
                self._send_whole(message.get("body", b""))
            else:
                await self._send_chunk(message)
        elif kind == PATHSEND:
            await self._send_path(message["path"])
        else:
            raise RuntimeError(
                f"RSGI has no message of type {kind!r}. The scope's 'extensions' name those it has."
            )

    def _send_whole(self, body: bytes) -> None:
        status, headers = self._take_start("http.response.body")
        self._respond(status, headers, body)

    def send_response(self, status: int, headers: Any, body: bytes | memoryview) -> None:
        """Send a whole response at once; ``headers`` are those of ASGI.

        Raises:
            RuntimeError: the application has started a response.
        """
        if self._start is not None:
            raise RuntimeError("The application started a second response to one request.")
        self._respond(status, decode_headers(headers), body)

    def _respond(self, status: int, headers: RSGIHeaders, body: bytes | memoryview) -> None:
        if self._over is not None or self._chunks is not None:
            self._release()
        self.is_complete = True
        if body:
            self._protocol.response_bytes(status, headers, body)
        else:
            self._protocol.response_empty(status, headers)

    def _take_start(self, kind: str) -> tuple[int, RSGIHeaders]:
        start = self._start
        if start is None:
            raise RuntimeError(f"The application sent {kind!r} before 'http.response.start'.")
        if self.is_complete:
            raise RuntimeError(f"The application sent {kind!r} after the end of its response.")
        return start["status"], decode_headers(start.get("headers", ()))

    async def _send_chunk(self, message: Message) -> None:
        if self._transport is None:
            self._transport = self._protocol.response_stream(*self._take_start(message["type"]))
        if self.is_complete:
            raise RuntimeError("The application sent a body message after the end of its response.")
        body = message.get("body", b"")
        if body:
            try:
                await self._transport.send_bytes(body)
            except RuntimeError as exc:  # RSGIProtocolClosed
                self._has_left = True
                raise ConnectionResetError("The client has left.") from exc
        if not message.get("more_body", False):
            self._finish()

    async def _send_path(self, path: str) -> None:
        status, headers = self._take_start(PATHSEND)
        try:
            path.encode()
        except UnicodeEncodeError:  # a name that is not UTF-8; RSGI passes it as such
            self._transport = self._protocol.response_stream(status, headers)
            await stream_file(path, self.send)
            return
        self._finish()
        self._protocol.response_file(status, headers, path)

    def _finish(self) -> None:
        self.is_complete = True
        self._release()

    def _release(self) -> None:
        # The server keeps the connection of an unread body open while anything holds the iterator.
        self._chunks = None
        self._is_body_over = True
        if self._transport is not None:
            self._transport = _ENDED
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def note_return(self) -> None:
        """End what the application has left open."""
        self._release()

    def check_complete(self) -> None:
        """Refuse an application that returned before the end of its response, and had no reason to.

        Raises:
            RuntimeError: it did, and the client is there. The server answers 500 if nothing was sent.
        """
        if not self.is_complete and not self._has_left:
            what = "without a response" if self._start is None else "before the end of its response"
            raise RuntimeError(f"The application returned {what}.")


class HeadExchange(HTTPExchange):
    """Translate the messages of a HEAD request, and drop the body of its response (RFC 9110 s.9.3.2).

    Over HTTP/2, the server would send the body, and the client would take it for an error of the protocol.
    """

    def _respond(self, status: int, headers: RSGIHeaders, body: bytes | memoryview) -> None:
        super()._respond(status, headers, b"")

    async def _send_chunk(self, message: Message) -> None:
        await super()._send_chunk({**message, "body": b""})

    async def _send_path(self, path: str) -> None:
        self._send_whole(b"")


class _Ended:
    """Take the place of a transport that was let go."""

    async def send_bytes(self, data: bytes) -> None:
        raise RuntimeError("The response is over.")


_ENDED: Any = _Ended()


def decode_headers(headers: Any) -> RSGIHeaders:
    """Return ASGI headers as strings that the server writes as the same bytes, where it can.

    It writes UTF-8. A value in another encoding arrives as the UTF-8 of its latin-1 characters.
    """
    try:
        return [(name.decode(), value.decode()) for name, value in headers]
    except UnicodeDecodeError:
        return [(name.decode("latin-1"), _decode_value(value)) for name, value in headers]


def _decode_value(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def stream_file(path: str, send: Send) -> None:
    """Send the file at ``path`` as body messages, read in worker threads."""
    import anyio  # here: the server opens nearly every file itself

    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(CHUNK_SIZE):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
