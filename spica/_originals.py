"""Detect methods that a subclass has overridden or a tracing agent has patched.

spica takes short cuts around its own methods: a layer is called by value instead of with messages, a route is
looked up in an index instead of by ``matches``. A short cut is only correct while the method that it
replaces is still the one that spica defines. Each class names such methods once, below its definition::

    remember(Route, "matches", "handle")

and whoever takes the short cut asks first::

    is_original(route, "matches", "handle")     # also False if it was assigned on this instance
    is_original(type(route), "matches")         # the class alone
"""

from __future__ import annotations

from typing import Any

_originals: dict[tuple[type, str], Any] = {}
_UNKNOWN = object()


def remember(cls: type, *names: str) -> None:
    """Record the present methods ``names`` of ``cls`` as the original ones, at import."""
    for name in names:
        _originals[cls, name] = getattr(cls, name)


def is_original(owner: Any, *names: str) -> bool:
    """Return whether no code has overridden or patched the methods ``names``.

    The comparison is with the nearest base class that remembers the method. A class without one is
    not ours, and none of its methods is original.

    Args:
        owner: A class, or an instance, which may have a method assigned on it.
        names: Names of methods. For an instance, only of normal methods, not static or class methods.
    """
    if isinstance(owner, type):
        for name in names:  # noqa: SIM110  # `all` with a generator takes twice as long
            if getattr(owner, name, None) is not _find_original(owner, name):
                return False
        return True
    cls = type(owner)
    for name in names:
        method: Any = getattr(owner, name, None)
        if getattr(method, "__func__", None) is not _find_original(cls, name):
            return False
        if method.__self__ is not owner:  # the method of another instance was assigned
            return False
    return True


def _find_original(cls: type, name: str) -> Any:
    for base in cls.__mro__:
        original = _originals.get((base, name))
        if original is not None:
            return original
    return _UNKNOWN
