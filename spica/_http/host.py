"""Read the Host field: `host [":" port]`, RFC 9110 s.7.2 and RFC 3986 s.3.2.2.

This module decides whether a string is a valid host of a URL. It does not resolve names, or compare them with
allowed hosts. Only names that a program configures may have letters outside of ASCII, see `encode_name`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

MAX_HOST_SIZE = 300
"""Longest Host value that is read, in bytes. A DNS name has at most 255, and a port adds six."""

# Clients choose the values, so the caches are small: this many hosts of at most MAX_HOST_SIZE bytes.
_REMEMBERED = 64

# RFC 3986 s.3.2.2: host = IP-literal / IPv4address / reg-name, where
#   reg-name = *( unreserved / pct-encoded / sub-delims ), which includes IPv4 addresses.
#   IP-literal = "[" ( IPv6address / IPvFuture ) "]". Only a lower-case "v" is accepted, because
#   urllib.parse could not split a URL with "V".
# RFC 9110 s.4.2.1: an http URI with an empty host is invalid, hence `+`.
# RFC 3986 s.3.2.3: port = *DIGIT.
_HOST = re.compile(
    r"""(?P<host>
        \[ (?: (?P<v6> [0-9A-Fa-f:.]+ ) | v[0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+ ) \]
      | (?: [A-Za-z0-9._~!$&'()*+,;=-] | %[0-9A-Fa-f]{2} )+
    )
    (?: : (?P<port>[0-9]*) )?""",
    re.VERBOSE,
)


def parse_host(header: str) -> tuple[str, int | None] | None:
    """Split the value of a Host field into its host and port.

    The host is in lower case, since case has no meaning there (RFC 3986 s.3.2.2). An IPv6 address keeps its
    brackets. The port is None if the value has none (`a` or `a:`).

    The result is None for an invalid host, for a value longer than `MAX_HOST_SIZE`, and for a port above
    65535.
    """
    if len(header) > MAX_HOST_SIZE:
        return None
    return _parse(header)


def parse_host_name(header: str) -> str | None:
    """Return the host of a Host field, in lower case and without its port.

    Any port is accepted, even one that `parse_host` rejects, since RFC 3986 s.3.2.3 sets no bound. The
    result is None for an invalid host and for a value longer than `MAX_HOST_SIZE`.
    """
    if len(header) > MAX_HOST_SIZE:
        return None
    split = _split(header)
    return None if split is None else split[0]


def find_host(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the value of the Host field in the headers of a scope, valid or not.

    The result is None if there is no Host field, or if there are several with different values: RFC 9112
    s.3.2 calls such a request invalid. Repetitions of the same value are accepted.
    """
    found: bytes | None = None
    for name, value in headers:
        if name == b"host":
            if found is not None and found != value:
                return None
            found = value
    return found


def has_contradicting_hosts(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a request has several Host fields with different values.

    Answer such a request with 400 (RFC 9112 s.3.2): a proxy in front may have used another one of them.
    """
    return len({value for name, value in headers if name == b"host"}) > 1


def read_host(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the host and port in the headers of a scope in a form that fits in a URL.

    The spelling is that of the client, without the colon of an empty port (RFC 3986 s.6.2.3). The result is
    None if `find_host` finds no value, or if `parse_host` rejects it.
    """
    found = find_host(headers)
    if found is None or len(found) > MAX_HOST_SIZE:
        return None
    return _to_url_host(found)


def format_host(host: str, port: int | None = None) -> str:
    """Format a host and port for a URL. A bare IPv6 address gets brackets."""
    # RFC 3986 s.3.2.2: only an IP-literal contains colons, and it needs brackets.
    if host.count(":") > 1 and not host.startswith("["):
        host = f"[{host}]"
    return host if port is None else f"{host}:{port}"


def encode_name(name: str) -> str:
    """Return the ASCII form of a host name, with or without a port, as clients send it (RFC 5890 s.2.3.2.1).

    Python's codec follows IDNA 2003, which maps some letters to others: it turns ``faß.de`` into ``fass.de``.
    Browsers ask for ``xn--fa-hia.de``, and the other domain may belong to a stranger.

    Raises:
        UnicodeError: The name has no ASCII form.
        ValueError: The form is not the same everywhere. The message is a phrase that continues a sentence
            about the name, and includes the fix.
    """
    if name.isascii():
        return name
    import unicodedata  # imported late: few programs configure such names

    encoded = name.encode("idna")
    if encoded.decode("idna") != unicodedata.normalize("NFKC", name.lower()):
        raise ValueError(
            "has a letter that browsers and Python encode in different ways: write the ASCII form of the "
            "name, which has 'xn--' in it"
        )
    return encoded.decode()


def _split(header: str) -> tuple[str, str | None] | None:
    match = _HOST.fullmatch(header)
    if match is None or (match["v6"] is not None and not _is_ipv6(match["v6"])):
        return None
    return match["host"].lower(), match["port"]


@lru_cache(maxsize=_REMEMBERED)
def _parse(header: str) -> tuple[str, int | None] | None:
    split = _split(header)
    if split is None:
        return None
    host, digits = split
    port = int(digits) if digits else None
    # RFC 9293 s.3.1: a port has 16 bits.
    return None if port is not None and port > 65535 else (host, port)


@lru_cache(maxsize=_REMEMBERED)
def _to_url_host(value: bytes) -> str | None:
    text = value.decode("latin-1")
    return None if _parse(text) is None else text.removesuffix(":")


def _is_ipv6(address: str) -> bool:
    from ipaddress import AddressValueError, IPv6Address  # imported late: few requests need it

    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return True
