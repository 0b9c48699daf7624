"""The JSON codec of requests, responses, WebSockets and sessions (RFC 8259).

`encode` and `decode` behave like ``json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",",
":"))`` and `json.loads`, at the speed of orjson. In addition, `encode` supports dates, times, UUIDs,
decimals, enums, dataclasses and attrs classes without a hook, and `decode` accepts exactly RFC 8259.
docs/decisions/0001-json-codec.md gives the reasons and the figures.
"""

import builtins
import dataclasses
import datetime
import enum
import functools
import inspect
import json
import math
import re
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain
from os import PathLike
from typing import Any, Protocol

import orjson

from spica.exceptions import HTTPException

# orjson passes subclasses and dataclasses to _simplify. By itself, it would ignore the order of an
# OrderedDict, and write a cached property of a dataclass like a field.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS

# The json module of Python 3.15 encodes a frozendict, which is not a dict.
_OBJECT_TYPES = tuple(filter(None, (dict, getattr(builtins, "frozendict", None))))
_JSON_TYPES = (str, int, float, list, tuple, *_OBJECT_TYPES)

# Globals, because an attribute look-up is measurable for small values.
_dumps = orjson.dumps
_loads = orjson.loads


class JSONCodec(Protocol):
    """A codec for JSON: any object or module with these two functions."""

    def encode(self, value: Any, /) -> bytes:
        """Return `value` as JSON in UTF-8.

        Raises:
            TypeError: The value, or a value inside it, has no form in JSON.
            ValueError: A number is NaN or infinite, a string has a lone surrogate, or a value contains
                itself.
        """
        ...

    def decode(self, data: bytes | str, /) -> Any:
        """Return the value of a JSON document.

        Raises:
            json.JSONDecodeError: The document is not JSON.
        """


def encode(value: Any) -> bytes:
    """Return `value` as compact JSON in UTF-8.

    Dates and times become strings in the form of RFC 3339. UUIDs and decimals become strings. An enum
    becomes its value, and a dataclass or attrs instance an object of all its fields.

    Raises:
        TypeError: The value, or a value inside it, has no form in JSON.
        ValueError: A number is NaN or infinite, a string has a lone surrogate (`UnicodeEncodeError`), a
            value contains itself, or the value is nested too deeply (1024 levels always work).

    >>> encode({"on": datetime.date(2026, 11, 28), "ids": (1, 2)})
    b'{"on":"2026-11-28","ids":[1,2]}'
    """
    try:
        data = _dumps(value, _simplify, _OPTIONS)
    except TypeError:
        # The json module also supports integers beyond 64 bits, keys that are not strings, and more than 254
        # levels. For other values it raises the usual error.
        return _encode_slowly(value)
    # orjson writes null for NaN and infinity. CPython searches twice as fast from the end, which matters if
    # there is no null.
    if data.rfind(b"null") >= 0:
        search = _has_non_finite if len(data) < _LARGE_SIZE else _has_non_finite_in_columns
        if search(value):
            return _encode_slowly(value)
    return data


def _encode_slowly(value: Any) -> bytes:
    try:
        return _dump(value).encode()
    except RecursionError:
        return _encode_deep(value)
    except (TypeError, ValueError) as exc:
        _explain(exc, value)
        raise


def _dump(value: Any) -> str:
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_simplify
    )


_recursion_limit_lock = threading.RLock()


def _encode_deep(value: Any) -> bytes:
    """Encode a value for which json has exceeded the recursion limit.

    Python 3.11 counts the levels of json against `sys.getrecursionlimit()`. Raising the limit for a moment
    lets an endpoint send every value that `decode` can return.
    """
    with _recursion_limit_lock:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(limit + MAX_DECODED_LEVELS)
        try:
            return _dump(value).encode()
        except RecursionError:
            raise ValueError(
                "The value is nested too deeply to be encoded as JSON. "
                f"{MAX_DECODED_LEVELS} levels always work."
            ) from None
        finally:
            sys.setrecursionlimit(limit)


def _explain(exc: TypeError | ValueError, value: Any) -> None:
    """Add the path of the bad value, and the fix for a key, to an error of json."""
    message = str(exc)
    if message.startswith("keys must be"):
        message += ". Use `str(key)` as the key."
    path = _path_to_error(value)
    sentence = f"The value is at {path} of what was passed." if path else ""
    if type(exc) in (TypeError, ValueError):
        stop = "" if message[-1:] in ".?" or not sentence else "."
        exc.args = (f"{message}{stop} {sentence}".rstrip(),)
    elif sentence:
        exc.add_note(sentence)


def _path_to_error(value: Any) -> str:
    """Return the path to the first value that has no form in JSON, such as ``['a'][0]``, or ""."""
    pending: list[tuple[str, Any]] = [("", value)]
    seen: dict[int, Any] = {}  # keeps the values alive, so that their ids stay unique
    while pending:
        path, item = pending.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        try:
            if isinstance(item, dict):
                for key in item:
                    _dump({key: None}).encode()
                pending += reversed([(f"{path}[{key!r:.40}]", item[key]) for key in item])
            elif isinstance(item, (list, tuple)):
                pending += reversed([(f"{path}[{index}]", each) for index, each in enumerate(item)])
            elif item is None or isinstance(item, (str, int, float)):
                _dump(item).encode()
            else:
                pending.append((path, _simplify(item)))
        except (TypeError, ValueError):
            return path
    return ""


def _simplify(value: Any) -> Any:
    """Return the value of a basic JSON type that represents `value`.

    Raises:
        TypeError: There is none. The message gives the fix.
    """
    if isinstance(value, _JSON_TYPES):
        return _to_exact_type(value)
    kind: Any = type(value)
    names = _field_names(kind)
    if names is not None:
        return {name: getattr(value, name) for name in names}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime.date, datetime.time)):
        return _format_time(value)
    # If nothing has imported decimal, there are no decimals, and importing it takes a millisecond.
    decimals = sys.modules.get("decimal")
    if isinstance(value, uuid.UUID) or (decimals and isinstance(value, decimals.Decimal)):
        return str(value)
    raise TypeError(f"Object of type {kind.__name__} is not JSON serializable{_suggest_fix(value)}")


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
"""The first match wins. Each fix continues the message "Object of type X is not JSON serializable". No
library is imported: an attribute identifies the library that a value comes from."""

_FIXES_BY_TYPE: list[tuple[Any, str]] = [
    (type, ". Pass an instance instead of the class: are the brackets missing?"),
    (
        (bytes, bytearray, memoryview),
        ". Pass a string: `.decode()` for text, base64 for other bytes.",
    ),
    (datetime.timedelta, ". Pass its `.total_seconds()` instead."),
    (complex, ". Pass its real and imaginary parts instead."),
    (Mapping, ". Pass `dict(value)` instead."),
    (Set, ". Pass `sorted(value)` or `list(value)` instead: a set has no order."),
    (PathLike, ". Pass `str(value)` instead."),
    (BaseException, ". Pass `str(value)` instead."),
    (Iterator, ". Pass `list(value)` instead, or use a StreamingResponse."),
    (Iterable, ". Pass `list(value)` instead."),
]


def _suggest_fix(value: Any) -> str:
    """Return the fix for `value`, as the end of the error message."""
    # Skip classes: they have the attributes of their instances.
    if not isinstance(value, type):
        for attribute, fix in _FIXES_BY_ATTRIBUTE.items():
            if inspect.getattr_static(value, attribute, None) is not None:
                return fix
        if inspect.isroutine(value):
            return ". Pass its return value: are the brackets missing?"
    for kind, fix in _FIXES_BY_TYPE:
        if isinstance(value, kind):
            return fix
    return ". Pass a dict or a string instead, or another type that JSON has."


def _to_exact_type(value: Any) -> Any:
    """Convert an instance of a subclass to its base class, as json does."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return dict(value.items()) if isinstance(value, _OBJECT_TYPES) else list(value)


@functools.lru_cache(maxsize=512)
def _field_names(kind: type) -> tuple[str, ...] | None:
    """Return the field names of a dataclass or attrs class, or None for another class."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    attributes = getattr(kind, "__attrs_attrs__", None)
    return None if attributes is None else tuple(attribute.name for attribute in attributes)


def _format_time(value: datetime.date | datetime.time) -> str:
    """Format a date or time as orjson does."""
    if type(value) is datetime.datetime:
        # RFC 3339 allows no seconds in a UTC offset, but isoformat() writes them before 1900.
        return str(_loads(_dumps(value)))
    return value.isoformat()


_ALWAYS_FINITE = frozenset(
    {str, int, bool, type(None), datetime.datetime, datetime.date, datetime.time, uuid.UUID}
)
_NUMBERS = frozenset({int, float, bool})


def _has_non_finite(value: Any) -> bool:
    """Return whether a value that orjson has encoded contains NaN or an infinity."""
    # Most values are an object. Beginning inside it saves one step.
    pending: list[Iterable[Any]] = [value.values() if type(value) is dict else (value,)]
    for container in pending:  # grows during the iteration
        for item in container:
            kind = type(item)
            if kind in _ALWAYS_FINITE:
                continue
            if kind is float:
                # x - x is zero only for finite numbers
                if item - item != 0.0:
                    return True
            elif kind is dict:
                pending.append(item.values())
            elif kind is list or kind is tuple:
                pending.append(item)
            elif kind is not orjson.Fragment:
                pending.append((_simplify(item),))
    return False


_LARGE_SIZE = 2048
"""Size of the JSON in bytes from which the search by columns is faster."""


def _has_non_finite_in_columns(value: Any) -> bool:
    """Return the same as `_has_non_finite`, in half to three quarters of its time for a large value.

    A column contains the values of one key in a list of objects, or all values of one depth. C code adds up
    a column of numbers, or collects the types in another column, so Python code runs once per type instead
    of once per value.
    """
    pending: list[Sequence[Any]] = [(value,)]
    for column in pending:  # grows during the iteration
        if _are_finite_numbers(column):
            continue
        kinds = set(map(type, column))
        for kind in kinds - _ALWAYS_FINITE:
            items: Sequence[Any] = column
            if len(kinds) > 1:
                items = [item for item in column if type(item) is kind]
            if kind is float:
                if not _are_finite_numbers(items) and not all(map(math.isfinite, items)):
                    return True
                continue
            try:
                pending += _columns_inside(kind, items)
            except ValueError:  # dicts of different sizes, for which columns are slower
                if _has_non_finite(items):
                    return True
    return False


def _are_finite_numbers(column: Sequence[Any]) -> bool:
    """Return whether a column contains nothing but finite numbers, as far as their sum tells.

    If a number is not finite, neither is the sum. The sum of finite numbers can also overflow. Only an object
    whose ``__radd__`` returns a number passes for one.
    """
    if not column or type(column[0]) not in _NUMBERS:
        return False
    try:
        total = sum(column)
    except Exception:  # another type in the column; that of a user may raise anything
        return False
    return type(total) in _NUMBERS and math.isfinite(total)


def _columns_inside(kind: type, items: Sequence[Any]) -> list[Sequence[Any]]:
    """Return the columns inside values of one type.

    Raises:
        ValueError: The values are dicts of different sizes.
    """
    if kind is dict:
        values = map(dict.values, items)
        if len(items) > len(items[0]):
            return list(zip(*values, strict=True))
        return [list(chain.from_iterable(values))]
    if kind is list or kind is tuple:
        return [list(chain.from_iterable(items))]
    return [] if kind is orjson.Fragment else [[_simplify(item) for item in items]]


MAX_DECODED_LEVELS = 1024
"""Maximum nesting of arrays and objects that `decode` accepts. This is the limit of orjson."""


def _class_of_byte(code: int) -> int:
    """Return "0" for a digit, " " for a byte that can precede a number, and "." for any other byte."""
    if chr(code) in "0123456789":
        return 0x30
    # White space, punctuation, a minus sign, or the last byte of a byte order mark can precede a number.
    return 0x20 if chr(code) in " \t\r\n[:,-\xbf" else 0x2E


_BYTE_CLASSES = bytes(map(_class_of_byte, range(256)))
_LONG_NUMBER = b" " + b"0" * 19

_NUMBER_OF_19_DIGITS = re.compile(rb"[ \t\r\n\[:,\xbf](-?[0-9]{19,21})")

# The digits of a long integer after the 19th. Digits of a fraction or exponent do not match.
_DIGITS_TO_BLANK = re.compile(rb"(?<![0-9.eE+-])(-?[0-9]{19})([0-9]++)(?![.eE])")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_MAX_EXPLAINED_SIZE = 1024 * 1024
"""Largest document in bytes that json parses again for its error message, after orjson has rejected it."""


def decode(data: bytes | str) -> Any:
    """Return the value of a JSON document, given as a string or in UTF-8.

    The function follows RFC 8259, so it is stricter than `json.loads`: NaN and Infinity are errors. It also
    rejects documents that could not be encoded again: numbers beyond the range of floats, escaped lone
    surrogates, and more than 1024 levels. An integer may have as many digits as the interpreter supports
    (4300 by default). The last one of several equal names wins. A byte order mark at the start of bytes is
    ignored (RFC 8259 s.8.1).

    Raises:
        json.JSONDecodeError: `data` is not such a document, or not UTF-8. The error gives the position.
        TypeError: `data` is neither bytes nor a string.

    >>> decode(b'{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    """
    raw = data if type(data) is bytes else _to_bytes(data)
    try:
        if (
            len(raw) < len(_LONG_NUMBER)
            or (raw.translate(_BYTE_CLASSES).rfind(_LONG_NUMBER) < 0 and not raw[:19].isdigit())
            or not _has_long_integer(raw)
        ):
            return _loads(raw)
        return _decode_long_integers(raw)
    except orjson.JSONDecodeError as exc:
        # Do not keep the exception: it would keep this frame, and so the document, alive in a cycle.
        message, position = exc.msg, exc.pos
    return _decode_refused(data, raw, message, position)


def _has_long_integer(raw: bytes) -> bool:
    """Return whether a document may contain an integer beyond 64 bits, which orjson reads as a float."""
    return any(
        not -(2**63) <= int(found[1]) < 2**64 for found in _NUMBER_OF_19_DIGITS.finditer(b" " + raw)
    )


def _decode_long_integers(raw: bytes) -> Any:
    """Decode a document with integers beyond 64 bits, which only json reads exactly.

    Raises:
        orjson.JSONDecodeError: orjson rejects the document even with shorter integers.
        json.JSONDecodeError: An integer has too many digits, or the document is nested too deeply.
    """
    raw = raw.removeprefix(_BYTE_ORDER_MARK)
    # Replacing the digits by blanks keeps the position of every other byte, for error messages.
    _loads(_DIGITS_TO_BLANK.sub(_blank_digits, raw))
    text = raw.decode()
    try:
        return json.loads(text)
    except RecursionError:
        raise json.JSONDecodeError("Nested too deeply", text, 0) from None
    except ValueError:
        position = _position_of_long_integer(text)
        raise json.JSONDecodeError("Number with too many digits", text, position) from None


def _blank_digits(found: re.Match[bytes]) -> bytes:
    return found[1] + b" " * len(found[2])


def _position_of_long_integer(text: str) -> int:
    """Return the position of the first integer with more digits than the interpreter supports."""
    digits = sys.get_int_max_str_digits() + 1
    found = re.search(rf"(?<![0-9.eE+-])-?[0-9]{{{digits}}}", text)
    return found.start() if found else 0


def _decode_refused(data: bytes | str, raw: bytes, message: str, position: int) -> Any:
    """Raise the error of json for a document that orjson rejects, or else the error of orjson.

    orjson also rejects a byte order mark. In that case, return the value of the rest of the document.

    Raises:
        json.JSONDecodeError: The mark is not the only problem.
    """
    if not isinstance(data, str) and raw.startswith(_BYTE_ORDER_MARK):
        raw = raw.removeprefix(_BYTE_ORDER_MARK)
        if not raw.startswith(_BYTE_ORDER_MARK):
            return decode(raw)
    text = _to_text(raw)
    if len(raw) <= _MAX_EXPLAINED_SIZE:
        try:
            json.loads(text)
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError):
            pass  # too many digits or levels
    message = message[:1].upper() + message[1:]
    raise json.JSONDecodeError(message, text, min(position, len(text)))


def _to_bytes(data: Any) -> bytes:
    if isinstance(data, str):
        # A lone surrogate becomes invalid UTF-8, which raises the right error.
        return data.encode("utf-8", "surrogatepass")
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"JSON must be decoded from bytes or str, not {type(data).__name__}.")


def _to_text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        position = len(raw[: error.start].decode())
    raise json.JSONDecodeError("Not UTF-8", raw.decode("utf-8", "replace"), position)


class _DefaultCodec:
    """The codec of this module as an object."""

    encode = staticmethod(encode)
    decode = staticmethod(decode)


default_codec: JSONCodec = _DefaultCodec()
"""The codec of applications that do not set another one."""


class MalformedJSON(json.JSONDecodeError, HTTPException):
    """A request body is not JSON.

    For an endpoint that catches it, it is a `json.JSONDecodeError`. Otherwise it becomes a 400 response
    that gives the position of the error and repeats nothing from the body.
    """

    def __init__(self, msg: str, doc: str, pos: int) -> None:
        json.JSONDecodeError.__init__(self, msg, doc, pos)
        where = f"line {self.lineno} column {self.colno} (char {self.pos})"
        self.status_code = 400
        self.detail = f"Malformed JSON: {self.msg}: {where}"
        self.headers = None

    __str__ = ValueError.__str__  # pyright: ignore[reportAssignmentType]
