"""The start-up and shutdown of an application, seen by the application as ASGI messages.

ASGI specification, "Lifespan Protocol".
"""

from concurrent.futures import Future
from enum import Enum
from typing import Any

from anyio.from_thread import BlockingPortal

from spica.testclient.exchange import Exchange, Flag
from spica.testclient.interface import ASGI3App
from spica.testclient.messages import message_text, message_type, misplaced
from spica.types import Message


class LifespanState(Enum):
    """The progress of the lifespan."""

    STARTING = "during start-up"
    RUNNING = "between start-up and shutdown"
    STOPPING = "during shutdown"
    STOPPED = "after shutdown"
    FAILED = "after it had failed"


_TRANSITIONS = {
    LifespanState.STARTING: {
        "lifespan.startup.complete": LifespanState.RUNNING,
        "lifespan.startup.failed": LifespanState.FAILED,
    },
    LifespanState.STOPPING: {
        "lifespan.shutdown.complete": LifespanState.STOPPED,
        "lifespan.shutdown.failed": LifespanState.FAILED,
    },
}


class Lifespan(Exchange):
    """Start an application, and stop it later.

    Args:
        app: the application.
        state: the dict of the lifespan state, which the application fills at start-up.
        outbox: the queue for the test, as for `Exchange`.
    """

    def __init__(self, app: ASGI3App, state: dict[str, Any], outbox: Any = None) -> None:
        super().__init__(outbox)
        self.state = LifespanState.STARTING
        self._app = app
        self._scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
        self._received = 0
        self._failure_text = ""
        self._shutdown = Flag()

    # -- the test --------------------------------------------------------------

    def begin(self, portal: BlockingPortal) -> "Future[None]":
        """Start the application and wait until it is up.

        Raises:
            RuntimeError: the application sends ``lifespan.startup.failed``. Its own exceptions are
                raised unchanged.
            AssertionError: the application returns without a message.
        """
        self._portal = portal
        future = self.start(portal, self._app, self._scope)
        self._await_state(LifespanState.RUNNING, "start")
        return future

    def finish(self) -> None:
        """Stop the application and wait until it is down.

        Raises:
            RuntimeError: the application sends ``lifespan.shutdown.failed``. Its own exceptions are
                raised unchanged.
            AssertionError: the application returns without a message.
        """
        self._portal.call(self._ask_to_stop)
        self._await_state(LifespanState.STOPPED, "stop")
        self._portal.call(self.settle)
        failure = self.take_failure()
        if failure is not None:
            raise failure

    def _await_state(self, expected: LifespanState, verb: str) -> None:
        reached = self.outbox.get()
        if reached is expected:
            return
        self._portal.call(self.settle)
        raise self.error_of(reached, verb)

    def error_of(self, reached: Any, verb: str) -> BaseException:
        """Return the error to raise for an application that did not reach the expected state."""
        failure = self.take_failure()
        if failure is not None:
            return failure
        if reached is LifespanState.FAILED:
            return RuntimeError(f"The application failed to {verb}: {self._failure_text}")
        return AssertionError(
            f"The application returned {self.state.value}, "
            f"without sending {next(iter(_TRANSITIONS[self.state]))!r}."
        )

    def _ask_to_stop(self) -> None:
        if self.state is LifespanState.RUNNING:
            self.state = LifespanState.STOPPING
        self._shutdown.set()

    # -- the application --------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the start-up message first, and the shutdown message once the test stops the application."""
        self._received += 1
        if self._received == 1:
            return {"type": "lifespan.startup"}
        if self._received == 2:
            if self.state is LifespanState.FAILED:
                self._noticed.set()
                return await self.wait_in_vain()
            await self._shutdown.wait()
            self._noticed.set()
            return {"type": "lifespan.shutdown"}
        return await self.wait_in_vain()

    async def send(self, message: Message) -> None:
        """Check a message, and put the new state in the outbox."""
        kind = message_type(message)
        transitions = _TRANSITIONS.get(self.state, {})
        if kind not in transitions:
            raise misplaced(kind, self.state.value, transitions)
        self._failure_text = message_text(message, "message") or "it gave no reason"
        self.state = transitions[kind]
        if self.state is LifespanState.FAILED:
            self._noticed.set()
        self.outbox.put(self.state)
