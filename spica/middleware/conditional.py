"""Answer GET and HEAD with a 304 if the client has the response already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica._diagnostics.arguments import check_size
from spica.caching import conditional
from spica.layers import Answer, Layer, as_response
from spica.responses.base import Response
from spica.responses.streaming import StreamingResponse

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp


class ConditionalMiddleware(Layer):
    """Give responses an entity tag, and answer with 304 or 412 what the conditions of a GET or HEAD ask for.

    The endpoint runs all the same: this saves the transfer, not the work. A response with an ETag or
    Last-Modified keeps it. Others get a weak tag from their body, unless they are streams, or have
    ``Cache-Control: no-store``. A response of a foreign app is a stream if it has no Content-Length.

    Args:
        app: the inner app.
        max_body_size: the largest body in bytes from which a tag is made. The default is 1 MiB.

    Raises:
        TypeError: ``max_body_size`` is not a number.
        ValueError: ``max_body_size`` is negative.
    """

    def __init__(self, app: ASGIApp, *, max_body_size: int = 1024 * 1024) -> None:
        super().__init__(app)
        check_size(max_body_size, "ConditionalMiddleware: max_body_size")
        self.max_body_size = max_body_size

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the inner response, a 304 or a 412."""
        if request.method not in ("GET", "HEAD"):
            return await self.inner.respond(request)
        response = await as_response(await self.inner.respond(request), request)
        if self._lacks_tag(request, response):
            response = await _read_body(response)
        return conditional(request, response, max_body_size=self.max_body_size)

    def _lacks_tag(self, request: Request[Any], response: Response) -> bool:
        """Return whether the body must be read to make a tag: that of a foreign app, for example."""
        if request.method != "GET" or response.status_code != 200:
            return False
        if isinstance(response, StreamingResponse):
            return False
        if response._replaced_body is None and isinstance(getattr(response, "body", None), bytes):
            return False
        headers = response.headers
        if "etag" in headers or "last-modified" in headers:
            return False
        length = headers.get("content-length", "")
        return length.isdecimal() and len(length) < 16 and int(length) <= self.max_body_size


async def _read_body(response: Response) -> Response:
    """Return a response whose body is in memory."""
    chunks = [
        chunk.encode(response.charset) if isinstance(chunk, str) else bytes(chunk)
        async for chunk in response.body_iterator
    ]
    whole = Response(b"".join(chunks), response.status_code, background=response.background)
    whole.raw_headers = response.raw_headers
    whole.headers["content-length"] = str(len(whole.body))
    return whole
