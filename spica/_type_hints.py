"""Resolve the annotations of a model: forward references, type variables and ``Self``.

Non-goal: checking values. See ``spica.reading``.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints, is_typeddict

_Arguments = dict[Any, Any]


def resolve_hints(model: Any) -> dict[str, Any]:
    """Return the types of the fields of a class, by their names. ``Page[int]`` has no type variables left.

    Raises:
        TypeError: An annotation names something that does not exist in the module of the class.
    """
    origin = get_origin(model) or model
    if not isinstance(origin, type):
        return {}
    try:
        hints = get_type_hints(origin)
    except NameError as error:
        raise TypeError(
            f"{origin.__qualname__}: {error}. Import it where the module runs, not only for type checkers. "
            "Define a model at the top of a module, not in a function."
        ) from error
    if not any(map(_is_open, hints.values())):
        return hints
    arguments = _arguments_of(model)
    return {
        name: _substitute(hint, _scope_of(origin, name, arguments) | {typing.Self: model})
        for name, hint in hints.items()
    }


def _is_open(hint: Any) -> bool:
    """Return whether a type has a type variable or ``Self`` in it."""
    return isinstance(hint, TypeVar) or hint is typing.Self or any(map(_is_open, get_args(hint)))


def _arguments_of(model: Any) -> dict[Any, _Arguments]:
    """Return the values of the type variables of a class and its bases, the class first.

    Several classes may use one variable for different types.
    """
    origin = get_origin(model) or model
    own = dict(zip(getattr(origin, "__parameters__", ()), get_args(model), strict=False))
    found = {origin: own}
    for base in vars(origin).get("__orig_bases__", getattr(origin, "__bases__", ())):
        if isinstance(get_origin(base) or base, type):
            found |= _arguments_of(_substitute(base, own))
    return found


def _scope_of(model: type, name: str, arguments: Mapping[Any, _Arguments]) -> _Arguments:
    """Return the values of the type variables in the class that has declared the field ``name``."""
    owners = [each for each in arguments if name in getattr(each, "__annotations__", ())]
    # A TypedDict repeats the fields of its bases, and can't declare them with another type.
    owner = owners[-1] if is_typeddict(model) else next(iter(owners), model)
    return arguments.get(owner, {})


def _substitute(hint: Any, values: _Arguments) -> Any:
    """Return a type with values for its type variables: those given, or else their bounds."""
    if isinstance(hint, TypeVar) or hint is typing.Self:
        return values[hint] if hint in values else _bound_of(hint)
    arguments = get_args(hint)
    new = tuple(_substitute(each, values) for each in arguments)
    if new == arguments:
        return hint
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[new]  # noqa: UP007 - of a tuple
    if origin is typing.Annotated:
        return typing.Annotated[(new[0], *hint.__metadata__)]
    return origin[new] if isinstance(hint, types.GenericAlias) else hint.copy_with(new)


def _bound_of(variable: Any) -> Any:
    """Return the type of a variable without a value, as type checkers do."""
    has_default = getattr(variable, "has_default", None)  # Python 3.13, or typing_extensions
    if has_default is not None and has_default():
        return variable.__default__
    constraints = getattr(variable, "__constraints__", ())
    if constraints:
        return typing.Union[constraints]  # noqa: UP007
    return getattr(variable, "__bound__", None) or Any


def find_constraint(hint: Any) -> Any:
    """Return a constraint of pydantic, msgspec or annotated-types in an ``Annotated`` type, or None."""
    for each in getattr(hint, "__metadata__", ()):
        library = type(each).__module__.partition(".")[0]
        if library == "annotated_types" and not hasattr(each, "documentation"):
            return each
        if library == "pydantic" and getattr(each, "metadata", True):
            return each
        if library == "msgspec" and any(getattr(each, name, None) is not None for name in _LIMITS):
            return each
    return next(filter(None, map(find_constraint, get_args(hint))), None)


_LIMITS = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")
