"""Reads of a log that many subscriptions share.

After a restart, all clients of a worker come back at once, and most of them ask for the same page. They get
it from one read. That read begins after they asked, so it contains every event published until then.
"""

from __future__ import annotations

import anyio

from spica.channels.backend import ChannelBackend, Page
from spica.channels.messages import ChannelsUnavailable, History


class SharedReads:
    """The reads that are under way on one backend.

    Args:
        backend: The backend.
    """

    def __init__(self, backend: ChannelBackend) -> None:
        self._backend = backend
        self._reads: dict[tuple[str, int, int, History], _Read] = {}

    async def read(self, key: str, after: int, limit: int, history: History) -> Page:
        """Return a page of the log: see `ChannelBackend.read`.

        Raises:
            ChannelsUnavailable: The backend does not answer.
        """
        asked = (key, after, limit, history)
        read = self._reads.get(asked)
        if read is None:
            read = self._reads[asked] = _Read()
        read.users += 1
        try:
            return await read.run(self._backend, *asked)
        finally:
            read.users -= 1
            if not read.users:
                del self._reads[asked]


class _Read:
    """One page that is read while a reader needs it: by one task at a time, for all that wait."""

    __slots__ = ("_begun", "_done", "_lock", "_result", "users")

    def __init__(self) -> None:
        self.users = 0
        self._lock = anyio.Lock()
        self._begun = 0
        self._done = 0
        self._result: Page | ChannelsUnavailable | None = None

    async def run(
        self, backend: ChannelBackend, key: str, after: int, limit: int, history: History
    ) -> Page:
        """Return the result of a read that begins after this call. If the one before it fails, so do all."""
        before, was_busy = self._begun, self._lock.locked()
        async with self._lock:
            result = self._result
            if was_busy and isinstance(result, ChannelsUnavailable) and self._done >= before:
                raise ChannelsUnavailable(result.operation, result.reason)
            if isinstance(result, Page) and self._done > before:
                return result
            self._begun += 1
            try:
                result = await backend.read(key, after, limit, history)
            except ChannelsUnavailable as exc:
                self._result, self._done = exc, self._begun
                raise
            self._result, self._done = result, self._begun
            return result
