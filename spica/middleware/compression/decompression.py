"""Decode the bodies of requests that have a Content-Encoding.

A small request can decode to gigabytes. So the decoded bytes count against the body limit, and their ratio to
the received bytes has a limit too. The body is decoded while the endpoint reads it, in pieces of 64 KiB.

Standards: RFC 9110 s.8.4 (Content-Encoding), s.15.5.14 (413), s.15.5.16 (415); RFC 7694 (Accept-Encoding in
a response).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spica._diagnostics.arguments import check_strings
from spica._diagnostics.middleware_order import ANSWERS
from spica._http.codings import DECODERS, Decoder, MalformedEncoding, is_available
from spica._http.fields import split_list
from spica._originals import remember
from spica.exceptions import HTTPException
from spica.layers import Answer, Layer, as_response, replace_receive
from spica.responses.errors import error_response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope

PIECE_SIZE = 64 * 1024
"""The bytes that are decoded at a time."""

INPUT_SIZE = 16 * 1024
"""The bytes that a decoder gets at a time. It copies the ones that are left, again and again."""

FREE_SIZE = 16 * 1024
"""The ratio counts only beyond this many decoded bytes, because a small body can be very repetitive."""

_ALIASES = {"x-gzip": "gzip"}  # RFC 9110 s.8.4.1.3
_DROPPED = (b"content-encoding", b"content-length")


class DecompressionMiddleware(Layer):
    """Decode the bodies of requests with a Content-Encoding.

    The app inside sees the decoded body, without Content-Encoding and Content-Length. The body limit
    counts the decoded bytes. Put the middleware outside of layers that read the body.

    ===================================================  ======
    an encoding that is not offered, or several of them  415
    a body that is not valid, incomplete, or too long    400
    hundreds of gzip members or frames for a small body  400
    more than ``max_ratio`` times the received bytes     413
    ===================================================  ======

    Args:
        app: the inner app.
        encodings: the encodings to accept: ``gzip``, ``deflate``, ``br``, ``zstd``. One whose package is
            missing is not accepted; ``spica check`` reports it.
        max_ratio: the limit for the decoded bytes per received byte. It counts beyond 16 KiB. Text has
            ratios up to 20.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: an encoding is unknown, or ``max_ratio`` is less than 1.

    Example:
        ``Middleware(DecompressionMiddleware)``
    """

    middleware_traits = (ANSWERS,)

    def __init__(
        self,
        app: ASGIApp,
        *,
        encodings: Sequence[str] = ("gzip", "deflate", "br", "zstd"),
        max_ratio: int | float = 100,
    ) -> None:
        super().__init__(app)
        place = "DecompressionMiddleware"
        check_strings(encodings, f"{place}: encodings")
        for encoding in encodings:
            if encoding not in DECODERS:
                known = ", ".join(map(repr, DECODERS))
                raise ValueError(f"{place}: encodings has {encoding!r:.80}. Choose from {known}.")
        if not isinstance(max_ratio, (int, float)) or isinstance(max_ratio, bool):
            raise TypeError(f"{place}: max_ratio must be a number, not {max_ratio!r:.80}.")
        if not max_ratio >= 1:
            raise ValueError(f"{place}: max_ratio must be at least 1, not {max_ratio!r}.")
        self.encodings = tuple(dict.fromkeys(encodings))
        self.missing_encodings = tuple([each for each in self.encodings if not is_available(each)])
        """The encodings that are not accepted, because their package is not installed."""
        self.max_ratio = max_ratio
        self._accepted = [each for each in self.encodings if each not in self.missing_encodings]

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the inner answer to the decoded request, or a 415."""
        scope = request.scope
        fields = [value for name, value in scope["headers"] if name == b"content-encoding"]
        if fields:
            codings = split_list(b",".join(fields).decode("latin-1").lower())
            codings = [_ALIASES.get(each, each) for each in codings if each != "identity"]
            if len(codings) > 1 or not set(codings) <= set(self._accepted):
                return self._refuse(scope)
            # The length of a body that is not encoded stays valid.
            dropped = _DROPPED if codings else _DROPPED[:1]
            scope["headers"] = [field for field in scope["headers"] if field[0] not in dropped]
            if codings:
                decoder = DECODERS[codings[0]](codings[0])
                receive = _DecodedReceive(request.receive, decoder, self.max_ratio)
                replace_receive(request, receive)
                if "app" not in scope:
                    return await self._respond_alone(request, receive)
        return await self.inner.respond(request)

    async def _respond_alone(self, request: Request[Any], receive: _DecodedReceive) -> Answer:
        """Return the inner answer where no application around this layer has exception handlers."""
        try:
            return await as_response(await self.inner.respond(request), request)
        except Exception:  # a task group of the app may have wrapped the error of the body
            if receive.error is None:
                raise
            return error_response(request.scope, receive.error.status_code, receive.error.detail)

    def _refuse(self, scope: Scope) -> Answer:
        accepted = ", ".join(self._accepted) or "identity"
        detail = f"The Content-Encoding of a request can be one of: {accepted}."
        return error_response(scope, 415, detail, {"Accept-Encoding": accepted})


remember(DecompressionMiddleware, "respond")


class _DecodedReceive:
    """Receive the messages of a request, with the body decoded."""

    __slots__ = (
        "_chunk",
        "_decoded_size",
        "_decoder",
        "_is_over",
        "_max_ratio",
        "_receive",
        "_size",
        "error",
    )

    def __init__(self, receive: Receive, decoder: Decoder, max_ratio: float) -> None:
        self._receive = receive
        self._decoder = decoder
        self._max_ratio = max_ratio
        self._size = self._decoded_size = 0
        self._chunk = memoryview(b"")  # received, but not yet decoded
        self._is_over = False  # the last message of the body was received
        self.error: HTTPException | None = None
        """The error of the body, once it is known."""

    async def __call__(self) -> Message:
        """Return the next message.

        Raises:
            HTTPException: 400: the body is not valid. 413: it decodes to too much.
        """
        if self.error is not None:
            raise self.error
        if not self._has_input():
            if self._is_over:
                return await self._receive()  # a disconnect
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._chunk = memoryview(message.get("body", b""))
            self._size += len(self._chunk)
            self._is_over = not message.get("more_body", False)
        return self._next()

    def _has_input(self) -> bool:
        return self._decoder.has_more or len(self._chunk) > 0

    def _next(self) -> Message:
        """Return a message with the next piece of the decoded body."""
        try:
            body = self._decode()
            if self._is_over and not self._has_input():
                self._decoder.finish()
        except MalformedEncoding as error:
            raise self._fail(
                400, f"The body does not match its Content-Encoding: {error}."
            ) from None
        self._decoded_size += len(body)
        if self._decoded_size > max(self._max_ratio * self._size, FREE_SIZE):
            raise self._fail(413, "The body decodes to too many bytes.")
        return {
            "type": "http.request",
            "body": body,
            "more_body": self._has_input() or not self._is_over,
        }

    def _decode(self) -> bytes:
        pieces, size = [], 0
        while size < PIECE_SIZE and self._has_input():
            data = b""
            if not self._decoder.has_more:
                data, self._chunk = bytes(self._chunk[:INPUT_SIZE]), self._chunk[INPUT_SIZE:]
            pieces.append(self._decoder.decode(data, PIECE_SIZE - size))
            size += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _fail(self, status_code: int, detail: str) -> HTTPException:
        """Return an error, which all later readers get too."""
        self.error = HTTPException(status_code, detail)
        return self.error
