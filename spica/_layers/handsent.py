"""Find functions that send their response themselves, by ``request._send`` or ``self.send``.

Such a function returns no response that layers could pass as a value. So spica runs it as an app, and every
layer sees its messages. The search examines each function once, before the first request: its code, and the
code of the functions that it can reach by name in its own package. If the search misses a function, spica
remembers the function when it starts a response, and runs it as an app from then on.

The search reads only names, so it may also find functions that send nothing. These are only slower.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import WeakSet

from spica._asgi.sending import HandSend
from spica._diagnostics.call_site import unwrap_partial
from spica._layers.layer import resolve_respond

BY_REQUEST = frozenset(("_send",))
BY_ENDPOINT = frozenset(("_send", "send"))
"""Names that such code uses. ``send`` counts only in a class endpoint, whose ``self`` has it."""

MAX_FUNCTIONS = 64
"""Limit of functions to read for one endpoint. ``remember_sender`` finds senders in the rest at run time."""

_known: WeakSet[Any] | None = None
"""The functions that ``remember_sender`` was given. None before the first, since a WeakSet counts slowly."""


def sends_by_hand(function: Any, names: frozenset[str] = BY_REQUEST) -> bool:
    """Return whether ``function``, or a function that it reaches, uses one of ``names``."""
    if is_known_sender(function):
        return True
    package = _package_of(function)
    owner = _owner_of(function)
    seen: set[int] = set()
    waiting = [*_functions_of(function)]
    while waiting and len(seen) < MAX_FUNCTIONS:
        each = waiting.pop()
        if id(each.__code__) in seen:
            continue
        seen.add(id(each.__code__))
        used = set(_names_in(each.__code__))
        if not names.isdisjoint(used):
            return True
        waiting += _reached_from(each, used, package)
        if owner is not None:
            waiting += _named_in(owner, used)
    return False


def _owner_of(function: Any) -> Any:
    """Return the object whose methods ``function`` may call: its ``self``, or a callable."""
    function = unwrap_partial(function)
    if isinstance(function, MethodType):
        return function.__self__
    return None if isinstance(function, (FunctionType, type)) else function


def remember_endpoint(request: Any) -> None:
    """Remember the endpoint that has started the response to ``request``, for later requests."""
    scope = request.scope
    endpoint = scope.get("endpoint")
    if endpoint is not None and not is_known_sender(endpoint):
        remember_sender(endpoint)
        route = scope.get("route")
        app = getattr(route, "app", None)
        if app is not None and hasattr(route, "_route_respond"):
            route._route_respond = resolve_respond(app)


HandSend.on_start = remember_endpoint


def is_known_sender(function: Any) -> bool:
    """Return whether ``function`` is one that ``remember_sender`` was given."""
    return _known is not None and _key_of(function) in _known


def remember_sender(function: Any) -> None:
    """Remember that ``function`` sends its response itself."""
    global _known
    if _known is None:
        _known = WeakSet()
    try:
        _known.add(_key_of(function))
    except TypeError:
        pass  # no weak reference is possible: spica finds each of its responses again


def _key_of(function: Any) -> Any:
    """Return an object that persists. Each attribute access creates a new bound method."""
    function = getattr(function, "__func__", function)
    hashable = type(function).__hash__ is not None
    return function if hashable else type(function)


def _package_of(function: Any) -> str:
    module: str = getattr(unwrap_partial(function), "__module__", None) or ""
    return module.partition(".")[0]


def _functions_of(value: Any) -> Iterator[FunctionType]:
    """Yield the functions that a call of ``value`` runs, also inside partials, wrappers and classes."""
    for _ in range(MAX_FUNCTIONS):
        if not isinstance(value, (partial, MethodType)):
            break
        value = value.func if isinstance(value, partial) else value.__func__
    if isinstance(value, FunctionType):
        yield value
        wrapped = getattr(value, "__wrapped__", None)
        if isinstance(wrapped, FunctionType):
            yield wrapped
    elif isinstance(value, type):
        yield from _methods_of(value)
    elif not isinstance(value, ModuleType):
        yield from _functions_of_instance(value)


def _functions_of_instance(value: Any) -> Iterator[FunctionType]:
    call = getattr(type(value), "__call__", None)  # noqa: B004  # the function, not whether there is one
    if isinstance(call, FunctionType) and call.__module__.partition(".")[0] not in _FOREIGN:
        yield call


def _methods_of(cls: type) -> Iterator[FunctionType]:
    """Yield the methods of a user's class, including inherited ones."""
    for each in cls.__mro__:
        if each.__module__.partition(".")[0] not in _FOREIGN:
            yield from filter(_is_function, vars(each).values())


def _is_function(value: Any) -> bool:
    return isinstance(value, FunctionType)


def _names_in(code: CodeType) -> Iterator[str]:
    """Yield the names that a function uses, also in nested functions and comprehensions."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)
        elif constant == "_send":  # getattr(request, "_send")
            yield constant


def _reached_from(function: FunctionType, used: set[str], package: str) -> Iterator[FunctionType]:
    """Yield the functions that ``function`` may call: from its closure, and by name in its package."""
    for cell in function.__closure__ or ():
        try:
            yield from _named_in(cell.cell_contents, used)
        except ValueError:
            pass  # the cell is still empty
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield from _named_in(default, used)
    for name in used.intersection(function.__globals__):
        value = function.__globals__[name]
        if _package_of_value(value) == package:
            yield from _named_in(value, used)


def _package_of_value(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__.partition(".")[0]
    if not hasattr(value, "__module__"):
        value = type(value)
    return _package_of(value)


def _named_in(value: Any, used: set[str]) -> Iterator[FunctionType]:
    """Yield ``value`` if it is a function, else those of its attributes whose names are in ``used``."""
    yield from _functions_of(value)
    if isinstance(value, (FunctionType, MethodType, partial)):
        return
    if isinstance(value, ModuleType):
        owners: tuple[Any, ...] = (value,)
    else:
        owners = value.__mro__ if isinstance(value, type) else type(value).__mro__
    for owner in owners:
        if getattr(owner, "__module__", "").partition(".")[0] not in _FOREIGN:
            members = vars(owner)
            for name in used.intersection(members):
                yield from _functions_of(members[name])


_FOREIGN = frozenset(("spica", "builtins", *sys.stdlib_module_names))
"""Packages whose classes the search skips, because they send nothing by hand."""
