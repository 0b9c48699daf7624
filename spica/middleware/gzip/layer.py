"""Compress responses with gzip, for clients that accept it.

The layer compresses a response in memory at once, a stream chunk by chunk while it is iterated, and the
messages of a foreign app as they pass ``send``. The module ``rules`` decides for all three.

Standards: RFC 9110 s.8.4.1.3, RFC 1952 (gzip); ASGI extensions "Path Send" and "Zero Copy Send".
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from spica._diagnostics.middleware_order import COMPRESSES
from spica._http.codings import IDENTITY, Encoder, GzipEncoder
from spica._layers.layer import BaseLayer
from spica.concurrency import ThreadLimiter, close_iterator
from spica.middleware.gzip.rules import (
    DEFAULT_EXCLUDED_CONTENT_TYPES,
    EncodableTypes,
    RawHeaders,
    accepts_gzip,
    check_settings,
    encode_fields,
    is_length_wrong,
    normalize_types,
    revalidated_fields,
    vary_fields,
)
from spica.responses.base import Response
from spica.responses.file.resolved import ResolvedFile
from spica.responses.sending import correct_length, size_of
from spica.responses.streaming import StreamingResponse, is_simple_value
from spica.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from spica.requests import Request

__all__ = [
    "DEFAULT_EXCLUDED_CONTENT_TYPES",
    "GZipMiddleware",
    "GZipResponder",
    "IdentityResponder",
    "gzip_threads",
]

gzip_threads = ThreadLimiter("gzip", 40, max_wait_seconds=30)
"""The threads that compress large bodies: at most 40. They never wait for the user's code."""

_DEFAULT_THREAD_SIZE = 128 * 1024

# RFC 9110 s.15.3.7, s.15.4.5: a 206 and a 304 carry the Vary and ETag of the corresponding 200.
_STANDING_FOR_200 = (206, 304)

# Bodies that the server reads itself, from a file.
_FOREIGN_BODIES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})


class GZipMiddleware(BaseLayer):
    """Compress responses of at least ``minimum_size`` bytes, and streams of unknown length, with gzip.

    Not compressed are partial content (206), responses with a Content-Encoding or the directive
    ``no-transform``, and files that the server sends by their path.

    Each chunk of a stream is flushed, so that the client sees it at once. A strong ETag becomes weak, and
    Accept-Ranges is removed. Vary names Accept-Encoding on every response that can be compressed, even if
    this client does not accept gzip, and on its 304 and 206. A body whose length differs from its
    Content-Length stays incomplete for the client.

    Args:
        app: the inner app.
        minimum_size: smaller bodies are not compressed, in bytes.
        compresslevel: the level of zlib. 1 is the fastest, 9 (the default) compresses best.
        thread_minimum_size: bodies and chunks of at least this size are compressed in a worker thread, in
            bytes.
        exclude_content_types: media types that are not compressed. ``type/*`` matches all subtypes. The
            default lists formats that are already compressed.

    Raises:
        TypeError: a size is not an int, or ``exclude_content_types`` is a single string.
        ValueError: a size is negative, or ``compresslevel`` is not a level of zlib.

    Example:
        ``Middleware(GZipMiddleware, minimum_size=1000)``
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
        """Return the inner response, compressed if that pays and the client accepts it."""
        answer = await self._layer_inner.respond(request)
        return await encode_answer(answer, request.scope, self._identity, self._responder)

    def _responder(self, scope: Scope) -> IdentityResponder:
        return self._gzip if accepts_gzip(scope["headers"]) else self._identity


async def encode_answer(
    answer: ASGIApp,
    scope: Scope,
    settings: IdentityResponder,
    choose: Callable[[Scope], IdentityResponder],
) -> ASGIApp:
    """Return ``answer``, encoded by the responder that ``choose`` returns for the client.

    ``settings`` has the types and sizes to encode. ``choose`` is called only if they allow it.
    """
    if not isinstance(answer, Response) or not is_simple_value(answer):
        if isinstance(answer, ResolvedFile) and answer.is_by_path:
            return answer  # HEAD gets the same headers as GET
        # If the answer is not an app, the layer that sends it raises the error.
        return choose(scope)._around(answer) if callable(answer) else answer
    return await _encode_value(answer, scope, settings, choose)


async def _encode_value(
    answer: Response,
    scope: Scope,
    settings: IdentityResponder,
    choose: Callable[[Scope], IdentityResponder],
) -> ASGIApp:
    if answer.status_code in _STANDING_FOR_200:
        return choose(scope)._edit_partial(answer, scope)
    in_memory = answer._replaced_body is None and not isinstance(answer, StreamingResponse)
    is_head = scope.get("method") == "HEAD"
    if in_memory and size_of(answer.body) < settings.minimum_size and (answer.body or not is_head):
        return answer
    if not settings._types.allow(answer.status_code, answer.raw_headers):
        return answer
    if in_memory:
        return await choose(scope)._encode_in_memory(answer, scope)
    return choose(scope)._encode_stream(answer, is_head)


class _Phase(enum.Enum):
    """The progress of a response that is sent as messages."""

    BEFORE_START = enum.auto()
    HOLDING_START = enum.auto()  # until the first chunk shows whether to encode
    ENCODING = enum.auto()
    PASSING = enum.auto()


# Members as module globals, because looking up an attribute of an Enum class is slow.
_BEFORE_START, _HOLDING_START, _ENCODING, _PASSING = _Phase


class _Length:
    """Check a body against its Content-Length, which the encoded response does not send.

    Without this check, an incomplete body would look complete to the client.
    """

    __slots__ = ("announced", "left")

    def __init__(self, announced: int) -> None:
        self.announced = self.left = announced

    @classmethod
    def of(cls, raw_headers: RawHeaders) -> _Length | None:
        """Return the length that the header fields declare, or None."""
        for name, value in raw_headers:
            if name.lower() == b"content-length" and value.isdigit() and len(value) < 20:
                return cls(int(value))
        return None

    def count(self, size: int, *, is_end: bool) -> None:
        """Count ``size`` bytes more.

        Raises:
            RuntimeError: The body is longer or shorter than declared. Its end is then not sent, so that the
                client can see that it is incomplete (RFC 9112 s.8).
        """
        self.left -= size
        if self.left < 0 or (is_end and self.left):
            relation = "longer" if self.left < 0 else "shorter"
            raise RuntimeError(
                f"The body of a response is {relation} than its Content-Length of {self.announced} bytes, by "
                f"{abs(self.left)} bytes. Leave the header out, or set it to the length of the body."
            )


class IdentityResponder:
    """Run an app without encoding its bodies, but add Accept-Encoding to Vary.

    It serves clients that do not accept gzip, and it is the base class of encoders. A subclass sets
    ``content_encoding`` and overrides ``apply_compression``. It can keep its state in attributes, because
    each response gets its own object.

    Raises:
        TypeError: ``minimum_size`` is not an int, or ``exclude_content_types`` is a single string.
        ValueError: ``minimum_size`` is negative.
    """

    content_encoding = IDENTITY

    _phase = _BEFORE_START
    _is_head = False
    _length: _Length | None = None
    _request_headers: RawHeaders = []  # never changed in place
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
        run._request_headers = scope.get("headers", [])
        await run.app(scope, receive, run.send_with_compression)
        if run._phase is _HOLDING_START:
            await run._pass_start()  # let the server see that there is no body

    async def apply_compression(self, body: bytes, *, more_body: bool) -> bytes:
        """Return the encoded chunk ``body``, flushed. ``more_body`` is False for the last chunk."""
        return body

    def _around(self, app: ASGIApp) -> Self:
        """Return a fresh copy of this responder, for one response of ``app``."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.app = app
        return twin

    # -- fields and body of a response ------------------------------------------------------------------

    async def _encode_whole(
        self, raw_headers: RawHeaders, body: bytes, is_head: bool
    ) -> tuple[RawHeaders, bytes]:
        """Return the header fields and the body to send for a complete body."""
        # RFC 9110 s.9.3.2: the response to a HEAD has the fields that GET would get.
        length = _Length.of(raw_headers) if is_head and not body else None
        size = len(body) if length is None else length.announced
        if size < self.minimum_size:
            return raw_headers, body
        if size and not body:
            return self._stream_fields(raw_headers), body
        if self.content_encoding == IDENTITY or not body:
            return vary_fields(raw_headers), body
        if not is_head and is_length_wrong(raw_headers, len(body)):
            # Server and client notice that this body is incomplete. Encoding it would hide that.
            return vary_fields(raw_headers), body
        encoded = await self.apply_compression(body, more_body=False)
        return encode_fields(raw_headers, self.content_encoding, len(encoded)), encoded

    def _partial_fields(
        self, status_code: int, raw_headers: RawHeaders, whole: RawHeaders | None
    ) -> RawHeaders:
        """Return the fields of a 206 or 304. ``whole`` has the fields of the 200 if they are known."""
        if not self._types.allow_whole(raw_headers, self.minimum_size, whole):
            return raw_headers
        if status_code == 206 or self.content_encoding == IDENTITY:
            return vary_fields(raw_headers)  # the part and its tag belong to the unencoded file
        return revalidated_fields(raw_headers, self._request_headers if whole is None else None)

    def _is_declared_small(self, raw_headers: RawHeaders) -> bool:
        """Return whether the Content-Length of a stream shows that encoding it does not pay."""
        length = _Length.of(raw_headers)
        return length is not None and length.announced < self.minimum_size

    def _stream_fields(self, raw_headers: RawHeaders) -> RawHeaders:
        """Return the fields to send for a body of unknown length."""
        if self.content_encoding == IDENTITY:
            return vary_fields(raw_headers)
        return encode_fields(raw_headers, self.content_encoding, None)

    # -- by value --------------------------------------------------------------------------------------

    async def _encode_in_memory(self, response: Response, scope: Scope) -> Response:
        if response.body is not response._measured_body:
            response = response._copy()
            correct_length(response, scope)
        raw_headers, body = response.raw_headers, _as_bytes(response.body)
        run = self if self.content_encoding == IDENTITY else self._around(response)
        fields, encoded = await run._encode_whole(raw_headers, body, scope.get("method") == "HEAD")
        if fields is raw_headers:
            return response
        response = response._copy()
        response.raw_headers = fields
        if encoded is not body:
            response.body = response._measured_body = encoded
        return response

    def _encode_stream(self, response: Response, is_head: bool) -> Response:
        raw_headers = response.raw_headers
        if self._is_declared_small(raw_headers):
            return response
        response = response._copy()
        encoder = self if self.content_encoding == IDENTITY else self._around(self.app)
        response.raw_headers = encoder._stream_fields(raw_headers)
        if encoder is not self:
            encoder._length = None if is_head else _Length.of(raw_headers)
            response.body_iterator = _EncodedChunks(
                response.body_iterator, response.charset, encoder
            )
        return response

    def _edit_partial(self, response: Response, scope: Scope) -> Response:
        run = self._around(self.app)
        run._request_headers = scope["headers"]
        raw_headers = response.raw_headers
        fields = run._partial_fields(response.status_code, raw_headers, response._whole_headers)
        if fields is not raw_headers:
            response = response._copy()
            response.raw_headers = fields
        return response

    # -- by messages -----------------------------------------------------------------------------------

    send: Send

    async def send_with_compression(self, message: Message) -> None:
        """Send a message of the app, encoded if it belongs to a body that is encoded.

        Raises:
            RuntimeError: the app asks the server to send a file after chunks that were encoded.
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
                    f"{kind!r} can't follow compressed body chunks. Send only the file, or "
                    "give the response its own Content-Encoding."
                )
            await self.send(message)  # early hints, trailers, and future extensions

    async def _begin(self, message: Message) -> None:
        raw_headers = list(message.get("headers", ()))  # ASGI: optional
        message = {**message, "headers": raw_headers}
        status_code = message["status"]
        if not self._types.allow(status_code, raw_headers):
            self._phase = _PASSING
            if status_code in _STANDING_FOR_200:
                message["headers"] = self._partial_fields(status_code, raw_headers, None)
            await self.send(message)
        else:
            self._phase = _HOLDING_START
            self._start = message

    async def _pass_start(self, raw_headers: RawHeaders | None = None) -> None:
        """Send the start message that was held back, with ``raw_headers`` if given."""
        start = self._start
        self._phase = _PASSING
        await self.send(start if raw_headers is None else {**start, "headers": raw_headers})

    async def _send_first(self, message: Message) -> None:
        """Decide how to send the response. Its first chunk shows whether there are more."""
        raw_headers: RawHeaders = self._start["headers"]
        if message.get("more_body", False):
            if self._is_declared_small(raw_headers):
                await self._pass_start()
                await self.send(message)
                return
            await self._pass_start(self._stream_fields(raw_headers))
            self._phase = _PASSING if self.content_encoding == IDENTITY else _ENCODING
            self._length = None if self._is_head else _Length.of(raw_headers)
            await self.send_with_compression(message)
            return
        body = _as_bytes(message.get("body", b""))
        fields, encoded = await self._encode_whole(raw_headers, body, self._is_head)
        if encoded is not body and self._start.get("trailers", False):
            # RFC 9112 s.7.1.2: HTTP/1.1 has trailers only after a chunked body, without Content-Length.
            fields = self._stream_fields(raw_headers)
        await self._pass_start(fields)
        await self.send(message if encoded is body else {**message, "body": encoded})

    async def _send_next(self, message: Message) -> None:
        more_body = message.get("more_body", False)
        body = _as_bytes(message.get("body", b""))
        if self._length is not None:
            self._length.count(len(body), is_end=not more_body)
        encoded = await self.apply_compression(body, more_body=more_body)
        if not more_body:
            self._phase = _PASSING
        await self.send({**message, "body": encoded})


class EncodingResponder(IdentityResponder):
    """Run an app and encode its responses, without checking Accept-Encoding.

    A subclass sets ``content_encoding``, and overrides ``new_encoder``.
    """

    thread_minimum_size = _DEFAULT_THREAD_SIZE
    flush = True

    _encoder: Encoder | None = None

    def new_encoder(self) -> Encoder:
        """Return the encoder for one response."""
        raise NotImplementedError

    async def apply_compression(self, body: bytes, *, more_body: bool) -> bytes:
        """Return the next bytes of the compressed body, in a worker thread if ``body`` is large."""
        if len(body) < self.thread_minimum_size:
            return self._compress(body, more_body)
        is_stream = more_body or self._encoder is not None  # has started: too late for a 503
        run = gzip_threads.run_unbounded if is_stream else gzip_threads.run
        return await run(self._compress, body, more_body)

    def _compress(self, body: bytes, more_body: bool) -> bytes:
        if not body and more_body:
            return b""  # an empty chunk has nothing to flush
        encoder = self._encoder
        if encoder is None:
            encoder = self._encoder = self.new_encoder()
        return encoder.encode(body, is_end=not more_body, flush=self.flush)


class GZipResponder(EncodingResponder):
    """Run an app and compress its responses with gzip, without checking Accept-Encoding.

    The parameters and errors are those of ``GZipMiddleware``.
    """

    content_encoding = "gzip"

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

    def new_encoder(self) -> Encoder:
        """Return a gzip encoder."""
        return GzipEncoder(self.compresslevel)


class _EncodedChunks:
    """Iterate over the encoded and flushed chunks of a stream, and then the end of the encoding."""

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
            return await self._encode(b"", is_end=True)
        if isinstance(chunk, str):
            chunk = chunk.encode(self._charset)
        return await self._encode(_as_bytes(chunk), is_end=False)

    async def _encode(self, chunk: bytes, *, is_end: bool) -> bytes:
        if self._encoder._length is not None:
            self._encoder._length.count(len(chunk), is_end=is_end)
        return await self._encoder.apply_compression(chunk, more_body=not is_end)

    async def aclose(self) -> None:
        """Close the stream, even if it has not started."""
        self._is_over = True
        await close_iterator(self._chunks if self._iterator is None else self._iterator)


def _as_bytes(chunk: Any) -> bytes:
    return chunk if type(chunk) is bytes else bytes(chunk)
