"""A limit on the connections that are in use at once. A long wait for one is no failure of the server."""

import asyncio

WAIT_PART = 0.8
"""The part of an operation's time limit that it may wait for a connection."""


class Busy(Exception):
    """All connections were in use. The server is well, so the circuit breaker does not count this."""


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
