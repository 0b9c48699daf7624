"""Wait for a disconnect of the client while other code runs.

Only a pending ``receive()`` detects a disconnect, and cancelling it can lose a body chunk on some servers.
So a task of its own keeps the ``receive()`` pending until the request is over. It queues the chunks that it
gets for the reader of the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from spica._asgi.side_task import Signal, start_listening_task

TURNS = 5
"""Turns of the event loop that the first poll gives the listener: one to start its task, and more for
servers whose ``receive`` yields to the loop before it returns a message that is ready."""

LATER_TURNS = 2
"""Turns of each later poll. One would suffice if trio did not run ready tasks in random order."""


class Listener:
    """Await ``wait()`` in a task of its own, and cancel ``scopes`` when it returns or fails."""

    __slots__ = ("_has_started", "_over", "_task", "_turns", "_wait", "error", "scopes")

    def __init__(self, wait: Callable[[], Awaitable[Any]]) -> None:
        self._wait = wait
        self._has_started = False
        self._turns = TURNS
        self._over = Signal()
        self.error: Exception | None = None
        self.scopes: set[anyio.CancelScope] = set()
        self._task = start_listening_task(self._run)

    @property
    def is_over(self) -> bool:
        """Whether the wait has ended."""
        return self._over.is_set

    async def _run(self) -> None:
        self._has_started = True
        try:
            await self._wait()
        except Exception as exc:
            self.error = exc
        finally:
            self._over.set()
        for scope in self.scopes:
            scope.cancel()

    async def give_way(self) -> None:
        """Run the event loop for a few turns, so that the listener can receive messages that are ready."""
        import anyio.lowlevel  # on use, because few applications poll

        for _ in range(self._turns):
            if self._over.is_set:
                break
            await anyio.lowlevel.checkpoint()
        self._turns = LATER_TURNS

    def raise_error(self) -> None:
        """Raise the error that ended the wait, once."""
        error, self.error = self.error, None
        if error is not None:
            raise error

    async def finish(self) -> None:
        """Stop waiting, because the request is over."""
        self._task.cancel()
        if not self._has_started:
            return  # a task that is cancelled before its first step never runs
        with anyio.CancelScope(shield=True):
            await self._over.wait()

    abandon = finish
