"""The recipe of a middleware, and the stack that is made of recipes."""

from typing import Any

import pytest
from stable_ids import stable_id

from spica._asgi.stack import build_stack
from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.routing import Route


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


async def dispatch(request: Any, call_next: Any) -> Any: ...


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (
            dispatch,
            "not the async function dispatch(). Write Middleware(BaseHTTPMiddleware, dispatch=dispatch).",
        ),
        (Spica(), ", which is an app. Write Middleware(Spica, option=value)."),
    ],
    ids=["a dispatch function", "an app"],
)
def test_what_makes_no_app_is_refused(wrong: Any, text: str) -> None:
    with pytest.raises(TypeError) as info:
        Middleware(wrong)
    assert str(info.value).endswith(text)


def test_the_first_is_the_outermost() -> None:
    recipes = [Middleware(function, "outer"), Middleware(function, "inner")]
    assert build_stack("app", recipes) == ("outer", ("inner", "app"))  # type: ignore[arg-type,comparison-overlap]


def test_the_class_is_called_when_the_stack_is_built() -> None:
    recipe = Middleware(function, "n")
    recipe.cls = lambda app, name: ("another", app)  # type: ignore[assignment]
    assert build_stack("app", [recipe]) == ("another", "app")  # type: ignore[arg-type,comparison-overlap]


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (Middleware(Layer, secret_key="hunter2"), "Middleware(Layer, secret_key='**********')"),  # type: ignore[arg-type]
        (
            Middleware(SessionMiddleware, "hunter2", "sid"),
            "Middleware(SessionMiddleware, '**********', 'sid')",
        ),
        (Middleware(SessionMiddleware, ["a", "b"]), "Middleware(SessionMiddleware, '**********')"),
        (Middleware(dict, 1), "Middleware(dict, 1)"),  # type: ignore[arg-type]
    ],
    ids=["by name", "by place", "several", "without a signature"],
)
def test_repr_shows_no_secret(recipe: Any, text: str) -> None:
    assert repr(recipe) == text


GOOD: Any = Middleware(Layer)  # type: ignore[arg-type]
FOREIGN: Any = Layer(None)


@pytest.mark.parametrize(
    "wrong", ["GZip", GOOD, Layer, 7], ids=["text", "recipe", "class", "number"]
)
def test_what_is_no_list_is_refused(wrong: Any) -> None:
    with pytest.raises(
        TypeError, match=r"^Spica: middleware must be a list of Middleware, not .*Write "
    ):
        Spica(middleware=wrong)


@pytest.mark.parametrize("wrong", ["GZip", Layer, Layer(None), None, (Layer, {})], ids=stable_id)
def test_what_is_no_recipe_is_refused(wrong: Any) -> None:
    words = r"^Route\('/'\): middleware must be made of Middleware, not .*Write middleware=\[Middleware\("
    with pytest.raises(TypeError, match=words):
        Route("/", lambda request: None, middleware=[GOOD, wrong])  # type: ignore[arg-type,return-value]


def test_any_iterable_of_recipes_is_a_list() -> None:
    pairs: Any = ((function, (name,), {}) for name in "ab")
    assert build_stack("app", pairs) == ("a", ("b", "app"))  # type: ignore[arg-type,comparison-overlap]


def test_a_layer_that_is_nothing_is_named() -> None:
    def nothing(app: Any) -> Any:
        return None

    line = test_a_layer_that_is_nothing_is_named.__code__.co_firstlineno + 6
    with pytest.raises(TypeError) as caught:
        build_stack(FOREIGN, [Middleware(nothing)])
    assert str(caught.value) == (
        f"Middleware(nothing), written at {__file__}:{line} returned None, but must return an ASGI app."
    )


def test_an_error_of_a_layer_names_its_recipe() -> None:
    recipe: Any = Middleware(SessionMiddleware, secret_key="")
    with pytest.raises(ValueError, match="secret_key is empty") as caught:
        build_stack(FOREIGN, [recipe])
    assert caught.value.__notes__ == [
        f"In Middleware(SessionMiddleware, secret_key='**********'), written at {recipe._place}."
    ]


def test_an_unknown_option_gets_a_suggestion() -> None:
    with pytest.raises(TypeError) as caught:
        build_stack(Spica(), [Middleware(CORSMiddleware, origins=["*"])])  # type: ignore[call-arg]
    assert "Did you mean 'allow_origins'?" in caught.value.__notes__[0]


def test_a_function_that_is_not_an_app_is_refused_as_a_layer() -> None:
    def make(app: Any) -> Any:
        async def dispatch(request: Any, call_next: Any) -> None: ...

        return dispatch

    with pytest.raises(
        TypeError, match=r"made an app with other parameters .*dispatch .*BaseHTTPMiddleware"
    ):
        build_stack(FOREIGN, [Middleware(make)])
