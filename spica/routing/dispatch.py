"""Dispatch: from a connection to the route that serves it.

A request is served by the first route in the list that matches its path and its method. Where only the path
matches, the methods of all such routes together are the answer: 405, or to OPTIONS. Nothing is awaited
here: what is found is how the route is asked.

Standard: RFC 9110 s.9.3.7 (OPTIONS), s.10.2.1 (Allow), s.15.5.6 (405).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import is_
from typing import TYPE_CHECKING, Any

from spica._layers.responder import asker
from spica.exceptions import HTTPException
from spica.responses.base import PlainTextResponse, Response
from spica.routing.base import BaseRoute
from spica.routing.candidates import (
    Candidate,
    HTTPCandidate,
    MountCandidate,
    make_candidates,
    partial_match,
)
from spica.routing.index import Candidates, RouteIndex, RouteList

if TYPE_CHECKING:
    from spica._layers.responder import Ask
    from spica.requests import Request
    from spica.types import ASGIApp, Scope


class RouteTable:
    """The routes of one router, indexed; the index follows every change of the list."""

    __slots__ = ("_foreign", "routes")

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self.routes: list[BaseRoute] = RouteList(routes)
        self._foreign: RouteList | None = None

    def find(self, path: str) -> Candidates:
        """Return the candidates for a route path, in the order of the list."""
        return self._current_index().find(path)

    def _current_index(self) -> RouteIndex:
        routes = self.routes
        if type(routes) is not RouteList:
            routes = self._copy_of(routes)
        return routes.route_index or _build_index(routes)

    def _copy_of(self, routes: list[BaseRoute]) -> RouteList:
        """Return a copy of a list that was put in from outside, and does not tell of its changes."""
        copy = self._foreign
        if copy is None or len(copy) != len(routes) or not all(map(is_, copy, routes)):
            copy = self._foreign = RouteList(routes)
        return copy

    def select(self, scope: Scope, path: str) -> Ask | None:
        """Return how the route for an HTTP request is asked, its keys being set in ``scope``.

        None: no route matches the path.
        """
        routes = self.routes
        index = routes.route_index if type(routes) is RouteList else None
        if index is None:
            index = self._current_index()
        candidates = index.few or index.exact.get(path)
        if candidates is None:
            candidates = index.search(path)
        by_path: tuple[Candidate, ...] = ()
        for candidate in candidates:
            ask = candidate.enter(scope, path)
            if ask is partial_match:
                by_path += (candidate,)
            elif ask is not None:
                return ask
        return _ask_by_path(by_path, scope, path) if by_path else None

    def select_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        """Return the app for a WebSocket, and set the keys of its route in ``scope``.

        None: no route matches the path.
        """
        candidates = self.find(path)
        for candidate in candidates:
            app = candidate.enter_socket(scope, path)
            if app is not None:
                return app
        for candidate in candidates:
            app = candidate.enter_socket_last(scope, path)
            if app is not None:
                return app
        return None

    def has_match(self, scope: Scope, path: str, whole_path: str) -> bool:
        """Return whether a route would fully match the scope if it had this route path and path."""
        candidates = self.find(path)
        if not candidates:
            return False
        scope = {**scope, "path": whole_path}
        return any(candidate.is_full_match(scope) for candidate in candidates)


def _build_index(routes: RouteList) -> RouteIndex:
    snapshot = list(routes)
    index = RouteIndex(make_candidates(snapshot))
    routes.route_index = index
    # Another thread may have changed the list meanwhile: then the next look-up builds it again. Looked at
    # only now, for a change that comes later takes the index out by itself.
    if len(snapshot) != len(routes) or not all(map(is_, snapshot, routes)):
        routes.route_index = None
    return index


def _ask_by_path(candidates: Sequence[Candidate], scope: Scope, path: str) -> Ask:
    """Return how a method is answered that no route for a path serves."""
    first = candidates[0]
    if isinstance(first, HTTPCandidate):
        first.set_keys(scope, path)
        return _OtherMethods([candidate.route for candidate in candidates])._layer_respond
    if isinstance(first, MountCandidate):
        return first.enter_bare(scope, path)
    # A route of its own kind answers other methods its own way.
    _, child_scope = first.route.matches(scope)
    scope["route"] = first.route
    scope.update(child_scope)
    return asker(first.route.handle)


class _OtherMethods:
    """Answer a method that none of the routes for a path serves."""

    __slots__ = ("_routes",)

    def __init__(self, routes: Sequence[Any]) -> None:
        self._routes = routes

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the answer to OPTIONS.

        Raises:
            HTTPException: 405 with Allow, for every other method.
        """
        methods: set[str] = set()
        for route in self._routes:
            # A route of its own kind may have neither.
            allowed = getattr(route, "allowed_methods", None)
            methods.update((allowed() if allowed else getattr(route, "methods", None)) or ())
        if request.scope["method"] == "OPTIONS":
            return Response(headers={"Allow": ", ".join(sorted({*methods, "OPTIONS"}))})
        allow = ", ".join(sorted(methods))
        if "app" in request.scope:
            raise HTTPException(status_code=405, headers={"Allow": allow})
        return PlainTextResponse("Method Not Allowed", status_code=405, headers={"Allow": allow})
