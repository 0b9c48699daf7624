"""Dispatch: from a connection to the route that serves it.

A request is served by the first route in the list that matches its path and its method. Where only the path
matches, the methods of all such routes together are the answer: 405, or to OPTIONS. Nothing is awaited
here: what is found is how the route is asked.

Standard: RFC 9110 s.9.3.7 (OPTIONS), s.10.2.1 (Allow), s.15.5.6 (405).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast

from spica._layers.layer import resolve_respond
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
from spica.routing.patterns import PARAM_REGEX, WITHIN_SEGMENT

if TYPE_CHECKING:
    from spica._layers.layer import Respond
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

    def select(self, scope: Scope, path: str) -> Respond | None:
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


def _ask_by_path(candidates: Sequence[Candidate], scope: Scope, path: str) -> Respond:
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
    return resolve_respond(first.route.handle)


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


FEW = 3
"""So many candidates below a first segment are compared quicker than the tree is searched."""

MAX_SEGMENTS = 256
"""Segments of a path that the tree looks at. Patterns are shorter; a longer path only costs its length."""


Method = TypeVar("Method", bound=Callable[..., Any])


def _dropping_index(method: Method) -> Method:
    """Return a method of list that also drops the index over the list."""

    def change(self: RouteList, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        finally:
            self.route_index = None

    change.__name__ = method.__name__
    change.__doc__ = method.__doc__
    return cast("Method", change)  # it takes and returns what the method does


class RouteList(list[BaseRoute]):
    """A list of routes that carries its index, and drops it with every change."""

    __slots__ = ("route_index",)

    route_index: RouteIndex | None

    def __init__(self, routes: Iterable[BaseRoute] = ()) -> None:
        super().__init__(routes)
        self.route_index = None

    append = _dropping_index(list.append)
    extend = _dropping_index(list.extend)
    insert = _dropping_index(list.insert)
    remove = _dropping_index(list.remove)
    pop = _dropping_index(list.pop)
    clear = _dropping_index(list.clear)
    sort = _dropping_index(list.sort)
    reverse = _dropping_index(list.reverse)
    __setitem__ = _dropping_index(list.__setitem__)
    __delitem__ = _dropping_index(list.__delitem__)
    __iadd__ = _dropping_index(list.__iadd__)
    __imul__ = _dropping_index(list.__imul__)


Candidates = Sequence[Candidate]
_by_order = attrgetter("order")


_NOWHERE: dict[str, _Node] = {}
_NOBODY: list[Candidate] = []
_NO_LISTS: dict[str, Candidates] = {}
_NO_FIRSTS: frozenset[str] = frozenset()
"""What most nodes have not is one empty object for all of them, which is never changed."""


class _Node:
    """A place in the tree of path segments."""

    __slots__ = ("ends", "literals", "rests", "wild")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = _NOWHERE
        self.wild: _Node | None = None  # below any one segment
        self.ends: list[Candidate] = _NOBODY  # patterns that end here
        self.rests: list[Candidate] = _NOBODY  # patterns that go on with anything

    def literal(self, segment: str) -> _Node:
        if self.literals is _NOWHERE:
            self.literals = {}
        node = self.literals.get(segment)
        if node is None:
            node = self.literals[segment] = _Node()
        return node

    def below(self, segment: str) -> list[_Node]:
        """Return where a path goes on with this segment."""
        child = self.literals.get(segment)
        if self.wild is None or not segment:
            return [] if child is None else [child]
        return [self.wild] if child is None else [child, self.wild]

    def add(self, name: str, candidate: Candidate) -> None:
        """Add to ``ends`` or ``rests``."""
        if getattr(self, name) is _NOBODY:
            setattr(self, name, [])
        getattr(self, name).append(candidate)

    def any_segment(self) -> _Node:
        if self.wild is None:
            self.wild = _Node()
        return self.wild


class RouteIndex:
    """Find the routes that could match a path."""

    __slots__ = ("_by_first", "_firsts", "_needs_first", "_root", "exact", "few")

    def __init__(self, candidates: Candidates) -> None:
        self.few: Candidates = candidates if len(candidates) == 1 else ()
        """The only candidate: it is quicker compared than looked up."""
        self._root = _Node()
        self.exact: dict[str, Candidates] = {}
        """The candidates of each path that is a pattern without parameters. The tree has only the others."""
        varying = [candidate for candidate in candidates if not _is_static(candidate.pattern)]
        for candidate in varying:
            self._insert(candidate)
        for candidate in candidates:
            path = candidate.pattern
            if _is_static(path):
                known = self.exact.get(path) or self._walk(path)
                self.exact[path] = tuple(sorted((*known, candidate), key=_by_order))
        self._by_first = _short_lists(varying) if varying else _NO_LISTS
        firsts = frozenset(["/" + segment for segment in self._root.literals])
        self._firsts = firsts or _NO_FIRSTS
        self._needs_first = self._root.wild is None and not self._root.rests

    def find(self, path: str) -> Candidates:
        """Return the candidates for a path, in the order of the list."""
        candidates = self.few or self.exact.get(path)
        return self.search(path) if candidates is None else candidates

    def search(self, path: str) -> Candidates:
        """Return the candidates for a path that is not in ``exact``, where there are not ``few``."""
        end = path.find("/", 1)
        first = path[:end] if end > 0 else path
        found = self._by_first.get(first)
        if found is not None:
            return found
        if first not in self._firsts and self._needs_first:
            return ()
        return self._walk(path)

    def _insert(self, candidate: Candidate) -> None:
        node = self._root
        pattern = candidate.pattern
        if pattern is not None:
            segments = pattern.split("/")
            for segment in segments[1 : MAX_SEGMENTS - 1]:
                params = PARAM_REGEX.findall(segment)
                if not params:
                    node = node.literal(segment)
                elif all(_is_within_segment(candidate.route, name) for name, _ in params):
                    node = node.any_segment()
                else:
                    break
            else:
                if len(segments) < MAX_SEGMENTS:
                    node.add("ends", candidate)
                    return
        node.add("rests", candidate)

    def _walk(self, path: str) -> Candidates:
        """Go down the tree along all ways that the path can take."""
        found: list[Candidate] = []
        level = [self._root]
        segments = path.split("/", MAX_SEGMENTS)
        if segments[0]:
            return self._root.rests  # it does not begin with a slash
        for segment in segments[1:]:
            below: list[_Node] = []
            for node in level:
                found += node.rests
                below += node.below(segment)
            level = below
            if not level:
                break
        for node in level:
            found += node.ends
            found += node.rests
        if len(found) > 1:
            found.sort(key=_by_order)
        return found


def _is_static(pattern: str | None) -> TypeGuard[str]:
    return pattern is not None and "{" not in pattern


def _short_lists(candidates: Candidates) -> dict[str, Candidates]:
    """Return the candidates by the first segment of a path, where these are few."""
    anywhere: list[Candidate] = []
    by_first: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        pattern = candidate.pattern
        first = None if pattern is None else pattern[1:].partition("/")[0]
        if first is None or "{" in first:
            anywhere.append(candidate)
        else:
            by_first.setdefault("/" + first, []).append(candidate)
    return {
        first: tuple(sorted((*listed, *anywhere), key=_by_order))
        for first, listed in by_first.items()
        if len(listed) + len(anywhere) <= FEW
    }


def _is_within_segment(route: Any, name: str) -> bool:
    convertor = route.param_convertors.get(name)
    return type(convertor) in WITHIN_SEGMENT
