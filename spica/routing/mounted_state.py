"""The state of a mounted application: what its lifespan has yielded, for the requests below the mount."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from spica._layers.responder import Responder

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Receive, Scope, Send


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
        return self._layer_ask(request)

    def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Set the state, and serve the WebSocket."""
        self._lay_over(scope)
        return self._layer_inner_connect(scope, receive, send)

    def _lay_over(self, scope: Scope) -> None:
        # The dict is this request's own (ASGI lifespan specification, "Lifespan State"); the layers outside
        # hold it too, and see what is set further in.
        scope.setdefault("state", {}).update(self._state)
