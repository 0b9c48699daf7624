"""Run blocking code in threads, and recognise async callables.

On asyncio and uvloop the calls run in parked threads (`spica._workers`), on trio in AnyIO's. AnyIO is
imported on first use, because it makes up most of the import time of spica.

Four groups of threads never wait for each other: `endpoint_threads` run endpoints and other code of
the application, `file_threads` read and write files, `background_threads` run background tasks, and
`wsgi_threads` run WSGI applications. A slow endpoint therefore delays no file, and a background task
delays no endpoint.
"""

import sys
import types
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeGuard, TypeVar, cast
from weakref import WeakKeyDictionary

from spica._diagnostics.call_site import unwrap_partial
from spica.exceptions import HTTPException, SpicaDeprecationWarning

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task

    import anyio
    from anyio.lowlevel import RunVar

    from spica._workers import AnyIODetails, Pool

P = ParamSpec("P")
T = TypeVar("T")

_END: Any = object()
_MISSING: Any = object()
_CO_COROUTINE = 0x80  # inspect.CO_COROUTINE, without the cost of importing inspect

_ANYIO_TOTAL = 40
"""The number of threads that AnyIO allows by default."""

RETRY_AFTER_SECONDS = 5
"""The `Retry-After` of a 503 response: no thread became free in time."""


class ThreadLimiter:
    """Limit how many blocking calls of one kind run at once, and how long further calls wait.

    You can change `total` and `max_wait_seconds` at any time.

    Args:
        name: the purpose of the threads, for error messages.
        total: how many calls may run at once in each event loop; at least 1. The default, 40, is
            that of AnyIO.
        max_wait_seconds: how long a call may wait for a free slot before it raises a 503 with
            ``Retry-After``. None, the default, waits without a bound.

    Raises:
        TypeError: `total` is not an int, or `max_wait_seconds` is neither a number nor None.
        ValueError: `total` is less than 1, or `max_wait_seconds` is negative or NaN.
    """

    def __init__(
        self, name: str, total: int = _ANYIO_TOTAL, *, max_wait_seconds: float | None = None
    ) -> None:
        self.name = name
        self._set_total(total)
        self.max_wait_seconds = max_wait_seconds
        self._of_loop: RunVar[anyio.CapacityLimiter] | None = None
        self._of_asyncio_loop: WeakKeyDictionary[AbstractEventLoop, anyio.CapacityLimiter]
        self._of_asyncio_loop = WeakKeyDictionary()

    @property
    def total(self) -> int:
        """The number of calls that may run at once in each event loop."""
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        """Change the number, also for calls that are already waiting."""
        self._set_total(total)
        self._total_has_changed()

    def _set_total(self, total: int) -> None:
        if isinstance(total, bool) or not isinstance(total, int):
            raise TypeError(
                f"ThreadLimiter {self.name!r}: total must be an int, not {total!r:.80}."
            )
        if total < 1:
            raise ValueError(f"ThreadLimiter {self.name!r}: total must be 1 or more, not {total}.")
        self._total = total

    def _total_has_changed(self) -> None:
        """Do nothing: `_update` sets the limiter of an event loop on its next call."""

    @property
    def max_wait_seconds(self) -> float | None:
        """The seconds that a call may wait for a free slot. None means no limit."""
        return self._max_wait

    @max_wait_seconds.setter
    def max_wait_seconds(self, seconds: float | None) -> None:
        """Change the bound for later calls."""
        place = f"ThreadLimiter {self.name!r}: max_wait_seconds must be"
        if isinstance(seconds, (bool, str)) or not isinstance(seconds, int | float | None):
            raise TypeError(f"{place} a number or None, not {seconds!r:.80}.")
        if seconds is not None and not seconds >= 0:
            raise ValueError(f"{place} 0 or more, or None, not {seconds!r}.")
        self._max_wait = seconds

    def current(self) -> "anyio.CapacityLimiter":
        """Return the limiter of the running event loop."""
        if self._of_loop is None:
            from anyio.lowlevel import RunVar

            # The name has the id, because early versions of AnyIO 4 compare variables only by their names.
            self._of_loop = RunVar(f"spica threads: {self.name} ({id(self)})")
        try:
            limiter = self._of_loop.get()
        except LookupError:
            limiter = self._make()
            self._of_loop.set(limiter)
        self._update(limiter)
        return limiter

    def _current_in(self, loop: "AbstractEventLoop") -> "anyio.CapacityLimiter":
        """Return the limiter of the running asyncio event loop; faster than `current`."""
        limiter = self._of_asyncio_loop.get(loop)
        if limiter is None:
            limiter = self._of_asyncio_loop[loop] = self.current()
        self._update(limiter)
        return limiter

    def _make(self) -> "anyio.CapacityLimiter":
        """Return a limiter for the running event loop."""
        import anyio

        return anyio.CapacityLimiter(self._total)

    def _update(self, limiter: "anyio.CapacityLimiter") -> None:
        """Pass a change of `total` on to the limiter of an event loop."""
        if limiter.total_tokens != self._total:
            limiter.total_tokens = self._total

    @property
    def running(self) -> int:
        """The number of calls that run now, in the running event loop."""
        return self.current().borrowed_tokens

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a free slot, in the running event loop."""
        return self.current().statistics().tasks_waiting

    async def run(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a blocking function in a worker thread and wait for its result.

        The function sees the context variables of the caller. The caller sees their new
        values, even if the function raises. A cancelled caller waits until the function has returned.

        Raises:
            HTTPException: 503, no thread became free within `max_wait_seconds`.
        """
        return cast(T, await _ThreadCall(self, func, args, kwargs).run(self._max_wait))

    async def run_unbounded(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a blocking function as `run` does, but wait for a free slot without a bound.

        Use it for work that cannot end in a 503: the response has started, or the work must be done,
        such as closing a file.
        """
        return cast(T, await _ThreadCall(self, func, args, kwargs).run(None))


class _DefaultThreadLimiter(ThreadLimiter):
    """AnyIO's own default limiter, which applications know and set, under the same interface.

    The last total that was set applies, in this object or in AnyIO.
    """

    def __init__(self, name: str, *, max_wait_seconds: float | None) -> None:
        super().__init__(name, _ANYIO_TOTAL, max_wait_seconds=max_wait_seconds)
        self._taken_over: WeakKeyDictionary[anyio.CapacityLimiter, int] = WeakKeyDictionary()
        self._was_set = False

    def _total_has_changed(self) -> None:
        self._was_set = True
        try:
            limiter = self._make()
        except RuntimeError:
            return  # No event loop runs in this thread. Each one reads the total on its next call.
        self._taken_over[limiter] = limiter.total_tokens = self._total

    def current(self) -> "anyio.CapacityLimiter":
        """Return AnyIO's default limiter, as the application has set it."""
        limiter = self._make()
        self._update(limiter)
        return limiter

    def _make(self) -> "anyio.CapacityLimiter":
        import anyio.to_thread

        return anyio.to_thread.current_default_thread_limiter()

    def _update(self, limiter: "anyio.CapacityLimiter") -> None:
        if not self._was_set or self._taken_over.get(limiter) == self._total:
            return
        is_first = limiter not in self._taken_over
        self._taken_over[limiter] = self._total
        # On the first call in an event loop, another total than AnyIO's default comes from the
        # application: it has set AnyIO's limiter in this loop, for example in its lifespan.
        if not is_first or limiter.total_tokens == _ANYIO_TOTAL:
            limiter.total_tokens = self._total


endpoint_threads: ThreadLimiter = _DefaultThreadLimiter("endpoints", max_wait_seconds=30)
"""The threads of endpoints, dependencies and `run_in_threadpool`: at most 40, as in AnyIO, with a wait
of at most 30 seconds. Their limiter is ``anyio.to_thread.current_default_thread_limiter()``, so you can
also set their number there (``.total_tokens = 100``), in the running event loop."""

file_threads = ThreadLimiter("files", max_wait_seconds=30)
"""The threads that open, read, write and close files: at most 40. They never wait for code of the
application. A wait takes at most 30 seconds; reading on and closing wait without a bound."""

background_threads = ThreadLimiter("background tasks", 20)
"""The threads of `def` background tasks: at most 20. The tasks wait without a bound: the client already
has the response, so dropping a task would lose it."""


_pool: "Pool | None" = None


def _load_pool() -> "Pool | None":
    """Return the parked threads, or None if asyncio was never imported and therefore does not run."""
    global _pool
    if "asyncio" in sys.modules:
        from spica import _workers

        _pool = _workers.pool
    return _pool


wsgi_threads = ThreadLimiter("WSGI applications", 40, max_wait_seconds=30)
"""The threads that run WSGI applications: at most 40, with a wait of at most 30 seconds. A WSGI application
holds its thread until its response is sent, so slow clients would otherwise take the threads of endpoints."""


class _ThreadCall:
    """One call in a thread: its slot in a limiter, and the thread that makes it.

    AnyIO accepts this object as the limiter of the call. It takes a free slot at once, without the
    turn of the event loop that AnyIO's limiters take first. Otherwise it waits, with a time limit.
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
        """Make the call in a parked thread, or in a thread of AnyIO where no parked thread can be used."""
        self._max_wait = max_wait_seconds
        pool = _pool or _load_pool()
        task = None if pool is None else pool.current_task()
        if pool is None or task is None:
            return await self._run_on_anyio()
        details = pool.details or await pool.learn()
        if details is None:
            return await self._run_on_anyio()
        return await self._run_parked(pool, details, task)

    async def _run_parked(self, pool: "Pool", details: "AnyIODetails", task: "Task[Any]") -> Any:
        """Make the call in a parked thread."""
        import anyio

        scope = details.scope_of(task)
        # A task that is already cancelled must not start the call.
        if task.cancelling():
            await anyio.lowlevel.checkpoint()
        elif scope is not None:
            await anyio.lowlevel.checkpoint_if_cancelled()
        loop = task.get_loop()
        self._limiter = self.threads._current_in(loop)
        try:
            self._limiter.acquire_on_behalf_of_nowait(self)
        except anyio.WouldBlock:
            await self._wait_for_slot()
        try:
            return await pool.run(details, loop, scope, self._func, self._args, self._kwargs)
        finally:
            self._limiter.release_on_behalf_of(self)

    async def _run_on_anyio(self) -> Any:
        """Make the call in one of AnyIO's threads."""
        import anyio.to_thread

        try:
            return await anyio.to_thread.run_sync(self._call, limiter=cast(Any, self))
        finally:
            self._carry_back()

    def _call(self) -> Any:
        """Make the call. This runs in a thread of AnyIO, in a copy of the caller's context."""
        self._before = copy_context()
        try:
            return self._func(*self._args, **self._kwargs)
        finally:
            self._after = copy_context()

    def _carry_back(self) -> None:
        """Copy the variables that the call has set back to the caller's context."""
        before, after = self._before, self._after
        if before is None or after is None:
            return
        for variable, value in after.items():
            if before.get(variable, _MISSING) is not value:
                variable.set(value)

    # AnyIO's use of a limiter on asyncio

    async def __aenter__(self) -> None:
        await self.acquire_on_behalf_of(self)

    async def __aexit__(self, *exc_info: object) -> None:
        self._limiter.release_on_behalf_of(self)

    # trio's use of a limiter

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Take a slot, and wait for a free one if necessary.

        Raises:
            HTTPException: 503, no slot became free within the bound.
        """
        import anyio

        self._limiter = self.threads.current()
        try:
            self._limiter.acquire_on_behalf_of_nowait(self)
        except anyio.WouldBlock:
            await self._wait_for_slot()

    async def _wait_for_slot(self) -> None:
        import anyio

        with anyio.move_on_after(self._max_wait):
            await self._limiter.acquire_on_behalf_of(self)
            return
        raise HTTPException(503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give the slot back."""
        self._limiter.release_on_behalf_of(self)


async def run_in_threadpool(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a blocking function in a worker thread and wait for its result.

    The function sees the context variables of the caller, and the caller sees their new
    values. The thread is one of the `endpoint_threads`: at most 40 run at a time
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

    A step waits for a thread without a bound, because a response that has started cannot become a
    503. At the end, or when you stop before it, the iterable and its iterator are closed, also in a
    thread, if they have a ``close()``: a generator, an open file, an object of your own.
    """
    source = iter(iterator)
    is_over = False
    try:
        while True:
            item = await _ThreadCall(endpoint_threads, next, (source, _END), {}).run(None)
            if item is _END:
                is_over = True
                return
            yield item
    finally:
        owners = (source,) if source is iterator else (source, iterator)
        for owner in owners:
            close = getattr(owner, "close", None)
            # A generator that has ended is closed.
            if callable(close) and not (is_over and isinstance(owner, Generator)):
                import anyio

                with anyio.CancelScope(shield=True):
                    await file_threads.run_unbounded(close)


async def close_iterator(iterator: AsyncIterable[Any]) -> None:
    """Close an iterator with ``aclose()`` if it has one, else with ``close()``."""
    aclose = getattr(iterator, "aclose", None)
    if aclose is not None:
        await aclose()
        return
    close = getattr(iterator, "close", None)
    if callable(close):
        result = close()
        if hasattr(result, "__await__"):
            await result  # pyright: ignore[reportGeneralTypeIssues]


async def run_until_first_complete(*args: tuple[Callable[..., Any], dict[str, Any]]) -> None:
    """Run ``(function, keyword arguments)`` pairs concurrently. The first one to end cancels the others.

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
    """Return whether calling `obj` returns a coroutine.

    It does for an ``async def`` function or method, for an object whose class has an
    ``async def __call__``, and for any depth of `functools.partial` around one of them.
    """
    # Fast path for functions and methods: their code object has a flag.
    code = getattr(obj, "__code__", None)
    if code is not None and code.co_flags & _CO_COROUTINE:
        return True
    obj = unwrap_partial(obj)
    if _is_coroutine_function(obj):
        return True
    # Not `obj.__call__`, which for a class is the method of its instances.
    return callable(obj) and _is_coroutine_function(type(obj).__call__)


def _is_coroutine_function(obj: Any) -> bool:
    if isinstance(obj, types.MethodType):
        obj = obj.__func__
    if isinstance(obj, types.FunctionType) and obj.__code__.co_flags & _CO_COROUTINE:
        return True
    # Marked by inspect.markcoroutinefunction, a mock, or a compiled function.
    if hasattr(obj, "_is_coroutine_marker") or hasattr(obj, "_is_coroutine"):
        import asyncio
        import inspect

        if inspect.iscoroutinefunction(obj):
            return True
        marker = getattr(asyncio.coroutines, "_is_coroutine", _MISSING)
        return getattr(obj, "_is_coroutine", None) is marker
    return False
