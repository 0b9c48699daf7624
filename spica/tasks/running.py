"""The tasks that run: their state, their end, and the group of one lifespan."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextvars import copy_context
from typing import Any, Literal, Protocol, TypeAlias

import anyio

TaskState: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled"]

LOGGER_NAME = "spica.tasks"
"""The logger for tasks that fail, and for tasks that the shutdown cancels."""

MAX_TASKS = 1000
"""Default number of tasks that run at once. Periodic tasks do not count."""

CANCEL_SECONDS = 5.0
"""Seconds that a cancelled task has to end. Then the shutdown goes on without it, and logs its name."""


MAX_NAMES = 50
"""How many names of tasks a log message has."""


class Work(Protocol):
    """The calls that a task makes."""

    counts: int
    """1 if the task counts for ``max_tasks``."""
    ends_at_once: bool
    """Whether the shutdown cancels the task without waiting for it."""

    async def run(self, execution: Execution) -> None:
        """Make the calls."""


class TaskHandle:
    """A task that was started, or a periodic task.

    Attributes:
        name: The name in logs.
        failures: How many calls of the function have failed.
        error: The last error, or None.
    """

    __slots__ = ("_executions", "_registry", "_state", "_work", "error", "failures", "name")

    def __init__(self, name: str, work: Work) -> None:
        self.name = name
        self.failures = 0
        self.error: BaseException | None = None
        self._state: TaskState = "waiting"
        self._work = work
        self._executions: list[Execution] = []
        self._registry: list[TaskHandle] | None = None

    @property
    def state(self) -> TaskState:
        """The state: a periodic task is "waiting" until the lifespan starts, and "running" until it ends."""
        return self._state

    def cancel(self) -> None:
        """Cancel the task. A call of a `def` function ends before that; an `async` one at its next await.

        You may call this in the event loop, and in the thread of a `def` endpoint.

        Raises:
            RuntimeError: The task runs, and this is another thread.
        """
        if self._registry is not None and self in self._registry:
            self._registry.remove(self)
        if self._executions and current_loop() is None:
            from anyio import from_thread

            from_thread.run_sync(self._cancel_executions)
        else:
            self._cancel_executions()

    def _cancel_executions(self) -> None:
        """Cancel what runs, in the thread of the event loop."""
        for execution in self._executions:
            execution.scope.cancel()

    async def wait(self) -> None:
        """Wait until the task has ended. Its error is not raised: see ``error``."""
        while self._executions:
            await self._executions[-1].ended.wait()

    def __repr__(self) -> str:
        return f"<TaskHandle {self.name!r} {self._state}>"


class Registry:
    """The counts of an application's tasks, and its registered periodic tasks."""

    def __init__(self) -> None:
        self.max_tasks = MAX_TASKS
        self.started = 0
        self.failed = 0
        self._periodic: list[TaskHandle] = []
        self._groups: dict[object, Group] = {}  # by event loop


class Group:
    """The running tasks of one lifespan, those of mounted applications too."""

    def __init__(self, tasks: Registry) -> None:
        self.tasks = tasks
        self.members: list[Registry] = []
        self.executions: set[Execution] = set()
        self.count = 0
        self.is_ending = False
        self.is_closed = False
        self._emptied: anyio.Event | None = None

    def add(self, handle: TaskHandle) -> None:
        """Start a task."""
        execution = Execution(handle, self)
        self.executions.add(execution)
        self.count += handle._work.counts
        execution.spawn()

    def remove(self, execution: Execution) -> None:
        """Forget a task that has ended."""
        self.executions.discard(execution)
        self.count -= execution.handle._work.counts
        if not self.executions and self._emptied is not None:
            self._emptied.set()

    async def close(self, seconds: float) -> None:
        """Wait for the tasks, then cancel them. If this is cancelled itself, it cancels them at once."""
        self.is_ending = True
        if not self.executions:
            self.is_closed = True
            return
        began_at = anyio.current_time()
        try:
            for execution in list(self.executions):
                if execution.is_idle or execution.handle._work.ends_at_once:
                    execution.scope.cancel()
            if self.executions:
                with anyio.move_on_after(seconds):
                    await self._wait()
        finally:
            await self._cancel_rest(min(seconds, anyio.current_time() - began_at))

    async def _cancel_rest(self, seconds: float) -> None:
        self.is_closed = True
        left = list(self.executions)
        if not left:
            return
        # Without any time, those that lose no work had no turn to end.
        cut = [each for each in left if not each.is_idle and not each.handle._work.ends_at_once]
        for execution in left:
            execution.scope.cancel()
        with anyio.move_on_after(CANCEL_SECONDS, shield=True):
            await self._wait()
        if cut:
            log(
                "warning",
                "Cancelled tasks that had not ended %g seconds after the shutdown began: %s",
                round(seconds, 1),
                names(cut),
            )
        if self.executions:
            log("error", "Tasks that do not end after a cancellation: %s", names(self.executions))

    async def _wait(self) -> None:
        while self.executions:
            self._emptied = anyio.Event()
            await self._emptied.wait()


class Execution:
    """A task while one lifespan runs."""

    __slots__ = ("_task", "ended", "group", "handle", "is_idle", "scope")

    def __init__(self, handle: TaskHandle, group: Group) -> None:
        self.handle = handle
        self.group = group
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.is_idle = False  # waiting for the next call: no work is lost if it is cancelled
        self._task: Any = None
        handle._executions.append(self)
        handle._state = "running"

    def spawn(self) -> None:
        """Run in a new task, with a copy of the caller's context but outside of its cancel scopes."""
        loop = current_loop()
        if "asyncio" in sys.modules and hasattr(loop, "create_task"):
            # The reference keeps the task alive: the event loop has only weak ones.
            self._task = loop.create_task(self._run(), name=self.handle.name)
        else:
            from trio import lowlevel

            self._task = lowlevel.spawn_system_task(
                self._run, name=self.handle.name, context=copy_context()
            )

    async def _run(self) -> None:
        state: TaskState = "cancelled"
        try:
            with self.scope:
                await self.handle._work.run(self)
                state = "failed" if self.handle.error is not None else "done"
        except Exception as exc:  # of a store, for example
            self._fail(exc)
            state = "failed"
        finally:
            self.handle._state = state
            self.handle._executions.remove(self)
            self.group.remove(self)
            self.ended.set()

    async def call(self, call: Callable[[], Awaitable[None]]) -> bool:
        """Call the function, and return whether it succeeded. Log and count an error."""
        try:
            await call()
        except BaseException as exc:
            if not self._is_failure(exc):
                raise
            self._fail(exc)
            return False
        self.handle.error = None
        return True

    def _is_failure(self, error: BaseException) -> bool:
        """Return whether an exception comes from the function, and not from the event loop around it.

        It may be any: a CancelledError comes also from a future that another task has cancelled.
        """
        if isinstance(error, (Exception, SystemExit)):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(map(self._is_failure, error.exceptions))
        if isinstance(error, KeyboardInterrupt) or not self._runs_now():
            return False  # an event loop that is gone closes its coroutines with a GeneratorExit
        if isinstance(error, anyio.get_cancelled_exc_class()):
            cancelling: Any = getattr(self._task, "cancelling", None)  # of asyncio
            return cancelling is not None and not cancelling()
        return True

    def _runs_now(self) -> bool:
        try:
            return anyio.get_current_task().id == id(self._task)
        except RuntimeError:
            return False  # no event loop runs

    def _fail(self, error: BaseException) -> None:
        self.handle.error = error
        self.handle.failures += 1
        self.group.tasks.failed += 1
        number = current_request_id()
        origin = f" (request {number})" if number else ""
        log("error", "Task %s failed%s", self.handle.name, origin, exc_info=error)

    async def pause(self, seconds: float) -> bool:
        """Sleep between two calls, and return whether the next one may start."""
        if not self.group.is_ending:
            self.is_idle = True
            await anyio.sleep(seconds)
            self.is_idle = False
        return not self.group.is_ending


def current_loop() -> Any:
    """Return the asyncio loop or trio run of this thread; None without one."""
    if "asyncio" in sys.modules:
        import asyncio

        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            pass
    if "trio" in sys.modules:
        from trio import lowlevel

        if lowlevel.in_trio_run():
            return lowlevel.current_trio_token()
    return None


def current_request_id() -> str:
    """Return the id of the request that has started this task; "" if there is none."""
    module = sys.modules.get("spica.middleware.requestid")  # without it, no request has an id
    number: str = module.request_id.get() if module is not None else "-"
    return "" if number == "-" else number


def names(executions: Iterable[Execution]) -> str:
    """Return the names of tasks for a log message, each once. Thousands of tasks may have one name."""
    counts = sorted(Counter(each.handle.name for each in executions).items())
    found = [name if count == 1 else f"{name} ({count} tasks)" for name, count in counts]
    more = [f"and {len(found) - MAX_NAMES} more names"] if len(found) > MAX_NAMES else []
    return ", ".join(found[:MAX_NAMES] + more)


def log(level: Literal["warning", "error"], message: str, *args: Any, **kwargs: Any) -> None:
    """Log a message."""
    import logging  # on use, because it takes longer to import than this module

    getattr(logging.getLogger(LOGGER_NAME), level)(message, *args, **kwargs)
