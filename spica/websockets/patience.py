"""Receive with a time limit, and lose no message.

Cancelling a pending ``receive()`` loses the next message on some servers (granian). So a task of its own
keeps it pending after a time limit, and the next call gets its message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import anyio

from spica._asgi.side_task import start_listening_task
from spica.exceptions import WebSocketException

if TYPE_CHECKING:
    from spica.types import Message, Receive

T = TypeVar("T")

TURNS = 5
"""Turns of the event loop that ``timeout_seconds=0`` gives the server to return a message that is ready."""


class ReceiveTimeout(WebSocketException, TimeoutError):
    """The peer sent nothing for `timeout_seconds`.

    If you do not handle it, the connection is closed with code 1001. No message is lost: you may receive
    again.

    Attributes:
        timeout_seconds: the time limit, in seconds.
    """

    def __init__(self, timeout_seconds: float) -> None:
        # RFC 6455 s.7.4.1: 1001, an endpoint is "going away".
        super().__init__(1001, f"No message within {timeout_seconds:g} seconds.")
        self.timeout_seconds = timeout_seconds


class PatientReceive:
    """A ``receive`` whose calls may have a time limit.

    Args:
        receive: The ``receive`` of the connection.
    """

    __slots__ = ("_pending", "_receive", "_seconds")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._pending: _Pending | None = None
        self._seconds: float | None = None

    async def __call__(self) -> Message:
        """Return the next message.

        Raises:
            ReceiveTimeout: The call is inside ``within``, and no message came in time.
        """
        pending, seconds = self._pending, self._seconds
        if pending is None:
            if seconds is None:
                return await self._receive()
            pending = self._pending = _Pending(self._receive)
        if not await pending.arrives(seconds):
            raise ReceiveTimeout(seconds or 0.0)
        self._pending = None
        return pending.message()

    async def within(self, seconds: float, receive: Callable[[], Awaitable[T]]) -> T:
        """Await ``receive()``, whose calls of this object have a time limit in seconds."""
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise TypeError(
                f"timeout_seconds must be a number of seconds or None, not {seconds!r:.80}."
            )
        if not seconds >= 0:
            raise ValueError(f"timeout_seconds must be 0 or more, not {seconds!r:.80}.")
        self._seconds = seconds
        try:
            return await receive()
        finally:
            self._seconds = None

    async def aclose(self) -> None:
        """Stop receiving, because the endpoint has ended."""
        pending, self._pending = self._pending, None
        if pending is not None:
            await pending.aclose()


class _Pending:
    """A call of ``receive`` in a task of its own."""

    __slots__ = ("_ended", "_error", "_has_started", "_message", "_receive", "_task")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = anyio.Event()
        self._has_started = False
        self._message: Message = {}
        self._error: Exception | None = None
        self._task = start_listening_task(self._run)

    async def _run(self) -> None:
        self._has_started = True
        try:
            self._message = await self._receive()
        except Exception as exc:
            self._error = exc
        finally:
            self._ended.set()

    async def arrives(self, seconds: float | None) -> bool:
        """Wait for the message, and return whether it came within the time limit."""
        if seconds == 0:
            from anyio.lowlevel import checkpoint  # on use, because it takes long to import

            for _ in range(TURNS):
                if not self._ended.is_set():
                    await checkpoint()
        else:
            with anyio.move_on_after(seconds):
                await self._ended.wait()
        return self._ended.is_set()

    def message(self) -> Message:
        """Return the message, or raise the error of the server."""
        if self._error is not None:
            raise self._error
        return self._message

    async def aclose(self) -> None:
        """Cancel the call and wait for its end."""
        self._task.cancel()
        if self._has_started:  # a task that is cancelled before its first step never runs
            with anyio.CancelScope(shield=True):
                await self._ended.wait()
