"""Dispatch: from a connection to the route that serves it.

A request is served by the first route in the list that matches its path and its method. Where only the path
matches, the methods of all such routes together are the answer: 405, or to OPTIONS. Nothing is awaited
here: what is found is how the route is asked.

Standard: RFC 9110 s.9.3.7 (OPTIONS), s.10.2.1 (Allow), s.15.5.6 (405).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from operator import is_
from typing import TYPE_CHECKING, Any

from spica._layers.responder import asker
from spica.endpoints import HTTPEndpoint, answer, answers_by_value
from spica.exceptions import HTTPException
from spica.responses.base import PlainTextResponse, Response
from spica.routing.base import BaseRoute, Match
from spica.routing.functions import ask_function
from spica.routing.index import Candidate, Candidates, RouteIndex, RouteList
from spica.routing.mounts import AppRoute, Host, Mount
from spica.routing.patterns import conversions_of
from spica.routing.routes import PatternRoute, Route, WebSocketRoute

if TYPE_CHECKING:
    from spica._layers.responder import Ask
    from spica.requests import Request
    from spica.types import ASGIApp, Scope

_BORN_MATCHES = {Route.matches, WebSocketRoute.matches, Mount.matches, Host.matches}
_BORN_HANDLE = {Route.handle, AppRoute.handle}


class RouteTable:
    """The routes of one router, indexed; the index follows every change of the list."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self.routes: list[BaseRoute] = RouteList(routes)
        self._foreign: RouteList | None = None

    def find(self, path: str) -> Candidates:
        """Return the candidates for a route path, in the order of the list."""
        index = self._current_index()
        candidates = index.exact.get(path)
        return index.find(path) if candidates is None else candidates

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
        candidates = index.exact.get(path)
        if candidates is None:
            candidates = index.find(path)
        by_path: list[tuple[Candidate, Scope]] | None = None
        for candidate in candidates:
            route = candidate.route
            if candidate.is_plain:
                params = {} if candidate.exact_path == path else candidate.params(path)
                if params is None:
                    continue
                methods = route.methods
                if not methods or scope["method"] in methods:
                    outer = scope.get("path_params")
                    scope["route"] = route
                    scope["endpoint"] = route.endpoint
                    scope["path_params"] = {**outer, **params} if outer else params
                    ask: Ask = route._ask
                    return ask
                by_path = [*(by_path or ()), (candidate, route._child_scope(scope, params))]
                continue
            if candidate.is_mount:
                if route._enter(scope, path):
                    scope["route"] = route
                    mounted: Ask = route._ask
                    return mounted
                continue
            match, child_scope = route.matches(scope)
            if match is Match.FULL:
                scope["route"] = route
                scope.update(child_scope)
                return candidate.ask
            if match is Match.PARTIAL:
                by_path = [*(by_path or ()), (candidate, child_scope)]
        if by_path is None:
            return None
        first, child_scope = by_path[0]
        scope["route"] = first.route
        scope.update(child_scope)
        if not first.is_plain:
            return first.ask  # a route of its own kind answers other methods its own way
        return _OtherMethods([candidate.route for candidate, _ in by_path]).respond

    def select_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        """Return the app that serves a WebSocket, its keys being set in ``scope``; None: no route matches."""
        for candidate in self.find(path):
            route = candidate.route
            if candidate.is_plain:
                continue  # an HTTP route
            match, child_scope = route.matches(scope)
            if match is not Match.NONE:
                scope["route"] = route
                scope.update(child_scope)
                return candidate.socket_app
        return None

    def has_match(self, scope: Scope, path: str, whole_path: str) -> bool:
        """Return whether a route would fully match the scope if it had this route path and path."""
        candidates = self.find(path)
        if not candidates:
            return False
        scope = {**scope, "path": whole_path}
        return any(candidate.route.matches(scope)[0] is Match.FULL for candidate in candidates)


def _build_index(routes: RouteList) -> RouteIndex:
    snapshot = list(routes)
    candidates = [_candidate(route, order) for order, route in enumerate(snapshot)]
    index = RouteIndex(candidates, [_pattern(route) for route in snapshot])
    # Another thread may have changed the list meanwhile: then the next look-up builds it again.
    if len(snapshot) == len(routes) and all(map(is_, snapshot, routes)):
        routes.route_index = index
    return index


def _candidate(route: BaseRoute, order: int) -> Candidate:
    """Decide how a route is compared and asked: by value only if it is as it was born."""
    cls = type(route)
    candidate = Candidate(route, order, asker(route.handle))
    if isinstance(route, WebSocketRoute) and cls.handle is _SOCKET_HANDLE:
        candidate.socket_app = route.app
    own = getattr(route, "__dict__", {})  # methods may be replaced on one route alone
    if isinstance(route, (Route, AppRoute)) and cls.handle in _BORN_HANDLE and "handle" not in own:
        # Resolved anew here, and not when the route was made: classes may have been patched since.
        app = route.app
        if isinstance(app, type) and issubclass(app, HTTPEndpoint) and answers_by_value(app):
            candidate.ask = partial(answer, app)
        else:
            candidate.ask = ask_function(app)
        # Read from the route when it is asked: an app that is put in its place later is noticed.
        route._ask = candidate.ask
        matches = None if "matches" in own else cls.matches
        candidate.is_plain = isinstance(route, Route) and matches is _ROUTE_MATCHES
        candidate.socket_app = app
        candidate.is_mount = isinstance(route, Mount) and matches is _MOUNT_MATCHES
        if isinstance(route, Route):
            candidate.exact_path = None if route.param_convertors else route.path
            candidate.conversions = conversions_of(route.param_convertors)
    return candidate


_SOCKET_HANDLE = WebSocketRoute.handle
_ROUTE_MATCHES = Route.matches
_MOUNT_MATCHES = Mount.matches


def _pattern(route: BaseRoute) -> str | None:
    """Return what the index may file the route under; None where only its ``matches`` knows."""
    if type(route).matches in _BORN_MATCHES and "matches" not in route.__dict__:
        if isinstance(route, PatternRoute):
            return route.path
        if isinstance(route, Mount):
            return route.path + "/{path:path}"
    return None


class _OtherMethods:
    """Answer a method that none of the routes for a path serves."""

    __slots__ = ("_routes",)

    def __init__(self, routes: Sequence[Any]) -> None:
        self._routes = routes

    async def respond(self, request: Request[Any]) -> ASGIApp:
        """Return the answer to OPTIONS.

        Raises:
            HTTPException: 405 with Allow, for every other method.
        """
        methods: set[str] = set()
        for route in self._routes:
            methods.update(route.methods or ())
        allow = ", ".join(sorted(methods))
        if request.scope["method"] == "OPTIONS":
            return Response(headers={"Allow": f"{allow}, OPTIONS"})
        if "app" in request.scope:
            raise HTTPException(status_code=405, headers={"Allow": allow})
        return PlainTextResponse("Method Not Allowed", status_code=405, headers={"Allow": allow})
