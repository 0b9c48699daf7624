"""Whether a response is compressed, and what that does to its fields: the rules of ``GZipMiddleware``.

Pure functions of header fields. Nothing is compressed or sent here.

Standards: RFC 9110 s.8.4 (Content-Encoding), s.8.8.1 (weak validators), s.12.5.3 (Accept-Encoding),
s.12.5.5 (Vary); RFC 9530 (digests).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spica._http.fields import parse_quality_list, split_list
from spica.responses.chunks import WITHOUT_CONTENT

RawHeaders = list[tuple[bytes, bytes]]

DEFAULT_EXCLUDED_CONTENT_TYPES = (
    # Their frames must not wait for others.
    *("text/event-stream", "application/grpc"),
    # They are compressed already.
    *("application/zip", "application/gzip", "application/x-gzip", "font/woff2", "font/woff"),
    *("audio/*", "video/*"),
    *("image/webp", "image/avif", "image/jpeg", "image/png", "image/gif"),
)
"""Media types that are not compressed unless the setting says otherwise."""

IDENTITY = "identity"

# What browsers and the usual clients send; anything else is parsed.
_COMMON_ACCEPTS = frozenset(
    {b"gzip", b"gzip, deflate", b"gzip, deflate, br", b"gzip, deflate, br, zstd"}
)

# Fields that speak of the very bytes of the content: RFC 9110 s.8.4 and s.14.4, RFC 9530 s.2 and s.3.
_BOUND_TO_BYTES = frozenset(
    {b"content-encoding", b"content-range", b"content-digest", b"repr-digest", b"content-md5"}
)


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
    # RFC 9110 s.8.4.1.3: "x-gzip" is equivalent to "gzip"; s.12.5.3: "*" is all that is not listed.
    weight = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return weight > 0 and weight >= weights.get(IDENTITY, 0.0)


class EncodableTypes:
    """Which responses may be encoded, by their status and their fields."""

    __slots__ = ("_excluded", "_excluded_prefixes")

    def __init__(self, excluded: Sequence[str]) -> None:
        self._excluded = frozenset(excluded)
        # The subtypes of gRPC ("+proto") are framed and compressed as it is.
        self._excluded_prefixes = tuple(
            name[:-1] if name.endswith("/*") else name + "+"
            for name in excluded
            if name.endswith("/*") or name == "application/grpc"
        )

    def allow(self, status_code: int, raw_headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Return whether this response would be encoded for a client that accepts it."""
        if status_code == 206 or status_code in WITHOUT_CONTENT:
            return False
        for name, value in raw_headers:
            name = name.lower()
            if name in _BOUND_TO_BYTES:
                return False
            if name == b"content-type":
                media_type = value.partition(b";")[0].strip().lower().decode("latin-1")
                if media_type in self._excluded or media_type.startswith(self._excluded_prefixes):
                    return False
        return True


def normalize_types(content_types: Sequence[str]) -> tuple[str, ...]:
    """Return media types in lower case and without parameters, as they are compared."""
    return tuple([name.partition(";")[0].strip().lower() for name in content_types])


def check_settings(
    place: str, content_types: Sequence[str], compresslevel: int = 9, **sizes: int
) -> None:
    """Refuse settings that can't work; ``sizes`` are in bytes, ``place`` is whose settings they are.

    Raises:
        TypeError: a size or ``compresslevel`` is not an int, or ``content_types`` is a single string.
        ValueError: a size is negative, or ``compresslevel`` is none of zlib.
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
    """Return the fields with Accept-Encoding in Vary (RFC 9110 s.12.5.5), in a new list."""
    for name, value in raw_headers:
        if name.lower() == b"vary":
            names = [member.lower() for member in split_list(value.decode("latin-1"))]
            if "*" in names or "accept-encoding" in names:
                return raw_headers[:]
    return [*raw_headers, (b"vary", b"Accept-Encoding")]


def encode_fields(raw_headers: RawHeaders, coding: str, size: int | None) -> RawHeaders:
    """Return the fields of an encoded response; ``size`` is its length in bytes, if that is known."""
    fields = vary_fields([field for field in raw_headers if field[0].lower() != b"content-length"])
    for index, (name, value) in enumerate(fields):
        # RFC 9110 s.8.8.1: what has a strong validator is the same in every byte.
        if name.lower() == b"etag" and not value.startswith(b"W/"):
            fields[index] = name, b"W/" + value
    fields.append((b"content-encoding", coding.encode("ascii")))
    if size is not None:
        fields.append((b"content-length", b"%d" % size))
    return fields


def declared_size(raw_headers: RawHeaders) -> int:
    """Return the Content-Length in bytes; 0 if there is none."""
    for name, value in raw_headers:
        if name.lower() == b"content-length" and value.isdigit() and len(value) < 20:
            return int(value)
    return 0
