"""Iterate over the routes, routers and layers of an application, including mounted ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from spica._diagnostics.call_site import location_of
from spica.applications import Spica
from spica.routing import BaseRoute, Router
from spica.routing.lifespan.mounted import mounted_app
from spica.routing.mounts import AppRoute

MAX_LAYERS = 100
"""The number of layers to follow, so that a cycle of layers does not loop forever."""


class RouteEntry(NamedTuple):
    """A route, and the path prefix of the mounts that contain it."""

    route: BaseRoute
    prefix: str

    @property
    def path(self) -> str:
        """The full path pattern; for a `Host`, the host pattern."""
        route: Any = self.route
        return self.prefix + str(getattr(route, "path", getattr(route, "host", "")))

    @property
    def place(self) -> str:
        """The location of its endpoint as "file:line", or "" if it is unknown."""
        endpoint = getattr(self.route, "endpoint", None)
        return str(location_of(endpoint) or "") if endpoint is not None else ""


def routes_of(application: Any) -> Iterator[RouteEntry]:
    """Yield every route in the order of the table. The routes of a mount follow the mount itself."""
    yield from _routes(application, "", set())


def _routes(application: Any, prefix: str, seen: set[int]) -> Iterator[RouteEntry]:
    if id(application) in seen:
        return
    for route in getattr(application, "routes", None) or ():
        entry = RouteEntry(route, prefix)
        yield entry
        if isinstance(route, AppRoute):
            yield from _routes(mounted_app(route), entry.path, seen | {id(application)})


def applications_of(application: Any) -> Iterator[Any]:
    """Yield the application, then each mounted application and router once."""
    seen = {id(application)}
    yield application
    for entry in routes_of(application):
        if isinstance(entry.route, AppRoute):
            inner = mounted_app(entry.route)
            if isinstance(inner, (Spica, Router)) and id(inner) not in seen:
                seen.add(id(inner))
                yield inner


def layers_of(app: Any, end: Any = None) -> Iterator[Any]:
    """Yield the layers around ``end`` from the outside in. A layer without ``app`` ends the walk."""
    for _ in range(MAX_LAYERS):
        if app is None or app is end or isinstance(app, (Spica, Router)):
            return
        yield app
        app = getattr(app, "app", None)
