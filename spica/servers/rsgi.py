"""Serve any ASGI application over RSGI, the protocol of the server granian.

A ``Spica`` application has the three RSGI attributes already: ``granian --interface rsgi main:app`` works.
Wrap an application of another kind, or one behind a pure ASGI middleware, in ``RSGI``.

The adapter translates between the two protocols and decides nothing else. Every application runs exactly as
under an ASGI server, so limits, cleanup and error answers exist once. A complete body leaves by one
``response_bytes``, a file by ``response_file``, and a stream through a transport. A Response that the layers
return by value is sent without messages.

Standards: RSGI specification 1.6, ASGI specification 3.0 with HTTP spec version 2.4.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from spica._layers.answers import resolve_outermost
from spica._layers.layer import BaseLayer
from spica._layers.runner import answer_error, finish_request, record_error, send_answer
from spica._originals import is_original
from spica.requests import Request
from spica.responses.base import Response
from spica.responses.sending import WITHOUT_BODY
from spica.servers.rsgi_http import HeadExchange, HTTPExchange
from spica.servers.rsgi_lifespan import Lifespan
from spica.servers.rsgi_scope import make_http_scope, make_websocket_scope
from spica.servers.rsgi_websocket import WebSocketExchange

if TYPE_CHECKING:
    from spica.servers.rsgi_protocol import RSGIScope, WebSocketProtocol
    from spica.types import ASGIApp, Scope


class RSGI:
    """Offer an ASGI application as an RSGI application.

    ``app`` is called with a scope, ``receive`` and ``send`` for each connection. One object serves any number
    of event loops, for example those of granian's worker threads: each loop has its own lifespan and state.

    Raises:
        TypeError: ``app`` can't be called.
    """

    def __init__(self, app: ASGIApp) -> None:
        if not callable(app):
            raise TypeError(f"RSGI needs an ASGI application, not {app!r:.80}.")
        self.app = app
        # As for any layer: one whose `__call__` was replaced must be called.
        self._layer = (
            app if isinstance(app, BaseLayer) and is_original(type(app), "__call__") else None
        )
        self._lifespans: dict[asyncio.AbstractEventLoop, Lifespan] = {}

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the application on ``loop``, before the first connection.

        Where the loop already runs, as in an embedded server, the start-up runs as a task, and connections
        wait for it.

        Raises:
            RuntimeError: the application reported that its start-up failed.
        """
        lifespan = self._lifespans[loop] = Lifespan(self.app)
        lifespan.start(loop)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Shut the application down on ``loop``, after the last connection.

        Raises:
            RuntimeError: the application reported that its shutdown failed.
        """
        lifespan = self._lifespans.pop(loop, None)
        if lifespan is not None:
            lifespan.stop(loop)

    async def __rsgi__(self, scope: RSGIScope, protocol: Any) -> None:
        """Serve one request or WebSocket."""
        state: dict[str, Any] | None = None
        if self._lifespans:
            lifespan = self._lifespans.get(asyncio.get_running_loop())
            if lifespan is not None:
                if lifespan.starting is not None:
                    await lifespan.wait_for_start()
                state = lifespan.state
        if scope.proto != "http":
            await self._serve_websocket(scope, protocol, state)
            return
        asgi_scope = make_http_scope(scope, state)
        is_head = asgi_scope["method"] == "HEAD"
        exchange = (HeadExchange if is_head else HTTPExchange)(scope, protocol)
        try:
            if self._layer is None:
                await self.app(asgi_scope, exchange.receive, exchange.send)
            else:
                await _serve_by_value(self._layer, asgi_scope, exchange)
        finally:
            if not exchange.is_complete:
                exchange.note_return()
        if not exchange.is_complete:
            exchange.check_complete()

    async def _serve_websocket(
        self, scope: RSGIScope, protocol: WebSocketProtocol, state: dict[str, Any] | None
    ) -> None:
        exchange = WebSocketExchange(protocol)
        try:
            await self.app(make_websocket_scope(scope, state), exchange.receive, exchange.send)
        finally:
            exchange.close_unfinished()


async def _serve_by_value(layer: BaseLayer, scope: Scope, exchange: HTTPExchange) -> None:
    """Serve one request as ``BaseLayer.__call__`` does, and send a complete Response without messages."""
    request: Request[Any] = Request(scope, exchange.receive, exchange.send)
    try:
        try:
            answer: Any = await layer._layer_respond_outermost(request)
            is_complete = _is_complete(answer)
            if not is_complete:
                answer = await resolve_outermost(answer, request)
        except Exception as exc:
            # The first request builds the stack, and with it the policy for errors.
            answer = await answer_error(request, exc, layer._layer_errors())
            is_complete = False
        cleanup = request._cleanup
        if is_complete and (cleanup is None or cleanup.is_undisturbed):
            exchange.send_response(answer.status_code, answer.raw_headers, answer.body)
        else:
            await send_answer(answer, request, exchange.send, layer._layer_errors())
    except BaseException as exc:
        await record_error(request, exc, layer._layer_errors())
    if request._cleanup is not None:
        await finish_request(request, layer._layer_errors())


def _is_complete(answer: ASGIApp) -> bool:
    """Return whether status, headers and body in memory are all that ``Response.__call__`` would send."""
    return (
        type(answer).__call__ is Response.__call__
        and isinstance(answer, Response)
        and answer.background is None
        and answer._replaced_body is None
        and answer.body is answer._measured_body
        and not answer._unread
        and answer.status_code not in WITHOUT_BODY
    )
