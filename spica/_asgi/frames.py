"""Frames that a WebSocket peer has sent, what can be wrong with one, and the close frame that we send.

Both errors close the connection when nobody handles them (RFC 6455 s.7.4.1), and both are also the
error that the plain look-up or decoding would raise, so that code written for that one goes on.
"""

from collections.abc import Awaitable, Callable
from json import JSONDecodeError
from typing import Generic, TypeVar

from spica._asgi.places import place_of_caller, warn_at
from spica._http.closecodes import check_close, describe_excess, fit_reason
from spica.exceptions import SpicaConfigurationWarning, WebSocketException
from spica.types import Message

T = TypeVar("T")


class Frames(Generic[T]):
    """Iterate over what `receive` returns, until it raises an exception of the class `end`.

    It is an object and no generator: one that is left early, by a ``break`` or an error, has nothing that
    would have to be closed.
    """

    __slots__ = ("_end", "_is_over", "_receive")

    def __init__(self, receive: Callable[[], Awaitable[T]], end: type[Exception]) -> None:
        self._receive = receive
        self._end = end
        self._is_over = False

    def __aiter__(self) -> "Frames[T]":
        return self

    async def __anext__(self) -> T:
        if self._is_over:
            raise StopAsyncIteration
        try:
            return await self._receive()
        except self._end:
            self._is_over = True
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """End the iteration."""
        self._is_over = True


class UnexpectedFrame(WebSocketException, KeyError):
    """Tell that the peer sent a binary frame where a text frame was expected, or a text frame where
    a binary frame was.

    Unhandled, it closes the connection with code 1003.
    """

    def __init__(self, expected: str, received: str) -> None:
        # RFC 6455 s.7.4.1: 1003, "a type of data it cannot accept".
        super().__init__(1003, f"Expected a {expected} frame, received a {received} frame.")
        self.expected = expected
        self.received = received


class MalformedJSON(WebSocketException, JSONDecodeError):
    """Tell that the peer sent a frame that is not JSON.

    Unhandled, it closes the connection with code 1007. It has the fields of
    `json.JSONDecodeError`: `msg`, `doc`, `pos`, `lineno` and `colno`.
    """

    def __init__(self, msg: str, doc: str = "", pos: int = 0) -> None:
        JSONDecodeError.__init__(self, msg, doc, pos)
        # RFC 6455 s.7.4.1: 1007, "data within a message that was not consistent with the type".
        self.code = 1007
        self.reason = "The message is not JSON."

    def __str__(self) -> str:
        place = f"line {self.lineno} column {self.colno} (char {self.pos})"
        return f"{self.code}: {self.reason} {self.msg}: {place}"


def prepare_reason(code: int, reason: str | None) -> str:
    """Check a close code, and return the reason as a close frame can carry it; warn if it is cut.

    Raises:
        ValueError: `code` may not be sent.
        TypeError: `code` is not an int, or `reason` is neither str nor None.
    """
    check_close(code, reason)
    if not reason:
        return ""
    excess = describe_excess(reason)
    if excess:
        warn_at(place_of_caller(), f"{excess} It is cut.", SpicaConfigurationWarning)
    return fit_reason(reason)


def check_close_message(message: Message) -> Message:
    """Return a `websocket.close` message that may be sent; errors are those of `prepare_reason`."""
    reason = message.get("reason")
    fitting = prepare_reason(message.get("code", 1000), reason)
    return message if not reason or fitting == reason else {**message, "reason": fitting}
