"""Find the applications and routers of spica that are mounted below a router."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from spica._asgi.scope import OUTER_APP, SHUTDOWN
from spica._layers.layer import BaseLayer
from spica.routing.hosts import Host
from spica.routing.mounts import AppRoute

if TYPE_CHECKING:
    from spica.tasks import Tasks
    from spica.types import ASGIApp


def mounted_app(route: AppRoute) -> ASGIApp:
    """Return the app that a mount or host was created with, without the layers around it."""
    app: ASGIApp = getattr(route, "_base_app", route.app)
    return app


def router_of(app: Any) -> tuple[Any, Any]:
    """Return the router of an application of spica, and the application. (None, None) for a foreign app."""
    while app is not None:
        router = getattr(app, "router", app)
        if hasattr(type(router), "mounted_lifespans"):
            return router, app
        # Look inside the layers of spica.
        app = getattr(app, "app", None) if isinstance(app, BaseLayer) else None
    return None, None


def locate(route: AppRoute, prefix: str) -> tuple[str, str]:
    """Return the whole prefix of a mount below ``prefix``, and its location in words."""
    if isinstance(route, Host):
        return prefix, f"for host {route.host!r}"
    prefix += getattr(route, "path", "")
    return prefix, f"mounted at {prefix!r}"


def build_applications_below(router: Any) -> None:
    """Build the layers of every application of spica that is mounted below ``router``, each once.

    Applications that have served a request already have their layers. Apps inside a foreign app are unknown.

    Raises:
        Exception: A layer failed in its ``__init__``. A note names the mount and the application.
    """
    for app, place in _applications_below(router, "", {id(router)}):
        build = getattr(app, "_build_once", None)
        if build is not None:
            try:
                build()
            except Exception as exc:
                exc.add_note(
                    f"This was when the layers of the application {type(app).__name__} {place} "
                    "were made."
                )
                raise


def link_applications_below(outer: Any) -> None:
    """Make the applications of spica below the application ``outer`` share its shutdown.

    It is called when the layers of ``outer`` are built, and again after the start-up.
    """
    router = outer.router
    while OUTER_APP in outer.__dict__:
        outer = outer.__dict__[OUTER_APP]
    for app, _ in _applications_below(router, "", {id(router)}):
        # A mounted Router has no shutdown of its own. An application may be mounted below itself.
        if app is outer or not hasattr(type(app), "readiness_delay_seconds"):
            continue
        app.__dict__[OUTER_APP] = outer
        if SHUTDOWN in app.__dict__:
            from spica.shutdown import shutdown_of

            shutdown_of(outer)._join(app.__dict__[SHUTDOWN])


def _applications_below(router: Any, prefix: str, seen: set[int]) -> Iterator[tuple[Any, str]]:
    for route in list(getattr(router, "routes", ())):
        if not isinstance(route, AppRoute):
            continue
        inner, app = router_of(mounted_app(route))
        if inner is not None and id(app) not in seen:
            seen.add(id(app))
            path, place = locate(route, prefix)
            yield app, place
            yield from _applications_below(inner, path, seen)


def open_tasks(router: Any, app: Any) -> Tasks | None:
    """Let ``app.tasks`` and those of mounted applications accept tasks. None for an app without tasks."""
    if not hasattr(type(app), "_tasks"):
        return None
    from spica.tasks.registry import tasks_of  # on use: requests do not need it

    below = [inner for inner, _ in _applications_below(router, "", {id(router)})]
    tasks = tasks_of(app)
    tasks.open(*[tasks_of(inner) for inner in below if hasattr(type(inner), "_tasks")])
    return tasks
