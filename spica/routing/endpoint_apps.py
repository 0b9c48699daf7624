"""Functions as ASGI apps: ``request_response`` and ``websocket_session``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import MethodType
from typing import TYPE_CHECKING, Any

from spica._diagnostics.call_site import describe
from spica._layers.answers import settle_answer
from spica._layers.exception_handlers import answer_exception, answer_on_socket
from spica._layers.handsent import is_known_sender, sends_by_hand
from spica._layers.layer import Respond, Responder, resolve_respond
from spica.concurrency import is_async_callable, run_in_threadpool
from spica.requests import Request
from spica.responses.base import Response
from spica.websockets import WebSocket, WebSocketDisconnect, WebSocketState

if TYPE_CHECKING:
    from spica.types import ASGIApp, Receive, Scope, Send


def request_response(func: Callable[[Request[Any]], Any]) -> ASGIApp:
    """Return an ASGI app that answers with what ``func(request)`` returns.

    A plain function is run in a worker thread. Which of the two it is, is decided here, once.
    """
    return AsyncFunction(func) if is_async_callable(func) else SyncFunction(func)


class AsyncFunction(Responder):
    """An ``async def`` endpoint.

    Below a boundary its function may be asked directly (``resolve_endpoint``): the boundary does the rest. A
    function that sends its response itself is run as an app instead.
    """

    __slots__ = ("__weakref__", "_sends", "func")

    def __init__(self, func: Callable[[Request[Any]], Awaitable[Any]]) -> None:
        self.func = func
        self._sends: bool | None = None  # not known yet

    def is_sender(self) -> bool:
        """Return whether the function sends its response itself, found out at the first request.

        The modules of an application are complete by then, and so are the names that functions refer to.
        """
        if self._sends is None:
            self._sends = sends_by_hand(self.func)
        return self._sends or is_known_sender(self.func)

    def _layer_respond(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the endpoint's response, or that of the handler for its exception."""
        return _itself(self) if self.is_sender() else self._answer(request)

    def _layer_inner_respond_outermost(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        return self._answer(request)

    async def _answer(self, request: Request[Any]) -> ASGIApp:
        try:
            answer = await self.func(request)
            if isinstance(answer, Response) and answer._is_plain:
                return answer
            return await settle_answer(answer, request, self.func)
        except Exception as exc:
            handled = await answer_exception(request, exc)
            if handled is None:
                raise
            return handled


class SyncFunction(AsyncFunction):
    """A ``def`` endpoint; it runs in a worker thread."""

    __slots__ = ()

    async def _answer(self, request: Request[Any]) -> ASGIApp:
        try:
            return await settle_answer(
                await run_in_threadpool(self.func, request), request, self.func
            )
        except Exception as exc:
            handled = await answer_exception(request, exc)
            if handled is None:
                raise
            return handled


async def _itself(app: AsyncFunction) -> ASGIApp:
    return app


def websocket_session(func: Callable[[WebSocket[Any]], Awaitable[None]]) -> ASGIApp:
    """Return an ASGI app that awaits ``func(websocket)``, answering its exceptions by the handlers."""
    return SocketFunction(func)


class SocketFunction:
    """A WebSocket endpoint that is a function."""

    def __init__(self, func: Callable[[WebSocket[Any]], Awaitable[None]]) -> None:
        self.func = func

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        websocket: WebSocket[Any] = WebSocket(scope, receive, send)
        try:
            await self.func(websocket)
        except Exception as exc:
            traceback = exc.__traceback__
            if type(exc) is TypeError and traceback is not None and traceback.tb_next is None:
                # Raised in this very function: what was returned can't be awaited.
                exc.add_note(f"The endpoint {describe(self.func)} must be an `async def` function.")
            if await answer_on_socket(websocket, exc):
                return
            if not (isinstance(exc, WebSocketDisconnect) and is_over(websocket)):
                raise


def is_over(websocket: WebSocket[Any]) -> bool:
    """Return whether the peer has left, or can't be reached any more."""
    left = WebSocketState.DISCONNECTED
    return websocket.client_state is left or websocket.application_state is left


def resolve_endpoint(app: ASGIApp) -> Respond:
    """Return how ``app`` is asked below a boundary: an endpoint's function as it is."""
    ask = resolve_respond(app)
    if isinstance(ask, MethodType) and ask.__func__ is AsyncFunction._layer_respond:
        function = ask.__self__
        if type(function) is AsyncFunction and not function.is_sender():
            return function.func
    return ask
