"""The state of a WebSocket, and the errors for one that is over (ASGI WebSocket specification)."""

import enum


class WebSocketState(enum.Enum):
    """The state of one side of a connection.

    In the state RESPONSE, the application is refusing the handshake with an HTTP response that is not
    complete yet.
    """

    CONNECTING = 0
    CONNECTED = 1
    DISCONNECTED = 2
    RESPONSE = 3

    __hash__ = object.__hash__  # Enum.__hash__ is written in Python: too slow for the tables below.


class WebSocketDisconnect(Exception):
    """The peer closed the connection, or the connection broke.

    Attributes:
        code: the close code. 1005 means that the peer sent none, 1006 that the connection broke.
        reason: the peer's reason, or "".
    """

    def __init__(self, code: int = 1000, reason: str | None = None) -> None:
        self.code = code
        self.reason = reason or ""

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}" if self.reason else str(self.code)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(code={self.code!r}, reason={self.reason!r})"


class WebSocketDisconnected(RuntimeError):
    """The application used a connection that is closed or not accepted yet."""


def is_disconnect(exc: BaseException) -> bool:
    """Return whether ``exc`` only reports that the peer has left, also from the tasks of a group."""
    if isinstance(exc, ExceptionGroup):
        return all(is_disconnect(each) for each in exc.exceptions)
    return isinstance(exc, WebSocketDisconnect)
