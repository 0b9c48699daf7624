"""WebSocket connections for endpoints (RFC 6455, ASGI WebSocket specification)."""

from spica.websockets.connection import (
    MalformedJSON,
    UnexpectedFrame,
    WebSocket,
    WebSocketClose,
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
)

__all__ = [
    "MalformedJSON",
    "UnexpectedFrame",
    "WebSocket",
    "WebSocketClose",
    "WebSocketDisconnect",
    "WebSocketDisconnected",
    "WebSocketState",
]
