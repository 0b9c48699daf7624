"""The deadlines of many requests that have the same time limit, with one timer of the event loop.

A timer for each request takes more than a microsecond, and nearly all are cancelled. Deadlines of one time
limit end in the order in which they began. So only the first of them needs a timer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import asyncio


class Alarms:
    """The deadlines that run on one event loop of asyncio, in order.

    Args:
        loop: The loop.
    """

    __slots__ = ("_handle", "armed", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.armed: OrderedDict[Alarm, None] = OrderedDict()
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, alarm: Alarm) -> None:
        """Ring the alarm at its time, unless it is removed from ``armed`` before."""
        self.armed[alarm] = None
        if self._handle is None:
            self._handle = self.loop.call_at(alarm.at, self._ring, alarm.at)

    def _ring(self, now: float) -> None:
        """Ring all alarms whose time is over, and wait for the next one."""
        self._handle = None
        now = max(now, self.loop.time())  # a loop may call early by the resolution of its clock
        armed = self.armed
        while armed:
            alarm = next(iter(armed))
            if alarm.at > now:
                self._handle = self.loop.call_at(alarm.at, self._ring, alarm.at)
                return
            del armed[alarm]
            alarm.expire()


class Alarm:
    """A deadline of the task that runs now: a ``Timer`` of ``spica._asgi.deadline``.

    It cancels the task directly, as ``asyncio.timeout()`` does. A cancel scope would have to close after any
    scope that the first step of the task has opened.

    Args:
        alarms: The other deadlines with the same time limit.
        at: The time of the loop.
        error: Makes the error that the end of the time raises.
    """

    __slots__ = ("_alarms", "_error", "_has_rung", "_requests", "_task", "at", "is_due", "pause")

    pause: object

    def __init__(self, alarms: Alarms, at: float, error: Callable[[], Exception]) -> None:
        import asyncio  # already loaded, because its loop runs

        self.at = at
        self._alarms = alarms
        self._error = error
        # Cast: an awaitable always runs in a task.
        self._task = cast("asyncio.Task[Any]", asyncio.current_task(alarms.loop))
        self._requests = self._task.cancelling()
        self._has_rung = self.is_due = False
        alarms.arm(self)

    def expire(self) -> None:
        """Cancel the task. A wait for a thread ends first, because a thread can't be cancelled."""
        from spica._workers import waits  # imported late: few requests take too long

        self.is_due = self.pause in waits
        if not self.is_due:
            self._has_rung = True
            self._task.cancel()

    def raise_own(self, exc: BaseException) -> None:
        """Raise the error if this alarm caused the cancellation ``exc``."""
        import asyncio

        if not self._has_rung:
            return
        self._has_rung = False
        is_alone = self._task.uncancel() <= self._requests
        if is_alone and isinstance(exc, asyncio.CancelledError):
            raise self._error() from None

    def end(self) -> None:
        """Disarm the alarm."""
        if self._has_rung:  # the answer came although the time was over
            self._has_rung = False
            self._task.uncancel()
        else:
            self._alarms.armed.pop(self, None)
