"""Tools to run blocking code in threads, and to tell async callables from others.

AnyIO runs the threads, on asyncio and on trio. It is imported when first needed: it is most of what
an import of spica costs.

Three groups of threads do not wait for each other: those of endpoints and other code of the user
(`endpoint_threads`), those of files (`file_threads`), and those of background tasks
(`background_threads`). So a slow endpoint never delays a file, and no background task an endpoint.
"""

import functools
import types
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeGuard, TypeVar, cast

from spica.exceptions import HTTPException, SpicaDeprecationWarning

if TYPE_CHECKING:
    import anyio
    from anyio.lowlevel import RunVar

P = ParamSpec("P")
T = TypeVar("T")

_END: Any = object()
_MISSING: Any = object()
_CO_COROUTINE = 0x80  # inspect.CO_COROUTINE, without the cost of importing inspect

RETRY_AFTER_SECONDS = 5
"""What a client is told to wait when no thread became free in time."""


class ThreadLimiter:
    """Limit how many blocking calls of one kind run at once, and how long others wait for them.

    Attributes:
        name: what the threads are for; it stands in the error.
        total: how many calls may run at once, in each event loop.
        max_wait_seconds: how long a call may wait for its turn before it is answered with 503 and
            ``Retry-After``; None waits for ever.

    Both can be changed at any time.

    Raises:
        TypeError: `total` is no int, or `max_wait_seconds` neither a number nor None.
        ValueError: `total` is less than 1, or `max_wait_seconds` is negative.
    """

    def __init__(
        self, name: str, total: int = 40, *, max_wait_seconds: float | None = None
    ) -> None:
        self.name = name
        self.total = total
        self.max_wait_seconds = max_wait_seconds
        self._of_loop: RunVar[anyio.CapacityLimiter] | None = None

    @property
    def total(self) -> int:
        """How many calls may run at once, in each event loop."""
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        """Change it, also for those who wait."""
        self._set_total(total)

    def _set_total(self, total: int) -> None:
        if isinstance(total, bool) or not isinstance(total, int):
            raise TypeError(
                f"ThreadLimiter {self.name!r}: total must be an int, not {total!r:.80}."
            )
        if total < 1:
            raise ValueError(f"ThreadLimiter {self.name!r}: total must be 1 or more, not {total}.")
        self._total = total

    @property
    def max_wait_seconds(self) -> float | None:
        """How long a call may wait for its turn; None: for ever."""
        return self._max_wait

    @max_wait_seconds.setter
    def max_wait_seconds(self, seconds: float | None) -> None:
        """Change it for those who come later."""
        place = f"ThreadLimiter {self.name!r}: max_wait_seconds must be"
        if isinstance(seconds, (bool, str)) or not isinstance(seconds, int | float | None):
            raise TypeError(f"{place} a number or None, not {seconds!r:.80}.")
        if seconds is not None and not seconds >= 0:
            raise ValueError(f"{place} 0 or more, or None, not {seconds!r}.")
        self._max_wait = seconds

    def current(self) -> "anyio.CapacityLimiter":
        """Return the limiter of the event loop that is running."""
        if self._of_loop is None:
            from anyio.lowlevel import RunVar

            # With its id: early versions of AnyIO 4 tell variables apart by their names alone.
            self._of_loop = RunVar(f"spica threads: {self.name} ({id(self)})")
        try:
            limiter = self._of_loop.get()
        except LookupError:
            import anyio

            limiter = anyio.CapacityLimiter(self._total)
            self._of_loop.set(limiter)
        if limiter.total_tokens != self._total:
            limiter.total_tokens = self._total
        return limiter

    @property
    def running(self) -> int:
        """Count the calls that run now, in the event loop that is running."""
        return self.current().borrowed_tokens

    @property
    def waiting(self) -> int:
        """Count the calls that wait for their turn, in the event loop that is running."""
        return self.current().statistics().tasks_waiting

    async def run(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a blocking function in a worker thread and wait for its result.

        Context variables are seen by the function, and what it sets in them is seen by the caller
        afterwards, also when it raises. A cancelled caller waits until the function has returned.

        Raises:
            HTTPException: 503, no thread became free within `max_wait_seconds`.
        """
        return cast(T, await _ThreadCall(self, func, args, kwargs).run(self._max_wait))

    async def run_unbounded(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the same, but wait for a thread as long as it takes.

        For what has begun and can't be answered with 503 any more, and for what must be done, such as
        closing a file.
        """
        return cast(T, await _ThreadCall(self, func, args, kwargs).run(None))


class _DefaultThreadLimiter(ThreadLimiter):
    """AnyIO's own limiter, which applications know and set, under the same interface.

    A total that is set here is passed on, once in each event loop; what is set in AnyIO later wins.
    """

    def __init__(self, name: str, *, max_wait_seconds: float | None) -> None:
        super().__init__(name, max_wait_seconds=max_wait_seconds)
        self._passed_on: RunVar[int] | None = None
        self._was_set = False

    def _set_total(self, total: int) -> None:
        super()._set_total(total)
        self._was_set = True

    def current(self) -> "anyio.CapacityLimiter":
        """Return AnyIO's default limiter, as it was set by the application."""
        import anyio.to_thread

        limiter = anyio.to_thread.current_default_thread_limiter()
        if self._was_set:
            self._pass_on(limiter)
        return limiter

    def _pass_on(self, limiter: "anyio.CapacityLimiter") -> None:
        if self._passed_on is None:
            from anyio.lowlevel import RunVar

            self._passed_on = RunVar(f"spica threads: total of {self.name}", 0)
        if self._passed_on.get() != self._total:
            self._passed_on.set(self._total)
            limiter.total_tokens = self._total


endpoint_threads: ThreadLimiter = _DefaultThreadLimiter("endpoints", max_wait_seconds=30)
"""The threads of endpoints, dependencies and `run_in_threadpool`: at most 40, and a wait of at most
30 seconds. They are those of ``anyio.to_thread.current_default_thread_limiter()``: their number can be
set there as well (``.total_tokens = 100``), in the running event loop."""

file_threads = ThreadLimiter("files", max_wait_seconds=30)
"""The threads that open, read, write and close files: at most 40, never behind code of the user. A
wait of at most 30 seconds; what has begun, and closing, has no bound."""

background_threads = ThreadLimiter("background tasks", 20)
"""The threads of background tasks that are no coroutines: at most 20. They wait without a bound: their
request was answered, and giving one up would lose what was promised."""


class _ThreadCall:
    """One call in a thread: its place in a limiter, and what it sets in context variables.

    It stands for the limiter that AnyIO asks for a place. The place is then taken at once when one
    is free, without the turn of the event loop that AnyIO takes before it, and the wait for one
    has a bound.
    """

    __slots__ = (
        "_after",
        "_args",
        "_before",
        "_func",
        "_kwargs",
        "_limiter",
        "_max_wait",
        "threads",
    )

    def __init__(
        self, threads: ThreadLimiter, func: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        self.threads = threads
        self._func = func
        self._args = args
        self._kwargs = kwargs
        self._before: Context | None = None
        self._after: Context | None = None
        self._max_wait: float | None = None

    async def run(self, max_wait_seconds: float | None) -> Any:
        """Make the call in a thread, and bring back what it set."""
        import anyio.to_thread

        self._max_wait = max_wait_seconds
        try:
            return await anyio.to_thread.run_sync(self._call, limiter=cast(Any, self))
        finally:
            self._carry_back()

    def _call(self) -> Any:
        """Make the call; runs in the thread, in a copy of the caller's context."""
        self._before = copy_context()
        try:
            return self._func(*self._args, **self._kwargs)
        finally:
            self._after = copy_context()

    def _carry_back(self) -> None:
        """Set in the caller's context what the call has set in its copy."""
        before, after = self._before, self._after
        if before is None or after is None:
            return
        for variable, value in after.items():
            if before.get(variable, _MISSING) is not value:
                variable.set(value)

    # What AnyIO uses of a limiter on asyncio

    async def __aenter__(self) -> None:
        await self.acquire_on_behalf_of(self)

    async def __aexit__(self, *exc_info: object) -> None:
        self._limiter.release_on_behalf_of(self)

    # What trio uses of one

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Take a place, now or when one is free."""
        import anyio

        self._limiter = self.threads.current()
        try:
            self._limiter.acquire_on_behalf_of_nowait(self)
            return
        except anyio.WouldBlock:
            pass
        with anyio.move_on_after(self._max_wait):
            await self._limiter.acquire_on_behalf_of(self)
            return
        raise HTTPException(503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give the place back."""
        self._limiter.release_on_behalf_of(self)


async def run_in_threadpool(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a blocking function in a worker thread and wait for its result.

    Context variables are seen by the function, and what it sets in them is seen by the caller
    afterwards. It is one of the `endpoint_threads`: at most 40 run at a time
    (``anyio.to_thread.current_default_thread_limiter().total_tokens`` changes that).
    A cancelled caller waits until the function has returned.

    Raises:
        HTTPException: 503, no thread became free within 30 seconds
            (``endpoint_threads.max_wait_seconds`` changes that).
    """
    call = _ThreadCall(endpoint_threads, func, args, kwargs)
    return cast(T, await call.run(endpoint_threads.max_wait_seconds))


async def iterate_in_threadpool(iterator: Iterable[T]) -> AsyncIterator[T]:
    """Iterate a blocking iterable, each step in one of the `endpoint_threads`.

    A step waits for a thread as long as it takes: what has begun cannot be answered with 503. The
    iterator is closed, in a thread too, when the iteration is given up before its end.
    """
    source = iter(iterator)
    close = getattr(source, "close", None)
    try:
        while True:
            item = await _ThreadCall(endpoint_threads, next, (source, _END), {}).run(None)
            if item is _END:
                close = None
                return
            yield item
    finally:
        if close is not None:
            import anyio

            with anyio.CancelScope(shield=True):
                await file_threads.run_unbounded(close)


async def close_iterator(iterator: AsyncIterable[Any]) -> None:
    """Close an async generator that was not run to its end; other iterators need no closing."""
    aclose = getattr(iterator, "aclose", None)
    if aclose is not None:
        await aclose()


async def run_until_first_complete(*args: tuple[Callable[..., Any], dict[str, Any]]) -> None:
    """Run ``(function, keyword arguments)`` pairs at once; the first to end cancels the others.

    Deprecated: use ``anyio.create_task_group()``.
    """
    warnings.warn(
        "run_until_first_complete is deprecated and will be removed in a future version. "
        "Use anyio.create_task_group() and cancel its scope instead.",
        SpicaDeprecationWarning,
        stacklevel=2,
    )
    import anyio

    async with anyio.create_task_group() as group:
        for func, kwargs in args:
            group.start_soon(_run_then_cancel, func, kwargs, group.cancel_scope)


async def _run_then_cancel(
    func: Callable[..., Awaitable[Any]], kwargs: dict[str, Any], scope: "anyio.CancelScope"
) -> None:
    await func(**kwargs)
    scope.cancel()


def is_async_callable(obj: Any) -> TypeGuard[Callable[..., Awaitable[Any]]]:
    """Tell whether calling `obj` gives a coroutine.

    That is so for an ``async def`` function or method, an object whose class has an
    ``async def __call__``, and any depth of `functools.partial` around one of them.
    """
    # Nearly always a function or a method, which tells by its code.
    code = getattr(obj, "__code__", None)
    if code is not None and code.co_flags & _CO_COROUTINE:
        return True
    while isinstance(obj, functools.partial):
        obj = obj.func
    if _is_coroutine_function(obj):
        return True
    # Not obj.__call__: for a class that would be the method of its instances.
    return callable(obj) and _is_coroutine_function(type(obj).__call__)


def _is_coroutine_function(obj: Any) -> bool:
    if isinstance(obj, types.MethodType):
        obj = obj.__func__
    if isinstance(obj, types.FunctionType) and obj.__code__.co_flags & _CO_COROUTINE:
        return True
    # What was marked by inspect.markcoroutinefunction, or is a mock, or compiled
    if hasattr(obj, "_is_coroutine_marker") or hasattr(obj, "_is_coroutine"):
        import asyncio
        import inspect

        if inspect.iscoroutinefunction(obj):
            return True
        marker = getattr(asyncio.coroutines, "_is_coroutine", _MISSING)
        return getattr(obj, "_is_coroutine", None) is marker
    return False
