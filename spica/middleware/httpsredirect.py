"""Redirect clients from http to https, and from ws to wss.

Standards: RFC 9110 s.15.4.8 (307), s.4.2.2 (https), RFC 9112 s.3.2 (Host).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica._asgi.scope import public_path
from spica._diagnostics.middleware_order import ANSWERS, REDIRECTS
from spica._http.host import format_host, has_contradicting_hosts, parse_host, read_host
from spica._originals import remember
from spica.datastructures import URL
from spica.layers import Answer, Layer, deny
from spica.responses.base import RedirectResponse, Response
from spica.responses.errors import error_response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Receive, Scope, Send

_SECURE_SCHEMES = {"http": "https", "ws": "wss"}
_DEFAULT_PORTS = (80, 443)


class HTTPSRedirectMiddleware(Layer):
    """Answer every request that came without TLS with a 307 to the same URL with it.

    The new URL omits the ports 80 and 443 and keeps others. Its path has the prefix that a proxy
    strips (``root_path``). If the Host header is missing or malformed, the URL has the address of the server.
    If the server has no address, or two Host headers differ, the client gets a 400.

    Args:
        app: the inner app. It gets only secure requests.
    """

    middleware_traits = (ANSWERS, REDIRECTS)

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self.app = app

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the inner response, or the redirect."""
        scope = request.scope
        # ASGI "HTTP Connection Scope": without a scheme, it is "http".
        secure = _SECURE_SCHEMES.get(scope.get("scheme", "http"))
        if secure is None:
            return await self.inner.respond(request)
        return _redirect(scope, secure)

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect a WebSocket in the same way. Other scopes pass."""
        secure = _SECURE_SCHEMES.get(scope.get("scheme", "ws"))
        if scope["type"] == "websocket" and secure is not None:
            await deny(_redirect(scope, secure), scope, receive, send)
        else:
            await self.inner.connect(scope, receive, send)


remember(HTTPSRedirectMiddleware, "respond")


def _redirect(scope: Scope, scheme: str) -> Response:
    netloc = _find_netloc(scope)
    if netloc is None:
        return error_response(scope, 400, "Invalid host header")
    url = URL(scope={**scope, "path": public_path(scope)})
    return RedirectResponse(url.replace(scheme=scheme, netloc=netloc))


def _find_netloc(scope: Scope) -> str | None:
    """Return host and port for the URL, or None if there is no usable one."""
    field = read_host(scope["headers"])
    if field is not None:
        parsed = parse_host(field)
    elif has_contradicting_hosts(scope["headers"]):
        parsed = None  # RFC 9112 s.3.2
    else:
        # HTTP/1.0 has no Host header, and a client may send a malformed one. The address of the server does
        # not depend on the client.
        host, port = scope.get("server") or ("", None)
        parsed = parse_host(format_host(host, port))
    if parsed is None:
        return None
    host, port = parsed
    return format_host(host, None if port in _DEFAULT_PORTS else port)
