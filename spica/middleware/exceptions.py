"""The exception layer: the innermost one, which turns exceptions into responses by registered handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from spica._asgi.scope import EXCEPTION_HANDLERS, UNANSWERED
from spica._diagnostics.arguments import takes
from spica._diagnostics.middleware_order import EXCEPTION_LAYER
from spica._http.closecodes import fit_reason
from spica._layers.exception_handlers import Boundary
from spica._layers.handsent import remember_sender, sends_by_hand
from spica.exceptions import HTTPException, WebSocketException
from spica.requests import Request
from spica.responses.base import Response
from spica.responses.errors import http_exception_response
from spica.routing.base import is_stand_in
from spica.websockets.handshake import HandshakeSend

if TYPE_CHECKING:
    from spica.types import ASGIApp, Receive, Scope, Send
    from spica.websockets import WebSocket, WebSocketState

__all__ = ["ExceptionMiddleware", "HTTPException"]


def check_handler(key: Any, handler: Any) -> None:
    """Refuse an invalid exception handler, or an invalid key for one.

    Raises:
        TypeError: ``key`` is neither a status code nor an exception class, or ``handler`` can't be called
            with two arguments.
    """
    if not isinstance(key, int) and not (isinstance(key, type) and issubclass(key, Exception)):
        raise TypeError(
            "An exception handler is registered for a status code or an Exception class, "
            f"not for {key!r:.200}."
        )
    if not callable(handler):
        raise TypeError(
            f"The exception handler for {key!r} must be a function, not {handler!r:.200}."
        )
    # For an instance, such as a response passed by mistake, examine the `__call__` of its class.
    is_function = isinstance(handler, (FunctionType, MethodType, type))
    call: Any = handler if is_function else type(handler).__call__
    count = 2 if is_function else 3
    if not takes(call, count) and not is_stand_in():
        name = getattr(handler, "__qualname__", None) or repr(handler)
        raise TypeError(
            f"The exception handler for {key!r} is called with two arguments, (request, exc), which "
            f"{name:.200} does not take."
        )


def check_handlers(handlers: Any, location: str) -> dict[Any, Any]:
    """Return the exception handlers as a new dict. Errors begin with ``location``.

    Raises:
        TypeError: ``handlers`` is not a mapping, or one of them fails ``check_handler``.
    """
    try:
        checked = dict(handlers or {})
    except (TypeError, ValueError):
        raise TypeError(
            f"{location}: exception_handlers must map status codes and exception classes to functions, "
            f"not {handlers!r:.200}. Write {{404: not_found}}."
        ) from None
    for key, handler in checked.items():
        check_handler(key, handler)
    return checked


class ExceptionMiddleware(Boundary):
    """Answer exceptions with the registered handlers.

    For an HTTPException, a handler for its status code comes first. Then the nearest class in the MRO of the
    exception counts. HTTPException and WebSocketException have default handlers. An exception without a
    handler goes on to the server-error layer. Every application has this layer; use its
    ``exception_handlers``.

    Args:
        app: The app inside.
        handlers: Functions ``(request, exc) -> response``, sync or async, by status code or exception class.
        debug: Kept for compatibility. It has no effect here.

    Raises:
        TypeError: A key is neither a status code nor an exception class, or a handler can't be called.
    """

    middleware_traits = (EXCEPTION_LAYER,)

    def __init__(
        self,
        app: ASGIApp,
        handlers: Mapping[Any, Callable[..., Any]] | None = None,
        debug: bool = False,
    ) -> None:
        super().__init__(app)
        self.debug = debug
        self._status_handlers: dict[int, Callable[..., Any]] = {}
        self._exception_handlers: dict[type[Exception], Callable[..., Any]] = {
            HTTPException: self.http_exception,
            WebSocketException: self.websocket_exception,
        }
        self._published = self._exception_handlers, self._status_handlers
        for key, handler in (handlers or {}).items():
            self.add_exception_handler(key, handler)

    def add_exception_handler(
        self, exc_class_or_status_code: int | type[Exception], handler: Callable[..., Any]
    ) -> None:
        """Register ``handler`` for a status code or an exception class.

        Raises:
            TypeError: The key is neither, or the handler can't be called.
        """
        key = exc_class_or_status_code
        check_handler(key, handler)
        if sends_by_hand(handler):
            remember_sender(handler)
        if isinstance(key, int):
            self._status_handlers[key] = handler
        else:
            self._exception_handlers[key] = handler

    async def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket, and answer its exceptions. The lifespan passes through."""
        if scope["type"] != "websocket":
            await self._layer_inner.connect(scope, receive, send)
            return
        scope[EXCEPTION_HANDLERS] = self._published
        scope.setdefault(UNANSWERED, [])
        watching = HandshakeSend(send)
        try:
            await self._layer_inner.connect(scope, receive, watching)
        except Exception as exc:
            if not await _answer_on_socket(scope, receive, send, exc, watching.find_state()):
                raise

    async def http_exception(self, request: Request[Any], exc: HTTPException) -> Response:
        """Return a response with the status, the headers and the detail of the exception.

        The detail is plain text. It is problem details if the application offers them and the client prefers
        them.
        """
        return http_exception_response(request.scope, exc)

    async def websocket_exception(self, websocket: WebSocket[Any], exc: WebSocketException) -> None:
        """Close the WebSocket with the exception's code and reason."""
        await websocket.close(code=exc.code, reason=fit_reason(exc.reason))


async def _answer_on_socket(
    scope: Scope, receive: Receive, send: Send, exc: Exception, state: WebSocketState
) -> bool:
    """Pass the exception of a WebSocket to its handler; return whether it is answered."""
    # Imported late, because errors are rare, and most applications have no WebSockets.
    from spica._diagnostics.hints import add_hint
    from spica._layers.socket_errors import answer_on_socket
    from spica.websockets import WebSocket

    websocket: WebSocket[Any] = WebSocket(scope, receive, send)
    websocket.application_state = state
    if await answer_on_socket(websocket, exc):
        return True
    add_hint(exc)
    return False
