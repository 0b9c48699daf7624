"""Content codings: choose one for a client, encode and decode.

Encoders and decoders keep no message and know no connection: bytes in, bytes out. Brotli and Zstandard need
optional packages, and this is the only module that imports them.

Standards: RFC 9110 s.8.4.1 (codings), s.12.5.3 (Accept-Encoding); RFC 1950 (zlib), RFC 1952 (gzip), RFC 7932
(Brotli), RFC 8878 (Zstandard), RFC 9659 (its window).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, Protocol

from spica._http.fields import parse_quality_list

IDENTITY = "identity"
"""No encoding."""

LEVELS = {"zstd": range(-7, 23), "br": range(12), "gzip": range(-1, 10)}
"""The levels of each encoding. Higher ones take longer and save more."""

_MODULES = {
    "br": ("brotli", "brotlicffi"),
    "zstd": ("compression.zstd", "backports.zstd"),  # the first one is in Python 3.14
}

_MAX_FIELD_SIZE = 100
_MAX_KNOWN_FIELDS = 64
"""Clients choose the values, so a cache of them is small: this many, each of at most 100 bytes."""


class Accepted:
    """Choose the coding for the responses to a client.

    Args:
        offered: The codings that the server can produce. Of those with equal weights, the first one wins.
    """

    __slots__ = ("_known", "offered")

    def __init__(self, offered: Sequence[str]) -> None:
        self.offered = tuple(offered)
        self._known: dict[bytes, tuple[str, ...]] = {}

    def choose(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the best coding for a request with these ``headers``, or ``IDENTITY``."""
        ranking = self.rank(headers)
        return ranking[0] if ranking else IDENTITY

    def rank(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, ...]:
        """Return the codings that the client does not like less than ``IDENTITY``, the best first."""
        found = [value for name, value in headers if name == b"accept-encoding"]
        if not found:
            # RFC 9110 s.12.5.3 would allow any coding. A client that can decode one says so.
            return ()
        field = found[0] if len(found) == 1 else b", ".join(found)
        known = self._known.get(field)
        if known is None:
            known = rank_codings(field.decode("latin-1"), self.offered)
            if len(field) <= _MAX_FIELD_SIZE:
                if len(self._known) >= _MAX_KNOWN_FIELDS:
                    self._known.clear()
                self._known[field] = known
        return known


def choose_coding(field: str, offered: Sequence[str]) -> str:
    """Return the coding of ``offered`` with the highest weight in an Accept-Encoding ``field``.

    ``IDENTITY`` is the result if the client prefers it, and also if it accepts nothing that is offered.
    """
    ranking = rank_codings(field, offered)
    return ranking[0] if ranking else IDENTITY


def rank_codings(field: str, offered: Sequence[str]) -> tuple[str, ...]:
    """Return the codings of ``offered`` that weigh at least as much as ``IDENTITY``, the best first."""
    weights = {_ALIASES.get(name, name): weight for name, weight in parse_quality_list(field)}
    # RFC 9110 s.12.5.3: "*" matches every coding that is not listed, and a weight of 0 is "not acceptable".
    others, least = weights.get("*", 0.0), weights.get(IDENTITY, 0.0)
    acceptable = [
        (-weight, position, coding)
        for position, coding in enumerate(offered)
        if (weight := weights.get(coding, others)) > 0 and weight >= least
    ]
    return tuple([coding for _, _, coding in sorted(acceptable)])


_ALIASES = {"x-gzip": "gzip"}  # RFC 9110 s.8.4.1.3


def is_available(coding: str) -> bool:
    """Return whether the package for a coding is installed."""
    return coding not in _MODULES or _find_module(coding) is not None


def _find_module(coding: str) -> ModuleType | None:
    for name in _MODULES[coding]:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


_loaded: dict[str, ModuleType] = {}  # looking for a missing module takes 50 us


def _module(coding: str) -> Any:
    module = _loaded.get(coding)
    if module is not None:
        return module
    module = _find_module(coding)
    if module is None:
        raise ModuleNotFoundError(
            f"The encoding {coding!r} needs a package: pip install 'spica[compression]'",
            name=_MODULES[coding][-1],
        )
    _loaded[coding] = module
    return module


# -- encoding --------------------------------------------------------------------------------------------


class Encoder(Protocol):
    """Encode one body."""

    def encode(self, chunk: bytes, *, is_end: bool, flush: bool = True) -> bytes:
        """Return the next bytes of the encoded body.

        ``flush`` lets the client decode everything up to here, and costs a few bytes. ``is_end`` ends the
        body.
        """
        ...


class GzipEncoder:
    """Encode a body with gzip."""

    __slots__ = ("_compressor",)

    def __init__(self, level: int) -> None:
        import zlib  # imported on use, to keep the start of programs fast

        self._compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP_WINDOW)

    def encode(self, chunk: bytes, *, is_end: bool, flush: bool = True) -> bytes:
        """Return the next bytes of the encoded body."""
        import zlib

        encoded: bytes = self._compressor.compress(chunk)
        if is_end or flush:
            encoded += self._compressor.flush(zlib.Z_FINISH if is_end else zlib.Z_SYNC_FLUSH)
        return encoded


_GZIP_WINDOW = 31  # zlib: a window of 32 KiB, and the header and trailer of gzip


class BrotliEncoder:
    """Encode a body with Brotli."""

    __slots__ = ("_compressor", "_level", "_module")

    def __init__(self, level: int) -> None:
        self._module = _module("br")
        self._level = level
        self._compressor: Any = None

    def encode(self, chunk: bytes, *, is_end: bool, flush: bool = True) -> bytes:
        """Return the next bytes of the encoded body."""
        if self._compressor is None:
            if is_end:
                # Faster for a complete body, since it knows the size.
                whole: bytes = self._module.compress(chunk, quality=self._level)
                return whole
            self._compressor = self._module.Compressor(quality=self._level)
        encoded: bytes = self._compressor.process(chunk)
        if is_end:
            encoded += self._compressor.finish()
        elif flush:
            encoded += self._compressor.flush()
        return encoded


class ZstdEncoder:
    """Encode a body with Zstandard."""

    __slots__ = ("_compressor",)

    def __init__(self, level: int) -> None:
        module = _module("zstd")
        options = {module.CompressionParameter.compression_level: level}
        if level >= _LARGE_WINDOW_LEVEL:
            options[module.CompressionParameter.window_log] = _MAX_WINDOW_LOG
        self._compressor = module.ZstdCompressor(options=options)

    def encode(self, chunk: bytes, *, is_end: bool, flush: bool = True) -> bytes:
        """Return the next bytes of the encoded body."""
        mode = 2 if is_end else 1 if flush else 0  # FLUSH_FRAME, FLUSH_BLOCK, CONTINUE
        encoded: bytes = self._compressor.compress(chunk, mode)
        return encoded


# RFC 9659 s.3: a decoder needs to support a window of 8 MiB, so an encoder must not use a larger one.
_MAX_WINDOW_LOG = 23
_LARGE_WINDOW_LEVEL = 20  # the first level with a larger window

ENCODERS: dict[str, type[GzipEncoder] | type[BrotliEncoder] | type[ZstdEncoder]] = {
    "zstd": ZstdEncoder,
    "br": BrotliEncoder,
    "gzip": GzipEncoder,
}
"""The encoder of each coding. It takes a level of ``LEVELS``."""


# -- decoding --------------------------------------------------------------------------------------------


class MalformedEncoding(ValueError):
    """A body is not valid in its encoding."""


class Decoder(Protocol):
    """Decode one body."""

    @property
    def has_more(self) -> bool:
        """Whether ``decode(b"", ...)`` returns more of the body."""
        ...

    def decode(self, chunk: bytes, max_size: int) -> bytes:
        """Return at most about ``max_size`` bytes of the decoded body.

        Raises:
            MalformedEncoding: The bytes are not valid.
        """
        ...

    def finish(self) -> None:
        """End the body.

        Raises:
            MalformedEncoding: The body is incomplete.
        """
        ...


_FREE_PARTS = 256
_PART_SIZE = 8 * 1024
"""A body may have this many parts, and one more for each 8 KiB that it decodes to. A part of 9 bytes takes up
to 75 microseconds, so a body of many empty parts would keep a server busy for minutes."""


class _Parts:
    """The parts of a body: members of gzip, frames of Zstandard."""

    __slots__ = ("count", "size")

    def __init__(self) -> None:
        self.count = self.size = 0

    def begin(self) -> None:
        """Count the next part.

        Raises:
            MalformedEncoding: The body has too many parts for its size.
        """
        self.count += 1
        if self.count > _FREE_PARTS + self.size // _PART_SIZE:
            raise MalformedEncoding("it has too many parts")


_TRUNCATED = "it ends too early"
_TRAILING = "it has more bytes after its end"


class ZlibDecoder:
    """Decode gzip and deflate.

    A gzip body may consist of several members (RFC 1952 s.2.2). Deflate has a zlib header, but some clients
    leave it out (RFC 9110 s.8.4.1.2).
    """

    __slots__ = ("_input", "_is_full", "_is_gzip", "_object", "_parts")

    def __init__(self, coding: str) -> None:
        self._is_gzip = coding == "gzip"
        self._parts = _Parts()
        self._input = b""
        self._is_full = False
        self._object: Any = None

    @property
    def has_more(self) -> bool:
        """Whether ``decode(b"", ...)`` may return more of the body."""
        return bool(self._input) or self._is_full

    def decode(self, chunk: bytes, max_size: int) -> bytes:
        """Return at most ``max_size`` bytes of the decoded body."""
        import zlib

        data = self._input + chunk
        if not data and not self._is_full:
            return b""
        self._input = b""
        if self._object is None or (self._object.eof and self._is_gzip):
            self._parts.begin()
            self._object = zlib.decompressobj(_GZIP_WINDOW if self._is_gzip else _window_of(data))
        elif self._object.eof:
            raise MalformedEncoding(_TRAILING)
        try:
            decoded: bytes = self._object.decompress(data, max_size)
        except zlib.error as error:
            raise MalformedEncoding(str(error)) from None
        self._parts.size += len(decoded)
        # Between two members, the data behind the first one is unused. Both are never set together.
        self._input = self._object.unconsumed_tail or self._object.unused_data
        # zlib may have read all the input, and keep output that did not fit. Without a trailer (a deflate
        # body without its header), the end of the body may be a part of that.
        self._is_full = len(decoded) >= max_size and not self._object.eof
        return decoded

    def finish(self) -> None:
        """End the body."""
        if self._object is not None and not self._object.eof:
            raise MalformedEncoding(_TRUNCATED)


def _window_of(data: bytes) -> int:
    """Return the argument of zlib for a body: with the header of RFC 1950 s.2.2, or without any."""
    has_header = data[0] & 0x0F == 8 and (len(data) < 2 or (data[0] << 8 | data[1]) % 31 == 0)
    return 15 if has_header else -15


class BrotliDecoder:
    """Decode Brotli."""

    __slots__ = ("_error", "_has_begun", "_object", "has_more")

    def __init__(self, coding: str) -> None:
        module = _module("br")
        self._error = module.error
        self._object = module.Decompressor()
        self._has_begun = False
        self.has_more = False
        """Whether ``decode(b"", ...)`` may return more of the body."""

    def decode(self, chunk: bytes, max_size: int) -> bytes:
        """Return about ``max_size`` bytes of the decoded body: at most 32 KiB more."""
        if not chunk and not self.has_more:
            return b""
        if chunk and self._has_begun and self._object.is_finished():
            raise MalformedEncoding(_TRAILING)
        self._has_begun = True
        try:
            decoded: bytes = self._object.process(chunk, output_buffer_limit=max_size)
        except self._error as error:
            raise MalformedEncoding(str(error)) from None
        # The object does not say whether it has more output.
        is_full = len(decoded) >= max_size or not self._object.can_accept_more_data()
        self.has_more = is_full and not self._object.is_finished()
        return decoded

    def finish(self) -> None:
        """End the body."""
        if self._has_begun and not self._object.is_finished():
            raise MalformedEncoding(_TRUNCATED)


class ZstdDecoder:
    """Decode Zstandard. A body may consist of several frames (RFC 8878 s.3)."""

    __slots__ = ("_input", "_module", "_object", "_options", "_parts")

    def __init__(self, coding: str) -> None:
        self._module = _module("zstd")
        parameter = self._module.DecompressionParameter.window_log_max
        self._options = {
            parameter: _MAX_WINDOW_LOG
        }  # a larger window would cost up to 2 GiB of memory
        self._input = b""
        self._object: Any = None
        self._parts = _Parts()

    @property
    def has_more(self) -> bool:
        """Whether ``decode(b"", ...)`` returns more of the body."""
        if self._input:
            return True
        return self._object is not None and not (self._object.eof or self._object.needs_input)

    def decode(self, chunk: bytes, max_size: int) -> bytes:
        """Return at most ``max_size`` bytes of the decoded body."""
        data = self._input + chunk
        self._input = b""
        if not data and not self.has_more:
            return b""
        if self._object is None or self._object.eof:
            self._parts.begin()
            self._object = self._module.ZstdDecompressor(options=self._options)
        try:
            decoded: bytes = self._object.decompress(data, max_size)
        except self._module.ZstdError as error:
            raise MalformedEncoding(str(error)) from None
        self._parts.size += len(decoded)
        if self._object.eof:
            self._input = self._object.unused_data
        return decoded

    def finish(self) -> None:
        """End the body."""
        if self._object is not None and not self._object.eof:
            raise MalformedEncoding(_TRUNCATED)


DECODERS: dict[str, type[ZlibDecoder] | type[BrotliDecoder] | type[ZstdDecoder]] = {
    "gzip": ZlibDecoder,
    "deflate": ZlibDecoder,
    "br": BrotliDecoder,
    "zstd": ZstdDecoder,
}
"""The decoder of each coding. It takes the coding."""
