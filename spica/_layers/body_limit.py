"""The layer that limits the size of a request's body.

It stands here, below the routes, because applications, routers, mounts and routes all have one. Its
public place is ``spica.middleware.body_limit``. Bytes are counted by the ``BodyChannel``; this layer says what
the limit is and answers where nobody further in has.

Standard: RFC 9110 s.15.5.14 (413 Content Too Large).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica._asgi.body import BodyTooLarge
from spica._asgi.scope import MAX_BODY_SIZE
from spica._asgi.sending import StartedSend
from spica._layers.responder import Responder
from spica.responses.base import PlainTextResponse, Response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Receive, Scope, Send


class RequestBodyLimitMiddleware(Responder):
    """Answer 413 when a request body is larger than ``max_body_size`` bytes.

    A Content-Length over the limit is refused before the body is read; without one the bytes are counted
    while they are read. The limit that is set furthest in wins, whether larger or smaller; None lifts
    the limits outside.

    Raises:
        ValueError: the limit is negative.
        TypeError: the limit is neither a number of bytes nor None.
    """

    def __init__(self, app: ASGIApp, max_body_size: int | None) -> None:
        self.app = app
        self.max_body_size = check_body_size(max_body_size, "RequestBodyLimitMiddleware")

    async def respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer, or 413 where reading the body raised past everybody."""
        request.scope[MAX_BODY_SIZE] = self.max_body_size
        try:
            answer = await self._ask(request)
        except BodyTooLarge as exc:
            return _too_large(exc)
        if isinstance(answer, Response):
            return answer
        return RequestBodyLimitResponder(answer)


class RequestBodyLimitResponder:
    """Run an opaque app and answer 413 if it lets the error about its body pass."""

    __slots__ = ("app",)

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app."""
        started = StartedSend(send)
        try:
            await self.app(scope, receive, started)
        except BodyTooLarge as exc:
            if started.has_started:
                raise
            await _too_large(exc)(scope, receive, send)


def _too_large(exc: BodyTooLarge) -> Response:
    return PlainTextResponse(exc.detail, status_code=exc.status_code, headers=exc.headers)


def check_body_size(max_body_size: int | None, place: str) -> int | None:
    """Return ``max_body_size`` if it is a limit; errors name ``place``."""
    if max_body_size is None:
        return None
    if isinstance(max_body_size, bool) or not isinstance(max_body_size, int):
        raise TypeError(
            f"{place}: max_body_size must be a number of bytes or None, not {max_body_size!r}."
        )
    if max_body_size < 0:
        raise ValueError(f"{place}: max_body_size must not be negative, but is {max_body_size}.")
    return max_body_size
