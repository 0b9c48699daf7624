"""Wait for the client's leaving beside whatever else goes on.

To ask whether a client has left, somebody has to be in the server's ``receive``. To cancel that again may
lose what it was about to return: on some servers a chunk of the body. So it is not cancelled but kept, in a
task of its own that puts chunks aside for their reader, until the request is over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from spica._asgi.side_task import Signal, start_listening_task

TURNS = 5
"""Turns of the event loop that the first question leaves to the listener: one to begin, and the others for
servers whose ``receive`` gives way to others before it returns what is there."""

LATER_TURNS = 2
"""Turns for the later ones. One would do if trio did not take what is ready in any order."""


class Listener:
    """Await ``wait()`` in a task of its own, and cancel what is to stop when it returns or fails."""

    __slots__ = ("_has_begun", "_over", "_task", "_turns", "_wait", "error", "scopes")

    def __init__(self, wait: Callable[[], Awaitable[Any]]) -> None:
        self._wait = wait
        self._has_begun = False
        self._turns = TURNS
        self._over = Signal()
        self.error: Exception | None = None
        self.scopes: set[anyio.CancelScope] = set()
        self._task = start_listening_task(self._run)

    @property
    def is_over(self) -> bool:
        """Whether it waits no longer."""
        return self._over.is_set

    async def _run(self) -> None:
        self._has_begun = True
        try:
            await self._wait()
        except Exception as exc:
            self.error = exc
        finally:
            self._over.set()
        for scope in self.scopes:
            scope.cancel()

    async def give_way(self) -> None:
        """Leave it time to hear what the server has to tell at once."""
        import anyio.lowlevel  # here: few applications ever wait like this

        for _ in range(self._turns):
            if self._over.is_set:
                break
            await anyio.lowlevel.checkpoint()
        self._turns = LATER_TURNS

    def raise_error(self) -> None:
        """Raise what went wrong with the waiting, once."""
        error, self.error = self.error, None
        if error is not None:
            raise error

    async def finish(self) -> None:
        """End the waiting, because the request is over."""
        self._task.cancel()
        if not self._has_begun:
            return  # a task that is cancelled before its first step takes none
        with anyio.CancelScope(shield=True):
            await self._over.wait()

    abandon = finish
