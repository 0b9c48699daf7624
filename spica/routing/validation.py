"""Mistakes in what a route is given, told where the route is made.

What is certain is an error: a function that can't be called as endpoints and apps are, a class endpoint of
the other protocol. What is legal, and hardly meant, is a warning: a parameter in the spelling of another
framework.
"""

from __future__ import annotations

import re
from inspect import CO_VARARGS
from types import FunctionType, MethodType
from typing import Any

from spica.convertors import CONVERTOR_TYPES
from spica.endpoints import HTTPEndpoint, WebSocketEndpoint
from spica.exceptions import warn_configuration
from spica.routing.base import is_stand_in
from spica.routing.patterns import PARAM_REGEX, find_slow_param

_HARDLY_MEANT = re.compile(r"[{}?#]|<\w*:?\w+>|/(:\w+|\*+\w*(?=/|\Z))")


def check_endpoint(endpoint: Any, place: str, protocol: str) -> None:
    """Refuse what can't be the endpoint of a route for ``protocol``; errors name ``place``.

    Where spica stands in for Starlette, a function that can't be called with one argument may pass: packages
    make such routes and never serve them.

    Raises:
        TypeError: it can't be called, or not with one argument; or it is a class endpoint of the other
            protocol.
    """
    if not callable(endpoint):
        raise TypeError(
            f"{place}: the endpoint must be a function, a class or an ASGI app, not {endpoint!r}."
        )
    if isinstance(endpoint, type):
        if protocol == "http" and issubclass(endpoint, WebSocketEndpoint):
            raise TypeError(f"{place}: {endpoint.__name__} serves WebSockets. Use WebSocketRoute.")
        if protocol == "websocket" and issubclass(endpoint, HTTPEndpoint):
            raise TypeError(f"{place}: {endpoint.__name__} serves HTTP. Use Route.")
    elif not _takes(endpoint, 1) and not is_stand_in():
        conn = "request" if protocol == "http" else "websocket"
        raise TypeError(
            f"{place}: the endpoint is called with one argument, the {conn}, which "
            f"{endpoint.__qualname__}() does not fit. Parameters of the path are in {conn}.path_params; "
            "an ASGI app belongs into a Mount."
        )


def check_mounted(app: Any, place: str) -> None:
    """Refuse what is no ASGI app; errors name ``place``.

    Raises:
        TypeError: it can't be called, or not with scope, receive and send; or it is a class whose
            instances are the apps.
    """
    if not callable(app):
        raise TypeError(f"{place}: app must be an ASGI app, not {app!r:.200}.")
    if not _takes(app, 3):
        raise TypeError(
            f"{place}: app must be an ASGI app (scope, receive, send), and {app.__qualname__}() does not "
            "take these. An endpoint belongs into a Route, a WSGI application into WSGIMiddleware."
        )
    # A class may be an app itself: its instances, one for each connection, are then awaited.
    if type(app) is type and not hasattr(app, "__await__"):
        raise TypeError(
            f"{place}: app must be an ASGI app, not the class {app.__name__}. "
            f"Write {app.__name__}(...)."
        )


def check_choice(value: Any, place: str) -> bool | None:
    """Return ``value``, a bool or None; errors name ``place``.

    Raises:
        TypeError: it is something else: a text, or the lifespan function that belongs to an application.
    """
    if value is None or isinstance(value, bool):
        return value
    raise TypeError(f"{place} must be True, False or None, not {value!r:.200}.")


def warn_of_path(path: str, place: str) -> None:
    """Warn of text in a path that was probably meant as a parameter, and of parameters without a bound."""
    _warn_of_regexes(path, place)
    found = _HARDLY_MEANT.search(PARAM_REGEX.sub("x", path))
    if found is None:
        return
    text = found[1] or found[0]
    if text in "?#":
        what = f"{text!r} is never part of a path. A query is in request.query_params"
    else:
        what = (
            f"{text!r} stands for itself here. A parameter is written '{{name}}' or '{{name:int}}'"
        )
    warn_configuration(f"{place}: {what}.")


def _warn_of_regexes(path: str, place: str) -> None:
    """Warn of a parameter whose regular expression needs an engine that backtracks."""
    for name, kind in PARAM_REGEX.findall(path):
        convertor = CONVERTOR_TYPES.get(kind[1:] or "str")
        if convertor is None or find_slow_param({name: convertor}) is None or is_stand_in():
            continue
        text = (
            f"{place}: the time to match {{{name}{kind}}} has no bound, because the regular expression "
            f"{convertor.regex!r:.80} has a lookaround, an anchor, a backreference or the like. Write it "
            "without, and check the text in convert(), which may raise ValueError."
        )
        warn_configuration(text)


def _takes(function: Any, count: int) -> bool:
    """Tell whether a function can be called with ``count`` arguments; True where only a call could tell."""
    # By type(): the proxies that tracing agents put around functions claim to be functions.
    if type(function) is MethodType:
        function, count = function.__func__, count + 1
    if type(function) is not FunctionType:
        return True
    code = function.__code__
    most = code.co_argcount
    keywords = code.co_varnames[most : most + code.co_kwonlyargcount]
    return (
        most - len(function.__defaults__ or ()) <= count
        and (count <= most or code.co_flags & CO_VARARGS != 0)
        and (function.__kwdefaults__ or {}).keys() >= set(keywords)
    )
