"""Tasks of the application: work that outlives a request, and work that repeats.

Start them with ``app.tasks``. They run in the event loop of the lifespan and end with it, on asyncio and trio.
They are not a queue: a task that runs when the process dies is lost, it has no result, and there is no
schedule by date. Use a job queue for work that must not be lost.
"""

from __future__ import annotations

import math
import random
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio

from spica.concurrency import background_threads, is_async_callable
from spica.exceptions import HTTPException

if TYPE_CHECKING:
    from asyncio import Task

    from spica.stores import Store

__all__ = ["TaskHandle", "Tasks", "TasksFull"]

TaskState: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled"]

LOGGER_NAME = "spica.tasks"
"""The logger for tasks that fail, and for tasks that the shutdown cancels."""

MAX_TASKS = 1000
"""Default number of tasks that run at once. Periodic tasks do not count."""

FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0
"""The waits before a failed task restarts: 1, 2, 4 ... 60 seconds. A run of a minute resets them."""

CANCEL_SECONDS = 5.0
"""Seconds that a cancelled task has to end. Then the shutdown goes on without it, and logs its name."""

LEASE_INTERVALS = 1.75
POLL_INTERVALS = 0.25
"""The lease of a periodic task, and how often other workers try to get it, as parts of the interval.

Together they are two intervals: within that time, another worker replaces one that was killed."""

DRAIN_SECONDS = 8.0
"""Default number of seconds that tasks have to end at shutdown."""

NOT_RUNNING = (
    "A task needs the lifespan of the application, which does not run in this event loop. Under a server it "
    "runs from the start to the shutdown, unless you have switched it off. In a test, enter the client: "
    "`with TestClient(app) as client`."
)

DUE_INTERVALS = 0.95
"""Part of the shortest interval for which no worker of the fleet calls a periodic task again."""


class TasksFull(HTTPException):
    """``max_tasks`` tasks are running. A client gets a 503 with ``Retry-After``."""

    def __init__(self, max_tasks: int) -> None:
        super().__init__(503, headers={"Retry-After": "5"})
        self.max_tasks = max_tasks

    def __str__(self) -> str:
        return f"{self.max_tasks} tasks are running. Set app.tasks.max_tasks to allow more."


class TaskHandle:
    """A task that was started, or a periodic task.

    Attributes:
        name: The name in logs.
        failures: How many calls of the function have failed.
        error: The last error, or None.
    """

    __slots__ = ("_executions", "_registry", "_state", "_work", "error", "failures", "name")

    def __init__(self, name: str, work: _Work) -> None:
        self.name = name
        self.failures = 0
        self.error: BaseException | None = None
        self._state: TaskState = "waiting"
        self._work = work
        self._executions: list[_Execution] = []
        self._registry: list[TaskHandle] | None = None

    @property
    def state(self) -> TaskState:
        """The state: a periodic task is "waiting" until the lifespan starts, and "running" until it ends."""
        return self._state

    def cancel(self) -> None:
        """Cancel the task. A call of a `def` function ends before that; an `async` one at its next await."""
        if self._registry is not None and self in self._registry:
            self._registry.remove(self)
        for execution in self._executions:
            execution.scope.cancel()

    async def wait(self) -> None:
        """Wait until the task has ended. Its error is not raised: see ``error``."""
        while self._executions:
            await self._executions[-1].ended.wait()

    def __repr__(self) -> str:
        return f"<TaskHandle {self.name!r} {self._state}>"


class Tasks:
    """The tasks of an application: ``app.tasks``.

    ```python
    async def order(request):
        request.app.tasks.start(send_mail, "ann@example.org")
        return PlainTextResponse("Thank you.")
    ```

    Tasks of a mounted application run in the lifespan of the outermost one, with its limit and counts.

    Attributes:
        max_tasks: How many tasks may run at once, 1000 by default. Periodic tasks do not count.
        started: How many tasks were started.
        failed: How many calls have failed, of periodic and restarted tasks too.
    """

    def __init__(self) -> None:
        self.max_tasks = MAX_TASKS
        self.started = 0
        self.failed = 0
        self._periodic: list[TaskHandle] = []
        self._groups: dict[object, _Group] = {}

    def start(
        self,
        func: Callable[..., Any],
        *args: Any,
        name: str | None = None,
        restart: Literal["never", "on_error"] = "never",
        max_seconds: float | None = None,
        at_shutdown: Literal["wait", "cancel"] = "wait",
    ) -> TaskHandle:
        """Call ``func(*args)`` in a task of its own, and return at once.

        The task keeps the caller's context variables, but not its cancellation: it goes on if the client
        leaves. A failure is logged with the task's name, in the task's context, and counted. You may call
        this in a request, in a lifespan function, and in the thread of a `def` endpoint.

        Args:
            func: An async function, or a function that runs in a thread (``background_threads``). A thread
                cannot be cancelled.
            args: Its arguments.
            name: The name in logs; that of the function by default.
            restart: "on_error" calls the function again after an error, after 1, 2, 4 ... 60 seconds.
            max_seconds: Seconds that one call may take. Then it fails with a TimeoutError. No limit by
                default.
            at_shutdown: "wait" gives the task the rest of the drain time to end by itself; a loop that never
                ends should watch ``app.shutdown`` or take "cancel", which cancels it at once.

        Raises:
            TasksFull: ``max_tasks`` tasks are running.
            RuntimeError: The lifespan of the application does not run in this event loop, or it is over.
            TypeError, ValueError: An argument is wrong.
        """
        _check_choice("restart", restart, ("never", "on_error"))
        _check_choice("at_shutdown", at_shutdown, ("wait", "cancel"))
        call = _Call(func, args, max_seconds)
        work = _Once(call, restart == "on_error", at_shutdown == "cancel")
        handle = TaskHandle(name or _name_of(func), work)
        if _current_loop() is None:
            _call_in_event_loop(self._start, handle)
        else:
            self._start(handle)
        return handle

    def every(
        self,
        seconds: float,
        func: Callable[[], Any],
        *,
        store: Store | None = None,
        jitter: float = 0.1,
        at_start: bool = False,
        name: str | None = None,
        max_seconds: float | None = None,
    ) -> TaskHandle:
        """Call ``func()`` every ``seconds``, as long as the lifespan runs.

        Calls never overlap: one that takes longer than the interval delays the next. A failure is logged and
        counted, and the next call follows as usual. Before the lifespan has started, for example at the
        bottom of your module, this registers the task for each run of the lifespan.

        Args:
            seconds: The interval from one start to the next.
            func: An async function, or a function that runs in a thread.
            store: With a store, one worker of the fleet calls the function. It holds a lease of 1.75
                intervals. If it is killed, another worker takes over within 2 intervals. While the store is
                down, nobody calls the function: a second call at the same time would be worse.
            jitter: The interval varies by this part at random, so that workers do not act at once; 0 to 0.5.
            at_start: Whether the first call comes at once, not after the first interval.
            name: The name in logs, and of the lease; module and name of the function by default.
            max_seconds: Seconds that one call may take; see ``start``.

        Raises:
            TypeError, ValueError: An argument is wrong, or another periodic task has this name and a store.
        """
        _check_positive("seconds", seconds)
        if seconds == math.inf:
            raise ValueError("seconds must be finite, not inf.")
        if not 0 <= jitter <= 0.5:
            raise ValueError(f"jitter must be between 0 and 0.5, not {jitter!r:.80}.")
        if name is None:
            name = f"{getattr(func, '__module__', '')}.{_name_of(func)}".lstrip(".")
        lease = None if store is None else self._lease(store, name, seconds, jitter)
        work = _Periodic(_Call(func, (), max_seconds), seconds, jitter, at_start, lease)
        handle = TaskHandle(name, work)
        group = self._groups.get(_current_loop())
        if group is not None:
            group.add(handle)
        else:
            self._periodic.append(handle)
            handle._registry = self._periodic
        return handle

    def __iter__(self) -> Iterator[TaskHandle]:
        """Iterate over the tasks that run now, periodic ones too."""
        executions = [each for group in self._groups.values() for each in group.executions]
        return iter([each.handle for each in executions])

    def __len__(self) -> int:
        return sum(len(group.executions) for group in self._groups.values())

    def __bool__(self) -> bool:
        return True  # although no task may run

    def _lease(self, store: Store, name: str, seconds: float, jitter: float) -> _Lease:
        handles = [*self._periodic, *self]
        for work in [each._work for each in handles if each.name == name]:
            if isinstance(work, _Periodic) and work.lease is not None:
                raise ValueError(
                    f"Another periodic task with a store has the name {name!r}. They would share its lease: "
                    "pass name=."
                )
        return _Lease(store, name, seconds, jitter)

    def _start(self, handle: TaskHandle) -> None:
        """Start a task, in the thread of the event loop."""
        group = self._groups.get(_current_loop())
        if group is None or group.is_closed:
            raise RuntimeError(NOT_RUNNING if group is None else "The application has shut down.")
        if group.count >= group.tasks.max_tasks:
            raise TasksFull(group.tasks.max_tasks)
        group.tasks.started += 1
        group.add(handle)

    # -- for the lifespan ------------------------------------------------------------------------------

    def open(self, *mounted: Tasks) -> None:
        """Accept tasks in this event loop.

        spica calls this before the lifespan functions start, and again when they have started.

        Args:
            mounted: The tasks of mounted applications, which share the group.
        """
        loop = _current_loop()
        group = self._groups.get(loop)
        if group is None:
            group = _Group(self)
            _outermost.setdefault(loop, []).append(self)
        for each in (self, *mounted):
            if each not in group.members:
                group.members.append(each)
                each._groups[loop] = group

    def begin(self) -> None:
        """Start the registered periodic tasks. spica calls this when the lifespan functions have started."""
        group = self._groups[_current_loop()]
        for each in group.members:
            for handle in each._periodic:
                group.add(handle)

    async def aclose(self, seconds: float = DRAIN_SECONDS) -> None:
        """Wait until the tasks have ended, cancel those that have not, and log their names.

        spica calls this at shutdown, after the streams have ended and before the lifespan functions end.

        Args:
            seconds: Seconds that the tasks have to end by themselves.
        """
        loop = _current_loop()
        group = self._groups[loop]
        try:
            await group.close(seconds)
        finally:
            for each in group.members:
                del each._groups[loop]
            _outermost[loop].remove(self)
            if not _outermost[loop]:
                del _outermost[loop]


_outermost: dict[object, list[Tasks]] = {}
"""The open tasks of outermost applications by event loop."""


def tasks_of(app: Any) -> Tasks:
    """Return the tasks of an application, even if it has an attribute ``tasks`` of its own."""
    if app._tasks is None:
        app._tasks = Tasks()
    tasks: Tasks = app._tasks
    return tasks


def current_tasks() -> Tasks:
    """Return the tasks of the application that runs in this event loop.

    Raises:
        RuntimeError: None runs, or several.
    """
    found = _outermost.get(_current_loop(), [])
    if len(found) == 1:
        return found[0]
    if found:
        raise RuntimeError(
            "Several applications run in this event loop, so a detached task can't tell its own. Call "
            "request.app.tasks.start() instead."
        )
    raise RuntimeError(NOT_RUNNING)


class _Group:
    """The running tasks of one lifespan."""

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self.members: list[Tasks] = []
        self.executions: set[_Execution] = set()
        self.count = 0
        self.is_ending = False
        self.is_closed = False
        self._emptied = anyio.Event()

    def add(self, handle: TaskHandle) -> None:
        """Start a task."""
        execution = _Execution(handle, self)
        self.executions.add(execution)
        self.count += handle._work.counts
        execution.spawn()

    def remove(self, execution: _Execution) -> None:
        """Forget a task that has ended."""
        self.executions.discard(execution)
        self.count -= execution.handle._work.counts
        if not self.executions:
            self._emptied.set()

    async def close(self, seconds: float) -> None:
        """Wait for the tasks, then cancel them. If this is cancelled itself, it cancels them at once."""
        self.is_ending = True
        try:
            for execution in list(self.executions):
                if execution.is_idle or execution.handle._work.ends_at_once:
                    execution.scope.cancel()
            with anyio.move_on_after(seconds):
                await self._wait()
        finally:
            await self._cancel_rest(seconds)

    async def _cancel_rest(self, seconds: float) -> None:
        self.is_closed = True
        left = list(self.executions)
        if not left:
            return
        for execution in left:
            execution.scope.cancel()
        with anyio.move_on_after(CANCEL_SECONDS, shield=True):
            await self._wait()
        _log(
            "warning",
            "Cancelled tasks that had not ended %g seconds after the shutdown began: %s",
            seconds,
            _names(left),
        )
        if self.executions:
            _log("error", "Tasks that do not end after a cancellation: %s", _names(self.executions))

    async def _wait(self) -> None:
        while self.executions:
            self._emptied = anyio.Event()
            await self._emptied.wait()


class _Execution:
    """A task while one lifespan runs."""

    __slots__ = ("_task", "ended", "group", "handle", "is_idle", "scope")

    def __init__(self, handle: TaskHandle, group: _Group) -> None:
        self.handle = handle
        self.group = group
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.is_idle = False  # waiting for the next call: no work is lost if it is cancelled
        self._task: Task[None] | None = None
        handle._executions.append(self)
        handle._state = "running"

    def spawn(self) -> None:
        """Run in a new task, with a copy of the caller's context but outside of its cancel scopes."""
        loop = _current_loop()
        if "asyncio" in sys.modules and hasattr(loop, "create_task"):
            # The reference keeps the task alive: the event loop has only weak ones.
            self._task = loop.create_task(self._run(), name=self.handle.name)
        else:
            from trio import lowlevel

            lowlevel.spawn_system_task(self._run, name=self.handle.name, context=copy_context())

    async def _run(self) -> None:
        state: TaskState = "cancelled"
        try:
            with self.scope:
                await self.handle._work.run(self)
                state = "failed" if self.handle.error is not None else "done"
        finally:
            self.handle._state = state
            self.handle._executions.remove(self)
            self.group.remove(self)
            self.ended.set()

    async def call(self, call: _Call) -> bool:
        """Call the function, and return whether it succeeded. Log and count an error."""
        handle = self.handle
        try:
            await call()
        except (Exception, SystemExit) as exc:
            handle.error = exc
            handle.failures += 1
            self.group.tasks.failed += 1
            _log("error", "Task %s failed", handle.name, exc_info=exc)
            return False
        handle.error = None
        return True

    async def pause(self, seconds: float) -> bool:
        """Sleep between two calls, and return whether the next one may start."""
        if not self.group.is_ending:
            self.is_idle = True
            await anyio.sleep(seconds)
            self.is_idle = False
        return not self.group.is_ending


class _Call:
    """A function with its arguments and time limit."""

    __slots__ = ("_args", "_func", "_is_async", "_max_seconds")

    def __init__(
        self, func: Callable[..., Any], args: tuple[Any, ...], max_seconds: float | None
    ) -> None:
        if not callable(func):
            if hasattr(func, "close") and hasattr(func, "cr_frame"):
                func.close()  # a coroutine that is never awaited
            raise TypeError(
                f"func must be callable, not {func!r:.80}. Pass the function and its arguments separately: "
                "start(send, address), not start(send(address))."
            )
        if max_seconds is not None:
            _check_positive("max_seconds", max_seconds)
        self._func = func
        self._args = args
        self._max_seconds = max_seconds
        self._is_async = is_async_callable(func)

    async def __call__(self) -> None:
        with anyio.fail_after(self._max_seconds):
            if self._is_async:
                await self._func(*self._args)
            else:
                await background_threads.run(self._func, *self._args)


class _Once:
    """Call a function once, or until it succeeds."""

    __slots__ = ("_call", "_restarts", "ends_at_once")
    counts = 1

    def __init__(self, call: _Call, restarts: bool, ends_at_once: bool) -> None:
        self._call = call
        self._restarts = restarts
        self.ends_at_once = ends_at_once

    async def run(self, execution: _Execution) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            started = anyio.current_time()
            if await execution.call(self._call) or not self._restarts:
                return
            if anyio.current_time() - started >= MAX_BACKOFF_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            if not await execution.pause(backoff):
                return
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)


class _Periodic:
    """Call a function again and again."""

    __slots__ = ("_at_start", "_call", "_jitter", "_seconds", "lease")
    counts = 0
    ends_at_once = False

    def __init__(
        self, call: _Call, seconds: float, jitter: float, at_start: bool, lease: _Lease | None
    ) -> None:
        self._call = call
        self._seconds = seconds
        self._jitter = jitter
        self._at_start = at_start
        self.lease = lease

    async def run(self, execution: _Execution) -> None:
        if self.lease is not None:
            await self._run_leased(execution, self.lease)
            return
        wait = 0.0 if self._at_start else self._vary(self._seconds)
        while await execution.pause(wait):
            wait = await self._call_once(execution)

    async def _call_once(self, execution: _Execution) -> float:
        """Call the function, and return the seconds until the next call."""
        started = anyio.current_time()
        await execution.call(self._call)
        return max(0.0, started + self._vary(self._seconds) - anyio.current_time())

    async def _run_leased(self, execution: _Execution, lease: _Lease) -> None:
        try:
            if not self._at_start:
                await lease.mark()  # the first call of the fleet comes after an interval
            wait = 0.0
            while await execution.pause(wait):
                wait = self._vary(self._seconds * POLL_INTERVALS)
                if await lease.acquire() and await lease.mark():
                    wait = await self._call_with(execution, lease)
        finally:
            await lease.release()

    async def _call_with(self, execution: _Execution, lease: _Lease) -> float:
        """Call the function while a second task renews the lease; cancel the call if the lease is lost."""
        wait = self._vary(self._seconds * POLL_INTERVALS)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lease.keep, tasks.cancel_scope)
            wait = await self._call_once(execution)
            tasks.cancel_scope.cancel()
        return wait

    def _vary(self, seconds: float) -> float:
        return seconds * random.uniform(1 - self._jitter, 1 + self._jitter)


class _Lease:
    """The right to call a periodic task, which one worker of the fleet has.

    A mark in the store says that a call has started less than an interval ago. So a new holder of the lease
    does not call too early, and frequent deploys neither repeat nor starve the task.
    """

    def __init__(self, store: Store, name: str, seconds: float, jitter: float) -> None:
        self._store = store.prefixed("tasks")
        self._name = name
        self._lease_seconds = seconds * LEASE_INTERVALS
        self._mark_seconds = seconds * (1 - jitter) * DUE_INTERVALS
        self._renew_seconds = seconds / 2
        self._owner = secrets.token_hex(8)
        self._ends_at = 0.0
        self._is_store_down = False

    async def acquire(self) -> bool:
        """Acquire or renew the lease, and return whether this worker has it."""
        now = anyio.current_time()
        is_mine = await self._ask(
            self._store.acquire(f"lease:{self._name}", self._owner, seconds=self._lease_seconds)
        )
        if is_mine:
            self._ends_at = now + self._lease_seconds
        return is_mine

    async def mark(self) -> bool:
        """Record that a call starts now, and return False if the last one is less than an interval ago."""
        key = f"mark:{self._name}"
        return await self._ask(
            self._store.set(key, b"1", seconds=self._mark_seconds, only_if="absent")
        )

    async def keep(self, scope: anyio.CancelScope) -> None:
        """Renew the lease until cancelled. Cancel ``scope`` if another worker may have it."""
        while True:
            await anyio.sleep(self._renew_seconds)
            if not await self.acquire() and (
                not self._is_store_down
                or anyio.current_time() + self._renew_seconds > self._ends_at
            ):
                _log("warning", "Cancelled a call of task %s: its lease is lost", self._name)
                scope.cancel()

    async def release(self) -> None:
        """Release the lease, so that another worker can take over at once."""
        if self._ends_at:
            with anyio.move_on_after(1, shield=True):
                await self._ask(self._store.release(f"lease:{self._name}", self._owner))

    async def _ask(self, answer: Awaitable[bool]) -> bool:
        """Await an answer of the store: False while it is down."""
        from spica.stores import StoreUnavailable

        try:
            is_so = await answer
        except StoreUnavailable as exc:
            if not self._is_store_down:
                _log("warning", "Task %s pauses: its store is down (%s)", self._name, exc)
            self._is_store_down = True
            return False
        self._is_store_down = False
        return is_so


_Work: TypeAlias = _Once | _Periodic


def _current_loop() -> object:
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


def _call_in_event_loop(function: Callable[[TaskHandle], None], handle: TaskHandle) -> None:
    """Call ``function`` in the event loop of this thread."""
    from anyio import from_thread

    try:
        error = from_thread.run_sync(_error_of, function, handle)
    except RuntimeError:
        raise RuntimeError(NOT_RUNNING) from None  # not a thread of an event loop
    if error is not None:
        raise error


def _error_of(function: Callable[[TaskHandle], None], handle: TaskHandle) -> Exception | None:
    try:
        function(handle)
    except Exception as exc:
        return exc
    return None


def _name_of(func: Any) -> str:
    while hasattr(func, "func"):
        func = func.func  # functools.partial
    name: str = getattr(func, "__qualname__", None) or type(func).__qualname__
    return name


def _names(executions: Any) -> str:
    return ", ".join(sorted(each.handle.name for each in executions))


def _check_positive(name: str, seconds: float) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {seconds!r:.80}.")
    if not seconds > 0:
        raise ValueError(f"{name} must be more than 0 seconds, not {seconds!r:.80}.")


def _check_choice(name: str, value: str, choices: tuple[str, str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be {choices[0]!r} or {choices[1]!r}, not {value!r:.80}.")


def _log(level: Literal["warning", "error"], message: str, *args: Any, **kwargs: Any) -> None:
    import logging  # on use, because it takes longer to import than this module

    getattr(logging.getLogger(LOGGER_NAME), level)(message, *args, **kwargs)
