"""Read the Host field: `host [":" port]`, RFC 9110 s.7.2 and RFC 3986 s.3.2.2.

This file says whether a text is a host a URL may carry. It does not look a name up, does not
compare it with a list of allowed ones, and does not apply IDNA.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

MAX_HOST_SIZE = 300
"""The longest Host value that is read, in bytes: a DNS name has 255 at most, a port adds six."""

# Values come from requests, so what is remembered of them is small and bounded: at most this
# many hosts of at most MAX_HOST_SIZE bytes.
_REMEMBERED = 64

# RFC 3986 s.3.2.2: host = IP-literal / IPv4address / reg-name, where
#   reg-name = *( unreserved / pct-encoded / sub-delims ); an IPv4 address is one as well.
#   IP-literal = "[" ( IPv6address / IPvFuture ) "]", the latter with a small v, as
#   urllib.parse asks for: a URL is of no use that cannot be taken apart again.
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
    """Split the value of a Host field into its host and its port.

    The host comes in lower case, since case has no meaning there (RFC 3986 s.3.2.2), an IPv6
    address with its brackets. The port is None when the value names none (`a` and `a:`).
    A value that is no host, longer than `MAX_HOST_SIZE`, or with a port above 65535, of which no
    connection can be made, gives None.
    """
    if len(header) > MAX_HOST_SIZE:
        return None
    return _parse(header)


def parse_host_name(header: str) -> str | None:
    """Return the host of a Host field, in lower case and without its port.

    Any port is accepted here (RFC 3986 s.3.2.3 sets no bound), also one that `parse_host` refuses.
    A value that is not a host, or is longer than `MAX_HOST_SIZE`, gives None.
    """
    if len(header) > MAX_HOST_SIZE:
        return None
    split = _split(header)
    return None if split is None else split[0]


def find_host(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Find the value of the Host field among the header pairs of a scope, good or bad.

    None if there is no Host field, or if two of them contradict each other: RFC 9112 s.3.2 calls a
    request with more than one invalid. A repetition of the same value passes.
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

    Answer such a request with 400 (RFC 9112 s.3.2): a proxy in front may have acted on another one.
    """
    return len({value for name, value in headers if name == b"host"}) > 1


def read_host(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Find the host among the header pairs of a scope, as a URL may carry it.

    It is as the client sent it but for the colon of an empty port (RFC 3986 s.6.2.3). None where
    `find_host` finds none, and where `parse_host` takes none from what it finds.
    """
    found = find_host(headers)
    if found is None or len(found) > MAX_HOST_SIZE:
        return None
    return _check(found)


def format_host(host: str, port: int | None = None) -> str:
    """Write a host and a port as a URL carries them, a bare IPv6 address in brackets."""
    # RFC 3986 s.3.2.2: an IP-literal, which alone holds colons, stands within brackets.
    if host.count(":") > 1 and not host.startswith("["):
        host = f"[{host}]"
    return host if port is None else f"{host}:{port}"


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
def _check(value: bytes) -> str | None:
    text = value.decode("latin-1")
    return None if _parse(text) is None else text.removesuffix(":")


def _is_ipv6(address: str) -> bool:
    from ipaddress import AddressValueError, IPv6Address  # few requests name an address

    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return True
