"""Compress responses with gzip, for clients that accept it.

An answer in memory is compressed as a value, a stream chunk by chunk as it is iterated over, and an app
that is only known by running it through ``send``. ``_gzip_rules`` decides for all three.

Standards: RFC 9110 s.8.4.1.3, RFC 1952 (gzip); ASGI extensions "Path Send" and "Zero Copy Send".
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from spica._asgi.order import COMPRESSES
from spica._layers.responder import Responder
from spica.concurrency import ThreadLimiter, close_iterator
from spica.middleware._gzip_rules import (
    DEFAULT_EXCLUDED_CONTENT_TYPES,
    IDENTITY,
    EncodableTypes,
    RawHeaders,
    accepts_gzip,
    check_settings,
    declared_size,
    encode_fields,
    normalize_types,
    vary_fields,
)
from spica.responses.base import Response
from spica.responses.chunks import size_of
from spica.responses.streaming import StreamingResponse, is_plain_value

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "DEFAULT_EXCLUDED_CONTENT_TYPES",
    "GZipMiddleware",
    "GZipResponder",
    "IdentityResponder",
    "gzip_threads",
]

gzip_threads = ThreadLimiter("gzip", 40, max_wait_seconds=30)
"""The threads that compress what is large: at most 40, never behind code of the user."""

_GZIP_WINDOW = 31  # zlib: a window of 32 KiB, and the header and trailer of gzip
_DEFAULT_THREAD_SIZE = 128 * 1024

# Bodies that the server takes from somewhere else.
_FOREIGN_BODIES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})


class GZipMiddleware(Responder):
    """Compress responses of at least ``minimum_size`` bytes, and all that stream, with gzip.

    ``compresslevel`` is that of zlib: 1 is fastest, 9, the default, smallest. Bodies and chunks of at
    least ``thread_minimum_size`` bytes are compressed in a worker thread. Media types among
    ``exclude_content_types`` (``type/*`` stands for all of a type) are sent as they are, and so are
    partial content, responses that have a Content-Encoding, and files the server sends by their path.

    Each chunk of a stream is flushed, so that the client sees it at once. A strong ETag becomes weak.
    Vary names Accept-Encoding on all that may be compressed, whatever this client accepts.

    Raises:
        TypeError: a size is not an int, or ``exclude_content_types`` is a single string.
        ValueError: a size is negative, or ``compresslevel`` is none of zlib.
    """

    middleware_traits = (COMPRESSES,)

    def __init__(
        self,
        app: ASGIApp,
        minimum_size: int = 500,
        compresslevel: int = 9,
        thread_minimum_size: int = _DEFAULT_THREAD_SIZE,
        *,
        exclude_content_types: Sequence[str] = DEFAULT_EXCLUDED_CONTENT_TYPES,
    ) -> None:
        check_settings(
            type(self).__name__,
            exclude_content_types,
            compresslevel,
            minimum_size=minimum_size,
            thread_minimum_size=thread_minimum_size,
        )
        self._identity = IdentityResponder(
            app, minimum_size, exclude_content_types=exclude_content_types
        )
        self._gzip = GZipResponder(
            app,
            minimum_size,
            compresslevel,
            thread_minimum_size=thread_minimum_size,
            exclude_content_types=exclude_content_types,
        )
        self.app = app
        self.minimum_size = minimum_size
        self.compresslevel = compresslevel
        self.thread_minimum_size = thread_minimum_size
        self.exclude_content_types = self._gzip.exclude_content_types

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer, compressed if it is worth while and the client accepts it."""
        answer = await self._layer_ask(request)
        scope = request.scope
        if not isinstance(answer, Response) or not is_plain_value(answer):
            # What is no answer at all is named by whoever would send it.
            return self._responder(scope)._around(answer) if callable(answer) else answer
        in_memory = answer._replaced_body is None and not isinstance(answer, StreamingResponse)
        is_head = scope.get("method") == "HEAD"
        if in_memory and size_of(answer.body) < self.minimum_size and (answer.body or not is_head):
            return answer
        if not self._gzip._types.allow(answer.status_code, answer.raw_headers):
            return answer
        if in_memory:
            return await self._responder(scope)._encode_in_memory(answer, is_head)
        return self._responder(scope)._encode_stream(answer)

    def _responder(self, scope: Scope) -> IdentityResponder:
        return self._gzip if accepts_gzip(scope["headers"]) else self._identity


class _Phase(enum.Enum):
    """How far a response is that passes by messages."""

    BEFORE_START = enum.auto()
    HOLDING_START = enum.auto()  # until the first chunk tells whether it is to be encoded
    ENCODING = enum.auto()
    PASSING = enum.auto()


# Members as module globals: an attribute of an Enum class costs more than what is done here.
_BEFORE_START, _HOLDING_START, _ENCODING, _PASSING = _Phase


class IdentityResponder:
    """Run an app and leave its bodies as they are, but name Accept-Encoding in Vary.

    It is what a client gets that does not accept gzip, and the base of what encodes: a subclass sets
    ``content_encoding`` and overrides ``apply_compression``, and may keep what it needs as attributes,
    since each run has an object of its own.

    Raises:
        TypeError: ``minimum_size`` is not an int, or ``exclude_content_types`` is a single string.
        ValueError: ``minimum_size`` is negative.
    """

    content_encoding = IDENTITY

    _phase = _BEFORE_START
    _is_head = False
    _start: Message  # held while the phase is _HOLDING_START

    def __init__(
        self,
        app: ASGIApp,
        minimum_size: int,
        *,
        exclude_content_types: Sequence[str] = DEFAULT_EXCLUDED_CONTENT_TYPES,
    ) -> None:
        check_settings(type(self).__name__, exclude_content_types, minimum_size=minimum_size)
        self.app = app
        self.minimum_size = minimum_size
        self.exclude_content_types = normalize_types(exclude_content_types)
        self._types = EncodableTypes(self.exclude_content_types)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app with a ``send`` that encodes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        run = self._around(self.app)
        run.send = send
        run._is_head = scope.get("method") == "HEAD"
        await run.app(scope, receive, run.send_with_compression)
        if run._phase is _HOLDING_START:
            await run._pass_start()  # without a body: the server shall see it

    async def apply_compression(self, body: bytes, *, more_body: bool) -> bytes:
        """Return ``body``, one chunk or the last one, encoded, with nothing held back."""
        return body

    def _around(self, app: ASGIApp) -> Self:
        """Return a fresh copy of this responder, for one response of ``app``."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.app = app
        return twin

    # -- what becomes of a response --------------------------------------------------------------------

    async def _encode_whole(
        self, raw_headers: RawHeaders, body: bytes, is_head: bool
    ) -> tuple[RawHeaders, bytes]:
        """Return the fields and the body to be sent for a body that is all there."""
        # RFC 9110 s.9.3.2: the fields of an answer to HEAD are those that GET would get.
        is_bodiless = is_head and not body
        size = declared_size(raw_headers) if is_bodiless else len(body)
        if size < self.minimum_size:
            return raw_headers, body
        if is_bodiless:
            return self._stream_fields(raw_headers), body
        if self.content_encoding == IDENTITY or not body:
            return vary_fields(raw_headers), body
        encoded = await self.apply_compression(body, more_body=False)
        return encode_fields(raw_headers, self.content_encoding, len(encoded)), encoded

    def _stream_fields(self, raw_headers: RawHeaders) -> RawHeaders:
        """Return the fields to be sent where the length of the body is not known."""
        if self.content_encoding == IDENTITY:
            return vary_fields(raw_headers)
        return encode_fields(raw_headers, self.content_encoding, None)

    # -- by value --------------------------------------------------------------------------------------

    async def _encode_in_memory(self, response: Response, is_head: bool) -> Response:
        raw_headers, body = response.raw_headers, _as_bytes(response.body)
        run = self if self.content_encoding == IDENTITY else self._around(response)
        fields, encoded = await run._encode_whole(raw_headers, body, is_head)
        if fields is raw_headers:
            return response
        response = response._copy()
        response.raw_headers = fields
        if encoded is not body:
            response.body = encoded
        return response

    def _encode_stream(self, response: Response) -> Response:
        response = response._copy()
        response.raw_headers = self._stream_fields(response.raw_headers)
        if self.content_encoding != IDENTITY:
            chunks, encoder = response.body_iterator, self._around(self.app)
            response.body_iterator = _EncodedChunks(chunks, response.charset, encoder)
        return response

    # -- by messages -----------------------------------------------------------------------------------

    send: Send

    async def send_with_compression(self, message: Message) -> None:
        """Send ``message`` of the app, encoded if it is part of what is to be encoded.

        Raises:
            RuntimeError: a file was to be sent by the server after chunks that were encoded.
        """
        kind = message["type"]
        if kind == "http.response.start":
            await self._begin(message)
        elif kind == "http.response.body" and self._phase is _HOLDING_START:
            await self._send_first(message)
        elif kind == "http.response.body" and self._phase is _ENCODING:
            await self._send_next(message)
        else:
            if kind in _FOREIGN_BODIES and self._phase is _HOLDING_START:
                await self._pass_start()
            elif kind in _FOREIGN_BODIES and self._phase is _ENCODING:
                raise RuntimeError(
                    f"{kind!r} can't follow body chunks that are compressed: send the file alone, or "
                    "give the response a Content-Encoding of its own."
                )
            await self.send(message)  # early hints, trailers, and what the future brings

    async def _begin(self, message: Message) -> None:
        raw_headers = list(message.get("headers", ()))  # ASGI lets an app leave them out
        message = {**message, "headers": raw_headers}
        if not self._types.allow(message["status"], raw_headers):
            self._phase = _PASSING
            await self.send(message)
        else:
            self._phase = _HOLDING_START
            self._start = message

    async def _pass_start(self, raw_headers: RawHeaders | None = None) -> None:
        """Send the start that was held, with other fields if they are given."""
        start = self._start
        self._phase = _PASSING
        await self.send(start if raw_headers is None else {**start, "headers": raw_headers})

    async def _send_first(self, message: Message) -> None:
        """Decide about the whole response: its first chunk tells whether it is the only one."""
        raw_headers: RawHeaders = self._start["headers"]
        if message.get("more_body", False):
            await self._pass_start(self._stream_fields(raw_headers))
            self._phase = _PASSING if self.content_encoding == IDENTITY else _ENCODING
            await self.send_with_compression(message)
            return
        body = _as_bytes(message.get("body", b""))
        fields, encoded = await self._encode_whole(raw_headers, body, self._is_head)
        if encoded is not body and self._start.get("trailers", False):
            # RFC 9112 s.7.1.2: HTTP/1.1 has trailers only where the length is not known before.
            fields = self._stream_fields(raw_headers)
        await self._pass_start(fields)
        await self.send(message if encoded is body else {**message, "body": encoded})

    async def _send_next(self, message: Message) -> None:
        more_body = message.get("more_body", False)
        body = _as_bytes(message.get("body", b""))
        encoded = await self.apply_compression(body, more_body=more_body)
        if not more_body:
            self._phase = _PASSING
        await self.send({**message, "body": encoded})


class GZipResponder(IdentityResponder):
    """Run an app and compress its responses with gzip, whatever the client accepts.

    The parameters and errors are those of ``GZipMiddleware``, which asks what the client accepts.
    """

    content_encoding = "gzip"

    _compressor: Any = None

    def __init__(
        self,
        app: ASGIApp,
        minimum_size: int,
        compresslevel: int = 9,
        *,
        thread_minimum_size: int = _DEFAULT_THREAD_SIZE,
        exclude_content_types: Sequence[str] = DEFAULT_EXCLUDED_CONTENT_TYPES,
    ) -> None:
        check_settings(
            type(self).__name__,
            exclude_content_types,
            compresslevel,
            thread_minimum_size=thread_minimum_size,
        )
        super().__init__(app, minimum_size, exclude_content_types=exclude_content_types)
        self.compresslevel = compresslevel
        self.thread_minimum_size = thread_minimum_size

    async def apply_compression(self, body: bytes, *, more_body: bool) -> bytes:
        """Return the next bytes of the compressed body, in a worker thread if ``body`` is large."""
        if len(body) < self.thread_minimum_size:
            return self._compress(body, more_body)
        is_stream = more_body or self._compressor is not None  # begun: too late for a 503
        run = gzip_threads.run_unbounded if is_stream else gzip_threads.run
        return await run(self._compress, body, more_body)

    def _compress(self, body: bytes, more_body: bool) -> bytes:
        import zlib  # on use: most programs that import this send nothing large in their first second

        if not body and more_body:
            return b""  # an empty chunk says nothing, and has nothing to be flushed
        if self._compressor is None:
            self._compressor = zlib.compressobj(self.compresslevel, zlib.DEFLATED, _GZIP_WINDOW)
        flush = zlib.Z_SYNC_FLUSH if more_body else zlib.Z_FINISH
        compressed: bytes = self._compressor.compress(body) + self._compressor.flush(flush)
        return compressed


class _EncodedChunks:
    """The chunks of a stream, each encoded and flushed, and what ends the encoding."""

    __slots__ = ("_charset", "_chunks", "_encoder", "_is_over", "_iterator")

    def __init__(self, chunks: Any, charset: str, encoder: IdentityResponder) -> None:
        self._chunks = chunks
        self._charset = charset
        self._encoder = encoder
        self._iterator: Any = None
        self._is_over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._is_over:
            raise StopAsyncIteration
        if self._iterator is None:
            self._iterator = aiter(self._chunks)
        try:
            chunk = await anext(self._iterator)
        except StopAsyncIteration:
            self._is_over = True
            return await self._encoder.apply_compression(b"", more_body=False)
        if isinstance(chunk, str):
            chunk = chunk.encode(self._charset)
        return await self._encoder.apply_compression(_as_bytes(chunk), more_body=True)

    async def aclose(self) -> None:
        """Close the stream, whether it was begun or not."""
        self._is_over = True
        await close_iterator(self._chunks if self._iterator is None else self._iterator)


def _as_bytes(chunk: Any) -> bytes:
    return chunk if type(chunk) is bytes else bytes(chunk)
