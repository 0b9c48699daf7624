"""One middleware of the application's own."""

import secrets
import time

from spica.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from spica.requests import Request
from spica.responses import Response


class RequestLabel(BaseHTTPMiddleware):
    """Give each request a label, and tell the client how long its answer took to begin."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        begin = time.perf_counter()
        request.state.label = secrets.token_hex(4)
        response = await call_next(request)
        milliseconds = (time.perf_counter() - begin) * 1000
        response.headers["x-request-id"] = request.state.label
        response.headers["server-timing"] = f"app;dur={milliseconds:.1f}"
        return response
