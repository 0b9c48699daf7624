"""Candidates: the form of each route in the route table.

A candidate is the position of a route and the method by which the table enters it. Routes of spica are
entered directly. A route that overrides ``matches`` or ``handle``, or is of a class of your own, is entered
by these two methods instead. The decision falls here, when an index is built, and costs nothing per request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica._layers.layer import resolve_respond
from spica._originals import is_original, remember
from spica.routing.base import BaseRoute, Enter, Entry, Match, partial_match
from spica.routing.endpoint_apps import resolve_endpoint
from spica.routing.hosts import Host, HostRun
from spica.routing.mounts import AppRoute, Mount
from spica.routing.routes import PatternRoute, Route, WebSocketRoute

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spica._layers.layer import Respond
    from spica.types import ASGIApp, Scope

remember(PatternRoute, "url_path_for")
remember(AppRoute, "handle")
for _cls in (Route, WebSocketRoute, Mount, Host):
    remember(_cls, "matches", "handle", "url_path_for")


class Candidate:
    """A route at its position in the list.

    Args:
        order: The position.
        route: The route, or the entry that represents it: a `HostRun` or an `EntryByMatches`.
        pattern: The pattern of the paths that may match; None if any path may.
        enter: The method of ``route`` that compares it with an HTTP request, see `Entry._enter`.
    """

    __slots__ = ("enter", "order", "pattern", "route")

    def __init__(self, order: int, route: Any, pattern: str | None, enter: Enter) -> None:
        self.order = order
        self.route = route
        self.pattern = pattern
        self.enter = enter


class EntryByMatches(Entry):
    """The entry for a route with its own ``matches`` or ``handle``.

    Args:
        route: The route.
        calls_handle: Whether ``handle`` serves a request. If not, the table goes directly to the app of the
            route.
    """

    __slots__ = ("_respond", "route")

    def __init__(self, route: Any, *, calls_handle: bool) -> None:
        self.route = route
        self._respond: Respond | None = None
        if calls_handle:
            self._respond = resolve_respond(route.handle)
        else:
            route._route_respond = resolve_endpoint(route.app)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Compare by the ``matches`` of the route."""
        found: tuple[Match, Scope] = self.route.matches(scope)
        return found

    def allowed_methods(self) -> Iterable[str] | None:
        """Return the methods that the route allows, as far as it says."""
        allowed = getattr(self.route, "allowed_methods", None)
        methods: Iterable[str] | None = (
            allowed() if allowed else getattr(self.route, "methods", None)
        )
        return methods

    def _take(self, scope: Scope, child_scope: Scope) -> None:
        """Set the keys of ``scope`` for the route."""
        scope["route"] = self.route
        scope.update(child_scope)
        if isinstance(self.route, AppRoute):
            self.route._overlay_states(scope)

    def _enter(self, scope: Scope, path: str) -> Respond | None:
        match, child_scope = self.route.matches(scope)
        if match is Match.NONE:
            return None
        if match is Match.PARTIAL:
            return partial_match
        self._take(scope, child_scope)
        # Read from the route for each request: another app may be assigned later.
        respond: Respond = self._respond or self.route._route_respond
        return respond

    def _enter_other_method(self, scope: Scope, path: str, routes: Sequence[Any]) -> Respond:
        _, child_scope = self.route.matches(scope)
        self._take(scope, child_scope)
        return resolve_respond(self.route.handle)  # it has its own answer to other methods

    def _enter_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        match, child_scope = self.route.matches(scope)
        if match is Match.NONE:
            return None
        self._take(scope, child_scope)
        app: ASGIApp = self.route.handle
        return app


def make_candidates(routes: Iterable[BaseRoute]) -> list[Candidate]:
    """Return the candidates for a list of routes, in its order. Hosts that follow each other become one.

    Raises:
        TypeError: An item of the list is not a route.
    """
    candidates: list[Candidate] = []
    run: HostRun | None = None
    for order, route in enumerate(routes):
        entry = find_entry(route)
        if isinstance(entry, Host):
            if run is not None:
                run.add(entry, order)
                continue
            run = HostRun()
            run.add(entry, order)
            entry = run
        else:
            run = None
        candidates.append(Candidate(order, entry, entry._index_pattern, entry._prepare_entry()))
    return candidates


def find_entry(route: BaseRoute) -> Entry:
    """Return ``route`` itself if the table may enter it directly, else an entry that calls its own methods.

    Raises:
        TypeError: ``route`` is not a route.
    """
    if not hasattr(route, "handle"):
        raise TypeError(f"A list of routes has Route, Mount and the like, not {route!r:.200}.")
    has_original_handle = is_original(route, "handle")
    if not has_original_handle or not is_original(route, "matches"):
        has_app = has_original_handle and isinstance(route, (Route, AppRoute))
        return EntryByMatches(route, calls_handle=not has_app)
    assert isinstance(route, (PatternRoute, AppRoute))  # the classes that define these methods
    return route
