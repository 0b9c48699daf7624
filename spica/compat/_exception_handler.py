"""``starlette._exception_handler`` as other packages import it: FastAPI wraps its endpoints in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spica._layers.exception_handlers import GuardedApp
from spica._layers.socket_errors import answer_on_socket

# Imported although unused: a package that patches a name of this module patches it in all of spica.
from spica.concurrency import is_async_callable, run_in_threadpool
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.routing.socket_apps import refuse_unanswered
from spica.websockets import WebSocket, WebSocketState
from spica.websockets.handshake import HandshakeSend

if TYPE_CHECKING:
    from spica.requests import HTTPConnection
    from spica.types import ASGIApp, Receive, Scope, Send

__all__ = [
    "ExceptionHandlers",
    "HTTPException",
    "Request",
    "StatusHandlers",
    "_lookup_exception_handler",
    "is_async_callable",
    "run_in_threadpool",
    "wrap_app_handling_exceptions",
]

ExceptionHandlers = dict[Any, Callable[..., Any]]
"""The type of a table of handlers by exception class or status."""

StatusHandlers = dict[int, Callable[..., Any]]
"""The type of a table of handlers by status."""


def _lookup_exception_handler(
    exc_handlers: Mapping[Any, Callable[..., Any]], exc: Exception
) -> Callable[..., Any] | None:
    """Return the handler for the class of ``exc`` or its nearest base that has one."""
    bases = type(exc).__mro__
    return next((exc_handlers[base] for base in bases if base in exc_handlers), None)


def wrap_app_handling_exceptions(app: ASGIApp, conn: HTTPConnection[Any]) -> ASGIApp:
    """Return an app that runs ``app`` and answers its exceptions with the handlers of the application."""
    if conn.scope["type"] == "websocket":
        return _GuardedSocket(app, conn)
    request: Any = conn
    # Calling a bound method is faster than calling the object through its type's slot.
    return GuardedApp(app, request).__call__


class _GuardedSocket:
    """Run an app that serves a WebSocket, and pass its exceptions to their handlers."""

    __slots__ = ("app", "conn")

    def __init__(self, app: ASGIApp, conn: Any) -> None:
        self.app = app
        self.conn = conn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the WebSocket."""
        watching = HandshakeSend(send)
        try:
            await self.app(scope, receive, watching)
        except Exception as exc:
            websocket = self.conn
            if not isinstance(websocket, WebSocket):
                websocket = WebSocket(scope, receive, send)
                websocket.application_state = watching.find_state()
            if not await answer_on_socket(websocket, exc):
                raise
        else:
            # FastAPI's WebSocket has the outer `send`, so it knows its own state.
            conn = self.conn
            is_known = isinstance(conn, WebSocket) and not watching.is_over
            if is_known and conn.application_state is WebSocketState.CONNECTING:
                await refuse_unanswered(conn, scope.get("endpoint"))
