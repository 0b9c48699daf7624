"""The rules of ``GZipMiddleware``: which responses are compressed, and with which fields.

Pure functions of header fields. They compress and send nothing.

Standards: RFC 9110 s.8.4 (Content-Encoding), s.8.8.1 (weak validators), s.12.5.3 (Accept-Encoding),
s.12.5.5 (Vary), s.14.3 (Accept-Ranges), s.15.3.7 (206), s.15.4.5 (304); RFC 9111 s.5.2.2.6
(no-transform); RFC 6839 (suffixes of media types); RFC 9530 (digests).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spica._http.codings import IDENTITY
from spica._http.conditional import parse_entity_tag, parse_entity_tags
from spica._http.fields import parse_quality_list, split_list
from spica.datastructures.headers import add_vary
from spica.responses.sending import WITHOUT_CONTENT

RawHeaders = list[tuple[bytes, bytes]]

DEFAULT_EXCLUDED_CONTENT_TYPES = (
    # Their frames must not wait for others.
    *("text/event-stream", "application/grpc"),
    # They are compressed already: archives,
    *("application/zip", "application/gzip", "application/x-gzip", "application/zstd"),
    *("application/x-bzip", "application/x-bzip2", "application/x-xz", "application/x-lzma"),
    *("application/x-brotli", "application/x-compress", "application/x-lz4", "application/x-lzip"),
    *("application/x-7z-compressed", "application/vnd.rar", "application/x-rar-compressed"),
    *("application/java-archive", "application/vnd.android.package-archive"),
    # documents (viewers request ranges of a PDF, which a compressed response can't offer),
    "application/pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.oasis.opendocument.text",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.oasis.opendocument.presentation",
    # fonts, sound and pictures.
    *("font/woff2", "font/woff", "application/font-woff", "application/font-woff2"),
    *("audio/*", "video/*", "application/ogg"),
    *("image/webp", "image/avif", "image/jpeg", "image/png", "image/gif", "image/apng"),
    *("image/jxl", "image/jp2", "image/heic", "image/heif"),
)
"""Media types that are not compressed by default."""

# The values that browsers and common clients send. Others are parsed.
_COMMON_ACCEPTS = frozenset(
    {b"gzip", b"gzip, deflate", b"gzip, deflate, br", b"gzip, deflate, br, zstd"}
)

# Fields that describe the exact bytes of the content: RFC 9110 s.8.4 and s.14.4, RFC 9530 s.2 and s.3.
_BOUND_TO_BYTES = frozenset(
    {b"content-encoding", b"content-range", b"content-digest", b"repr-digest", b"content-md5"}
)

# RFC 9110 s.14.4: Content-Range gives the position of a 206's bytes, but not their encoding.
_BOUND_TO_CODING = _BOUND_TO_BYTES - {b"content-range"}

# Compressed formats that other media types use as a suffix (RFC 6839, RFC 8878).
_SUFFIXED = frozenset({"application/zip", "application/gzip", "application/zstd"})


def accepts_gzip(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a request with these ``headers`` prefers gzip to no encoding."""
    found = [value for name, value in headers if name == b"accept-encoding"]
    if not found:
        return False
    field = found[0] if len(found) == 1 else b", ".join(found)
    if field in _COMMON_ACCEPTS:
        return True
    if b"gzip" not in field.lower() and b"*" not in field:
        return False
    weights = dict(parse_quality_list(field.decode("latin-1")))
    # RFC 9110 s.8.4.1.3: "x-gzip" is equivalent to "gzip". s.12.5.3: "*" means all others.
    weight = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return weight > 0 and weight >= weights.get(IDENTITY, 0.0)


class EncodableTypes:
    """Decide by status and header fields whether a response may be encoded."""

    __slots__ = ("_excluded", "_excluded_prefixes", "_excluded_suffixes")

    _needs_type = False
    """Whether a response without Content-Type stays unencoded."""

    def __init__(self, excluded: Sequence[str]) -> None:
        self._excluded = frozenset(excluded)
        # gRPC and its subtypes ("+proto") have their own framing and compression.
        self._excluded_prefixes = tuple(
            name[:-1] if name.endswith("/*") else name + "+"
            for name in excluded
            if name.endswith("/*") or name == "application/grpc"
        )
        # RFC 6839 s.3: "application/epub+zip" is a zip file.
        self._excluded_suffixes = tuple(
            "+" + name.partition("/")[2] for name in excluded if name in _SUFFIXED
        )

    def allow(self, status_code: int, raw_headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Return whether this response is encoded for clients that accept the encoding."""
        if status_code == 206 or status_code in WITHOUT_CONTENT:
            return False
        return self._allow_fields(raw_headers, _BOUND_TO_BYTES, self._needs_type)

    def allow_whole(
        self, raw_headers: RawHeaders, minimum_size: int, whole: RawHeaders | None
    ) -> bool:
        """Return whether the 200 that corresponds to a 206 or 304 would be encoded.

        ``whole`` has the fields of that 200 if they are known. Otherwise the answer is yes, unless a field of
        the 206 or 304 excludes it.
        """
        if whole is not None:
            return declared_size(whole) >= minimum_size and self.allow(200, whole)
        size = _size_of_whole(raw_headers)
        if size is not None and size < minimum_size:
            return False
        # RFC 9110 s.15.3.7.2: with several ranges, each part has the type of the whole. s.15.4.5: a 304
        # usually has no Content-Type.
        fields = [field for field in raw_headers if not _is_multipart(*field)]
        return self._allow_fields(fields, _BOUND_TO_CODING, False)

    def _allow_fields(
        self,
        raw_headers: Iterable[tuple[bytes, bytes]],
        forbidden: frozenset[bytes],
        needs_type: bool,
    ) -> bool:
        for name, value in raw_headers:
            name = name.lower()
            if name in forbidden:
                return False
            if name == b"content-type":
                if self._is_excluded(value.partition(b";")[0].strip().lower().decode("latin-1")):
                    return False
                needs_type = False
            elif name == b"cache-control" and b"no-transform" in value.lower():
                # RFC 9111 s.5.2.2.6. Compare whole directives, not substrings.
                directives = split_list(value.decode("latin-1").lower())
                if "no-transform" in directives:
                    return False
        return not needs_type

    def _is_excluded(self, media_type: str) -> bool:
        return (
            media_type in self._excluded
            or media_type.startswith(self._excluded_prefixes)
            or media_type.endswith(self._excluded_suffixes)
        )


def _is_multipart(name: bytes, value: bytes) -> bool:
    """Return whether a field is the Content-Type of a 206 with several ranges (RFC 9110 s.14.6)."""
    return name.lower() == b"content-type" and value.lower().startswith(b"multipart/byteranges")


_GRPC = "application/grpc+"
"""The beginning of the media types of gRPC, which has its own framing and compression."""

EVENT_STREAM = "text/event-stream"
"""The media type of server-sent events: WHATWG HTML s.9.2.5."""


class IncludedTypes(EncodableTypes):
    """Decide by a list of the media types to encode. ``type/*`` and ``+suffix`` match several.

    ``text/*`` does not match event streams, and ``+json`` does not match gRPC. List their types to encode
    them.
    """

    __slots__ = ("_included", "_prefixes", "_suffixes")

    _needs_type = True

    def __init__(self, included: Sequence[str]) -> None:
        super().__init__(())
        self._included = frozenset(included)
        self._prefixes = tuple([name[:-1] for name in included if name.endswith("/*")])
        self._suffixes = tuple([name for name in included if name.startswith("+")])

    def _is_excluded(self, media_type: str) -> bool:
        if media_type in self._included:
            return False
        if media_type == EVENT_STREAM or media_type.startswith(_GRPC):
            return True
        return not (media_type.startswith(self._prefixes) or media_type.endswith(self._suffixes))


def is_event_stream(raw_headers: RawHeaders) -> bool:
    """Return whether the Content-Type is that of an event stream."""
    return any(
        name.lower() == b"content-type"
        and value.partition(b";")[0].strip().lower() == EVENT_STREAM.encode()
        for name, value in raw_headers
    )


def _size_of_whole(raw_headers: RawHeaders) -> int | None:
    """Return the size in bytes of the whole content of a 206, or None if it is unknown."""
    for name, value in raw_headers:
        if name.lower() == b"content-range":
            size = value.rpartition(b"/")[2].strip()
            return int(size) if size.isdigit() and len(size) < 20 else None
    return None


def normalize_types(content_types: Sequence[str]) -> tuple[str, ...]:
    """Return media types in lower case and without parameters, for comparison."""
    return tuple([name.partition(";")[0].strip().lower() for name in content_types])


def check_settings(
    place: str, content_types: Sequence[str], compresslevel: int = 9, **sizes: int
) -> None:
    """Refuse settings that can't work. ``sizes`` are in bytes. Errors name ``place``, the middleware.

    Raises:
        TypeError: a size or ``compresslevel`` is not an int, or ``content_types`` is a single string.
        ValueError: a size is negative, or ``compresslevel`` is not a level of zlib.
    """
    if isinstance(content_types, (str, bytes)):
        raise TypeError(
            f"{place}: exclude_content_types must be a tuple of strings, not the string "
            f"{content_types!r:.80}. Write ({content_types!r:.80},)."
        )
    for name, size in sizes.items():
        if not isinstance(size, int):
            raise TypeError(f"{place}: {name} must be a number of bytes, not {size!r:.80}.")
        if size < 0:
            raise ValueError(f"{place}: {name} must be 0 or more bytes, not {size!r}.")
    if not isinstance(compresslevel, int):
        raise TypeError(f"{place}: compresslevel must be an int, not {compresslevel!r:.80}.")
    if not -1 <= compresslevel <= 9:
        raise ValueError(
            f"{place}: compresslevel must be from 0 to 9, or -1 for zlib's own choice, "
            f"not {compresslevel!r:.80}."
        )


def vary_fields(raw_headers: RawHeaders) -> RawHeaders:
    """Return the fields with Accept-Encoding in Vary (RFC 9110 s.12.5.5), one line, in a new list."""
    present = [value for name, value in raw_headers if name.lower() == b"vary"]
    if not present:
        return [*raw_headers, (b"vary", b"Accept-Encoding")]
    names = [member.lower() for value in present for member in split_list(value.decode("latin-1"))]
    if "*" in names or (len(present) == 1 and "accept-encoding" in names):
        return raw_headers[:]
    # Join all lines at the position of the first one.
    at = [name.lower() for name, _ in raw_headers].index(b"vary")
    line = [(b"vary", b", ".join(present))]
    add_vary(line, "Accept-Encoding")
    rest = [field for field in raw_headers[at:] if field[0].lower() != b"vary"]
    return [*raw_headers[:at], *line, *rest]


def encode_fields(raw_headers: RawHeaders, coding: str, size: int | None) -> RawHeaders:
    """Return the fields of an encoded response. ``size`` is its length in bytes, or None if unknown."""
    # RFC 9110 s.14.3: ranges refer to the unencoded file, so a compressed response offers none.
    dropped = (b"content-length", b"accept-ranges")
    fields = vary_fields([field for field in raw_headers if field[0].lower() not in dropped])
    _weaken_etag(fields)
    fields.append((b"content-encoding", coding.encode("ascii")))
    if size is not None:
        fields.append((b"content-length", b"%d" % size))
    return fields


def revalidated_fields(
    raw_headers: RawHeaders, request_headers: Iterable[tuple[bytes, bytes]] | None
) -> RawHeaders:
    """Return the fields of a 304 for a client that gets the 200 encoded (RFC 9110 s.15.4.5).

    Pass ``request_headers`` if the 200 may be unencoded. The tag then stays strong if the client sent the
    strong tag and not the weak one.
    """
    fields = vary_fields(raw_headers)
    if request_headers is not None:
        asked = [value for name, value in request_headers if name == b"if-none-match"]
        tags = parse_entity_tags(b", ".join(asked).decode("latin-1"))
        for name, value in fields:
            if name.lower() == b"etag":
                tag = parse_entity_tag(value.decode("latin-1"))
                if tag in tags and tag._replace(is_weak=True) not in tags:
                    return fields
    _weaken_etag(fields)
    return fields


def _weaken_etag(fields: RawHeaders) -> None:
    for index, (name, value) in enumerate(fields):
        # RFC 9110 s.8.8.1: equal strong validators mean equal bytes, but the encoded bytes differ.
        if name.lower() == b"etag" and not value.startswith(b"W/"):
            fields[index] = name, b"W/" + value


def declared_size(raw_headers: RawHeaders) -> int:
    """Return the Content-Length in bytes, or 0 if it is missing."""
    for name, value in raw_headers:
        if name.lower() == b"content-length" and value.isdigit() and len(value) < 20:
            return int(value)
    return 0


def is_length_wrong(raw_headers: RawHeaders, size: int) -> bool:
    """Return whether a Content-Length declares another length than ``size`` bytes."""
    return any(
        name.lower() == b"content-length" and value != b"%d" % size for name, value in raw_headers
    )
