"""The index over a route list: which routes could match a path.

The list stays the truth. The index answers "which of these could match?" with candidates in the order in
which they stand in the list, so that the first full match wins exactly as in a scan. Paths without
parameters are looked up in a dict; the rest stands in a tree of path segments. A route of an unknown
class, or with a ``matches`` of its own, is a candidate for everything at its place in the order.

The index decides nothing: each candidate is still compared with the path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, SupportsIndex

from spica.convertors import FloatConvertor, IntegerConvertor, StringConvertor, UUIDConvertor
from spica.routing.base import BaseRoute
from spica.routing.patterns import PARAM_REGEX, Conversions, match_path

if TYPE_CHECKING:
    from spica._layers.responder import Ask
    from spica.types import ASGIApp

WITHIN_SEGMENT = (StringConvertor, IntegerConvertor, FloatConvertor, UUIDConvertor)
"""Convertors whose text never contains a slash."""

SHORT = 3
"""So many candidates are compared quicker than the tree is searched."""

MAX_SEGMENTS = 256
"""Segments of a path that the tree looks at. Patterns are shorter; a longer path only costs its length."""


class RouteList(list[BaseRoute]):
    """A list of routes that carries its index, and drops it with every change."""

    route_index: RouteIndex | None = None

    def append(self, route: BaseRoute) -> None:
        """Add a route behind the others."""
        self.route_index = None
        super().append(route)

    def extend(self, routes: Iterable[BaseRoute]) -> None:
        """Add several routes behind the others."""
        self.route_index = None
        super().extend(routes)

    def insert(self, index: SupportsIndex, route: BaseRoute) -> None:
        """Add a route at a place."""
        self.route_index = None
        super().insert(index, route)

    def remove(self, route: BaseRoute) -> None:
        """Take out the first route that is equal to this one."""
        self.route_index = None
        super().remove(route)

    def pop(self, index: SupportsIndex = -1) -> BaseRoute:
        """Take out the route at a place and return it."""
        self.route_index = None
        return super().pop(index)

    def clear(self) -> None:
        """Take out all routes."""
        self.route_index = None
        super().clear()

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        """Bring the routes into another order."""
        self.route_index = None
        super().sort(key=key, reverse=reverse)

    def reverse(self) -> None:
        """Turn the order round."""
        self.route_index = None
        super().reverse()

    def __setitem__(self, index: Any, value: Any) -> None:
        self.route_index = None
        super().__setitem__(index, value)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        self.route_index = None
        super().__delitem__(index)

    def __iadd__(self, routes: Iterable[BaseRoute]) -> RouteList:  # type: ignore[override,misc]  # list's own is typed by value
        self.route_index = None
        super().__iadd__(routes)
        return self

    def __imul__(self, count: SupportsIndex) -> RouteList:
        self.route_index = None
        super().__imul__(count)
        return self


class Candidate:
    """A route, its place in the order, and how it is compared and asked."""

    __slots__ = (
        "ask",
        "conversions",
        "exact_path",
        "is_mount",
        "is_plain",
        "order",
        "route",
        "socket_app",
    )

    def __init__(self, route: Any, order: int, ask: Ask) -> None:
        self.route = route
        self.order = order
        self.ask = ask
        self.socket_app: ASGIApp = route.handle
        self.is_plain = False  # an HTTP route that compares itself as its class does
        self.is_mount = False  # a mount that does
        self.exact_path: str | None = None  # the one path it matches
        self.conversions: Conversions = ()

    def params(self, path: str) -> dict[str, Any] | None:
        """Return the path parameters if ``path`` matches a plain route, else None."""
        return match_path(self.route.path_regex, self.conversions, path)


Candidates = Sequence[Candidate]
_by_order = attrgetter("order")


class _Node:
    """A place in the tree of path segments."""

    __slots__ = ("ends", "literals", "rests", "wild")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.wild: _Node | None = None  # below any one segment
        self.ends: list[Candidate] = []  # patterns that end here
        self.rests: list[Candidate] = []  # patterns that go on with anything

    def literal(self, segment: str) -> _Node:
        node = self.literals.get(segment)
        if node is None:
            node = self.literals[segment] = _Node()
        return node

    def any_segment(self) -> _Node:
        if self.wild is None:
            self.wild = _Node()
        return self.wild


class RouteIndex:
    """Find the routes that could match a path."""

    def __init__(self, candidates: Candidates, patterns: Sequence[str | None]) -> None:
        """Index ``candidates``, each with its path pattern; None: it could match anything."""
        self._root = _Node()
        self.exact: dict[str, Candidates] = {}
        self._by_first: dict[str, Candidates] = {}
        is_static = [pattern is not None and "{" not in pattern for pattern in patterns]
        for candidate, pattern in zip(candidates, patterns, strict=True):
            self._insert(candidate, pattern)
        for pattern, static in zip(patterns, is_static, strict=True):
            if static and pattern is not None:
                self.exact[pattern] = self._walk(pattern)
        # What `exact` has found needs no place among the rest.
        for segment in self._root.literals:
            found = [
                candidate
                for candidate, pattern, static in zip(candidates, patterns, is_static, strict=True)
                if not static and _may_begin(pattern, segment)
            ]
            if len(found) <= SHORT:
                self._by_first["/" + segment] = found

    def find(self, path: str) -> Candidates:
        """Return the candidates for a path that is not in ``exact``, in the order of the list."""
        end = path.find("/", 1)
        found = self._by_first.get(path[:end] if end > 0 else path)
        return self._walk(path) if found is None else found

    def _insert(self, candidate: Candidate, pattern: str | None) -> None:
        node = self._root
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
                    node.ends.append(candidate)
                    return
        node.rests.append(candidate)

    def _walk(self, path: str) -> Candidates:
        """Go down the tree along the path; nearly always there is one way, without branches."""
        node = self._root
        if path[:1] != "/":
            return node.rests
        segments = path.split("/", MAX_SEGMENTS)
        found: Candidates = ()
        last = len(segments) - 1
        for depth in range(1, last + 1):
            if node.rests:
                found = [*found, *node.rests] if found else node.rests
            child = node.literals.get(segments[depth])
            wild = node.wild
            if wild is not None and segments[depth]:
                if child is not None:
                    found = [*found, *_branch([child, wild], segments, depth + 1)]
                    break
                child = wild
            if child is None:
                break
            node = child
        else:
            tail = (
                [*node.ends, *node.rests] if node.ends and node.rests else node.ends or node.rests
            )
            found = [*found, *tail] if found else tail
        return sorted(found, key=_by_order) if len(found) > 1 else found


def _branch(level: list[_Node], segments: list[str], depth: int) -> list[Candidate]:
    """Go on where a segment matches both as a text and as a parameter, along all ways at once."""
    found: list[Candidate] = []
    for segment in segments[depth:]:
        below: list[_Node] = []
        for node in level:
            found += node.rests
            child = node.literals.get(segment)
            if child is not None:
                below.append(child)
            if node.wild is not None and segment:
                below.append(node.wild)
        level = below
    for node in level:
        found += node.ends
        found += node.rests
    return found


def _may_begin(pattern: str | None, segment: str) -> bool:
    """Return whether a path whose first segment is this one may match the pattern."""
    if pattern is None:
        return True
    first = pattern[1:].partition("/")[0]
    return "{" in first or first == segment


def _is_within_segment(route: Any, name: str) -> bool:
    convertor = route.param_convertors.get(name)
    return type(convertor) in WITHIN_SEGMENT
