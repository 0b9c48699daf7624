"""The limits of request headers, for servers that have none.

An application checks each connection before its layers run, so that a flood costs them nothing.

Standard: RFC 6585 s.5 (431 Request Header Fields Too Large).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from spica._layers.exception_handlers import deny
from spica.responses.errors import error_response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Receive, Scope, Send

DEFAULT_MAX_HEADERS = 256
"""Header lines of a request. Browsers send some 25; HTTP/2 may give each of 180 cookies its own line."""

DEFAULT_MAX_HEADER_SIZE = 64 * 1024
"""Bytes of all names and values. This is the limit of uvicorn with h11, and twice that of nginx."""


UNMEASURED_LINES = 64
"""Up to so many lines of a request are measured when they are first read, and not before the layers."""


def describe_excess(
    headers: Sequence[Any], max_headers: int | float, max_header_size: int | float
) -> str | None:
    """Return the reason to refuse these header lines; None if they are within the limits."""
    if len(headers) > max_headers:
        return f"The request has more than {max_headers} header lines."
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
    if size > max_header_size:
        return f"The request headers are larger than {max_header_size} bytes."
    return None


async def refuse_request(scope: Scope, reason: str) -> ASGIApp:
    """Return the answer to a request whose headers are over a limit."""
    return error_response(scope, 431, reason)


class Refusing:
    """Take the place of the outermost layer for a request whose headers are over a limit."""

    __slots__ = ("reason",)

    _layer_serve = None

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def _layer_answer_outermost(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        return refuse_request(request.scope, self.reason)


async def refuse_websocket(scope: Scope, receive: Receive, send: Send, reason: str) -> None:
    """Deny a handshake whose headers are over a limit."""
    await deny(error_response(scope, 431, reason), scope, receive, send)


def check_header_limit(
    limit: int | float | None, default: int, name: str, location: str
) -> int | float:
    """Return ``limit``, or the default for None; errors name ``location``.

    Raises:
        TypeError: The limit is neither a whole number nor ``math.inf``.
        ValueError: The limit is negative.
    """
    if limit is None:
        return default
    if isinstance(limit, bool) or (not isinstance(limit, int) and limit != math.inf):
        raise TypeError(
            f"{location}: {name} must be a whole number, None (the default, {default}) or math.inf (no "
            f"limit), not {limit!r:.80}."
        )
    if limit < 0:
        raise ValueError(f"{location}: {name} must not be negative, but is {limit}.")
    return limit
