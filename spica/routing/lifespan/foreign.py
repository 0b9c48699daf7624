"""Run the lifespan of a foreign ASGI app.

Standard: ASGI lifespan specification 2.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from types import TracebackType

    from anyio.abc import TaskGroup

    from spica.types import ASGIApp, Message


class ForeignLifespan:
    """Run the lifespan of any ASGI app as an async context manager. Entering it returns the app's state.

    The app runs in its own task, as under a server. It must support the lifespan protocol, because you
    requested it with ``lifespan=True``.

    Args:
        app: The ASGI app.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._state: dict[str, Any] = {}
        self._messages = ["lifespan.startup", "lifespan.shutdown"]
        self._phase = "startup"
        self._is_over = False
        self._failure: BaseException | None = None

    async def __aenter__(self) -> dict[str, Any]:
        """Start the app.

        Raises:
            RuntimeError: The app reports a failed startup, or returns without an answer.
            Exception: The app raised it.
        """
        self._answered = anyio.Event()
        self._shutdown = anyio.Event()
        self._tasks: TaskGroup = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run)
        await self._wait_for_answer()
        if self._failure is not None:
            await self._stop()
        return self._state

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Shut the app down."""
        if exc is not None:
            self._tasks.cancel_scope.cancel()
            return await self._tasks.__aexit__(exc_type, exc, traceback)
        if not self._is_over:
            self._phase = "shutdown"
            self._answered = anyio.Event()
            self._shutdown.set()
            await self._wait_for_answer()
        await self._stop()
        return None

    async def _wait_for_answer(self) -> None:
        """Wait until the app has answered. If the wait is cancelled (by a time limit), cancel the app."""
        try:
            await self._answered.wait()
        except BaseException as exc:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(type(exc), exc, exc.__traceback__)
            raise

    async def _stop(self) -> None:
        """Stop an app after its last answer, and raise its error."""
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)
        if self._failure is not None:
            raise self._failure

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._app(scope, self._receive, self._send)
            if not self._answered.is_set():
                self._failure = RuntimeError(f"It ended without an answer to the {self._phase}.")
        except Exception as error:
            self._failure = error
        finally:
            self._is_over = True
            self._answered.set()

    async def _receive(self) -> Message:
        if not self._messages:
            await anyio.sleep_forever()
        if len(self._messages) == 1:
            await self._shutdown.wait()
        return {"type": self._messages.pop(0)}

    async def _send(self, message: Message) -> None:
        if message["type"] == f"lifespan.{self._phase}.failed":
            reason = message.get("message") or "it gave no reason"
            self._failure = RuntimeError(
                f"The {self._phase} of {self._app!r:.200} failed: {reason}"
            )
            self._is_over = True
        elif message["type"] != f"lifespan.{self._phase}.complete":
            raise RuntimeError(f"{message['type']!r} is not an answer to the {self._phase}.")
        self._answered.set()
