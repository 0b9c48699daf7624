"""A subscription: the queue between a channel and one reader.

The queue is bounded in events and bytes. A reader that is too slow never delays the publisher or another
reader; ``on_slow`` decides what happens to it. A reader that waits for events is never too slow, however many
of them a backend delivers at once.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, Self, TypeAlias

import anyio

from spica.channels.burst import Burst
from spica.channels.messages import Gap, Message, Position

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
        "_burst",
        "_detach",
        "_loop",
        "_lost",
        "_max_events",
        "_max_size",
        "_on_slow",
        "_queue",
        "_ready",
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
        burst: Burst,
    ) -> None:
        self.channels = tuple(channels)
        self.end_reason: Literal["slow", "shutdown"] | None = None
        self.on_end: Callable[[str], None] | None = None
        self.replays: list[Replay] = []
        self._queue: deque[Message | Gap] = deque()
        self._ready = self._queue
        """The queue of the reader: empty while there are gaps in `_lost`, which come first."""
        self._size = 0
        """The size of the queue, or more: reading subtracts nothing, because it is the most frequent step."""
        self._max_events = max_events
        self._max_size = max_size
        self._on_slow = on_slow
        self._detach = detach
        self._burst = burst
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
        while not self._ready:
            if self._lost:
                return self._take_lost()
            await self._fill()
        item = self._ready.popleft()
        self._seen[item.channel] = item.position
        return item

    def _take_lost(self) -> Gap:
        gap = self._lost.pop(next(iter(self._lost)))
        if not self._lost:
            self._ready = self._queue
        self._seen[gap.channel] = gap.position
        return gap

    async def _fill(self) -> None:
        """Wait for an event, or read on in the history. The queue may be empty afterwards.

        Raises:
            StopAsyncIteration: The subscription has ended.
        """
        self._size = 0
        self._burst.flush()
        if self._queue:
            return
        if self.end_reason is not None:
            raise StopAsyncIteration
        if self.replays:
            await self._read_on()
            return
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
            # Also if the reader was cancelled: from now on the bound of its queue applies.
            self._burst.flush()

    async def _read_on(self) -> None:
        is_live = await self.replays[0].step()
        if self.end_reason is not None:
            return  # `end` has dropped the replays
        if is_live:
            del self.replays[0]
        else:
            self.replays.append(self.replays.pop(0))
            if not self._queue:
                # The topic has to catch up first.
                await anyio.sleep(BEHIND_SECONDS)

    # -- for the channel ---------------------------------------------------------------------------

    def put(self, message: Message) -> None:
        """Add a message to the queue, or treat the reader as slow."""
        queue = self._queue
        waiter = self._waiter
        # A reader that waits has had no turn since its queue was empty, so it isn't slow.
        if waiter is None and (
            len(queue) >= self._max_events or self._size + message.size > self._max_size
        ):
            self._put_in_full_queue(message)
            return
        queue.append(message)
        self._size += message.size
        if waiter is not None:
            self._wake()

    def room(self) -> tuple[float, float]:
        """Return the number of messages that fit into the queue at least, and their size in bytes."""
        if self._waiter is not None:
            return math.inf, math.inf
        return self._max_events - len(self._queue), self._max_size - self._size

    def extend(self, messages: list[Message], size: int) -> None:
        """Add messages that fit into the queue, with ``size`` bytes together. The reader does not wait."""
        self._queue.extend(messages)
        self._size += size

    def put_gap(self, gap: Gap) -> None:
        """Add a gap to the queue."""
        self._burst.flush()
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
        self._burst.flush()
        if self.end_reason is None:
            self.end_reason = reason
            self.replays.clear()
            if reason == "slow":
                self._queue.clear()
                self._lost.clear()
                self._ready = self._queue
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

    def _put_in_full_queue(self, message: Message) -> None:
        queue = self._queue
        if not self._lost:  # else the reader has taken nothing since the last count
            self._size = sum(item.size for item in queue)
        if self.has_room(message.size):
            queue.append(message)
            self._size += message.size
        elif self._on_slow == "disconnect":
            self.end("slow")
        else:
            self._drop_for(message)

    def _drop_for(self, message: Message) -> None:
        """Replace the oldest events by a gap in front of the others."""
        queue = self._queue
        while not self.has_room(message.size):
            item = queue.popleft()
            self._size -= item.size
            gap = item if isinstance(item, Gap) else Gap(item.channel, "slow", item.id)
            earlier = self._lost.get(gap.channel)
            self._lost[gap.channel] = replace(earlier, id=gap.id) if earlier else gap
        self._ready = _NOTHING
        queue.append(message)
        self._size += message.size


_NOTHING: deque[Any] = deque()


class LatestSubscription(Subscription):
    """A subscription that keeps one message for each channel, the newest. It is never slow."""

    __slots__ = ("_latest",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._latest: dict[str, Message] = {}

    async def __anext__(self) -> Message | Gap:
        item = await super().__anext__()
        if isinstance(item, Message):
            item = self._latest.pop(item.channel)
            self._seen[item.channel] = item.position
        return item

    def put_gap(self, gap: Gap) -> None:
        """Add a gap instead of an earlier message of the channel, so that later ones come behind it."""
        if self._latest.pop(gap.channel, None) is not None:
            place = next(
                index
                for index, item in enumerate(self._queue)
                if type(item) is Message and item.channel == gap.channel
            )
            del self._queue[place]
        super().put_gap(gap)

    def put(self, message: Message) -> None:
        """Keep the message instead of an earlier one of the channel."""
        if message.channel not in self._latest:
            self._queue.append(message)
            self._size += message.size
        self._latest[message.channel] = message
        self._wake()

    def room(self) -> tuple[float, float]:
        """Return no room: each message replaces the one before."""
        return 0, 0
