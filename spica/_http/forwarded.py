"""Read the fields in which proxies report the connection they have accepted: X-Forwarded-* and Forwarded.

Each proxy appends one entry to a list. The client may have sent entries of its own, so the list is read from
its end, and only as far as its writers are trusted. This module parses; it does not decide whom to trust.

Quoted strings are found from the end, too. So a client that sends an open quote can't swallow the element
that a proxy has appended.

Standards: RFC 7239 (Forwarded), RFC 9110 s.5.3 and s.5.6.1 (lists).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

from spica._http.fields import is_token, unquote_string

MAX_ENTRIES = 32
"""Entries of a list that are read, counted from its end. Real chains of proxies have fewer than ten."""

MAX_FIELD_SIZE = 4096
"""Bytes of a list that are read, counted from its end."""

MAX_NODE_SIZE = 64
"""Longest entry that can be an address with a port, in characters. An IPv6 address takes up to 53."""

MAX_PREFIX_SIZE = 256
"""Longest path prefix, in characters."""

# Clients choose the addresses, so the cache is small.
_REMEMBERED = 1024

# RFC 7239 s.6: node = nodename [ ":" node-port ], nodename = IPv4address / "[" IPv6address "]"
#   node-port = 1*5DIGIT / obfport. X-Forwarded-For also has IPv6 addresses without brackets.
_NODE = re.compile(
    r"""(?: \[ (?P<v6> [0-9A-Fa-f]*:[0-9A-Fa-f:.]* ) \] | (?P<v4> [0-9.]+ ) )
        (?: : (?: (?P<port> [0-9]{1,5} ) | _[A-Za-z0-9._-]+ ) )?
      | (?P<bare> [0-9A-Fa-f]* : [0-9A-Fa-f]* : [0-9A-Fa-f:.]* )""",
    re.VERBOSE,
)

# RFC 9110 s.5.6.4: a quoted string in reversed text. The first quote is the closing one. Another quote is
# escaped if a backslash follows, and otherwise opens the string. Without one, it extends to the beginning.
_QUOTED_OR_COMMA_BACKWARDS = re.compile(r'"(?:[^"]|"(?=\\))*+"?|,', re.DOTALL)

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_QUOTED_OR_SEMICOLON = re.compile(rf"{_QUOTED.pattern}|;", re.DOTALL)

# RFC 3986 s.3.3: segments of pchar, without percent-encoding, which servers decode in different ways.
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+;=:@-]+)+")

# RFC 4291 s.2.5.5.2: an IPv4 address that a socket for both versions reports as IPv6.
_MAPPED = bytes(10) + b"\xff\xff"


class Node(NamedTuple):
    """The address of a client or proxy, as an entry names it."""

    host: str
    """An IPv4 or IPv6 address in its usual spelling, without brackets."""
    port: int
    """0 if the entry has none."""


def last_members(lines: Sequence[bytes]) -> list[str]:
    """Return the members of a list field, the last one first. Several lines are one list.

    At most `MAX_ENTRIES` members within the last `MAX_FIELD_SIZE` bytes are returned, empty ones left out.
    """
    value, is_cut = _read_end(lines)
    members = value.rsplit(",", MAX_ENTRIES)
    if is_cut or len(members) > MAX_ENTRIES:
        del members[0]  # a part of a member, or all members before the last ones
    return [member for text in reversed(members) if (member := text.strip(" \t"))]


def last_elements(lines: Sequence[bytes]) -> list[str]:
    """Return the elements of a Forwarded field, as `last_members` does. Quoted commas split nothing."""
    value, is_cut = _read_end(lines)
    if '"' not in value:
        return last_members(lines)
    backwards = value[::-1]
    elements, start = [], 0
    for match in _QUOTED_OR_COMMA_BACKWARDS.finditer(backwards):
        if match[0] == ",":
            elements.append(backwards[start : match.start()])
            start = match.end()
            if len(elements) == MAX_ENTRIES:
                break
    else:
        if not is_cut:
            elements.append(backwards[start:])
    return [element for text in elements if (element := text[::-1].strip(" \t"))]


def _read_end(lines: Sequence[bytes]) -> tuple[str, bool]:
    """Return the end of a list field, and whether its beginning is left out."""
    value = lines[0] if len(lines) == 1 else b",".join(lines)
    return value[-MAX_FIELD_SIZE:].decode("latin-1"), len(value) > MAX_FIELD_SIZE


def parse_node(text: str) -> Node | None:
    """Parse an address with an optional port: ``192.0.2.1``, ``192.0.2.1:80``, ``[2001:db8::1]:80``.

    The result is None for everything else: ``unknown``, an obfuscated ``_name`` (RFC 7239 s.6.3), garbage.
    """
    return None if len(text) > MAX_NODE_SIZE else _parse_node(text)


@lru_cache(maxsize=_REMEMBERED)
def _parse_node(text: str) -> Node | None:
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    packed = pack_address(match["v4"] or match["v6"] or match["bare"])
    if packed is None:
        return None
    port = int(match["port"] or 0)
    if port > 65535:
        return None
    return Node(inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed), port)


def pack_address(host: str) -> bytes | None:
    """Return an IP address as 4 or 16 bytes, or None if ``host`` is none.

    An IPv4 address within IPv6 (RFC 4291 s.2.5.5.2) counts as IPv4. The zone of a link-local address is
    ignored (RFC 4007 s.11).
    """
    host, _, _ = host.partition("%")
    try:
        packed = inet_pton(AF_INET6 if ":" in host else AF_INET, host)
    except (OSError, ValueError):  # ValueError: it contains a NUL
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed


def parse_element(text: str) -> dict[str, str]:
    """Parse one element of a Forwarded field into its parameters, with names in lower case.

    The result is empty for a malformed element: RFC 7239 s.4 allows each name once.
    """
    parameters: dict[str, str] = {}
    for pair in _split_pairs(text):
        if not pair:
            continue  # RFC 7239 s.4: forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )
        name, equals, value = pair.partition("=")
        name = name.lower()
        if not equals or not is_token(name) or name in parameters:
            return {}
        value = value.strip(" \t")
        if '"' in value and not _QUOTED.fullmatch(value):
            return {}
        parameters[name] = unquote_string(value)
    return parameters


def _split_pairs(text: str) -> list[str]:
    if '"' not in text:
        pairs = text.split(";")
    else:
        pairs, start = [], 0
        for match in _QUOTED_OR_SEMICOLON.finditer(text):
            if match[0] == ";":
                pairs.append(text[start : match.start()])
                start = match.end()
        pairs.append(text[start:])
    return [pair.strip(" \t") for pair in pairs]


def parse_prefix(text: str) -> str | None:
    """Return a clean path prefix without its final slash, or None for any other value.

    A clean prefix has no empty segments, no ``.`` and ``..``, and no percent-encoding. ``/`` is empty.
    """
    prefix = text.removesuffix("/")
    if not prefix:
        return "" if text else None
    if len(prefix) > MAX_PREFIX_SIZE or _PREFIX.fullmatch(prefix) is None:
        return None
    return prefix
