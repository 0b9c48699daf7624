"""Refuse a WebSocket handshake with what would answer an HTTP request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.types import ASGIApp, Receive, Scope, Send


async def deny(response: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Send `response` where the server can; else close, which the server answers with a 403.

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
