"""`Middleware`, the recipe of a layer, and the function that builds a stack from a list of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from inspect import CO_COROUTINE
from types import FunctionType
from typing import Any, ParamSpec, Protocol, TypeVar

from spica._diagnostics.arguments import takes
from spica._diagnostics.call_site import describe, user_line
from spica._diagnostics.middleware_order import check_order
from spica.types import ASGIApp

P = ParamSpec("P")
AppT_co = TypeVar("AppT_co", covariant=True)


class MiddlewareFactory(Protocol[P]):
    """A class or function that makes a layer around an app."""

    def __call__(self, app: ASGIApp, /, *args: P.args, **kwargs: P.kwargs) -> ASGIApp:
        """Return the layer."""
        ...


def _check_factory(cls: Any) -> None:
    if not callable(cls):
        what, example = f"{cls!r:.200}", "SomeMiddleware, option=value"
    elif _is_async(cls):
        # It would return a coroutine instead of an app.
        what = f"the async function {cls.__qualname__}()"
        example = f"BaseHTTPMiddleware, dispatch={cls.__name__}"
    elif not isinstance(cls, type) and _is_async(type(cls).__call__):
        what, name = f"{cls!r:.200}, which is an app", type(cls).__name__
        example = f"{name}, option=value"
    else:
        return
    raise TypeError(
        f"Middleware needs a class or function that takes an app, not {what}. Write Middleware({example})."
    )


def _is_async(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and code.co_flags & CO_COROUTINE != 0


class Middleware:
    """The recipe of a layer: a middleware class and its options.

    The class is called when the stack is built: when the application starts, or at the first request if the
    server sends no lifespan events.

    Args:
        cls: a class or function that takes the inner app and returns an ASGI app.
        args, kwargs: further arguments for ``cls``.

    Raises:
        TypeError: ``cls`` is not callable, or is an async function.

    Example:
        ``Middleware(CORSMiddleware, allow_origins=["https://example.org"])``
    """

    def __init__(self, cls: MiddlewareFactory[P], *args: P.args, **kwargs: P.kwargs) -> None:
        _check_factory(cls)
        self.cls = cls
        self.args = args
        self.kwargs = kwargs
        # Errors and warnings about the recipe arise when the stack is built; they point to this line.
        self._place = user_line()

    def __iter__(self) -> Iterator[Any]:
        return iter((self.cls, self.args, self.kwargs))

    def __repr__(self) -> str:
        name = getattr(self.cls, "__name__", "")
        _, args, kwargs = self
        parts = [name, *self._format_args(args)]
        parts += [f"{key}={_format_value(key, value)}" for key, value in kwargs.items()]
        return f"{type(self).__name__}({', '.join(part for part in parts if part)})"

    def _format_args(self, args: Sequence[Any]) -> list[str]:
        if not args:
            return []
        import inspect  # on use: only messages need it

        try:
            names = [*inspect.signature(self.cls).parameters][1:]
        except (TypeError, ValueError):
            names = []
        names += [""] * (len(args) - len(names))
        return [_format_value(name, value) for name, value in zip(names, args, strict=False)]


_SECRET_WORDS = ("secret", "password", "token", "api_key")


def _format_value(name: str, value: Any) -> str:
    """Return ``value`` for a message, masked if the name of the option suggests a secret."""
    is_secret = isinstance(value, (str, bytes, list, tuple)) and any(
        word in name.lower() for word in _SECRET_WORDS
    )
    return "'**********'" if is_secret else repr(value)


def check_recipes(middleware: Iterable[Any] | None, place: str) -> list[Middleware]:
    """Return ``middleware`` as a list of recipes. Error messages name ``place``, the owner of the list.

    Raises:
        TypeError: ``middleware`` is not a list, or an item is not a recipe.
    """
    if middleware is None:
        return []
    example = "Write middleware=[Middleware(SomeMiddleware, option=value)]."
    if isinstance(middleware, (str, bytes, Middleware, type)) or not isinstance(
        middleware, Iterable
    ):
        raise TypeError(
            f"{place}: middleware must be a list of Middleware, not {middleware!r:.200}. {example}"
        )
    recipes = list(middleware)
    for recipe in recipes:
        is_other = isinstance(recipe, (str, bytes, type)) or not isinstance(recipe, Iterable)
        if is_other or (isinstance(recipe, tuple) and len(recipe) != 3):
            raise TypeError(
                f"{place}: middleware must be made of Middleware, not {recipe!r:.200}. {example}"
            )
    return recipes


def build_stack(app: ASGIApp, middleware: Iterable[Any] | None, place: str = "") -> ASGIApp:
    """Return ``app`` inside the layers of ``middleware``; the first is the outermost.

    A wrong order causes a SpicaConfigurationWarning. Error messages name ``place``, the owner of the list. An
    error of a middleware gets a note that names its recipe.

    Raises:
        TypeError: an item is not a recipe, or returns None instead of an app.
    """
    recipes = check_recipes(middleware, place or "build_stack()")
    if recipes:
        check_order(recipes)
    for recipe in reversed(recipes):
        app = build_layer(app, recipe)
    return app


def build_layer(app: ASGIApp, recipe: Any) -> ASGIApp:
    """Return ``app`` inside the layer that ``recipe`` makes.

    Raises:
        TypeError: the recipe returns None instead of an app, or an object that can't be called as one.
    """
    cls, args, kwargs = recipe
    try:
        layer: ASGIApp = cls(app, *args, **kwargs)
    except Exception as exc:
        exc.add_note(f"In {_describe(recipe)}.{_suggest_option(cls, kwargs)}")
        raise
    if layer is None:
        raise TypeError(f"{_describe(recipe)} returned None, but must return an ASGI app.")
    if isinstance(cls, type) and not callable(layer):
        raise TypeError(
            f"{_describe(recipe)} made an object that can't be called. Define "
            f"async def __call__(self, scope, receive, send) in {type(layer).__name__}."
        )
    call = layer if type(layer) is FunctionType else getattr(layer, "__call__", None)  # noqa: B004
    if not takes(call, 3):
        raise TypeError(
            f"{_describe(recipe)} made an app with other parameters than (scope, receive, send): "
            f"{describe(call)}. For a function of (request, call_next), derive the class from "
            "BaseHTTPMiddleware, and name the method dispatch."
        )
    return layer


def _suggest_option(cls: Any, kwargs: dict[str, Any]) -> str:
    """Return the option that was probably meant by an unknown one."""
    import difflib  # for messages alone
    import inspect

    try:
        parameters = inspect.signature(cls).parameters
    except (TypeError, ValueError):
        return ""
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return ""
    for name in kwargs.keys() - parameters.keys():
        known = [other for other in parameters if other != "app"]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        return f" Did you mean {close[0]!r}?" if close else f" Its options are {', '.join(known)}."
    return ""


def _describe(recipe: Any) -> str:
    place = getattr(recipe, "_place", None)
    return f"{recipe!r:.300}" + (f", written at {place}" if place else "")
