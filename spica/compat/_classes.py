"""Private classes of Starlette that other packages import, subclass or test with ``isinstance``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar

from spica.responses import Response, StreamingResponse
from spica.routing.lifespan.own import OwnLifespan

__all__ = [
    "BodyLimitResponseSent",
    "CallNextResponse",
    "DefaultLifespan",
    "LiftedContext",
    "RequestData",
    "wrap_generator_lifespan",
]

RequestData = Mapping[str, Any]
"""The type of the form fields that the test client sends."""

T_co = TypeVar("T_co", covariant=True)


class BodyLimitResponseSent(Exception):
    """Exist for imports only: here a body over its limit raises an HTTPException with status 413."""


class _AnyResponse(type):
    """Count every response: ``call_next`` returns the endpoint's own, and each has a ``body_iterator``."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Response)


class CallNextResponse(StreamingResponse, metaclass=_AnyResponse):
    """The type that Starlette's ``call_next`` returns, for annotations and ``isinstance``."""


class _OwnWithoutFunctions(type):
    """Count the lifespan of a router that was created without one."""

    def __instancecheck__(cls, instance: object) -> bool:
        if isinstance(instance, OwnLifespan):
            return not instance.functions
        return super().__instancecheck__(instance)


class DefaultLifespan(metaclass=_OwnWithoutFunctions):
    """The lifespan of a router that has none. Tests assign it to a router to turn a lifespan off."""

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
    """Turn a generator function into a lifespan."""
    return functools.partial(_lift, contextmanager(lifespan_context))


def _lift(make: Callable[[Any], AbstractContextManager[Any]], app: Any) -> LiftedContext[Any]:
    return LiftedContext(make(app))
