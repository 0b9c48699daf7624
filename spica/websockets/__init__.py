"""WebSocket connections for endpoints (RFC 6455, ASGI WebSocket specification)."""

from typing import TYPE_CHECKING

from spica._lazy import LazyNames
from spica.websockets.connection import (
    MalformedJSON,
    UnexpectedFrame,
    WebSocket,
    WebSocketClose,
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
)

if TYPE_CHECKING:
    from spica.websockets.outbox import Outbox
    from spica.websockets.patience import ReceiveTimeout
else:
    __getattr__ = LazyNames(
        __name__,
        {"Outbox": "spica.websockets.outbox", "ReceiveTimeout": "spica.websockets.patience"},
    )

__all__ = [
    "MalformedJSON",
    "Outbox",
    "ReceiveTimeout",
    "UnexpectedFrame",
    "WebSocket",
    "WebSocketClose",
    "WebSocketDisconnect",
    "WebSocketDisconnected",
    "WebSocketState",
]
