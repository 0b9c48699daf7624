"""The server-error layer: the outermost one, which answers and reports unhandled exceptions.

The client gets a 500. After the response, the layer raises the exception to the server, so that the server
logs it and tracing tools see it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from spica._asgi.body import BodyChannel, ClientDisconnect
from spica._asgi.cleanup import RequestErrors
from spica._asgi.scope import EXCEPTION_HANDLERS
from spica._asgi.sending import StartedSend
from spica._diagnostics.arguments import check_flag
from spica._diagnostics.middleware_order import ERROR_LAYER
from spica._http.cookies import show_changes
from spica._layers.answers import resolve_answer
from spica._layers.cleanup import own_cleanup, split_errors
from spica._layers.editing import announce_close, edit_answer, take_pending_edits
from spica._layers.exception_handlers import (
    Boundary,
    HandlerApp,
    Handlers,
    answer_exception,
    call_handler,
    record_late_error,
)
from spica._layers.handsent import is_known_sender, remember_sender, sends_by_hand
from spica._layers.json_codec import JSONCodecLayer
from spica._layers.layer import BaseLayer, Inner, Opaque
from spica._layers.runner import finish_request, record_error, register_listener
from spica._originals import is_original, remember
from spica.concurrency import run_in_threadpool
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses.base import HTMLResponse, PlainTextResponse, Response
from spica.responses.errors import error_response, http_exception_response

if TYPE_CHECKING:
    import inspect

    from spica.types import ASGIApp, Receive, Scope, Send


MAX_DEPTH = 100
"""Limit of layers to search for the exception layer. It stops the search in a circular stack."""


class ServerErrorMiddleware(BaseLayer):
    """Answer unhandled exceptions with 500, then raise them.

    An HTTPException that a middleware raised gets its own response. Every application has this layer.

    Args:
        app: The app inside.
        handler: A function ``(request, exc) -> response``, sync or async. The default response is plain
            text without details.
        debug: Whether the response is the traceback, as HTML for browsers. Never use it in production.

    Raises:
        TypeError: ``handler`` can't be called.
    """

    middleware_traits = (ERROR_LAYER,)

    def __init__(
        self, app: ASGIApp, handler: Callable[..., Any] | None = None, debug: bool = False
    ) -> None:
        if handler is not None and not callable(handler):
            raise TypeError(f"ServerErrorMiddleware: handler must be a function, not {handler!r}.")
        self.app = app
        self.handler = handler
        if handler is not None and sends_by_hand(handler):
            remember_sender(handler)
        self.debug = check_flag(debug, "ServerErrorMiddleware: debug")
        if self.debug:
            show_changes()

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer, or an error response."""
        try:
            answer = await self._layer_inner.respond(request)
        except Exception as exc:
            return await self._layer_answer_error(request, exc)
        return self._layer_guard(answer, request)

    @property
    def app(self) -> ASGIApp:
        """The app inside. You may replace it at any time."""
        return self._layer_inner.app

    @app.setter
    def app(self, app: ASGIApp) -> None:
        """Replace it."""
        inner = self._layer_inner = Inner(app)
        opaque = getattr(inner.respond, "__self__", None)
        self._layer_answer_outermost = inner.respond
        self._layer_serve = self._serve_opaque if isinstance(opaque, Opaque) else None

    _layer_answer_outermost: Callable[[Request[Any]], Awaitable[Any]]
    """Return the inner answer where this layer is the outermost one."""

    _layer_serve: Callable[..., Awaitable[None]] | None
    """Serve a request where this layer is the outermost one, and the app inside is opaque."""

    def _layer_respond_outermost(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        return self._layer_answer_outermost(request)

    def _layer_guard(self, answer: ASGIApp, request: Request[Any]) -> ASGIApp:
        """Return an opaque answer inside a guard that answers its exceptions."""
        if isinstance(answer, Response):
            return answer
        return partial(self._run_guarded, answer, request)

    async def _serve_opaque(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the opaque app inside, and answer its exception, unless its response has started.

        These are the steps of ``spica._layers.runner`` that remain if no layer gets a response by value. A
        Request is made if one of them needs it.
        """
        # A request around this application owns the body already, and may read it later.
        channel: Any = receive if type(receive) is BodyChannel else BodyChannel(receive, scope)
        channel.guard = started = StartedSend(send, scope)
        try:
            await self._layer_inner.app(scope, channel, started)
        except BaseException as exc:
            await self._finish_opaque(scope, channel, started, exc)
        else:
            if channel.listener is not None:
                await self._finish_opaque(scope, channel, started, None)

    async def _finish_opaque(
        self,
        scope: Scope,
        channel: BodyChannel,
        started: StartedSend,
        error: BaseException | None,
    ) -> None:
        """Answer the exception of an opaque app, and end the wait for a disconnect."""
        send = started.send
        request: Request[Any] = Request(scope, channel, send)
        register_listener(request, channel)
        try:
            if isinstance(error, Exception) and not started.has_started:
                answer = await self._layer_answer_error(request, error)
                await answer(scope, channel, send)
            elif error is not None:
                raise error
        except BaseException as exc:
            await record_error(request, exc, self)
        await finish_request(request, self)

    async def _run_guarded(
        self, app: ASGIApp, request: Request[Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Run an opaque app and answer its exception, unless its response has started."""
        started = StartedSend(send, scope)
        if type(receive) is BodyChannel:
            receive.guard = started  # pyright: ignore[reportFunctionMemberAccess]
        try:
            await app(scope, receive, started)
        except Exception as exc:
            if started.has_started:
                raise
            answer = await self._layer_answer_error(request, exc)
            await answer(scope, receive, send)

    async def _layer_answer_error(self, request: Request[Any], exc: Exception) -> ASGIApp:
        """Return the response for ``exc``, and record ``exc``, which is raised after it is sent."""
        answer: ASGIApp | None = None
        if isinstance(exc, RequestErrors) and isinstance(exc.exceptions[0], HTTPException):
            exc = split_errors(request, exc)
        if isinstance(exc, HTTPException):
            # A middleware may have raised it outside the exception layer.
            request.scope.setdefault(EXCEPTION_HANDLERS, _handlers_within(self.app))
            try:
                answer = await answer_exception(request, exc)
                if answer is None:
                    answer = http_exception_response(request.scope, exc)
            except Exception as error:  # of the handler
                exc = error
        if answer is None:
            answer = await self._answer_unhandled(request, exc)
        for edit in take_pending_edits(request.scope):
            try:
                answer = edit_answer(answer, edit)
            except Exception as error:
                # For example, a session that can't be written. The page is still sent.
                own_cleanup(request).add_failure(error)
        if own_cleanup(request).failures:
            answer = announce_close(answer, request.scope)
        return answer

    async def _answer_unhandled(self, request: Request[Any], exc: Exception) -> ASGIApp:
        if isinstance(exc, ClientDisconnect):
            # The client has left and receives nothing; the server made no mistake.
            return PlainTextResponse("Client disconnected", status_code=400)
        _add_hint(exc)
        cleanup = own_cleanup(request)
        cleanup.add_failure(exc)
        try:
            return await self._make_response(request, exc)
        except Exception as error:  # of the handler
            cleanup.add_failure(error)
            return self.error_response(request, exc)

    async def _layer_report(self, request: Request[Any], exc: Exception) -> bool:
        """Call the handler for an error that came after the response had started."""
        if isinstance(exc, ClientDisconnect):
            return False  # the client has left: not an error of the server
        _add_hint(exc)
        exc = record_late_error(request, exc)
        if self.handler is not None:
            try:
                await call_handler(self.handler, request, exc)
            except Exception as error:
                own_cleanup(request).add_failure(error)
        return False

    async def _make_response(self, request: Request[Any], exc: Exception) -> ASGIApp:
        if self.debug:
            # In a thread, because it reads source files.
            return await run_in_threadpool(self.debug_response, request, exc)
        if self.handler is None:
            return self.error_response(request, exc)
        if is_known_sender(self.handler):
            return HandlerApp(self.handler, exc)
        answer = await call_handler(self.handler, request, exc)
        return await resolve_answer(answer, request, self.handler)

    def error_response(self, request: Request[Any], exc: Exception) -> Response:
        """Return the response without details, for clients of a production service."""
        return error_response(request.scope, 500, "Internal Server Error")

    def debug_response(self, request: Request[Any], exc: Exception) -> Response:
        """Return the traceback: a page if the client accepts HTML, else plain text."""
        if "text/html" in request.headers.get("accept", ""):
            # The page has no script, but a style sheet, which a policy of the application may forbid.
            headers = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
            return HTMLResponse(self.generate_html(exc), status_code=500, headers=headers)
        return PlainTextResponse(self.generate_plain_text(exc), status_code=500)

    def generate_html(self, exc: Exception, limit: int = 7) -> str:
        """Return the debug page, with ``limit`` lines of source around each failing one."""
        from spica.middleware.debug_page import generate_html

        return generate_html(exc, limit, self.generate_frame_html)

    def generate_plain_text(self, exc: Exception) -> str:
        """Return the traceback as text."""
        from spica.middleware.debug_page import generate_plain_text

        return generate_plain_text(exc)

    def format_line(self, index: int, line: str, frame_lineno: int, frame_index: int) -> str:
        """Return one line of source of a frame as HTML."""
        from spica.middleware.debug_page import format_line

        return format_line(index, line, frame_lineno, frame_index)

    def generate_frame_html(self, frame: inspect.FrameInfo, is_collapsed: bool) -> str:
        """Return one frame of the traceback as HTML."""
        from spica.middleware.debug_page import generate_frame_html

        return generate_frame_html(frame, is_collapsed)


def _handlers_within(app: Any) -> Handlers | None:
    """Return the handlers of the exception layer inside ``app``; None if a layer without ``app`` hides it."""
    for _ in range(MAX_DEPTH):
        if isinstance(app, Boundary) and app._published is not None:
            return app._published
        app = getattr(app, "app", None)
    return None


remember(ServerErrorMiddleware, "__call__", "_layer_respond")


def outermost_of(stack: ASGIApp) -> Outermost:
    """Return the layer that answers errors for an application that runs the answers of ``stack`` itself.

    It is the server-error layer, unless a subclass or a tracing agent has replaced one of its methods.
    """
    cls = type(stack)
    if isinstance(stack, ServerErrorMiddleware) and is_original(cls, "__call__", "_layer_respond"):
        return stack
    layer = OtherOutermost()
    layer.app = stack
    layer._layer_answer_outermost = layer._layer_inner.respond
    return layer


class OtherOutermost(BaseLayer):
    """Run the answers of a stack that is not a server-error layer."""

    _layer_answer_outermost: Callable[[Request[Any]], Awaitable[Any]]
    _layer_serve: Callable[..., Awaitable[None]] | None = None

    async def _layer_report(self, request: Request[Any], exc: Exception) -> bool:
        """Report to the server-error layer inside a ``JSONCodecLayer``."""
        app = self.app
        return not isinstance(app, JSONCodecLayer) or await app._layer_report(request, exc)


Outermost: TypeAlias = ServerErrorMiddleware | OtherOutermost


def _add_hint(exc: Exception) -> None:
    """Add a note that names the fix of a newcomer's mistake."""
    from spica._diagnostics.hints import add_hint  # errors are rare, and an import stays light

    add_hint(exc)
