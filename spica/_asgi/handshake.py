"""The answer to a WebSocket handshake: what it may hold, and what watches `send` until it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from spica._http.fields import encode_field_name, encode_field_value, is_token

if TYPE_CHECKING:
    from spica.types import Message, Scope, Send

HandshakeHeaders: TypeAlias = "Iterable[tuple[bytes | str, bytes | str]] | Mapping[str, str]"

MAX_SHOWN = 10
"""Subprotocols of a client that an error names."""

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
    """Return header lines as ASGI has them.

    Raises:
        ValueError: a name or value has characters that are not allowed (RFC 9110 s.5).
    """
    lines = headers.items() if isinstance(headers, Mapping) else headers
    return [(encode_field_name(name), encode_field_value(value)) for name, value in lines]


def check_accept(message: Message, scope: Scope) -> None:
    """Refuse a `websocket.accept` message for which the client would have to fail the connection.

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
            # ASGI "Accept": headers must not include it.
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


class HandshakeSend:
    """Remember whether the handshake was answered, after which no HTTP response can be sent.

    What comes later is of no interest, so a `WebSocket` goes on with the inner `send` itself once it
    is accepted: frames pay nothing for the layers that watched the handshake.
    """

    __slots__ = ("is_over", "send")

    def __init__(self, send: Send) -> None:
        self.send = send
        self.is_over = False

    async def __call__(self, message: Message) -> None:
        """Send `message` on."""
        self.is_over = True
        await self.send(message)


def past_handshake(send: Send) -> Send:
    """Return what `send` stands for once the handshake is over."""
    while type(send) is HandshakeSend:
        send = send.send
    return send
