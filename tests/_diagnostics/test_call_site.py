"""The line of a call, and the file and line of a function."""

import functools
import warnings
from typing import Any

import pytest

from spica._diagnostics.call_site import (
    UNKNOWN,
    Place,
    describe,
    location_of,
    name_of,
    unwrap_partial,
    warn_at,
)
from spica.exceptions import SpicaConfigurationWarning
from spica.middleware import Middleware
from spica.responses import Response


def test_the_caller_is_the_nearest_line_outside_the_package() -> None:
    recipe = Middleware(Layer)  # type: ignore[arg-type]
    line = test_the_caller_is_the_nearest_line_outside_the_package.__code__.co_firstlineno + 1
    assert recipe._place == Place(__file__, line)
    assert str(recipe._place) == f"{__file__}:{line}"


class Layer:
    def __init__(self, app: object) -> None:
        self.app = app


def test_a_warning_points_to_the_place() -> None:
    with pytest.warns(SpicaConfigurationWarning, match="some text") as caught:
        warn_at(Place("app.py", 7), "some text", SpicaConfigurationWarning)
    assert (caught[0].filename, caught[0].lineno) == ("app.py", 7)


def test_a_warning_without_a_place() -> None:
    with pytest.warns(SpicaConfigurationWarning) as caught:
        warn_at(None, "nowhere", SpicaConfigurationWarning)
    assert (caught[0].filename, caught[0].lineno) == UNKNOWN


def test_the_same_warning_is_shown_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            warn_at(Place("app.py", 8), "seldom", SpicaConfigurationWarning)
    assert len(caught) == 1


def test_a_filter_finds_a_warning_by_the_package() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", module="spica$")
        warn_at(Place("app.py", 9), "filtered", SpicaConfigurationWarning)
    assert caught == []


def test_a_warning_about_the_configuration_points_to_the_users_line() -> None:
    with pytest.warns(SpicaConfigurationWarning, match="ignore the cookie") as caught:
        Response().set_cookie("a", samesite="none", secure=False)
    line = (
        test_a_warning_about_the_configuration_points_to_the_users_line.__code__.co_firstlineno + 2
    )
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)


def endpoint(request: Any) -> Any: ...


class Page:
    def __call__(self, request: Any) -> Any: ...


@functools.wraps(endpoint)
def around(request: Any) -> Any:
    return endpoint(request)


ENDPOINT = Place(__file__, endpoint.__code__.co_firstlineno)
PAGE = location_of(Page)


@pytest.mark.parametrize(
    ("thing", "place"),
    [
        pytest.param(endpoint, ENDPOINT, id="a function"),
        pytest.param(functools.partial(endpoint, 1), ENDPOINT, id="a partial"),
        pytest.param(around, ENDPOINT, id="a decorated function"),
        pytest.param(Page(), PAGE, id="an instance"),
        pytest.param(print, None, id="no source"),
    ],
)
def test_the_location_of(thing: Any, place: Place | None) -> None:
    assert location_of(thing) == place


def test_the_location_of_a_class_is_its_first_line() -> None:
    assert PAGE is not None
    assert (PAGE.file, PAGE.line < Page.__call__.__code__.co_firstlineno) == (__file__, True)


def test_partials_are_unwrapped_at_any_depth() -> None:
    assert unwrap_partial(functools.partial(functools.partial(endpoint, 1))) is endpoint
    assert unwrap_partial(Page) is Page


@pytest.mark.parametrize(
    ("thing", "name"),
    [(endpoint, "endpoint"), (functools.partial(endpoint), "endpoint"), (Page(), "Page")],
    ids=["a function", "a partial", "an instance"],
)
def test_the_name_of(thing: Any, name: str) -> None:
    assert name_of(thing) == name


def test_a_description_has_name_file_and_line() -> None:
    assert describe(endpoint) == f"endpoint ({ENDPOINT})"


def test_a_description_without_a_source_is_the_name() -> None:
    assert describe(len) == "len"
