"""Packages that the application will ask for at its first request, and that are not installed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import CodeType
from typing import Any, NamedTuple

from spica._diagnostics.call_site import unwrap_partial
from spica.checks.finding import Finding, error, warning
from spica.checks.walk import routes_of
from spica.routing import WebSocketRoute


class Need(NamedTuple):
    """What an endpoint that uses one of these names needs."""

    names: frozenset[str]
    module: str
    extra: str
    what: str


NEEDS = (Need(frozenset({"OpenAPIResponse"}), "yaml", "schemas", "an OpenAPI schema"),)
SOCKET_MODULES = ("websockets", "wsproto")
"""Packages one of which uvicorn needs for WebSockets."""


def is_installed(module: str) -> bool:
    """Tell whether a module could be imported, without doing it."""
    return find_spec(module) is not None


def check_extras(
    application: Any, is_installed: Callable[[str], bool] = is_installed
) -> Iterator[Finding]:
    """Yield which packages are missing. What an endpoint uses is read from its code: names, not certainty."""
    missing = [need for need in NEEDS if not is_installed(need.module)]
    has_sockets = False
    for entry in routes_of(application):
        has_sockets = has_sockets or isinstance(entry.route, WebSocketRoute)
        names = _names_in(getattr(entry.route, "endpoint", None)) if missing else set()
        for need in missing:
            if names & need.names:
                yield error(
                    "missing-extra",
                    f"The endpoint of {entry.path!r} seems to use {need.what}, for which {need.module!r} is "
                    f"needed: pip install 'spica[{need.extra}]'.",
                    entry.place,
                )
    if (
        has_sockets
        and is_installed("uvicorn")
        and not any(is_installed(module) for module in SOCKET_MODULES)
    ):
        yield warning(
            "missing-extra",
            "There are WebSocket routes, and uvicorn refuses every handshake without websockets or wsproto: "
            "pip install websockets.",
        )


def _names_in(endpoint: Any) -> set[str]:
    """Return the attributes and globals that an endpoint's own code uses."""
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
