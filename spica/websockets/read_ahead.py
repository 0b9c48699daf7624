"""Notice that the peer of a WebSocket has left, while another task may read its messages.

Only `receive()` reports a disconnect (ASGI "WebSocket Connection"), and servers do not allow two calls at
once. `ReadAhead` is a `receive` that two tasks share: one waits for the disconnect, the other reads the
messages.
"""

from __future__ import annotations

from collections import deque

import anyio

from spica._asgi.disconnect import CancelOnDisconnect
from spica._asgi.listener import Listener
from spica.types import Message, Receive

MAX_MESSAGES = 16
"""The number of messages that are kept for a reader, in addition to those in the server."""
READER_SECONDS = 10.0
"""The time for a reader to come when so many messages wait. Without one, the application ignores messages."""


class Switch:
    """Whether accepted connections get a `ReadAhead`. `spica.channels` turns it on; it costs 0.2 us per
    message."""

    is_on = False


class ReadAhead:
    """The `receive` of a connection, shared by a reader and a task that waits for the disconnect.

    Args:
        receive: The `receive` of the server.

    Attributes:
        has_reader: Whether a task has ever read.
    """

    __slots__ = (
        "_changed",
        "_is_ignoring",
        "_is_over",
        "_is_receiving",
        "_messages",
        "_receive",
        "has_reader",
    )

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: deque[Message] = deque()
        self._is_receiving = False
        self._is_over = False
        self._is_ignoring = False
        self._changed: anyio.Event | None = None
        self.has_reader = False

    async def __call__(self) -> Message:
        """Return the next message."""
        self.has_reader = True
        while not self._messages:
            if not self._is_receiving:
                return await self._next()
            await self._wait()
        self._notify()
        return self._messages.popleft()

    async def wait_for_disconnect(self) -> None:
        """Return when the peer has left."""
        while not self._is_over:
            if len(self._messages) >= MAX_MESSAGES:
                await self._wait_for_reader()
            elif self._is_receiving:
                await self._wait()
            else:
                # The reader gets the message later, the disconnect too.
                self._messages.append(await self._next())

    async def take_two(self) -> None:
        """Read two messages ahead. Return if the peer has left by then, else wait forever."""
        for _ in range(2):
            self._messages.append(await self._next())
        if not self._is_over:
            await anyio.sleep_forever()

    async def _wait_for_reader(self) -> None:
        if self.has_reader:
            await self._wait()
            return
        # A full queue must not hide the disconnect from an application that never reads.
        if not self._is_ignoring:
            with anyio.move_on_after(READER_SECONDS):
                await self._wait()
        if not self.has_reader:
            self._is_ignoring = True
            self._messages.popleft()

    async def _next(self) -> Message:
        self._is_receiving = True
        try:
            message = await self._receive()
        finally:
            self._is_receiving = False
            self._notify()
        if message["type"] == "websocket.disconnect":
            self._is_over = True
        return message

    async def _wait(self) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


class HandshakeWatch:
    """Notice that the peer leaves before its handshake has an answer.

    The watch reads at most two messages ahead: ``websocket.connect``, and the one after it. Before the
    answer, that is a disconnect. Later, it may be the first message of the peer.

    Args:
        receive: The `receive` of the server.

    Attributes:
        receive: The `receive` to use instead, which loses no message.
    """

    __slots__ = ("_listener", "receive")

    def __init__(self, receive: Receive) -> None:
        self.receive = ReadAhead(receive)
        self._listener = Listener(self.receive.take_two)

    def cancel_on_disconnect(self) -> CancelOnDisconnect:
        """Return a context manager that cancels its block when the peer leaves.

        The end of a cancelled block raises ClientDisconnect.
        """
        return CancelOnDisconnect(self._listener)

    async def finish(self) -> None:
        """Stop watching, because the connection is over."""
        await self._listener.finish()
