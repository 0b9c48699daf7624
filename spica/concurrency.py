"""Tools to run blocking code in threads, and to tell async callables from others.

AnyIO does the work, on asyncio and on trio. It is imported when first needed: an application
without blocking code never pays for it at start-up.
"""

import functools
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextvars import Context, copy_context
from typing import Any, ParamSpec, TypeGuard, TypeVar

from spica.exceptions import SpicaDeprecationWarning

P = ParamSpec("P")
T = TypeVar("T")

_END: Any = object()
_MISSING: Any = object()


class _ThreadCall:
    """A call that is made in a thread, and what it changed in its context variables."""

    __slots__ = ("after", "args", "before", "func", "kwargs")

    def __init__(self, func: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.before: Context | None = None
        self.after: Context | None = None

    def run(self) -> Any:
        """Make the call; runs in the thread, in a copy of the caller's context."""
        self.before = copy_context()
        try:
            return self.func(*self.args, **self.kwargs)
        finally:
            self.after = copy_context()

    def carry_back(self) -> None:
        """Set in the caller's context what the call has set in its copy."""
        before, after = self.before, self.after
        if before is None or after is None:
            return
        for variable, value in after.items():
            if before.get(variable, _MISSING) is not value:
                variable.set(value)


async def run_in_threadpool(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a blocking function in a worker thread and wait for its result.

    Context variables are seen by the function, and what it sets in them is seen by the caller
    afterwards. The thread is one of AnyIO's; at most 40 run at a time
    (``anyio.to_thread.current_default_thread_limiter().total_tokens`` changes that).
    A cancelled caller waits until the function has returned.
    """
    import anyio.to_thread

    call = _ThreadCall(func, args, kwargs)
    try:
        result: T = await anyio.to_thread.run_sync(call.run)
        return result
    finally:
        call.carry_back()


async def iterate_in_threadpool(iterator: Iterable[T]) -> AsyncIterator[T]:
    """Iterate a blocking iterable, each step in a worker thread.

    The iterator is closed, in a thread too, when the iteration is given up before its end.
    """
    source = iter(iterator)
    finished = False
    try:
        while True:
            item = await run_in_threadpool(next, source, _END)
            if item is _END:
                finished = True
                return
            yield item
    finally:
        close = getattr(source, "close", None)
        if close is not None and not finished:
            import anyio

            with anyio.CancelScope(shield=True):
                await run_in_threadpool(close)


async def run_until_first_complete(*args: tuple[Callable[..., Any], dict[str, Any]]) -> None:
    """Run ``(function, keyword arguments)`` pairs at once; the first to end cancels the others.

    Deprecated: use ``anyio.create_task_group()``.
    """
    import anyio

    warnings.warn(
        "run_until_first_complete is deprecated and will be removed in spica 2. "
        "Use anyio.create_task_group() and cancel its scope instead.",
        SpicaDeprecationWarning,
        stacklevel=2,
    )
    async with anyio.create_task_group() as group:
        for func, kwargs in args:
            group.start_soon(_run_then_cancel, func, kwargs, group.cancel_scope)


async def _run_then_cancel(func: Callable[..., Any], kwargs: dict[str, Any], scope: Any) -> None:
    await func(**kwargs)
    scope.cancel()


_AsyncCallable = Callable[P, Coroutine[Any, Any, T]]


def is_async_callable(obj: Any) -> TypeGuard[Callable[..., Awaitable[Any]]]:
    """Tell whether calling `obj` gives a coroutine: an ``async def`` function or method, an object
    whose class has an ``async def __call__``, or any depth of `functools.partial` around one.
    """
    while isinstance(obj, functools.partial):
        obj = obj.func
    import inspect

    if inspect.iscoroutinefunction(obj):
        return True
    return not isinstance(obj, type) and inspect.iscoroutinefunction(
        getattr(type(obj), "__call__", None)
    )
