"""Send a body: chunk by chunk, of the length that was announced, or none where none may be.

Standards: RFC 9110 s.6.4.1 (status codes without content), s.8.6 (Content-Length); ASGI HTTP specification
("Response Body").
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any

import anyio

from spica._asgi.body import ClientDisconnect
from spica._asgi.unread import close_unread
from spica.concurrency import close_iterator

if TYPE_CHECKING:
    from spica.types import Message, Scope, Send

Content = str | bytes | memoryview
"""What a body, or a chunk of one, may be given as."""

RawHeaders = list[tuple[bytes, bytes]]

WITHOUT_CONTENT = frozenset({*range(100, 200), 204, 304})
"""Status codes whose responses have no content (RFC 9110 s.6.4.1)."""

WITHOUT_BODY = WITHOUT_CONTENT | {205}
"""Status codes with which no body may be sent. That of a 205 is announced as empty (RFC 9110 s.15.3.6)."""

_CHUNKS_A_TURN = 128
"""After so many chunks the event loop gets a turn: seldom enough to cost next to nothing."""


async def send_chunks(chunks: AsyncIterable[Content], send: Send, charset: str) -> None:
    """Send each chunk as a body message, then the empty one that ends the body.

    The iterator is closed in every case, after the last message. An iterator that fails leaves the body
    without an end, so that the client can see that it is incomplete (RFC 9112 s.8).

    Raises:
        ClientDisconnect: ``send`` told that the client has left (ASGI spec version 2.4). An OSError of the
            iterator's own stays what it is.
    """
    left = _CHUNKS_A_TURN
    try:
        async for chunk in chunks:
            if type(chunk) is not bytes and not isinstance(chunk, (bytes, memoryview)):
                try:
                    chunk = chunk.encode(charset)
                except AttributeError:
                    raise TypeError(
                        "A chunk of a streamed body must be text or bytes, "
                        f"not {chunk!r:.80} of type {type(chunk).__name__}."
                    ) from None
            try:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except OSError as exc:
                raise ClientDisconnect from exc
            left -= 1
            if not left:
                left = _CHUNKS_A_TURN
                await _take_turn()
    except BaseException:
        # A generator that is only dropped is closed by the garbage collector, at an unknown time and
        # perhaps in no task (PEP 525).
        with anyio.CancelScope(shield=True):
            await close_iterator(chunks)
        raise
    try:
        await send_to_client(send, {"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        if type(chunks) is not AsyncGeneratorType:  # a generator that has ended is closed
            await close_unread(chunks)


async def send_start(start: Message, send: Send, chunks: AsyncIterable[Content]) -> None:
    """Send the start of a response whose body is ``chunks``, which are closed if that fails.

    Raises:
        ClientDisconnect: ``send`` told that the client has left (ASGI spec version 2.4).
    """
    try:
        await send_to_client(send, start)
    except BaseException:
        await close_unread(chunks)
        raise


async def _take_turn() -> None:
    """Let others run, those who hear that the client has left above all.

    Neither an iterator nor the ``send`` of a server whose client has left need ever wait; without a turn a
    long stream would run on for nobody, and the whole server stand still meanwhile.
    """
    import anyio.lowlevel  # here: only long streams come this far

    await anyio.lowlevel.checkpoint()


async def send_to_client(send: Send, message: Message) -> None:
    """Send ``message``; a ClientDisconnect where ``send`` tells that the client has left."""
    try:
        await send(message)
    except OSError as exc:
        raise ClientDisconnect from exc


async def send_without_body(
    send: Send, status_code: int, raw_headers: RawHeaders, unused: Any = None
) -> None:
    """Send a response whose status allows no body, whatever body there was; ``unused`` is closed."""
    # RFC 9110 s.8.6: no Content-Length with 1xx and 204; with 304 it may be left out.
    headers = [field for field in raw_headers if field[0] != b"content-length"]
    if status_code == 205:
        headers.append((b"content-length", b"0"))
    try:
        await send({"type": "http.response.start", "status": status_code, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        if unused is not None:
            await close_unread(unused)  # when the client has its answer


def size_of(body: bytes | memoryview) -> int:
    """Return the length of a body in bytes: a memoryview counts its items, which may be larger."""
    return len(body) if type(body) is bytes else memoryview(body).nbytes


def check_status(status_code: int) -> None:
    """Refuse what is no status code.

    Raises:
        TypeError: it is no int.
        ValueError: it does not have three digits (RFC 9112 s.4).
    """
    if not isinstance(status_code, int):
        raise TypeError(f"The status_code of a response must be an int, not {status_code!r:.80}.")
    if not 100 <= status_code <= 999:
        raise ValueError(
            f"The status_code of a response must have three digits (100 to 999), not {status_code}."
        )


def check_length(raw_headers: RawHeaders, size: int | None, place: str) -> None:
    """Refuse a Content-Length that is not the ``size`` of a body in memory; errors name ``place``.

    An empty body, and one whose size is not known yet, may be announced with any: it may be that of the
    answer to a HEAD (RFC 9110 s.8.6).

    Raises:
        ValueError: it announces another length.
    """
    for name, value in raw_headers:
        if size and name == b"content-length" and value != b"%d" % size:
            raise ValueError(
                f"{place} has the header Content-Length: {value.decode('latin-1')}, but its body has {size} "
                "bytes. Leave the header out: it is set from the body."
            )


def correct_length(response: Any, scope: Scope) -> None:
    """Make Content-Length that of a body that was put into ``response`` after its headers were made.

    A response without the header stays without it.

    Raises:
        TypeError: the body is not bytes.
    """
    body = response.body
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"{type(response).__name__}: body must be bytes, not {body!r:.80} of type "
            f"{type(body).__name__}. Write response.body = response.render(...)."
        )
    if not body and scope.get("method") == "HEAD":
        return  # RFC 9110 s.8.6: the length may be that of the answer to a GET
    length = b"%d" % memoryview(body).nbytes
    headers = response.raw_headers
    for index, (name, value) in enumerate(headers):
        if name == b"content-length" and value != length:
            headers[index] = (name, length)
    response._measured_body = body


def keep_length(send: Send, raw_headers: RawHeaders, scope: Scope) -> Send:
    """Return a ``send`` that holds the body to the Content-Length among ``raw_headers``, if there is one."""
    # RFC 9110 s.8.6: what a GET would get may be announced in the answer to a HEAD.
    if scope.get("method") != "HEAD":
        for name, value in raw_headers:
            if name == b"content-length" and value.isdigit():
                return _LengthSend(send, int(value))
    return send


class _LengthSend:
    """Refuse to send more or less of a body than was announced.

    The response is then left without an end, and the server breaks the connection off: a client must not take
    what it got for the whole (RFC 9112 s.8).
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
                    "announced. Leave the header out, or set it to the length of what is sent."
                )
            if self.left and not message.get("more_body", False):
                raise RuntimeError(
                    f"The body of a response is shorter than its Content-Length: {self.announced} bytes were "
                    f"announced, and {self.left} of them are missing."
                )
        await self.send(message)
