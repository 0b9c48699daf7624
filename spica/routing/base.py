"""What every route is: it compares itself with a scope, builds URLs, and handles a connection."""

from __future__ import annotations

import enum
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from spica._diagnostics.call_site import unwrap_partial
from spica._http.urls import format_suffix
from spica.datastructures import URLPath
from spica.requests import Request
from spica.responses.base import PlainTextResponse
from spica.types import ASGIApp, Receive, Scope, Send
from spica.websockets import WebSocket, WebSocketClose

Endpoint: TypeAlias = Callable[[Request[Any]], ASGIApp | Awaitable[ASGIApp]] | type[Any] | ASGIApp
"""An HTTP endpoint: a function of the request that returns a response, a class, or an ASGI app."""

SocketEndpoint: TypeAlias = Callable[[WebSocket[Any]], Awaitable[None]] | type[Any] | ASGIApp
"""A WebSocket endpoint: an ``async def`` function of the WebSocket, a class, or an ASGI app."""


class NoMatchFound(Exception):
    """No route has the name and the parameters that a URL was asked for."""

    def __init__(self, name: str, path_params: dict[str, Any], known: tuple[str, ...] = ()) -> None:
        self.name = name
        self.path_params = path_params
        self.known = known
        super().__init__(name, path_params, known)

    def __str__(self) -> str:
        params = ", ".join(self.path_params)
        text = f'No route exists for name "{self.name}" and params "{params}".'
        if not isinstance(self.name, str):
            return f"{text} A name is a text, for example {get_name(self.name)!r}."
        if self.name in self.known:
            return f"{text} There is a route of this name, with other parameters."
        if self.known:
            import difflib

            close = difflib.get_close_matches(self.name, self.known, n=1)
            if close:
                text += f' Did you mean "{close[0]}"?'
        return text


def is_stand_in() -> bool:
    """Return whether Starlette's name means spica in this process (``spica.compat``)."""
    return sys.modules.get("starlette.routing") is sys.modules["spica.routing"]


class Match(enum.Enum):
    """How well a route matches: not at all, by its path but not its method, or fully."""

    NONE = 0
    PARTIAL = 1
    FULL = 2


class BaseRoute:
    """Base of all routes. A route of your own defines the three methods below."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return how well the scope matches, and the keys to add to it if the route is taken.

        The scope may be a minimal one, and is not changed.
        """
        raise NotImplementedError(f"{type(self).__name__} must define matches(scope).")

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the path of the route called ``name``.

        A router takes ``_query`` and ``_fragment`` off before it asks its routes.

        Raises:
            NoMatchFound: it is not this one, or the parameters are not its own.
        """
        raise NotImplementedError(f"{type(self).__name__} must define url_path_for(name, ...).")

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection that matched."""
        raise NotImplementedError(
            f"{type(self).__name__} must define handle(scope, receive, send)."
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection with this route alone: 404, or a closed WebSocket, where it does not match.

        Raises:
            RuntimeError: the scope is of another type, and the route does not match it.
        """
        match, child_scope = self.matches(scope)
        if match is Match.NONE:
            if scope["type"] == "http":
                await PlainTextResponse("Not Found", status_code=404)(scope, receive, send)
            elif scope["type"] == "websocket":
                await WebSocketClose()(scope, receive, send)
            else:
                raise RuntimeError(
                    f"{type(self).__name__} serves scopes of type 'http' and 'websocket', "
                    f"not {scope['type']!r}."
                )
            return
        scope.update(child_scope)
        await self.handle(scope, receive, send)


def get_name(endpoint: Any) -> str:
    """Return the name a route has by default: that of its function, or of its class."""
    endpoint = unwrap_partial(endpoint)
    name: str = getattr(endpoint, "__name__", None) or type(endpoint).__name__
    return name


LINK_KEYS = frozenset(("_query", "_fragment"))
"""What ``url_path_for`` takes beside path parameters."""


def url_with_suffix(source: Any, name: str, path_params: dict[str, Any]) -> URLPath:
    """Return the URL that ``source`` builds without ``_query`` and ``_fragment``, with these behind it."""
    params = {key: value for key, value in path_params.items() if key not in LINK_KEYS}
    url: URLPath = source.url_path_for(name, **params)
    suffix = format_suffix(path_params.get("_query"), path_params.get("_fragment"))
    return URLPath(f"{url}{suffix}", url.protocol, url.host)


def known_names(routes: Any) -> tuple[str, ...]:
    """Return the names of ``routes``, for a message that says which there are."""
    return tuple(sorted({name for route in routes if (name := getattr(route, "name", None))}))
