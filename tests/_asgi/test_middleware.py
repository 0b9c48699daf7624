"""The recipe of a middleware, and the stack that is made of recipes."""

from typing import Any

import pytest

from spica._asgi.middleware import build_stack
from spica.middleware import Middleware


class Layer:
    def __init__(self, app: Any, *args: Any, **options: Any) -> None:
        self.app, self.args, self.options = app, args, options


def function(app: Any, name: str) -> Any:
    return name, app


def test_it_keeps_class_and_arguments() -> None:
    recipe = Middleware(Layer, 1, two=2)  # type: ignore[arg-type]
    assert (recipe.cls, recipe.args, recipe.kwargs) == (Layer, (1,), {"two": 2})
    assert list(recipe) == [Layer, (1,), {"two": 2}]


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (Middleware(Layer), "Middleware(Layer)"),  # type: ignore[arg-type]
        (Middleware(Layer, 1, two="2"), "Middleware(Layer, 1, two='2')"),  # type: ignore[arg-type]
        (Middleware(function, "n"), "Middleware(function, 'n')"),
    ],
)
def test_repr(recipe: Any, text: str) -> None:
    assert repr(recipe) == text


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match=r"not 'Layer'. Write Middleware\(SomeMiddleware"):
        Middleware("Layer")  # type: ignore[arg-type]


def test_the_first_is_the_outermost() -> None:
    recipes = [Middleware(function, "outer"), Middleware(function, "inner")]
    assert build_stack("app", recipes) == ("outer", ("inner", "app"))  # type: ignore[arg-type,comparison-overlap]


def test_the_class_is_called_when_the_stack_is_built() -> None:
    recipe = Middleware(function, "n")
    recipe.cls = lambda app, name: ("another", app)  # type: ignore[assignment,return-value]
    assert build_stack("app", [recipe]) == ("another", "app")  # type: ignore[arg-type,comparison-overlap]
