"""Find mistakes that leave routes open: ``default_scopes`` without users, ``requires`` above a route."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

from spica._diagnostics.call_site import UNKNOWN, describe
from spica._diagnostics.middleware_order import AUTHENTICATES, traits_of
from spica.exceptions import warn_configuration

WITHOUT_USERS = (
    "default_scopes needs AuthenticationMiddleware, which the application does not have. Every route that is "
    "not public fails with a 500. Add Middleware(AuthenticationMiddleware, backend=...) to the application."
)
_SILENCE = (
    'If an app around it does that: warnings.filterwarnings("ignore", "default_scopes needs").'
)

_routed: WeakSet[Any] = WeakSet()
"""The endpoints that a decorator such as ``@app.get`` has registered."""


def note_route(endpoint: Any) -> None:
    """Note that a decorator has registered ``endpoint``."""
    try:
        _routed.add(endpoint)
    except TypeError:
        pass  # an object without hash or weak references: `requires` takes functions


def check_unrouted(endpoint: Any) -> None:
    """Refuse to protect an endpoint that is a route already. The route would stay open to everybody.

    Raises:
        TypeError: A decorator such as ``@app.get`` has registered it.
    """
    try:
        is_routed = endpoint in _routed
    except TypeError:
        return
    if is_routed:
        raise TypeError(
            f"{describe(endpoint)} is a route already, and would stay open to everybody. Write "
            "@requires(...) directly above the function, below @app.get('/path') and the like."
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
