"""Private functions and methods of Starlette that other packages call.

The switch adds the methods to ``Response`` and ``WebSocket`` as soon as their modules are loaded. This module
therefore imports only floors below these classes; two functions import more on use.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from spica._asgi.sending import DenialSend

if TYPE_CHECKING:
    from spica.types import Message, Send

__all__ = [
    "IteratorEnd",
    "deny_with",
    "is_asgi3",
    "next_in_thread",
    "raise_on_disconnect",
    "user_safe_decode",
]

T = TypeVar("T")


class IteratorEnd(Exception):
    """Signal the end of an iterator from a thread, since a future can't carry a StopIteration."""


def next_in_thread(iterator: Iterator[T]) -> T:
    """Return the next item of ``iterator``.

    Raises:
        IteratorEnd: the iterator has no more items.
    """
    try:
        return next(iterator)
    except StopIteration:
        raise IteratorEnd from None


def user_safe_decode(src: bytes | bytearray, codec: str) -> str:
    """Decode ``src`` with ``codec``, or as Latin-1 if the codec is unknown or can't decode the bytes."""
    try:
        return src.decode(codec)
    except (UnicodeDecodeError, LookupError):
        return src.decode("latin-1")


def is_asgi3(app: Any) -> bool:
    """Return whether ``app`` is an application of the form ``(scope, receive, send)``."""
    # On use: the test client needs an extra.
    from spica.testclient.interface import as_asgi3

    return as_asgi3(app) is app


def deny_with(response: Any, send: Send) -> Send:
    """Return the ``send`` with which a response denies a WebSocket handshake."""
    # The caller has already checked that the server offers the extension.
    return DenialSend(send, {"extensions": {"websocket.http.response": {}}})


def raise_on_disconnect(websocket: Any, message: Message) -> None:
    """Raise a WebSocketDisconnect if ``message`` is a disconnect, as ``receive_text`` does.

    Raises:
        WebSocketDisconnect: ``message`` is a ``websocket.disconnect``.
    """
    # On use: this module is loaded before the WebSocket class.
    from spica.websockets import WebSocketDisconnect

    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005), message.get("reason"))
