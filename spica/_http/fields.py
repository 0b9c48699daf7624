"""Header fields: valid names and values, lists, weights, and parameters.

All functions are pure, and their cost is linear in the size of their input.

Standards: RFC 9110 s.5.1 (names), s.5.5 (values), s.5.6 (lists, tokens, quoted strings, parameters),
s.8.3.1 (media types), s.12.4.2 (weights).
"""

import re
from collections.abc import Iterator
from itertools import islice

MAX_LIST_ITEMS = 256
"""Members of a list that are read. Legitimate clients send fewer."""

MAX_PARAMETERS = 64
"""Parameters of one value that are read."""

# RFC 9110 s.5.6.2: tchar, the characters of a token
_TOKEN_CHARACTERS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# RFC 9110 s.5.5: a field value holds no control characters except the horizontal tab
_FORBIDDEN_IN_VALUE = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])

_COMMON_NAMES = (
    b"accept accept-ranges access-control-allow-credentials access-control-allow-headers "
    b"access-control-allow-methods access-control-allow-origin access-control-expose-headers "
    b"access-control-max-age age allow authorization cache-control connection content-disposition "
    b"content-encoding content-language content-length content-range content-security-policy "
    b"content-type cookie cross-origin-opener-policy date etag expires host last-modified link "
    b"location origin permissions-policy pragma referer referrer-policy retry-after server "
    b"set-cookie strict-transport-security trailer transfer-encoding upgrade user-agent vary "
    b"via www-authenticate x-content-type-options x-forwarded-for x-frame-options x-request-id"
).split()

# Valid names in the two usual spellings, "content-type" and "Content-Type". `encode_field_name` adds the
# names of your program after it has checked them, within the two bounds below.
known_names = {name.decode(): name for name in _COMMON_NAMES}
known_names.update({name.decode().title(): name for name in _COMMON_NAMES})
_MAX_KNOWN_NAMES = 512
_MAX_KNOWN_NAME_SIZE = 64


def is_token(text: str) -> bool:
    """Return whether `text` is a token, as the names of methods, fields, parameters and cookies are."""
    return bool(text) and text.isascii() and not text.encode().translate(None, _TOKEN_CHARACTERS)


def encode_field_name(name: str | bytes) -> bytes:
    """Encode the name of a header field for ASGI, as lower-case bytes.

    Raises:
        ValueError: The name is empty or contains a character that field names may not contain.
    """
    if isinstance(name, str):
        known = known_names.get(name)
        if known is not None:
            return known
        raw = name.encode() if name.isascii() else b""
    else:
        raw = name
    # RFC 9110 s.5.1: field-name = token
    if not raw or raw.translate(None, _TOKEN_CHARACTERS):
        raise ValueError(
            f"{name!r:.80} is not a valid header name: "
            "use letters, digits and !#$%&'*+-.^_`|~ only."
        )
    lowered = raw.lower()
    if (
        type(name) is str
        and len(name) <= _MAX_KNOWN_NAME_SIZE
        and len(known_names) < _MAX_KNOWN_NAMES
    ):
        known_names[name] = lowered
    return lowered


def encode_field_value(value: str | bytes) -> bytes:
    """Encode the value of a header field as latin-1. Raise an error for characters that could end the field.

    Surrounding white space is removed: it is not part of the value (RFC 9110 s.5.5), and servers reject it.

    Raises:
        ValueError: The value contains a control character (such as CR, LF or NUL), or a character outside
            latin-1. The message gives the character and its position, but not the value, which may be
            secret.
    """
    if isinstance(value, str):
        try:
            raw = value.encode("latin-1")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"A header value has the character {value[error.start]!r} at position "
                f"{error.start}, which is not in latin-1. Percent-encode it, or leave it out."
            ) from None
        if value.isprintable():
            return raw.strip()
    else:
        raw = value
    # RFC 9110 s.5.5: CR, LF and NUL are dangerous, and the other controls are invalid.
    if len(raw.translate(None, _FORBIDDEN_IN_VALUE)) != len(raw):
        position = next(i for i, byte in enumerate(raw) if byte in _FORBIDDEN_IN_VALUE)
        raise ValueError(
            f"A header value has the control character {chr(raw[position])!r} at position "
            f"{position}. Header values must not contain CR, LF, NUL or other control characters."
        )
    return raw.strip()


# RFC 9110 s.5.6.4: a quoted string. Without a closing quote it extends to the end.
_QUOTED_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|,', re.DOTALL)


def split_list(value: str) -> list[str]:
    """Split a comma-separated field value into its members, and drop empty ones.

    Commas in quoted strings do not separate members. At most `MAX_LIST_ITEMS` members are returned.
    """
    # RFC 9110 s.5.6.1.2: empty members are ignored
    if '"' not in value:
        parts = value.split(",", MAX_LIST_ITEMS)[:MAX_LIST_ITEMS]
    else:
        parts = []
        start = 0
        for match in _QUOTED_OR_COMMA.finditer(value):
            if match[0] == ",":
                parts.append(value[start : match.start()])
                start = match.end()
                if len(parts) == MAX_LIST_ITEMS:
                    break
        else:
            parts.append(value[start:])
    return [stripped for part in parts if (stripped := part.strip(" \t"))]


def parse_quality_list(value: str) -> list[tuple[str, float]]:
    """Parse ``gzip;q=0.8, br`` into lower-case members with their weights, in the given order.

    A member keeps its other parameters. A weight of 0 means "not acceptable" and is returned. Members with
    a malformed weight are left out.
    """
    result: list[tuple[str, float]] = []
    for member in split_list(value):
        name, semicolon, parameters = member.partition(";")
        name = name.strip(" \t").lower()
        weight: float | None = 1.0
        if semicolon:
            name, weight = _take_weight(name, parameters)
        if name and weight is not None:
            result.append((name, weight))
    return result


def _take_weight(name: str, parameters: str) -> tuple[str, float | None]:
    """Separate the weight of a member from its other parameters. None is a malformed weight."""
    weight: float | None = 1.0
    for parameter in parameters.split(";", MAX_PARAMETERS):
        key, _, text = parameter.strip(" \t").lower().partition("=")
        # RFC 9110 s.12.4.2: the name of the weight is case-insensitive
        if key == "q":
            weight = parse_weight(text)
        elif key:
            name = f"{name};{key}={text}"
    return name, weight


def parse_weight(text: str) -> float | None:
    """Parse a weight from 0 to 1 with at most three decimals, or return None if it is malformed."""
    # RFC 9110 s.12.4.2: ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )
    whole, _, decimals = text.partition(".")
    if whole not in ("0", "1") or len(decimals) > 3:
        return None
    if decimals and not (decimals.isascii() and decimals.isdigit()):
        return None
    weight = float(text)
    return weight if weight <= 1.0 else None


# RFC 9110 s.5.6.6: parameters = *( OWS ";" OWS [ parameter ] ). The quantifiers are possessive, so the
# search never backtracks. A quoted string without a closing quote ends before the next ";".
_PARAMETER = re.compile(
    r';[ \t]*+([^;="\s]++)[ \t]*+=[ \t]*+("(?:[^"\\]|\\.)*+"|[^;]*+)', re.DOTALL
)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


def iterate_parameters(text: str, limit: int | None = MAX_PARAMETERS) -> Iterator[tuple[str, str]]:
    """Find each ``; name=value`` in `text`. Names are in lower case, and values keep their quotes.

    Parameters without a name or without ``=`` are skipped. At most `limit` parameters are read. None means
    all of them, in linear time.
    """
    for match in islice(_PARAMETER.finditer(text), limit):
        yield match[1].lower(), match[2].rstrip(" \t")


def parse_parameters(text: str) -> dict[str, str]:
    """Parse ``; name=value; other="quoted"``. The first one of several equal names wins."""
    parameters: dict[str, str] = {}
    for name, value in iterate_parameters(text):
        parameters.setdefault(name, unquote_string(value))
    return parameters


def unquote_string(value: str) -> str:
    """Return the content of a quoted string. Any other value is only stripped."""
    value = value.strip(" \t")
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    value = value[1:-1]
    # RFC 9110 s.5.6.4: quoted-pair
    return _QUOTED_PAIR.sub(r"\1", value) if "\\" in value else value


def parse_media_type(value: str) -> tuple[str, dict[str, str]]:
    """Parse a Content-Type into ``("text/html", {"charset": "utf-8"})``.

    The type and the names of the parameters are in lower case. Values are unchanged. An invalid media type
    is returned as it is, and simply equals no valid one.
    """
    # RFC 9110 s.8.3.1: media-type = type "/" subtype parameters
    media_type, semicolon, rest = value.partition(";")
    media_type = media_type.strip(" \t").lower()
    return media_type, parse_parameters(semicolon + rest) if semicolon else {}
