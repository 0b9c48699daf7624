"""The queue between an application and a test in the same event loop, and its timeouts.

The queue has a window. An application that sends faster than the test reads must wait, like for the
buffer of a socket.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import anyio

from spica.testclient.exchange import Flag

WINDOW_MESSAGES = 16
"""The number of messages that an application may send before the test reads the first one."""

WINDOW_BYTES = 65536
"""The bytes that an application may send before the test reads the first one, as with uvicorn."""


class Watchdog:
    """End the waits that take too long.

    One task serves all waits of a client. A wait costs two changes of a dict. A cancel scope with a
    deadline would cost several microseconds.

    Attributes:
        clock: returns the time of the event loop, in seconds.
    """

    def __init__(self) -> None:
        self.clock: Callable[[], float] = anyio.current_time
        self._deadlines: dict[Outbox, float] = {}
        self._added = Flag()
        self._scope: anyio.CancelScope | None = None

    def watch(self, outbox: "Outbox", seconds: float) -> None:
        """Expire the wait of `outbox` in `seconds`, unless `forget` is called before."""
        deadline = self.clock() + seconds
        self._deadlines[outbox] = deadline
        if self._scope is None:
            self._added.set()
        elif deadline < self._scope.deadline:
            self._scope.deadline = deadline

    def forget(self, outbox: "Outbox") -> None:
        """Forget the wait of `outbox`."""
        self._deadlines.pop(outbox, None)

    async def run(self) -> None:
        """Serve the waits until cancelled."""
        while True:
            await self._added.wait()
            while self._deadlines:
                # Waits of the same length end in the order of their start, so that the deadline of
                # the scope rarely changes. A wait that is over leaves it as it is.
                with anyio.CancelScope(deadline=min(self._deadlines.values())) as self._scope:
                    await anyio.sleep_forever()
                self._expire(self.clock())
            self._scope = None
            self._added = Flag()

    def _expire(self, now: float) -> None:
        for outbox, deadline in tuple(self._deadlines.items()):
            if deadline <= now:
                del self._deadlines[outbox]
                outbox.expire()


class Outbox:
    """A queue with one reader.

    Args:
        watchdog: the watchdog of the client.
        seconds: the time that `get` waits by default; None waits forever.
        make_event: makes an event of the event loop.
    """

    def __init__(
        self,
        watchdog: Watchdog,
        seconds: float | None,
        make_event: Callable[[], Any] = anyio.Event,
    ) -> None:
        self._make_event = make_event
        self._watchdog = watchdog
        self._seconds = seconds
        self._items: deque[tuple[Any, int]] = deque()
        self._size = 0
        self._arrived: Any = None
        self._room: Any = None
        self._is_closed = False

    def put(self, item: Any, size: int = 0) -> None:
        """Add an item of `size` bytes, and wake the reader."""
        self._items.append((item, size))
        self._size += size
        if self._arrived is not None:
            self._arrived.set()

    async def get(self, seconds: float | None = None) -> Any:
        """Return the next item.

        Args:
            seconds: the time to wait instead of the default.

        Raises:
            TimeoutError: no item came in time.
            RuntimeError: another task already waits.
        """
        if not self._items:
            await self._wait(self._seconds if seconds is None else seconds)
        item, size = self._items.popleft()
        self._size -= size
        if self._room is not None and not self._is_full():
            self._room.set()
            self._room = None
        return item

    async def _wait(self, seconds: float | None) -> None:
        if self._arrived is not None:
            raise RuntimeError(
                "Another task already waits for the next message of this connection. "
                "Read it in one task."
            )
        self._arrived = self._make_event()
        if seconds is not None:
            self._watchdog.watch(self, seconds)
        try:
            await self._arrived.wait()
        finally:
            self._arrived = None
            self._watchdog.forget(self)
        if not self._items:
            raise TimeoutError(f"The application sent nothing for {seconds:g} seconds.")

    def take_all(self) -> list[Any]:
        """Remove and return all items."""
        items = [item for item, _ in self._items]
        self._items.clear()
        self._size = 0
        return items

    def last(self) -> Any:
        """Return the newest item without removing it, or None."""
        return self._items[-1][0] if self._items else None

    def expire(self) -> None:
        """End the wait of the reader without an item."""
        if self._arrived is not None:
            self._arrived.set()

    def _is_full(self) -> bool:
        return not self._is_closed and (
            len(self._items) >= WINDOW_MESSAGES or self._size >= WINDOW_BYTES
        )

    async def wait_for_room(self) -> None:
        """Wait until the window has room for another message."""
        while self._is_full():
            if self._room is None:
                self._room = self._make_event()
            await self._room.wait()

    def close(self) -> None:
        """Remove the window. The reader has left, so no sender may wait for it."""
        self._is_closed = True
        if self._room is not None:
            self._room.set()
            self._room = None
