"""The pattern of the route that served a request, with the patterns of the mounts it stands below.

A mount writes its prefix into the scope as it was requested. Who wants to know its pattern, for telemetry,
goes the way of the request again, from router to router, with a copy of the scope. Nothing is kept for that
while requests are served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica._asgi.scope import get_route_path
from spica.routing.lifespan.mounted import mounted_app, router_of
from spica.routing.mounts import AppRoute, Mount
from spica.routing.router import Router
from spica.routing.routes import Route

if TYPE_CHECKING:
    from spica.types import Scope

MAX_DEPTH = 100
"""Mounts in mounts, and layers around an app, that are gone through; a circle of them has an end, too."""


def find_pattern(scope: Scope, app: Any, root_path: str) -> str | None:
    """Return the pattern of the route in ``scope`` as seen from ``app``, which is served at ``root_path``.

    Mounts that ``app`` has gone through are in it as they are written, with their parameters. None if the
    route is of another kind, or is not where the request would find it.
    """
    wanted = scope.get("route")
    if not isinstance(wanted, (Route, Mount)):
        return None
    if isinstance(wanted, Route) and "app_root_path" not in scope:
        return wanted.path  # no mount was passed
    return _search(scope, wanted, app, root_path)


def _search(scope: Scope, wanted: Route | Mount, app: Any, root_path: str) -> str | None:
    """Go from ``app`` to the wanted route, and return the patterns on the way."""
    here = {**scope, "root_path": root_path, "path_params": {}}
    pattern = ""
    for _ in range(MAX_DEPTH):
        router = _router_inside(app)
        if router is None:
            # Behind layers that do not tell what is in them: known if no mount has been passed since.
            is_next = isinstance(wanted, Route) and here["root_path"] == scope.get("root_path")
            return pattern + wanted.path if is_next else None
        if router._table.select(here, get_route_path(here)) is None:
            return None
        route = here["route"]
        if isinstance(route, (Route, Mount)):
            pattern += route.path
        if route is wanted:
            return pattern
        if not isinstance(route, AppRoute):
            return None
        app = mounted_app(route)
    return None


def _router_inside(app: Any) -> Router | None:
    """Return the router of an application, behind layers of any kind that keep what is in them."""
    for _ in range(MAX_DEPTH):
        router, _ = router_of(app)
        if isinstance(router, Router):
            return router
        app = getattr(app, "app", None)
    return None
