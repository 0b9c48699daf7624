"""Cache-Control as a value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica.datastructures.cachecontrol import CacheControl
from spica.responses import PlainTextResponse


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (CacheControl(), ""),
        (CacheControl(no_store=True), "no-store"),
        (CacheControl(max_age=0), "max-age=0"),
        (CacheControl(public=True, max_age=60, s_maxage=5), "public, max-age=60, s-maxage=5"),
        (CacheControl(immutable=True, stale_if_error=9), "immutable, stale-if-error=9"),
    ],
)
def test_a_value_is_written_and_read(value: CacheControl, field: str) -> None:
    assert str(value) == field
    assert CacheControl.from_header(field) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("MAX-AGE=5 , Public", CacheControl(public=True, max_age=5)),
        ('max-age="5"', CacheControl(max_age=5)),
        ("max-age=5, max-age=9", CacheControl(max_age=5)),
        ("max-age=x", CacheControl(max_age=0)),
        ("max-age", CacheControl(max_age=0)),
        ("max-age=-1", CacheControl(max_age=0)),
        ("max-age=99999999999", CacheControl(max_age=2**31)),
        ("max-age=" + "9" * 5000, CacheControl(max_age=2**31)),
        ("max-age=" + "0" * 5000 + "7", CacheControl(max_age=7)),
        ("max-age=\u0663", CacheControl(max_age=0)),
        ('no-cache="set-cookie", no-store', CacheControl(no_cache=True, no_store=True)),
        ('x="no-store, private"', CacheControl()),
        ("public, private, s-maxage=9", CacheControl(private=True)),
        ("community=UCI, , ;", CacheControl()),
    ],
)
def test_any_field_is_read(field: str, value: CacheControl) -> None:
    assert CacheControl.from_header(field) == value


@given(st.text())
def test_no_field_is_an_error(field: str) -> None:
    value = CacheControl.from_header(field)
    assert CacheControl.from_header(str(value)) == value


@pytest.mark.parametrize(
    ("directives", "error", "message"),
    [
        ({"max_age": -1}, ValueError, "max_age must be 0 or more seconds, not -1"),
        ({"max_age": 1.5}, TypeError, "max_age must be whole seconds, not 1.5"),
        ({"max_age": True}, TypeError, "max_age must be whole seconds"),
        ({"public": 1}, TypeError, "public must be True or False, not 1"),
        ({"no_cache": "set-cookie"}, TypeError, "no_cache must be True or False, not 'set-cookie'"),
        ({"public": True, "private": True}, ValueError, "cannot be public and private"),
        ({"private": True, "s_maxage": 1}, ValueError, "s_maxage is for shared caches"),
    ],
)
def test_contradictions_are_refused(directives: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        CacheControl(**directives)


@pytest.mark.parametrize("value", [None, "", CacheControl()])
def test_an_empty_value_removes_the_field(value: Any) -> None:
    response = PlainTextResponse("ok", headers={"cache-control": "no-store"})
    for _ in range(2):
        response.cache_control = value
        assert "cache-control" not in response.headers


def test_a_response_takes_a_string_and_nothing_else() -> None:
    response = PlainTextResponse("ok")
    response.cache_control = "max-age=5"
    assert response.headers["cache-control"] == "max-age=5"
    with pytest.raises(TypeError, match=r"must be a CacheControl or a string, not {'max_age': 5}"):
        response.cache_control = {"max_age": 5}  # type: ignore[assignment]  # the mistake


def test_a_response_has_it_as_an_attribute() -> None:
    response = PlainTextResponse("ok")
    assert response.cache_control == CacheControl()
    response.cache_control = CacheControl(public=True, max_age=60)
    assert response.headers["cache-control"] == "public, max-age=60"
    assert response.cache_control.max_age == 60
