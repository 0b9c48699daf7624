"""What other packages call of ``starlette.responses`` though it is private there.

It is added to a class as soon as that is loaded, so this imports only what lies below the responses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica._asgi.sending import DenialSend

if TYPE_CHECKING:
    from spica.types import Send


def deny_with(response: Any, send: Send) -> Send:
    """Return the ``send`` with which a response denies a WebSocket handshake."""
    # Whether the server offers it is known by the scope, which the caller has looked at.
    return DenialSend(send, {"extensions": {"websocket.http.response": {}}})
