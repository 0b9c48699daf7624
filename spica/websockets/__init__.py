"""WebSocket connections for endpoints (RFC 6455, ASGI WebSocket specification).

Each name loads its module when you first use it, so that an application without WebSockets starts faster.
"""

from typing import TYPE_CHECKING

from spica._lazy import LazyNames

if TYPE_CHECKING:
    from spica.websockets.connection import (
        MalformedJSON,
        UnexpectedFrame,
        WebSocket,
        WebSocketClose,
        WebSocketDisconnect,
        WebSocketDisconnected,
        WebSocketState,
    )
    from spica.websockets.outbox import Outbox
    from spica.websockets.patience import ReceiveTimeout
else:
    __getattr__ = LazyNames(
        __name__,
        {
            "spica.websockets.connection": "MalformedJSON UnexpectedFrame WebSocket WebSocketClose "
            "WebSocketDisconnect WebSocketDisconnected WebSocketState",
            "spica.websockets.outbox": "Outbox",
            "spica.websockets.patience": "ReceiveTimeout",
        },
    )
    __dir__ = __getattr__.list_names

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
