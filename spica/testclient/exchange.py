"""One run of an application, between the application and the test.

The application runs in an event loop and awaits `receive` and `send`. The test takes the results
out of the outbox: in a thread of its own (`TestClient`) or in the same event loop
(`AsyncTestClient`). The subclasses hold the rules of HTTP, WebSockets and the lifespan.
"""

from concurrent.futures import Future
from enum import Enum
from queue import SimpleQueue
from typing import Any

import anyio
import anyio.abc
from anyio.from_thread import BlockingPortal

from spica.testclient.interface import ASGI3App
from spica.types import Message, Scope

UNNOTICED_SECONDS = 0.05
"""Seconds that an application has to receive the disconnect before it is cancelled."""

CLEANUP_SECONDS = 1.0
"""Seconds that an application has for its cleanup, after the disconnect, before it is cancelled."""


class Signal(Enum):
    """What an application does besides handing out a value."""

    STARTED = "the response has begun"
    BODY_WANTED = "the next piece of the request body is wanted"
    ENDED = "the application has returned, or raised"


class Flag:
    """An event that you can create outside of an event loop.

    It makes an ``anyio.Event`` only when a task waits: most flags of an exchange are never waited
    for. Set it in the event loop of the tasks that wait.
    """

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._event: anyio.Event | None = None

    def set(self) -> None:
        """Set the flag and wake the tasks that wait."""
        self._is_set = True
        if self._event is not None:
            self._event.set()

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self._is_set

    async def wait(self) -> None:
        """Wait until the flag is set; return at once, without a checkpoint, if it is."""
        if not self._is_set:
            if self._event is None:
                self._event = anyio.Event()
            await self._event.wait()


class Exchange:
    """Run an application once and keep its messages until the test takes them.

    `failure` keeps the application's exception, of any kind. It never leaves the event loop by
    itself: the test decides where to raise it.

    Args:
        outbox: the queue for the test; by default a ``SimpleQueue``, from which a thread can take.
    """

    def __init__(self, outbox: Any = None) -> None:
        self.outbox: Any = SimpleQueue() if outbox is None else outbox
        self.failure: BaseException | None = None
        self.running: Any = None
        self._cancel_scope: anyio.CancelScope | None = None
        self._ended = Flag()
        self._noticed = Flag()
        self._settled = Flag()

    def start(self, portal: BlockingPortal, app: ASGI3App, scope: Scope) -> "Future[None]":
        """Start the application; at its end, whatever it is, `Signal.ENDED` is in the outbox."""
        future, _ = portal.start_task(self.run, app, scope)
        future.add_done_callback(self._report_end)
        return future

    def _report_end(self, future: "Future[None]") -> None:
        self.outbox.put(Signal.ENDED)

    async def run(
        self, app: ASGI3App, scope: Scope, *, task_status: anyio.abc.TaskStatus[None]
    ) -> None:
        """Run the application to its end, or until it is cancelled."""
        with self._cancel_scope or anyio.CancelScope() as cancel_scope:
            self._cancel_scope = cancel_scope
            task_status.started()
            try:
                self.running = app(scope, self.receive, self.send)
                await self.running
                if not cancel_scope.cancel_called:
                    self.check_end()
            except anyio.get_cancelled_exc_class() as cancelled:
                if not cancel_scope.cancel_called:
                    self.failure = cancelled
                raise
            except BaseException as error:
                # KeyboardInterrupt too: in the loop's thread it would tear down the portal
                self.failure = error
            finally:
                self.running = None
                self._ended.set()
                self._noticed.set()
                self._settled.set()

    def take_failure(self) -> BaseException | None:
        """Return the application's exception, once: it is raised in one place only."""
        failure, self.failure = self.failure, None
        return failure

    async def cancel(self) -> None:
        """Cancel the application and wait for its end."""
        if self._cancel_scope is not None:
            self._cancel_scope.cancel()
            await self._ended.wait()

    async def settle(self) -> None:
        """Give an application that can see the disconnect time to end, then cancel it.

        An application that waits for a further message (`_settled`) is cancelled at once.
        """
        if self._cancel_scope is None:
            return
        with anyio.move_on_after(UNNOTICED_SECONDS):
            await self._noticed.wait()
        if self._noticed.is_set():
            with anyio.move_on_after(CLEANUP_SECONDS):
                await self._settled.wait()
        await self.cancel()

    async def wait_in_vain(self) -> Message:
        """Wait for a message after the last one: until the application is cancelled."""
        self._settled.set()
        await anyio.sleep_forever()
        raise AssertionError("unreachable")  # pragma: no cover

    async def receive(self) -> Message:
        """Give the application its next message."""
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        """Take a message of the application, or refuse it with an AssertionError."""
        raise NotImplementedError

    def check_end(self) -> None:
        """Refuse the application's return at this point with an AssertionError."""
