"""The time limits of a request: of its body, which is answered with 408, and of its answer.

A timeout layer sets the limit of the answer. Endpoints read it as ``request.deadline``. Code that has no
request, such as a client of a database, reads ``current_deadline.get()``.

For a body, only the time spent waiting for the next message counts, so a slow application never causes a
timeout. A message that is ready costs nothing, because the timer starts when the server's ``receive`` pauses.

Standard: RFC 9110 s.15.5.9 (408 Request Timeout).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from types import coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast

from spica._asgi.side_task import running_asyncio_loop
from spica.exceptions import HTTPException

if TYPE_CHECKING:
    import asyncio

    from spica.types import Scope

T = TypeVar("T")

DEFAULT_BODY_IDLE_SECONDS = 30.0
"""Seconds that one wait for a part of the body may take. Mobile networks pause for a few seconds."""

DEFAULT_MIN_BODY_RATE = 256
"""Average rate in bytes per second that a body must reach. Any modem is faster, and every body ends."""

BODY_GRACE_SECONDS = 10.0
"""Seconds of waiting before the rate counts."""


class BodyDeadline(NamedTuple):
    """Time limits for a body. ``math.inf`` seconds and a rate of 0 mean no limit."""

    idle_seconds: float = DEFAULT_BODY_IDLE_SECONDS
    min_rate: float = DEFAULT_MIN_BODY_RATE

    def allows(self, received: int, waited: float) -> bool:
        """Return whether ``received`` bytes are enough for ``waited`` seconds."""
        return self.min_rate == 0 or waited <= BODY_GRACE_SECONDS + received / self.min_rate


DEFAULT_BODY_DEADLINE = BodyDeadline()


class BodyTimeout(HTTPException):
    """A request body did not arrive in time: 408 (RFC 9110 s.15.5.9).

    The response closes the connection, because the rest of the body could still arrive on it.
    """

    def __init__(self, detail: str = "Request Timeout", http_version: str = "1.1") -> None:
        # RFC 9113 s.8.2.2: HTTP/2 has no Connection field.
        headers = {"Connection": "close"} if http_version.startswith("1") else None
        super().__init__(status_code=408, detail=detail, headers=headers)
        self.http_version = http_version

    def __reduce__(self) -> tuple[type[BodyTimeout], tuple[str, str]]:
        return type(self), (self.detail, self.http_version)


def idle_timeout(scope: Scope, seconds: float) -> BodyTimeout:
    """Return the error for a body that paused for ``seconds``."""
    text = f"No part of the request body arrived for {seconds:g} seconds."
    return BodyTimeout(text, scope.get("http_version", "1.1"))


def rate_timeout(scope: Scope, min_rate: float) -> BodyTimeout:
    """Return the error for a body that arrives too slowly."""
    text = f"The request body arrived at less than {min_rate:g} bytes per second."
    return BodyTimeout(text, scope.get("http_version", "1.1"))


class Clock(Protocol):
    """The part of a body's reader that the timer needs."""

    waited: float
    """Total seconds of all waits."""

    def idle_limit(self) -> float:
        """Return the limit for the next wait in seconds."""
        ...

    def give_up(self) -> Exception | None:
        """Return the error to raise after a wait that took too long, or None to keep waiting."""


def wait_in_time(clock: Clock, function: Callable[[], Awaitable[T]]) -> Awaitable[T]:
    """Return an awaitable that calls ``function`` and waits for its result within the limit of ``clock``."""
    if "trio" in sys.modules and running_asyncio_loop() is None:
        return _wait_on_trio(clock, function)
    return _wait_on_asyncio(clock, function)


async def _wait_on_asyncio(clock: Clock, function: Callable[[], Awaitable[T]]) -> T:
    """Wait on asyncio. The first step runs without a timer, because nearly every message is ready."""
    steps = function().__await__()
    try:
        pause = next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    return await resume_in_time(clock, steps, pause)


def resume_in_time(clock: Clock, steps: Generator[Any, Any, T], pause: Any) -> Awaitable[T]:
    """Return an awaitable that continues ``steps`` with a timer; ``pause`` is the first step's result."""
    return resume(_Timer(clock), steps, pause)


class Timer(Protocol):
    """A limit for the task that runs now. It has begun."""

    is_due: bool
    """Whether the time is over, and a wait for a thread has to end first."""
    pause: object
    """The last step's result: nearly always the future that the task waits for."""

    def expire(self) -> None:
        """Cancel the task. A wait for a thread ends first, because a thread can't be cancelled."""

    def raise_own(self, exc: BaseException) -> None:
        """Raise the error of the timer if ``exc`` is a cancellation that it caused."""

    def end(self) -> None:
        """Stop the timer."""


def resume(timer: Timer, steps: Generator[Any, Any, T], pause: Any) -> Awaitable[T]:
    """Return an awaitable that continues ``steps`` until ``timer`` cancels them."""
    # Cast: mypy does not know that `types.coroutine` makes a generator awaitable.
    return cast("Awaitable[T]", _resume(timer, steps, pause))


@coroutine
def _resume(timer: Timer, steps: Generator[Any, Any, T], pause: Any) -> Generator[Any, Any, T]:
    try:
        while True:
            timer.pause = pause
            if timer.is_due:
                timer.expire()
            try:
                sent = yield pause
            except GeneratorExit:
                if hasattr(steps, "close"):
                    steps.close()
                raise
            except BaseException as exc:
                # granian's iterators have no `throw`. Raise the error here then, as `yield from` does.
                if not hasattr(steps, "throw"):
                    raise
                pause = steps.throw(exc)
            else:
                pause = steps.send(sent) if sent is not None else next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    except BaseException as exc:
        timer.raise_own(exc)
        raise
    finally:
        timer.end()
        # The traceback of a timeout keeps the frame, and must not keep the server's future.
        del steps, pause


class _Timer:
    """Cancel the current asyncio task when its wait takes too long.

    Cancel scopes must close in the reverse order in which they opened, and ``receive`` may have opened one in
    its first step. So the timer cancels the task directly, as ``asyncio.timeout()`` does.
    """

    __slots__ = ("_clock", "_error", "_handle", "_requests", "_start", "_task", "is_due", "pause")

    pause: object

    def __init__(self, clock: Clock) -> None:
        import asyncio  # already loaded, because its loop runs

        loop = asyncio.get_running_loop()
        self._clock = clock
        self._error: Exception | None = None
        self.is_due = False
        # Cast: an awaitable always runs in a task.
        self._task = cast("asyncio.Task[Any]", asyncio.current_task(loop))
        self._requests = self._task.cancelling()
        self._start = loop.time()
        limit = clock.idle_limit()
        self._handle = None if limit == math.inf else loop.call_later(limit, self.expire)

    def expire(self) -> None:
        """Cancel the task. A wait for a thread ends first, because a thread can't be cancelled."""
        from spica._workers import waits  # imported late: few requests take too long

        self.is_due = self.pause in waits
        if self.is_due:
            return
        self._error = self._clock.give_up()
        if self._error is not None:
            self._task.cancel()

    def raise_own(self, exc: BaseException) -> None:
        """Raise the error of the clock if this timer caused the cancellation ``exc``."""
        import asyncio

        error, self._error = self._error, None
        if error is None:
            return
        is_alone = self._task.uncancel() <= self._requests
        if is_alone and isinstance(exc, asyncio.CancelledError):
            raise error from None

    def end(self) -> None:
        """Stop the timer and note how long the wait took."""
        if self._handle is not None:
            self._handle.cancel()
        self._clock.waited += self._task.get_loop().time() - self._start
        if self._error is not None:  # the message arrived although the timer had expired
            self._error = None
            self._task.uncancel()


async def _wait_on_trio(clock: Clock, function: Callable[[], Awaitable[T]]) -> T:
    """Wait on trio, where cancelling ``receive`` loses nothing."""
    import trio  # already loaded, because its loop runs

    start = trio.current_time()
    limit = clock.idle_limit()
    try:
        with trio.CancelScope(deadline=start + limit):
            return await function()
        error = clock.give_up()
        if error is not None:
            raise error
        return await function()
    finally:
        clock.waited += trio.current_time() - start


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
