"""Protect all routes of an application, except public ones: ``Spica(default_scopes=["authenticated"])``.

The layer is around the router, inside the middleware of the application. It compares no route for a
connection that has the scopes. For any other connection, it finds out whether the route is public.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from spica.authentication import refusal
from spica.layers import Answer, Layer, deny
from spica.requests import HTTPConnection
from spica.responses.errors import error_response
from spica.routing import Match

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.routing import Router
    from spica.types import Receive, Scope, Send


class DefaultScopesLayer(Layer):
    """Refuse a connection that lacks one of the scopes, unless its route is public.

    Args:
        router: The router around whose routes the layer is put.
        scopes: The scopes that a connection needs.
    """

    def __init__(self, router: Router, scopes: Sequence[str]) -> None:
        super().__init__(router.middleware_stack)
        self.router = router
        self.scopes = tuple(scopes)

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the answer of the route.

        Raises:
            HTTPException: 401 or 403, the request lacks a scope.
        """
        if not self.allows(request):
            raise refusal(request, self.scopes)
        return await self.inner.respond(request)

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket, or refuse it. The lifespan passes."""
        if scope["type"] == "websocket":
            conn: HTTPConnection[Any] = HTTPConnection(scope, receive)
            if not self.allows(conn):
                error = refusal(conn, self.scopes)
                response = error_response(scope, error.status_code, error.detail, error.headers)
                await deny(response, scope, receive, send)
                return
        await self.inner.connect(scope, receive, send)

    def allows(self, conn: HTTPConnection[Any]) -> bool:
        """Return whether the route of ``conn`` is public, or the connection has all scopes.

        Raises:
            AssertionError: The route is not public, and there is no AuthenticationMiddleware.
        """
        scope = conn.scope
        granted = scope["auth"].scopes if "auth" in scope else ()
        if all(name in granted for name in self.scopes):
            return True
        if leads_to_public_route(self.router.routes, scope):
            return True
        return conn.auth is None  # raises if there is no AuthenticationMiddleware


def protect_router(router: Router, scopes: Sequence[str]) -> None:
    """Put a `DefaultScopesLayer` around the routes of ``router``, unless it has one."""
    layer = router.middleware_stack
    if isinstance(layer, DefaultScopesLayer):
        layer.scopes = tuple(scopes)
    else:
        router.middleware_stack = DefaultScopesLayer(router, scopes)


def leads_to_public_route(routes: Iterable[Any], scope: Scope) -> bool:
    """Return whether the route that serves ``scope`` is public, or is in a public mount.

    An unknown path is not public, so that a stranger can't tell which paths exist.
    """
    chosen: tuple[Any, Scope] | None = None
    for route in routes:
        match, child_scope = route.matches(scope)
        if match is Match.FULL:
            chosen = route, child_scope
            break
        if match is Match.PARTIAL and chosen is None:
            chosen = route, child_scope  # it answers 405, if no other route matches fully
    if chosen is None:
        return False
    route, child_scope = chosen
    # A route of your own may have another attribute of this name.
    if getattr(route, "public", False) is True:
        return True
    below = getattr(route, "routes", None) or ()
    return leads_to_public_route(below, {**scope, **child_scope})
