"""Sessions in a signed cookie."""

from spica.middleware.sessions.layer import Session, SessionMiddleware

__all__ = ["Session", "SessionMiddleware"]
