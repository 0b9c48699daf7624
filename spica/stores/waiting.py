"""Limits on the time that an operation waits: for a connection, and for the answer of the server."""

import asyncio
from types import TracebackType

WAIT_PART = 0.8
"""The part of an operation's time limit that it may wait for others: for a connection, or a row."""

LATE_PART = 0.3
"""The part of an operation's time limit after which a connection counts as opened late.

If an operation on a new connection has run out of time, the next ones leave a late connection to their
successors. Otherwise each would open one, begin too late, and close it again.
"""

TURNS = 4
"""The turns of the event loop after the deadline in which an answer still counts. The task of an answer needs
up to three after the loop has read it."""


class Busy(Exception):
    """Others used all connections, or the row. The server is well: the breaker does not count this."""


class Slots:
    """Let a number of operations run at once. The others wait in order.

    Many operations may start together, for example when all clients of a restarted worker come back. Those
    that wait too long then fail. Without `Busy` this would look like an outage, and the circuit breaker would
    refuse the rest.

    Args:
        count: The number of operations.
        timeout_seconds: The time limit of an operation, with its wait.
    """

    def __init__(self, count: int, timeout_seconds: float) -> None:
        self._free = asyncio.Semaphore(count)
        self._wait_seconds = timeout_seconds * WAIT_PART

    async def __aenter__(self) -> None:
        free = self._free
        if not free.locked():
            await free.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await free.acquire()
        except TimeoutError:
            raise Busy(f"no connection was free for {self._wait_seconds:g} s") from None

    async def __aexit__(self, *_: object) -> None:
        self._free.release()


class AnswerTimeout:
    """Limit the time that a block waits for a server. Use it with ``async with`` on asyncio.

    Other code may block the event loop for longer than the limit. When the loop runs again, the deadline
    is over, although the answer has arrived. ``asyncio.timeout()`` would drop it, as if the server were
    down. This limit lets the loop read what has arrived first.

    Args:
        seconds: The time limit.

    Raises:
        TimeoutError: No answer came in time.
    """

    __slots__ = ("_handle", "_limit", "_seconds")

    _handle: asyncio.Handle

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(self._seconds, self._expire, loop, TURNS)

    def _expire(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        if turns > 0:
            self._handle = loop.call_soon(self._expire, loop, turns - 1)
        else:
            self._limit.reschedule(loop.time())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._handle.cancel()
        await self._limit.__aexit__(kind, error, traceback)
