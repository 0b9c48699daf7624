"""The interface between `Channels` and a backend.

A backend stores the log of each channel and passes on new events. It knows nothing of subscribers: the
rules about order, holes and slow readers are in ``spica.channels.topics``, once for all backends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from spica.channels.messages import ChannelsUnavailable, Event, History, Position

TIMEOUT_SECONDS = 1.0
"""The time that an operation on a server may take."""

KEEP_COUNTER_SECONDS = 86400.0
"""The time that a backend keeps the counter of a channel after its last event has expired."""


MIN_KEPT_EVENTS = 100
MIN_KEPT_SECONDS = 60.0
"""The events that a server or a file keeps at least, so that they reach the subscribers that are
connected."""


def kept(history: History) -> History:
    """Return the events that a server keeps for a history: those, and some for connected subscribers."""
    return History(max(history.max_events, MIN_KEPT_EVENTS), max(history.seconds, MIN_KEPT_SECONDS))


class Page(NamedTuple):
    """A part of the log of a channel, read at one moment."""

    epoch: str
    """The epoch of the channel, "" if it has never had an event."""
    last: int
    """The number of the newest event."""
    events: Sequence[Event]
    """The events in order."""


class Feed(Protocol):
    """The receiver of new events. A backend calls it in the event loop."""

    def deliver(self, key: str, epoch: str, event: Event) -> None:
        """Take a new event. Events may come twice, late or never."""

    def observe(self, key: str, epoch: str, last: int) -> None:
        """Compare the counter of a channel, to find events that never came."""

    def log_outage(self, exc: ChannelsUnavailable) -> None:
        """Log that the backend is down, at most once a minute."""

    def start_soon(self, function: Any, *args: Any) -> None:
        """Run a task of the backend until the end. It is started again after an error."""


class ChannelBackend(Protocol):
    """The storage of channels. Each operation is atomic, and raises `ChannelsUnavailable` if it fails.

    A key is the name of a channel, as `storage_key` returns it.
    """

    async def start(self, feed: Feed) -> None:
        """Connect. Events of the keys that are listened to go to ``feed`` from now on."""

    async def stop(self, feed: Feed) -> None:
        """Disconnect."""

    async def publish(
        self,
        key: str,
        name: str | None,
        body: bytes,
        published_at: float,
        history: History,
        connection: Any = None,
    ) -> Position:
        """Append an event to the log, pass it on, and return its position."""
        ...

    async def read(self, key: str, after: int, limit: int, history: History) -> Page:
        """Return at most ``limit`` events with a number above ``after``, the oldest first."""
        ...

    async def listen(self, feed: Feed, key: str) -> None:
        """Return when every event that is published from now on reaches ``feed``."""

    async def unlisten(self, feed: Feed, key: str) -> None:
        """Pass no more events of a channel to ``feed``."""

    async def touch(self, keys: Collection[str], history: History) -> None:
        """Keep the counters of channels that have subscribers."""

    async def join(self, key: str, members: Mapping[str, bytes], seconds: float) -> list[str]:
        """Store members of a channel for some seconds, and return those that are new."""
        ...

    async def leave(self, key: str, members: Collection[str]) -> list[str]:
        """Delete members of a channel, and return those that were there."""
        ...

    async def members(self, key: str) -> dict[str, bytes]:
        """Return the members of a channel."""
        ...

    async def sweep(self, key: str) -> dict[str, bytes]:
        """Delete members whose time is over, and return them. Each goes to one caller only."""
        ...
