"""Check the arguments of a route when it is created.

Certain mistakes are errors: a function with the wrong parameters for an endpoint or app, or a class endpoint
of the other protocol. Arguments that are valid but probably unintended raise a warning: a parameter in the
notation of another framework.
"""

from __future__ import annotations

import re
from typing import Any

from spica._diagnostics.arguments import takes
from spica._diagnostics.call_site import describe
from spica.convertors import CONVERTOR_TYPES
from spica.endpoints import HTTPEndpoint, WebSocketEndpoint, methods_of
from spica.exceptions import warn_configuration
from spica.routing.base import is_stand_in
from spica.routing.parameters import check_parameters
from spica.routing.patterns import PARAM_REGEX, find_slow_param

_PROBABLY_UNINTENDED = re.compile(r"[{}?#]|<\w*:?\w+>|/(:\w+|\*+\w*(?=/|\Z))")


def check_endpoint(endpoint: Any, path: str, place: str, protocol: str) -> None:
    """Refuse an endpoint that can't serve ``protocol``. Errors begin with ``place``.

    An endpoint that would answer nearly every request with a 404 or 405 triggers a warning.

    When spica replaces Starlette, a function with other parameters passes: packages create such routes and
    never serve them.

    Raises:
        TypeError: The endpoint can't be called with one argument, serves the other protocol, or is written
            for the dependency injection of another framework.
    """
    if not callable(endpoint):
        raise TypeError(
            f"{place}: the endpoint must be a function, a class or an ASGI app, not {endpoint!r}."
        )
    if isinstance(endpoint, type):
        _check_class_endpoint(endpoint, place, protocol)
    elif not is_stand_in():
        _check_function_endpoint(endpoint, place, protocol)
        check_parameters(endpoint, path, place, "request" if protocol == "http" else "websocket")
        _warn_of_subpaths(endpoint, path, place)


def _check_class_endpoint(endpoint: type, place: str, protocol: str) -> None:
    if protocol == "http" and issubclass(endpoint, WebSocketEndpoint):
        raise TypeError(f"{place}: {endpoint.__name__} serves WebSockets. Use WebSocketRoute.")
    if protocol == "websocket" and issubclass(endpoint, HTTPEndpoint):
        raise TypeError(f"{place}: {endpoint.__name__} serves HTTP. Use Route.")
    if is_stand_in():
        return
    # A class with __await__ is an app itself: each connection creates an instance and awaits it.
    if type(endpoint) is type and not hasattr(endpoint, "__await__"):
        base = "HTTPEndpoint" if protocol == "http" else "WebSocketEndpoint"
        raise TypeError(
            f"{place}: the class {describe(endpoint)} is not an endpoint. Derive it from spica.{base}, or "
            "pass a function or an ASGI app, such as an instance."
        )
    if methods_of(endpoint) == frozenset() and endpoint is not HTTPEndpoint:
        warn_configuration(
            f"{place}: {describe(endpoint)} has no method such as get() or post(), so every request gets "
            "a 405. The names of the methods are in lower case."
        )


def _warn_of_subpaths(endpoint: Any, path: str, place: str) -> None:
    """Warn of an app for many paths below a route, which serves a single one."""
    serves_files = any(cls.__name__ == "StaticFiles" for cls in type(endpoint).__mro__)
    # Route("/robots.txt", StaticFiles(...)) serves one file on purpose, and "/" may be the page of an app.
    is_one_path = path == "/" or "{" in path or "." in path
    if (serves_files or hasattr(endpoint, "routes")) and not is_one_path:
        name = type(endpoint).__name__
        warn_configuration(
            f"{place}: the route serves the path {path!r} alone, and nothing below it. For all paths of the "
            f"{name}, write Mount({path!r}, app={name}(...))."
        )


def _check_function_endpoint(endpoint: Any, place: str, protocol: str) -> None:
    conn = "request" if protocol == "http" else "websocket"
    if not takes(endpoint, 1):
        raise TypeError(
            f"{place}: spica calls the endpoint with one argument, the {conn}, but "
            f"{endpoint.__qualname__}() has other parameters. Read path parameters from "
            f"{conn}.path_params. Put an ASGI app in a Mount."
        )
    if protocol == "http" and _first_annotation(endpoint) == "WebSocket":
        raise TypeError(
            f"{place}: {endpoint.__qualname__}() takes a WebSocket, but this is HTTP. Use WebSocketRoute."
        )


def _first_annotation(function: Any) -> str:
    """Return the class name that annotates the first parameter; "" if there is none."""
    try:
        parameter, annotation = next(iter(function.__annotations__.items()))
    except Exception:  # no annotations, or ones that only type checkers can evaluate (PEP 649)
        return ""
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return "" if parameter == "return" else str(name).partition("[")[0].rpartition(".")[2]


def check_mounted(app: Any, place: str) -> None:
    """Refuse an object that is not an ASGI app. Errors begin with ``place``.

    Raises:
        TypeError: The object can't be called with scope, receive and send, or it is a class whose instances
            are the apps.
    """
    if not callable(app):
        is_list = isinstance(app, (list, tuple))
        hint = " Pass routes by name: Mount(path, routes=[...])." if is_list else ""
        raise TypeError(f"{place}: app must be an ASGI app, not {app!r:.200}.{hint}")
    if not takes(app, 3):
        raise TypeError(
            f"{place}: app must be an ASGI app (scope, receive, send), but {app.__qualname__}() has other "
            "parameters. Put an endpoint in a Route, and a WSGI application in WSGIMiddleware."
        )
    # A class with __await__ is an app itself: each connection creates an instance and awaits it.
    if type(app) is type and not hasattr(app, "__await__"):
        raise TypeError(
            f"{place}: app must be an ASGI app, not the class {app.__name__}. "
            f"Write {app.__name__}(...)."
        )


def check_choice(value: Any, place: str) -> bool | None:
    """Return ``value``, a bool or None. Errors begin with ``place``.

    Raises:
        TypeError: The value is something else, for example a string, or a lifespan function that an
            application should have.
    """
    if value is None or isinstance(value, bool):
        return value
    raise TypeError(f"{place} must be True, False or None, not {value!r:.200}.")


def warn_of_path(path: str, place: str) -> None:
    """Warn of parameters in another notation, and of parameters whose matching time has no bound."""
    _warn_of_regexes(path, place)
    found = _PROBABLY_UNINTENDED.search(PARAM_REGEX.sub("x", path))
    if found is None:
        return
    text = found[1] or found[0]
    if text in "?#":
        reason = f"{text!r} is never part of a path. A query is in request.query_params"
    else:
        reason = (
            f"{text!r} matches itself, literally. Write a parameter as '{{name}}' or '{{name:int}}'"
        )
    warn_configuration(f"{place}: {reason}.")


def _warn_of_regexes(path: str, place: str) -> None:
    """Warn of a parameter whose regular expression needs a backtracking engine."""
    for name, kind in PARAM_REGEX.findall(path):
        convertor = CONVERTOR_TYPES.get(kind[1:] or "str")
        if convertor is None or find_slow_param({name: convertor}) is None or is_stand_in():
            continue
        text = (
            f"{place}: the time to match {{{name}{kind}}} has no bound, because the regular expression "
            f"{convertor.regex!r:.80} has a lookaround, an anchor, a backreference or a similar construct. "
            "Write it without, and check the string in convert(), which may raise ValueError."
        )
        warn_configuration(text)
