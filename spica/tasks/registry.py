"""The tasks of an application, for its users and for its lifespan."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from spica.exceptions import HTTPException
from spica.tasks.lease import Lease
from spica.tasks.running import Group, Registry, TaskHandle, current_loop
from spica.tasks.work import (
    Call,
    Once,
    Periodic,
    check_choice,
    check_flag,
    check_fraction,
    check_name,
    check_positive,
    name_of,
)

if TYPE_CHECKING:
    from spica.stores import Store

DRAIN_SECONDS = 8.0
"""Default number of seconds that tasks have to end at shutdown."""

NOT_RUNNING = (
    "A task needs the lifespan of the application, which does not run in this event loop. Under a server it "
    "runs from the start to the shutdown, unless you have switched it off. In a test, enter the client: "
    "`with TestClient(app) as client`."
)


class TasksFull(HTTPException):
    """``max_tasks`` tasks are running. A client gets a 503 with ``Retry-After``."""

    def __init__(self, max_tasks: int) -> None:
        super().__init__(503, headers={"Retry-After": "5"})
        self.max_tasks = max_tasks

    def __str__(self) -> str:
        return f"{self.max_tasks} tasks are running. Set app.tasks.max_tasks to allow more."


class Tasks(Registry):
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
        check_choice("restart", restart, ("never", "on_error"))
        check_choice("at_shutdown", at_shutdown, ("wait", "cancel"))
        check_name(name)
        call = Call(func, args, max_seconds)
        work = Once(call, restart == "on_error", at_shutdown == "cancel")
        handle = TaskHandle(name or name_of(func), work)
        if current_loop() is None:
            call_in_event_loop(self._start, handle)
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
                down, no worker calls the function: a second call at the same time would be worse.
            jitter: The interval varies by this part at random, so that workers do not act at once; 0 to 0.5.
            at_start: Whether the first call comes at once, not after the first interval.
            name: The name in logs, and of the lease; module and name of the function by default.
            max_seconds: Seconds that one call may take; see ``start``.

        Raises:
            TypeError, ValueError: An argument is wrong, or another periodic task has this name and a store.
        """
        if callable(seconds):
            raise TypeError(
                f"every() takes the seconds first: every(60, {name_of(seconds)}), not {seconds!r:.80}."
            )
        check_positive("every(): seconds", seconds)
        if seconds == math.inf:
            raise ValueError("seconds must be finite, not inf.")
        check_fraction("jitter", jitter, 0.5)
        check_flag("at_start", at_start)
        check_name(name)
        if store is not None and not hasattr(store, "prefixed"):
            raise TypeError(f"store must be a store such as open_store(...), not {store!r:.80}.")
        if name is None:
            name = f"{getattr(func, '__module__', '')}.{name_of(func)}".lstrip(".")
        lease = None if store is None else self._lease(store, name, seconds, jitter)
        work = Periodic(Call(func, (), max_seconds), seconds, jitter, at_start, lease)
        handle = TaskHandle(name, work)
        group = self._groups.get(current_loop())
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

    def _lease(self, store: Store, name: str, seconds: float, jitter: float) -> Lease:
        handles = [*self._periodic, *self]
        for work in [each._work for each in handles if each.name == name]:
            if isinstance(work, Periodic) and work.lease is not None:
                raise ValueError(
                    f"Another periodic task with a store has the name {name!r}. They would share its lease: "
                    "pass name=."
                )
        return Lease(store, name, seconds, jitter)

    def _start(self, handle: TaskHandle) -> None:
        """Start a task, in the thread of the event loop."""
        group = self._groups.get(current_loop())
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
        loop = current_loop()
        group = self._groups.get(loop)
        if group is None:
            group = Group(self)
            _outermost.setdefault(loop, []).append(self)
        for each in (self, *mounted):
            if each not in group.members:
                group.members.append(each)
                each._groups[loop] = group

    def begin(self) -> None:
        """Start the registered periodic tasks. spica calls this when the lifespan functions have started."""
        group = self._groups[current_loop()]
        for each in group.members:
            for handle in each._periodic:
                group.add(handle)

    async def aclose(self, seconds: float = DRAIN_SECONDS) -> None:
        """Wait until the tasks have ended, cancel those that have not, and log their names.

        spica calls this at shutdown, after the streams have ended and before the lifespan functions end.

        Args:
            seconds: Seconds that the tasks have to end by themselves.
        """
        loop = current_loop()
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
    found = _outermost.get(current_loop(), [])
    if len(found) == 1:
        return found[0]
    if found:
        raise RuntimeError(
            "Several applications run in this event loop, so a detached task can't tell its own. Call "
            "request.app.tasks.start() instead."
        )
    raise RuntimeError(NOT_RUNNING)


def call_in_event_loop(function: Callable[[TaskHandle], None], handle: TaskHandle) -> None:
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
