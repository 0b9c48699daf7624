"""The lease of a periodic task: one worker of the fleet makes the calls."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Literal

import anyio

from spica.tasks.running import log

if TYPE_CHECKING:
    from spica.stores import Store

LEASE_INTERVALS = 1.75
"""The lease, in intervals. Other workers try to get it every quarter of an interval, so that another worker
replaces one that was killed within two intervals."""

REMEMBERED_INTERVALS = 10
"""Intervals without a call after which the store forgets a periodic task."""

DUE_INTERVALS = 0.95
"""Part of the shortest interval for which no worker of the fleet calls a periodic task again."""


class Lease:
    """The right to call a periodic task, which one worker of the fleet has.

    A mark in the store says that a call has started less than an interval ago. So a new holder of the lease
    does not call too early, and frequent deploys neither repeat nor starve the task.
    """

    def __init__(self, store: Store, name: str, seconds: float, jitter: float) -> None:
        import secrets  # on use: every application loads this module

        self._store = store.prefixed("tasks")
        self._name = name
        self._seconds = seconds
        self._lease_seconds = seconds * LEASE_INTERVALS
        self._mark_seconds = seconds * (1 - jitter) * DUE_INTERVALS
        self._renew_seconds = seconds / 2
        self._owner = secrets.token_hex(8)
        self._ends_at = 0.0
        self._is_store_down = False

    async def acquire(self) -> bool:
        """Acquire or renew the lease, and return whether this worker has it."""
        now = anyio.current_time()
        is_mine = await self._ask(
            self._store.acquire(f"lease:{self._name}", self._owner, seconds=self._lease_seconds)
        )
        if is_mine:
            self._ends_at = now + self._lease_seconds
        return is_mine

    async def mark(self) -> bool:
        """Record that a call starts now, and return False if the last one is less than an interval ago."""
        key = f"mark:{self._name}"
        return await self._ask(
            self._store.set(key, b"1", seconds=self._mark_seconds, only_if="absent")
        )

    async def mark_first(self) -> None:
        """Let the first call of the fleet come after an interval. A new worker delays no later call."""
        if await self.remember(only_if="absent"):
            await self.mark()

    async def remember(self, only_if: Literal["absent"] | None = None) -> bool:
        """Record for a while that the fleet has this task."""
        key = f"known:{self._name}"
        seconds = REMEMBERED_INTERVALS * self._seconds
        return await self._ask(self._store.set(key, b"1", seconds=seconds, only_if=only_if))

    async def keep(self, scope: anyio.CancelScope) -> None:
        """Renew the lease until cancelled. Cancel ``scope`` if another worker may have it."""
        while True:
            await anyio.sleep(self._renew_seconds)
            if not await self.acquire() and (
                not self._is_store_down
                or anyio.current_time() + self._renew_seconds > self._ends_at
            ):
                log("warning", "Cancelled a call of task %s: its lease is lost", self._name)
                scope.cancel()

    async def release(self) -> None:
        """Release the lease, so that another worker can take over at once."""
        if self._ends_at:
            with anyio.move_on_after(1, shield=True):
                await self._ask(self._store.release(f"lease:{self._name}", self._owner))

    async def _ask(self, answer: Awaitable[bool]) -> bool:
        """Await an answer of the store: False while it is down."""
        from spica.stores import StoreUnavailable

        try:
            is_so = await answer
        except Exception as exc:
            if not self._is_store_down:
                message = "Task %s pauses: its store is down (%s)"
                is_outage = isinstance(exc, StoreUnavailable)
                log("warning", message, self._name, exc, exc_info=None if is_outage else exc)
            self._is_store_down = True
            return False
        self._is_store_down = False
        return is_so
