"""The JSON codec: one way to read and write JSON for requests, responses, WebSockets and sessions.

What can be seen is what the standard library does with
``json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))`` and `json.loads`,
at the speed of orjson. Beyond it, dates, times, UUIDs, decimals, enums, dataclasses and attrs
classes are written without a hook. What is read is RFC 8259 and nothing else.
docs/decisions/0001-json-codec.md tells why, with the figures.
"""

import dataclasses
import datetime
import enum
import functools
import inspect
import json
import re
import sys
import uuid
from collections.abc import Iterable
from typing import Any, Protocol

import orjson

from spica.exceptions import HTTPException

# Subclasses and dataclasses come to _simplify: orjson would follow the memory of an OrderedDict and
# not its order, and would write a cached property of a dataclass as if it were a field.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS

# Looked up as globals and not as attributes: these two are most of the cost of a small value.
_dumps = orjson.dumps
_loads = orjson.loads


class JSONCodec(Protocol):
    """A pair of functions that write and read JSON; any object or module that has both will do."""

    def encode(self, value: Any, /) -> bytes:
        """Return `value` as JSON in UTF-8.

        Raises:
            TypeError: the value, or one inside it, is of a type that JSON has no form for.
            ValueError: a number is NaN or infinite, text has a lone surrogate, or a value
                contains itself.
        """

    def decode(self, data: bytes | str, /) -> Any:
        """Return the value of a JSON text.

        Raises:
            json.JSONDecodeError: the text is not JSON.
        """


def encode(value: Any) -> bytes:
    """Return `value` as compact JSON in UTF-8.

    Dates and times are written in the form of RFC 3339, UUIDs and decimals as strings, an enum as
    its value, a dataclass or attrs instance as an object of all its fields.

    Raises:
        TypeError: the value, or one inside it, is of a type that JSON has no form for.
        ValueError: a number is NaN or infinite, text has a lone surrogate (`UnicodeEncodeError`),
            or a value contains itself.
    """
    try:
        data = _dumps(value, _simplify, _OPTIONS)
    except TypeError:
        # Integers over 64 bits, keys that are no strings, more than 254 levels; or an error, which
        # then has the text that json gives it.
        return _encode_slowly(value)
    # orjson writes null for NaN and infinity. Where there is none, CPython searches twice as fast from
    # the end.
    if data.rfind(b"null") >= 0 and _has_non_finite(value):
        return _encode_slowly(value)
    return data


def _encode_slowly(value: Any) -> bytes:
    try:
        return _dump(value).encode()
    except RecursionError:
        # What could be read can be written: orjson reads 1024 levels, on every Python.
        return _encode_deep(value)
    except (TypeError, ValueError) as exc:
        place = _place_of_error(value)
        if place:
            exc.add_note(f"It stands at {place} of what was to be written as JSON.")
        raise


def _place_of_error(value: Any) -> str:
    """Return where the first value without a form in JSON stands, as in ``['a'][0]``, or nothing."""
    pending: list[tuple[str, Any]] = [("", value)]
    seen: dict[int, Any] = {}  # the values themselves, so that no other gets their id
    while pending:
        place, item = pending.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        if isinstance(item, (dict, list, tuple)):
            items = item.items() if isinstance(item, dict) else enumerate(item)
            pending += reversed([(f"{place}[{key!r:.40}]", each) for key, each in items])
            continue
        try:
            if item is None or isinstance(item, (str, int, float)):
                _dump(item).encode()
            else:
                pending.append((place, _simplify(item)))
        except (TypeError, ValueError):
            return place
    return ""


def _dump(value: Any) -> str:
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_simplify
    )


def _encode_deep(value: Any) -> bytes:
    """Encode a value that is nested deeper than the interpreter's limit, without recursion."""
    written: list[str] = []
    pending: list[Any] = [value]
    open_ids: set[int] = set()  # of what the current value is inside of
    while pending:
        item = pending.pop()
        if type(item) is _Text:
            written.append(item)
        elif type(item) is _End:
            open_ids.discard(id(item.value))
        elif item is None or isinstance(item, (str, int, float)):
            written.append(_dump(item))
        else:
            if id(item) in open_ids:
                raise ValueError("Circular reference detected")
            open_ids.add(id(item))
            pending.append(_End(item))
            pending.extend(reversed(_take_apart(item)))
    return "".join(written).encode()


class _Text(str):
    """A piece of the JSON text."""


class _End:
    """The end of a value, which it keeps until then, so that no other has its id."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _take_apart(value: Any) -> list[Any]:
    """Return the pieces and values that make up a value that is not simple."""
    pieces: list[Any] = []
    if isinstance(value, dict):
        for key, item in value.items():
            name = _dump({key: None})[1 : -len(":null}")]
            pieces += [_Text("," if pieces else "{"), _Text(name + ":"), item]
        return [*(pieces or [_Text("{")]), _Text("}")]
    if isinstance(value, (list, tuple)):
        for item in value:
            pieces += [_Text("," if pieces else "["), item]
        return [*(pieces or [_Text("[")]), _Text("]")]
    return [_simplify(value)]


def _simplify(value: Any) -> Any:
    """Return a value of JSON's own types that stands for one of another type."""
    if isinstance(value, (str, int, float, dict, list, tuple)):
        return _to_exact_type(value)
    kind: Any = type(value)
    names = _field_names(kind)
    if names is not None:
        return {name: getattr(value, name) for name in names}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime.date, datetime.time)):
        return _format_time(value)
    # There are no decimals where nobody has imported their module, and it costs a millisecond.
    decimals = sys.modules.get("decimal")
    if isinstance(value, uuid.UUID) or (decimals and isinstance(value, decimals.Decimal)):
        return str(value)
    hint = ". Is an `await` missing?" if inspect.iscoroutine(value) else ""
    raise TypeError(f"Object of type {kind.__name__} is not JSON serializable{hint}")


def _to_exact_type(value: Any) -> Any:
    """Return an instance of a subclass as what json takes it for: its base."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return dict(value.items()) if isinstance(value, dict) else list(value)


@functools.lru_cache(maxsize=512)
def _field_names(kind: type) -> tuple[str, ...] | None:
    """Return the names of the fields of a dataclass or attrs class, None for another class."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    attributes = getattr(kind, "__attrs_attrs__", None)
    return None if attributes is None else tuple(attribute.name for attribute in attributes)


def _format_time(value: datetime.date | datetime.time) -> str:
    """Write a date or time as the fast way does it, so that both ways agree."""
    if type(value) is datetime.datetime:
        # RFC 3339 has no seconds in the offset of a time zone; isoformat() has them before 1900.
        return str(_loads(_dumps(value)))
    return value.isoformat()


_ALWAYS_FINITE = frozenset(
    {str, int, bool, type(None), datetime.datetime, datetime.date, datetime.time, uuid.UUID}
)


def _has_non_finite(value: Any) -> bool:
    """Tell whether a value that could be written has NaN or an infinity anywhere inside."""
    pending: list[Iterable[Any]] = [(value,)]
    for container in pending:  # which grows while it is walked
        for item in container:
            kind = type(item)
            if kind in _ALWAYS_FINITE:
                continue
            if kind is float:
                # x - x is zero for finite numbers only
                if item - item != 0.0:
                    return True
            elif kind is dict:
                pending.append(item.values())
            elif kind is list or kind is tuple:
                pending.append(item)
            else:
                pending.append((_simplify(item),))
    return False


# For finding long numbers: digits and minus signs become "0", all else a blank.
_DIGITS = bytes(0x30 if chr(code) in "-0123456789" else 0x20 for code in range(256))
_LONG_NUMBER = b"0" * 20
_BEYOND_19_DIGITS = re.compile(rb"([0-9]{19})[0-9]++")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def decode(data: bytes | str) -> Any:
    """Return the value of a JSON text, given as str or as UTF-8.

    Stricter than `json.loads` where RFC 8259 is: NaN and Infinity are no values. What could not be
    written again is refused as well: numbers beyond the floats, escapes of lone surrogates, more
    than 1024 levels. Integers may have as many digits as the interpreter reads (4300 by default).
    Of equal names the last counts. A byte order mark is passed over.

    Raises:
        json.JSONDecodeError: the text is not such JSON, or is not UTF-8.
        TypeError: `data` is neither bytes nor str.
    """
    try:
        value = _loads(data)
    except ValueError:
        return _decode_slowly(data, is_refused=True)
    if len(data) < len(_LONG_NUMBER):
        return value
    # orjson reads integers over 64 bits as floats. They have 20 digits, or 19 and a sign.
    raw = data if isinstance(data, bytes) else _to_bytes(data)
    if raw.translate(_DIGITS).find(_LONG_NUMBER) < 0:
        return value
    return _decode_slowly(raw, is_refused=False)


def _decode_slowly(data: Any, *, is_refused: bool) -> Any:
    """Decode with the standard library, for the sake of its long numbers and of its errors.

    Raises:
        json.JSONDecodeError: it is refused here too, or was before for more than long numbers.
    """
    text = _to_text(data)
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("Nested too deeply", text, 0) from None
    except ValueError:
        raise json.JSONDecodeError("Number with too many digits", text, 0) from None
    if is_refused:
        # Cut the long numbers to 19 digits: what is refused still was not refused for them.
        try:
            _loads(_BEYOND_19_DIGITS.sub(rb"\1", text.encode()))
        except json.JSONDecodeError as error:
            raise json.JSONDecodeError(error.msg, text, min(error.pos, len(text))) from None
    return value


def _to_bytes(data: Any) -> bytes:
    if isinstance(data, str):
        # A lone surrogate is then reported as what is not UTF-8.
        return data.encode("utf-8", "surrogatepass")
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"JSON must be decoded from bytes or str, not {type(data).__name__}.")


def _to_text(data: Any) -> str:
    raw = _to_bytes(data)
    if not isinstance(data, str):
        raw = raw.removeprefix(_BYTE_ORDER_MARK)  # RFC 8259 s.8.1
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        text = raw.decode("utf-8", "replace")
        raise json.JSONDecodeError("Not UTF-8", text, min(error.start, len(text))) from None


class _DefaultCodec:
    """The codec above as an object, to stand where another one could."""

    encode = staticmethod(encode)
    decode = staticmethod(decode)


default_codec: JSONCodec = _DefaultCodec()
"""What is used where no codec was given."""


class MalformedJSON(json.JSONDecodeError, HTTPException):
    """A request body is not the JSON it should be.

    A JSONDecodeError for an endpoint that catches it; answered with 400 otherwise, which says where the
    error is, and repeats nothing of the body.
    """

    def __init__(self, msg: str, doc: str, pos: int) -> None:
        json.JSONDecodeError.__init__(self, msg, doc, pos)
        where = f"line {self.lineno} column {self.colno} (char {self.pos})"
        self.status_code = 400
        self.detail = f"Malformed JSON: {self.msg}: {where}"
        self.headers = None

    __str__ = ValueError.__str__
