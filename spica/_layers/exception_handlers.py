"""Turn exceptions into responses.

The exception layer publishes its handlers in the scope, where the layers inside find them. On the value path
a layer returns the handler's response. An opaque app is guarded while it runs. After a response has started,
no other response is possible, and the error is raised again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spica._asgi.body import BodyTooLarge
from spica._asgi.cleanup import RequestErrors
from spica._asgi.scope import EXCEPTION_HANDLERS, PENDING_EDITS
from spica._asgi.sending import StartedSend, has_started_by_hand
from spica._layers.answers import resolve_answer
from spica._layers.cleanup import own_cleanup, split_errors
from spica._layers.editing import apply_pending_edits
from spica._layers.handsent import is_known_sender, remember_sender
from spica._layers.layer import BaseLayer
from spica.concurrency import is_async_callable, run_in_threadpool
from spica.exceptions import HTTPException
from spica.requests import HTTPConnection, Request
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.types import ASGIApp, Receive, Scope, Send

Handler = Callable[..., Any]
ALREADY_STARTED = "Caught handled exception, but response already started."

TASK_GROUP_MESSAGES = ("unhandled errors in a TaskGroup", "Exceptions from Trio nursery")
"""The messages of exception groups from task groups: of asyncio and AnyIO, and of trio's nurseries."""

Handlers = tuple[Mapping[Any, Handler], Mapping[int, Handler]]
"""Handlers by exception class, and by status code."""


def find_handler(exc: Exception, handlers: Handlers | None) -> Handler | None:
    """Return the handler for ``exc``: by its status code, else by the nearest of its classes."""
    if handlers is None:
        return None
    by_class, by_status = handlers
    if by_status and isinstance(exc, HTTPException):
        handler = by_status.get(exc.status_code)
        if handler is not None:
            return handler
    handler = by_class.get(type(exc))
    if handler is not None:
        return handler
    for cls in type(exc).__mro__:
        handler = by_class.get(cls)
        if handler is not None:
            return handler
    return None


def find_handled(exc: Exception, handlers: Handlers | None) -> tuple[Handler | None, Exception]:
    """Return the handler, and the exception it handles.

    A task group wraps the exception of a task in a group of one: the handler of that exception counts. For
    several errors of one request, the first one counts. Any other group is an exception of its own.
    """
    handler = find_handler(exc, handlers)
    if handler is None and isinstance(exc, ExceptionGroup):
        is_for_first = isinstance(exc, RequestErrors) or (
            len(exc.exceptions) == 1 and exc.message in TASK_GROUP_MESSAGES
        )
        return find_handled(exc.exceptions[0], handlers) if is_for_first else (None, exc)
    return handler, exc


def already_started(exc: Exception) -> RuntimeError:
    """Return the error for an exception that a handler can't answer, because the response has started.

    Its message names the exception, since some servers log no causes.
    """
    traceback = exc.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    place = ""
    if traceback is not None:
        place = f" at {traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
    return RuntimeError(f"{ALREADY_STARTED} It is {exc!r:.300}{place}.")


def _is_late(exc: Exception) -> bool:
    return type(exc) is RuntimeError and str(exc).startswith(ALREADY_STARTED)


def record_late_error(request: Request[Any], exc: Exception) -> Exception:
    """Record an error that came after the response had started; return the error that will be raised.

    If a handler would have answered it, that is a RuntimeError that says so.
    """
    failures = own_cleanup(request)
    if not failures.has_failure(exc):
        handler, _ = find_handled(exc, request.scope.get(EXCEPTION_HANDLERS))
        # An outer body limit raised this from `send`; it sends the 413 itself.
        is_refused = isinstance(exc, BodyTooLarge)
        if handler is not None and not _is_late(exc) and not is_refused:
            cause, exc = exc, already_started(exc)
            exc.__cause__ = cause
        failures.add_failure(exc)
    return exc


async def call_handler(handler: Handler, conn: HTTPConnection[Any], exc: Exception) -> Any:
    """Call ``handler(conn, exc)``, in a worker thread if it is a ``def`` function."""
    if is_async_callable(handler):
        return await handler(conn, exc)
    return await run_in_threadpool(handler, conn, exc)


async def answer_exception(request: Request[Any], exc: Exception) -> ASGIApp | None:
    """Return the answer of the handler registered for ``exc``; None if there is none."""
    handler, handled = find_handled(exc, request.scope.get(EXCEPTION_HANDLERS))
    if handler is None or has_started_by_hand(request):
        return None
    split_errors(request, exc)
    exc = handled
    if is_known_sender(handler):
        return HandlerApp(handler, exc)
    if is_async_callable(handler):  # the lines of `call_handler`, without its coroutine
        answer: ASGIApp = await handler(request, exc)
    else:
        answer = await run_in_threadpool(handler, request, exc)
    if not isinstance(answer, Response) or not answer._is_value:
        answer = await resolve_answer(answer, request, handler)
    if has_started_by_hand(request):
        remember_sender(handler)
    # The frames of a handled exception hold the request: free them.
    exc.__traceback__ = None
    return answer


class HandlerApp(BaseLayer):
    """Run, as an app, a handler that sends its response itself, so that every layer sees the response."""

    __slots__ = ("exc", "handler")

    def __init__(self, handler: Handler, exc: Exception) -> None:
        self.handler = handler
        self.exc = exc

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the response that the handler returns, if it returns one."""
        answer = await call_handler(self.handler, request, self.exc)
        self.exc.__traceback__ = None
        return await resolve_answer(answer, request, self.handler)


class Boundary(BaseLayer):
    """Check the answer of the app inside, and answer its exceptions with the handlers.

    The route table calls endpoints directly. The nearest boundary around an endpoint checks its return value
    and handles its exceptions: the exception layer, or a boundary inside the middleware of a route, a mount
    or a router, so that such middleware sees a response.
    """

    _published: Handlers | None
    """Handlers of this boundary, which replace the outer ones for the layers inside."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._published = None

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer, or that of the handler for its exception."""
        published = self._published
        if published is not None:
            request.scope[EXCEPTION_HANDLERS] = published
        try:
            answer: Any = await self._layer_inner.respond(request)
            if not isinstance(answer, Response) or not answer._is_value:
                answer = await resolve_answer(answer, request, request.scope.get("endpoint"))
                if not isinstance(answer, Response):
                    return GuardedApp(answer, request)
        except Exception as exc:
            handled = await answer_exception(request, exc)
            if handled is None:
                raise
            scope = request.scope
            return apply_pending_edits(scope, handled) if PENDING_EDITS in scope else handled
        return answer

    async def _layer_report(self, request: Request[Any], exc: Exception) -> bool:
        """Record an error that came after the response had started."""
        record_late_error(request, exc)
        return False


class GuardedApp:
    """Run an opaque app and answer its exceptions, as long as its response has not started."""

    __slots__ = ("app", "request")

    def __init__(self, app: ASGIApp, request: Request[Any]) -> None:
        self.app = app
        self.request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app.

        Raises:
            RuntimeError: a handler exists for its exception, but the response has already started.
        """
        # The `StartedSend` of an outer layer is enough if no layer in between has replaced it.
        started = send if type(send) is StartedSend else StartedSend(send, scope)
        try:
            await self.app(scope, receive, started)
        except Exception as exc:
            handler, _ = find_handled(exc, self.request.scope.get(EXCEPTION_HANDLERS))
            if handler is None:
                raise
            if started.has_started:  # pyright: ignore[reportFunctionMemberAccess]
                raise already_started(exc) from exc
            answer = await answer_exception(self.request, exc)
            if answer is not None:
                answer = apply_pending_edits(scope, answer)
                await answer(scope, receive, started)


async def deny(response: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Send ``response`` if the server can; otherwise close, which the server answers with a 403.

    ASGI "WebSocket Denial Response": an extension that not every server offers. The background task of the
    response runs in either case.
    """
    if "websocket.http.response" in (scope.get("extensions") or ()):
        await response(scope, receive, send)
    else:
        # RFC 6455 s.7.4.1: 1008, "violates its policy". No peer sees it before the handshake.
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        if isinstance(response, Response):
            for close in response._iterators_to_close():
                await close()
            if response.background is not None:
                await response.background()
