"""Background tasks: functions that run after the response has been sent.

They run in the process and the event loop of the request, one after the other, without a queue and without
retries. Use them for work that may be lost if the process ends, and a task queue for everything else.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ParamSpec, overload

from spica._diagnostics.call_site import name_of
from spica.concurrency import background_threads, is_async_callable

P = ParamSpec("P")

LOGGER_NAME = "spica.background"
"""The logger for failed tasks."""


class BackgroundTask:
    """A function call for later. Async functions run in the event loop, other functions in a thread.

    The threads are `spica.concurrency.background_threads`, separate from those of endpoints.

    Args:
        func: the function.
        args, kwargs: its arguments.
        detach: True moves the task to `app.tasks`, so that the request ends at once. Without it, the
            connection and the cleanup of the request wait for the task. A function with a parameter
            `detach` gets the argument itself.

    Raises:
        TypeError: `func` is not callable.

    Example:
        ``Response("done", background=BackgroundTask(send_mail, address))``
    """

    detach = False

    @overload
    def __init__(
        self, func: Callable[..., Any], *args: Any, detach: bool, **kwargs: Any
    ) -> None: ...

    @overload
    def __init__(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None: ...

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        if not callable(func):
            raise TypeError(
                f"{type(self).__name__}: func must be callable, not {func!r:.80}. "
                "Pass the function and its arguments separately: BackgroundTask(send, address), "
                "not BackgroundTask(send(address))."
            )
        self.func: Callable[..., Any] = func
        self.args: tuple[Any, ...] = args
        self.kwargs: dict[str, Any] = kwargs
        self.is_async = is_async_callable(func)
        if "detach" in kwargs and not _has_parameter(func, "detach"):
            self.detach = bool(kwargs.pop("detach"))

    async def __call__(self) -> None:
        """Call the function, or start its detached task.

        Raises:
            Exception: The error of the function, unless it is detached.
            TasksFull, RuntimeError: As for `app.tasks.start()`.
        """
        # Read self.func here and not in __init__, because tracing agents replace it before the call.
        if self.detach:
            from spica.tasks.registry import current_tasks  # on use: most tasks are not detached

            call = partial(self.func, **self.kwargs)
            current_tasks().start(call, *self.args, name=name_of(self.func))
        elif self.is_async:
            await self.func(*self.args, **self.kwargs)
        else:
            await background_threads.run(self.func, *self.args, **self.kwargs)


class BackgroundTasks(BackgroundTask):
    """A list of background tasks. Each task runs even if an earlier one fails.

    Args:
        tasks: the first tasks.

    Attributes:
        tasks: the tasks in the order in which they run. A running task can add more.
    """

    def __init__(self, tasks: Sequence[BackgroundTask] | None = None) -> None:
        self.tasks: list[BackgroundTask] = list(tasks) if tasks else []

    @overload
    def add_task(
        self, func: Callable[..., Any], *args: Any, detach: bool, **kwargs: Any
    ) -> None: ...

    @overload
    def add_task(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None: ...

    def add_task(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Append a task. You can call this at any time, even from a running task."""
        self.tasks.append(BackgroundTask(func, *args, **kwargs))

    async def __call__(self) -> None:
        """Run the tasks one after the other.

        The method logs a failed task with its name and goes on with the next one. At the end it raises a
        single failure unchanged, and several as an `ExceptionGroup`. Cancellation stops it at once.
        """
        failures: list[Exception] = []
        for task in self.tasks:  # sees tasks that a running task appends
            try:
                await task()
            except Exception as error:
                _log_failure(task, error)
                failures.append(error)
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup(f"{len(failures)} background tasks failed", failures)


def _has_parameter(func: Callable[..., Any], name: str) -> bool:
    import inspect  # on use, because it takes long to import

    try:
        return name in inspect.signature(func).parameters
    except (TypeError, ValueError):
        return False


def _log_failure(task: BackgroundTask, error: Exception) -> None:
    import logging  # on use, because it takes longer to import than this module

    name = name_of(getattr(task, "func", task))
    logging.getLogger(LOGGER_NAME).error("Background task %s failed", name, exc_info=error)
