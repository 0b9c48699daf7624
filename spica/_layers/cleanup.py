"""Find the cleanup of a request if several requests share one connection.

A dispatch function may pass another Request inward, with another scope or body. The remaining work of that
one belongs to the request that came in, because its layer sends the response. The first dispatch layer
therefore puts the cleanup into the scope, and a copy of the scope carries it along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica._asgi.cleanup import Cleanup, RequestErrors, cleanup_of

if TYPE_CHECKING:
    from spica.requests import Request


def split_errors(request: Request[Any], exc: Exception) -> Exception:
    """Return the error that an answer to ``exc`` is for, and note the others, to be raised at the end.

    A layer may have ended with an error while an app that it had begun failed too. Each is heard of, and the
    layer's own is answered, as it would be alone.
    """
    if not isinstance(exc, RequestErrors):
        return exc
    first, *others = exc.exceptions
    for error in others:
        cleanup_of(request).add_failure(error)
    return first


def own_cleanup(request: Request[Any]) -> Cleanup:
    """Return the cleanup of a request that came in, made if it has none yet.

    For the layer that sends: the scope may by then contain the cleanup of an outer layer.
    """
    if request._cleanup is None:
        request._cleanup = Cleanup()
    return request._cleanup
