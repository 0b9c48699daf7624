"""The time limit of an operation on a server."""

import asyncio
from types import TracebackType

TURNS = 4
"""The turns of the event loop after the deadline in which an answer still counts. The task of an answer needs
up to three after the loop has read it."""


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
