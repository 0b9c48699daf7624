"""A method of ``starlette.responses.Response`` that other packages call, though it is private there.

The switch adds it to the class as soon as that is loaded, so this module imports lower floors only.
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
