"""Type aliases of ASGI and spica.

The first group is the ASGI 3.0 interface (https://asgi.readthedocs.io/en/latest/specs/main.html). The second
has the functions that users pass to an application: lifespans and exception handlers.

The aliases do not mention ``Request``, ``Response`` and ``WebSocket``, because this module imports nothing of
the package. A response is an ASGI app here.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

AppType = TypeVar("AppType")
"""The application object that a lifespan function receives."""

Scope = MutableMapping[str, Any]
"""The server's description of one connection. It does not change while messages are exchanged."""

Message = MutableMapping[str, Any]
"""One event that `receive` returns or `send` takes. Its key ``type`` names the kind."""

Receive = Callable[[], Awaitable[Message]]
"""An async callable that returns the next message from the server."""

Send = Callable[[Message], Awaitable[None]]
"""An async callable that passes one message to the server."""

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An async callable that serves a connection: an application, middleware, route or response."""

StatelessLifespan = Callable[[AppType], AbstractAsyncContextManager[None]]
"""A lifespan that yields nothing."""

StatefulLifespan = Callable[[AppType], AbstractAsyncContextManager[Mapping[str, Any]]]
"""A lifespan that yields the initial state of every request."""

Lifespan = StatelessLifespan[AppType] | StatefulLifespan[AppType]
"""A context manager around the life of an application: start-up before the yield, shutdown after it."""

# Both arguments are Any, because a handler declares its own exception class for the second argument. A type
# checker would reject it for any narrower type here.
HTTPExceptionHandler = Callable[[Any, Any], ASGIApp | Awaitable[ASGIApp]]
"""A handler ``(request, exc)`` that returns a response for an exception. It can be sync or async."""

WebSocketExceptionHandler = Callable[[Any, Any], Awaitable[None]]
"""An async handler ``(websocket, exc)`` for an exception of a WebSocket session."""

ExceptionHandler = HTTPExceptionHandler | WebSocketExceptionHandler
"""A handler for either kind of connection."""
