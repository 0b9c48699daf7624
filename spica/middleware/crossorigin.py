"""Refuse requests that a page of another site makes a browser send (cross-site request forgery).

A browser sends the cookies of your site with requests that other pages start: a form, a script, a WebSocket.
The layer decides by two header fields that pages can't set, ``Sec-Fetch-Site`` and ``Origin``. It needs no
token, no cookie and no form field. It is not CORS, which lets pages of other origins *read* responses.

Standards: W3C Fetch Metadata s.2.3 (Sec-Fetch-Site), RFC 6454 s.4 and s.7 (Origin), RFC 9110 s.9.2.1 (safe
methods), RFC 6455 s.10.2 (the Origin of WebSocket handshakes).
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from spica._asgi.scope import get_route_path
from spica._diagnostics.arguments import check_flag, check_strings
from spica._diagnostics.middleware_order import ANSWERS, CHECKS_ORIGIN
from spica._http.origins import find_cross_origin, parse_trusted_origins
from spica._originals import remember
from spica.layers import Answer, Layer, deny
from spica.responses.errors import error_response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Receive, Scope, Send

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "QUERY"})
"""The methods that pass. They must not change anything (RFC 9110 s.9.2.1)."""

_SAME_ORIGIN = [b"same-origin"]


class CrossOriginMiddleware(Layer):
    """Answer 403 to a request that a page of another origin has started.

    Requests with a safe method pass, so your GET endpoints must not change anything. Clients that are not
    browsers send neither of the two fields, and pass.

    Args:
        app: the inner app.
        trusted_origins: other origins whose pages may send requests, such as ``https://admin.example.org``.
        exempt: the exact paths to leave unprotected, such as ``/webhooks/stripe``, relative to the
            application or mount that has this layer. A path is not a prefix and has no wildcards, because
            a loose pattern exempts more than it seems to.
        websockets: whether to check the handshakes of WebSockets too.

    Raises:
        TypeError: a list is a single string, or has an item that is not a string.
        ValueError: a trusted origin is not an origin, or is ``*`` or ``null``; an exempt path does not begin
            with a slash, or has a wildcard.

    Example:
        ``Middleware(CrossOriginMiddleware, trusted_origins=["https://admin.example.org"])``
    """

    middleware_traits = (ANSWERS, CHECKS_ORIGIN)

    def __init__(
        self,
        app: ASGIApp,
        *,
        trusted_origins: Sequence[str] = (),
        exempt: Sequence[str] = (),
        websockets: bool = True,
    ) -> None:
        super().__init__(app)
        self.trusted_origins = _check_origins(trusted_origins)
        self.exempt = _check_paths(exempt)
        self.websockets = check_flag(websockets, "CrossOriginMiddleware: websockets")
        self._trusted = {origin.encode() for origin in self.trusted_origins}

    def respond(self, request: Request[Any]) -> Awaitable[Answer]:
        """Return, once awaited, the inner answer, or a 403."""
        scope = request.scope
        if (
            scope["method"] not in SAFE_METHODS
            # The usual case, without a call.
            and [value for name, value in scope["headers"] if name == b"sec-fetch-site"]
            != _SAME_ORIGIN
        ):
            reason = self._find_reason(scope)
            if reason is not None:
                return _refuse(scope, reason)
        # Returning the awaitable as it is saves a coroutine per request, `inner` without its property a call.
        return self._layer_inner.respond(request)

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the handshake of a WebSocket in the same way. Other scopes pass."""
        if scope["type"] == "websocket" and self.websockets:
            reason = self._find_reason(scope)
            if reason is not None:
                await deny(error_response(scope, 403, reason), scope, receive, send)
                return
        await self.inner.connect(scope, receive, send)

    def _find_reason(self, scope: Scope) -> str | None:
        """Return why the request is refused, or None if it passes."""
        reason = find_cross_origin(scope.get("scheme", "http"), scope["headers"], self._trusted)
        if reason is not None and get_route_path(scope) in self.exempt:
            return None
        return reason


remember(CrossOriginMiddleware, "respond")


async def _refuse(scope: Scope, reason: str) -> Answer:
    return error_response(scope, 403, reason)


def _check_list(values: Sequence[str], location: str) -> None:
    # `check_strings` accepts "*". Here it is one wrong value, which the parser refuses.
    check_strings(["*"] if values == "*" else values, location)


def _check_origins(origins: Sequence[str]) -> tuple[str, ...]:
    """Return the origins as browsers send them."""
    location = "CrossOriginMiddleware: trusted_origins"
    _check_list(origins, location)
    return parse_trusted_origins(origins, location)


def _check_paths(paths: Sequence[str]) -> frozenset[str]:
    location = "CrossOriginMiddleware: exempt"
    _check_list(paths, location)
    for path in paths:
        if not path.startswith("/"):
            raise ValueError(
                f"{location} has {path!r:.300}: a path begins with a slash. Write {'/' + path!r:.300}."
            )
        if any(character in path for character in "*{}?"):
            raise ValueError(
                f"{location} has {path!r:.300}: it must be an exact path, without wildcards, parameters and "
                "query. List each path."
            )
    return frozenset(paths)
