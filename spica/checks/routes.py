"""Routes that are never reached or slow to compare, and policies that never take effect on theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spica.checks.finding import Finding, error, warning
from spica.checks.walk import layers_of, routes_of
from spica.middleware.cors import CORSMiddleware
from spica.routing import Route
from spica.routing.mounts import Mount
from spica.routing.patterns import find_slow_param
from spica.routing.reachability import find_problems
from spica.routing.routes import PatternRoute

_MAKERS = {
    "unreachable": error,
    "duplicate": error,
    "shadowed": warning,
    "duplicate-name": warning,
}


def check_routes(application: Any) -> Iterator[Finding]:
    """Yield what is wrong with the route table."""
    for problem in find_problems(application.routes):
        make = _MAKERS.get(problem.kind, warning)
        yield make(f"{problem.kind}-route", problem.message, problem.place)
    for entry in routes_of(application):
        route = entry.route
        if isinstance(route, (PatternRoute, Mount)):
            slow = find_slow_param(route.param_convertors)
            if slow is not None:
                yield warning(
                    "slow-pattern",
                    f"{type(route).__name__} {entry.path!r}: the regular expression of the parameter "
                    f"{slow!r} has a lookaround, an anchor, a backreference or the like, so that the time "
                    "for a long path has no bound. Write it without, and check the text in convert(), "
                    "which may raise ValueError.",
                    entry.place,
                )
        if isinstance(route, Route) and not _answers_preflights(route):
            yield error(
                "cors-without-options",
                f"Route {entry.path!r} has a CORSMiddleware of its own and does not serve OPTIONS: "
                "preflights never reach it. Add OPTIONS to methods, or put the middleware on a Mount.",
                entry.place,
            )


def _answers_preflights(route: Route) -> bool:
    if not route.methods or "OPTIONS" in route.methods:
        return True
    layers = layers_of(route.app, route.endpoint)
    return not any(isinstance(layer, CORSMiddleware) for layer in layers)
