"""The route table: from a path to the route that serves it.

The first route in the list that matches the path and the method serves a request. If only the path matches,
all such routes together answer: 405, or the response to OPTIONS. Nothing is awaited here; the table returns
the function that makes the response.

Routing time does not grow with the number of routes: an index over the list holds exact paths in a dict, and
patterns in a tree of path segments. It finds the candidates, and each candidate then compares for itself. The
list is a plain list that you may change at any time. The first request after a change builds the index again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast

from spica.routing.base import BaseRoute, Match, partial_match
from spica.routing.candidates import Candidate, make_candidates
from spica.routing.patterns import PARAM_REGEX, WITHIN_SEGMENT

if TYPE_CHECKING:
    from spica._layers.layer import Respond
    from spica.types import ASGIApp, Scope


class RouteTable:
    """The routes of one router, with an index that follows every change of the list.

    Args:
        routes: The routes; the table copies them into its own list, `routes`.
    """

    __slots__ = ("_foreign", "routes")

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self.routes: list[BaseRoute] = RouteList(routes)
        self._foreign: RouteList | None = None

    def find(self, path: str) -> Candidates:
        """Return the candidates for a route path, in the order of the list."""
        # The lines of `RouteIndex.find` are repeated here, because every WebSocket comes through this method.
        index = self._current_index()
        candidates = index.few or index.exact.get(path)
        return index.search(path) if candidates is None else candidates

    def _current_index(self) -> RouteIndex:
        routes = self.routes
        if type(routes) is not RouteList:
            routes = self._copy_of(routes)
        return routes.route_index or _build_index(routes)

    def _copy_of(self, routes: list[BaseRoute]) -> RouteList:
        """Return a copy of a plain list that was assigned to `routes`, and does not report its changes."""
        copy = self._foreign
        if copy is None or len(copy) != len(routes) or not all(map(is_, copy, routes)):
            copy = self._foreign = RouteList(routes)
        return copy

    def select(self, scope: Scope, path: str) -> Respond | None:
        """Find the route for an HTTP request, set its keys in ``scope``, and return how to respond.

        Returns None if no route matches the path.
        """
        # The lines of `find` are repeated here, because every request comes through this method.
        routes = self.routes
        index = routes.route_index if type(routes) is RouteList else None
        if index is None:
            index = self._current_index()
        candidates = index.few or index.exact.get(path)
        if candidates is None:
            candidates = index.search(path)
        partial: tuple[Any, ...] = ()
        for candidate in candidates:
            respond = candidate.enter(scope, path)
            if respond is partial_match:
                partial += (candidate.route,)
            elif respond is not None:
                return respond
        return partial[0]._enter_other_method(scope, path, partial) if partial else None

    def select_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        """Find the route for a WebSocket, set its keys in ``scope``, and return the app that serves it.

        Returns None if no route matches the path.
        """
        candidates = self.find(path)
        for candidate in candidates:
            app: ASGIApp | None = candidate.route._enter_socket(scope, path)
            if app is not None:
                return app
        for candidate in candidates:
            app = candidate.route._enter_socket_last(scope, path)
            if app is not None:
                return app
        return None

    def has_match(self, scope: Scope, path: str, whole_path: str) -> bool:
        """Return whether a route fully matches the scope with the route path ``path`` of ``whole_path``."""
        candidates = self.find(path)
        if not candidates:
            return False
        scope = {**scope, "path": whole_path}
        return any(candidate.route.matches(scope)[0] is Match.FULL for candidate in candidates)


def _build_index(routes: RouteList) -> RouteIndex:
    snapshot = list(routes)
    index = RouteIndex(make_candidates(snapshot))
    routes.route_index = index
    # Another thread may have changed the list meanwhile. Check only after the index is in place, because any
    # later change removes it. The next look-up builds it again.
    if len(snapshot) != len(routes) or not all(map(is_, snapshot, routes)):
        routes.route_index = None
    return index


FEW = 3
"""Up to this number, comparing all candidates below a first segment is faster than searching the tree."""

MAX_SEGMENTS = 256
"""The tree sorts by this number of segments. Longer paths and patterns are left to the candidates."""


Method = TypeVar("Method", bound=Callable[..., Any])


def _dropping_index(method: Method) -> Method:
    """Return a method of ``list`` that also drops the index over the list."""

    def change(self: RouteList, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        finally:
            self.route_index = None

    change.__name__ = method.__name__
    change.__doc__ = method.__doc__
    return cast("Method", change)  # same parameters, same result


class RouteList(list[BaseRoute]):
    """A list of routes that holds its index, and drops it with every change.

    The check for a valid index is then one attribute, however many routes there are. Every method that
    changes a list is wrapped below; a list of another type is compared item by item (`RouteTable._copy_of`).
    """

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


# Most nodes have no children, ends or rests. They share these empty objects, which saves memory in large
# tables.
_NO_CHILDREN: dict[str, _Node] = {}
_NO_CANDIDATES: list[Candidate] = []
_NO_LISTS: dict[str, Candidates] = {}
_NO_FIRSTS: frozenset[str] = frozenset()


class _Node:
    """A node of the tree of path segments."""

    __slots__ = ("ends", "literals", "rests", "wild")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = _NO_CHILDREN
        self.wild: _Node | None = None  # below a parameter
        self.ends: list[Candidate] = _NO_CANDIDATES  # patterns that end here
        self.rests: list[Candidate] = _NO_CANDIDATES  # patterns that continue with any segments

    def literal(self, segment: str) -> _Node:
        """Return the node below a fixed segment; create it if needed."""
        if self.literals is _NO_CHILDREN:
            self.literals = {}
        node = self.literals.get(segment)
        if node is None:
            node = self.literals[segment] = _Node()
        return node

    def below(self, segment: str) -> list[_Node]:
        """Return the nodes that a path with this segment leads to."""
        child = self.literals.get(segment)
        if self.wild is None or not segment:
            return [] if child is None else [child]
        return [self.wild] if child is None else [child, self.wild]

    def add(self, name: str, candidate: Candidate) -> None:
        """Add to ``ends`` or ``rests``."""
        if getattr(self, name) is _NO_CANDIDATES:
            setattr(self, name, [])
        getattr(self, name).append(candidate)

    def any_segment(self) -> _Node:
        """Return the node below a segment with parameters; create it if needed."""
        if self.wild is None:
            self.wild = _Node()
        return self.wild


class RouteIndex:
    """Find the candidates for a path: the routes that could match it.

    Args:
        candidates: The candidates of a table, in the order of its list.
    """

    __slots__ = ("_by_first", "_firsts", "_needs_first", "_root", "exact", "few")

    def __init__(self, candidates: Candidates) -> None:
        self.few: Candidates = candidates if len(candidates) == 1 else ()
        """The only candidate of a small table. Comparing it is faster than a look-up."""
        self._root = _Node()
        self.exact: dict[str, Candidates] = {}
        """The candidates for each pattern without parameters. The tree holds only the other patterns."""
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
        """Return the candidates for a path that is not in ``exact``. Call it only if ``few`` is empty."""
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
        """Collect the candidates along all ways that the path can take through the tree."""
        found: list[Candidate] = []
        level = [self._root]
        segments = path.split("/", MAX_SEGMENTS)
        if segments[0]:
            return self._root.rests  # not an absolute path, for example `*`
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
    """Return the candidates by the first segment of a path, for segments with few of them."""
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
