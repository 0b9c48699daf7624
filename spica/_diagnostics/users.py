"""Find ``default_scopes`` in an application whose layers do not identify users."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spica._diagnostics.call_site import UNKNOWN
from spica._diagnostics.middleware_order import AUTHENTICATES, traits_of
from spica.exceptions import warn_configuration

WITHOUT_USERS = (
    "default_scopes needs AuthenticationMiddleware, which the application does not have. Every route that is "
    "not public fails with a 500. Add Middleware(AuthenticationMiddleware, backend=...) to the application."
)
_SILENCE = (
    'If an app around it does that: warnings.filterwarnings("ignore", "default_scopes needs").'
)


def authenticates(recipes: Iterable[Any]) -> bool:
    """Return whether one of these layers identifies users."""
    return any(AUTHENTICATES in traits_of(recipe.cls) for recipe in recipes)


def may_authenticate(recipes: Iterable[Any]) -> bool:
    """Return whether one of these layers is of another package, and so may set ``request.auth``."""
    modules = [str(getattr(recipe.cls, "__module__", "")) for recipe in recipes]
    return any(module.partition(".")[0] != "spica" for module in modules)


def check_users(recipes: Iterable[Any]) -> None:
    """Show a warning unless one of the layers of an application may identify users."""
    layers = list(recipes)
    if not authenticates(layers) and not may_authenticate(layers):
        warn_configuration(f"{WITHOUT_USERS} {_SILENCE}", UNKNOWN)
