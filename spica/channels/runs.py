"""Runs: work that streams its results, and continues without its reader.

The answer of a language model must not stop when the page is reloaded. A run publishes each item of an async
iterator to a channel. Any number of readers, on any worker, read it from the beginning or from their last id.

A run is not a durable job: if its process dies, it becomes "lost" and does not start again.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import anyio

from spica.channels.channels import Channels
from spica.channels.messages import (
    START,
    ChannelsUnavailable,
    Gap,
    History,
    make_event,
    parse_position,
)
from spica.channels.producer import END_SECONDS, ENDS, PREFIX, Producer, RunStatus, close_items
from spica.exceptions import HTTPException
from spica.stores import StoreUnavailable

if TYPE_CHECKING:
    from spica.channels.subscription import Subscription
    from spica.stores import Record, Store
    from spica.tasks import Tasks

REREAD_SECONDS = 1.0
"""The time that a reader waits for the last event of a run that has ended."""

START_SECONDS = 5.0
"""The time that ``start`` waits for another worker that is starting a run with the same key."""

LISTEN_SECONDS = 1.0
"""The time that a start-up waits for the subscription to cancellations."""

CONTROL = "#runs"
SWEEP = "spica.runs.sweep"

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)

logger = logging.getLogger("spica.runs")


class RunsFull(HTTPException):
    """``max_runs`` runs are running in this process. A client gets a 503 with ``Retry-After``."""

    def __init__(self, max_runs: int) -> None:
        super().__init__(503, headers={"Retry-After": "5"})
        self.max_runs = max_runs

    def __str__(self) -> str:
        return f"{self.max_runs} runs are running. Set Runs(max_runs=) to allow more."


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was started or found.

    Attributes:
        id: The id: 32 characters that clients cannot guess. A client that knows it can read the run.
        key: The key that was passed to ``start``, or None.
        is_new: Whether this call has started the run.
    """

    id: str
    key: str | None = None
    is_new: bool = False


class Runs:
    """Streams that continue without their readers.

    ```python
    channels, store = Channels("sqlite:///var/app.db"), open_store("sqlite:///var/app.db")
    runs = Runs(channels, store)
    app = Spica(routes=[...], lifespan=[channels.lifespan, runs.lifespan])

    run = await runs.start(agent(question), key="chat:7")
    return EventSourceResponse(runs.events(run.id, after=last_event_id(request)))
    ```

    Args:
        channels: The channels that carry the events.
        store: The store for the state of runs. All workers must share it.
        seconds: How long a run can be read after its end; an hour.
        max_seconds: The longest run that ``start`` allows; an hour.
        max_runs: The number of runs of this process. Another one raises `RunsFull`.
        max_events: The number of events of a run. One more ends it as failed.
        max_size: The size of a run's events as JSON, in bytes (16 MiB). More end it as failed.

    Raises:
        ValueError: A limit is not more than 0.
    """

    lease_seconds = 30.0
    """The lease of a run. A run whose process dies is "lost" within this time and ``renew_seconds``."""
    renew_seconds = 10.0
    """The time between two renewals of a lease, two checks of an idle reader, and two sweeps."""

    def __init__(
        self,
        channels: Channels,
        store: Store,
        *,
        seconds: float = 3600.0,
        max_seconds: float = 3600.0,
        max_runs: int = 1000,
        max_events: int = 10_000,
        max_size: int = 16 * 1024 * 1024,
    ) -> None:
        if not isinstance(channels, Channels) or not hasattr(store, "prefixed"):
            raise TypeError(
                "Runs takes the channels, then the store: Runs(Channels(url), open_store(url)), not "
                f"Runs({channels!r:.80}, {store!r:.80})."
            )
        for name, limit in (
            ("seconds", seconds),
            ("max_seconds", max_seconds),
            ("max_runs", max_runs),
            ("max_events", max_events),
            ("max_size", max_size),
        ):
            if not limit > 0:
                raise ValueError(f"Runs: {name} must be more than 0, not {limit!r:.80}.")
        self.channels = channels
        self.seconds = seconds
        self.max_seconds = max_seconds
        self.max_runs = max_runs
        self.max_events = max_events
        self.max_size = max_size
        self._store = store.prefixed("runs")
        self._producers: dict[str, Producer] = {}
        self._tasks: Tasks | None = None
        # One more event for the end, and one for a cancellation by another worker.
        channels.add_family(PREFIX, History(max_events + 2, seconds + max_seconds))

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """Listen for cancellations, and sweep lost runs: ``lifespan=[channels.lifespan, runs.lifespan]``.

        Args:
            app: The application, whose ``tasks`` run the runs.
        """
        tasks: Tasks = app.tasks
        is_listening = anyio.Event()
        listener = tasks.start(
            self._listen,
            is_listening,
            name="spica.runs.listen",
            restart="on_error",
            at_shutdown="cancel",
        )
        # A cancellation that comes before would wait for the next renewal. An outage does not stop the start.
        with anyio.move_on_after(LISTEN_SECONDS):
            await is_listening.wait()
        number = sum(task.name.startswith(SWEEP) for task in tasks)  # there may be several Runs
        sweep = tasks.every(
            self.renew_seconds, self.sweep, store=self._store, name=f"{SWEEP}.{number}"
        )
        self._tasks = tasks
        try:
            yield
        finally:
            self._tasks = None
            listener.cancel()
            sweep.cancel()

    # -- for endpoints -----------------------------------------------------------------------------

    async def start(
        self, items: AsyncIterable[Any], *, key: str | None = None, max_seconds: float = 900.0
    ) -> Run:
        """Publish the items of an async iterator in a task of the application, and return at once.

        Readers get each item as an event: a string as it is, another value as JSON, a `ServerSentEvent` with
        its name. Then they get an event ``done``, ``failed`` with the type of the error, or ``cancelled``.

        Args:
            items: An async iterator, such as a call of an async generator function.
            key: A name of your own. While a run with this key is running on any worker, ``start`` returns
                that run and closes ``items``.
            max_seconds: The time that the run may take. Then it fails with a TimeoutError.

        Raises:
            RunsFull, TasksFull: Too many are running. The client gets a 503.
            StoreUnavailable: The store is down. The client gets a 503.
            HTTPException: 503, another worker has begun to start a run with this key, and not finished.
            RuntimeError: The lifespan of the runs has not started.
            TypeError, ValueError: An argument is wrong.
        """
        if not hasattr(items, "__aiter__"):
            raise TypeError(f"Runs.start: items must be an async iterator, not {items!r:.80}.")
        if key is not None and not isinstance(key, str):
            raise TypeError(f"Runs.start: key must be a str or None, not {key!r:.80}.")
        if not 0 < max_seconds <= self.max_seconds:
            raise ValueError(
                f"Runs.start: max_seconds must be above 0 and at most {self.max_seconds:g}, not "
                f"{max_seconds!r:.80}. Set Runs(max_seconds=) to allow more."
            )
        try:
            return await self._start(items, key, max_seconds)
        except BaseException:
            await close_items(items)
            raise

    async def _start(self, items: AsyncIterable[Any], key: str | None, max_seconds: float) -> Run:
        if self._tasks is None:
            raise RuntimeError(
                "Runs has not started. Pass its lifespan to the application: "
                "Spica(lifespan=[channels.lifespan, runs.lifespan])."
            )
        id = secrets.token_hex(16)
        try:
            running = await self._find_running(id, key)
        except BaseException:
            # The store may have given the key to a call that got no answer or was cancelled.
            with anyio.move_on_after(END_SECONDS, shield=True), suppress(StoreUnavailable):
                await self._release(id, key)
            raise
        if running is not None:
            await close_items(items)
            return running
        if len(self._producers) >= self.max_runs:
            await self._release(id, key)
            raise RunsFull(self.max_runs)
        producer = self._producers[id] = Producer(self, id, key, items, max_seconds)
        try:
            await self._record(id, key, max_seconds)
            producer.handle = self._tasks.start(producer.run, name=f"spica.runs.{id}")
        except BaseException:
            del self._producers[id]
            with anyio.move_on_after(END_SECONDS, shield=True):
                await self.finish(id, key, "lost")
            raise
        return Run(id, key, is_new=True)

    async def _find_running(self, id: str, key: str | None) -> Run | None:
        """Acquire the key for a new run and return None, or return the run that has it."""
        give_up_at = anyio.current_time() + START_SECONDS
        while key is not None and not await self._store.acquire(
            f"key:{key}", id, seconds=self.lease_seconds
        ):
            running = await self.find(key)
            if running is not None and await self.status(running.id) == "running":
                return running
            if anyio.current_time() > give_up_at:
                # That worker has died while it started the run. Its lease of the key will end.
                detail = "Another worker is starting this run."
                raise HTTPException(503, detail, headers={"Retry-After": "5"})
            await anyio.sleep(0.02)  # the run has just begun or ended on another worker
        return None

    async def _record(self, id: str, key: str | None, max_seconds: float) -> None:
        await self._store.acquire(f"run:{id}", id, seconds=self.lease_seconds)
        seconds = max_seconds + self.seconds
        await self._store.create(
            f"run:{id}",
            {} if key is None else {"key": key.encode("utf-8", "surrogatepass")},
            idle_seconds=seconds,
            ends_at=time.time() + seconds,
            group="running",
        )
        if key is not None:
            await self._store.set(f"key:{key}", id.encode(), seconds=seconds)

    async def find(self, key: str) -> Run | None:
        """Return the last run with a key, which may have ended; None if there is none.

        Use it when a page is loaded again, to read the run that belongs to the page.
        """
        id = await self._store.get(f"key:{key}")
        return None if id is None else Run(id.decode(), key)

    async def status(self, id: str) -> RunStatus | None:
        """Return the status of a run; None if the id is unknown or has expired.

        A run whose process has died becomes "lost" here.
        """
        if not _ID.fullmatch(id):
            return None
        status, _ = await self._end_of(id)
        if status is not None:
            return status
        record = await self._store.read(f"run:{id}")
        if record is None:
            return (await self._end_of(id))[0]  # it may have ended between the two reads
        if id in self._producers or not await self._is_abandoned(id):
            return "running"
        await self.finish(id, _key_of(record), "lost")
        return (await self._end_of(id))[0]

    async def cancel(self, id: str) -> bool:
        """Cancel a run on any worker, and return whether it was running."""
        if await self.status(id) != "running":
            return False
        record = await self._store.read(f"run:{id}")
        key = None if record is None else _key_of(record)
        is_cancelled = await self.finish(id, key, "cancelled")
        self._stop(id)
        with suppress(ChannelsUnavailable):  # the worker sees the end at its next renewal
            await self.channels.publish_to(CONTROL, id)
        return is_cancelled

    def events(self, id: str, *, after: str | None = None) -> AsyncIterator[Any]:
        """Return the events of a run for an `EventSourceResponse`: all of them, or those after an id.

        The stream ends with ``done``, ``failed``, ``cancelled`` or ``lost``. An unknown id is "lost" too. A
        slow reader is ended, and continues after its last id when it comes back; it never delays the run.

        Args:
            id: The id of the run.
            after: The id of the last event that the client has seen: ``last_event_id(request)``.
        """
        return self._read(id, after)

    async def _read(self, id: str, after: str | None) -> AsyncIterator[Any]:
        try:
            if after is not None and parse_position(after) is None:
                yield Gap(PREFIX + id, "expired")  # a malformed id counts as none
                after = None
            if await self.status(id) is None:
                yield _end_event("lost")
                return
            async with self.channels.subscribe_to(PREFIX + id, after=after or "0") as subscription:
                seconds = REREAD_SECONDS
                while True:
                    event, is_last = await self._next(id, subscription, seconds)
                    if event is not None:
                        yield event
                    if is_last:
                        return
                    seconds = self.renew_seconds
        except (ChannelsUnavailable, StoreUnavailable) as exc:
            logger.warning("The events of a run pause: %s", exc)
            yield make_event(None, comment="unavailable", retry_milliseconds=2000)

    async def _next(self, id: str, subscription: Subscription, seconds: float) -> tuple[Any, bool]:
        """Return the next event, None if none comes in time, and whether it is the last one."""
        item: Any = None
        with anyio.move_on_after(seconds):
            item = await anext(subscription, False)
        if item is False:
            # The subscription has ended: the reader is too slow, or the server shuts down.
            return None, True
        if isinstance(item, Gap):
            return item, False
        if item is not None:
            return item.to_server_sent_event(), item.event in ENDS
        end = await self._end_if_over(id, subscription.position)
        if end is None:
            return None, False
        # Its last event was read before, or is lost.
        return _end_event(*end, id=subscription.position), True

    async def _end_if_over(self, id: str, position: str) -> tuple[RunStatus, str] | None:
        """Return the end of a run that has ended, if its log has nothing behind a position."""
        try:
            status = await self.status(id)
            if status == "running":
                return None
            _, error = await self._end_of(id)
            read = parse_position(position) or START
            if await self.channels.last_number(PREFIX + id) > read.number:
                return None  # the reader is late, for example because the channels were down
        except (ChannelsUnavailable, StoreUnavailable):
            return None
        return status or "lost", error

    # -- for producers -----------------------------------------------------------------------------

    async def finish(self, id: str, key: str | None, status: RunStatus, error: str = "") -> bool:
        """Write the end of a run, and return False if it has ended already. For spica itself."""
        value = f"{status} {error}".encode()
        is_first = await self._store.set(f"end:{id}", value, seconds=self.seconds, only_if="absent")
        try:
            await self._store.delete(f"run:{id}")
            await self._release(id, key)
        finally:
            if is_first:
                with suppress(ChannelsUnavailable):  # readers find the end in the store
                    data = {"error": error} if error else {}
                    await self.channels.publish_to(PREFIX + id, data, status)
        return is_first

    async def renew(self, id: str, key: str | None, max_seconds: float) -> bool:
        """Renew the lease of a run, and return whether it is still running. For spica itself.

        A store that has lost its memory gets the record of the run again.
        """
        if key is not None:
            await self._store.acquire(f"key:{key}", id, seconds=self.lease_seconds)
        is_mine = await self._store.acquire(f"run:{id}", id, seconds=self.lease_seconds)
        if not is_mine or (await self._end_of(id))[0] is not None:
            return False
        seconds = max_seconds + self.seconds
        if not await self._store.merge(f"run:{id}", {}, idle_seconds=seconds):
            await self._record(id, key, max_seconds)
        return True

    def forget(self, id: str) -> None:
        """Forget a run of this process that has ended. For spica itself."""
        self._producers.pop(id, None)

    async def _release(self, id: str, key: str | None) -> None:
        await self._store.release(f"run:{id}", id)
        if key is not None:
            await self._store.release(f"key:{key}", id)

    async def _end_of(self, id: str) -> tuple[RunStatus | None, str]:
        value = await self._store.get(f"end:{id}")
        if value is None:
            return None, ""
        status, _, error = value.decode().partition(" ")
        return cast("RunStatus", status), error  # `finish` has written it

    async def _is_abandoned(self, id: str) -> bool:
        """Return whether the lease of a run is free."""
        probe = secrets.token_hex(4)
        if not await self._store.acquire(f"run:{id}", probe, seconds=1.0):
            return False
        await self._store.release(f"run:{id}", probe)
        return True

    # -- in the background -------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Find the runs whose process has died. The lifespan calls it every 10 seconds."""
        for name in await self._store.members("running"):
            if await self.status(name.removeprefix("run:")) != "running":
                await self._store.delete(name)  # an outage may have left it

    async def _listen(self, is_listening: anyio.Event) -> None:
        """Stop the runs that another worker has cancelled."""
        while True:
            async with self.channels.subscribe_to(CONTROL) as subscription:
                is_listening.set()
                async for item in subscription:
                    if not isinstance(item, Gap):
                        self._stop(item.data)
            await anyio.sleep(1)  # the subscription was too slow, or the channels end

    def _stop(self, id: str) -> None:
        producer = self._producers.get(id)
        if producer is not None:
            producer.cancel()


def _key_of(record: Record) -> str | None:
    key = record.fields.get("key")
    return None if key is None else key.decode("utf-8", "surrogatepass")


def _end_event(status: RunStatus, error: str = "", id: str | None = None) -> Any:
    return make_event({"error": error} if error else {}, event=status, id=id)
