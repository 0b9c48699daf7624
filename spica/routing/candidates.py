"""Candidates: the routes of a list, each in the form in which it is compared and asked quickest.

A route is compared and asked by value only if its class, and the route itself, still have the ``matches``
and ``handle`` they were born with. Any other is compared by its own ``matches`` and run by its own
``handle``. That is decided here, when an index is built.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from spica._layers.handsent import BY_ENDPOINT, sends_by_hand
from spica._layers.layer import resolve_respond
from spica._originals import is_original, remember
from spica.endpoints import HTTPEndpoint, answer, answers_by_value, methods_of
from spica.routing.base import BaseRoute, Match
from spica.routing.endpoint_apps import resolve_endpoint
from spica.routing.hosttable import HostTable
from spica.routing.mounts import AppRoute, Host, Mount, descend, read_host_name, refuse_hosts
from spica.routing.patterns import conversions_of, match_path
from spica.routing.routes import PatternRoute, Route, WebSocketRoute

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from spica._layers.layer import Respond
    from spica.requests import Request
    from spica.types import ASGIApp, Scope

remember(PatternRoute, "url_path_for")
remember(AppRoute, "handle")
for _cls in (Route, WebSocketRoute, Mount, Host):
    remember(_cls, "matches", "handle", "url_path_for")


async def partial_match(request: Request[Any]) -> ASGIApp:
    """Stand for "the path matches, the method does not"; never asked."""
    raise NotImplementedError


class Candidate:
    """A route at its place in the list."""

    __slots__ = ("order", "route")

    def __init__(self, route: Any, order: int) -> None:
        self.route = route
        self.order = order

    @property
    def pattern(self) -> str | None:
        """The pattern of the paths that it matches; None: only its ``matches`` knows."""
        return None

    def is_full_match(self, scope: Scope) -> bool:
        """Return whether the route fully matches a scope, which is not changed."""
        matched: bool = self.route.matches(scope)[0] is Match.FULL
        return matched

    def enter(self, scope: Scope, path: str) -> Respond | None:
        """Return how the route is asked if it matches an HTTP request, its keys being set in ``scope``.

        None: it does not match. ``partial_match``: by its path, but not its method.
        """
        raise NotImplementedError

    def enter_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        """Return the app for a WebSocket if the route matches, its keys being set in ``scope``."""
        raise NotImplementedError

    def enter_socket_last(self, scope: Scope, path: str) -> ASGIApp | None:
        """Return the app for a WebSocket that no route matches, if the route matches it partially."""
        return None


class AnyCandidate(Candidate):
    """A route that may be of any kind: compared by ``matches``, served by ``handle``."""

    __slots__ = ("_layer_inner_respond",)

    def __init__(self, route: Any, order: int) -> None:
        super().__init__(route, order)
        self._layer_inner_respond = resolve_respond(route.handle)

    def enter(self, scope: Scope, path: str) -> Respond | None:
        """Let the route compare."""
        match, child_scope = self.route.matches(scope)
        if match is Match.NONE:
            return None
        if match is Match.PARTIAL:
            return partial_match
        scope["route"] = self.route
        scope.update(child_scope)
        return self._layer_inner_respond

    def enter_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        """Let the route compare."""
        match, child_scope = self.route.matches(scope)
        if match is Match.NONE:
            return None
        scope["route"] = self.route
        scope.update(child_scope)
        app: ASGIApp = self.route.handle
        return app


class PatternCandidate(Candidate):
    """A route with a path pattern, as it was born."""

    __slots__ = ("conversions", "exact_path")

    def __init__(self, route: PatternRoute, order: int) -> None:
        super().__init__(route, order)
        self.exact_path = None if route.param_convertors else route.path  # the one path it matches
        self.conversions = conversions_of(route.param_convertors)

    @property
    def pattern(self) -> str:
        """The path of the route."""
        path: str = self.route.path
        return path

    def _params(self, path: str) -> dict[str, Any] | None:
        return match_path(self.route.path_regex, self.conversions, path)

    def set_keys(self, scope: Scope, path: str) -> None:
        """Set the keys of a route that matches, whatever the method."""
        scope["route"] = self.route
        scope.update(self.route._child_scope(scope, self._params(path) or {}))


class HTTPCandidate(PatternCandidate):
    """A ``Route``."""

    __slots__ = ()

    def __init__(self, route: Route, order: int) -> None:
        super().__init__(route, order)
        # Resolved anew here, and not when the route was made: classes may have been patched since. It is
        # read from the route when it is asked: an app that is put in its place later is noticed.
        route._layer_inner_respond = _ask_endpoint(route.app)

    def enter(self, scope: Scope, path: str) -> Respond | None:
        """Compare the path, then the method."""
        route = self.route
        if self.exact_path is not None and self.exact_path == path:
            params: Any = {}
        else:
            # What match_path does, without the step to it.
            found = route.path_regex.match(path)
            if found is None:
                return None
            params = found.groupdict()
            try:
                for name, convert in self.conversions:
                    params[name] = convert(params[name])
            except ValueError:
                return None
        methods = route.methods
        if methods is not None and scope["method"] not in methods and methods:
            return partial_match
        if "path_params" in scope:
            params = {**scope["path_params"], **params}
        scope["route"] = route
        scope["endpoint"] = route.endpoint
        scope["path_params"] = params
        ask: Respond = route._layer_inner_respond
        return ask

    def enter_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        """Match no WebSocket."""
        return None


class ClassCandidate(HTTPCandidate):
    """A ``Route`` to a class endpoint, which serves the methods that it defines."""

    __slots__ = ("methods",)

    def __init__(self, route: Route, methods: Set[str], order: int) -> None:
        super().__init__(route, order)
        self.methods = methods

    def enter(self, scope: Scope, path: str) -> Respond | None:
        """Compare the path, then the method."""
        if scope["method"] in self.methods:
            return HTTPCandidate.enter(self, scope, path)
        return None if self._params(path) is None else partial_match


class SocketCandidate(PatternCandidate):
    """A ``WebSocketRoute``."""

    __slots__ = ()

    def enter(self, scope: Scope, path: str) -> Respond | None:
        """Match no HTTP request."""
        return None

    def enter_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        """Compare the path."""
        params = {} if self.exact_path == path else self._params(path)
        if params is None:
            return None
        scope["route"] = self.route
        scope.update(self.route._child_scope(scope, params))
        app: ASGIApp = self.route.app
        return app


class MountCandidate(Candidate):
    """A ``Mount``, as it was born."""

    __slots__ = ("conversions", "prefix")

    def __init__(self, route: Mount, order: int) -> None:
        super().__init__(route, order)
        self.prefix = None if len(route.param_convertors) > 1 else route.path + "/"
        self.conversions = conversions_of(route.param_convertors)
        route._layer_inner_respond = resolve_endpoint(route.app)

    @property
    def pattern(self) -> str:
        """All that is below the path of the route."""
        return f"{self.route.path}/{{path:path}}"

    def enter(self, scope: Scope, path: str) -> Respond | None:
        """Compare the prefix."""
        route = self.route
        if self.prefix is None:
            if not route._enter(scope, path, self.conversions):
                return self._compare_bare(scope, path)
        elif path.startswith(self.prefix):
            descend(scope, route.path, route._layer_inner)
        else:
            return self._compare_bare(scope, path)
        scope["route"] = route
        ask: Respond = route._layer_inner_respond
        return ask

    def _compare_bare(self, scope: Scope, path: str) -> Respond | None:
        match = self.route._match_bare(scope, path)
        if match is Match.FULL:
            return self.enter_bare(scope, path)
        return None if match is Match.NONE else partial_match

    def enter_bare(self, scope: Scope, path: str) -> Respond:
        """Return how the route is asked for its path without the trailing slash."""
        route = self.route
        route._enter_bare(scope, path, self.conversions)
        scope["route"] = route
        ask: Respond = route._layer_inner_respond
        return ask

    def enter_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        """Compare the prefix."""
        ask = self.enter(scope, path)
        app: ASGIApp | None = None if ask is None or ask is partial_match else self.route.app
        return app

    def enter_socket_last(self, scope: Scope, path: str) -> ASGIApp | None:
        """Compare the path without the trailing slash, where no other route matches."""
        if self.route._match_bare(scope, path) is Match.NONE:
            return None
        self.enter_bare(scope, path)
        app: ASGIApp = self.route.app
        return app


class HostsCandidate(Candidate):
    """A run of ``Host`` routes that stand next to each other in the list.

    The Host header is read once for all of them.
    """

    __slots__ = ("table",)

    def __init__(self, route: Host, order: int) -> None:
        super().__init__(route, order)
        self.table = HostTable()
        self.add(route, order)

    def add(self, route: Host, order: int) -> None:
        """Add the next route of the run."""
        route._layer_inner_respond = _ask_endpoint(route.app)
        self.table.add(route, order)

    def is_full_match(self, scope: Scope) -> bool:
        """Look the host up."""
        name = read_host_name(scope)
        return name is not None and self.table.find(name) is not None

    def enter(self, scope: Scope, path: str) -> Respond | None:
        """Look the host up."""
        name = read_host_name(scope)
        if name is None:
            return _refuse_hosts
        found = self.table.find(name)
        if found is None:
            return None
        route, params = found
        scope["route"] = route
        scope.update(route._child_scope(scope, params))
        return route._layer_inner_respond

    def enter_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        """Look the host up."""
        ask = self.enter(scope, path)
        if ask is None:
            return None
        app: ASGIApp = refuse_hosts if ask is _refuse_hosts else scope["route"].app
        return app


_refuse_hosts = resolve_respond(refuse_hosts)


class AskedCandidate(AnyCandidate):
    """A route with a ``matches`` of its own whose app is asked by value: a subclass."""

    __slots__ = ()

    def __init__(self, route: Route | AppRoute, order: int) -> None:
        super().__init__(route, order)
        route._layer_inner_respond = _ask_endpoint(route.app)

    def enter(self, scope: Scope, path: str) -> Respond | None:
        """Let the route compare, then ask its app."""
        ask = super().enter(scope, path)
        if ask is None or ask is partial_match:
            return ask
        own_ask: Respond = self.route._layer_inner_respond
        return own_ask


def make_candidates(routes: Iterable[BaseRoute]) -> list[Candidate]:
    """Return the candidates of a list of routes, in their order; a run of hosts is one of them.

    Raises:
        TypeError: something in the list is not a route.
    """
    candidates: list[Candidate] = []
    for order, route in enumerate(routes):
        candidate = make_candidate(route, order)
        last = candidates[-1] if candidates else None
        if isinstance(candidate, HostsCandidate) and isinstance(last, HostsCandidate):
            last.add(candidate.route, order)
        else:
            candidates.append(candidate)
    return candidates


def make_candidate(route: BaseRoute, order: int) -> Candidate:
    """Return the fastest form of ``route`` that does the same.

    Raises:
        TypeError: something in the list is not a route.
    """
    if not hasattr(route, "handle"):
        raise TypeError(f"A list of routes has Route, Mount and the like, not {route!r:.200}.")
    if not is_original(route, "handle"):
        return AnyCandidate(route, order)
    if is_original(route, "matches"):
        if isinstance(route, Route):
            # Not those of the route, which are looked up when it is compared: they may change.
            methods = methods_of(route.endpoint) if route.app is route.endpoint else None
            if methods is not None:
                return ClassCandidate(route, methods, order)
            return HTTPCandidate(route, order)
        if isinstance(route, WebSocketRoute):
            return SocketCandidate(route, order)
        if isinstance(route, Mount):
            return MountCandidate(route, order)
        if isinstance(route, Host):
            return HostsCandidate(route, order)
    if isinstance(route, (Route, AppRoute)):
        return AskedCandidate(route, order)
    return AnyCandidate(route, order)


def _ask_endpoint(app: ASGIApp) -> Respond:
    """Return how the app of a route is asked; a class endpoint makes an instance for each request."""
    if isinstance(app, type) and issubclass(app, HTTPEndpoint) and _passes_responses(app):
        return partial(answer, app)
    return resolve_endpoint(app)


def _passes_responses(cls: type[HTTPEndpoint]) -> bool:
    return answers_by_value(cls) and not sends_by_hand(cls, BY_ENDPOINT)
