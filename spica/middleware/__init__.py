"""Layers that stand around an application. This package only re-exports the recipe.

Each middleware has a module of its own: ``from spica.middleware.cors import CORSMiddleware``.
"""

from spica._asgi.stack import Middleware

__all__ = ["Middleware"]
