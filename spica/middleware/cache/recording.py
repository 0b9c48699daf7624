"""Keep a response that is not a value: one that is computed in the background, or sent as a stream."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import anyio

from spica._asgi.scope import CLEANUP, CSP_NONCE, PENDING_EDITS, RESPONSE_STARTED, SENT_BY_HAND
from spica.middleware.securityheaders import has_nonce

if TYPE_CHECKING:
    from spica.middleware.cache.entry import Entry
    from spica.middleware.cache.flights import Flight
    from spica.middleware.cache.rules import Terms
    from spica.responses.base import Response
    from spica.types import Message, Scope

_OF_REQUEST = (CLEANUP, CSP_NONCE, PENDING_EDITS, RESPONSE_STARTED, SENT_BY_HAND)
_CONDITIONS = (b"if-", b"range", b"cache-control")


def add_tag(start: Any, body: bytes) -> None:
    """Give a response without a validator a weak entity tag, so that clients can revalidate it."""
    if start.status_code != 200:
        return
    for name, _ in start.raw_headers:
        if name == b"etag" or name == b"last-modified":
            return
    digest = hashlib.blake2b(body, digest_size=16).hexdigest()
    start.raw_headers.append((b"etag", f'W/"{digest}"'.encode()))


def is_cut(start: Any, size: int) -> bool:
    """Return whether a body is shorter or longer than its Content-Length (RFC 9111 s.3.3)."""
    lengths = [value.strip() for name, value in start.raw_headers if name == b"content-length"]
    return any(not length.isdigit() or int(length) != size for length in lengths)


def copy_scope(scope: Scope) -> Scope:
    """Return the scope of a GET like this one, without its conditions and what belongs to one request."""
    copy = {key: value for key, value in scope.items() if key not in _OF_REQUEST}
    if CSP_NONCE in scope:
        copy[CSP_NONCE] = []
    headers = [pair for pair in scope["headers"] if not pair[0].startswith(_CONDITIONS)]
    copy.update(method="GET", headers=headers, extensions={})
    if "state" in copy:
        copy["state"] = copy["state"].copy()
    return copy


class Start:
    """Status and headers of a response, as they are stored."""

    __slots__ = ("raw_headers", "status_code")

    def __init__(self, status_code: int, raw_headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code = status_code
        self.raw_headers = raw_headers


class Recorder:
    """The ``send`` of a computation in the background, which keeps the response."""

    __slots__ = ("body", "is_complete", "is_too_large", "max_size", "raw_headers", "status_code")

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.status_code = 0
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.is_too_large = False
        self.is_complete = False

    async def __call__(self, message: Message) -> None:
        """Keep the message."""
        if message["type"] == "http.response.start":
            self.status_code = message["status"]
            self.raw_headers = [*message.get("headers", ())]
        elif message["type"] == "http.response.body":
            if not self.is_too_large:
                self.body += message.get("body", b"")
                self.is_too_large = len(self.body) > self.max_size
            self.is_complete = not message.get("more_body", False)

    @property
    def is_whole(self) -> bool:
        """Whether the response has come to its end, and is neither too large nor cut."""
        if not self.is_complete or self.is_too_large:
            return False
        return not is_cut(self, len(self.body))


class EmptyBody:
    """The ``receive`` of a request without a body, whose client stays."""

    __slots__ = ("is_read",)

    def __init__(self) -> None:
        self.is_read = False

    async def __call__(self) -> Message:
        """Return the empty body once, and then wait."""
        if self.is_read:
            await anyio.sleep_forever()
        self.is_read = True
        return {"type": "http.request", "body": b"", "more_body": False}


def is_personal(scope: Scope, session: Any) -> bool:
    """Return whether a response may have a nonce of its page, or values of the session of a layer outside.

    That layer adds ``Vary: Cookie`` later, so the cache does not see it.
    """
    return has_nonce(scope) or (session is not None and getattr(session, "accessed", True))


class Recording:
    """The body of a streamed response, which is stored after its last chunk."""

    __slots__ = (
        "_charset",
        "_chunks",
        "_flight",
        "_iterator",
        "_miss",
        "_size",
        "_start",
        "_terms",
    )

    def __init__(self, miss: Any, response: Response, terms: Terms, flight: Flight | None) -> None:
        self._miss = miss
        # The layers outside edit the response before its end.
        self._start = Start(response.status_code, [*response.raw_headers])
        self._charset = response.charset
        self._terms = terms
        self._flight = flight
        self._iterator = response.body_iterator
        self._chunks: list[bytes] | None = []
        self._size = 0

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        """Return the next chunk, and keep it."""
        try:
            chunk = await anext(self._iterator)
        except StopAsyncIteration:
            await self._store()
            raise
        except BaseException as error:
            if self._flight is not None:
                failure = 500 if isinstance(error, Exception) else 0
                await self._flight.finish(was_cut=not failure, failure=failure)
            raise
        if self._chunks is not None:
            data = chunk.encode(self._charset) if isinstance(chunk, str) else bytes(chunk)
            self._size += len(data)
            self._chunks.append(data)
            if self._size > self._miss.cache.max_body_size:
                self._chunks = None
                await self._finish(None)
        return chunk

    async def aclose(self) -> None:
        """End the flight of a body that is not sent to its end."""
        self._chunks = None
        if self._flight is not None:
            await self._flight.finish(was_cut=True)
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()

    async def _store(self) -> None:
        miss, chunks = self._miss, self._chunks
        self._chunks = None
        entry = None
        if (
            chunks is not None
            and not is_cut(self._start, self._size)
            and not is_personal(miss.request.scope, miss.session)
            and not miss.has_read_body
        ):
            entry = await miss.cache.write(
                miss.question, self._start, b"".join(chunks), self._terms, miss.before
            )
        await self._finish(entry)

    async def _finish(self, entry: Entry | None) -> None:
        if self._flight is not None:
            await self._flight.finish(entry)
