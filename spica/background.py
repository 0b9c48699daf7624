"""Background tasks: what is done after the response has been sent.

They run in the process and the event loop of the request, one after the other, without a queue and
without retries: for work that may be lost with the process. Anything else wants a task queue.
"""

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

from spica._diagnostics.call_site import name_of
from spica.concurrency import background_threads, is_async_callable

P = ParamSpec("P")

LOGGER_NAME = "spica.background"
"""The logger that hears of each failed task."""


class BackgroundTask:
    """Hold a call to be made later: a coroutine function is awaited, another runs in a thread.

    The threads are `spica.concurrency.background_threads`, apart from those of endpoints.
    """

    def __init__(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        if not callable(func):
            raise TypeError(
                f"{type(self).__name__}: func must be callable, not {func!r:.80}. "
                "Pass the function and its arguments apart: BackgroundTask(send, address), "
                "not BackgroundTask(send(address))."
            )
        self.func: Callable[..., Any] = func
        self.args: tuple[Any, ...] = args
        self.kwargs: dict[str, Any] = kwargs
        self.is_async = is_async_callable(func)

    async def __call__(self) -> None:
        """Make the call. An error of the function is raised to the caller."""
        # self.func is read here and not in __init__: tracing agents replace it before the call.
        if self.is_async:
            await self.func(*self.args, **self.kwargs)
        else:
            await background_threads.run(self.func, *self.args, **self.kwargs)


class BackgroundTasks(BackgroundTask):
    """Hold several tasks, and run each of them whatever becomes of the others.

    Attributes:
        tasks: the tasks in the order in which they run. A task may add more while it runs.
    """

    def __init__(self, tasks: Sequence[BackgroundTask] | None = None) -> None:
        self.tasks: list[BackgroundTask] = list(tasks) if tasks else []

    def add_task(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        """Append a task. It may be called at any time, also by a task that is running."""
        self.tasks.append(BackgroundTask(func, *args, **kwargs))

    async def __call__(self) -> None:
        """Run the tasks one after the other.

        A task that fails is logged with its name, and the next one runs. At the end the failures
        are raised: one as it is, several as an `ExceptionGroup`. Cancellation stops at once.
        """
        failures: list[Exception] = []
        for task in self.tasks:  # a list: what a running task appends is seen
            try:
                await task()
            except Exception as error:
                _log_failure(task, error)
                failures.append(error)
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup(f"{len(failures)} background tasks failed", failures)


def _log_failure(task: BackgroundTask, error: Exception) -> None:
    import logging  # imported for a failure only: it costs more than all of this module

    name = name_of(getattr(task, "func", task))
    logging.getLogger(LOGGER_NAME).error("Background task %s failed", name, exc_info=error)
