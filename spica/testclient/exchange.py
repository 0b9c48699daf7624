"""One run of an application, between the application and the test.

The application runs in an event loop and awaits `receive` and `send`. The test takes the results from
the outbox, in another thread (`TestClient`) or in the same event loop (`AsyncTestClient`). The
subclasses implement the rules of HTTP, WebSockets and the lifespan.
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
"""The seconds that an application has to receive the disconnect. Then it is cancelled."""

CLEANUP_SECONDS = 1.0
"""The seconds that an application has for its cleanup after the disconnect. Then it is cancelled."""

WAIT_PARTS = 5
"""The parts of such a wait. A busy machine may stop the process for longer than the whole wait. That ends one
part, and the application can use the others."""


class Signal(Enum):
    """The items of an outbox that carry no value."""

    STARTED = "the response has begun"
    BODY_WANTED = "the next piece of the request body is wanted"
    ENDED = "the application has returned, or raised"


class Flag:
    """An event that you can create outside of an event loop.

    It creates an ``anyio.Event`` only when a task waits, because no task waits for most flags of an
    exchange. Set it in the event loop of the tasks that wait.
    """

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._event: anyio.Event | None = None

    def set(self) -> None:
        """Set the flag and wake the waiting tasks."""
        self._is_set = True
        if self._event is not None:
            self._event.set()

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self._is_set

    async def wait(self) -> None:
        """Wait until the flag is set. If it is set already, return at once, without a checkpoint."""
        if not self._is_set:
            if self._event is None:
                self._event = anyio.Event()
            await self._event.wait()

    async def wait_for(self, seconds: float) -> bool:
        """Wait until the flag is set, or until the time is over. Return whether it is set."""
        for _ in range(WAIT_PARTS):
            with anyio.move_on_after(seconds / WAIT_PARTS):
                await self.wait()
            if self._is_set:
                break
        return self._is_set


class Exchange:
    """Run an application once and keep its messages until the test takes them.

    `failure` keeps the application's exception, of any type. The event loop never raises it: the test
    decides where to raise it.

    Args:
        outbox: the queue for the test. The default is a ``SimpleQueue``, which another thread can read.
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
        """Start the application. After any end of it, `Signal.ENDED` is in the outbox."""
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
                # Also KeyboardInterrupt, which would stop the portal in the thread of the event loop.
                self.failure = error
            finally:
                self.running = None
                self._ended.set()
                self._noticed.set()
                self._settled.set()

    def take_failure(self) -> BaseException | None:
        """Return the application's exception and forget it, so that only one place raises it."""
        failure, self.failure = self.failure, None
        return failure

    async def cancel(self) -> None:
        """Cancel the application and wait for its end."""
        if self._cancel_scope is not None:
            self._cancel_scope.cancel()
            await self._ended.wait()

    async def settle(self) -> None:
        """Give the application time to end after the disconnect, then cancel it.

        An application that waits for another message (`_settled`) is cancelled at once.
        """
        if self._cancel_scope is None:
            return
        if await self._noticed.wait_for(UNNOTICED_SECONDS):
            await self._settled.wait_for(CLEANUP_SECONDS)
        await self.cancel()

    async def wait_in_vain(self) -> Message:
        """Wait for a message after the last one, until the application is cancelled."""
        self._settled.set()
        await anyio.sleep_forever()
        raise AssertionError("unreachable")  # pragma: no cover

    async def receive(self) -> Message:
        """Return the next message for the application."""
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        """Process a message of the application. Raise an AssertionError if it breaks a rule of ASGI."""
        raise NotImplementedError

    def check_end(self) -> None:
        """Raise an AssertionError if the application may not return at this point."""
