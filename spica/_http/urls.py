"""Encode and decode the path and the query of a URL: RFC 3986 and the WHATWG URL standard.

Nothing here knows a scope or resolves a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes, urlencode

# A path must escape these: the characters that end it (RFC 3986 s.3.3), the backslash, which browsers
# read as a slash (WHATWG URL s.4.4), controls, which browsers drop, surrogates, which have no encoding,
# and a percent sign before two digits. A decoded path has no escapes, so that sign is literal.
_NOT_IN_PATH = re.compile(r"[?#\\\x00-\x1f\x7f]|[\ud800-\udfff]|%(?=[0-9A-Fa-f]{2})")

# "#" ends a query (RFC 3986 s.3.4), and URL parsers drop some control characters.
_END_AND_CONTROLS = b"#\x7f" + bytes(range(0x20))
_QUERY_ESCAPES = {byte: f"%{byte:02X}" for byte in _END_AND_CONTROLS}

# Every printable ASCII character except `#`, which ends the query (RFC 3986 s.3.4).
_QUERY_SAFE = "".join(map(chr, range(0x21, 0x7F))).replace("#", "") + " "


def encode_path(path: str) -> str:
    """Escape the characters of a decoded path that would change the meaning of a URL.

    Other characters stay readable, including spaces and letters outside ASCII.
    """
    if (
        path.isprintable()
        and "?" not in path
        and "%" not in path
        and "#" not in path
        and "\\" not in path
    ):
        return path
    return _NOT_IN_PATH.sub(_escape, path)


def encode_leading_slashes(path: str) -> str:
    """Escape the second of two leading slashes.

    RFC 3986 s.4.2: a reference that begins with two slashes names another host.
    """
    return f"/%2F{path[2:]}" if path.startswith("//") else path


def encode_query(query: bytes) -> str:
    """Turn the query of a request into a string that fits in a URL.

    Bytes that are not UTF-8 are percent-encoded.
    """
    try:
        text = query.decode()
    except UnicodeDecodeError:
        return quote_from_bytes(query, safe=_QUERY_SAFE)
    if "#" not in text and text.isprintable():
        return text
    return text.translate(_QUERY_ESCAPES)


def parse_query(query: str | bytes) -> list[tuple[str, str]]:
    """Parse `a=1&b=2` into pairs: WHATWG URL s.5.1, application/x-www-form-urlencoded.

    The function never raises. Bytes that are not UTF-8 become U+FFFD, invalid escapes stay as they are, and
    empty values are kept. The cost is linear in the size of the query.
    """
    if not query:
        return []
    if isinstance(query, str):
        text = query
    else:
        try:
            text = query.decode()  # twice as fast as with an error handler
        except UnicodeDecodeError:
            text = query.decode("utf-8", "replace")
    if "+" in text:
        text = text.replace("+", " ")
    has_escapes = "%" in text
    pairs = []
    for field in text.split("&"):
        if field:
            name, _, value = field.partition("=")
            if has_escapes:
                name, value = decode_component(name), decode_component(value)
            pairs.append((name, value))
    return pairs


def decode_component(text: str) -> str:
    """Decode the percent escapes of one name or value. Bytes that are not UTF-8 become U+FFFD."""
    if "%" not in text:
        return text
    raw = text.encode("utf-8", "surrogatepass")
    return unquote_to_bytes(raw).decode("utf-8", "replace")


def format_query(pairs: Iterable[tuple[str, str]]) -> str:
    """Format pairs as a query: WHATWG URL s.5.2, the serializer of the urlencoded format."""
    return urlencode(list(pairs), errors="replace")


# RFC 3986 s.3.4, s.3.5: the characters of a query and of a fragment.
_PCHAR_AND_MORE = "-._~!$&'()*+,;=:@/?"

Query = str | Mapping[str, Any] | Iterable[tuple[str, Any]] | None


def format_suffix(query: Query, fragment: str | None) -> str:
    """Format the part of a link after the path: "?query#fragment". Each of the two may be None.

    A query of type str is already encoded, so only invalid characters are escaped. Names and values of a
    mapping or of pairs are encoded. A list or tuple as a value repeats its name, and None leaves it out.

    Raises:
        TypeError: The query or the fragment has another type.
    """
    text = ""
    if query is not None:
        written = _write_query(query)
        text = f"?{written}" if written else ""
    if fragment is not None:
        if not isinstance(fragment, str):
            raise TypeError(f"The fragment of a URL must be a string, not {fragment!r:.80}.")
        text += "#" + quote(fragment, safe=_PCHAR_AND_MORE)
    return text


def _write_query(query: Any) -> str:
    if isinstance(query, str):
        return quote(query.removeprefix("?"), safe=_PCHAR_AND_MORE + "%")
    # A multidict may have several values for a name, a mapping has items, and the rest is pairs.
    read: Any = getattr(query, "multi_items", None) or getattr(query, "items", None)
    pairs: list[tuple[str, str]] = []
    try:
        for name, value in query if read is None else read():
            values = value if isinstance(value, (list, tuple)) else [value]
            pairs += [(str(name), str(each)) for each in values if each is not None]
    except (TypeError, ValueError):
        raise TypeError(
            f"The query of a URL must be a mapping, a list of pairs or a string, not {query!r:.80}."
        ) from None
    return format_query(pairs)


# The escapes of ASCII characters, which cover nearly all cases.
_ESCAPES = {chr(code): f"%{code:02X}" for code in range(0x80)}


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in _ESCAPES:
        return _ESCAPES[char]
    try:
        # Servers represent a byte that they could not decode as a surrogate (PEP 383).
        return quote_from_bytes(char.encode("utf-8", "surrogateescape"), safe="")
    except UnicodeEncodeError:
        return quote_from_bytes(char.encode("utf-8", "surrogatepass"), safe="")


def check_request_path(path: str) -> None:
    """Raise an error for a string that can't be the path, with the query, of a request.

    Raises:
        ValueError: It does not begin with "/", or contains characters that must be percent-encoded.
    """
    # RFC 9113 s.8.3.1: the path in the form of a request line
    if path[:1] != "/" or " " in path or not (path.isascii() and path.isprintable()):
        raise ValueError(
            f'{path!r:.80} is not a valid request path: it must begin with "/" and be percent-encoded.'
        )
