"""What other packages call of ``starlette.websockets``, though it is private there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spica.types import Message


def raise_on_disconnect(websocket: Any, message: Message) -> None:
    """Raise what ``receive_text`` and its kin raise for a message that says the client has left.

    Raises:
        WebSocketDisconnect: the message does.
    """
    from spica.websockets import WebSocketDisconnect

    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005), message.get("reason"))
