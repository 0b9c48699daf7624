"""Who is in a channel: `Presence`.

A process writes its members to the backend and refreshes them. Joins and leaves are events of the channel
``#presence:<channel>``. A killed process refreshes nothing, so another process deletes its members and
publishes that they left.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import anyio

from spica.channels.backend import ChannelBackend
from spica.channels.messages import (
    ChannelsUnavailable,
    EventTooLarge,
    Gap,
    Position,
    make_event,
    storage_key,
)
from spica.channels.subscription import Subscription
from spica.jsoncodec import decode, encode

PREFIX = "#presence:"
"""The channel of the changes is this and the name of the channel."""
MAX_USER_LENGTH = 256
"""The longest user id, in characters."""
LEAVE_SECONDS = 2.0
"""The time that a leaving member may take to tell the others."""

Meta: TypeAlias = dict[str, Any]
"""What a member tells about itself."""


class Carrier(Protocol):
    """The part of `Channels` that presence needs."""

    backend: ChannelBackend
    max_event_size: int

    def check_started(self) -> None:
        """Raise RuntimeError if the lifespan has not started."""

    def encode(self, data: Any) -> bytes:
        """Return the JSON of an event."""
        ...

    async def publish_to(self, key: str, data: Any) -> Position:
        """Publish to a reserved channel."""
        ...

    def subscribe_to(self, *channels: str) -> AbstractAsyncContextManager[Subscription]:
        """Subscribe to a reserved channel."""
        ...

    def log_outage(self, exc: ChannelsUnavailable) -> None:
        """Log that the backend is down."""


@dataclass(frozen=True, slots=True)
class PresenceEvent:
    """A change of the members of a channel.

    Args:
        kind: ``"snapshot"``: all members. ``"join"`` or ``"leave"``: one connection of a user.
        channel: The channel.
        users: The snapshot: for each user the meta data of each connection. Else empty.
        user: The user who joined or left.
        meta: The meta data of the connection.
        connections: The number of connections of the user after the change. 0 means that the user has left.
    """

    kind: Literal["snapshot", "join", "leave"]
    channel: str
    users: dict[str, list[Meta]] = field(default_factory=dict)
    user: str | None = None
    meta: Meta = field(default_factory=dict)
    connections: int = 0

    def to_server_sent_event(self) -> Any:
        """Return the event for an event stream, named like the kind."""
        return make_event(self._data(), event=self.kind)

    def to_json(self) -> str:
        """Return the event as a JSON object, for a WebSocket."""
        data = {"presence": self.kind, "channel": self.channel, **self._data()}
        return encode(data).decode()

    def _data(self) -> dict[str, Any]:
        if self.kind == "snapshot":
            return {"users": self.users}
        return {"user": self.user, "meta": self.meta, "connections": self.connections}


class Presence:
    """The members of channels: who has a page open right now.

    Presence is eventually consistent. Others see a clean leave at once, and the leave of a killed worker
    within 40 seconds. Never use it for permissions. A backend that is down never stops a connection: the
    member appears when the backend is back.

    Attributes:
        refresh_seconds: The time between two refreshes of the members of this process (10).
        valid_seconds: The time after which members without a refresh are gone (30).
        sweep_seconds: The time between two searches for members that are gone (5).
    """

    refresh_seconds = 10.0
    valid_seconds = 30.0
    sweep_seconds = 5.0

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._process = ""
        self._count = 0
        self._tracked: dict[str, dict[str, bytes]] = {}
        self._watched: Counter[str] = Counter()
        self._loaded: dict[str, tuple[float, dict[str, Any]]] = {}

    @asynccontextmanager
    async def track(
        self, channel: str, user: str, meta: Meta | None = None, *, max_meta_size: int = 1024
    ) -> AsyncIterator[None]:
        """Make a user a member of a channel, as long as the context is open.

        Args:
            channel: The channel.
            user: The id of the user. A user may have several connections.
            meta: What others see of the connection, for example ``{"device": "phone"}``.
            max_meta_size: The limit of ``meta`` as JSON, in bytes.

        Raises:
            EventTooLarge: ``meta`` is larger than the limit, or than ``max_event_size`` of the channels.
            RuntimeError: The lifespan has not started.
            TypeError, ValueError: JSON can't represent ``meta``, or ``user`` is empty or longer than 256
                characters.
        """
        if not isinstance(user, str) or not 0 < len(user) <= MAX_USER_LENGTH:
            raise ValueError(
                f"Presence: user must be a str of 1 to {MAX_USER_LENGTH} characters, not {user!r:.80}."
            )
        size = len(encode(meta or {}))
        if size > max_meta_size:
            raise EventTooLarge(size, max_meta_size)
        self._carrier.check_started()
        self._count += 1
        member = f"{self._process}:{self._count}"
        value = encode({"user": user, "meta": meta or {}})
        size = len(self._carrier.encode(_change("leave", {member: value})))
        if size > self._carrier.max_event_size:
            raise EventTooLarge(size, self._carrier.max_event_size)
        self._tracked.setdefault(channel, {})[member] = value
        try:
            await self._refresh(channel, {member: value})
            yield
        finally:
            self._forget(channel, member)
            with anyio.move_on_after(LEAVE_SECONDS, shield=True):
                await self._leave(channel, {member: value})

    async def list(self, channel: str) -> dict[str, list[Meta]]:
        """Return the members of a channel: for each user the meta data of each connection.

        Raises:
            ChannelsUnavailable: The backend does not answer.
            RuntimeError: The lifespan has not started.
        """
        self._carrier.check_started()
        members = await self._carrier.backend.members(storage_key(channel))
        return _by_user(map(decode, members.values()))

    async def events(self, channel: str) -> AsyncIterator[PresenceEvent]:
        """Yield a snapshot of the members, then joins and leaves. After a gap, a snapshot comes again.

        Use it with an `EventSourceResponse`, or send ``event.to_json()`` to a WebSocket.
        """
        self._watched[channel] += 1
        try:
            async with self._carrier.subscribe_to(PREFIX + channel) as subscription:
                view = _View(channel, await self._load(channel))
                yield view.snapshot()
                while True:
                    item: Any = None
                    with anyio.move_on_after(self.refresh_seconds):
                        item = await anext(subscription, False)
                    if item is False:
                        return
                    if isinstance(item, Gap):
                        view = _View(channel, await self._load(channel))
                        yield view.snapshot()
                    elif item is not None:
                        for event in view.apply(item.data["kind"], item.data["members"]):
                            yield event
                    if anyio.current_time() - view.checked_at >= self.refresh_seconds:
                        for event in view.compare(await self._load_recent(channel)):
                            yield event
        except ChannelsUnavailable as exc:
            self._carrier.log_outage(exc)
        finally:
            self._watched[channel] -= 1
            if not self._watched[channel]:
                del self._watched[channel]
                self._loaded.pop(channel, None)

    async def _load(self, channel: str) -> dict[str, Any]:
        members = await self._carrier.backend.members(storage_key(channel))
        return {member: decode(value) for member, value in members.items()}

    async def _load_recent(self, channel: str) -> dict[str, Any]:
        """Return the members as they were a moment ago: all readers of a process share them."""
        loaded_at, members = self._loaded.get(channel, (-math.inf, {}))
        if anyio.current_time() - loaded_at > self.refresh_seconds / 2:
            members = await self._load(channel)
            self._loaded[channel] = anyio.current_time(), members
        return members

    # -- the work behind ---------------------------------------------------------------------------

    def start(self) -> None:
        """Give this process its name. A fork has the memory of its parent, and needs another name."""
        self._process = secrets.token_hex(8)

    async def run(self) -> None:
        """Refresh the members of this process, and delete those of killed ones, until cancelled."""
        refreshed_at = anyio.current_time()
        while True:
            await anyio.sleep(self.sweep_seconds)
            if anyio.current_time() - refreshed_at >= self.refresh_seconds:
                refreshed_at = anyio.current_time()
                for channel, members in list(self._tracked.items()):
                    await self._refresh(channel, dict(members))
            for channel in {*self._tracked, *self._watched}:
                await self._sweep(channel)

    async def stop(self) -> None:
        """Remove all members of this process."""
        tracked, self._tracked = self._tracked, {}
        for channel, members in tracked.items():
            await self._leave(channel, members)

    def _forget(self, channel: str, member: str) -> None:
        members = self._tracked.get(channel, {})
        members.pop(member, None)
        if not members:
            self._tracked.pop(channel, None)

    async def _refresh(self, channel: str, members: Mapping[str, bytes]) -> None:
        try:
            key = storage_key(channel)
            new = await self._carrier.backend.join(key, members, self.valid_seconds)
            here = self._tracked.get(channel, {})
            left = [member for member in members if member not in here]
            if left:  # during the call
                await self._leave(channel, {member: members[member] for member in left})
            await self._announce("join", channel, {m: members[m] for m in new if m in here})
        except ChannelsUnavailable as exc:
            self._carrier.log_outage(exc)

    async def _leave(self, channel: str, members: Mapping[str, bytes]) -> None:
        try:
            gone = await self._carrier.backend.leave(storage_key(channel), list(members))
            await self._announce("leave", channel, {member: members[member] for member in gone})
        except ChannelsUnavailable as exc:
            self._carrier.log_outage(exc)

    async def _sweep(self, channel: str) -> None:
        try:
            expired = await self._carrier.backend.sweep(storage_key(channel))
            await self._announce("leave", channel, expired)
        except ChannelsUnavailable as exc:
            self._carrier.log_outage(exc)

    async def _announce(self, kind: str, channel: str, members: Mapping[str, bytes]) -> None:
        """Publish a change. Many members at once, such as those of a killed worker, need several events."""
        if not members:
            return
        try:
            await self._carrier.publish_to(storage_key(PREFIX + channel), _change(kind, members))
        except EventTooLarge:
            names = list(members)
            half = len(names) // 2
            # A single member is only too large if another worker allows more. Readers find it when they
            # compare.
            for part in (names[:half], names[half:]) if half else ():
                await self._announce(kind, channel, {name: members[name] for name in part})


def _change(kind: str, members: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the data of the event about a change."""
    return {"kind": kind, "members": {name: decode(value) for name, value in members.items()}}


def _by_user(members: Iterable[Any]) -> dict[str, list[Meta]]:
    users: dict[str, list[Meta]] = {}
    for member in members:
        users.setdefault(member["user"], []).append(member["meta"])
    return users


class _View:
    """The members of a channel, as one reader of the events knows them."""

    def __init__(self, channel: str, members: dict[str, Any]) -> None:
        self.checked_at = anyio.current_time()
        self._channel = channel
        self._members = members
        self._suspects: set[str] = set()

    def snapshot(self) -> PresenceEvent:
        """Return the event with all members."""
        return PresenceEvent("snapshot", self._channel, users=_by_user(self._members.values()))

    def apply(
        self, kind: Literal["join", "leave"], changed: Mapping[str, Any]
    ) -> list[PresenceEvent]:
        """Apply a change, and return its events. A change that is known already has none."""
        events = []
        for member, about in changed.items():
            if (kind == "join") == (member in self._members):
                continue
            if kind == "join":
                self._members[member] = about
            else:
                about = self._members.pop(member)
            count = sum(each["user"] == about["user"] for each in self._members.values())
            event = PresenceEvent(
                kind, self._channel, user=about["user"], meta=about["meta"], connections=count
            )
            events.append(event)
        return events

    def compare(self, members: dict[str, Any]) -> list[PresenceEvent]:
        """Find joins and leaves whose event was lost in an outage, and return events for them.

        A difference counts when two comparisons have found it: the event of a young one is under way.
        """
        self.checked_at = anyio.current_time()
        suspects, self._suspects = self._suspects, members.keys() ^ self._members.keys()
        lost = suspects & self._suspects
        joined = {member: members[member] for member in lost if member in members}
        return self.apply("join", joined) + self.apply("leave", dict.fromkeys(lost - joined.keys()))
