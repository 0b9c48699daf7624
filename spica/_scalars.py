"""Read single values: numbers, dates, times and UUIDs, from JSON or from strings.

Non-goal: lists, objects and unions. See ``spica.reading``.

Standards: ISO 8601 (dates and times), RFC 9562 (UUID).
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

BOOLEANS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
"""The values of a bool in a query or a form. A browser sends "on" for a checked box."""

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _parse_int(text: str) -> int:
    if not re.fullmatch("[+-]?[0-9]{1,4000}", text):  # int() takes spaces, underscores and more
        raise ValueError
    return int(text)


def _finite(number: Any) -> Any:
    if not math.isfinite(number):
        raise ValueError
    return number


def _parse_none(text: str) -> None:
    raise ValueError  # a missing field, not a string, is None


def _require_number(value: Any) -> None:
    """Refuse a string with spaces, underscores and more, which float() and Decimal() take."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError


def _parse_float(value: Any) -> float:
    _require_number(value)
    return float(_finite(float(value)))


def _parse_decimal(value: Any) -> Decimal:
    _require_number(value)
    return Decimal(_finite(Decimal(str(value))))


def _parse_time(text: str) -> time:
    if ":" not in text:  # Python takes the digits of a date as a time
        raise ValueError
    return time.fromisoformat(text)


class Scalar(NamedTuple):
    """How values of one type are read."""

    types: tuple[type, ...]  # of JSON values; a bool is not an int
    parse: Callable[[str], Any]
    detail: str
    is_string: bool = False  # whether it is a string in JSON, too


SCALARS: dict[Any, Scalar] = {
    str: Scalar((str,), str, "must be a string"),
    int: Scalar((int,), _parse_int, "must be an integer"),
    float: Scalar((int, float), _parse_float, "must be a number"),
    bool: Scalar((bool,), lambda text: BOOLEANS[text.lower()], "must be true or false"),
    types.NoneType: Scalar((types.NoneType,), _parse_none, "must be null"),
    Decimal: Scalar((int, float, Decimal), _parse_decimal, "must be a number", True),
    datetime: Scalar((datetime,), datetime.fromisoformat, "must be a date and time", True),
    date: Scalar((date,), date.fromisoformat, "must be a date", True),
    time: Scalar((time,), _parse_time, "must be a time", True),
    UUID: Scalar((UUID,), UUID, "must be a UUID", True),
}
