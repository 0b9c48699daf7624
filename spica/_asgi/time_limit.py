"""The time by which a request must be answered.

A timeout layer sets it. Endpoints read ``request.deadline``. Code that has no request, such as a client of a
database, reads ``current_deadline.get()``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar


class Deadline:
    """A point in time on the clock of the event loop.

    Args:
        at: The time.
        clock: A function that returns the present time. Any thread may call it.
    """

    __slots__ = ("_clock", "at")

    def __init__(self, at: float, clock: Callable[[], float]) -> None:
        self.at = at
        self._clock = clock

    @property
    def remaining_seconds(self) -> float:
        """The time that is left, never less than 0. Use it as the timeout of a query or a request."""
        return max(0.0, self.at - self._clock())

    @property
    def is_over(self) -> bool:
        """Whether no time is left."""
        return self._clock() >= self.at

    def __repr__(self) -> str:
        return f"<Deadline in {self.remaining_seconds:.3f} s>"


current_deadline: ContextVar[Deadline | None] = ContextVar("current_deadline", default=None)
"""The deadline of the request that the current task works on, or None. Worker threads see it, too."""


def trio_clock() -> Callable[[], float]:
    """Return the clock of the running loop of trio."""
    from trio.lowlevel import current_clock  # already loaded, because its loop runs

    return current_clock().current_time
