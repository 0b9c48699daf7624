"""A subscription: the queue between a channel and one reader.

The queue is bounded in events and bytes. A reader that is too slow never delays the publisher or another
reader; ``on_slow`` decides what happens to it. A reader that waits for events is never too slow, however many
of them a backend delivers at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, Self, TypeAlias

import anyio

from spica.channels.messages import START, Gap, Message, Position, parse_position

OnSlow: TypeAlias = Literal["disconnect", "drop_oldest", "latest"]
"""The treatment of a reader whose queue is full."""

ON_SLOW: tuple[OnSlow, ...] = ("disconnect", "drop_oldest", "latest")


BEHIND_SECONDS = 0.005
"""The time between two attempts to join a topic that is behind the log."""


class Replay(Protocol):
    """The events of one channel that a subscription has not read from the history yet."""

    async def step(self) -> bool:
        """Put the next events into the queue. Return whether the channel is live now."""
        ...


class Subscription:
    """The events of some channels in order, for one reader: ``async for item in subscription``.

    An item is a `Message` or a `Gap`. The iteration ends if the reader is too slow
    (``on_slow="disconnect"``), and when the application shuts down; `end_reason` tells which.

    Attributes:
        channels: The names of the channels.
        end_reason: ``"slow"`` or ``"shutdown"`` when the iteration has ended, else None.
    """

    __slots__ = (
        "_detach",
        "_loop",
        "_lost",
        "_max_events",
        "_max_size",
        "_on_slow",
        "_queue",
        "_seen",
        "_size",
        "_waiter",
        "channels",
        "end_reason",
        "on_end",
        "replays",
    )

    end_after_seconds: float | None = None
    """For `Shutdown`: a random time of the drain."""

    def __init__(
        self,
        channels: Sequence[str],
        max_events: int,
        max_size: int,
        on_slow: OnSlow,
        detach: Callable[[Subscription], None],
    ) -> None:
        self.channels = tuple(channels)
        self.end_reason: Literal["slow", "shutdown"] | None = None
        self.on_end: Callable[[str], None] | None = None
        self.replays: list[Replay] = []
        self._queue: deque[Message | Gap] = deque()
        self._size = 0
        self._max_events = max_events
        self._max_size = max_size
        self._on_slow = on_slow
        self._detach = detach
        self._seen: dict[str, Position] = {}
        self._lost: dict[str, Gap] = {}
        self._waiter: Any = None
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None  # trio

    # -- for the reader ----------------------------------------------------------------------------

    @property
    def position(self) -> str:
        """The id behind the last item. Pass it as ``after`` to continue there.

        For several channels it has one position for each, separated by commas.
        """
        return ",".join(
            str(self._seen[channel]) if channel in self._seen else "0" for channel in self.channels
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message | Gap:
        while True:
            if self._lost:
                item: Message | Gap = self._lost.pop(next(iter(self._lost)))
            elif self._queue:
                item = self._take()
            elif self.end_reason is not None:
                raise StopAsyncIteration
            elif self.replays:
                if await self.replays[0].step():
                    del self.replays[:1]
                else:
                    self.replays.append(self.replays.pop(0))
                    if not self._queue:
                        # The topic has to catch up first.
                        await anyio.sleep(BEHIND_SECONDS)
                continue
            else:
                await self._wait()
                continue
            if isinstance(item, Message):
                self._seen[item.channel] = item.position
            else:
                self._seen[item.channel] = parse_position(item.id) or START
            return item

    def _take(self) -> Message | Gap:
        item = self._queue.popleft()
        if type(item) is Message:
            self._size -= item.size
        return item

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("Two tasks read one Subscription. Open one for each reader.")
        # A bare future costs a third of an event. Waking the readers is most of the work of a fan-out.
        try:
            if self._loop is not None:
                self._waiter = self._loop.create_future()
                await self._waiter
            else:
                self._waiter = anyio.Event()
                await self._waiter.wait()
        finally:
            self._waiter = None

    # -- for the channel ---------------------------------------------------------------------------

    def put(self, message: Message) -> None:
        """Add a message to the queue, or treat the reader as slow."""
        queue = self._queue
        waiter = self._waiter
        # A reader that waits has had no turn since its queue was empty, so it isn't slow.
        if waiter is None and (
            len(queue) >= self._max_events or self._size + message.size > self._max_size
        ):
            self._overflow(message)
            return
        queue.append(message)
        self._size += message.size
        if waiter is not None:
            self._wake()

    def put_gap(self, gap: Gap) -> None:
        """Add a gap to the queue."""
        if self.end_reason is None:
            self._queue.append(gap)
            self._wake()

    def start_at(self, channel: str, position: Position) -> None:
        """Set the position of a channel before its first item."""
        self._seen.setdefault(channel, position)

    def has_room(self, size: int) -> bool:
        """Return whether an event of ``size`` bytes fits into the queue. An empty queue takes every event."""
        queue = self._queue
        return not queue or (len(queue) < self._max_events and self._size + size <= self._max_size)

    def cancel(self) -> None:
        """Do nothing: `end` has told the reader. `Shutdown` calls this at the end of the drain."""

    def end(self, reason: Literal["slow", "shutdown"] = "shutdown") -> None:
        """End the iteration. At a shutdown the reader still gets the queue."""
        if self.end_reason is None:
            self.end_reason = reason
            self.replays.clear()
            if reason == "slow":
                self._queue.clear()
                self._lost.clear()
            self._detach(self)
            if self.on_end is not None:
                self.on_end(reason)
            self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            if self._loop is None:
                waiter.set()
            elif not waiter.done():
                waiter.set_result(None)

    def _overflow(self, message: Message) -> None:
        if self._on_slow == "disconnect":
            self.end("slow")
            return
        queue = self._queue
        while queue and (
            len(queue) >= self._max_events or self._size + message.size > self._max_size
        ):
            item = self._take()
            gap = Gap(item.channel, "slow", item.id) if isinstance(item, Message) else item
            earlier = self._lost.get(gap.channel)
            self._lost[gap.channel] = replace(earlier, id=gap.id) if earlier else gap
        queue.append(message)
        self._size += message.size


class LatestSubscription(Subscription):
    """A subscription that keeps one message for each channel, the newest. It is never slow."""

    __slots__ = ("_latest",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._latest: dict[str, Message] = {}

    def put(self, message: Message) -> None:
        """Keep the message instead of an earlier one of the channel."""
        if message.channel not in self._latest:
            self._queue.append(message)
        self._latest[message.channel] = message
        self._wake()

    def _take(self) -> Message | Gap:
        item = self._queue.popleft()
        return self._latest.pop(item.channel) if isinstance(item, Message) else item
