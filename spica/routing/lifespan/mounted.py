"""What is mounted below a router: applications and routers of ours, behind the layers around them."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, Any

from spica._layers.layer import Responder
from spica.routing.mounts import AppRoute, Host

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from spica.types import ASGIApp


def mounted_app(route: AppRoute) -> ASGIApp:
    """Return what a mount or host was given, without the layers that were put around it."""
    app: ASGIApp = getattr(route, "_base_app", route.app)
    return app


def router_of(app: Any) -> tuple[Any, Any]:
    """Return the router of an application of ours, and this; None where the app is another's."""
    while app is not None:
        router = getattr(app, "router", app)
        if hasattr(type(router), "mounted_lifespans"):
            return router, app
        # A layer of ours may be around it.
        app = getattr(app, "_layer_inner", None) if isinstance(app, Responder) else None
    return None, None


def locate(route: AppRoute, prefix: str) -> tuple[str, str]:
    """Return the whole prefix of a mount that stands below ``prefix``, and its place in words."""
    if isinstance(route, Host):
        return prefix, f"for host {route.host!r}"
    prefix += getattr(route, "path", "")
    return prefix, f"mounted at {prefix!r}"


def build_applications_below(router: Any) -> None:
    """Build the layers of every application of ours that is mounted below ``router``, each once.

    Those that have begun to serve have theirs. What another's app has mounted is not looked for.

    Raises:
        Exception: what a layer raises when it is made, with a note that names mount and application.
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


class StateLayer(Responder):
    """Lay the state of a mounted application over that of the applications around it.

    It stands before the application while its lifespan runs, and only if that has yielded something: other
    requests pay nothing.
    """

    def __init__(self, route: Any, state: dict[str, Any]) -> None:
        self._route = route
        self._state = state
        self.app = route.app

    @property
    def routes(self) -> Any:
        """The routes of the application."""
        return getattr(self.app, "routes", [])

    @classmethod
    def put_into(cls, route: Any, state: dict[str, Any]) -> StateLayer:
        """Put a layer before the app of a mount; return it."""
        layer = route.app = cls(route, state)
        return layer

    def take_out(self) -> None:
        """Give the mount its app back. Another layer, or another app, may have been put in since."""
        holder = self._route
        while holder.app is not self:
            holder = holder.app
            if not isinstance(holder, StateLayer):
                return
        holder.app = self.app

    def _layer_respond(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Set the state, and return the application's answer."""
        self._lay_over(request.scope)
        return self._layer_inner_respond(request)

    def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Set the state, and serve the WebSocket."""
        self._lay_over(scope)
        return self._layer_inner_connect(scope, receive, send)

    def _lay_over(self, scope: Scope) -> None:
        # The dict is this request's own (ASGI lifespan specification, "Lifespan State"); the layers outside
        # hold it too, and see what is set further in.
        scope.setdefault("state", {}).update(self._state)
