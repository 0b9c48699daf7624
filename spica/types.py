"""Names for the shapes that ASGI and spica pass around: no classes, nothing to run.

The first group is the ASGI 3.0 interface (https://asgi.readthedocs.io/en/latest/specs/main.html);
the second is what an application is given by its author: lifespans and exception handlers.

The classes a handler deals with (``Request``, ``Response``, ``WebSocket``) live on higher floors,
so they are named by what they are here: every response is an ASGI application.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

AppType = TypeVar("AppType")
"""The application object that a lifespan function receives."""

Scope = MutableMapping[str, Any]
"""What a server says about one connection, once, before any message."""

Message = MutableMapping[str, Any]
"""One event that `receive` returned or `send` is given; its ``type`` tells which."""

Receive = Callable[[], Awaitable[Message]]
"""Wait for the next message from the server."""

Send = Callable[[Message], Awaitable[None]]
"""Hand one message to the server."""

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
"""Anything that serves a connection: an application, a middleware, a route, a response."""

StatelessLifespan = Callable[[AppType], AbstractAsyncContextManager[None]]
"""A lifespan that yields nothing."""

StatefulLifespan = Callable[[AppType], AbstractAsyncContextManager[Mapping[str, Any]]]
"""A lifespan that yields the state which every request then sees."""

Lifespan = StatelessLifespan[AppType] | StatefulLifespan[AppType]
"""What runs around the whole life of an application: up to the yield at start-up, then the rest."""

# Both arguments are Any: a handler is registered for one class of exceptions and naturally declares
# that class for its second argument, which no type narrower than Any would let through.
HTTPExceptionHandler = Callable[[Any, Any], ASGIApp | Awaitable[ASGIApp]]
"""Answer an exception of an HTTP request: ``(request, exc)``, sync or async, to a response."""

WebSocketExceptionHandler = Callable[[Any, Any], Awaitable[None]]
"""Deal with an exception of a WebSocket session: ``(websocket, exc)``, always async."""

ExceptionHandler = HTTPExceptionHandler | WebSocketExceptionHandler
"""A handler for either kind of connection."""
