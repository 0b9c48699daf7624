"""The scopes a request of the client becomes: pure functions from httpx's Request to a dict.

ASGI HTTP & WebSocket message format, "HTTP Connection Scope" and "Websocket Connection Scope".
"""

from typing import Any
from urllib.parse import unquote

from spica.testclient.library import httpx
from spica.types import Scope

# RFC 9110 s.4.2.1, s.4.2.2; RFC 6455 s.3
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
"""The schemes the client speaks, each with its port."""


def http_scope(
    request: httpx.Request,
    *,
    root_path: str,
    client: tuple[str, int],
    state: dict[str, Any],
) -> Scope:
    """Make the scope of an HTTP request; `state` is copied, so that requests do not share it."""
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
    """Make the scope of a WebSocket handshake; the subprotocols are those of its header."""
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
    """Make what the scopes of both kinds have in common."""
    url = request.url
    # httpx's raw_path is the request target; ASGI's has no query
    raw_path = url.raw_path.partition(b"?")[0]
    return {
        # Without a spec_version, which means 2.0: no promise beyond what every server keeps.
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
