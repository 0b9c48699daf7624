"""The base of all routes, and how the route table enters them.

A route compares itself with a scope (``matches``), builds URLs (``url_path_for``) and serves a connection
(``handle``). These three methods are public, and a route of your own defines them. Each route of spica is
also an `Entry`: the table compares and enters it with a single call.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from spica._diagnostics.call_site import unwrap_partial
from spica._http.urls import format_suffix
from spica._layers.layer import Respond, resolve_respond
from spica.datastructures import URLPath
from spica.requests import Request
from spica.responses.base import PlainTextResponse
from spica.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from spica._asgi.stack import Middleware
    from spica.formparsers import FormLimits
    from spica.websockets import WebSocket

Endpoint: TypeAlias = Callable[[Request[Any]], ASGIApp | Awaitable[ASGIApp]] | type[Any] | ASGIApp
"""An HTTP endpoint: a function of the request that returns a response, a class, or an ASGI app."""

SocketEndpoint: TypeAlias = "Callable[[WebSocket[Any]], Awaitable[None]] | type[Any] | ASGIApp"
"""A WebSocket endpoint: an ``async def`` function of the WebSocket, a class, or an ASGI app."""


class RouteOptions(TypedDict, total=False):
    """The rarer keyword arguments of ``Route``, which ``add_route`` and the decorators accept as well."""

    middleware: Sequence[Middleware] | None
    max_body_size: int | float | None
    form_limits: FormLimits | None
    body_idle_seconds: float | None
    min_body_rate: float | None
    cancel_on_disconnect: bool
    timeout_seconds: float | None
    public: bool


class NoMatchFound(Exception):
    """No route has the requested name and parameters.

    Args:
        name: The name passed to ``url_path_for``.
        path_params: The parameters passed to it.
        known: The names of the routes that were searched. The message suggests the closest one.
        expected: The parameters of the route of this name, if there is one.
        reason: A sentence about another reason.
    """

    def __init__(
        self,
        name: str,
        path_params: dict[str, Any],
        known: tuple[str, ...] = (),
        expected: tuple[str, ...] | None = None,
        reason: str = "",
    ) -> None:
        self.name = name
        self.path_params = path_params
        self.known = known
        self.expected = expected
        self.reason = reason
        super().__init__(name, path_params, known, expected, reason)

    def __str__(self) -> str:
        params = ", ".join(self.path_params)
        text = f'No route exists for name "{self.name}" and params "{params}".'
        if self.reason:
            return f"{text} {self.reason}"
        if not isinstance(self.name, str):
            return f"{text} A name is a string, for example {get_name(self.name)!r}."
        if self.expected is not None:
            return text + _compare_params(self.expected, self.path_params)
        if self.name in self.known:
            return f"{text} The route of this name has other parameters."
        if self.known:
            import difflib

            close = difflib.get_close_matches(self.name, self.known, n=1)
            if close:
                text += f' Did you mean "{close[0]}"?'
        return text


def _compare_params(expected: tuple[str, ...], given: dict[str, Any]) -> str:
    missing = [name for name in expected if name not in given]
    unknown = [name for name in given if name not in expected]
    text = (
        f" Its path has the parameters {', '.join(expected)}."
        if expected
        else " Its path has none."
    )
    if missing:
        text += f" Missing: {', '.join(missing)}."
    if unknown:
        text += f" Unknown: {', '.join(unknown)}. A query is passed as _query={{...}}."
    return text


def is_stand_in() -> bool:
    """Return whether Starlette's name means spica in this process (``spica.compat``)."""
    return sys.modules.get("starlette.routing") is sys.modules["spica.routing"]


class Match(enum.Enum):
    """How well a route matches a connection.

    ``NONE``: not at all. ``PARTIAL``: the path matches, but not the method. ``FULL``: path and method match.
    """

    NONE = 0
    PARTIAL = 1
    FULL = 2


class BaseRoute:
    """Base class of all routes. A route of your own defines ``matches``, ``url_path_for`` and ``handle``."""

    public: bool = False
    """Whether everybody may use the route, although the application has ``default_scopes``."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return how well the scope matches, and the keys to add to it if the router takes this route.

        Do not change ``scope``. It may have only the keys ``type``, ``path`` and ``method``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define matches(scope).")

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the path of the route called ``name``.

        A router removes ``_query`` and ``_fragment`` before it calls its routes.

        Raises:
            NoMatchFound: The name or the parameters are not those of this route.
        """
        raise NotImplementedError(f"{type(self).__name__} must define url_path_for(name, ...).")

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection that matched."""
        raise NotImplementedError(
            f"{type(self).__name__} must define handle(scope, receive, send)."
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection with this route alone.

        A request that does not match gets a 404. A WebSocket that does not match is closed.

        Raises:
            RuntimeError: The scope is of another type, and the route does not match it.
        """
        match, child_scope = self.matches(scope)
        if match is Match.NONE:
            if scope["type"] == "http":
                await PlainTextResponse("Not Found", status_code=404)(scope, receive, send)
            elif scope["type"] == "websocket":
                from spica.websockets import WebSocketClose  # on use: see spica.websockets

                await WebSocketClose()(scope, receive, send)
            else:
                raise RuntimeError(
                    f"{type(self).__name__} serves scopes of type 'http' and 'websocket', "
                    f"not {scope['type']!r}."
                )
            return
        scope.update(child_scope)
        await self.handle(scope, receive, send)


Enter = Callable[[Scope, str], Respond | None]
"""The type of `Entry._enter`: scope and route path in, the way to respond out."""


async def partial_match(request: Request[Any]) -> ASGIApp:
    """Mark a partial match. `Entry._enter` returns this function, and the table never calls it."""
    raise NotImplementedError


class Entry:
    """The way from a route table into a route.

    ``matches`` builds a scope for each route, and ``handle`` needs ``send``. The table avoids both: `_enter`
    compares, sets the keys of the scope, and returns the function that makes the response.
    It must agree with ``matches``; a property test compares the two.

    All names are private because users subclass the routes.
    """

    __slots__ = ()

    @property
    def _index_pattern(self) -> str | None:
        """The path pattern, by which the index sorts the route; None if any path may match."""
        return None

    def _prepare_entry(self) -> Enter:
        """Compute the attributes that `_enter` reads, and return the method to enter by.

        A table calls this when it builds its index. Only then are classes patched and subclasses complete.
        """
        return self._enter

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Compare like ``BaseRoute.matches``."""
        raise NotImplementedError

    def _enter(self, scope: Scope, path: str) -> Respond | None:
        """Compare an HTTP request. On a match, set the keys of ``scope`` and return how to respond.

        Returns None if the path does not match, and `partial_match` if only the method does not.
        """
        raise NotImplementedError

    def _enter_other_method(self, scope: Scope, path: str, routes: Sequence[Any]) -> Respond:
        """Return how to respond if no route serves the method; ``routes`` match the path, this one first."""
        raise NotImplementedError

    def _enter_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        """Compare a WebSocket. On a match, set the keys of ``scope`` and return the app that serves it."""
        raise NotImplementedError

    def _enter_socket_last(self, scope: Scope, path: str) -> ASGIApp | None:
        """Return the app for a WebSocket that matches this route partially, and no other route at all."""
        return None


class OwnRoute(BaseRoute, Entry):
    """Base of the routes of spica: a public route and an entry, with an app inside."""

    # Two plain attributes, because the table and `handle` read them faster than the property. Their names
    # begin with `_route_` because users subclass the routes.
    _route_app: ASGIApp
    _route_respond: Respond

    @property
    def app(self) -> ASGIApp:
        """The ASGI app that serves the route. You may replace it at any time."""
        try:
            return self._route_app
        except AttributeError:
            name = type(self).__name__
            raise AttributeError(f"{name!r} object has no attribute 'app'") from None

    @app.setter
    def app(self, app: ASGIApp) -> None:
        """Replace it."""
        self._route_app = app
        self._route_respond = resolve_respond(app)


def get_name(endpoint: Any) -> str:
    """Return the default name of a route: the name of its function, or of its class."""
    endpoint = unwrap_partial(endpoint)
    name: str = getattr(endpoint, "__name__", None) or type(endpoint).__name__
    return name


LINK_KEYS = frozenset(("_query", "_fragment"))
"""Keyword arguments of ``url_path_for`` that are not path parameters."""


def url_with_suffix(source: Any, name: str, path_params: dict[str, Any]) -> URLPath:
    """Build a URL with ``source``, and append the ``_query`` and ``_fragment`` of ``path_params``."""
    params = {key: value for key, value in path_params.items() if key not in LINK_KEYS}
    url: URLPath = source.url_path_for(name, **params)
    suffix = format_suffix(path_params.get("_query"), path_params.get("_fragment"))
    return URLPath(f"{url}{suffix}", url.protocol, url.host)


def known_names(routes: Any) -> tuple[str, ...]:
    """Return the sorted names of ``routes`` for an error message."""
    return tuple(sorted({name for route in routes if (name := getattr(route, "name", None))}))


def params_of(routes: Any, name: str) -> tuple[str, ...] | None:
    """Return the path parameters of the first route of this name, for a message; None if there is none."""
    for route in routes:
        if getattr(route, "name", None) == name and hasattr(route, "endpoint"):
            return tuple(getattr(route, "param_convertors", ()))
    return None
