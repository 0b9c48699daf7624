"""The lifespan protocol: run a context from the server's start to its end.

Standard: ASGI lifespan specification 2.0.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from spica.exceptions import SpicaDeprecationWarning

if TYPE_CHECKING:
    from spica.types import Receive, Scope, Send

LifespanContext = Callable[[Any], contextlib.AbstractAsyncContextManager[Any]]


class NoLifespan:
    """The context of an application that has nothing to start or stop."""

    def __init__(self, app: Any) -> None:
        """Take the application, as every lifespan does."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


def make_lifespan(lifespan: Any) -> LifespanContext:
    """Return ``lifespan`` as a function from the application to an async context manager.

    Generator functions without ``@asynccontextmanager`` are accepted with a deprecation warning.

    Raises:
        TypeError: ``lifespan`` can't be called.
    """
    if lifespan is None:
        return NoLifespan
    if not callable(lifespan):
        raise TypeError(
            f"lifespan must be a function that returns an async context manager, not {lifespan!r}. "
            "Decorate an async generator function with @contextlib.asynccontextmanager."
        )
    if inspect.isasyncgenfunction(lifespan):
        _warn_of_generator("async generator function")
        return contextlib.asynccontextmanager(lifespan)
    if inspect.isgeneratorfunction(lifespan):
        _warn_of_generator("generator function")
        return contextlib.asynccontextmanager(functools.partial(_as_async, lifespan))
    context: LifespanContext = lifespan  # what it returns is checked when it is entered
    return context


def _warn_of_generator(kind: str) -> None:
    """Warn at the line, outside this package, that gave the lifespan."""
    package = __name__.partition(".")[0]
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame = frame.f_back
    warnings.warn_explicit(
        f"{kind} lifespans are deprecated, use an @contextlib.asynccontextmanager function instead",
        SpicaDeprecationWarning,
        filename="<unknown>" if frame is None else frame.f_code.co_filename,
        lineno=1 if frame is None else frame.f_lineno,
        module=__package__,  # by which a filter finds it
    )


async def _as_async(lifespan: Callable[[Any], Any], app: Any) -> AsyncIterator[Any]:
    with contextlib.contextmanager(lifespan)(app) as state:
        yield state


async def run_lifespan(
    context: LifespanContext, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer the lifespan messages: enter ``context`` at startup, leave it at shutdown.

    What it yields becomes the state of each request. A failure is told to the server with its traceback,
    and raised.

    Raises:
        RuntimeError: the context yields state, and the server has no place for it.
    """
    has_started = False
    await receive()
    try:
        async with context(scope.get("app")) as state:
            if state is not None:
                _share_state(state, scope)
            await send({"type": "lifespan.startup.complete"})
            has_started = True
            await receive()
    except BaseException:
        import traceback

        kind = "shutdown" if has_started else "startup"
        await send({"type": f"lifespan.{kind}.failed", "message": traceback.format_exc()})
        raise
    await send({"type": "lifespan.shutdown.complete"})


def _share_state(state: Mapping[str, Any], scope: Scope) -> None:
    if "state" not in scope:
        raise RuntimeError('The server does not support "state" in the lifespan scope.')
    scope["state"].update(state)
