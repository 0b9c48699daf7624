"""Where in the user's code something was written."""

import warnings

import pytest

from spica._diagnostics.call_site import UNKNOWN, Place, warn_at
from spica.exceptions import SpicaConfigurationWarning
from spica.middleware import Middleware


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
