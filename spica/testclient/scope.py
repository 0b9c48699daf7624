"""Build the scope for a request of httpx2, with pure functions.

ASGI HTTP & WebSocket message format, "HTTP Connection Scope" and "Websocket Connection Scope".
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urljoin

from spica.testclient.interface import httpx
from spica.types import Scope

# RFC 9110 s.4.2.1, s.4.2.2; RFC 6455 s.3
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
"""The schemes that the clients support, each with its port."""


def check_scheme(request: httpx.Request) -> None:
    """Check that the clients support the scheme of a URL.

    Raises:
        UnsupportedProtocol: they do not support it.
    """
    scheme = request.url.scheme
    if scheme not in DEFAULT_PORTS:
        raise httpx.UnsupportedProtocol(
            f"The URL {str(request.url)!r:.200} has the scheme {scheme!r}. "
            f"Allowed: {', '.join(DEFAULT_PORTS)}."
        )


def websocket_url(base_url: httpx.URL, url: str) -> str:
    """Return the absolute URL of a WebSocket.

    Raises:
        RuntimeError: `url` has the scheme of another protocol.
    """
    scheme = "wss" if base_url.scheme == "https" else "ws"
    absolute = urljoin(str(base_url.copy_with(scheme=scheme)), url)
    if not absolute.startswith(("ws://", "wss://")):
        raise RuntimeError(
            f"Expected a WebSocket upgrade, but the URL {absolute!r:.200} does not have the scheme "
            "ws or wss. Pass a path, or change the scheme."
        )
    return absolute


def handshake_headers(headers: Any, subprotocols: Sequence[str] | None) -> httpx.Headers:
    """Return the headers of a WebSocket handshake. `headers` take precedence."""
    complete = httpx.Headers(headers)
    # RFC 6455 s.4.1: the fields that only a handshake has
    complete.setdefault("connection", "upgrade")
    complete.setdefault("sec-websocket-key", "testserver==")
    complete.setdefault("sec-websocket-version", "13")
    if subprotocols is not None:
        complete.setdefault("sec-websocket-protocol", ", ".join(subprotocols))
    return complete


def http_scope(
    request: httpx.Request,
    *,
    root_path: str,
    client: tuple[str, int],
    state: dict[str, Any],
) -> Scope:
    """Return the scope of an HTTP request. `state` is copied, so that requests do not share it."""
    return {
        "type": "http",
        "method": request.method,
        **_connection_part(request, root_path, client, state),
        "extensions": {"http.response.debug": {}, "http.response.trailers": {}},
    }


def websocket_scope(
    request: httpx.Request,
    *,
    root_path: str,
    client: tuple[str, int],
    state: dict[str, Any],
) -> Scope:
    """Return the scope of a WebSocket handshake. The subprotocols come from its header."""
    offered = request.headers.get("sec-websocket-protocol", "")
    # RFC 6455 s.4.2.1: a comma-separated list, in order of preference
    subprotocols = [name.strip() for name in offered.split(",") if name.strip()]
    return {
        "type": "websocket",
        **_connection_part(request, root_path, client, state),
        "subprotocols": subprotocols,
        "extensions": {"websocket.http.response": {}},
    }


def _connection_part(
    request: httpx.Request, root_path: str, client: tuple[str, int], state: dict[str, Any]
) -> Scope:
    """Return the part that the scopes of HTTP and WebSockets share."""
    url = request.url
    # httpx's raw_path is the request target; ASGI's has no query
    raw_path = url.raw_path.partition(b"?")[0]
    return {
        # Without a spec_version, which means 2.0, as every server supports at least.
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": url.scheme,
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": url.query,
        "root_path": root_path,
        # ASGI: header names are lower-case
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": client,
        "server": [url.host, DEFAULT_PORTS[url.scheme] if url.port is None else url.port],
        "state": state.copy(),
    }
