"""Make ASGI scopes from RSGI scopes.

Two things are lost on the way: RSGI passes the path percent-decoded, so that ``raw_path`` is missing, and
granian leaves out request headers whose values are not ASCII.

Standards: ASGI HTTP and WebSocket specification ("Connection Scope"), RFC 9112 s.3.2.2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spica.servers.rsgi_protocol import RSGIScope
    from spica.types import Scope

WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}


def make_http_scope(scope: RSGIScope, state: dict[str, Any] | None) -> Scope:
    """Return the ASGI scope of a request; ``state`` is that of the lifespan, and is copied."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": scope.http_version,
        "method": scope.method,
        "scheme": scope.scheme,
        "path": scope.path,
        "root_path": "",
        "query_string": scope.query_string.encode(),
        "headers": _headers_of(scope),
        "client": split_address(scope.client),
        "server": split_server(scope.server),
        "state": {} if state is None else state.copy(),
        "extensions": {"http.response.pathsend": {}},
    }


def make_websocket_scope(scope: RSGIScope, state: dict[str, Any] | None) -> Scope:
    """Return the ASGI scope of a WebSocket; ``state`` is that of the lifespan, and is copied."""
    headers = _headers_of(scope)
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": scope.http_version,
        "scheme": WEBSOCKET_SCHEMES.get(scope.scheme, scope.scheme),
        "path": scope.path,
        "root_path": "",
        "query_string": scope.query_string.encode(),
        "headers": headers,
        "client": split_address(scope.client),
        "server": split_server(scope.server),
        "subprotocols": _subprotocols_of(headers),
        "state": {} if state is None else state.copy(),
        "extensions": {},
    }


def _headers_of(scope: RSGIScope) -> list[tuple[bytes, bytes]]:
    headers = [(name.encode(), value.encode()) for name, value in scope.headers.items()]
    authority = scope.authority
    if authority is not None:
        # RFC 9112 s.3.2.2: the host of an absolute target replaces the Host header. HTTP/2 sends it alone.
        host = authority.rpartition("@")[2].encode()
        headers = [field for field in headers if field[0] != b"host"]
        headers.insert(0, (b"host", host))
    return headers


def _subprotocols_of(headers: list[tuple[bytes, bytes]]) -> list[str]:
    offers = [value for name, value in headers if name == b"sec-websocket-protocol"]
    names = b",".join(offers).decode("latin-1").split(",")
    return [name.strip() for name in names if name.strip()]


@lru_cache(maxsize=256)  # a connection sends many requests
def split_address(address: str) -> tuple[str, int | None] | None:
    """Return host and port of ``127.0.0.1:80`` or ``[::1]:80``; None if there is no port.

    A client on a Unix socket has no address.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return None
    if host.startswith("["):
        host = host[1:-1]
    return host, int(port)


@lru_cache(maxsize=64)  # a server has one address, or few
def split_server(address: str) -> tuple[str, int | None]:
    """Return host and port of the server; for a Unix socket its path and None (ASGI, "server")."""
    return split_address(address) or (address.removeprefix("unix:"), None)
