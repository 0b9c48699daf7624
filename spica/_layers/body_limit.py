"""The layer that limits the size of a request's body.

It is in this package, below the routes, because applications, routers, mounts and routes all have one. Import
it from ``spica.middleware.body_limit``. The ``BodyChannel`` counts the bytes. This layer sets the limit, and
answers if no layer inside has.

Standard: RFC 9110 s.15.5.14 (413 Content Too Large).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from spica._asgi.body import BodyLimit, BodyTooLarge
from spica._asgi.cleanup import cleanup_of
from spica._asgi.scope import BODY_LIMIT, MAX_BODY_SIZE, declared_size
from spica._asgi.sending import StartedSend
from spica._layers.editing import apply_pending_edits
from spica._layers.layer import BaseLayer
from spica.responses.base import Response
from spica.responses.errors import http_exception_response

if TYPE_CHECKING:
    from spica.datastructures.headers import RawHeaders
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send


class RequestBodyLimitMiddleware(BaseLayer):
    """Answer 413 when a request body is larger than ``max_body_size`` bytes.

    A Content-Length over the limit is refused before the body is read. Without one, the bytes are counted
    while they are read. The innermost limit wins, whether it is larger or smaller. None and ``math.inf``
    remove the outer limits.

    Args:
        app: The app inside.
        max_body_size: The limit in bytes.

    Raises:
        ValueError: The limit is negative.
        TypeError: The limit is neither a number of bytes nor None.

    Example:
        ``Middleware(RequestBodyLimitMiddleware, max_body_size=1024 * 1024)``
    """

    def __init__(self, app: ASGIApp, max_body_size: int | float | None) -> None:
        self.app = app
        checked = check_body_size(max_body_size, "RequestBodyLimitMiddleware")
        self.max_body_size = checked if isinstance(checked, int) else None

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer, or a 413 if the body is larger than the innermost limit."""
        scope = request.scope
        outer = scope.get(MAX_BODY_SIZE)
        limit = self._enter(scope)
        try:
            read = request._channel().received
            if self.max_body_size is not None and read > self.max_body_size:
                # A layer outside has read it under a larger limit.
                raise BodyTooLarge(self.max_body_size)
            answer = await self._layer_inner.respond(request)
            if not isinstance(answer, Response):
                return RequestBodyLimitResponder(answer, self)
            if answer.status_code < 400:  # an error may be the refusal itself
                excess = _find_excess(scope, limit)
                if excess is not None:
                    return _replace(answer, request, excess)
        except BodyTooLarge as exc:
            return apply_pending_edits(scope, http_exception_response(scope, exc))
        finally:
            _leave(scope, outer)
        return answer

    def _enter(self, scope: Scope) -> BodyLimit:
        """Publish the limit in the scope, for look-ups and for the body channel."""
        scope[MAX_BODY_SIZE] = self.max_body_size
        limit: BodyLimit = scope.setdefault(BODY_LIMIT, BodyLimit(None))
        limit.max_body_size = self.max_body_size
        return limit


class RequestBodyLimitResponder:
    """Run an opaque app within a limit, and answer 413 if the app does not handle ``BodyTooLarge``."""

    __slots__ = ("app", "layer")

    def __init__(self, app: ASGIApp, layer: RequestBodyLimitMiddleware) -> None:
        self.app = app
        self.layer = layer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app."""
        outer = scope.get(MAX_BODY_SIZE)
        started = _LimitedSend(send, scope, self.layer._enter(scope))
        try:
            await self.app(scope, receive, started)
        except BodyTooLarge as exc:
            if started.has_started:
                raise
            refusal = http_exception_response(scope, exc)
            refusal.raw_headers += started.kept_fields
            await apply_pending_edits(scope, refusal)(scope, receive, send)
        finally:
            _leave(scope, outer)


class _LimitedSend(StartedSend):
    """Refuse to start a response if the Content-Length of the request is over the limit."""

    __slots__ = ("kept_fields", "limit", "scope")

    def __init__(self, send: Send, scope: Scope, limit: BodyLimit) -> None:
        super().__init__(send)
        self.scope = scope
        self.limit = limit
        self.kept_fields: RawHeaders = []  # of the start that was refused

    async def __call__(self, message: Message) -> None:
        """Send ``message``, or raise BodyTooLarge."""
        if message["type"] == "http.response.start" and message["status"] < 400:
            excess = _find_excess(self.scope, self.limit)
            if excess is not None:
                self.kept_fields = _kept_fields(message.get("headers", ()))
                raise excess
        await super().__call__(message)


def _find_excess(scope: Scope, limit: BodyLimit) -> BodyTooLarge | None:
    """Compare Content-Length with the innermost limit, even if no app has read the body."""
    max_body_size = limit.max_body_size
    if max_body_size is not None and declared_size(scope) > max_body_size:
        return BodyTooLarge(max_body_size)
    return None


def _replace(answer: Response, request: Request[Any], excess: BodyTooLarge) -> Response:
    """Return the refusal instead of ``answer``, whose background task still runs."""
    if answer.background is not None:
        cleanup_of(request).add_task(answer.background)
    refusal = http_exception_response(request.scope, excess)
    refusal.raw_headers += _kept_fields(answer.raw_headers)
    return refusal


def _kept_fields(raw_headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Return the fields of an answer that its refusal needs too.

    WHATWG Fetch s.3.2: without the CORS fields, the page sees a network error instead of the status.
    """
    return [
        (name, value)
        for name, value in raw_headers
        if name.startswith(b"access-control-") or name == b"vary"
    ]


def _leave(scope: Scope, outer: int | None) -> None:
    if outer is None:
        scope.pop(MAX_BODY_SIZE, None)
    else:
        scope[MAX_BODY_SIZE] = outer


def check_body_size(max_body_size: int | float | None, location: str) -> int | float | None:
    """Return ``max_body_size`` if it is valid. Errors begin with ``location``."""
    if max_body_size is None or max_body_size == math.inf:
        return max_body_size
    if isinstance(max_body_size, bool) or not isinstance(max_body_size, int):
        raise TypeError(
            f"{location}: max_body_size must be a number of bytes or None (math.inf: no limit), "
            f"not {max_body_size!r}."
        )
    if max_body_size < 0:
        raise ValueError(f"{location}: max_body_size must not be negative, but is {max_body_size}.")
    return max_body_size
