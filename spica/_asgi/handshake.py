"""What stands before a WebSocket's `send` until its handshake is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spica.types import Message, Send


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
