"""The checks of settings that several middlewares share."""

from typing import Any, cast

import pytest

from spica._diagnostics.arguments import check_flag, check_seconds, check_strings, check_tokens
from spica.applications import Spica
from spica.middleware.cors import CORSMiddleware
from spica.middleware.errors import ServerErrorMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.middleware.trustedhost import TrustedHostMiddleware

PLACE = "SomeMiddleware: names"


@pytest.mark.parametrize("values", [[], (), ["a"], {"a", "b"}, {"a": 1}.keys(), "*"])
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


@pytest.mark.parametrize("value", [True, False, None, 1])
def test_what_is_no_text_is_a_flag(value: Any) -> None:
    assert check_flag(value, PLACE) is value


@pytest.mark.parametrize("value", ["false", "", b"true"])
def test_a_text_is_no_flag(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        check_flag(value, PLACE)
    assert str(caught.value) == (
        f"SomeMiddleware: names must be True or False, not the string {value!r}, which would count as "
        "true. If it comes from the environment, read it with config(..., cast=bool)."
    )


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: Spica(debug=cast(Any, "false")), "Spica: debug"),
        (
            lambda: ServerErrorMiddleware(Spica(), debug=cast(Any, "0")),
            "ServerErrorMiddleware: debug",
        ),
        (
            lambda: CORSMiddleware(Spica(), allow_credentials=cast(Any, "no")),
            "CORSMiddleware: allow_credentials",
        ),
        (
            lambda: CORSMiddleware(Spica(), allow_private_network=cast(Any, "no")),
            "CORSMiddleware: allow_private_network",
        ),
        (
            lambda: SessionMiddleware(Spica(), "secret", https_only=cast(Any, "no")),
            "SessionMiddleware: https_only",
        ),
        (
            lambda: SessionMiddleware(Spica(), "secret", partitioned=cast(Any, "no")),
            "SessionMiddleware: partitioned",
        ),
        (
            lambda: TrustedHostMiddleware(Spica(), ["*"], www_redirect=cast(Any, "no")),
            "TrustedHostMiddleware: www_redirect",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_flags_that_open_something(make: Any, place: str) -> None:
    with pytest.raises(TypeError, match=f"^{place} must be True or False, not the string"):
        make()
