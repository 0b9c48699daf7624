"""Answer GET and HEAD with a 304 if the client has the response already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica.caching import conditional
from spica.layers import Answer, Layer, as_response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp


class ConditionalMiddleware(Layer):
    """Give responses an entity tag, and answer with 304 or 412 what the conditions of a GET or HEAD ask for.

    The endpoint runs all the same: this saves the transfer, not the work. A response with an ETag or
    Last-Modified keeps it. Others get a weak tag from their body, unless they are streams, or have
    ``Cache-Control: no-store``.

    Args:
        app: the inner app.
        max_body_size: the largest body in bytes from which a tag is made. The default is 1 MiB.

    Raises:
        ValueError: ``max_body_size`` is negative.
    """

    def __init__(self, app: ASGIApp, *, max_body_size: int = 1024 * 1024) -> None:
        super().__init__(app)
        if max_body_size < 0:
            raise ValueError(
                f"ConditionalMiddleware: max_body_size must be 0 or more bytes, not {max_body_size!r}."
            )
        self.max_body_size = max_body_size

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the inner response, a 304 or a 412."""
        answer = await self.inner.respond(request)
        if request.method not in ("GET", "HEAD"):
            return answer
        response = await as_response(answer, request)
        return conditional(request, response, max_body_size=self.max_body_size)
