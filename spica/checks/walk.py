"""Go through an application: its routers, routes and layers, and those of what is mounted in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from spica._diagnostics.call_site import location_of
from spica.applications import Spica
from spica.routing import BaseRoute, Router
from spica.routing.lifespan.mounted import mounted_app
from spica.routing.mounts import AppRoute

MAX_LAYERS = 100
"""Layers that are looked through; a circle of them has an end, too."""


class RouteEntry(NamedTuple):
    """A route, and the prefix below which it stands."""

    route: BaseRoute
    prefix: str

    @property
    def path(self) -> str:
        """The whole pattern, with the host where it has one."""
        route: Any = self.route
        return self.prefix + str(getattr(route, "path", getattr(route, "host", "")))

    @property
    def place(self) -> str:
        """Where its endpoint was written: "file:line", or ""."""
        endpoint = getattr(self.route, "endpoint", None)
        return str(location_of(endpoint) or "") if endpoint is not None else ""


def routes_of(application: Any) -> Iterator[RouteEntry]:
    """Yield every route, those of mounts before what follows them."""
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
    """Yield the application, and the applications and routers that are mounted in it, each once."""
    seen = {id(application)}
    yield application
    for entry in routes_of(application):
        if isinstance(entry.route, AppRoute):
            inner = mounted_app(entry.route)
            if isinstance(inner, (Spica, Router)) and id(inner) not in seen:
                seen.add(id(inner))
                yield inner


def layers_of(app: Any, end: Any = None) -> Iterator[Any]:
    """Yield the layers around ``end`` from the outside in, as far as they tell what is in them."""
    for _ in range(MAX_LAYERS):
        if app is None or app is end or isinstance(app, (Spica, Router)):
            return
        yield app
        app = getattr(app, "app", None)
