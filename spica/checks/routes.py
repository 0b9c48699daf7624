"""Check routes: those that no request reaches, slow patterns, useless policies, and missing packages."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import CodeType
from typing import Any, NamedTuple

from spica._diagnostics.call_site import unwrap_partial
from spica.checks.finding import Finding, error, warning
from spica.checks.walk import layers_of, routes_of
from spica.middleware.cors import CORSMiddleware
from spica.routing import Route, WebSocketRoute
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
    """Yield the findings for the route table."""
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
                    f"{slow!r} has a construct such as a lookaround, an anchor or a backreference, so the "
                    "time for a long path has no bound. Remove it, and check the value in convert(), which "
                    "may raise ValueError.",
                    entry.place,
                )
        if isinstance(route, Route) and not _answers_preflights(route):
            yield error(
                "cors-without-options",
                f"Route {entry.path!r} has its own CORSMiddleware but does not serve OPTIONS, so preflights "
                "never reach it. Add OPTIONS to methods, or put the middleware on a Mount.",
                entry.place,
            )


def _answers_preflights(route: Route) -> bool:
    if not route.methods or "OPTIONS" in route.methods:
        return True
    layers = layers_of(route.app, route.endpoint)
    return not any(isinstance(layer, CORSMiddleware) for layer in layers)


# -- packages that endpoints need -----------------------------------------------------------------------


class Need(NamedTuple):
    """A package that an endpoint needs if its code uses one of ``names``."""

    names: frozenset[str]
    module: str
    extra: str
    what: str


NEEDS = (Need(frozenset({"OpenAPIResponse"}), "yaml", "schemas", "an OpenAPI schema"),)
SOCKET_MODULES = ("websockets", "wsproto")
"""uvicorn needs one of these packages for WebSockets."""


def is_installed(module: str) -> bool:
    """Return whether a module is installed, without importing it."""
    return find_spec(module) is not None


def check_extras(
    application: Any, is_installed: Callable[[str], bool] = is_installed
) -> Iterator[Finding]:
    """Yield the missing packages that the first request would need.

    The names in the code of an endpoint show its use of a package, so a finding is likely but not certain.
    """
    missing = [need for need in NEEDS if not is_installed(need.module)]
    has_sockets = False
    for entry in routes_of(application):
        has_sockets = has_sockets or isinstance(entry.route, WebSocketRoute)
        names = _names_in(getattr(entry.route, "endpoint", None)) if missing else set()
        for need in missing:
            if names & need.names:
                yield error(
                    "missing-extra",
                    f"The endpoint of {entry.path!r} seems to use {need.what}, which needs {need.module!r}: "
                    f"pip install 'spica[{need.extra}]'.",
                    entry.place,
                )
    if (
        has_sockets
        and is_installed("uvicorn")
        and not any(is_installed(module) for module in SOCKET_MODULES)
    ):
        yield warning(
            "missing-extra",
            "The application has WebSocket routes. uvicorn needs websockets or wsproto to accept handshakes: "
            "pip install websockets.",
        )


def _names_in(endpoint: Any) -> set[str]:
    """Return the attributes and globals in the code of an endpoint itself."""
    endpoint = unwrap_partial(endpoint)
    if endpoint is None:
        return set()
    functions = [endpoint]
    if isinstance(endpoint, type):
        functions = [value for value in vars(endpoint).values() if inspect.isfunction(value)]
    names: set[str] = set()
    for function in functions:
        code = getattr(inspect.unwrap(function), "__code__", None)
        if isinstance(code, CodeType):
            names |= _names_of_code(code)
    return names


def _names_of_code(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # a function, or a comprehension, within
            names |= _names_of_code(constant)
    return names
