"""The lifespan of an ASGI application, driven by the hooks of an RSGI server.

The server calls ``__rsgi_init__(loop)`` before the loop runs and ``__rsgi_del__(loop)`` after it has stopped.
The lifespan stays one task, as context managers and AnyIO's cancel scopes require.

Standard: ASGI Lifespan specification.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spica.types import ASGIApp, Message

_logger = logging.getLogger("spica.servers.rsgi")

_stopping: set[asyncio.Task[None]] = set()
"""Shutdowns on loops that run. A loop itself keeps no reference to its tasks."""


class Lifespan:
    """Run the lifespan of ``app`` on one event loop.

    ``state`` is what the application put into the state of its lifespan. ``starting`` is the task that starts
    the application, until it has started.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        self.starting: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._has_received = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the application.

        Raises:
            RuntimeError: its start-up failed.
        """
        if loop.is_running():
            self.starting = loop.create_task(self._start())
        else:
            loop.run_until_complete(self._start())

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Shut the application down.

        Raises:
            RuntimeError: its shutdown failed.
        """
        if loop.is_running():
            stopping = loop.create_task(self._stop())
            _stopping.add(stopping)
            stopping.add_done_callback(_stopping.discard)
        else:
            loop.run_until_complete(self._stop())

    async def wait_for_start(self) -> None:
        """Wait until the application has started.

        Raises:
            RuntimeError: its start-up failed.
        """
        if self.starting is not None:
            await asyncio.shield(self.starting)
            self.starting = None

    async def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._ask("startup")

    async def _stop(self) -> None:
        await self.wait_for_start()
        if self._task is not None and not self._task.done():
            await self._ask("shutdown")
            await self._task

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        self._has_received = True
        return await self._inbox.get()

    async def _send(self, message: Message) -> None:
        self._outbox.put_nowait(message)

    async def _ask(self, step: str) -> None:
        """Send the message of a step, and wait for its answer or for the end of the application."""
        assert self._task is not None
        self._inbox.put_nowait({"type": f"lifespan.{step}"})
        answer = asyncio.ensure_future(self._outbox.get())
        await asyncio.wait((self._task, answer), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            self._note_end(step)
            return
        message = answer.result()
        if message["type"] == f"lifespan.{step}.failed":
            await asyncio.wait((self._task,))
            error = None if self._task.cancelled() else self._task.exception()
            reason = message.get("message", "")
            raise RuntimeError(f"The application's {step} failed. {reason}".rstrip()) from error

    def _note_end(self, step: str) -> None:
        """Accept an application without a lifespan; raise the error of one that has a lifespan."""
        task = self._task
        assert task is not None
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if step == "startup" and not self._has_received:
            _logger.info("The application has no lifespan: it raised %r.", error)
            return
        raise error
