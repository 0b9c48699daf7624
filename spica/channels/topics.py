"""Bring the events of a backend to the subscriptions of this process, in order, each once.

A `Topic` is a channel with subscribers. It joins the log of the backend in four steps, the only way without
a hole:

1. Listen, and wait until the backend has confirmed it.
2. Read the log behind the last position.
3. Drop new events that the log contained.
4. Continue with new events.

The same steps repair every hole: after a reconnect, after a lost message, after a restart of the backend. A
subscription that comes back with an id reads the log page by page, at the pace of its reader, and then
joins the topic.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import anyio
import anyio.abc

from spica.channels.backend import ChannelBackend, Page, kept
from spica.channels.burst import Burst
from spica.channels.messages import (
    START,
    ChannelsUnavailable,
    Event,
    Gap,
    History,
    Message,
    Position,
)
from spica.channels.reads import SharedReads
from spica.channels.subscription import Subscription

logger = logging.getLogger("spica.channels")

END = (1 << 62) - 1
"""A number behind every event: reading after it returns the counter only."""
PAGE_EVENTS = 100
"""The number of events that are read from a backend at once."""
MAX_PENDING = 1000
"""The number of new events that a topic keeps while it reads the log. Beyond it, it reads again."""
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.05, 5.0
LOG_SECONDS = 60.0
"""The time between two lines of the log about an outage."""
TOUCH_SECONDS = 3600.0
"""The time between two renewals of the counters of subscribed channels, which backends keep for a day."""


class Retry:
    """Waiting times with jitter between attempts, from 50 ms doubling to 5 s."""

    def __init__(self) -> None:
        self._seconds = MIN_RETRY_SECONDS

    async def wait(self) -> None:
        """Wait before the next attempt."""
        await anyio.sleep(self._seconds * random.uniform(0.5, 1.0))
        self._seconds = min(self._seconds * 2, MAX_RETRY_SECONDS)


class Topic:
    """A channel that has subscribers in this process."""

    __slots__ = (
        "ahead",
        "burst",
        "channel",
        "count",
        "epoch",
        "is_known_gap",
        "is_open",
        "is_repairing",
        "key",
        "last",
        "last_published_at",
        "lock",
        "lost_epoch",
        "members",
        "must_read_again",
        "pending",
    )

    def __init__(self, channel: str, key: str, burst: Burst) -> None:
        self.channel = channel
        self.key = key
        self.burst = burst
        self.epoch = ""
        self.last = 0
        self.last_published_at: float | None = None
        self.lost_epoch = ""
        """The epoch before, which the backend has lost. One of its events may still arrive."""
        self.members: dict[Subscription, None] = {}
        self.ahead: dict[Subscription, int] = {}
        """Subscriptions that have read more of the log than the topic has delivered, with their numbers."""
        self.count = 0
        self.is_open = False
        self.is_repairing = False
        self.is_known_gap = False
        self.must_read_again = False
        self.pending: list[tuple[str, Event]] = []
        self.lock = anyio.Lock()

    def deliver(self, epoch: str, event: Event) -> bool:
        """Pass a new event on if it is the next one. Return False if it shows a hole."""
        if epoch == self.epoch:
            if event.number != self.last + 1:
                return event.number <= self.last
        elif self.epoch or event.number != 1 or epoch == self.lost_epoch:
            return False
        self.epoch = epoch
        self.last = event.number
        self.last_published_at = event.published_at
        self.burst.add(self.members, Message(self.channel, epoch, event))
        if self.ahead:
            self.burst.flush()
            for subscription, number in list(self.ahead.items()):
                if number <= self.last:
                    del self.ahead[subscription]
                    self.members[subscription] = None
        return True

    def take(self, page: Page) -> bool:
        """Pass on a page of the log that begins at the last event. Return whether there is more to read."""
        if page.epoch != self.epoch:
            if self.epoch:
                self._announce("restarted", Position(page.epoch, 0))
                self.lost_epoch = self.epoch
                # The gap explains the events that are missing in the log, if there is one already.
                self.is_known_gap = page.last > 0
            self.epoch, self.last, self.last_published_at = page.epoch, 0, None
            return page.last > 0
        events = page.events
        if events and events[0].number == self.last:
            if self.last_published_at not in (None, events[0].published_at):
                self._restart_at(page)
                return False
            events = events[1:]
        if page.last < self.last:
            self._restart_at(page)
            return False
        if (events[0].number if events else page.last + 1) > self.last + 1:
            self._skip_to(events[0].number - 1 if events else page.last)
        self.is_known_gap = False
        for event in events:
            self.deliver(page.epoch, event)
        return self.last < page.last

    def _restart_at(self, page: Page) -> None:
        """Continue at the end of a log that lost events after the topic had seen them.

        A Redis that was restarted from an older file, or a replica that took over, numbers new events like
        lost ones.
        """
        self._announce("restarted", Position(page.epoch, page.last))
        self.last, self.last_published_at = page.last, None

    def _skip_to(self, number: int) -> None:
        """Report events that the history no longer has."""
        further = {s: n for s, n in self.ahead.items() if n > number}
        for subscription in further:
            del self.ahead[subscription]
        if not self.is_known_gap:
            self._announce("expired", Position(self.epoch, number))
        self.ahead |= further
        self.last = number

    def _announce(self, reason: Literal["expired", "restarted"], position: Position) -> None:
        self.burst.flush()
        self.members |= dict.fromkeys(self.ahead)
        self.ahead = {}
        gap = Gap(self.channel, reason, str(position))
        for subscription in list(self.members):
            subscription.put_gap(gap)

    def attach(self, subscription: Subscription, position: Position) -> bool:
        """Let a subscription that has read the log up to ``position`` join. Return False if it is behind."""
        if position.epoch != self.epoch or position.number < self.last:
            return False
        self.burst.flush()
        if position.number > self.last:
            self.ahead[subscription] = position.number
        else:
            self.members[subscription] = None
        return True


class Join:
    """A subscription on its way through the log of one channel into the topic."""

    __slots__ = (
        "_hub",
        "_is_known_gap",
        "_limit",
        "_page",
        "_position",
        "_subscription",
        "_topic",
        "_wanted",
    )

    def __init__(
        self,
        hub: Hub,
        topic: Topic,
        subscription: Subscription,
        wanted: tuple[Position, ...] | None,
    ) -> None:
        self._hub = hub
        self._topic = topic
        self._subscription = subscription
        self._wanted = wanted
        self._position = START
        self._is_known_gap = False
        self._limit = min(PAGE_EVENTS, hub.max_queue_events)
        self._page: Page | None = None

    async def start(self) -> None:
        """Find the position of the subscription, and read a page."""
        # Most clients come back with a valid id. The page behind it shows that, and is needed anyway.
        guess, limit = (self._wanted[0].number, self._limit) if self._wanted else (END, 0)
        page = await self._hub.read(self._topic, guess, limit)
        number, reason = choose_start(self._wanted, page)
        self._position = Position(page.epoch, number)
        self._subscription.start_at(self._topic.channel, self._position)
        if reason is not None:
            self._is_known_gap = True
            self._put_gap(reason)
        if number >= page.last:
            self._page = page
            return
        if number != guess:
            page = await self._hub.read(self._topic, number, self._limit)
        if self._put(page):
            self._page = page

    def finish(self) -> bool:
        """Join the topic, if the page was the last one. Return whether the subscription needs no replay.

        A subscription of several channels joins them together, when it has read a page of each. If it had
        joined the first one earlier, events of that could have filled its queue before anyone reads it.
        """
        if self._subscription.end_reason is not None:
            return True
        if self._page is None:
            return False
        topic = self._topic
        if self._wanted is None and topic.is_open and self._position.epoch in (topic.epoch, ""):
            # Only events that come after the subscription has begun are for it.
            self._position = Position(topic.epoch, max(topic.last, self._position.number))
        elif topic.epoch == self._position.epoch and topic.last > self._position.number:
            return False  # events came meanwhile
        return self._attach(self._page)

    async def step(self) -> bool:
        """Read the next page. Return whether the subscription is live now. An outage is waited for."""
        retry = Retry()
        while True:
            try:
                # It is connected: the history limits only the events that clients come back for.
                page = await self._hub.read(
                    self._topic, self._position.number, self._limit, is_connected=True
                )
            except ChannelsUnavailable as exc:
                self._hub.log_outage(exc)
                await retry.wait()
            else:
                # It may have ended meanwhile.
                return self._subscription.end_reason is not None or (
                    self._put(page) and self._attach(page)
                )

    def _put(self, page: Page) -> bool:
        """Put the events of a page into the queue. Return whether there are no more in the log."""
        epoch, number = self._position
        if page.epoch != epoch or page.last < number:
            if epoch:
                self._position = Position(page.epoch, 0 if page.epoch != epoch else page.last)
                self._put_gap("restarted")
                self._is_known_gap = True
            else:
                self._position = Position(page.epoch, 0)
            return False
        following = page.events[0].number if page.events else page.last + 1
        if following > number + 1:
            self._position = Position(epoch, following - 1)
            if not self._is_known_gap:
                self._put_gap("expired")
        self._is_known_gap = False
        self._hub.burst.flush()
        for count, event in enumerate(page.events):
            if not self._subscription.has_room(len(event.body)):
                # Large events: the next page has fewer, so that little is read in vain.
                self._limit = max(1, count)
                return False
            self._subscription.put(Message(self._topic.channel, epoch, event))
            self._position = Position(epoch, event.number)
        return self._position.number == page.last

    def _attach(self, page: Page) -> bool:
        if self._topic.attach(self._subscription, self._position):
            return True
        # The topic may have missed events of the page.
        self._hub.observe(self._topic.key, page.epoch, page.last)
        return False

    def _put_gap(self, reason: Literal["expired", "restarted"]) -> None:
        self._subscription.put_gap(Gap(self._topic.channel, reason, str(self._position)))


def choose_start(
    wanted: tuple[Position, ...] | None, page: Page
) -> tuple[int, Literal["expired", "restarted"] | None]:
    """Return the number to continue after, and the reason of a gap, for the positions that a client names."""
    if wanted is None:
        return page.last, None
    if not wanted:  # a malformed id
        return page.last, "expired"
    if wanted[0] == START and len(wanted) == 1:
        return 0, None
    for position in wanted:
        if position.epoch == page.epoch:
            # No reader has got a number beyond the counter: the id is forged, or the backend has lost events.
            if position.number > page.last:
                return page.last, "restarted"
            return position.number, None
    return 0, "restarted"


class Hub:
    """The topics of this process. It is the `Feed` of the backend.

    Args:
        backend: The backend.
        history: The events to keep.
        max_queue_events: The number of events that fit into the queue of a subscription.
    """

    def __init__(self, backend: ChannelBackend, history: History, max_queue_events: int) -> None:
        self.backend = backend
        self.history = history
        self.families: dict[str, History] = {}
        """The histories of reserved channels by the beginning of their keys."""
        self.max_queue_events = max_queue_events
        self._reads = SharedReads(backend)
        self._kept = kept(history)
        self.topics: dict[str, Topic] = {}
        self.burst = Burst()
        self._is_running = False
        self._starts: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._logged_at = -LOG_SECONDS

    async def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Connect the backend. Its tasks run in ``tasks``."""
        self._must_start = anyio.Event()
        self._is_running = True
        tasks.start_soon(self._start_all, tasks)
        await self.backend.start(self)
        self.start_soon(self._keep_counters)

    async def _keep_counters(self) -> None:
        """Renew the counters. Without one, a channel that was silent for long would seem to start again."""
        while True:
            await anyio.sleep(TOUCH_SECONDS)
            if self.topics:
                await self.backend.touch(list(self.topics), self.history)

    async def stop(self) -> None:
        """Disconnect the backend."""
        self.topics.clear()
        self._is_running = False
        await self.backend.stop(self)

    def start_soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a task until the end. After an error, which is logged, it is started again."""
        if self._is_running:
            self._starts.append((function, args))
            self._must_start.set()

    async def _start_all(self, tasks: anyio.abc.TaskGroup) -> None:
        """Start what `start_soon` has collected. It may be called where no task runs: in a callback."""
        while True:
            await self._must_start.wait()
            self._must_start = anyio.Event()
            while self._starts:
                tasks.start_soon(self._run, *self._starts.popleft())

    async def _run(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        retry = Retry()
        while True:
            started_at = anyio.current_time()
            try:
                await function(*args)
                return
            except ChannelsUnavailable as exc:
                self.log_outage(exc)
            except Exception:
                logger.exception("A task of the channels failed. It starts again.")
            if anyio.current_time() - started_at > MAX_RETRY_SECONDS:
                retry = Retry()  # it worked meanwhile
            await retry.wait()

    def log_outage(self, exc: ChannelsUnavailable) -> None:
        """Log an outage, at most once a minute."""
        now = time.monotonic()
        if now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            logger.warning("%s", exc)

    # -- the feed ----------------------------------------------------------------------------------

    def deliver(self, key: str, epoch: str, event: Event) -> None:
        """Take a new event from the backend."""
        topic = self.topics.get(key)
        if topic is None:
            return
        if topic.is_repairing or not topic.is_open:
            if len(topic.pending) < min(MAX_PENDING, self.max_queue_events):
                topic.pending.append((epoch, event))
            else:
                topic.must_read_again = True
        elif not topic.deliver(epoch, event):
            self._repair(topic)

    def observe(self, key: str, epoch: str, last: int) -> None:
        """Compare the counter of the backend with the position of the topic."""
        topic = self.topics.get(key)
        if topic is None:
            return
        if topic.is_repairing or not topic.is_open:
            topic.must_read_again = True
        elif (epoch, last) != (topic.epoch, topic.last):
            self._repair(topic)

    def _repair(self, topic: Topic) -> None:
        topic.is_repairing = topic.must_read_again = True
        self.start_soon(self._read_on, topic)

    async def _read_on(self, topic: Topic) -> None:
        """Steps 2 to 4 for a topic that listens."""
        retry = Retry()
        while self.topics.get(topic.key) is topic:
            if not topic.must_read_again:
                break
            topic.must_read_again = False
            try:
                # Read the last event again, to see whether it is still the same.
                after = max(topic.last - 1, 0)
                limit = min(PAGE_EVENTS, self.max_queue_events + (topic.last > 0))
                page = await self.backend.read(topic.key, after, limit, self._kept)
            except ChannelsUnavailable as exc:
                self.log_outage(exc)
                topic.must_read_again = True
                await retry.wait()
                continue
            topic.must_read_again |= topic.take(page)
            if not topic.must_read_again:
                topic.must_read_again = not self._take_pending(topic)
        topic.is_repairing = False

    def _take_pending(self, topic: Topic) -> bool:
        pending, topic.pending = topic.pending, []
        # Events behind a hole need no attempt: the next read finds them.
        return all(topic.deliver(epoch, event) for epoch, event in pending)

    async def read(
        self, topic: Topic, after: int, limit: int, *, is_connected: bool = False
    ) -> Page:
        """Read a page of the log, for a connected subscription also behind the end of the history."""
        history = self.history_of(topic.key)
        return await self._reads.read(
            topic.key, after, limit, kept(history) if is_connected else history
        )

    def history_of(self, key: str) -> History:
        """Return the events to keep of a channel."""
        for prefix, history in self.families.items():
            if key.startswith(prefix):
                return history
        return self.history

    # -- subscriptions -----------------------------------------------------------------------------

    async def join(
        self,
        subscription: Subscription,
        channel: str,
        key: str,
        wanted: tuple[Position, ...] | None,
    ) -> Join:
        """Let a subscription read a channel from a position on. Finish the join when it reads all of them.

        Raises:
            ChannelsUnavailable: The backend does not answer.
        """
        topic = self.topics.get(key)
        if topic is None:
            topic = self.topics[key] = Topic(channel, key, self.burst)
        topic.count += 1
        if not topic.is_open:
            await self._open(topic)
        join = Join(self, topic, subscription, wanted)
        await join.start()
        return join

    async def _open(self, topic: Topic) -> None:
        """Step 1: listen. The first subscription of a topic does it for all."""
        async with topic.lock:
            if topic.is_open:
                return
            await self.backend.listen(self, topic.key)
            page = await self.read(topic, END, 0)
            topic.epoch, topic.last, topic.last_published_at = page.epoch, page.last, None
            topic.is_open = True
            if topic.must_read_again or not self._take_pending(topic):
                self._repair(topic)

    def leave(self, subscription: Subscription, keys: list[str]) -> None:
        """Remove a subscription from the channels that it joined."""
        self.burst.flush()
        for key in keys:
            topic = self.topics.get(key)
            if topic is None:
                continue
            topic.members.pop(subscription, None)
            topic.ahead.pop(subscription, None)
            topic.count -= 1
            if topic.count == 0:
                self.start_soon(self._close, topic)

    async def _close(self, topic: Topic) -> None:
        async with topic.lock:
            if topic.count == 0 and self.topics.get(topic.key) is topic:
                topic.is_open = False
                await self.backend.unlisten(self, topic.key)
                # Meanwhile another subscription may wait for the lock.
                if topic.count == 0:
                    self.topics.pop(topic.key, None)
