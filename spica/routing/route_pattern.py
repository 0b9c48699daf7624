"""Find the pattern of the route that served a request, with the patterns of its mounts, for telemetry.

A mount writes the requested prefix into the scope, not its pattern. This module follows the request a second
time, from router to router, with a copy of the scope. So requests pay nothing for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica._asgi.scope import get_route_path
from spica.routing.lifespan.mounted import mounted_app, router_of
from spica.routing.mounts import AppRoute, Mount
from spica.routing.router import Router
from spica.routing.routes import Route, WebSocketRoute

if TYPE_CHECKING:
    from spica.types import Scope

MAX_DEPTH = 100
"""The most nested mounts, and layers around an app, to go through. It also ends a cycle of them."""

_ENDPOINTS = (Route, WebSocketRoute)
_KNOWN = (*_ENDPOINTS, Mount)


def find_pattern(scope: Scope, app: Any, root_path: str) -> str | None:
    """Return the whole pattern of the route in ``scope``, with the prefixes of the mounts below ``app``.

    Returns None if the route is not a ``Route``, ``WebSocketRoute`` or ``Mount``, or the request does not
    lead to it.

    Args:
        scope: The scope of the request after it was served.
        app: The application to start from.
        root_path: The ``root_path`` at which the server called ``app``.
    """
    served = scope.get("route")
    if not isinstance(served, _KNOWN):
        return None
    return _search(scope, served, app, root_path)


def _search(
    scope: Scope, served: Route | WebSocketRoute | Mount, app: Any, root_path: str
) -> str | None:
    """Follow the request from ``app`` to the served route, and return the patterns on the way."""
    here = {**scope, "root_path": root_path, "path_params": {}}
    pattern = ""
    for _ in range(MAX_DEPTH):
        router = _router_inside(app)
        if router is None:
            # A foreign layer hides the rest. The route is still certain if no further mount has changed the
            # scope.
            is_next = isinstance(served, _ENDPOINTS) and here["root_path"] == scope.get("root_path")
            return pattern + served.path if is_next else None
        if not _enter(router, here):
            return None
        route = here["route"]
        if isinstance(route, _KNOWN):
            pattern += route.path
        if route is served:
            return pattern
        if not isinstance(route, AppRoute):
            return None
        app = mounted_app(route)
    return None


def _enter(router: Router, here: Scope) -> bool:
    """Set the route that ``here`` leads to, and return whether there is one."""
    table, path = router._table, get_route_path(here)
    if here["type"] == "websocket":
        return table.select_socket(here, path) is not None
    return table.select(here, path) is not None


def _router_inside(app: Any) -> Router | None:
    """Return the router of an application, looking inside layers that have an attribute ``app``."""
    for _ in range(MAX_DEPTH):
        router, _ = router_of(app)
        if isinstance(router, Router):
            return router
        app = getattr(app, "app", None)
    return None


def route_template(scope: Scope, outer_app: Any, outer_root_path: str) -> str | None:
    """Return the path pattern of the matched route with those of its mounts, or None if it is unknown.

    The pattern has the names of parameters and never their values. ``outer_app`` is the application in which
    the middleware first saw the request, and ``outer_root_path`` its root path.
    """
    served = scope.get("route")
    if isinstance(served, _ENDPOINTS) and "app_root_path" not in scope:
        # The usual case, without a call: no mount was passed.
        return outer_root_path + strip_convertors(served.path) or "/"
    base: str = scope.get("app_root_path", outer_root_path)
    pattern = find_pattern(scope, scope.get("router"), base)
    if pattern is None and outer_app is not None:
        # The outermost router belongs to another framework, which has mounted our application.
        base = outer_root_path
        pattern = find_pattern(scope, outer_app, base)
    return None if pattern is None else base + strip_convertors(pattern) or "/"


def route_ahead(scope: Scope, outer_app: Any, outer_root_path: str) -> str | None:
    """Return the path pattern to which a request leads that a layer has answered before the routing.

    Otherwise the hits of a cache and refused requests would belong to no route.
    """
    here = {**scope, "root_path": outer_root_path, "path_params": {}}
    pattern, app = outer_root_path, outer_app
    for _ in range(MAX_DEPTH):
        router = _router_inside(app)
        if router is None:
            return pattern  # a foreign app in a mount
        if not _enter(router, here):
            return None
        route = here["route"]
        if not isinstance(route, _KNOWN):
            return None
        pattern += strip_convertors(route.path)
        if not isinstance(route, AppRoute):
            return pattern or "/"
        app = mounted_app(route)
    return None


def strip_convertors(path: str) -> str:
    """Return a path pattern without convertors: ``/{id}`` for ``/{id:int}``."""
    if ":" not in path:
        return path
    parts = path.split("{")
    for index, part in enumerate(parts[1:], 1):
        inside, brace, rest = part.partition("}")
        parts[index] = inside.partition(":")[0] + brace + rest
    return "{".join(parts)
