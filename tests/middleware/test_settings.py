"""The checks of settings that several middlewares share."""

from typing import Any

import pytest

from spica.middleware._settings import check_seconds, check_strings, check_tokens

PLACE = "SomeMiddleware: names"


@pytest.mark.parametrize("values", [[], (), ["a"], {"a", "b"}, {"a": 1}.keys()])
def test_collections_of_strings_pass(values: Any) -> None:
    check_strings(values, PLACE)
    check_tokens(values, PLACE)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            "GET",
            "SomeMiddleware: names must be a list of strings, not the string 'GET'. Write ['GET'].",
        ),
        (b"GET", "SomeMiddleware: names must be a list of strings, not the string b'GET'."),
        (None, "SomeMiddleware: names must be a list of strings, not None."),
        (iter(["GET"]), "SomeMiddleware: names must be a list of strings, not <list_iterator"),
        (["GET", 1], "SomeMiddleware: names must be strings, not 1."),
    ],
    ids=["a string", "bytes", "None", "an iterator", "a number in it"],
)
def test_what_is_no_collection_of_strings_is_refused(values: Any, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        check_strings(values, PLACE)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("value", ["", "GET, POST", "X Y", "é", "a\n"])
def test_what_is_no_token_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"SomeMiddleware: names has .*, which can never match"):
        check_tokens(["A", value], PLACE)


@pytest.mark.parametrize("value", [None, -1, 0, 1])
def test_seconds_are_whole_numbers_or_none(value: Any) -> None:
    check_seconds(value, PLACE)


@pytest.mark.parametrize("value", [1.5, "60", True])
def test_other_seconds_are_refused(value: Any) -> None:
    with pytest.raises(
        TypeError, match="SomeMiddleware: names must be a number of seconds or None"
    ):
        check_seconds(value, PLACE)
