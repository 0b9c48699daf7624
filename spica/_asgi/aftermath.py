"""What a request leaves to be done when its response has been sent.

Layers that pass responses by value may drop or replace one. What it carried must not be lost with it: a
background task, an app that was begun, an error that was answered but is still to be reported. It is noted
here and settled by the layer that sends the response.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol


class Begun(Protocol):
    """An app that runs in a task of its own."""

    async def finish(self) -> None:
        """End the app, in good order if it allows, and raise its error."""

    async def abandon(self) -> None:
        """Cancel the app and wait for its end."""


class Aftermath:
    """Collect what is left to be done for one request."""

    __slots__ = ("begun", "failures", "tasks")

    def __init__(self) -> None:
        self.begun: list[Begun] = []
        self.tasks: list[Callable[[], Awaitable[None]]] = []
        self.failures: list[Exception] = []

    async def settle(self) -> list[Exception]:
        """End what was begun, run what was put off, and return the errors that came of it."""
        late = []
        for step in [*(begun.finish for begun in reversed(self.begun)), *self.tasks]:
            try:
                await step()
            except Exception as exc:
                if exc not in self.failures:
                    late.append(exc)
                    self.failures.append(exc)
            except BaseException:
                await self.abandon()
                raise
        return late

    def raise_failures(self) -> None:
        """Raise what went wrong: one error as it is, several as an ExceptionGroup."""
        if len(self.failures) == 1:
            raise self.failures[0]
        if self.failures:
            raise ExceptionGroup("several errors in one request", self.failures)

    async def abandon(self) -> None:
        """Cancel what was begun, because the request itself is cancelled."""
        for begun in reversed(self.begun):
            await begun.abandon()
