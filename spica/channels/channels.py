"""The class `Channels`: publish events, subscribe to them, and stream them to clients."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
from anyio.abc import TaskStatus

from spica import jsoncodec
from spica.channels.backend import ChannelBackend
from spica.channels.forwarding import Forwarding
from spica.channels.memory import MemoryBackend
from spica.channels.messages import (
    ChannelsUnavailable,
    EventTooLarge,
    Gap,
    History,
    InvalidChannel,
    Message,
    Position,
    check_event_name,
    make_event,
    parse_after,
    public_key,
    storage_key,
)
from spica.channels.presence import Presence
from spica.channels.subscription import ON_SLOW, LatestSubscription, OnSlow, Subscription
from spica.channels.topics import END, PAGE_EVENTS, Hub
from spica.stores.opening import sqlite_path
from spica.websockets.read_ahead import Switch

if TYPE_CHECKING:
    from spica.websockets import WebSocket

_FORMS = (
    '"memory://", "sqlite:///var/app.db", "redis://localhost:6379/0" or '
    '"postgresql://user@localhost/app"'
)

logger = logging.getLogger("spica.channels")

IDLE_SECONDS = 1.0
"""The time without an event after which a new event stream sends its position."""
MAX_UNYIELDED = 100
"""The number of events that a task publishes before other tasks run."""
STOP_SECONDS = 5.0
"""The time for the backend to disconnect."""


class Channels:
    """Named streams of events, from any worker to any number of subscribers.

    ```python
    channels = Channels("sqlite:///var/app.db")
    app = Spica(routes=[...], lifespan=[channels.lifespan])

    await channels.publish("news", {"title": "Hello"})
    return EventSourceResponse(channels.events("news", after=last_event_id(request)))
    ```

    Each channel has one total order, the same for all subscribers. A subscriber gets each event once, also
    after it comes back with the id of its last event. If the history no longer has an event, it gets a
    `Gap` instead.

    Args:
        backend: ``"memory://"`` (the default, for one process), ``"sqlite:///var/app.db"`` (for the workers
            of one machine), ``"redis://..."`` or ``"postgresql://..."`` (for many machines), or a backend
            object.
        history: The events that each channel keeps.
        max_event_size: The limit of an event as JSON, in bytes (256 KiB).
        max_queue_events: The number of events that wait for one subscriber (256).
        max_queue_size: The size of the events that wait for one subscriber, in bytes (4 MiB).
        on_slow: The treatment of a subscriber whose queue is full. ``"disconnect"`` ends it, so that the
            client comes back with its id and loses nothing. ``"drop_oldest"`` replaces events by a `Gap`.
            ``"latest"`` keeps only the newest event of each channel.

    Attributes:
        presence: Who is in a channel; see `Presence`.

    Raises:
        ImportError: The driver of the backend is not installed.
        TypeError: An argument has the wrong type.
        ValueError: A limit is too small, or the URL names no backend.
    """

    def __init__(
        self,
        backend: ChannelBackend | str | None = None,
        *,
        history: History = History(),  # noqa: B008  # immutable
        max_event_size: int = 256 * 1024,
        max_queue_events: int = 256,
        max_queue_size: int = 4 * 1024 * 1024,
        on_slow: OnSlow = "disconnect",
    ) -> None:
        if not isinstance(history, History):
            raise TypeError(f"Channels: history must be a History, not {history!r:.80}.")
        for name, limit in (
            ("max_event_size", max_event_size),
            ("max_queue_events", max_queue_events),
            ("max_queue_size", max_queue_size),
        ):
            if isinstance(limit, bool) or not isinstance(limit, int):
                raise TypeError(f"Channels: {name} must be an int, not {limit!r:.80}.")
            if limit < 1:
                raise ValueError(f"Channels: {name} must be 1 or more, not {limit}.")
        if max_queue_size < max_event_size:
            raise ValueError(
                f"Channels: max_queue_size ({max_queue_size}) must be at least max_event_size "
                f"({max_event_size}): the largest event must fit into an empty queue."
            )
        self.backend = open_backend(backend)
        self.history_limits = history
        self.max_event_size = max_event_size
        self.max_queue_events = max_queue_events
        self.max_queue_size = max_queue_size
        self.on_slow: OnSlow = _check_on_slow(on_slow)
        self.presence = Presence(self)
        self._families: dict[str, History] = {}
        self._hub: Hub | None = None
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscriptions: set[Subscription] = set()
        self._encode: Callable[[Any], bytes] = jsoncodec.encode
        self._shutdown: Any = None
        self._unyielded = 0
        self._max_unyielded = min(MAX_UNYIELDED, max(1, max_queue_events // 2))

    # -- the life of the object --------------------------------------------------------------------

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """Connect to the backend and disconnect at the end: ``Spica(lifespan=[channels.lifespan])``.

        Scripts write ``async with channels.lifespan():``. A backend that is down does not stop the start-up.

        A second application in the same event loop may use the object, too. It must end before the first.

        Args:
            app: The application. Its ``json_codec`` writes the events.

        Raises:
            RuntimeError: Another event loop uses the object.
        """
        loop = _running_loop()
        if self._users and self._loop is not loop and not _is_closed(self._loop):
            raise RuntimeError(
                "Another event loop uses this Channels. Make one for each event loop: with SQLite, Redis or "
                "Postgres, they share their events."
            )
        if self._users and self._loop is loop:
            self._users += 1
            try:
                yield
            finally:
                self._users = max(0, self._users - 1)
            return
        self._shutdown = getattr(app, "shutdown", None)
        self._encode = getattr(getattr(app, "json_codec", None), "encode", jsoncodec.encode)
        Switch.is_on = True
        hub = Hub(self.backend, self.history_limits, self.max_queue_events)
        hub.families = self._families
        error: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            try:
                await hub.start(tasks)
                self._hub, self._users, self._loop = hub, 1, loop
                self.presence.start()
                hub.start_soon(self.presence.run)  # an error in it must not end the application
                yield
            except BaseException as exc:
                error = exc  # raised outside of the task group, which would wrap it
            with anyio.move_on_after(STOP_SECONDS, shield=True):
                await self.presence.stop()
            self.end_subscriptions()
            if self._users > 1:
                logger.error(
                    "Channels stops with its first application, while another one uses it."
                )
            self._hub, self._users = None, 0
            tasks.cancel_scope.cancel()
        with anyio.move_on_after(STOP_SECONDS, shield=True):
            await hub.stop()
        if error is not None:
            raise error

    @property
    def subscription_count(self) -> int:
        """The number of subscriptions in this process."""
        return len(self._subscriptions)

    def end_subscriptions(self) -> None:
        """End all subscriptions of this process: their readers get what is in the queue, and stop."""
        for subscription in list(self._subscriptions):
            subscription.end("shutdown")

    def log_outage(self, exc: ChannelsUnavailable) -> None:
        """Log that the backend is down, at most once a minute."""
        if self._hub is not None:
            self._hub.log_outage(exc)

    def check_started(self) -> None:
        """Check that the lifespan has started. For extensions of channels.

        Raises:
            RuntimeError: It has not.
        """
        self._started()

    def _started(self) -> Hub:
        if self._hub is None:
            raise RuntimeError(
                "Channels has not started. Pass its lifespan to the application: "
                "Spica(lifespan=[channels.lifespan]). In a script: async with channels.lifespan():"
            )
        return self._hub

    # -- publishing --------------------------------------------------------------------------------

    async def publish(
        self, channel: str, data: Any, *, event: str | None = None, connection: Any = None
    ) -> str:
        """Publish an event and return its id.

        When this returns, the backend has stored the event. Nothing waits in a hidden buffer.

        Args:
            channel: The channel. Names that begin with ``#`` belong to spica.
            data: A value that JSON can represent, for example a dict or a string.
            event: The name of the event, for the field ``event`` of a server-sent event.
            connection: Postgres only: a connection of asyncpg in a transaction. Subscribers get the event
                if the transaction commits. Other publishers of the channel wait until then.

        Raises:
            ChannelsUnavailable: The backend failed, or did not answer within 1 second. The event may or may
                not have been published.
            EventTooLarge: The event is larger than ``max_event_size``.
            InvalidChannel: The name of the channel is empty or reserved.
            RuntimeError: The lifespan has not started.
            TypeError, ValueError: JSON can't represent the data, or the name of the event is not allowed.
            asyncpg.PostgresError, asyncpg.InterfaceError: The transaction of ``connection`` failed, for
                example before this call. Roll back.
        """
        return str(await self.publish_to(public_key(channel), data, event, connection))

    async def publish_to(
        self, key: str, data: Any, event: str | None = None, connection: Any = None
    ) -> Position:
        """Publish to a channel by its storage key, also to a reserved one. For extensions of channels."""
        hub = self._started()
        if event is not None:
            check_event_name(event)
        if connection is not None and not getattr(hub.backend, "accepts_connection", False):
            raise TypeError("Channels: connection= works with the Postgres backend only.")
        body = self._encode(data)
        if len(body) > self.max_event_size:
            raise EventTooLarge(len(body), self.max_event_size)
        history = hub.history
        if self._families:
            # Backends delete old events of all channels at once, so the longest time applies to each.
            seconds = max(each.seconds for each in (history, *self._families.values()))
            history = History(hub.history_of(key).max_events, seconds)
        position = await hub.backend.publish(key, event, body, time.time(), history, connection)
        # A backend in memory never waits: let the readers run before their queues are full.
        self._unyielded += 1
        if self._unyielded >= self._max_unyielded:
            self._unyielded = 0
            await anyio.lowlevel.checkpoint()
        return position

    def add_family(self, prefix: str, history: History) -> None:
        """Give reserved channels a history of their own. For extensions of channels, before the lifespan.

        Args:
            prefix: The beginning of their names, such as ``"#run:"``.
            history: The events to keep.
        """
        self._families[prefix] = history

    def encode(self, data: Any) -> bytes:
        """Return the JSON of an event as ``publish`` stores it. For extensions of channels."""
        return self._encode(data)

    async def last_number(self, key: str) -> int:
        """Return the number of the newest event of a channel. For extensions of channels."""
        hub = self._started()
        return (await hub.backend.read(key, END, 0, hub.history_of(key))).last

    # -- reading -----------------------------------------------------------------------------------

    def subscribe(
        self, *channels: str, after: str | None = None, on_slow: OnSlow | None = None
    ) -> AbstractAsyncContextManager[Subscription]:
        """Subscribe to channels: ``async with channels.subscribe("news") as subscription``.

        Events that are published after the context has been entered reach the subscription.

        Args:
            channels: The channels, each once.
            after: The id of the last event that the client has seen, or `Subscription.position`. The events
                after it come first. ``"0"`` is the beginning of the history. A malformed id counts as none,
                and a `Gap` comes first.
            on_slow: Another treatment of this subscription if it is slow.

        Raises:
            ChannelsUnavailable: On entering, if the backend does not answer.
            InvalidChannel: A name is empty, reserved or there twice, or there is no name.
            RuntimeError: On entering, if the lifespan has not started.
            TypeError, ValueError: An argument is wrong.
        """
        for channel in channels:
            public_key(channel)
        return self.subscribe_to(*channels, after=after, on_slow=on_slow)

    def subscribe_to(
        self, *channels: str, after: str | None = None, on_slow: OnSlow | None = None
    ) -> AbstractAsyncContextManager[Subscription]:
        """Subscribe also to reserved channels. For extensions of channels."""
        if not channels or len(set(channels)) < len(channels):
            raise InvalidChannel(f"Name one or more channels, each once, not {channels!r:.100}.")
        if after is not None and not isinstance(after, str):
            raise TypeError(f"Channels: after must be an id, not {after!r:.80}.")
        treatment: OnSlow = self.on_slow if on_slow is None else _check_on_slow(on_slow)
        return _Subscribing(self, channels, after, treatment)

    def events(self, *channels: str, after: str | None = None) -> AsyncIterator[Any]:
        """Return the events of channels for an `EventSourceResponse`.

        The stream ends for a slow client, at a shutdown, and while the backend is down. Browsers come back by
        themselves and continue after their last event. A stream that has had no event for a second sends
        its position without data, so that browsers know it, too.

        Args:
            channels: The channels.
            after: The id of the last event that the client has seen: ``last_event_id(request)``.
        """
        return self._stream(self.subscribe(*channels, after=after), len(channels) == 1)

    async def _stream(
        self, opening: AbstractAsyncContextManager[Subscription], is_single: bool
    ) -> AsyncIterator[Any]:
        try:
            async with opening as subscription:
                first: Message | Gap | None = None
                with anyio.move_on_after(IDLE_SECONDS):
                    first = await anext(subscription, None)
                if first is None and subscription.end_reason is None:
                    yield make_event(None, id=subscription.position)
                elif first is not None:
                    yield _to_event(first, subscription, is_single)
                async for item in subscription:
                    yield _to_event(item, subscription, is_single)
                if subscription.end_reason == "shutdown":
                    yield _goodbye("shutdown")
        except ChannelsUnavailable as exc:
            self.log_outage(exc)
            yield _goodbye("unavailable")

    async def forward(
        self,
        websocket: WebSocket,
        *channels: str,
        after: str | None = None,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Send the events of channels to a WebSocket until the peer leaves or the application shuts down.

        Each message is a JSON object in a text frame, with ``id``, ``channel``, ``event`` and ``data``; for
        a gap with ``id``, ``channel`` and ``gap``. A slow peer is closed with 1013, a shutdown closes with
        1001, an outage of the backend at the start with 1013. Another task may receive the messages of the
        peer meanwhile.

        Args:
            websocket: A WebSocket that you have accepted.
            channels: The channels.
            after: The ``id`` of the last message that the client has seen.
            task_status: For a task group: ``await tasks.start(channels.forward, websocket, "room")``
                returns when the subscription has begun, so that the events of your next line reach the
                peer.

        Raises:
            TypeError, ValueError: An argument is wrong.
        """
        opening = self.subscribe(*channels, after=after)
        await Forwarding(websocket, len(channels) == 1, task_status).run(opening)

    async def history(
        self, channel: str, *, after: str | None = None, max_events: int = 100
    ) -> list[Message]:
        """Return events of the history, the oldest first.

        Args:
            channel: The channel.
            after: Return the events behind this id. Without it, or if the id is unknown, the newest ones.
            max_events: The number of events.

        Raises:
            ChannelsUnavailable: The backend does not answer.
            InvalidChannel: The name of the channel is empty or reserved.
            TypeError, ValueError: ``max_events`` is not an int of 1 or more.
        """
        if isinstance(max_events, bool) or not isinstance(max_events, int):
            raise TypeError(f"Channels: max_events must be an int, not {max_events!r:.80}.")
        if max_events < 1:
            raise ValueError(f"Channels: max_events must be 1 or more, not {max_events}.")
        backend, key = self._started().backend, public_key(channel)
        page = await backend.read(key, END, 0, self.history_limits)
        start = max(0, page.last - max_events)
        for position in parse_after(after, 1)[0] or ():
            if position.epoch in (page.epoch, ""):
                start = position.number
        found: list[Message] = []
        while len(found) < max_events and start < page.last:
            limit = min(PAGE_EVENTS, max_events - len(found))
            page = await backend.read(key, start, limit, self.history_limits)
            found += [Message(channel, page.epoch, event) for event in page.events]
            if not page.events:
                break
            start = page.events[-1].number
        return found

    async def position(self, *channels: str) -> str:
        """Return the id of the newest events: a page that was made now continues ``after`` it without a hole.

        Raises:
            ChannelsUnavailable: The backend does not answer.
        """
        backend = self._started().backend
        found = []
        for channel in channels:
            page = await backend.read(public_key(channel), END, 0, self.history_limits)
            found.append(str(Position(page.epoch, page.last)))
        return ",".join(found)


class _Subscribing(AbstractAsyncContextManager[Subscription]):
    """The context manager of `Channels.subscribe`."""

    def __init__(
        self, channels: Channels, names: tuple[str, ...], after: str | None, on_slow: OnSlow
    ) -> None:
        self._channels = channels
        self._names = names
        self._keys = [storage_key(name) for name in names]
        self._wanted = parse_after(after, len(names))
        self._on_slow: OnSlow = on_slow
        self._joined: list[str] = []
        self._shutdown: Any = None
        self._hub: Hub | None = None

    async def __aenter__(self) -> Subscription:
        channels = self._channels
        hub = self._hub = channels._started()
        kind = LatestSubscription if self._on_slow == "latest" else Subscription
        subscription = self._subscription = kind(
            self._names,
            channels.max_queue_events,
            channels.max_queue_size,
            self._on_slow,
            self._detach,
            hub.burst,
        )
        channels._subscriptions.add(subscription)
        self._shutdown = channels._shutdown
        if self._shutdown is not None:
            self._shutdown.add_stream(subscription)
        try:
            joins = []
            for name, key, wanted in zip(self._names, self._keys, self._wanted, strict=True):
                self._joined.append(key)
                joins.append(await hub.join(subscription, name, key, wanted))
            subscription.replays += [join for join in joins if not join.finish()]
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return subscription

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._detach(self._subscription)
        if self._shutdown is not None:
            self._shutdown.remove_stream(self._subscription)

    def _detach(self, subscription: Subscription) -> None:
        joined, self._joined = self._joined, []
        if self._hub is not None:
            self._hub.leave(subscription, joined)
        self._channels._subscriptions.discard(subscription)


def _goodbye(comment: str) -> Any:
    """Return the last event of a stream: the client comes back, not at the same time as all others."""
    return make_event(None, comment=comment, retry_milliseconds=random.randint(1000, 5000))


def _to_event(item: Message | Gap, subscription: Subscription, is_single: bool) -> Any:
    if isinstance(item, Gap):
        return item if is_single else Gap(item.channel, item.reason, subscription.position)
    return item.to_server_sent_event(None if is_single else subscription.position)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of asyncio, or None on trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _is_closed(loop: asyncio.AbstractEventLoop | None) -> bool:
    return loop is not None and loop.is_closed()


def _check_on_slow(on_slow: OnSlow) -> OnSlow:
    if on_slow not in ON_SLOW:
        raise ValueError(f"Channels: on_slow must be one of {ON_SLOW}, not {on_slow!r:.40}.")
    return on_slow


def open_backend(backend: ChannelBackend | str | None) -> ChannelBackend:
    """Return the backend that a URL names. It connects when the lifespan starts.

    Args:
        backend: ``memory://``, ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db``,
            ``redis://``, ``rediss://``, ``valkey://``, ``valkeys://``, ``unix://`` (Redis),
            ``postgresql://`` or ``postgres://``; a backend object; None for memory.

    Raises:
        ImportError: The driver is not installed. The message names the extra.
        TypeError: The object is not a backend.
        ValueError: The URL has another form.
    """
    if backend is None:
        backend = "memory://"
    if not isinstance(backend, str):
        if not callable(getattr(backend, "publish", None)) or not hasattr(backend, "listen"):
            raise TypeError(
                f"Channels: backend must be a URL or a backend, not {backend!r:.100}. "
                "For a client of your own write RedisBackend(client) or PostgresBackend(pool)."
            )
        return backend
    scheme = urlsplit(backend).scheme
    if scheme == "memory":
        return MemoryBackend()
    if scheme == "sqlite":
        path = sqlite_path("Channels", backend)
        # Lazily: the drivers take time to import.
        sqlite = import_module("spica.channels.sqlite")
        return cast(ChannelBackend, sqlite.SQLiteBackend(path))
    if scheme in ("redis", "rediss", "valkey", "valkeys", "unix"):
        redis = import_module("spica.channels.redis")
        return cast(ChannelBackend, redis.RedisBackend.from_url(backend))
    if scheme in ("postgres", "postgresql"):
        postgres = import_module("spica.channels.postgres")
        return cast(ChannelBackend, postgres.PostgresBackend.from_url(backend))
    raise ValueError(
        f"Channels: the URL with the scheme {scheme!r} names no backend. Use {_FORMS}."
    )
