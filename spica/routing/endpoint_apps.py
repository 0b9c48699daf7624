"""Turn an endpoint into an ASGI app, and find the shortest way to its response.

``request_response`` and ``websocket_session`` are public and return ASGI apps. The route table does not run
these apps: `resolve_endpoint` gives it the function that makes the response.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any

from spica._layers.answers import resolve_answer
from spica._layers.exception_handlers import answer_exception
from spica._layers.handsent import BY_ENDPOINT, is_known_sender, sends_by_hand
from spica._layers.layer import BaseLayer, Respond, resolve_respond
from spica.concurrency import is_async_callable, run_in_threadpool
from spica.endpoints import HTTPEndpoint, answer, answers_by_value
from spica.requests import Request
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.types import ASGIApp
    from spica.websockets import WebSocket


def request_response(func: Callable[[Request[Any]], Any]) -> ASGIApp:
    """Return an ASGI app that sends the response of ``func(request)``.

    A plain function runs in a worker thread, an ``async def`` function in the event loop. spica checks once,
    here, which of the two ``func`` is.
    """
    return AsyncFunction(func) if is_async_callable(func) else SyncFunction(func)


class AsyncFunction(BaseLayer):
    """An ``async def`` endpoint as an ASGI app.

    Within an exception layer, the table calls the function directly (see `resolve_endpoint`), because that
    layer checks the response and handles exceptions. A function that sends its response itself runs as an
    app.
    """

    __slots__ = ("__weakref__", "_sends", "func")

    def __init__(self, func: Callable[[Request[Any]], Awaitable[Any]]) -> None:
        self.func = func
        self._sends: bool | None = None  # until the first request

    def is_sender(self) -> bool:
        """Return whether the function sends its response itself.

        The answer comes from the function's code, at the first request: by then all modules are imported, so
        the names that the function refers to exist.
        """
        if self._sends is None:
            self._sends = sends_by_hand(self.func)
        return self._sends or is_known_sender(self.func)

    def _layer_respond(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the endpoint's response, or the response of the handler for its exception."""
        return _itself(self) if self.is_sender() else self._answer(request)

    def _layer_respond_outermost(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        return self._answer(request)

    async def _answer(self, request: Request[Any]) -> ASGIApp:
        try:
            answer = await self.func(request)
            if isinstance(answer, Response) and answer._is_value:
                return answer
            return await resolve_answer(answer, request, self.func)
        except Exception as exc:
            handled = await answer_exception(request, exc)
            if handled is None:
                raise
            return handled


class SyncFunction(AsyncFunction):
    """A ``def`` endpoint as an ASGI app. The function runs in a worker thread."""

    __slots__ = ()

    async def _answer(self, request: Request[Any]) -> ASGIApp:
        try:
            return await resolve_answer(
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
    """Return an ASGI app that awaits ``func(websocket)`` and passes its exceptions to the handlers."""
    from spica.routing.socket_apps import SocketFunction  # most applications have no WebSockets

    return SocketFunction(func)


def resolve_endpoint(app: ASGIApp) -> Respond:
    """Return the function that responds for the app of a route, with the fewest steps in between.

    For an ``async def`` endpoint this is your function itself, and for a class endpoint a call of its
    instance. Any other app is resolved like a layer. The exception layer around the router does the rest.
    """
    if isinstance(app, type) and issubclass(app, HTTPEndpoint) and _passes_responses(app):
        return partial(answer, app)
    respond = resolve_respond(app)
    if isinstance(respond, MethodType) and respond.__func__ is AsyncFunction._layer_respond:
        function = respond.__self__
        if type(function) is AsyncFunction and not function.is_sender():
            return function.func
    return respond


def _passes_responses(cls: type[HTTPEndpoint]) -> bool:
    return answers_by_value(cls) and not sends_by_hand(cls, BY_ENDPOINT)
