"""Read a body, a query or path parameters as a dataclass, TypedDict, msgspec.Struct or pydantic model.

``Request.read``, ``query`` and ``path`` use this module. It is imported when one of them is first called. It
checks dataclasses and TypedDicts by itself; the other models bring their library.

Standards: RFC 9457 (problem details), RFC 6901 (JSON Pointer).
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import (
    Any,
    NotRequired,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from spica._asgi import current_codec as codec
from spica._asgi.body import DEFAULT_MAX_JSON_SIZE, BodyTooLarge
from spica._asgi.scope import BODY_LIMIT
from spica._model_libraries import (
    MAX_ERRORS,
    Malformed,
    Mistakes,
    check_library_model,
    convert,
    decode,
    hints_of,
    is_library_model,
)
from spica._scalars import BOOLEANS, SCALARS, Scalar
from spica._type_hints import find_constraint, resolve_hints
from spica.datastructures import UploadFile
from spica.exceptions import HTTPException
from spica.jsoncodec import MalformedJSON
from spica.responses.base import Response
from spica.responses.problem import ProblemDetailsResponse

__all__ = ["InvalidInput", "prepare", "read_json"]

T = TypeVar("T")

MAX_KINDS = 100
"""How many kinds of a generic model ``prepare`` checks: one may contain ever longer types of itself."""

_ACCEPTED = "application/json, application/x-www-form-urlencoded, multipart/form-data"
_ARRAYS: dict[Any, Any] = {list: list, Sequence: list, set: set, frozenset: frozenset, tuple: tuple}


class InvalidInput(HTTPException):
    """The input does not fit the model. The client gets a 422 with problem details.

    Args:
        place: The part of the request: "body", "form", "query" or "path".
        errors: One dict for each mistake: ``pointer``, a JSON pointer to the value, and ``detail``.
    """

    _names_request = True
    """Whether ``request_id`` is set before the response is made."""

    def __init__(self, place: str, errors: Sequence[Mapping[str, str]]) -> None:
        super().__init__(422, f"The {place} is invalid.")
        self.errors = [dict(error) for error in errors[:MAX_ERRORS]]
        self.request_id: str | None = None
        """The id that ``RequestIdMiddleware`` gave the request. Set before spica calls ``to_response()``."""

    def to_response(self) -> Response:
        """Return the problem details, with the mistakes as ``errors``."""
        extensions: dict[str, Any] = {"errors": self.errors}
        if self.request_id is not None:
            extensions["request_id"] = self.request_id
        return ProblemDetailsResponse(422, self.detail, extensions=extensions)


def prepare(*models: Any) -> None:
    """Check that requests can be read as ``models``. Call it when your module is imported, below the models.

    Without it, the first request that reads such a model finds the mistake, and fails.

    Raises:
        TypeError: A model has a field whose type spica, or the library of the model, can't read.

    Example:
        ``prepare(Star, Page)``
    """
    for model in models:
        _require_type(model)
        try:
            _check_type(model, set())
        except _Unsupported as error:
            raise _unsupported("", error.kind) from None


async def read_body(request: Any, model: Any, max_size: int | float | None) -> Any:
    """Return the body of ``request``, JSON or a form, as a ``model``."""
    _require_type(model)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return read_strings(model, (await request.form()).multi_items(), "form")
    if kind and kind != "application/json" and not kind.endswith("+json"):
        # RFC 9110 s.15.5.16
        raise HTTPException(415, "Send JSON or a form.", headers={"Accept": _ACCEPTED})
    if not is_library_model(model):
        return _finish("body", model, await request.json(max_size=max_size), False)
    body = await request.body(max_size=max_size)
    if max_size is None and len(body) > DEFAULT_MAX_JSON_SIZE and BODY_LIMIT not in request.scope:
        raise BodyTooLarge(DEFAULT_MAX_JSON_SIZE)  # as in Request.json()
    try:
        return _decode_with_library("body", model, body)
    except Malformed:
        await request.json(max_size=max_size)  # raises MalformedJSON
        raise HTTPException(400, "The body is not valid JSON, or is nested too deeply.") from None


def read_json(model: type[T], data: str | bytes, *, place: str = "message") -> T:
    """Return JSON, such as a message of a WebSocket, as a ``model``; see ``Request.read``.

    Args:
        model: A dataclass, TypedDict, ``msgspec.Struct`` or pydantic model, or a list of one.
        data: The JSON. The caller limits its size.
        place: The name of ``data`` in the error.

    Raises:
        InvalidInput: The value does not fit the model. ``errors`` has all mistakes.
        MalformedJSON: ``data`` is not JSON.
        TypeError: The model has a field of a type that can't be read.
    """
    _require_type(model)
    if not isinstance(data, (str, bytes)):
        raise TypeError(
            f"read_json: data must be JSON in a str or bytes, not {data!r:.80} of type "
            f"{type(data).__name__}. The model comes first: read_json(Model, data)."
        )
    result: T
    if is_library_model(model):
        document = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        try:
            result = _decode_with_library(place, model, document)
        except Malformed:
            _decode_json(data)  # its message has the position
            raise MalformedJSON("Invalid, or nested too deeply", "", 0) from None
    else:
        result = _finish(place, model, _decode_json(data), False)
    return result


def _decode_json(data: str | bytes) -> Any:
    try:
        return codec.decode(data)
    except json.JSONDecodeError as error:
        raise MalformedJSON(error.msg, error.doc, error.pos) from None


def _decode_with_library(place: str, model: Any, document: bytes) -> Any:
    try:
        return decode(model, document)
    except Mistakes as error:
        check = _Check(False)
        with contextlib.suppress(_TooMany):
            check.fail_all("", error)
        raise InvalidInput(place, check.errors) from None


def read_strings(model: Any, items: Iterable[tuple[str, Any]], place: str) -> Any:
    """Return names and values as a ``model``. A field for a list takes all values of its name."""
    _require_type(model)
    lists = _list_fields(model)
    values: dict[str, Any] = {}
    for name, value in items:
        if name in lists:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    return _finish(place, model, values, True)


def _finish(place: str, model: Any, value: Any, is_text: bool) -> Any:
    check = _Check(is_text, place == "path")
    result: Any = None
    try:
        result = check.read(model, value, "")
    except _Unsupported as error:
        raise _unsupported("", error.kind) from None
    except _TooMany:
        pass
    except RecursionError:
        raise InvalidInput(place, [{"pointer": "", "detail": "is nested too deeply"}]) from None
    if check.errors:
        raise InvalidInput(place, check.errors)
    return result


class _TooMany(Exception):
    """Internal: a value has more mistakes than a response lists."""


class _Check:
    """Convert a value to a type, and collect the mistakes.

    Args:
        is_text: Whether numbers may be strings.
        is_path: Whether your own convertor may have made the value, which then has any class.
    """

    def __init__(self, is_text: bool, is_path: bool = False) -> None:
        self.is_text = is_text
        self.is_path = is_path
        self.errors: list[dict[str, str]] = []
        self._attempts: dict[tuple[int, int], tuple[Any, Any, _Check, Any]] = {}

    def fail(self, pointer: str, detail: str) -> None:
        """Note a mistake.

        Raises:
            _TooMany: No more are listed, so it is of no use to read the rest, which may be a million values.
        """
        self.errors.append({"pointer": pointer, "detail": detail})
        if len(self.errors) >= MAX_ERRORS:
            raise _TooMany

    def fail_all(self, pointer: str, error: Mistakes) -> None:
        """Note the mistakes that a library has found."""
        for steps, detail in error.found:
            self.fail(pointer + "".join(map(_step, steps)), detail)

    def read(self, kind: Any, value: Any, pointer: str) -> Any:
        """Return ``value`` as a ``kind``. If it is none, note the mistake."""
        origin = get_origin(kind) or kind
        if origin in _READERS:
            return _READERS[origin](self, get_args(kind), value, pointer)
        if origin in SCALARS:
            return self.read_scalar(origin, SCALARS[origin], value, pointer)
        if isinstance(origin, enum.EnumMeta):
            members: Any = origin
            return self.read_choice([(each.value, each) for each in members], value, pointer)
        if is_library_model(origin):
            return self.read_library_model(kind, value, pointer)
        if is_typeddict(origin) or dataclasses.is_dataclass(origin):
            return self.read_object(kind, value, pointer)
        if origin in _ARRAYS:
            return self.read_array(origin, get_args(kind), value, pointer)
        return self.read_instance(origin, value, pointer)

    def read_instance(self, kind: Any, value: Any, pointer: str) -> Any:
        """Return an uploaded file, or the value of a convertor of your own."""
        target = _target_of(kind)
        if target is not None:
            return self.read(target, value, pointer)
        if not _is_class(kind) or not (self.is_path or issubclass(kind, UploadFile)):
            raise _Unsupported(kind)
        is_right = isinstance(value, kind)
        return value if is_right else self.fail(pointer, f"must be a {kind.__name__}")

    def read_any(self, kinds: Sequence[Any], value: Any, pointer: str) -> Any:
        return self.read(kinds[0], value, pointer) if kinds else value

    def read_literal(self, kinds: Sequence[Any], value: Any, pointer: str) -> Any:
        choices = [(each.value if isinstance(each, enum.Enum) else each, each) for each in kinds]
        return self.read_choice(choices, value, pointer)

    def read_union(self, kinds: Sequence[Any], value: Any, pointer: str) -> Any:
        attempts = []
        if not self.is_text and type(value) in _EXACT and type(value) in kinds:
            return value  # also an int for `float | int`, which would lose digits
        for kind in kinds:
            attempt, result = self.attempt(kind, value, pointer)
            if not attempt.errors:
                return result
            if kind is not types.NoneType:
                attempts.append(attempt.errors)
        if len(attempts) != 1:
            details = dict.fromkeys(each[0]["detail"] for each in attempts)
            return self.fail(pointer, " or ".join(details))
        for error in attempts[0]:
            self.fail(**error)

    def attempt(self, kind: Any, value: Any, pointer: str) -> tuple[_Check, Any]:
        """Read a value as one kind of a union.

        An object is read once for each kind. In nested unions, each level would otherwise double the work.
        """
        key = id(kind), id(value)  # the entry keeps both alive
        known = self._attempts.get(key)
        if known is None:
            check = _Check(self.is_text, self.is_path)
            check._attempts = self._attempts
            result = None
            with contextlib.suppress(_TooMany):
                result = check.read(kind, value, pointer)
            known = kind, value, check, result
            if isinstance(value, (Mapping, list)):
                self._attempts[key] = known
        return known[2], known[3]

    def read_choice(self, choices: Sequence[tuple[Any, Any]], value: Any, pointer: str) -> Any:
        for raw, choice in choices:
            if _is_same(raw, value) or (self.is_text and _is_text_of(raw, value)):
                return choice
        return self.fail(pointer, f"must be one of {', '.join(str(raw) for raw, _ in choices)}")

    def read_object(self, kind: Any, value: Any, pointer: str) -> Any:
        if not isinstance(value, Mapping):
            return self.fail(pointer, "must be an object")
        count = len(self.errors)
        model = get_origin(kind) or kind
        members = {}
        for name, (hint, is_required) in _fields_of(kind).items():
            if name in value:
                try:
                    members[name] = self.read(hint, value[name], pointer + _step(name))
                except _Unsupported as error:
                    raise _unsupported(f"{model.__qualname__}.{name}", error.kind) from None
            elif is_required:
                self.fail(pointer + _step(name), "is required")
        if len(self.errors) > count:
            return None
        try:
            return model(**members)
        except ValueError as error:  # from __post_init__
            return self.fail(pointer, str(error) or "is invalid")

    def read_array(self, kind: Any, kinds: Sequence[Any], value: Any, pointer: str) -> Any:
        if not isinstance(value, list):
            return self.fail(pointer, "must be an array")
        is_fixed = kind is tuple and bool(kinds) and kinds[-1] is not Ellipsis
        if is_fixed and len(value) != len(kinds):
            return self.fail(pointer, f"must have {len(kinds)} items")
        of_items = kinds if is_fixed else [kinds[0] if kinds else Any] * len(value)
        count = len(self.errors)
        pairs = enumerate(zip(of_items, value, strict=True))
        items = [self.read(each, item, f"{pointer}/{i}") for i, (each, item) in pairs]
        if len(self.errors) > count:
            return None
        try:
            return _ARRAYS[kind](items)
        except TypeError as error:
            return self.fail_unhashable(kinds, pointer, error)

    def fail_unhashable(self, kinds: Sequence[Any], pointer: str, error: TypeError) -> None:
        """Note a mistake of the client. A set of models without a hash is one of the programmer."""
        if kinds and kinds[0] is not Any:
            raise error
        self.fail(pointer, "must not have arrays or objects as items")

    def read_mapping(self, kinds: Sequence[Any], value: Any, pointer: str) -> Any:
        if not isinstance(value, Mapping):
            return self.fail(pointer, "must be an object")
        key_kind, kind = kinds or (str, Any)
        if key_kind is not str:
            raise _Unsupported(types.GenericAlias(dict, (key_kind, kind)))
        return {key: self.read(kind, item, pointer + _step(key)) for key, item in value.items()}

    def read_scalar(self, kind: Any, scalar: Scalar, value: Any, pointer: str) -> Any:
        try:
            if type(value) in scalar.types:
                return value if type(value) is kind else scalar.parse(value)
            if isinstance(value, str) and (self.is_text or scalar.is_string):
                return scalar.parse(value)
        except (ValueError, ArithmeticError, LookupError):
            pass
        return self.fail(pointer, scalar.detail)

    def read_library_model(self, model: Any, value: Any, pointer: str) -> Any:
        try:
            return convert(model, value, self.is_text)
        except Mistakes as error:
            self.fail_all(pointer, error)


def _is_same(raw: Any, value: Any) -> bool:
    """Return whether a value of JSON is a choice. A bool is not a number, and 1 is 1.0."""
    is_number = type(raw) is float and type(value) is int
    return (is_number or type(raw) is type(value)) and bool(raw == value)


def _is_text_of(raw: Any, value: Any) -> bool:
    """Return whether a value of a form or query is the text of a choice."""
    if isinstance(raw, bool):
        return isinstance(value, str) and BOOLEANS.get(value.lower()) is raw
    return raw is not None and str(raw) == value


def _step(name: object) -> str:
    """Return a step of a JSON pointer (RFC 6901 s.3)."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


@lru_cache(maxsize=1024)
def _fields_of(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Return the type of each field of a dataclass or TypedDict, and whether it is required."""
    plain = resolve_hints(kind)
    kind = get_origin(kind) or kind
    _refuse_constraints(kind)
    if is_typeddict(kind):
        required = kind.__required_keys__
        return {
            name: (plain[name], name in required and get_origin(hint) is not NotRequired)
            for name, hint in get_type_hints(kind, include_extras=True).items()
        }
    missing = dataclasses.MISSING
    fields = {
        field.name: (plain[field.name], field.default is field.default_factory is missing)
        for field in dataclasses.fields(kind)
        if field.init
    }
    for name, hint in plain.items():
        if isinstance(hint, dataclasses.InitVar):
            fields[name] = (hint.type, not hasattr(kind, name))
    return fields


def _refuse_constraints(kind: Any) -> None:
    """Raise a TypeError for a field with a constraint, which would not be checked."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        constraint = find_constraint(hint)
        if constraint is not None:
            raise TypeError(
                f"{kind.__qualname__}.{name}: {constraint!r:.80} is not checked in a dataclass or TypedDict. "
                "Check the value in __post_init__, or make the class a msgspec.Struct or a pydantic model."
            )


@lru_cache(maxsize=1024)
def _list_fields(model: Any) -> frozenset[str]:
    """Return the names of the fields that hold several values."""
    return frozenset(name for name, hint in hints_of(model).items() if _holds_several(hint))


def _holds_several(hint: Any) -> bool:
    if get_origin(hint) in (typing.Union, types.UnionType):
        return any(map(_holds_several, get_args(hint)))
    target = _target_of(hint)
    if target is not None:
        return _holds_several(target)
    return (get_origin(hint) or hint) in _ARRAYS


# -- unsupported types -----------------------------------------------------------------------------------


class _Unsupported(Exception):
    """Internal: a type can't be read. The model around it turns this into a TypeError."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.kind = kind


def _require_type(model: Any) -> None:
    """Refuse a dict or an instance of a model: types have a hash."""
    if type(model).__hash__ is None:
        raise _unsupported("", model)


def _unsupported(location: str, kind: Any) -> TypeError:
    if get_origin(kind) is dict:
        fix = "The keys of an object in JSON are strings: write dict[str, ...]."
    elif _is_class(kind):
        fix = "Make the class a dataclass, a TypedDict, a msgspec.Struct or a pydantic model."
    else:
        fix = "Use a type such as str, int, date, list[...], or another model."
    start = f"{location}: a" if location else "A"
    return TypeError(f"{start} request can't be read as {_describe_type(kind)}. {fix}")


def _describe_type(kind: Any) -> str:
    """Return the name of a type for a message."""
    return kind.__qualname__ if isinstance(kind, type) and not get_args(kind) else f"{kind!r:.100}"


def _is_class(kind: Any) -> bool:
    return isinstance(kind, type) and kind.__module__ not in ("builtins", "collections.abc")


def _target_of(kind: Any) -> Any:
    """Return the type behind a ``NewType`` or a ``type`` statement (Python 3.12); else None."""
    return getattr(kind, "__supertype__", None) or getattr(kind, "__value__", None)


def _check_type(kind: Any, seen: set[Any]) -> None:
    """Raise ``_Unsupported`` for a type that ``_Check.read`` can't read. ``seen`` are the models so far."""
    origin = get_origin(kind) or kind
    if origin in _WITHOUT_PARTS:
        return
    if origin in _READERS or origin in _ARRAYS:
        _check_arguments(kind, origin, seen)
    elif is_library_model(origin):
        check_library_model(kind)
    elif is_typeddict(origin) or dataclasses.is_dataclass(origin):
        _check_fields(kind, seen)
    elif _target_of(kind) is not None:
        _check_type(_target_of(kind), seen)
    elif not (_is_class(kind) and issubclass(kind, (UploadFile, enum.Enum))):
        raise _Unsupported(kind)


def _check_arguments(kind: Any, origin: Any, seen: set[Any]) -> None:
    arguments = get_args(kind)
    if origin in (dict, Mapping) and arguments and arguments[0] is not str:
        raise _Unsupported(kind)
    for argument in arguments[:1] if origin is typing.Annotated else arguments:
        if argument is not Ellipsis:
            _check_type(argument, seen)


def _check_fields(model: Any, seen: set[Any]) -> None:
    origin = get_origin(model)
    if model in seen or (origin and sum(get_origin(each) is origin for each in seen) > MAX_KINDS):
        return
    seen.add(model)
    for name, (hint, _) in _fields_of(model).items():
        try:
            _check_type(hint, seen)
        except _Unsupported as error:
            place = f"{(origin or model).__qualname__}.{name}"
            raise _unsupported(place, error.kind) from None


_EXACT = {str, int, float, bool, types.NoneType}
"""Types of JSON values, which are read unchanged as themselves."""

_WITHOUT_PARTS = {typing.Any, typing.Literal, *SCALARS}

_READERS: dict[Any, Callable[[_Check, Sequence[Any], Any, str], Any]] = {
    typing.Any: _Check.read_any,
    typing.Annotated: _Check.read_any,
    typing.Final: _Check.read_any,
    typing.Union: _Check.read_union,
    types.UnionType: _Check.read_union,
    typing.Literal: _Check.read_literal,
    dict: _Check.read_mapping,
    Mapping: _Check.read_mapping,
}
