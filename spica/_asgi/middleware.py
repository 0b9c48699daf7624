"""The recipe of a middleware, and the one fold that makes a stack of recipes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from spica.types import ASGIApp

P = ParamSpec("P")
AppT_co = TypeVar("AppT_co", covariant=True)


class MiddlewareFactory(Protocol[P]):
    """A class or function that makes a layer around an app."""

    def __call__(self, app: ASGIApp, /, *args: P.args, **kwargs: P.kwargs) -> ASGIApp:
        """Return the layer."""
        ...


class Middleware(Generic[P]):
    """Name a middleware and its options: ``Middleware(cls, *args, **kwargs)``.

    ``cls`` is any callable that takes the app it stands around and returns an ASGI app. It is called when
    the stack is built, at the first request.

    Raises:
        TypeError: ``cls`` can't be called.
    """

    def __init__(self, cls: MiddlewareFactory[P], *args: P.args, **kwargs: P.kwargs) -> None:
        if not callable(cls):
            raise TypeError(
                f"Middleware needs a class or function that takes an app, not {cls!r}. "
                "Write Middleware(SomeMiddleware, option=value)."
            )
        self.cls = cls
        self.args = args
        self.kwargs = kwargs

    def __iter__(self) -> Iterator[Any]:
        return iter((self.cls, self.args, self.kwargs))

    def __repr__(self) -> str:
        name = getattr(self.cls, "__name__", "")
        _, args, kwargs = self
        parts = [name, *map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
        return f"{type(self).__name__}({', '.join(part for part in parts if part)})"


def build_stack(app: ASGIApp, middleware: Sequence[Middleware[Any]]) -> ASGIApp:
    """Return ``app`` inside the layers that ``middleware`` names; the first is the outermost."""
    for recipe in reversed(middleware):
        cls, args, kwargs = recipe
        app = cls(app, *args, **kwargs)
    return app
