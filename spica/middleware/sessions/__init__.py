"""Sessions in a signed cookie, or in a store."""

from spica.datastructures.session import Session
from spica.middleware.sessions.admin import SessionInfo, Sessions
from spica.middleware.sessions.layer import SessionMiddleware

__all__ = ["Session", "SessionInfo", "SessionMiddleware", "Sessions"]
