"""Channels in the memory of one process.

Several `Channels` objects may share one `MemoryBackend`, for example the workers of
`spica.testclient.cluster`. All of them must run in one event loop.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from spica.channels.backend import KEEP_COUNTER_SECONDS, Feed, Page
from spica.channels.messages import Event, History, Position, new_epoch

EVENT_OVERHEAD = 250
"""The memory of an event without its data, in bytes."""
MAX_CHANNELS = 100_000
"""The number of channels. Beyond it, the longest idle one without subscribers is forgotten."""
PRUNE_EVERY = 1000
"""The number of events between two searches for expired channels."""


class _Log:
    """The events of one channel."""

    __slots__ = ("epoch", "events", "history", "key", "last", "touched_at")

    def __init__(self, key: str) -> None:
        self.key = key
        self.epoch = new_epoch()
        self.last = 0
        self.events: deque[Event] = deque()
        self.history = History()
        self.touched_at = time.time()


class MemoryBackend:
    """Channels in the memory of one process. Everything is lost when the process ends.

    Args:
        max_size: The limit of all events together, in bytes. Beyond it, the events of the channel that was
            idle longest are deleted first. The default is 64 MiB.

    Raises:
        TypeError: ``max_size`` is not an int.
        ValueError: ``max_size`` is negative.
    """

    across = "process"

    def __init__(self, *, max_size: int = 64 * 1024 * 1024) -> None:
        if isinstance(max_size, bool) or not isinstance(max_size, int):
            raise TypeError(f"MemoryBackend: max_size must be an int, not {max_size!r:.80}.")
        if max_size < 0:
            raise ValueError(f"MemoryBackend: max_size must not be negative, not {max_size!r}.")
        self._max_size = max_size
        self._size = 0
        self._count = 0
        self._logs: OrderedDict[str, _Log] = OrderedDict()
        # Those logs that have events, in the same order.
        self._filled: OrderedDict[str, _Log] = OrderedDict()
        self._feeds: dict[str, dict[Feed, None]] = {}
        self._members: dict[str, dict[str, tuple[bytes, float]]] = {}

    async def start(self, feed: Feed) -> None:
        """Do nothing: memory is always there."""

    async def stop(self, feed: Feed) -> None:
        """Forget the feed."""
        for key in [key for key, feeds in self._feeds.items() if feed in feeds]:
            await self.unlisten(feed, key)

    async def publish(
        self,
        key: str,
        name: str | None,
        body: bytes,
        published_at: float,
        history: History,
        connection: Any = None,
    ) -> Position:
        """Append an event and pass it on: see `ChannelBackend.publish`."""
        log = self._logs.get(key)
        if log is None:
            if len(self._logs) >= MAX_CHANNELS:
                self._forget_one()
            log = self._logs[key] = _Log(key)
        else:
            self._logs.move_to_end(key)
        log.last += 1
        log.touched_at = published_at
        log.history = history
        event = Event(log.last, name, body, published_at)
        log.events.append(event)
        self._filled[key] = log
        self._filled.move_to_end(key)
        self._size += len(body) + EVENT_OVERHEAD
        self._trim(log)
        self._count += 1
        if self._count % PRUNE_EVERY == 0:
            self._prune()
        for feed in list(self._feeds.get(key, ())):
            feed.deliver(key, log.epoch, event)
        return Position(log.epoch, log.last)

    def _trim(self, log: _Log) -> None:
        oldest = time.time() - log.history.seconds
        events = log.events
        while events and (len(events) > log.history.max_events or events[0].published_at < oldest):
            self._drop_first(log)
        while self._size > self._max_size:
            self._drop_first(next(iter(self._filled.values())))

    def _forget_one(self) -> None:
        key = next((key for key in self._logs if key not in self._feeds), None)
        if key is not None:
            log = self._logs.pop(key)
            while log.events:
                self._drop_first(log)

    def _drop_first(self, log: _Log) -> None:
        self._size -= len(log.events.popleft().body) + EVENT_OVERHEAD
        if not log.events:
            del self._filled[log.key]

    def _prune(self) -> None:
        """Delete expired events, and channels that were idle for long, among those that were idle longest."""
        now = time.time()
        for log in list(islice(self._filled.values(), 2 * PRUNE_EVERY)):
            self._trim(log)
        for log in list(islice(self._logs.values(), 2 * PRUNE_EVERY)):
            is_idle = log.touched_at + log.history.seconds + KEEP_COUNTER_SECONDS < now
            if is_idle and not log.events and log.key not in self._feeds:
                del self._logs[log.key]

    async def read(self, key: str, after: int, limit: int, history: History) -> Page:
        """Return events: see `ChannelBackend.read`."""
        log = self._logs.get(key)
        if log is None:
            return Page("", 0, ())
        self._trim(log)
        events = log.events
        if not events or after >= log.last:
            return Page(log.epoch, log.last, ())
        skip = max(0, after - events[0].number + 1)
        return Page(log.epoch, log.last, tuple(islice(events, skip, skip + limit)))

    async def listen(self, feed: Feed, key: str) -> None:
        """Pass events to the feed from now on."""
        self._feeds.setdefault(key, {})[feed] = None

    async def unlisten(self, feed: Feed, key: str) -> None:
        """Pass no more events to the feed."""
        feeds = self._feeds.get(key, {})
        feeds.pop(feed, None)
        if not feeds:
            self._feeds.pop(key, None)

    async def touch(self, keys: Collection[str], history: History) -> None:
        """Do nothing: channels with subscribers are kept."""

    # -- presence ----------------------------------------------------------------------------------

    async def join(self, key: str, members: Mapping[str, bytes], seconds: float) -> list[str]:
        """Store members: see `ChannelBackend.join`."""
        known = self._members.setdefault(key, {})
        new = [member for member in members if member not in known]
        expires = time.monotonic() + seconds
        known.update({member: (value, expires) for member, value in members.items()})
        return new

    async def leave(self, key: str, members: Collection[str]) -> list[str]:
        """Delete members: see `ChannelBackend.leave`."""
        known = self._members.get(key, {})
        gone = [member for member in members if known.pop(member, None) is not None]
        if not known:
            self._members.pop(key, None)
        return gone

    async def members(self, key: str) -> dict[str, bytes]:
        """Return the members: see `ChannelBackend.members`."""
        now = time.monotonic()
        known = self._members.get(key, {})
        return {member: value for member, (value, expires) in known.items() if expires > now}

    async def sweep(self, key: str) -> dict[str, bytes]:
        """Delete expired members: see `ChannelBackend.sweep`."""
        now = time.monotonic()
        known = self._members.get(key, {})
        expired = {m: value for m, (value, expires) in known.items() if expires <= now}
        await self.leave(key, expired)
        return expired
