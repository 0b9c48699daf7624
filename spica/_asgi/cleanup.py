"""The work that remains after the response to a request was sent.

Layers that pass responses by value may drop or replace one. Its background task, a started foreign app and
an error to report must not be lost with it. They are registered here, and the layer that sends the response
does the work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

from spica._asgi.scope import CLEANUP
from spica.types import Message, Scope


class Started(Protocol):
    """An app that runs in a task of its own."""

    async def finish(self) -> None:
        """End the app, in good order if it allows, and raise its error."""

    async def abandon(self) -> None:
        """Cancel the app and wait for its end."""


class Closing(Protocol):
    """A function that closes an iterator once."""

    is_closed: bool

    async def __call__(self) -> None:
        """Close it."""


class HandSent(Protocol):
    """The ``send`` with which user code has sent a response itself."""

    has_started: bool
    start: Message | None


class RequestErrors(ExceptionGroup[Exception]):
    """The errors of one request. The response is for the first one."""


class Cleanup:
    """The work to do after the response to one request."""

    # Nearly every request leaves no work, so these become lists only when needed.
    started: Sequence[Started] = ()
    tasks: Sequence[Callable[[], Awaitable[None]]] = ()
    closers: Sequence[Callable[[], Awaitable[None]]] = ()
    failures: Sequence[Exception] = ()
    unread: Sequence[Closing] = ()
    is_empty = True
    has_work = False
    """Whether work was ever registered, iterators too. Only then does the sending layer look at the rest."""
    is_undisturbed = True
    """Whether the answer can be sent unchanged: no failure, and no response sent by hand."""
    hand_send: HandSent | None = None
    """Set once an endpoint, a handler or a dispatch function has started the response itself."""

    def record_hand_send(self, send: HandSent) -> None:
        """Record that user code has started the response with ``send``."""
        self.hand_send = send
        self.is_undisturbed = False

    def restore_hand_send(self, send: HandSent | None) -> None:
        """Undo ``record_hand_send``: the response has gone to a dispatch middleware, not to the server."""
        self.hand_send = send
        self.is_undisturbed = send is None and not self.failures

    def add_unread(self, close: Closing) -> None:
        """Register a function that closes the iterator of a response, in case the response is never sent.

        Nearly every response is sent, so ``is_empty`` ignores the iterators: see ``has_unread``.
        """
        self.unread = (*self.unread, close)
        self.has_work = True

    def has_unread(self) -> bool:
        """Return whether an iterator is still open."""
        for closing in self.unread:  # noqa: SIM110  # `any` with a generator takes three times as long
            if not closing.is_closed:
                return True
        return False

    def add_started(self, app: Started) -> None:
        """Register a running app, which the cleanup ends."""
        self.started = [*self.started, app]
        self.is_empty = False
        self.has_work = True

    def forget_started(self, app: Started) -> None:
        """Remove an app that has ended without an error, so that the cleanup is empty again."""
        if len(self.started) == 1 and self.started[0] is app:
            self.started = ()
            self.is_empty = not (self.tasks or self.closers or self.failures)

    def add_task(self, task: Callable[[], Awaitable[None]]) -> None:
        """Register a background task."""
        self.tasks = [*self.tasks, task]
        self.is_empty = False
        self.has_work = True

    def add_closer(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Register something to close at the very end: a form, whose files background tasks may read."""
        self.closers = [*self.closers, closer]
        self.is_empty = False
        self.has_work = True

    def forget_closer(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Remove a closer that has run, so that the cleanup is empty again."""
        if len(self.closers) == 1 and self.closers[0] == closer:
            self.closers = ()
            self.is_empty = not (self.started or self.tasks or self.failures)

    def add_failure(self, exc: Exception) -> bool:
        """Record an error, which is raised at the end. Return whether it is new."""
        is_new = not self.has_failure(exc)
        if is_new:
            self.failures = [*self.failures, exc]
            self.is_empty = self.is_undisturbed = False
            self.has_work = True
        return is_new

    def has_failure(self, exc: Exception) -> bool:
        """Return whether this error object is recorded. Equality does not count."""
        return any(failure is exc for failure in self.failures)

    async def run(self) -> list[Exception]:
        """End started apps, run tasks and closers, and return their errors."""
        late = []
        for step in self._steps():
            try:
                await step()
            except Exception as exc:
                if self.add_failure(exc):
                    late.append(exc)
            except BaseException:
                await self.abandon()
                raise
        return late

    def _steps(self) -> Iterator[Callable[[], Awaitable[None]]]:
        """Yield the steps one by one, including apps and forms that a task has added in the meantime."""
        started = self.started
        yield from [each.finish for each in reversed(started)]
        yield from reversed(self.unread)  # an iterator over another one was registered later
        yield from self.tasks
        yield from [each.finish for each in self.started[len(started) :]]
        yield from self.closers

    def raise_failures(self) -> None:
        """Raise the failures: a single one as it is, several as an ExceptionGroup."""
        if len(self.failures) == 1:
            raise self.failures[0]
        if self.failures:
            # Some servers log only the message of a group.
            names = "; ".join(f"{each!r:.200}" for each in self.failures)
            raise RequestErrors(f"several errors in one request: {names}", self.failures)

    async def abandon(self) -> None:
        """Cancel the started apps, because the request itself is cancelled."""
        for app in reversed(self.started):
            await app.abandon()
        for closing in reversed(self.unread):
            await closing()
        for close in self.closers:
            await close()


class HasCleanup(Protocol):
    """An object with a cleanup: a Request."""

    scope: Scope
    _cleanup: Cleanup | None


def cleanup_of(request: HasCleanup) -> Cleanup:
    """Return the cleanup of the connection of ``request``, and create it if there is none."""
    cleanup = getattr(request, "_cleanup", None)  # a subclass may skip `__init__`
    if cleanup is None:
        cleanup = request.scope.get(CLEANUP)
        if cleanup is None:
            cleanup = request.scope[CLEANUP] = Cleanup()
        request._cleanup = cleanup
    return cleanup


def nearest_cleanup(request: HasCleanup) -> Cleanup:
    """Return the cleanup that the layer that sends the response will run.

    Without a dispatch layer around it, the request has its own cleanup, which is not in the scope.
    """
    cleanup = getattr(request, "_cleanup", None)  # a subclass may skip `__init__`
    if cleanup is None:
        cleanup = request.scope.get(CLEANUP)
        if cleanup is None:
            cleanup = request._cleanup = Cleanup()
    return cleanup
