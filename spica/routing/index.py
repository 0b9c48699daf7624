"""The index over a route list: which routes could match a path.

The list stays the truth. The index answers "which of these could match?" with candidates in the order in
which they stand in the list, so that the first full match wins exactly as in a scan. Paths without
parameters are looked up in a dict; the rest stands in a tree of path segments. A route of an unknown
class, or with a ``matches`` of its own, is a candidate for everything at its place in the order.

The index decides nothing: each candidate is still compared with the path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, TypeGuard, TypeVar, cast

from spica.routing.base import BaseRoute
from spica.routing.candidates import Candidate
from spica.routing.patterns import PARAM_REGEX, WITHIN_SEGMENT

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
