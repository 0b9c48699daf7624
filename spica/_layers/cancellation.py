"""Cancel an endpoint when the client leaves.

The layer is in this package, below the routes, because a route has it as a setting. Import it from
``spica.middleware.disconnect``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica._asgi.disconnect import CancelOnDisconnect, listen
from spica._asgi.sending import SendHook
from spica._layers.layer import BaseLayer
from spica.concurrency import is_async_callable
from spica.requests import Request
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.types import ASGIApp, Receive, Scope, Send


class CancelOnDisconnectMiddleware(BaseLayer):
    """Cancel the endpoint when the client leaves before there is a response.

    Sending the response is not cancelled. The layers outside see a ClientDisconnect, which is not logged as
    an error. The response and its background task are lost. A ``def`` endpoint runs to its end in its thread,
    and its response is sent as usual. A foreign app can be cancelled until its response starts.

    Args:
        app: The app inside.

    Example:
        ``Middleware(CancelOnDisconnectMiddleware)``
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer.

        Raises:
            ClientDisconnect: The client has left in the meantime.
        """
        with CancelOnDisconnect(listen(request)):
            answer = await self._layer_inner.respond(request)
        if isinstance(answer, Response):
            return answer
        return _Cancellable(answer)


class _Cancellable:
    """Run an opaque app, cancelled when the client leaves before its response has started."""

    __slots__ = ("app",)

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The watch for a disconnect and the reader of the body must share the channel that owns `receive`.
        request: Request[Any] = Request(scope, receive, send)
        watch = CancelOnDisconnect(listen(request))
        with watch:
            # The start of the response ends the watch: sending it is not cancelled.
            await self.app(scope, request.receive, SendHook(send, watch.stop))


def check_cancellable(endpoint: Any, location: str, setting: str = "cancel_on_disconnect") -> None:
    """Refuse a ``def`` function as an endpoint with a setting that cancels it.

    Raises:
        TypeError: The endpoint is a ``def`` function. The error begins with ``location``.
    """
    if not is_async_callable(endpoint):
        raise TypeError(
            f"{location}: {setting} needs an `async def` endpoint. A `def` endpoint runs in a "
            "thread, which can't be cancelled."
        )
