"""A shared cache of responses inside the application, as defined by RFC 9111."""

from spica.middleware.cache.invalidation import invalidate
from spica.middleware.cache.layer import ResponseCacheMiddleware

__all__ = ["ResponseCacheMiddleware", "invalidate"]
