"""Check the arguments of a route when it is created.

Certain mistakes are errors: a function with the wrong parameters for an endpoint or app, or a class endpoint
of the other protocol. Arguments that are valid but probably unintended raise a warning: a parameter in the
notation of another framework.
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

_PROBABLY_UNINTENDED = re.compile(r"[{}?#]|<\w*:?\w+>|/(:\w+|\*+\w*(?=/|\Z))")


def check_endpoint(endpoint: Any, place: str, protocol: str) -> None:
    """Refuse an endpoint that can't serve ``protocol``. Errors begin with ``place``.

    When spica replaces Starlette, a function with other parameters passes: packages create such routes and
    never serve them.

    Raises:
        TypeError: The endpoint can't be called with one argument, or is a class endpoint of the other
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
            f"{place}: spica calls the endpoint with one argument, the {conn}, but "
            f"{endpoint.__qualname__}() has other parameters. Read path parameters from "
            f"{conn}.path_params. Put an ASGI app in a Mount."
        )


def check_mounted(app: Any, place: str) -> None:
    """Refuse an object that is not an ASGI app. Errors begin with ``place``.

    Raises:
        TypeError: The object can't be called with scope, receive and send, or it is a class whose instances
            are the apps.
    """
    if not callable(app):
        raise TypeError(f"{place}: app must be an ASGI app, not {app!r:.200}.")
    if not _takes(app, 3):
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


def _takes(function: Any, count: int) -> bool:
    """Return whether a function accepts ``count`` arguments. True if only a call could show it."""
    # Use type(), because the proxies of tracing agents claim to be functions in isinstance().
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
