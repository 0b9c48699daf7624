"""Start and find the tasks of a test client, on asyncio and trio.

A context variable marks the tasks of an exchange. A task inherits the context of the task that started
it, so the mark finds all descendants.
"""

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, ContextVar
from types import FrameType
from typing import Any

import anyio

MARK: ContextVar[Any] = ContextVar("spica.testclient.exchange", default=None)
"""The exchange that the current task belongs to."""

_MACHINERY = ("spica", "anyio", "asyncio", "trio", "httpx2", "httpx")
"""Packages whose frames the message of a timeout never names."""


class Runner:
    """Start the tasks of a client, in a task group.

    Attributes:
        clock: returns the time of the event loop, in seconds.
        make_event: makes an event.
    """

    clock: Callable[[], float] = staticmethod(anyio.current_time)
    make_event: Callable[[], Any] = anyio.Event

    def __init__(self) -> None:
        self._group = anyio.create_task_group()

    async def open(self) -> None:
        """Enter the task group."""
        await self._group.__aenter__()

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run a coroutine in a task."""
        self._group.start_soon(_await, coroutine, name=name)

    async def stop(self) -> None:
        """Cancel the tasks that still run, and wait for their end."""
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(None, None, None)


class AsyncioRunner(Runner):
    """Start tasks with asyncio itself.

    This takes a quarter of the time of a task group. Also, the same task must enter and leave a task
    group, but pytest-asyncio enters and leaves a fixture in different tasks.
    """

    make_event: Callable[[], Any] = asyncio.Event

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self.clock = self._loop.time

    async def open(self) -> None:
        """Do nothing. The event loop accepts tasks at any time."""

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run a coroutine in a task, and hold the task until it ends."""
        task = _start_task(self._loop, coroutine, name)
        if not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel the tasks that still run, and wait for their end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(tasks)


def _start_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None], name: str
) -> "asyncio.Task[None]":
    """Start a task. From Python 3.12, it runs to its first wait at once.

    Most applications respond without a wait, so this saves two turns of the event loop.
    """
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, name=name, eager_start=True)
    return loop.create_task(coroutine, name=name)


def runner_of_loop() -> Runner:
    """Return a runner for the event loop that runs."""
    try:
        return AsyncioRunner()
    except RuntimeError:  # not an event loop of asyncio
        return Runner()


async def _await(coroutine: Coroutine[Any, Any, None]) -> None:
    await coroutine


def current_task() -> Any:
    """Return the current task of asyncio or trio."""
    try:
        return asyncio.current_task()
    except RuntimeError:  # not in an event loop of asyncio
        return _trio().lowlevel.current_task()


def names_of_marked(is_marked: Callable[[Any], bool], *, but: Any = None) -> list[str]:
    """Return the sorted names of the tasks with a matching mark, except for the task `but`."""
    return sorted(
        _name_of(task)
        for task, context in _tasks_with_context()
        if task is not but and context is not None and is_marked(context.get(MARK))
    )


def _tasks_with_context() -> Iterator[tuple[Any, Context | None]]:
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        yield from _trio_tasks(_trio().lowlevel.current_root_task())
        return
    for task in tasks:
        yield task, _context_of(task)


def _trio_tasks(task: Any) -> Iterator[tuple[Any, Context | None]]:
    """Yield the descendants of a task."""
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield child, child.context
            yield from _trio_tasks(child)


def _context_of(task: Any) -> Context | None:
    """Return the context of an asyncio task."""
    if sys.version_info >= (3, 12):
        context: Context = task.get_context()
        return context
    # Python 3.11 does not show it, but the garbage collector does: it is the first one, and the
    # contexts of callbacks follow.
    return next((found for found in gc.get_referents(task) if isinstance(found, Context)), None)


def _name_of(task: Any) -> str:
    """Return the name of a task and its function. Default names of asyncio contain only a number."""
    if not isinstance(task, asyncio.Task):
        return str(task.name)
    name = task.get_name()
    function = getattr(task.get_coro(), "__qualname__", None)
    return f"{name} ({function})" if function and function not in name else name


def _trio() -> Any:
    """Return the module of trio, which is already running."""
    return sys.modules["trio"]


# -- the line at which a coroutine waits ------------------------------------------------------------


def place_of_wait(awaitable: Any) -> str:
    """Return the location of a wait: the innermost line outside of spica and the event loop."""
    frames = list(_frames_of(awaitable))
    if not frames:
        return "in a task that has not begun or has ended"
    outside = [frame for frame in frames if not _is_machinery(frame)]
    frame = (outside or frames)[-1]
    code = frame.f_code
    return f"in {code.co_qualname}, {code.co_filename}:{frame.f_lineno}"


def _frames_of(awaitable: Any) -> Any:
    """Yield the frames of a coroutine and of the coroutines that it awaits, outermost first."""
    while awaitable is not None:
        frame = (
            getattr(awaitable, "cr_frame", None)
            or getattr(awaitable, "gi_frame", None)
            or getattr(awaitable, "ag_frame", None)
        )
        if isinstance(frame, FrameType):
            yield frame
        awaitable = (
            getattr(awaitable, "cr_await", None)
            or getattr(awaitable, "gi_yieldfrom", None)
            or getattr(awaitable, "ag_await", None)
        )


def _is_machinery(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in _MACHINERY
