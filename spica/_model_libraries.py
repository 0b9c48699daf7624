"""Let pydantic and msgspec check the values for their own models, and return their mistakes in one form.

This module imports neither library. A model brings its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, get_origin

from spica._type_hints import resolve_hints

MAX_ERRORS = 100
"""How many mistakes a response lists."""
MAX_DETAILED = 10_000
"""How many mistakes pydantic may describe. It takes a kilobyte and some microseconds for each."""

_PLACE = re.compile(r"(.*) - at .*`\$([^`]*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_INDEX = re.compile(r"\[(\d+)\]")


class Malformed(ValueError):
    """A document is not JSON, or is nested too deeply."""


class Mistakes(ValueError):
    """A value does not fit the model.

    Args:
        found: For each mistake, the names and indexes that lead to the value, and the reason.
    """

    def __init__(self, found: Sequence[tuple[Sequence[object], str]]) -> None:
        super().__init__(found)
        self.found = found


def is_library_model(model: Any) -> bool:
    """Return whether a class is a pydantic model, a pydantic dataclass or a ``msgspec.Struct``."""
    origin = get_origin(model) or model
    return hasattr(origin, "__pydantic_validator__") or hasattr(origin, "__struct_fields__")


def decode(model: Any, document: bytes) -> Any:
    """Return a JSON document as a ``model``.

    Raises:
        Malformed: It is not JSON.
        Mistakes: It does not fit the model.
    """
    # RFC 8259 s.8.1: a byte order mark is ignored, as in Request.json().
    document = document.removeprefix(b"\xef\xbb\xbf")
    validator = _validator_of(model)
    if validator is not None:
        return _ask_pydantic(validator.validate_json, document, _decode_again)
    import msgspec  # the model is one of its classes

    try:
        return msgspec.json.decode(document, type=model)
    except msgspec.ValidationError as error:
        raise _mistakes_of_msgspec(error, _decode_again(document)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None


def convert(model: Any, value: Any, is_text: bool) -> Any:
    """Return a decoded value as a ``model``. With ``is_text``, numbers may be strings.

    Raises:
        Mistakes: It does not fit the model.
    """
    validator = _validator_of(model)
    if validator is not None:
        return _convert_with_pydantic(validator, value, is_text)
    import msgspec

    try:
        return msgspec.convert(value, model, strict=not is_text)
    except msgspec.ValidationError as error:
        raise _mistakes_of_msgspec(error, value) from None


def _decode_again(document: str | bytes) -> Any:
    """Return a JSON document in which mistakes were found, or None if it can't be decoded here."""
    try:
        return json.loads(document)
    except (ValueError, RecursionError):
        return None


def hints_of(model: Any) -> dict[str, Any]:
    """Return the types of the fields of a model, by their names in the input."""
    origin = get_origin(model) or model
    if hasattr(origin, "__pydantic_fields__"):
        return _hints_of_pydantic(origin)
    if hasattr(origin, "__struct_fields__"):
        names = dict(zip(origin.__struct_fields__, origin.__struct_encode_fields__, strict=True))
        return {names.get(name, name): hint for name, hint in resolve_hints(model).items()}
    return resolve_hints(model)


def _hints_of_pydantic(model: Any) -> dict[str, Any]:
    """Return the types of the fields by all names that the model reads: the alias, several, or a path."""
    hints: dict[str, Any] = {}
    config = (
        getattr(model, "model_config", None) or getattr(model, "__pydantic_config__", None) or {}
    )
    takes_names = config.get("populate_by_name") or config.get("validate_by_name")
    for name, field in model.__pydantic_fields__.items():
        alias = field.validation_alias or field.alias or name
        for choice in getattr(alias, "choices", [alias]):  # of an AliasChoices
            steps = getattr(choice, "path", [choice])  # of an AliasPath
            hints[steps[0]] = field.annotation if len(steps) == 1 else list
        if takes_names:
            hints.setdefault(name, field.annotation)
    return hints


def check_library_model(model: Any) -> None:
    """Let the library of a model build what it needs to read one.

    Raises:
        Exception: The library can't read the model. It names the reason.
    """
    origin = get_origin(model) or model
    if hasattr(origin, "__struct_fields__"):
        import msgspec

        resolve_hints(origin)
        msgspec.json.Decoder(model)
    elif hasattr(model, "model_rebuild"):
        model.model_rebuild()


def _validator_of(model: Any) -> Any:
    """Return the validator of a pydantic model, or None. It knows the arguments of a generic dataclass."""
    if hasattr(get_origin(model), "__pydantic_validator__"):
        return _validator_of_alias(model)
    # It is not kept, because a rebuilt model has another one.
    return getattr(model, "__pydantic_validator__", None)


@lru_cache(maxsize=1024)
def _validator_of_alias(model: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(model).validator


def _convert_with_pydantic(validator: Any, value: Any, is_text: bool) -> Any:
    try:
        return _ask_pydantic(validator.validate_python, value, lambda document: document)
    except Mistakes:
        if is_text:
            raise
        # A strict model takes the string of a date from JSON, but not from Python.
        try:
            document = json.dumps(value)
        except (TypeError, ValueError):  # your own codec has made other objects
            document = ""
        if not document:
            raise
    return _ask_pydantic(validator.validate_json, document, _decode_again)


def _ask_pydantic(
    validate: Callable[[Any], Any], value: Any, decode_value: Callable[[Any], Any]
) -> Any:
    try:
        return validate(value)
    except ValueError as error:
        list_mistakes: Any = getattr(error, "errors", None)
        if list_mistakes is None:
            raise  # an error of your validator
        count_mistakes: Any = getattr(error, "error_count", None)
        count: int = count_mistakes()
        if count > MAX_DETAILED:
            raise Mistakes([((), f"has {count} mistakes")]) from None
        found = list_mistakes(include_url=False, include_input=False, include_context=False)
        if any(each["type"] == "json_invalid" for each in found):
            raise Malformed(str(found)) from None
        document = decode_value(value)
        raise Mistakes(
            [
                (_steps_in(document, each["loc"], each["type"] == "missing"), each["msg"])
                for each in found[:MAX_ERRORS]
            ]
        ) from None


def _steps_in(document: Any, place: Sequence[object], is_missing: bool) -> list[object]:
    """Return the steps of a place of pydantic that are in the document.

    The others are its own marks: the kinds of a union, its tags, and "[key]".
    """
    steps: list[object] = []
    *outer, last = place or ("",)
    for step in outer if is_missing else place:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, (list, tuple)) and step in range(len(document)):
            document = document[int(str(step))]
        else:
            continue
        steps.append(step)
    return [*steps, last] if is_missing else steps


def _mistakes_of_msgspec(error: Exception, document: Any) -> Mistakes:
    """Return the one mistake that msgspec names in its message."""
    found = _PLACE.fullmatch(str(error))
    detail, path = found.groups() if found else (str(error), "")
    steps, rest = _steps_of(path, document)
    missing = _MISSING.fullmatch(detail)
    if missing and not rest:
        return Mistakes([([*steps, missing[1]], "is required")])
    return Mistakes([(steps, detail)])


def _steps_of(path: str, document: Any) -> tuple[list[object], str]:
    """Return the steps of a path of msgspec, such as ``.items[0].name``, and the rest of the path.

    It names no keys of a ``dict[str, ...]``, but "[...]". Then the steps end at the dict.
    """
    steps: list[object] = []
    while path and isinstance(document, (dict, list, tuple)):
        step: Any
        if isinstance(document, dict):
            # A name may contain dots and brackets.
            names = [name for name in document if f"{path}.".startswith((f".{name}.", f".{name}["))]
            step = max(names, key=len, default=None)
            path = path.removeprefix(f".{step}")
        else:
            index = _INDEX.match(path)
            step = int(index[1]) if index and int(index[1]) < len(document) else None
            path = path[index.end() :] if index else path
        if step is None:
            break
        steps.append(step)
        document = document[step]
    return steps, path
