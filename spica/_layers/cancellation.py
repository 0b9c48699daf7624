"""The layer that cancels the making of a response when the client leaves.

It stands here, below the routes, because a route has it as a setting. Its public place is
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
    """Cancel what makes the response when the client leaves; what sends it is not cancelled.

    The layers outside see a ClientDisconnect, which is no error and is not logged. There is no answer, and no
    background task of one. A ``def`` endpoint inside runs to its end in its thread, and its answer is one
    like any other. Until there is a response, a foreign app inside is cancelled too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer.

        Raises:
            ClientDisconnect: the client has left meanwhile.
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
        # Who waits for the client's leaving and who reads the body must share the one owner of both.
        request: Request[Any] = Request(scope, receive, send)
        watch = CancelOnDisconnect(listen(request))
        with watch:
            # The start of the response ends the watch: sending it is not cancelled.
            await self.app(scope, request.receive, SendHook(send, watch.stop))


def check_cancellable(endpoint: Any, place: str) -> None:
    """Refuse a plain function as an endpoint that is to be cancelled.

    Raises:
        TypeError: it is one; ``place`` names its route.
    """
    if not is_async_callable(endpoint):
        raise TypeError(
            f"{place}: cancel_on_disconnect needs an `async def` endpoint. A `def` endpoint runs in a "
            "thread, which can't be cancelled."
        )
