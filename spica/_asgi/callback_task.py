"""Run a coroutine on asyncio without a task: callbacks of the event loop resume it.

A stream that waits for its next event also waits for a disconnect. With a task for that, each idle stream has
two tasks instead of one. A coroutine needs less memory, and most functions do not notice the difference.

Non-goal: every coroutine. Timeouts of asyncio and cancel scopes of AnyIO need a current task, and raise an
error without one. ``on_end`` gets that error, and the caller then starts a task.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class CallbackTask:
    """Run the coroutine that ``start`` returns, beginning with the next turn of ``loop``.

    Args:
        loop: The event loop that runs in this thread.
        start: An async function.
        on_end: A function that gets None at the end of the coroutine, or its exception. It must not raise.
    """

    __slots__ = (
        "_context",
        "_coroutine",
        "_handle",
        "_is_over",
        "_loop",
        "_on_end",
        "_pause",
        "_start",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        start: Callable[[], Coroutine[Any, Any, object]],
        on_end: Callable[[BaseException | None], object],
    ) -> None:
        self._loop = loop
        self._start = start
        self._on_end = on_end
        self._context = contextvars.copy_context()
        self._coroutine: Coroutine[Any, Any, object] | None = None
        self._pause: Any = None
        self._is_over = False
        self._handle = loop.call_soon(self._step, context=self._context)

    def _step(self, pause: Any = None) -> None:
        """Resume the coroutine, which fetches the result of the future that it waits for."""
        if self._is_over:
            return
        if self._coroutine is None:
            self._coroutine = self._start()
        self._advance(self._coroutine.send, None)

    def _advance(self, resume: Callable[[Any], Any], value: Any) -> None:
        try:
            pause = resume(value)
        except StopIteration:
            self._end(None)
        except (KeyboardInterrupt, SystemExit):
            self._is_over = True
            raise
        except BaseException as exc:
            self._end(exc)
        else:
            self._wait(pause)

    def _wait(self, pause: Any) -> None:
        """Resume the coroutine when the future that it has yielded is done, as a task does."""
        if getattr(pause, "_asyncio_future_blocking", None):
            pause._asyncio_future_blocking = False
            self._pause = pause
            pause.add_done_callback(self._step, context=self._context)
        else:  # None: only a turn of the loop
            self._pause = None
            self._handle = self._loop.call_soon(self._step, context=self._context)

    def _end(self, error: BaseException | None) -> None:
        self._pause = None
        if not self._is_over:
            self._is_over = True
            self._on_end(error)

    def cancel(self) -> None:
        """Cancel the coroutine at once. ``on_end`` is not called."""
        if self._is_over:
            return
        self._is_over = True
        self._handle.cancel()
        pause, self._pause = self._pause, None
        if self._coroutine is None:
            return
        if pause is not None:
            pause.cancel()
        try:
            self._coroutine.throw(_cancelled_error())
        except BaseException:
            return  # it has ended, nearly always with the CancelledError
        self._coroutine.close()  # it awaits during its cleanup, which has no task to wait in


def _cancelled_error() -> BaseException:
    import asyncio  # already loaded, because its loop runs

    return asyncio.CancelledError()
