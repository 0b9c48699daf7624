"""Limit the size of request bodies, and the time that clients take for them.

The layers live in ``spica._layers``, below the routes.
"""

from spica._asgi.body import BodyTooLarge
from spica._asgi.deadline import BodyTimeout
from spica._asgi.scope import MAX_BODY_SIZE as MAX_BODY_SIZE_SCOPE_KEY
from spica._layers.body_limit import RequestBodyLimitMiddleware, RequestBodyLimitResponder
from spica._layers.limits import BodyDeadlineMiddleware

__all__ = [
    "MAX_BODY_SIZE_SCOPE_KEY",
    "BodyDeadlineMiddleware",
    "BodyTimeout",
    "BodyTooLarge",
    "RequestBodyLimitMiddleware",
    "RequestBodyLimitResponder",
]
