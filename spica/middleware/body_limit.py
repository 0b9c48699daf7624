"""Limit the size of request bodies. The layer lives in ``spica._layers.body_limit``, below the routes."""

from spica._asgi.body import BodyTooLarge
from spica._asgi.scope import MAX_BODY_SIZE as MAX_BODY_SIZE_SCOPE_KEY
from spica._layers.body_limit import RequestBodyLimitMiddleware, RequestBodyLimitResponder

__all__ = [
    "MAX_BODY_SIZE_SCOPE_KEY",
    "BodyTooLarge",
    "RequestBodyLimitMiddleware",
    "RequestBodyLimitResponder",
]
