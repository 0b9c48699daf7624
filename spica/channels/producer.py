"""The part of a run that makes its items: a task of the process that has started it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import anyio

from spica.channels.messages import ChannelsUnavailable
from spica.stores import StoreUnavailable

if TYPE_CHECKING:
    from spica.channels.channels import Channels
    from spica.tasks import TaskHandle

RunStatus: TypeAlias = Literal["running", "done", "failed", "cancelled", "lost"]

ENDS = ("done", "failed", "cancelled", "lost")
"""The names of the last event of a run."""

END_SECONDS = 3.0
"""The time that a cancelled run has to write its end."""

RETRY_SECONDS = 1.0
"""The time between two attempts to write the end of a run while the store is down."""

PREFIX = "#run:"
"""The beginning of the names of the channels of runs."""

logger = logging.getLogger("spica.runs")


class RunTooLarge(Exception):
    """A run has published more than ``max_events`` events or ``max_size`` bytes. It fails."""


class Register(Protocol):
    """The part of `Runs` that a producer needs."""

    channels: Channels
    lease_seconds: float
    renew_seconds: float
    max_events: int
    max_size: int

    async def finish(self, id: str, key: str | None, status: RunStatus, error: str = "") -> bool:
        """Write the end of a run."""
        ...

    async def renew(self, id: str, key: str | None, max_seconds: float) -> bool:
        """Renew the lease of a run, and return whether it is still running."""
        ...

    def forget(self, id: str) -> None:
        """Forget a run that has ended."""


class Producer:
    """A run in the process that makes its items."""

    def __init__(
        self,
        runs: Register,
        id: str,
        key: str | None,
        items: AsyncIterable[Any],
        max_seconds: float,
    ) -> None:
        self._runs = runs
        self._id = id
        self._key = key
        self._items = items
        self._max_seconds = max_seconds
        self._scope = anyio.CancelScope()
        self._count = 0
        self._size = 0
        self._renewed_at = 0.0
        self.handle: TaskHandle | None = None

    def cancel(self) -> None:
        """Stop the run, whose end is written already."""
        self._scope.cancel()

    async def run(self) -> None:
        """Publish the items, then the end."""
        status: RunStatus = (
            "lost"  # unless something below says otherwise: the shutdown cancels the task
        )
        error = ""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_lease)
                with self._scope:
                    status, error = await self._publish_all()
                tasks.cancel_scope.cancel()
        finally:
            await self._end(status, error)

    async def _end(self, status: RunStatus, error: str) -> None:
        """Write the end. While the store is down, try again until the lease ends, or the application."""
        give_up_at = anyio.current_time() + self._runs.lease_seconds
        is_closed = False
        try:
            while True:
                with anyio.move_on_after(END_SECONDS, shield=True), suppress(StoreUnavailable):
                    if not is_closed:
                        is_closed = True
                        await close_items(self._items)
                    await self._runs.finish(self._id, self._key, status, error)
                    return
                if anyio.current_time() > give_up_at:
                    logger.warning("The end of run %s could not be written.", self._id)
                    return
                await anyio.sleep(RETRY_SECONDS)
        finally:
            self._runs.forget(self._id)

    async def _publish_all(self) -> tuple[RunStatus, str]:
        try:
            with anyio.fail_after(self._max_seconds):
                async for item in self._items:
                    await self._publish(item)
        except Exception as exc:
            logger.error("A run failed (%s)", self._id, exc_info=exc)
            return "failed", type(exc).__name__
        except asyncio.CancelledError as exc:
            if _is_being_cancelled():
                raise
            # The items have awaited something that was cancelled.
            logger.error("A run failed (%s)", self._id, exc_info=exc)
            return "failed", "CancelledError"
        return "done", ""

    async def _publish(self, item: Any) -> None:
        """Publish an item. After an outage, the length of the log shows whether the item has arrived.

        A server that executes a failed attempt after this check repeats the item. The guide says so.
        """
        runs, event, data = self._runs, None, item
        if hasattr(item, "retry_milliseconds"):  # a ServerSentEvent
            event, data = item.event, item.data
        if event in ENDS:
            raise ValueError(f"The event name {event!r} is reserved for the end of a run.")
        self._size += len(runs.channels.encode(data))
        if self._count >= runs.max_events or self._size > runs.max_size:
            raise RunTooLarge(
                f"A run has at most {runs.max_events} events and {runs.max_size} bytes."
            )
        key, give_up_at = PREFIX + self._id, anyio.current_time() + self._runs.lease_seconds
        while True:
            try:
                await runs.channels.publish_to(key, data, event)
                break
            except ChannelsUnavailable:
                if anyio.current_time() > give_up_at:
                    raise
                if await self._has_arrived(key, give_up_at):
                    break
        self._count += 1

    async def _has_arrived(self, key: str, give_up_at: float) -> bool:
        """Wait until the outage is over, and return whether the item that failed is in the log."""
        while True:
            await anyio.sleep(0.5)
            try:
                return await self._runs.channels.last_number(key) > self._count
            except ChannelsUnavailable:
                if anyio.current_time() > give_up_at:
                    raise

    async def _keep_lease(self) -> None:
        """Renew the lease, and stop the run if it has ended elsewhere or the lease is lost."""
        self._renewed_at = anyio.current_time()
        while True:
            await anyio.sleep(self._runs.renew_seconds)
            try:
                if not await self._runs.renew(self._id, self._key, self._max_seconds):
                    break
                self._renewed_at = anyio.current_time()
            except StoreUnavailable:
                if (
                    anyio.current_time() - self._renewed_at
                    > self._runs.lease_seconds - self._runs.renew_seconds
                ):
                    break
        self._scope.cancel()


def _is_being_cancelled() -> bool:
    """Return whether this task of asyncio was asked to end."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def close_items(items: AsyncIterable[Any]) -> None:
    """Close an async generator. Its errors are logged."""
    aclose = getattr(items, "aclose", None)
    if aclose is not None:
        try:
            await aclose()
        except Exception:
            logger.exception("Closing the items of a run failed")
