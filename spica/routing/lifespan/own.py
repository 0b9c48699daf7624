"""Check the lifespans of one router, and hold them.

`spica.routing.lifespan.run` runs them for the server, together with the lifespans of mounted applications.

Standard: ASGI lifespan specification 2.0.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextvars import ContextVar
from types import MethodType, TracebackType
from typing import TYPE_CHECKING, Any

from spica._diagnostics.arguments import takes
from spica._diagnostics.call_site import describe, user_line, warn_at
from spica.exceptions import SpicaDeprecationWarning

if TYPE_CHECKING:
    from spica.types import Lifespan

LifespanContext = Callable[[Any], contextlib.AbstractAsyncContextManager[Any]]

entered_by_hand: ContextVar[set[int] | None] = ContextVar("entered_by_hand", default=None)
"""The ids of routers whose lifespan a starting lifespan function has entered by hand."""


def make_lifespans(
    lifespan: Lifespan[Any] | Iterable[Lifespan[Any]] | None,
) -> list[LifespanContext]:
    """Return the lifespans as functions from the application to an async context manager.

    A generator function without ``@asynccontextmanager`` still works, with a deprecation warning.

    Raises:
        TypeError: A lifespan can't be called.
    """
    if lifespan is None:
        return []
    if isinstance(lifespan, (list, tuple)):
        return [_make_lifespan(each) for each in lifespan]
    return [_make_lifespan(lifespan)]


def _make_lifespan(lifespan: Any) -> LifespanContext:
    if not callable(lifespan):
        fix = "Decorate an async generator function with @contextlib.asynccontextmanager."
        if callable(getattr(lifespan, "lifespan", None)):  # a store, channels or runs
            fix = "Pass its method: lifespan=[store.lifespan]."
        raise TypeError(
            "lifespan must be a function that returns an async context manager, or a list of these, "
            f"not {lifespan!r:.200}. {fix}"
        )
    # The result of a function with @asynccontextmanager is callable as well: it can be used as a decorator.
    if type(lifespan).__call__ is contextlib.AsyncContextDecorator.__call__:
        raise TypeError(
            "lifespan must be the function, not its result: write lifespan=name, not lifespan=name(app)."
        )
    if not _takes_application(lifespan):
        raise TypeError(
            f"A lifespan is called with one argument, the application, but {describe(lifespan)} has other "
            "parameters. Write async def lifespan(app)."
        )
    if inspect.isasyncgenfunction(lifespan):
        _warn_of_generator("async generator function")
        return contextlib.asynccontextmanager(lifespan)
    if inspect.isgeneratorfunction(lifespan):
        _warn_of_generator("generator function")
        return contextlib.asynccontextmanager(functools.partial(_as_async, lifespan))
    context: LifespanContext = lifespan  # `open_context` checks its result  # pyright: ignore[reportAssignmentType]
    return context


def _takes_application(lifespan: Any) -> bool:
    # @asynccontextmanager makes a function of any arguments. Look at the function below it.
    if isinstance(lifespan, MethodType):
        function = lifespan.__func__
        return takes(getattr(function, "__wrapped__", function), 2)
    return takes(getattr(lifespan, "__wrapped__", lifespan), 1)


def _warn_of_generator(kind: str) -> None:
    """Warn at the user's line that passes the lifespan."""
    text = (
        f"{kind} lifespans are deprecated, use an @contextlib.asynccontextmanager function instead"
    )
    # Programs filter this warning by the module that has it in Starlette, too.
    warn_at(user_line(), text, SpicaDeprecationWarning, module="spica.routing")


async def _as_async(lifespan: Callable[[Any], Any], app: Any) -> AsyncIterator[Any]:
    with contextlib.contextmanager(lifespan)(app) as state:
        yield state


def describe_lifespan(function: Any) -> str:
    """Return the name of a lifespan with its file and line."""
    if isinstance(function, OwnLifespan) and function.functions:
        function = function.functions[0]
    return describe(function)


def open_context(
    function: LifespanContext, app: Any
) -> contextlib.AbstractAsyncContextManager[Any]:
    """Call a lifespan.

    Raises:
        TypeError: It does not return an async context manager.
    """
    context: Any = function(app)
    if hasattr(context, "__aenter__") and hasattr(context, "__aexit__"):
        manager: contextlib.AbstractAsyncContextManager[Any] = context
        return manager
    if hasattr(context, "close"):
        context.close()  # a coroutine that is never awaited
    raise TypeError(
        f"The lifespan {describe_lifespan(function)} returned {type(context).__name__}, not an async "
        "context manager. Decorate an async generator function with @contextlib.asynccontextmanager."
    )


def merge_state(
    state: dict[str, Any] | None, given: Any, function: LifespanContext
) -> dict[str, Any] | None:
    """Return ``state`` with the keys that another lifespan of the application has yielded.

    Raises:
        TypeError: The lifespan yielded something other than a mapping.
        ValueError: An earlier lifespan has yielded the same key.
    """
    if given is None:
        return state
    if not isinstance(given, Mapping):
        raise TypeError(
            f"The lifespan {describe_lifespan(function)} yielded {type(given).__name__}; the state must "
            "be a mapping, such as a dict."
        )
    repeated = sorted(str(key) for key in given if key in (state or ()))
    if repeated:
        raise ValueError(
            f"The lifespan {describe_lifespan(function)} yielded {', '.join(map(repr, repeated))}, as an "
            "earlier one of the application did. Give them different names."
        )
    return {**(state or {}), **given}


class OwnLifespan:
    """The lifespans of one router, without those of mounted applications.

    Call it with an application to get an async context manager, for example to enter the lifespan of a
    mounted router by hand. A run that is starting notes this, and does not start the lifespan again.

    Args:
        router: The router.
        functions: Functions from the application to an async context manager, as by `make_lifespans`.
    """

    __slots__ = ("__weakref__", "functions", "router")

    def __init__(self, router: object, functions: Iterable[LifespanContext]) -> None:
        self.router = router
        self.functions = tuple(functions)

    def __call__(self, app: Any) -> contextlib.AbstractAsyncContextManager[Any]:
        """Return a context that enters all functions in order, and leaves them in reverse."""
        return _ByHand(self, app)

    def __repr__(self) -> str:
        return f"<lifespan of {', '.join(map(describe_lifespan, self.functions)) or 'nothing'}>"


class _ByHand(contextlib.AbstractAsyncContextManager[Any]):
    """The lifespan of a router, entered by hand."""

    def __init__(self, lifespan: OwnLifespan, app: Any) -> None:
        self._lifespan = lifespan
        self._app = app
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Any:
        entered = entered_by_hand.get()
        if entered is not None:
            entered.add(id(self._lifespan.router))
        functions = self._lifespan.functions
        if len(functions) == 1:
            # Return its value unchanged, even if it is not a mapping.
            return await self._stack.enter_async_context(open_context(functions[0], self._app))
        state: dict[str, Any] | None = None
        try:
            for function in functions:
                context = open_context(function, self._app)
                state = merge_state(state, await self._stack.enter_async_context(context), function)
        except BaseException as exc:
            if not await self._stack.__aexit__(type(exc), exc, exc.__traceback__):
                raise
            raise RuntimeError("The lifespans did not start.") from exc
        return state

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(exc_type, exc, traceback)
