"""Convertors: what they match, what they make of it, and what they refuse to write."""

import decimal
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica.convertors import CONVERTOR_TYPES, Convertor, register_url_convertor

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


def matches(kind: str, text: str) -> bool:
    """Match as routes do: the whole text, with nothing after it."""
    return re.match(f"(?:{CONVERTOR_TYPES[kind].regex})\\Z", text) is not None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("str", "a b"),
        ("str", "é"),
        ("path", ""),
        ("path", "a/b"),
        ("path", "a\nb\n"),
        ("int", "0"),
        ("int", "007"),
        ("float", "1"),
        ("float", "1.50"),
        ("uuid", str(UUID)),
        ("uuid", str(UUID).upper()),
        ("uuid", UUID.hex),
    ],
)
def test_text_of_the_kind_matches(kind: str, text: str) -> None:
    assert matches(kind, text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("str", ""),
        ("str", "a/b"),
        ("int", ""),
        ("int", "-1"),
        ("int", "1\n"),
        ("int", "\u0661"),  # ARABIC-INDIC DIGIT ONE
        ("int", "\uff11"),  # FULLWIDTH DIGIT ONE
        ("float", "1."),
        ("float", ".5"),
        ("float", "1e5"),
        ("float", "nan"),
        ("float", "1.\u0661"),
        ("uuid", "1234"),
        ("uuid", f"{UUID}\n"),
        ("uuid", f"{{{UUID}}}"),
    ],
)
def test_text_of_another_kind_does_not_match(kind: str, text: str) -> None:
    assert not matches(kind, text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("str", "a", "a"),
        ("path", "a/b", "a/b"),
        ("int", "007", 7),
        ("float", "1.50", 1.5),
        ("uuid", UUID.hex.upper(), UUID),
    ],
)
def test_text_is_converted_to_its_value(kind: str, text: str, value: Any) -> None:
    converted = CONVERTOR_TYPES[kind].convert(text)

    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize("digits", [4299, 4300])
def test_an_int_of_as_many_digits_as_python_reads_is_converted(digits: int) -> None:
    assert CONVERTOR_TYPES["int"].convert("1" * digits) > 0


@pytest.mark.parametrize("digits", [4301, 5000])
def test_an_int_of_more_digits_is_a_value_error(digits: int) -> None:
    with pytest.raises(ValueError):
        CONVERTOR_TYPES["int"].convert("1" * digits)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("str", "a", "a"),
        ("str", 5, "5"),
        ("path", "a/b", "a/b"),
        ("path", "", ""),
        ("int", 5, "5"),
        ("int", "5", "5"),
        ("float", 25.5, "25.5"),
        ("float", 1, "1"),
        ("float", 0.1, "0.1"),
        ("float", -0.0, "0"),
        ("float", 1e22, "10000000000000000000000"),
        ("float", 5e-7, "0.0000005"),
        ("float", decimal.Decimal("1.5"), "1.5"),
        ("uuid", UUID, str(UUID)),
        ("uuid", str(UUID), str(UUID)),
    ],
)
def test_a_value_is_written(kind: str, value: Any, text: str) -> None:
    assert CONVERTOR_TYPES[kind].to_string(value) == text


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("str", "a/b", "May not contain path separators"),
        ("str", "", "Must not be empty"),
        ("int", -1, "Negative integers are not supported"),
        ("int", 1.5, "1.5 is not a whole number"),
        ("int", "x", "invalid literal"),
        ("float", -1.0, "Negative floats are not supported"),
        ("float", float("nan"), "NaN values are not supported"),
        ("float", float("inf"), "Infinite values are not supported"),
    ],
)
def test_a_value_that_no_path_could_hold_is_refused(kind: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CONVERTOR_TYPES[kind].to_string(value)


@given(st.integers(min_value=0))
def test_every_int_comes_back_from_its_text(value: int) -> None:
    convertor = CONVERTOR_TYPES["int"]
    text = convertor.to_string(value)

    assert matches("int", text)
    assert convertor.convert(text) == value


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
def test_every_float_comes_back_from_its_text(value: float) -> None:
    convertor = CONVERTOR_TYPES["float"]
    text = convertor.to_string(value)

    assert matches("float", text)
    assert convertor.convert(text) == value


class Hex(Convertor[int]):
    regex = "[0-9a-f]+"

    def convert(self, value: str) -> int:
        return int(value, 16)

    def to_string(self, value: int) -> str:
        return f"{value:x}"


@pytest.fixture
def restored() -> Iterator[None]:
    before = dict(CONVERTOR_TYPES)
    yield
    CONVERTOR_TYPES.clear()
    CONVERTOR_TYPES.update(before)


@pytest.mark.usefixtures("restored")
def test_a_convertor_is_registered_under_its_name() -> None:
    convertor = Hex()

    register_url_convertor("hex", convertor)

    assert CONVERTOR_TYPES["hex"] is convertor


@pytest.mark.usefixtures("restored")
def test_a_convertor_of_the_house_can_be_replaced() -> None:
    convertor = Hex()

    register_url_convertor("int", convertor)

    assert CONVERTOR_TYPES["int"] is convertor


class NoRegex(Hex):
    regex = ""


class BadRegex(Hex):
    regex = "("


class NoToString:
    regex = "x"

    def convert(self, value: str) -> str:
        return value


@pytest.mark.parametrize(
    ("key", "convertor", "error", "message"),
    [
        (5, Hex(), TypeError, "the key must be a str"),
        ("", Hex(), ValueError, "the key must be letters, digits and _"),
        ("a-b", Hex(), ValueError, "the key must be letters, digits and _"),
        ("hex\n", Hex(), ValueError, "the key must be letters, digits and _"),
        ("hex", Hex, TypeError, r"pass an instance, Hex\(\), not the class"),
        ("hex", NoToString(), TypeError, r"has no method to_string\(\)"),
        ("hex", NoRegex(), TypeError, "regex must be a str that is not empty"),
        ("hex", BadRegex(), ValueError, r"the regex '\(' is not valid: missing \)"),
    ],
)
def test_what_could_not_work_is_refused(
    key: Any, convertor: Any, error: type[Exception], message: str
) -> None:
    before = dict(CONVERTOR_TYPES)
    with pytest.raises(error, match=f"{re.escape(repr(key))}.*{message}"):
        register_url_convertor(key, convertor)

    assert before == CONVERTOR_TYPES


@pytest.mark.parametrize("method", ["convert", "to_string"])
def test_a_convertor_without_its_methods_says_so(method: str) -> None:
    with pytest.raises(NotImplementedError, match=f"Convertor must define {method}"):
        getattr(Convertor(), method)("x")


@pytest.mark.parametrize(
    ("digits", "is_number"), [(308, True), (309, True), (310, False), (5000, False)]
)
def test_a_number_beyond_the_floats_is_refused(digits: int, is_number: bool) -> None:
    """The largest is 1.8e308; what is larger would be infinity, which has no form in JSON nor in a URL."""
    text = "1" + "0" * (digits - 1)
    if is_number:
        assert CONVERTOR_TYPES["float"].convert(text) == float(text)
    else:
        with pytest.raises(ValueError, match="too large for a float"):
            CONVERTOR_TYPES["float"].convert(text)
