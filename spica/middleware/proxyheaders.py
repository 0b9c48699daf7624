"""Learn the address of the client, its scheme and its host from trusted proxies.

Behind a proxy, the server sees connections from the proxy. The proxy reports the client in X-Forwarded-For or
Forwarded, but the client can send these fields, too. So this layer reads them only from peers that you trust,
from the end of the list, and only as far as trusted proxies have written it.

The layer changes ``client`` and ``scheme`` of the scope, and, if you ask for it, Host and ``root_path``.

Standards: RFC 7239 (Forwarded), RFC 9110 s.5.3 (lists), s.7.2 (Host).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from spica._asgi.scope import restore_prefix
from spica._diagnostics.arguments import check_flag, check_strings
from spica._diagnostics.middleware_order import READS_PROXY
from spica._http.forwarded import (
    MAX_ENTRIES,
    Node,
    last_elements,
    last_members,
    pack_address,
    parse_element,
    parse_node,
    parse_prefix,
)
from spica._http.host import parse_host
from spica._originals import remember
from spica.exceptions import warn_configuration
from spica.layers import Answer, Layer

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Receive, Scope, Send

LOOPBACK = ("127.0.0.0/8", "::1/128")
"""Proxies on the same machine."""

UNIX = "unix"
"""The name of peers without an address in ``trusted``: a proxy that connects through a Unix socket."""

WIDEST_PREFIX_LENGTH = 8
"""Trusting a wider network than a /8 is probably a mistake."""

_MAPPED_PREFIX_LENGTH = 96
"""RFC 4291 s.2.5.5.2: the bits before an IPv4 address within IPv6."""

# The caches hold this many addresses, and reports of at most so many fields and bytes each.
_REMEMBERED = 1024
_MAX_CACHED_FIELDS = 5
_MAX_CACHED_SIZE = 256

_FOR, _PROTO, _HOST = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"
_PREFIX, _FORWARDED = b"x-forwarded-prefix", b"forwarded"

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_SOCKET_SCHEMES = {"http": "ws", "https": "wss"}


class _Network(NamedTuple):
    """A network of trusted peers, as numbers."""

    size: int  # bytes of an address
    shift: int  # bits of the host part
    number: int  # the network part


class _Report(NamedTuple):
    """What trusted proxies report about a connection. None: nothing valid."""

    client: Node | None
    scheme: str | None
    host: str | None
    prefix: str | None


_Fields = tuple[tuple[bytes, bytes], ...]


class ProxyHeadersMiddleware(Layer):
    """Set the client's address and scheme from the headers of trusted proxies.

    The layer walks the list from its end. It skips trusted entries; the first other entry is the client. At
    an entry that is not an address, it stops and keeps the last good one. Headers of an untrusted peer change
    nothing. Put this layer outermost, and switch off the handling of proxy headers in the server. Only
    OpenTelemetry and ``RequestIdMiddleware`` may be further out.

    Args:
        app: The inner app.
        trusted: Addresses and networks of your proxies, for example ``"10.0.0.0/8"``. ``"unix"`` trusts
            peers without an address, which connect through a Unix socket. The default is this machine.
        hops: The number of entries to skip, instead of the trusted ones: the number of proxies between the
            peer and the client. Use it if they have no fixed addresses (a CDN). The peer itself must be in
            ``trusted``, and no client may reach it past the other proxies. At most 31.
        field: ``"x-forwarded"`` reads X-Forwarded-For and X-Forwarded-Proto, ``"forwarded"`` reads Forwarded
            (RFC 7239). The other field is ignored.
        host: Whether the reported host replaces the Host field. Off by default, because most proxies pass
            Host unchanged.
        prefix: Whether X-Forwarded-Prefix becomes ``root_path``. For proxies that strip a prefix.

    Raises:
        TypeError: ``trusted`` is not a list of strings, or another argument has the wrong type.
        ValueError: ``trusted`` has ``"*"`` or a value that is not a network, ``hops`` is out of range, or
            ``field`` is unknown.

    Example:
        ``Middleware(ProxyHeadersMiddleware, trusted=["10.0.0.0/8"])``
    """

    middleware_traits = (READS_PROXY,)

    def __init__(
        self,
        app: ASGIApp,
        *,
        trusted: Sequence[str] = LOOPBACK,
        hops: int | None = None,
        field: Literal["x-forwarded", "forwarded"] = "x-forwarded",
        host: bool = False,
        prefix: bool = False,
    ) -> None:
        super().__init__(app)
        if field not in ("x-forwarded", "forwarded"):
            raise ValueError(
                f"ProxyHeadersMiddleware: field must be 'x-forwarded' or 'forwarded', not {field!r:.80}."
            )
        self.trusted = _check_trusted(trusted)
        self.hops = _check_hops(hops)
        self.field = field
        self.host = bool(check_flag(host, "ProxyHeadersMiddleware: host"))
        self.prefix = bool(check_flag(prefix, "ProxyHeadersMiddleware: prefix"))
        self._networks = [_to_network(name) for name in self.trusted if name != UNIX]
        self._trusts = lru_cache(maxsize=_REMEMBERED)(self._is_trusted)
        self._cached_report = lru_cache(maxsize=_REMEMBERED)(self._read)
        names = {_FOR, _PROTO} if field == "x-forwarded" else {_FORWARDED}
        if host and field == "x-forwarded":
            names.add(_HOST)
        if prefix:
            names.add(_PREFIX)
        self._names = frozenset(names)

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the inner answer to the request as the client sent it."""
        self._rewrite(request.scope)
        return await self.inner.respond(request)

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do the same for a WebSocket. Other scopes pass."""
        if scope["type"] == "websocket":
            self._rewrite(scope)
        await self.inner.connect(scope, receive, send)

    def _rewrite(self, scope: Scope) -> None:
        client = scope.get("client")
        if not self._trusts(client[0] if client else ""):
            return
        headers = scope["headers"]
        if type(headers) is not list:  # ASGI allows any iterable, even an iterator
            headers = scope["headers"] = list(headers)
        names = self._names
        fields = [(name, value) for name, value in headers if name in names]
        if not fields:
            return
        self._apply(scope, self._report(tuple(fields)))

    def _report(self, fields: _Fields) -> _Report:
        """Return the report in the fields of a trusted peer. A usual one is remembered."""
        if len(fields) > _MAX_CACHED_FIELDS:
            return self._read(fields)
        for _, value in fields:
            if len(value) > _MAX_CACHED_SIZE:
                return self._read(fields)
        return self._cached_report(fields)

    def _apply(self, scope: Scope, report: _Report) -> None:
        if report.client is not None:
            scope["client"] = (report.client.host, report.client.port)
        if report.scheme is not None:
            is_socket = scope["type"] == "websocket"
            scope["scheme"] = _SOCKET_SCHEMES[report.scheme] if is_socket else report.scheme
        if report.host is not None:
            # A new list: the server owns the old one.
            others = [field for field in scope["headers"] if field[0] != b"host"]
            scope["headers"] = [(b"host", report.host.encode("latin-1")), *others]
        if report.prefix is not None:
            scope["root_path"] = report.prefix
            restore_prefix(scope)  # ASGI: path includes root_path

    def _read(self, fields: _Fields) -> _Report:
        """Return the report in the fields of a trusted peer."""
        found: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            found.setdefault(name, []).append(value)
        if self.field == "forwarded":
            elements = [parse_element(text) for text in last_elements(found.get(_FORWARDED, ()))]
            at, client = self._walk(element.get("for", "") for element in elements)
            element = elements[at] if elements else {}
            proto, host = element.get("proto", ""), element.get("host", "")
        else:
            at, client = self._walk(last_members(found.get(_FOR, ())))
            proto, host = _pick(found, _PROTO, at), _pick(found, _HOST, at)
        is_host = self.host and host != "" and parse_host(host) is not None
        return _Report(
            client,
            _SCHEMES.get(proto.lower()),
            host if is_host else None,
            parse_prefix(_pick(found, _PREFIX, at)),
        )

    def _walk(self, entries: Iterable[str]) -> tuple[int, Node | None]:
        """Return the position, from the end, of the last entry that was read, and the client's address.

        A trusted proxy has written each entry that is read.
        """
        client, at = None, 0
        for at, entry in enumerate(entries):
            node = parse_node(entry)
            if node is None:  # RFC 7239 s.6: unknown or obfuscated; or garbage
                break
            client = node
            is_last = at == self.hops if self.hops is not None else not self._trusts(node.host)
            if is_last:
                break
        return at, client

    def _is_trusted(self, host: str) -> bool:
        """Return whether an address belongs to a trusted proxy."""
        packed = pack_address(host) if host else None
        if packed is None:
            return UNIX in self.trusted and (not host or host.startswith(("unix:", "/")))
        size, number = len(packed), int.from_bytes(packed)
        return any(
            network.size == size and network.number == number >> network.shift
            for network in self._networks
        )


remember(ProxyHeadersMiddleware, "respond")


def _pick(found: dict[bytes, list[bytes]], name: bytes, at: int) -> str:
    """Return the member at a position from the end; the first member of a shorter list; "" without a field.

    A proxy may append to one list and replace another one.
    """
    if name not in found:
        return ""
    members = last_members(found[name])
    return members[min(at, len(members) - 1)] if members else ""


def _check_trusted(trusted: Sequence[str]) -> tuple[str, ...]:
    place = "ProxyHeadersMiddleware: trusted"
    check_strings(trusted, place)
    if "*" in trusted:
        raise ValueError(
            f"{place} must not be '*': every client could then choose its own address, and limits by address "
            "would be void. List the addresses or networks of your proxies, for example ['10.0.0.0/8']."
        )
    for name in trusted:
        if name != UNIX:
            _check_network(name, place)
    if not trusted:
        warn_configuration(f"{place} is empty, so the headers of all proxies are ignored.")
    return tuple(trusted)


def _check_network(name: str, place: str) -> None:
    try:
        network = _parse_network(name)
    except ValueError:
        raise ValueError(
            f"{place} has {name!r:.80}, which is not an address, a network such as '10.0.0.0/8', or 'unix'. "
            "Names are not resolved."
        ) from None
    if network.prefixlen < WIDEST_PREFIX_LENGTH:
        warn_configuration(
            f"{place} has {name!r}, which is wider than a /{WIDEST_PREFIX_LENGTH}. Everyone in it can choose "
            "the address that your application sees. List the networks of your proxies."
        )


def _parse_network(name: str) -> IPv4Network | IPv6Network:
    """Return a network. One of IPv4 addresses within IPv6 counts as IPv4, as such a peer does."""
    network = ip_network(name, strict=False)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED_PREFIX_LENGTH:
        return network
    return IPv4Network((int(mapped), network.prefixlen - _MAPPED_PREFIX_LENGTH))


def _to_network(name: str) -> _Network:
    network = _parse_network(name)
    size = network.max_prefixlen // 8
    shift = network.max_prefixlen - network.prefixlen
    return _Network(size, shift, int(network.network_address) >> shift)


def _check_hops(hops: int | None) -> int | None:
    if hops is None:
        return None
    if isinstance(hops, bool) or not isinstance(hops, int):
        raise TypeError(f"ProxyHeadersMiddleware: hops must be an int or None, not {hops!r:.80}.")
    if not 0 <= hops < MAX_ENTRIES:
        raise ValueError(
            f"ProxyHeadersMiddleware: hops must be from 0 to {MAX_ENTRIES - 1}, not {hops}."
        )
    return hops
