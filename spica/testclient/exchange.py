"""One run of an application, seen from both of its sides.

The application runs in the event loop of a portal; the test waits in its own thread. An `Exchange`
is what stands between: the application awaits `receive` and `send`, the test takes what comes out
of the outbox. What is special to HTTP, WebSockets and lifespan stands in the subclasses.
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
"""How long an application that is told of the end may take to notice before it is cancelled."""

CLEANUP_SECONDS = 1.0
"""How long an application that knows of the end may take to clean up before it is cancelled."""


class Signal(Enum):
    """What an application does besides handing out a value."""

    STARTED = "the response has begun"
    BODY_WANTED = "the next piece of the request body is wanted"
    ENDED = "the application has returned, or raised"


class Exchange:
    """Run an application once and keep what it sends until the test takes it.

    The application's exception, of any kind, is kept in `failure` and never leaves the event loop
    by itself: the test's thread decides what becomes of it.
    """

    def __init__(self) -> None:
        self.outbox: SimpleQueue[Any] = SimpleQueue()
        self.failure: BaseException | None = None
        self._cancel_scope: anyio.CancelScope | None = None

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
        self.prepare()
        with anyio.CancelScope() as cancel_scope:
            self._cancel_scope = cancel_scope
            task_status.started()
            try:
                await app(scope, self.receive, self.send)
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
                self._ended.set()
                self._noticed.set()
                self._settled.set()

    def prepare(self) -> None:
        """Make what can only be made in the event loop."""
        self._ended = anyio.Event()
        self._noticed = anyio.Event()
        self._settled = anyio.Event()

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
        """Wait for the end of an application that was told of it; cancel one that does not end.

        One that waits for a further message, as `_settled` tells, is cancelled at once.
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
