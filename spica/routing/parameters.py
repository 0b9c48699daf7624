"""Refuse endpoints that are written for the dependency injection of another framework.

spica calls an endpoint with the request. A function such as ``def show(id: int)`` takes one argument as well.
Without this check it would get the request in place of the number, and fail at its first use.
"""

from __future__ import annotations

import builtins
from types import FunctionType, MethodType
from typing import Any

from spica._diagnostics.call_site import describe
from spica.datastructures import UploadFile
from spica.requests import HTTPConnection
from spica.routing.patterns import PARAM_REGEX

_VALUES = frozenset(
    {"str", "int", "float", "bool", "bytes", "list", "dict", "set", "tuple"}
    | {"UUID", "Decimal", "date", "datetime"}
)
_MODEL_MARKS = (
    "__dataclass_fields__",
    "__pydantic_validator__",
    "__struct_fields__",
    "__required_keys__",
)
"""The attributes of dataclasses, pydantic models, msgspec structs and TypedDicts."""


def check_parameters(endpoint: Any, path: str, place: str, conn: str) -> None:
    """Refuse a function whose parameter names or annotations do not fit a connection.

    ``conn`` is "request" or "websocket". Errors begin with ``place``. A function passes where
    only a call can tell.

    Raises:
        TypeError: The first parameter has the name of a path parameter, or the annotation of a value or a
            model, or a default is a parameter of FastAPI.
    """
    function, index = endpoint, 0
    if type(function) is MethodType:
        function, index = function.__func__, 1
    if type(function) is not FunctionType:  # a tracing agent's proxy claims to be a function
        return
    code = function.__code__
    if index >= code.co_argcount:
        return
    name = code.co_varnames[index]
    fix = _fix_of_default(function) or _fix_of_parameter(function, name, path, conn)
    if fix:
        raise TypeError(
            f"{place}: spica calls the endpoint with one argument, the {conn}, but {describe(endpoint)} {fix}"
        )


def _fix_of_default(function: FunctionType) -> str:
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    if not any(type(default).__module__ == "fastapi.params" for default in defaults):
        return ""
    return (
        "has a parameter of FastAPI as a default. spica has no dependency injection: call the function in "
        "the endpoint."
    )


def _fix_of_parameter(function: FunctionType, name: str, path: str, conn: str) -> str:
    annotation = _annotation_of(function, name)
    if _is_connection(annotation):
        return ""
    # A path such as "/logs/{request}" may name a parameter like the connection.
    if name != conn and name in (param for param, _ in PARAM_REGEX.findall(path)):
        return (
            f"takes {name!r}. Name the parameter {conn!r}, and read {conn}.path_params[{name!r}]."
        )
    if annotation is None:
        return ""
    kind = getattr(annotation, "__name__", "")
    if kind in _VALUES:
        values = f"{conn}.path_params[{name!r}] or {conn}.query_params.get({name!r})"
        return f"takes {name!r} of type {kind}. Name the parameter {conn!r}, and read {values}."
    if not isinstance(annotation, type):
        return ""
    if issubclass(annotation, UploadFile):
        value = f"(await {conn}.form())[{name!r}]"
        return f"takes the file {name!r}. Name the parameter {conn!r}, and read {value}."
    if any(hasattr(annotation, mark) for mark in _MODEL_MARKS):
        value = f"`await {conn}.read({kind})`"
        return f"takes {name!r} of type {kind}. Name the parameter {conn!r}, and call {value}."
    return ""


def _is_connection(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, HTTPConnection)


def _annotation_of(function: FunctionType, name: str) -> Any:
    """Return the annotation of a parameter; None if there is none, or only type checkers can evaluate it."""
    try:
        annotation = function.__annotations__[name]
    except Exception:  # PEP 649 evaluates annotations here, and their names may be unknown
        return None
    if not isinstance(annotation, str):
        return annotation
    word = annotation.partition("[")[0].strip()
    return function.__globals__.get(word, getattr(builtins, word, None))
