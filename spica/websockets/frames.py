"""Rules for the frames and headers of a WebSocket: iteration, malformed frames, close codes, the handshake.

An unhandled UnexpectedFrame or MalformedJSON closes the connection (RFC 6455 s.7.4.1). Each also derives from
the built-in error that code written for Starlette catches: KeyError and JSONDecodeError.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from json import JSONDecodeError
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from spica._http.closecodes import check_close, describe_excess, fit_reason
from spica._http.fields import encode_field_name, encode_field_value, is_token
from spica.exceptions import WebSocketException, warn_configuration
from spica.types import Message

if TYPE_CHECKING:
    from spica.types import Message, Scope

T = TypeVar("T")


class Frames(Generic[T]):
    """Iterate over the results of `receive` until it raises the exception class `end`.

    This is an object and not a generator, so a loop that ends early leaves nothing that must be closed.
    """

    __slots__ = ("_end", "_is_over", "_receive")

    def __init__(self, receive: Callable[[], Awaitable[T]], end: type[Exception]) -> None:
        self._receive = receive
        self._end = end
        self._is_over = False

    def __aiter__(self) -> Frames[T]:
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
    """The peer sent a binary frame instead of a text frame, or the other way round.

    If you do not handle it, the connection is closed with code 1003.
    """

    def __init__(self, expected: str, received: str) -> None:
        # RFC 6455 s.7.4.1: 1003, "a type of data it cannot accept".
        super().__init__(1003, f"Expected a {expected} frame, received a {received} frame.")
        self.expected = expected
        self.received = received


class MalformedJSON(WebSocketException, JSONDecodeError):
    """The peer sent a frame that is not JSON.

    If you do not handle it, the connection is closed with code 1007. It has the fields of
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
    """Check a close code, and return the reason shortened to the size of a close frame, with a warning.

    Raises:
        ValueError: `code` may not be sent.
        TypeError: `code` is not an int, or `reason` is neither str nor None.
    """
    check_close(code, reason)
    if not reason:
        return ""
    excess = describe_excess(reason)
    if excess:
        warn_configuration(f"{excess} It is cut.")
    return fit_reason(reason)


def check_close_message(message: Message) -> Message:
    """Return a `websocket.close` message that can be sent. It raises the errors of `prepare_reason`."""
    code, reason = message.get("code", 1000), message.get("reason")
    if not reason:
        check_close(code, reason)
        return message
    fitting = prepare_reason(code, reason)
    return message if fitting == reason else {**message, "reason": fitting}


HandshakeHeaders: TypeAlias = "Iterable[tuple[bytes | str, bytes | str]] | Mapping[str, str]"

MAX_SHOWN = 10
"""Number of offered subprotocols that an error message lists."""

# RFC 6455 s.4.2.2 and RFC 9110 s.7.8: the server writes these. RFC 9112 s.6.1, RFC 9110 s.8.6: a 101 response
# has no content.
_FIELDS_OF_THE_SERVER = frozenset(
    {
        b"connection",
        b"content-length",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"transfer-encoding",
        b"upgrade",
    }
)


def encode_headers(headers: HandshakeHeaders) -> list[tuple[bytes, bytes]]:
    """Return headers as ASGI header lines.

    Raises:
        ValueError: a name or value has characters that are not allowed (RFC 9110 s.5).
    """
    lines = headers.items() if isinstance(headers, Mapping) else headers
    return [(encode_field_name(name), encode_field_value(value)) for name, value in lines]  # pyright: ignore[reportArgumentType]


def check_accept(message: Message, scope: Scope) -> None:
    """Refuse a `websocket.accept` message that would make the client fail the connection.

    Raises:
        ValueError: the subprotocol is not a token, or the client did not offer it; or a header belongs to
            the server.
    """
    subprotocol = message.get("subprotocol")
    if subprotocol is not None:
        _check_subprotocol(subprotocol, scope.get("subprotocols") or ())
    for name, _ in message.get("headers") or ():
        name = name.lower()
        if name == b"sec-websocket-protocol":
            # ASGI "Accept": `headers` must not include this header.
            raise ValueError(
                "accept() has the header 'Sec-WebSocket-Protocol'. Write accept(subprotocol=...)."
            )
        if name in _FIELDS_OF_THE_SERVER:
            raise ValueError(
                f"accept() has the header {name.decode('latin-1')!r}, which the server writes. "
                "Leave it out."
            )


def _check_subprotocol(subprotocol: str, offered: Sequence[str]) -> None:
    # RFC 6455 s.4.1: a subprotocol is a token.
    if not isinstance(subprotocol, str) or not is_token(subprotocol):
        raise ValueError(f"The subprotocol {subprotocol!r:.80} is not a token (RFC 9110 s.5.6.2).")
    if subprotocol in offered:
        return
    names = ", ".join([f"{name!r:.80}" for name in offered[:MAX_SHOWN]])
    raise ValueError(
        f"The client did not offer the subprotocol {subprotocol!r:.80}, and must fail a connection "
        "with another one (RFC 6455 s.4.1). "
        + (f"It offered {names}. Accept one of these, or none." if names else "It offered none.")
    )
