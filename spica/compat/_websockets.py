"""A method of ``starlette.websockets.WebSocket`` that other packages call, though it is private there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spica.types import Message


def raise_on_disconnect(websocket: Any, message: Message) -> None:
    """Raise a WebSocketDisconnect if ``message`` is a disconnect, as ``receive_text`` does.

    Raises:
        WebSocketDisconnect: ``message`` is a ``websocket.disconnect``.
    """
    from spica.websockets import WebSocketDisconnect

    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005), message.get("reason"))
