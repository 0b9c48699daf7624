"""Which request's aftermath is to be used, where there are several over one connection.

A dispatch function may pass a Request of its own inward, with another scope or body. What that one leaves
to be done belongs to the request that came in, since its layer is the one that sends. The first dispatch
layer therefore writes the request it got into the scope, from where a copy of the scope carries it on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica._asgi.aftermath import Aftermath
from spica._asgi.scope import REQUEST

if TYPE_CHECKING:
    from spica.requests import Request


def link(request: Request[Any]) -> None:
    """Join ``request`` to the one that came in over this scope; the first one is that one."""
    first = request.scope.setdefault(REQUEST, request)
    request._is_linked = True
    if first is not request:
        if first._aftermath is None:
            first._aftermath = Aftermath()
        request._aftermath = first._aftermath


def unlink(request: Request[Any]) -> None:
    """Take the request out of its own scope again: the two would hold each other in memory."""
    if request.scope.get(REQUEST) is request:
        del request.scope[REQUEST]


def aftermath_of(request: Request[Any]) -> Aftermath:
    """Return the aftermath of ``request``, made if it has none yet."""
    if request._aftermath is None:
        request._aftermath = Aftermath()
    return request._aftermath
