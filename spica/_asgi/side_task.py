"""Start a second task in the caller's context, on asyncio and on trio.

Unlike in a task group, the task may outlive the block that starts it, and its owner cancels it. The function
that it runs must not raise.
"""

from __future__ import annotations

import contextvars
import functools
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

import anyio

if TYPE_CHECKING:
    import asyncio

AsyncFunction = Callable[[], Coroutine[Any, Any, None]]


class SideTask(Protocol):
    """A running task."""

    def cancel(self) -> object:
        """Cancel the task."""
        ...


class Signal:
    """An event that happens once, like ``anyio.Event``. It costs nothing until a task waits for it."""

    __slots__ = ("_event", "_futures", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._futures: tuple[asyncio.Future[None], ...] = ()
        self._event: anyio.Event | None = None

    def set(self) -> None:
        """Set the signal and wake all waiting tasks."""
        self.is_set = True
        for future in self._futures:
            if not future.done():
                future.set_result(None)
        if self._event is not None:
            self._event.set()

    def wait(self) -> Awaitable[None]:
        """Return an awaitable that completes when the signal is set."""
        loop = running_asyncio_loop()
        if loop is None:
            if self._event is None:
                self._event = anyio.Event()
                if self.is_set:
                    self._event.set()
            return self._event.wait()
        # Each task waits for its own future, because cancelling a task cancels the future.
        future = loop.create_future()
        if self.is_set:
            future.set_result(None)
        else:
            self._futures += (future,)
        return future


def start_side_task(function: AsyncFunction) -> SideTask:
    """Run ``function`` in a new task that shares the context of the caller's task."""
    loop = running_asyncio_loop()
    if loop is None:
        return _TrioTask(function)
    return loop.create_task(function(), context=_current_context(loop))


def start_listening_task(function: AsyncFunction) -> SideTask:
    """Run ``function`` in a new task, with a copy of the caller's context.

    Such a task can start before the caller pauses. Use it where the caller needs no context variable that
    ``function`` sets.

    Raises:
        RuntimeError: no event loop runs in this thread.
    """
    loop = running_asyncio_loop()
    if loop is None:
        if "trio" not in sys.modules:
            raise RuntimeError("No event loop runs in this thread.")
        return _TrioListener(function)
    return loop.create_task(function())


def start_timer(seconds: float, function: Callable[[], object]) -> SideTask:
    """Call ``function`` after ``seconds``, by the clock of the event loop. It must not raise."""
    loop = running_asyncio_loop()
    if loop is None:
        return _TrioListener(functools.partial(_call_later, seconds, function))
    return loop.call_later(seconds, function)


async def _call_later(seconds: float, function: Callable[[], object]) -> None:
    await anyio.sleep(seconds)
    function()


class _TrioTask:
    """A system task of trio, so that no nursery of the caller waits for it."""

    __slots__ = ("_context", "_function", "_scope", "_spawn")

    def __init__(self, function: AsyncFunction) -> None:
        from trio import CancelScope, lowlevel

        self._function = function
        self._scope = CancelScope()
        self._context = lowlevel.current_task().context
        self._spawn = lowlevel.spawn_system_task
        # Two tasks can't be inside one context at once, so spawn this one after the caller has paused.
        lowlevel.current_trio_token().run_sync_soon(self._start)

    def _start(self) -> None:
        self._spawn(self._run, context=self._context)

    async def _run(self) -> None:
        with self._scope:
            await self._function()

    def cancel(self) -> None:
        """Cancel the task."""
        self._scope.cancel()


class _TrioListener(_TrioTask):
    """A system task of trio with a copy of the caller's context."""

    __slots__ = ()

    def __init__(self, function: AsyncFunction) -> None:
        from trio import CancelScope, lowlevel

        self._function = function
        self._scope = CancelScope()
        lowlevel.spawn_system_task(self._run, context=contextvars.copy_context())


def _current_context(loop: asyncio.AbstractEventLoop) -> contextvars.Context:
    """Return the context of the current asyncio task, so that both tasks see the same variables."""
    if sys.version_info >= (3, 12):
        import asyncio  # already loaded, because its loop runs

        task = asyncio.current_task(loop)
        if task is not None:
            return task.get_context()
    return contextvars.copy_context()


def running_asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """Return the asyncio loop that runs in this thread, or None on trio and outside an event loop."""
    module = sys.modules.get("asyncio")
    if module is None:
        return None
    try:
        loop: asyncio.AbstractEventLoop = module.get_running_loop()
    except RuntimeError:
        return None
    return loop


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return the clock of a loop: ``loop.time``, or the function that it calls."""
    clock = loop.time
    # asyncio's own method costs twice as much as the function below it. Loops may have another one.
    own = sys.modules["asyncio"].BaseEventLoop.time
    return time.monotonic if getattr(clock, "__func__", None) is own else clock
