"""Compress responses with the best encoding that a client accepts: Zstandard, Brotli or gzip.

The rules for fields and streams are those of ``GZipMiddleware`` (``spica.middleware.gzip``). This layer adds
the choice of the encoding, and compresses only listed media types.

Standards: RFC 9110 s.8.4 (Content-Encoding), s.12.5.3 (Accept-Encoding); RFC 9659 (the window of Zstandard).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spica._diagnostics.arguments import check_flag, check_strings
from spica._diagnostics.middleware_order import COMPRESSES
from spica._http.codings import ENCODERS, IDENTITY, LEVELS, Accepted, Encoder, is_available
from spica._originals import remember
from spica.layers import Answer, Layer
from spica.middleware.gzip.layer import EncodingResponder, IdentityResponder, encode_answer
from spica.middleware.gzip.rules import (
    IncludedTypes,
    RawHeaders,
    check_settings,
    is_event_stream,
    normalize_types,
)

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Scope

DEFAULT_LEVELS: Mapping[str, int] = {"zstd": 3, "br": 4, "gzip": 6}
"""The levels by default. With them, 64 KB of JSON take 0.1 ms, 0.4 ms and 0.8 ms."""

DEFAULT_CONTENT_TYPES = (
    *("text/*", "application/json", "+json", "application/xml", "+xml", "application/javascript"),
    *("application/x-javascript", "application/x-ndjson", "application/jsonl", "application/yaml"),
    *("+yaml", "application/toml", "application/graphql", "application/rtf", "application/wasm"),
    *("font/ttf", "font/otf", "font/sfnt", "font/collection", "application/vnd.ms-fontobject"),
    *("image/svg+xml", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon"),
)
"""The media types that are compressed by default."""


class CompressionMiddleware(Layer):
    """Compress responses of at least ``minimum_size`` bytes, and streams of unknown length.

    The weights of Accept-Encoding decide, and the order of ``encodings`` where they are equal. An encoding
    whose package is missing is left out; ``spica check`` reports it. Install ``spica[compression]``.

    Not compressed are partial content (206), responses with a Content-Encoding or the directive
    ``no-transform``, event streams, and files that the server sends by their path. A strong ETag becomes
    weak. Vary names Accept-Encoding on every response that can be compressed, even if it is not for this
    client.

    Args:
        app: the inner app.
        minimum_size: smaller bodies are not compressed, in bytes.
        encodings: the encodings to offer, in the order of preference: ``zstd``, ``br``, ``gzip``.
        levels: the levels of the encodings. The others keep their default: 3 for zstd, 4 for br, 6 for gzip.
        thread_minimum_size: bodies and chunks of at least this size are compressed in a worker thread, in
            bytes.
        include_content_types: the media types to compress. ``type/*`` matches all subtypes, ``+json`` all
            types with this suffix. The default lists text formats, and none that is already compressed. Event
            streams are compressed only if you list ``text/event-stream``. Each event is then flushed.
        flush: whether each chunk of a stream is sent at once. False saves bytes, and delays chunks.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a size is negative, an encoding is unknown, or a level is out of range.

    Example:
        ``Middleware(CompressionMiddleware)``
    """

    middleware_traits = (COMPRESSES,)

    def __init__(
        self,
        app: ASGIApp,
        minimum_size: int = 500,
        *,
        encodings: Sequence[str] = ("zstd", "br", "gzip"),
        levels: Mapping[str, int] = DEFAULT_LEVELS,
        thread_minimum_size: int = 128 * 1024,
        include_content_types: Sequence[str] = DEFAULT_CONTENT_TYPES,
        flush: bool = True,
    ) -> None:
        super().__init__(app)
        place = "CompressionMiddleware"
        _check_types(include_content_types)
        sizes = {"minimum_size": minimum_size, "thread_minimum_size": thread_minimum_size}
        check_settings(place, (), **sizes)
        check_flag(flush, f"{place}: flush")
        self.minimum_size = minimum_size
        self.encodings = _check_encodings(encodings)
        self.levels = _check_levels(levels)
        self.missing_encodings = tuple([each for each in self.encodings if not is_available(each)])
        """The encodings that are left out, because their package is not installed."""
        available = [each for each in self.encodings if each not in self.missing_encodings]
        types = IncludedTypes(normalize_types(include_content_types))
        self._identity = IdentityResponder(app, minimum_size)
        self._identity._types = types
        self._responders: dict[str, IdentityResponder] = {IDENTITY: self._identity}
        for coding in available:
            responder = _Responder(app, minimum_size)
            responder._types, responder.content_encoding = types, coding
            responder.level, responder.flush = self.levels[coding], bool(flush)
            responder.thread_minimum_size = thread_minimum_size
            self._responders[coding] = responder
        self._accepted = Accepted(available)

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the inner answer, compressed if that pays and the client accepts it."""
        answer = await self.inner.respond(request)
        return await encode_answer(answer, request.scope, self._identity, self._choose)

    def _choose(self, scope: Scope) -> IdentityResponder:
        return self._responders[self._accepted.choose(scope["headers"])]


remember(CompressionMiddleware, "respond")


class _Responder(EncodingResponder):
    """Encode responses with one encoding."""

    level = 0

    def new_encoder(self) -> Encoder:
        """Return the encoder for one response."""
        return ENCODERS[self.content_encoding](self.level)

    def _stream_fields(self, raw_headers: RawHeaders) -> RawHeaders:
        self.flush = self.flush or is_event_stream(raw_headers)  # an event must not wait for others
        return super()._stream_fields(raw_headers)


def _check_encodings(encodings: Sequence[str]) -> tuple[str, ...]:
    place = "CompressionMiddleware: encodings"
    check_strings(encodings, place)
    for encoding in encodings:
        if encoding not in ENCODERS:
            raise ValueError(
                f"{place} has {encoding!r:.80}. Choose from {', '.join(map(repr, ENCODERS))}."
            )
    return tuple(dict.fromkeys(encodings))


# RFC 9110 s.8.3.1: type "/" subtype. A whole suffix or subtype can be named, see ``IncludedTypes``.
_TYPE = re.compile(r"\s*(?:[^\s/*;,]+/(?:[^\s/*;,]+|\*)|\+[^\s/*;,]+)\s*(?:;.*)?", re.DOTALL)


def _check_types(types: Sequence[str]) -> None:
    """Refuse types that match nothing."""
    place = "CompressionMiddleware: include_content_types"
    check_strings(["*"] if types == "*" else types, place)
    for name in types:
        if not _TYPE.fullmatch(name):
            raise ValueError(
                f"{place} has {name!r:.80}, which matches no response. Write a media type such as "
                "'application/json', all of a kind such as 'text/*', or a suffix such as '+json'."
            )


def _check_levels(levels: Mapping[str, int]) -> dict[str, int]:
    """Return the level of every encoding."""
    place = "CompressionMiddleware: levels"
    if not isinstance(levels, Mapping):
        raise TypeError(
            f"{place} must be a mapping of encodings to levels, not {levels!r:.80}. Write "
            "{'zstd': 3}, for example."
        )
    for encoding, level in levels.items():
        if encoding not in ENCODERS:
            raise ValueError(
                f"{place} has {encoding!r:.80}. Choose from {', '.join(map(repr, ENCODERS))}."
            )
        if not isinstance(level, int) or isinstance(level, bool):
            raise TypeError(f"{place}: the level of {encoding} must be an int, not {level!r:.80}.")
        if level not in LEVELS[encoding]:
            raise ValueError(
                f"{place}: the level of {encoding} must be from {LEVELS[encoding][0]} to "
                f"{LEVELS[encoding][-1]}, not {level}."
            )
    return {**DEFAULT_LEVELS, **levels}
