"""The fix for a value that has no form in JSON, for the message of the error.

Nothing is imported for it: the libraries that such values come from are recognised by their attributes.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Set
from datetime import timedelta
from os import PathLike
from typing import Any

_FIXES_BY_ATTRIBUTE = {
    "model_dump": '. Pass its `.model_dump(mode="json")` instead.',  # pydantic
    "__pydantic_validator__": ". Pass `pydantic.TypeAdapter(...).dump_python(value, mode='json')` instead.",
    "__struct_fields__": ". Pass `msgspec.to_builtins(value)` instead.",
    "__mapper__": ". Pass a dict of the columns that the client may see.",  # SQLAlchemy
    "_meta": ". Pass a dict of the fields that the client may see.",  # Django, Peewee, Tortoise
    "_mapping": ". Pass `dict(row._mapping)` instead.",  # a row of SQLAlchemy
    "to_dict": ". Pass its `.to_dict()` instead.",  # pandas and others
    "tolist": ". Pass its `.tolist()` instead.",  # NumPy arrays and scalars, array.array
    "raw_headers": ". Return the response itself instead.",
    "__await__": ". Is an `await` missing?",
    "__aiter__": ". Collect the items with `[item async for item in items]`, or use a StreamingResponse.",
}
"""The start of the table wins. Each fix continues the message "Object of type X is not JSON serializable"."""

_FIXES_BY_TYPE: list[tuple[Any, str]] = [
    (type, ". Pass an instance instead of the class: are the brackets missing?"),
    (
        (bytes, bytearray, memoryview),
        ". Pass a string: `.decode()` for text, base64 for other bytes.",
    ),
    (timedelta, ". Pass its `.total_seconds()` instead."),
    (complex, ". Pass its real and imaginary parts instead."),
    (Mapping, ". Pass `dict(value)` instead."),
    (Set, ". Pass `sorted(value)` or `list(value)` instead: a set has no order."),
    (PathLike, ". Pass `str(value)` instead."),
    (BaseException, ". Pass `str(value)` instead."),
    (Iterator, ". Pass `list(value)` instead, or use a StreamingResponse."),
    (Iterable, ". Pass `list(value)` instead."),
]


def suggest_fix(value: Any) -> str:
    """Return how to continue the message of the error about `value`, or ""."""
    # A class has the attributes that its instances would have.
    if not isinstance(value, type):
        for attribute, fix in _FIXES_BY_ATTRIBUTE.items():
            if inspect.getattr_static(value, attribute, None) is not None:
                return fix
        if inspect.isroutine(value):
            return ". Pass what it returns: are the brackets missing?"
    for kind, fix in _FIXES_BY_TYPE:
        if isinstance(value, kind):
            return fix
    return ". Pass a dict or a string instead, or another type that JSON has."
