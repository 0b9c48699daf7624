"""Find unreachable routes and unusable names, without a request.

Pure: it serves, imports and changes nothing. It reports only certain problems. A route that overrides
``matches`` or ``url_path_for`` is skipped, because only its own code knows which requests it serves.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spica._diagnostics.call_site import location_of
from spica._muting import is_configuration_muted
from spica._originals import is_original
from spica.convertors import (
    Convertor,
    FloatConvertor,
    IntegerConvertor,
    PathConvertor,
    StringConvertor,
    UUIDConvertor,
)
from spica.exceptions import SpicaConfigurationWarning
from spica.routing.base import BaseRoute
from spica.routing.candidates import Candidate
from spica.routing.hosts import Host
from spica.routing.lifespan.mounted import mounted_app
from spica.routing.mounts import AppRoute, Mount
from spica.routing.patterns import (
    PARAM_REGEX,
    WITHIN_SEGMENT,
    PathConvertors,
    conversions_of,
    match_path,
)
from spica.routing.routes import PatternRoute, Route, WebSocketRoute
from spica.routing.table import RouteIndex
from spica.types import Scope

ProblemKind = Literal["unreachable", "duplicate", "shadowed", "duplicate-name"]


@dataclass(frozen=True, slots=True)
class RouteProblem:
    """A mistake in a list of routes.

    Args:
        kind: "unreachable": earlier routes take every request. "duplicate": an earlier route has the same
            pattern and takes every request. "shadowed": earlier routes take some of the methods.
            "duplicate-name": ``url_for`` always finds an earlier route.
        message: The problem and its fix, in full sentences.
        route: The route.
        path: The pattern of the route with the prefixes of its mounts.
        place: "file:line" of the endpoint, or "".
    """

    kind: ProblemKind
    message: str
    route: BaseRoute
    path: str
    place: str


def find_problems(routes: Iterable[BaseRoute]) -> list[RouteProblem]:
    """Return the problems of ``routes`` and of the routes mounted below, in order."""
    return [*_find_unreachable(list(routes), "", set()), *_find_repeated_names(routes)]


def warn_of_routes(routes: Iterable[BaseRoute]) -> None:
    """Warn of unreachable routes, each at the line of its endpoint.

    Repeated names raise no warning, because they matter only if you build URLs from them.
    """
    for problem in find_problems(routes):
        if problem.kind != "duplicate-name" and not is_configuration_muted(problem.message):
            file, _, line = problem.place.rpartition(":")
            warnings.warn_explicit(
                problem.message,
                SpicaConfigurationWarning,
                filename=file or "<routes>",
                lineno=int(line or 1),
                module=__package__,  # for warning filters
            )


# -- unreachable routes --------------------------------------------------------------------------------


# Kinds of requests in addition to the methods. Neither is a token, so it can't be the name of a method.
_ANY_METHOD = "any method"
_HANDSHAKE = "WebSocket handshakes"


# The index sorts hosts below a segment that no path has, so that a mount of "" is a candidate for them.
_HOSTS = "/\0host/"


class _Reach(Candidate):
    """The requests that a route serves: paths or hosts, methods, WebSockets."""

    __slots__ = ("is_host", "kinds", "sample", "shape")

    def __init__(self, route: Any, order: int) -> None:
        self.is_host = isinstance(route, Host)
        if isinstance(route, Host):
            text, regex = _without_port(route.host), route.host_regex
        elif isinstance(route, Mount):
            text, regex = route.path + "/{path:path}", route.path_regex
        else:
            text, regex = route.path, route.path_regex
        self.shape = PatternShape(text, regex, route.param_convertors)
        self.kinds = _kinds_of(route)
        pattern = _HOSTS + text.lower() if self.is_host else text
        super().__init__(order, route, pattern, _never)
        self.sample = PARAM_REGEX.sub("0", pattern)
        """A path of this form. The index finds all routes that may cover this one under it."""

    def takes(self, kind: str) -> bool:
        """Return whether the route takes requests of this method, or handshakes."""
        return kind in self.kinds or (_ANY_METHOD in self.kinds and kind != _HANDSHAKE)

    def covers(self, other: _Reach) -> bool:
        """Return whether this route matches every path of ``other``."""
        if self.is_host != other.is_host:
            # A mount of "" leaves nothing for later hosts.
            return isinstance(self.route, Mount) and not self.route.path
        return self.shape.covers(other.shape) or self._serves_bare_path_of(other)

    def _serves_bare_path_of(self, other: _Reach) -> bool:
        """Return whether this mount serves its bare prefix, and ``other`` is a route for that path."""
        route = self.route
        return (
            isinstance(route, Mount)
            and route.serve_bare_path is True
            and isinstance(other.route, PatternRoute)
            and other.route.path == route.path
        )


def _never(scope: Scope, path: str) -> None:
    """Match no request: this index only compares patterns."""


def _kinds_of(route: Any) -> frozenset[str]:
    if isinstance(route, WebSocketRoute):
        return frozenset((_HANDSHAKE,))
    if isinstance(route, Route):
        methods = route.allowed_methods()
        return frozenset((_ANY_METHOD,) if methods is None else methods)
    return frozenset((_ANY_METHOD, _HANDSHAKE))


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host


def _find_unreachable(routes: Sequence[Any], prefix: str, seen: set[int]) -> Iterator[RouteProblem]:
    known = [route for route in routes if is_original(type(route), "matches")]
    reaches = [_Reach(route, order) for order, route in enumerate(known)]
    index = RouteIndex(reaches)
    for reach in reaches:
        route = reach.route
        problem = _compare(reach, _covering(reach, index), prefix)
        if problem is not None:
            yield problem  # no request reaches the routes below, so do not report them, too
        elif isinstance(route, AppRoute) and _identity(route) not in seen:
            seen.add(_identity(route))  # report it once, even if it is mounted again
            yield from _find_unreachable(_routes_of(route), prefix + _path_of(route), seen)


def _covering(later: _Reach, index: RouteIndex) -> list[_Reach]:
    """Return the earlier routes that cover all paths of ``later``, in order.

    They also cover its sample, so it is enough to compare the candidates for the sample.
    """
    candidates: Any = index.find(later.sample)
    return [one for one in candidates if one.order < later.order and one.covers(later)]


def _compare(later: _Reach, covering: Sequence[_Reach], prefix: str) -> RouteProblem | None:
    """Return the problem of a route after the routes that cover its paths, or None."""
    left = set(later.kinds)
    takers = []
    for one in covering:
        taken = {kind for kind in left if one.takes(kind)}
        if taken:
            takers.append(one)
            left -= taken
    if not left and takers:
        return _unreachable(later, takers, prefix)
    # A route for HEAD alone before the route for GET is fine, and so are special routes before a route for
    # all methods.
    lost = later.kinds - left - {"HEAD", _ANY_METHOD, _HANDSHAKE}
    if not lost:
        return None
    text = (
        f"{_describe(later.route, prefix)} never gets {', '.join(sorted(lost))}: "
        f"{_describe_all(takers, prefix)} before it takes that. "
        "Leave these methods out, or change the order."
    )
    return _problem("shadowed", text, later.route, prefix)


def _unreachable(later: _Reach, by: Sequence[_Reach], prefix: str) -> RouteProblem:
    earlier, route = _describe_all(by, prefix), _describe(later.route, prefix)
    if len(by) == 1 and later.covers(by[0]):
        text = f"{route} is never reached: {earlier} before it has the same pattern. Remove one of them."
        return _problem("duplicate", text, later.route, prefix)
    text = (
        f"{route} is never reached: {earlier} before it takes every request for it. "
        "Put the more special pattern first."
    )
    return _problem("unreachable", text, later.route, prefix)


# -- repeated names ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Link:
    """A name for ``url_for``, with its target."""

    name: str
    params: frozenset[str]
    target: str
    route: BaseRoute
    prefix: str


def _find_repeated_names(routes: Iterable[Any]) -> Iterator[RouteProblem]:
    first: dict[tuple[str, frozenset[str]], _Link] = {}
    for link in _links(routes, frozenset()):
        other = first.setdefault((link.name, link.params), link)
        if other.target == link.target or other.route is link.route:
            continue  # the same URL for other methods, or one application mounted twice
        text = (
            f"{_describe(link.route, link.prefix)} has the name {link.name!r} of "
            f"{_describe(other.route, other.prefix)} before it, so url_for finds that one. "
            "Give one of them another name."
        )
        yield _problem("duplicate-name", text, link.route, link.prefix)


def _links(routes: Iterable[Any], trail: frozenset[int]) -> Iterator[_Link]:
    """Yield the names that ``url_for`` can find, in the order of its search."""
    for route in routes:
        if not is_original(type(route), "url_path_for"):
            continue
        if isinstance(route, PatternRoute):
            names = frozenset(route.param_convertors)
            if route.name:
                target = f"{_format_of(route)} {route._protocol}"
                yield _Link(route.name, names, target, route, "")
        elif _identity(route) not in trail:
            yield from _links_below(route, trail | {_identity(route)})


def _links_below(route: Any, trail: frozenset[int]) -> Iterator[_Link]:
    own = frozenset(route.param_convertors) - ({"path"} if isinstance(route, Mount) else set())
    here = _format_of(route)
    if route.name:
        yield _Link(route.name, own | {"path"}, f"{here}/...", route, "")
    for link in _links(_routes_of(route), trail):
        name = f"{route.name}:{link.name}" if route.name else link.name
        prefix = _path_of(route) + link.prefix
        yield _Link(name, own | link.params, here + link.target, link.route, prefix)


def _format_of(route: Any) -> str:
    """Return the pattern with bare names, without the rest below a mount."""
    if isinstance(route, Host):
        return route.host_format
    path_format: str = route.path_format
    return path_format.removesuffix("/{path}") if isinstance(route, Mount) else path_format


# -- messages ------------------------------------------------------------------------------------------


def _problem(kind: ProblemKind, text: str, route: Any, prefix: str) -> RouteProblem:
    return RouteProblem(kind, text, route, prefix + _path_of(route), _place_of_route(route))


def _routes_of(route: AppRoute) -> list[Any]:
    routes: Any = route.routes
    return list(routes) if isinstance(routes, (list, tuple)) else []


def _identity(route: AppRoute) -> int:
    """Return the identity of the mounted application, without the middleware of the mount."""
    return id(mounted_app(route))


def _path_of(route: Any) -> str:
    path: str = route.host if isinstance(route, Host) else route.path
    return path


def _place_of_route(route: Any) -> str:
    place = location_of(route.endpoint) if isinstance(route, PatternRoute) else None
    return str(place or "")


def _describe(route: Any, prefix: str) -> str:
    methods = getattr(route, "methods", None)
    text = f"{type(route).__name__}({prefix + _path_of(route)!r}"
    text += f", methods={sorted(methods)!r})" if methods else ")"
    place = _place_of_route(route)
    return f"{text} at {place}" if place else text


def _describe_all(reaches: Sequence[_Reach], prefix: str) -> str:
    return " and ".join(_describe(reach.route, prefix) for reach in reaches)


Token = str | Convertor[Any]
Segment = tuple[Token, ...]

_INCLUDED_IN: dict[type, tuple[type, ...]] = {
    StringConvertor: WITHIN_SEGMENT,
    IntegerConvertor: (IntegerConvertor,),
    FloatConvertor: (FloatConvertor, IntegerConvertor),
    UUIDConvertor: (UUIDConvertor,),
    PathConvertor: (PathConvertor,),
}
"""For each convertor, those whose every match it matches as well."""


class PatternShape:
    """A pattern as a sequence of segments, and each segment as literals and convertors.

    Args:
        text: The pattern.
        regex: The compiled pattern.
        convertors: Its convertors by the name of the parameter.
    """

    def __init__(self, text: str, regex: re.Pattern[str], convertors: PathConvertors) -> None:
        self._text = text
        self._regex = regex
        self._convertors = convertors
        # A host pattern does not begin with a slash, and ignores case.
        folded = text if text.startswith("/") else text.lower()
        self._segments = tuple(
            _tokens(segment, folded_segment, convertors)
            for segment, folded_segment in zip(text.split("/"), folded.split("/"), strict=True)
        )

    def covers(self, other: PatternShape) -> bool:
        """Return whether this certainly matches every path that ``other`` matches."""
        if not other._convertors:
            conversions = conversions_of(self._convertors)
            return match_path(self._regex, conversions, other._text) is not None
        own, others = self._segments, other._segments
        for own_segment, other_segment in zip(own, others, strict=False):
            if _is_rest(own_segment) and own_segment is own[-1]:
                return True  # it matches any rest
            if not _covers_segment(own_segment, other_segment):
                return False
        return len(own) == len(others)


def _tokens(segment: str, folded: str, convertors: PathConvertors) -> Segment:
    tokens: list[Token] = []
    end = 0
    for found in PARAM_REGEX.finditer(segment):
        tokens += [folded[end : found.start()], convertors[found.group(1)]]
        end = found.end()
    tokens.append(folded[end:])
    return tuple(token for token in tokens if token != "")


def _is_rest(segment: Segment) -> bool:
    return len(segment) == 1 and type(segment[0]) is PathConvertor


def _covers_segment(own: Segment, other: Segment) -> bool:
    if len(own) == 1 and type(own[0]) is StringConvertor:
        # It matches any string without a slash, but not the empty one.
        return bool(other) and all(
            isinstance(token, str) or type(token) in WITHIN_SEGMENT for token in other
        )
    return len(own) == len(other) and all(map(_covers_token, own, other))


def _covers_token(own: Token, other: Token) -> bool:
    if isinstance(own, str) or isinstance(other, str):
        return own == other
    return own is other or type(other) in _INCLUDED_IN.get(type(own), ())
