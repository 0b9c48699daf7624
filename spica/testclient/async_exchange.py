"""Exchanges in the event loop of the test: the application runs in a task of the client.

They add to the exchanges of `TestClient`: the window of the outbox, a client that leaves, and a
connection that breaks.
"""

from typing import Any

import anyio
import anyio.lowlevel

from spica.testclient.exchange import Exchange, Flag, Signal
from spica.testclient.http_exchange import Chunk, HTTPExchange
from spica.testclient.interface import ASGI3App
from spica.testclient.lifespan import Lifespan, LifespanState
from spica.testclient.outbox import Outbox
from spica.testclient.tasks import MARK, Runner, current_task, names_of_marked
from spica.testclient.websocket_exchange import WebSocketExchange
from spica.types import Message, Scope


class BrokenOff:
    """The item of an outbox that says that a fault broke the connection."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class TaskExchange(Exchange):
    """Run an application in a task group.

    Attributes:
        client: the client that the exchange belongs to; leak checks compare it.
        has_asgi_checks: whether a message that breaks a rule of ASGI is an error. If not, the
            exchange drops the message.
        is_disconnected: whether the client has left.
    """

    outbox: Outbox
    client: Any = None
    has_asgi_checks = True
    is_disconnected = False
    _task: Any = None

    def start_with(self, runner: Runner, app: ASGI3App, scope: Scope, name: str) -> None:
        """Start the application; at its end, `Signal.ENDED` is in the outbox."""
        # The scope is created here so that the test can cancel an application before it runs. The shield
        # keeps a cancelled test from cancelling the application: the client disconnects instead.
        self._cancel_scope = anyio.CancelScope(shield=True)
        runner.start(self._run_to_end(app, scope), name)

    async def _run_to_end(self, app: ASGI3App, scope: Scope) -> None:
        MARK.set(self)
        self._task = current_task()
        try:
            await self.run(app, scope, task_status=anyio.TASK_STATUS_IGNORED)
        finally:
            self._task = None
            self.outbox.put(Signal.ENDED)

    def running_tasks(self) -> list[str]:
        """Return the names of the tasks that the application started and that still run."""
        return names_of_marked(self._is_mark, but=self._task)

    def _is_mark(self, mark: Any) -> bool:
        return mark is self

    def disconnect(self) -> None:
        """Disconnect the client."""
        raise NotImplementedError

    def break_off(self, reason: str) -> None:
        """Break the connection: the application sees a disconnect, and the test an error."""
        if not self.is_disconnected:
            self.disconnect()
            self.outbox.put(BrokenOff(reason))

    async def leave(self) -> None:
        """Disconnect, and wait for the end of the application, even if the test is cancelled."""
        with anyio.CancelScope(shield=True):
            self.disconnect()
            self.outbox.close()
            await self.settle()

    async def checked_send(self, message: Message) -> None:
        """Check and send a message. Without the checks, drop a message that breaks a rule of ASGI."""
        if self.is_disconnected:
            # Servers drop it too. An application that only sends can be cancelled at this checkpoint.
            await anyio.lowlevel.checkpoint()
            return
        try:
            await super().send(message)
        except AssertionError:
            if self.has_asgi_checks:
                raise

    def check_end(self) -> None:
        """Raise an AssertionError if the application may not return at this point."""
        if self.has_asgi_checks and not self.is_disconnected:
            super().check_end()


class AsyncHTTPExchange(TaskExchange, HTTPExchange):
    """Run an application for one request."""

    _disconnects = 0

    def __init__(self, scope: Scope, body: bytes | None, outbox: Outbox) -> None:
        super().__init__(scope, body, outbox)
        self.body_wanted = Flag()

    async def receive(self) -> Message:
        """Return the next piece of the request body, or the disconnect after the response."""
        message = await super().receive()
        if message["type"] == "http.disconnect":
            self._disconnects += 1
            if self._disconnects > 1:
                # An application may ignore the disconnect in a loop. It must not block the event loop.
                await anyio.lowlevel.checkpoint()
        return message

    def ask_for_body(self) -> None:
        """Wake the task that reads the body from the test."""
        self.body_wanted.set()

    async def send(self, message: Message) -> None:
        """Process a message of the response. Wait if the window is full."""
        await self.checked_send(message)

    async def hand_over(self, chunk: Chunk) -> None:
        """Put a chunk in the outbox and wait for room for the next one."""
        self.outbox.put(chunk, len(chunk.body))
        await self.outbox.wait_for_room()

    def disconnect(self) -> None:
        """Disconnect the client: from now on, the application receives only ``http.disconnect``."""
        HTTPExchange.disconnect(self)


class AsyncWebSocketExchange(TaskExchange, WebSocketExchange):
    """Run an application for one WebSocket."""

    async def send(self, message: Message) -> None:
        """Put a message in the outbox; wait if the window is full."""
        await self.checked_send(message)
        await self.outbox.wait_for_room()

    def disconnect(self, code: int = 1000, reason: str | None = None) -> None:
        """Send the disconnect to the application, unless it has one already."""
        WebSocketExchange.disconnect(self, code, reason)

    def break_off(self, reason: str) -> None:
        """Break the connection without a close frame, which is code 1006 (RFC 6455 s.7.1.5)."""
        if not self.is_disconnected:
            self.is_disconnected = True
            self.disconnect(1006)
            self.outbox.put(BrokenOff(reason))

    async def leave(self) -> None:
        """Disconnect, and wait for the end of the application, even if the test is cancelled."""
        self.is_disconnected = True
        await TaskExchange.leave(self)


class AsyncLifespan(TaskExchange, Lifespan):
    """Start an application, and stop it later, in the event loop of the test."""

    async def start_up(self, runner: Runner) -> None:
        """Start the application and wait until it is up.

        Raises:
            RuntimeError: the application sends ``lifespan.startup.failed``. Its own exceptions are
                raised unchanged.
            AssertionError: the application returns without a message.
        """
        self.start_with(runner, self._app, self._scope, "lifespan")
        await self._await(LifespanState.RUNNING, "start")

    async def shut_down(self) -> None:
        """Stop the application and wait until it is down; the errors are those of `start_up`."""
        self._ask_to_stop()
        await self._await(LifespanState.STOPPED, "stop")
        await self.settle()
        failure = self.take_failure()
        if failure is not None:
            raise failure

    async def _await(self, expected: LifespanState, verb: str) -> None:
        reached = await self.outbox.get()
        if reached is not expected:
            await self.settle()
            raise self.error_of(reached, verb)
