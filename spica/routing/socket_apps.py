"""Turn a WebSocket endpoint into an ASGI app.

An application without WebSockets never loads this module.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from spica._diagnostics.call_site import describe
from spica._layers.socket_errors import answer_on_socket
from spica.websockets.connection import WebSocket
from spica.websockets.handshake import HandshakeSend
from spica.websockets.state import WebSocketDisconnect, WebSocketState, is_disconnect

if TYPE_CHECKING:
    from spica.types import Receive, Scope, Send


class SocketFunction:
    """An ``async def`` WebSocket endpoint as an ASGI app."""

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
                # This frame raised it, at the `await`: the function returned something else.
                exc.add_note(f"The endpoint {describe(self.func)} must be an `async def` function.")
            if await answer_on_socket(websocket, exc):
                return
            if not (is_disconnect(exc) and is_over(websocket)):
                raise
        else:
            if websocket.application_state is WebSocketState.CONNECTING:
                await refuse_unanswered(websocket, self.func)
        finally:
            if websocket._patience is not None:
                await websocket._patience.aclose()


async def refuse_unanswered(websocket: WebSocket[Any], endpoint: Any) -> None:
    """Refuse a handshake that the endpoint has not answered before it returned, and log a warning.

    ASGI "Close": the server answers 403. Without it, servers answer 500 and name no endpoint.
    """
    send = websocket._send
    is_answered = isinstance(send, HandshakeSend) and send.is_over  # with the plain `send`
    if is_answered or websocket.client_state is WebSocketState.DISCONNECTED:
        return
    import logging  # on use: few endpoints make the mistake

    logging.getLogger("spica.websockets").warning(
        "The WebSocket endpoint %s returned before it answered the handshake, so the client got a 403. "
        "Await websocket.accept() first, or websocket.close() to refuse the client.",
        describe(endpoint),
    )
    try:
        await websocket.close()
    except WebSocketDisconnect:
        pass  # the client has left


def is_over(websocket: WebSocket[Any]) -> bool:
    """Return whether the peer has disconnected, or the connection was closed from here."""
    left = WebSocketState.DISCONNECTED
    return websocket.client_state is left or websocket.application_state is left
