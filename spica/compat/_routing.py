"""Names of ``starlette.routing`` that other packages import, though they are private there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar

from spica.routing.lifespan.own import OwnLifespan

__all__ = ["DefaultLifespan", "LiftedContext", "wrap_generator_lifespan"]

T_co = TypeVar("T_co", covariant=True)


class _OwnWithoutFunctions(type):
    """Counts the lifespan of a router that was made without one."""

    def __instancecheck__(cls, instance: object) -> bool:
        if isinstance(instance, OwnLifespan):
            return not instance.functions
        return super().__instancecheck__(instance)


class DefaultLifespan(metaclass=_OwnWithoutFunctions):
    """The lifespan of a router that has none. Tests put it back to switch a lifespan off."""

    def __init__(self, router: object) -> None:
        self._router = router

    def __call__(self, app: object) -> DefaultLifespan:
        return self

    async def __aenter__(self) -> None:
        """Do nothing."""

    async def __aexit__(self, *exc_info: object) -> None:
        """Do nothing."""


class LiftedContext(Generic[T_co]):
    """Use a context manager in ``async with``."""

    def __init__(self, cm: AbstractContextManager[T_co]) -> None:
        self._cm = cm

    async def __aenter__(self) -> T_co:
        """Enter the context manager."""
        return self._cm.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Leave the context manager."""
        return self._cm.__exit__(exc_type, exc_value, traceback)


def wrap_generator_lifespan(lifespan_context: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make a lifespan of a generator function."""
    return functools.partial(_lift, contextmanager(lifespan_context))


def _lift(make: Callable[[Any], AbstractContextManager[Any]], app: Any) -> LiftedContext[Any]:
    return LiftedContext(make(app))
