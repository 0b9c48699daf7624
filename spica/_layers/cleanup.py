"""Find the cleanup of a request if several requests share one connection.

A dispatch function may pass another Request inward, with another scope or body. The cleanup of that Request
belongs to the original one, whose layer sends the response. The first dispatch layer therefore puts the
cleanup into the scope, and a copy of the scope contains it too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from spica._asgi.cleanup import Cleanup, RequestErrors, cleanup_of, nearest_cleanup

if TYPE_CHECKING:
    from spica.requests import Request


def split_errors(request: Request[Any], exc: Exception) -> Exception:
    """Return the error that the response answers. Record the others, which are raised at the end.

    A layer and an app that it has started may both fail. The response answers the error of the layer, and the
    server's log gets both.
    """
    if not isinstance(exc, RequestErrors):
        return exc
    first, *others = exc.exceptions
    for error in others:
        cleanup_of(request).add_failure(error)
    return first


def own_cleanup(request: Request[Any]) -> Cleanup:
    """Return the cleanup of the original request, and create it if there is none.

    The layer that sends calls this. The scope may by then contain the cleanup of an outer layer.
    """
    if request._cleanup is None:
        request._cleanup = Cleanup()
    return request._cleanup


def call_at_end(request: Request[Any], function: Callable[[], Awaitable[None]]) -> None:
    """Call an async function when the request is over, also if it was cancelled.

    The response has been sent then, and its background tasks have run. The function must not raise.
    """
    nearest_cleanup(request).add_closer(function)
