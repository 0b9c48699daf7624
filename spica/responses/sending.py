"""Send a body: in chunks, with the announced length, or not at all where the status forbids it.

Standards: RFC 9110 s.6.4.1 (status codes without content), s.8.6 (Content-Length); ASGI HTTP specification
("Response Body").
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any

import anyio

from spica._asgi.body import ClientDisconnect
from spica._asgi.side_task import running_asyncio_loop
from spica._asgi.unread import close_unread
from spica.concurrency import close_iterator

if TYPE_CHECKING:
    from spica.types import Message, Scope, Send

Content = str | bytes | memoryview
"""The type of a body, or of one chunk of it."""

RawHeaders = list[tuple[bytes, bytes]]

WITHOUT_CONTENT = frozenset({*range(100, 200), 204, 304})
"""Status codes whose responses have no content (RFC 9110 s.6.4.1)."""

WITHOUT_BODY = WITHOUT_CONTENT | {205}
"""Status codes that allow no body. A 205 has an explicit length of 0 (RFC 9110 s.15.3.6)."""

_CHUNKS_A_TURN = 256
"""Chunks between two turns of the event loop: rare enough to cost almost nothing."""


async def send_chunks(chunks: AsyncIterable[Any], send: Send, charset: str) -> None:
    """Send each chunk as a body message, then the empty one that ends the body.

    The iterator is always closed, after the last message. If it fails, the body stays incomplete, so that
    the client can notice (RFC 9112 s.8).

    Raises:
        ClientDisconnect: ``send`` raised OSError because the client disconnected (ASGI spec version 2.4).
            An OSError of the iterator itself is raised unchanged.
    """
    left = _CHUNKS_A_TURN
    is_utf8 = charset == "utf-8"
    # An iterable may make an iterator of its own (``__aiter__`` as a generator), which must be closed too.
    iterator = chunks if type(chunks) is AsyncGeneratorType else aiter(chunks)
    try:
        async for chunk in iterator:
            # The usual cases are written out, to save a call for each chunk.
            if type(chunk) is str:
                # Without an argument, Python need not look up the codec.
                chunk = chunk.encode() if is_utf8 else chunk.encode(charset)
            elif type(chunk) is not bytes:
                chunk = _encode_chunk(chunk, charset)
            try:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except OSError as exc:
                raise ClientDisconnect from exc
            left -= 1
            if not left:
                left = _CHUNKS_A_TURN
                await _take_turn()
    except BaseException:
        # Otherwise the garbage collector would close a generator, at an unknown time and perhaps outside
        # of any task (PEP 525).
        with anyio.CancelScope(shield=True):
            try:
                await close_iterator(iterator)
            finally:
                if iterator is not chunks:
                    await close_iterator(chunks)
        raise
    try:
        await send_to_client(send, {"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        if type(chunks) is not AsyncGeneratorType:  # an exhausted generator is closed already
            await close_unread(chunks)


def _encode_chunk(chunk: Any, charset: str) -> bytes | memoryview:
    """Return a chunk of an unusual type as bytes."""
    if isinstance(chunk, (bytes, memoryview)):
        return chunk
    try:
        encoded: bytes = chunk.encode(charset)
    except AttributeError:
        raise TypeError(
            "A chunk of a streamed body must be str or bytes, "
            f"not {chunk!r:.80} of type {type(chunk).__name__}."
        ) from None
    return encoded


async def send_start(start: Message, send: Send, chunks: AsyncIterable[Content]) -> None:
    """Send the start of a response with the body ``chunks``, and close ``chunks`` if that fails.

    Raises:
        ClientDisconnect: ``send`` raised OSError because the client disconnected (ASGI spec version 2.4).
    """
    try:
        await send_to_client(send, start)
    except BaseException:
        await close_unread(chunks)
        raise


async def _take_turn() -> None:
    """Let other tasks run, above all the one that notices a disconnect.

    An iterator may never wait, and neither may the ``send`` of a server after a disconnect. Without this
    turn, a long stream would continue for a client that has left, and would block the whole server.
    """
    if running_asyncio_loop() is not None:
        await sys.modules["asyncio"].sleep(0)
        return
    import anyio.lowlevel  # imported late: only long streams on trio need it

    await anyio.lowlevel.checkpoint()


async def send_to_client(send: Send, message: Message) -> None:
    """Send ``message``. Raise ClientDisconnect if ``send`` reports a disconnect."""
    try:
        await send(message)
    except OSError as exc:
        raise ClientDisconnect from exc


async def send_without_body(
    send: Send, status_code: int, raw_headers: RawHeaders, unused: Any = None
) -> None:
    """Send a response whose status allows no body, and close ``unused``."""
    # RFC 9110 s.8.6: 1xx and 204 have no Content-Length, and 304 may omit it.
    headers = [field for field in raw_headers if field[0] != b"content-length"]
    if status_code == 205:
        headers.append((b"content-length", b"0"))
    try:
        await send({"type": "http.response.start", "status": status_code, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        if unused is not None:
            await close_unread(unused)  # after the client has its response


def size_of(body: bytes | memoryview) -> int:
    """Return the size of a body in bytes. The length of a memoryview counts items, which may be larger."""
    return len(body) if type(body) is bytes else memoryview(body).nbytes


def check_status(status_code: int) -> None:
    """Raise an error for an invalid status code.

    Raises:
        TypeError: It is not an int.
        ValueError: It does not have three digits (RFC 9112 s.4).
    """
    if not isinstance(status_code, int):
        raise TypeError(f"The status_code of a response must be an int, not {status_code!r:.80}.")
    if not 100 <= status_code <= 999:
        raise ValueError(
            f"The status_code of a response must have three digits (100 to 999), not {status_code}."
        )


def check_length(raw_headers: RawHeaders, size: int | None, owner: str) -> None:
    """Raise an error if Content-Length differs from the ``size`` of a body in memory.

    An empty body and a body of unknown size may have any Content-Length, since a response to HEAD gives the
    length of the response to GET (RFC 9110 s.8.6). ``owner`` begins the message.

    Raises:
        ValueError: The lengths differ.
    """
    for name, value in raw_headers:
        if size and name == b"content-length" and value != b"%d" % size:
            raise ValueError(
                f"{owner} has the header Content-Length: {value.decode('latin-1')}, but its body has {size} "
                "bytes. Leave the header out: it is set from the body."
            )


def correct_length(response: Any, scope: Scope) -> None:
    """Update Content-Length after the body of ``response`` was replaced.

    A response without the header stays without it.

    Raises:
        TypeError: The body is not bytes.
    """
    body = response.body
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"{type(response).__name__}: body must be bytes, not {body!r:.80} of type "
            f"{type(body).__name__}. Write response.body = response.render(...)."
        )
    if not body and scope.get("method") == "HEAD":
        return  # RFC 9110 s.8.6: the length may be that of the response to GET
    length = b"%d" % memoryview(body).nbytes
    headers = response.raw_headers
    for index, (name, value) in enumerate(headers):
        if name == b"content-length" and value != length:
            headers[index] = (name, length)
    response._measured_body = body


def keep_length(send: Send, raw_headers: RawHeaders, scope: Scope) -> Send:
    """Return a ``send`` that enforces Content-Length, if ``raw_headers`` contain it."""
    # RFC 9110 s.8.6: a response to HEAD may give the length of the response to GET.
    if scope.get("method") != "HEAD":
        for name, value in raw_headers:
            if name == b"content-length" and value.isdigit():
                return _LengthSend(send, int(value))
    return send


class _LengthSend:
    """Raise an error if the body does not have the announced length.

    The response then stays incomplete, and the server closes the connection, so that the client does not
    mistake the body for a complete one (RFC 9112 s.8).
    """

    __slots__ = ("announced", "left", "send")

    def __init__(self, send: Send, announced: int) -> None:
        self.send = send
        self.announced = announced
        self.left = announced

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            self.left -= size_of(body)
            if self.left < 0:
                raise RuntimeError(
                    f"The body of a response is longer than its Content-Length: {self.announced} bytes were "
                    "announced. Leave the header out, or set it to the length of the body."
                )
            if self.left and not message.get("more_body", False):
                raise RuntimeError(
                    f"The body of a response is shorter than its Content-Length: {self.announced} bytes were "
                    f"announced, and {self.left} of them are missing."
                )
        await self.send(message)
