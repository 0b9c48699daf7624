"""Origins: the values that browsers send in the Origin field, and patterns for them.

The module helps you to configure which origins may read a response. It finds configured origins that no
browser ever sends, and patterns that match more than intended. It also recognizes requests that a page of
another origin has started.

Standards: RFC 6454 (s.4 origins, s.6.2 serialization, s.7 the field), WHATWG URL s.3.4 (default ports), W3C
Fetch Metadata s.2.3 (Sec-Fetch-Site).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from typing import NamedTuple

from spica._http.host import encode_name, find_host, format_host, parse_host

MAX_ORIGIN_SIZE = 300
"""Longest origin that a pattern is matched against, in characters. A host name has at most 253."""

# RFC 6454 s.4, WHATWG URL s.3.4: schemes with host names, and their default ports.
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}

# RFC 3986 s.3.1: scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_BEHIND_AUTHORITY = re.compile(r"[/?#\\]")


def serialize_origin(text: str) -> str:
    """Return `text` as browsers serialize this origin: lower case, ASCII, without the default port.

    Raises:
        ValueError: It is not an origin, so browsers never send it. The message is a phrase that continues a
            sentence about the value, and includes the fix.
    """
    if text == "null":
        return text  # RFC 6454 s.6.2: a hidden origin, for example that of a sandbox
    scheme, separator, authority = text.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        hint = "" if separator or not text else f": write 'https://{text}'"
        raise ValueError(f"has no scheme{hint}")
    _check_authority(scheme, authority)
    scheme = scheme.lower()
    if scheme in _DEFAULT_PORTS:
        authority = _serialize_host(scheme, authority)
    return f"{scheme}://{authority}"


def _check_authority(scheme: str, authority: str) -> None:
    """Raise ValueError for anything but a host and port after the scheme."""
    end = _BEHIND_AUTHORITY.search(authority)
    if end is not None:
        # RFC 6454 s.6.2: scheme "://" host [ ":" port ], and nothing after it
        what = "a trailing slash" if authority[end.start() :] == "/" else "a path"
        raise ValueError(f"has {what}: write '{scheme}://{authority[: end.start()]}'")
    if "*" in authority:
        raise ValueError("has a '*', which matches only a literal '*' here: use allow_origin_regex")
    if "@" in authority:
        raise ValueError("has a user name, which an origin can't have")
    if not authority.isprintable() or " " in authority:
        raise ValueError("has a blank or control character")


def _serialize_host(scheme: str, authority: str) -> str:
    try:
        parsed = parse_host(encode_name(authority))  # RFC 6454 s.4: names are compared in ASCII
    except UnicodeError:
        parsed = None
    if parsed is None:
        raise ValueError("has no valid host and port")
    host, port = parsed
    if "%" in host:
        raise ValueError("has a percent-encoded host, which browsers send decoded")
    if host.startswith("["):
        host = f"[{_shorten_address(host[1:-1])}]"
    elif _ENDS_IN_NUMBER.search(host) and not _is_ipv4(host):
        raise ValueError(
            "has an address that browsers write in another way: write four decimal numbers, such as "
            "'127.0.0.1'"
        )
    return format_host(host, None if port == _DEFAULT_PORTS[scheme] else port)


# WHATWG URL s.3.5: a host whose last label is a number is an IPv4 address.
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$")


def _is_ipv4(host: str) -> bool:
    from ipaddress import AddressValueError, IPv4Address  # imported late: few origins need it

    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True


def _shorten_address(address: str) -> str:
    """Return an IPv6 address as browsers write it (WHATWG URL s.3.5, RFC 5952 s.4)."""
    from ipaddress import AddressValueError, IPv6Address  # imported late: few origins need it

    try:
        parsed = IPv6Address(address)
    except AddressValueError:  # RFC 3986 s.3.2.2: an address of a future version
        return address
    if parsed.ipv4_mapped is not None:  # Python 3.13 and later write its end as an IPv4 address
        number = int(parsed.ipv4_mapped)
        return f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}"
    return parsed.compressed


# WHATWG HTML s.10.5.2: the Origin of a WebSocket handshake is that of the page.
_SCHEMES_OF_PAGES = {"ws": "http", "wss": "https"}


def request_origin(scheme: str, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the origin that a request is sent to, as browsers serialize it, or None without a valid Host.

    ``scheme`` and ``headers`` are those of the scope. A WebSocket gets the origin of a page on its host.
    """
    field = find_host(headers)
    parsed = None if field is None else parse_host(field.decode("latin-1"))
    if parsed is None:
        return None
    scheme = _SCHEMES_OF_PAGES.get(scheme, scheme)
    host, port = parsed
    return f"{scheme}://{format_host(host, None if port == _DEFAULT_PORTS.get(scheme) else port)}"


_OWN_SITES = (b"same-origin", b"none")  # "none": the user typed the address or opened a bookmark


def find_cross_origin(
    scheme: str, headers: Iterable[tuple[bytes, bytes]], trusted: Set[bytes]
) -> str | None:
    """Return why a request comes from a page of another origin, or None if it does not.

    Args:
        scheme, headers: Those of the scope.
        trusted: The other origins that are allowed, as browsers send them.
    """
    headers = list(headers)
    origins = [value.strip() for name, value in headers if name == b"origin"]
    if origins and set(origins).issubset(trusted):
        return None
    sites = [value.strip() for name, value in headers if name == b"sec-fetch-site"]
    site = b", ".join(filter(None, sites))
    if site:  # W3C Fetch Metadata s.2.3
        if site in _OWN_SITES:
            return None
        return "Cross-origin request refused: Sec-Fetch-Site is neither same-origin nor none."
    if not any(origins):
        return None  # every browser sends one of the two fields
    own = request_origin(scheme, headers)
    if own is None:
        return "Cross-origin request refused: its Origin is not valid, as its Host is invalid."
    if set(origins) == {own.encode()}:
        return None
    return f"Cross-origin request refused: its Origin is not {own}."


def parse_trusted_origins(origins: Iterable[str], location: str) -> tuple[str, ...]:
    """Return origins as browsers send them.

    Raises:
        ValueError: One is not an origin, or trusts strangers. The message begins with ``location``.
    """
    checked = []
    for origin in origins:
        if "*" in origin or origin == "null":
            # Sandboxed pages of every site have the origin "null".
            raise ValueError(
                f"{location} has {origin!r:.300}, which would trust pages of strangers. List each origin, "
                "such as 'https://example.org'."
            )
        try:
            checked.append(serialize_origin(origin))
        except ValueError as error:
            raise ValueError(
                f"{location} has {origin!r:.300}, which can never match: it {error}."
            ) from None
    return tuple(checked)


class Looseness(NamedTuple):
    """A part of a pattern that matches more than it seems to."""

    position: int
    text: str


# The grammar of `re`, as far as it determines the neighbours of a dot.
_PIECES = re.compile(
    r"""
      (?P<escape> \\. )
    | (?P<set> \[ \^? \]? (?: \\. | [^\]\\] )*+ \]? )
    | (?P<open> \( (?: \? (?: P?<\w+> | <?[=!] | > | [a-zA-Z-]*:? ) )? )
    | (?P<repeat> (?: [*+?] | \{\d*,?\d*\} ) [?+]? )
    | (?P<dot> \. )
    | (?P<letter> \w )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
Piece = tuple[str, str]
_END = ("other", "$")
_ENDS = ("|", "$")
_ANY = "'.' is any character there: write '\\.'"


def find_looseness(pattern: str) -> list[Looseness]:
    """Return the parts of an origin pattern that probably match more than intended.

    The function finds an unescaped dot inside a name, and a wildcard directly before or after a name. Each
    of them matches origins that a stranger can register. An empty result does not prove that a pattern is
    safe.
    """
    pieces = [(match.lastgroup or "", match[0]) for match in _PIECES.finditer(pattern)]
    inside = _before_a_dot(pieces)
    pieces += [_END] * 2
    found = []
    position, before = 0, _END
    for at, piece in enumerate(pieces[:-2]):
        if piece[0] == "dot" or (piece[0] == "set" and piece[1].startswith("[^")):
            text = _judge(piece, before, pieces[at + 1], pieces[at + 2])
            if text is not None and (text is not _ANY or inside[at]):
                found.append(Looseness(position, text))
        position, before = position + len(piece[1]), piece
    return found


def _before_a_dot(pieces: list[Piece]) -> list[bool]:
    """Return, for each piece, whether a dot follows it in the same alternative.

    A wildcard in place of the last dot of a name is harmless, since "exampleXorg" cannot be registered.
    """
    answers = []
    depth, has_dot = 0, False
    for kind, text in reversed(pieces):
        answers.append(has_dot)
        if kind == "dot" or text in ("\\.", "[.]"):
            has_dot = True
        elif text == "|" and depth == 0:
            has_dot = False
        elif kind == "open":
            depth -= 1
        elif text == ")":
            depth += 1
    answers.reverse()
    return answers


def _judge(wide: Piece, before: Piece, after: Piece, next_after: Piece) -> str | None:
    """Return the problem with a piece that matches nearly any character, given its neighbours, or None."""
    if after[0] != "repeat":
        return _ANY if wide[0] == "dot" else None
    if next_after[0] == "letter":
        return "anything may precede the name there"
    if next_after[1] in _ENDS and (before[0] == "letter" or before[1] == "\\."):
        return "anything may follow the name there"
    return None
