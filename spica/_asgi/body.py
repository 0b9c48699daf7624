"""The one owner of a request's body.

An ASGI server delivers a body as messages that can be received only once (ASGI HTTP specification,
"Request"). Several readers need it: a middleware, the endpoint, a poll for a disconnect, a foreign app
inside. A ``BodyChannel`` wraps the server's ``receive`` and is the only object that calls it. All readers
of the channel see the same body, and no byte is lost. The channel is itself a ``receive``, so you can pass
it to any ASGI app. It also enforces the size limit, because it counts the bytes.

The channel parses nothing and formats no errors: it raises ``ClientDisconnect``, ``BodyTooLarge`` and
``BodyTimeout``.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import AsyncGenerator
from sys import modules
from typing import TYPE_CHECKING

import anyio

from spica._asgi.deadline import (
    BODY_GRACE_SECONDS,
    DEFAULT_BODY_DEADLINE,
    BodyDeadline,
    BodyTimeout,
    idle_timeout,
    rate_timeout,
    resume_in_time,
    wait_in_time,
)
from spica._asgi.listener import Listener
from spica._asgi.scope import BODY_DEADLINE, BODY_LIMIT, RESPONSE_STARTED, declared_size
from spica._asgi.side_task import running_asyncio_loop
from spica.exceptions import HTTPException
from spica.types import Message, Receive, Scope

if TYPE_CHECKING:
    from spica._asgi.sending import StartedSend

DEFAULT_MAX_BODY_SIZE = 16 * 1024 * 1024
"""Default limit in bytes for a body that is kept in memory. It is enough for large JSON documents, and small
enough that one client cannot fill the memory of a server."""

DEFAULT_MAX_JSON_SIZE = 4 * 1024 * 1024
"""Default limit in bytes for a JSON body. Decoding takes up to 40 times as much memory: at most 160 MiB."""

READ_AHEAD_SIZE = 1024 * 1024
"""Bytes that a wait for a disconnect may read ahead of the reader of the body."""

PAUSE_SECONDS = 0.1
"""Seconds between two calls of a ``receive`` that returns messages after the end of the body."""

MESSAGE_SIZE = 512
"""Bytes that each message counts in addition to its body, because an empty message takes memory too."""


class ClientDisconnect(Exception):
    """The client left before its request was read, or before its response was sent."""


class BodyTooLarge(HTTPException):
    """A request body is larger than its limit: 413 (RFC 9110 s.15.5.14).

    ``max_body_size`` is the limit in bytes.
    """

    def __init__(self, max_body_size: int | float) -> None:
        super().__init__(status_code=413, detail="Content Too Large")
        self.max_body_size = max_body_size

    def __reduce__(self) -> tuple[type[BodyTooLarge], tuple[int | float]]:
        return type(self), (self.max_body_size,)


class BodyState(enum.Enum):
    """How far the body of a request has been read."""

    UNREAD = "unread"  # no reader has started
    STREAMING = "streaming"  # a reader takes it in chunks
    CACHED = "cached"  # it is in memory and can be read any number of times
    DRAINED = "drained"  # it was read in chunks to its end and not kept
    DISCONNECTED = "disconnected"  # the client left before its end


# Members as module globals: looking up an attribute of an Enum class costs more than a whole state change.
UNREAD = BodyState.UNREAD
STREAMING = BodyState.STREAMING
CACHED = BodyState.CACHED
DRAINED = BodyState.DRAINED
DISCONNECTED = BodyState.DISCONNECTED


class BodyLimit:
    """The largest allowed request body in bytes; None means no limit. The innermost limit layer sets it."""

    __slots__ = ("max_body_size",)

    def __init__(self, max_body_size: int | None) -> None:
        self.max_body_size = max_body_size


NOTHING_MORE: Message = {"type": "http.request", "body": b"", "more_body": False}

_NONE_AHEAD: deque[Message] = deque()
"""Shared by all channels, and never filled: few of them read ahead, and a deque of its own takes 0.1 us."""


class BodyChannel:
    """Wrap ``receive`` and own the body that it delivers.

    ``scope[BODY_LIMIT]`` holds the limit that the innermost limit layer has set. Without one, a streamed
    body may have any size, and a body that is kept in memory at most ``DEFAULT_MAX_BODY_SIZE`` bytes.

    Args:
        receive: the server's ``receive``.
        scope: the connection's scope, which holds the limits.
    """

    # Slots, all set in __init__: they are the fastest attributes, and each chunk reads several.
    __slots__ = (
        "_ahead",
        "_ahead_size",
        "_changed",
        "_is_joined",
        "_receive",
        "body",
        "guard",
        "has_left",
        "is_handed_on",
        "is_receiving",
        "is_refused_outside",
        "is_replayed",
        "listener",
        "received",
        "refused",
        "scope",
        "state",
        "waited",
    )

    def __init__(self, receive: Receive, scope: Scope) -> None:
        self._receive = receive
        self.scope = scope
        self.state = UNREAD
        self.body = b""
        self.received = 0  # bytes taken from the server so far
        self.is_handed_on = False  # a drained body now reads as empty instead of raising
        self.is_replayed = False  # a caller of ``receive`` got the cached body
        self.has_left = False  # http.disconnect arrived
        self.is_receiving = False  # a task waits in the server's receive
        self.is_refused_outside = False  # an outer channel refused the body in its `receive`
        self._ahead = _NONE_AHEAD  # messages that a poll has read, and no reader yet
        self._ahead_size = 0
        self._changed: anyio.Event | None = None
        self._is_joined = False  # `read` is collecting the chunks
        self.listener: Listener | None = None
        # Every later reader of a body that was too large or too slow gets the same error.
        self.refused: BodyTooLarge | BodyTimeout | None = None
        self.waited = 0.0  # seconds that readers waited for the client
        self.guard: StartedSend | None = (
            None  # set for a foreign app: knows whether its response has started
        )

    # -- taking messages -------------------------------------------------------------------------------

    async def _take(self) -> Message:
        """Return the next message for the reader: one that was read ahead, or the server's next."""
        if self.refused is not None:
            raise self.refused
        limit = self._limit()
        if limit is not None and not self.received and declared_size(self.scope) > limit:
            raise self._refuse(limit)  # before receiving a byte of the body
        if self._ahead or self.is_receiving:
            message = await self._take_ahead()
        else:
            message = await self._fetch_in_time()
        if limit is not None and self.received > limit:
            raise self._refuse(limit)
        return message

    async def _take_ahead(self) -> Message:
        """Return the message that a wait for a disconnect has read or is about to read."""
        while not self._ahead:
            if self.state is DRAINED or self.state is DISCONNECTED:
                return NOTHING_MORE  # another reader took the end while this one waited
            if not self.is_receiving:
                return await self._fetch_in_time()
            # A wait for a disconnect is in the server's receive. It queues the message it gets.
            await wait_in_time(self, self._wait_for_change)
        message = self._ahead.popleft()
        self._ahead_size -= _size_of(message)
        self._tell_change()
        self._check_rate(message)
        return message

    def _keep(self) -> deque[Message]:
        """Return the queue of messages for the reader, to add one."""
        if not self._ahead:
            self._ahead = deque()
        return self._ahead

    async def _fetch_in_time(self) -> Message:
        """Return the server's next message to a reader of the body, whose wait is limited."""
        self.is_receiving = True
        try:
            if "trio" in modules and running_asyncio_loop() is None:
                message = await wait_in_time(self, self._receive)
            else:
                # `wait_in_time` on asyncio, inlined: one coroutine less for each message.
                steps = self._receive().__await__()
                try:
                    pause = next(steps)
                except StopIteration as done:
                    message = done.value
                else:
                    rest = resume_in_time(self, steps, pause)
                    del steps, pause  # a traceback must not keep the server's future alive
                    message = await rest
        finally:
            self.is_receiving = False
            if self._changed is not None:
                self._tell_change()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            if self.waited > BODY_GRACE_SECONDS:
                self._check_rate(message)
        else:
            self._note_other(message)
        return message

    async def _fetch(self) -> Message:
        """Return the server's next message without a time limit: a wait for a disconnect may be long."""
        self.is_receiving = True
        try:
            message = await self._receive()
        finally:
            self.is_receiving = False
            if self._changed is not None:
                self._tell_change()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
        else:
            self._note_other(message)
        return message

    def _note_other(self, message: Message) -> None:
        kind = message["type"]
        if kind != "http.disconnect":
            raise RuntimeError(
                f"The server's receive returned a message of type {kind!r} for an HTTP request; "
                "ASGI allows 'http.request' and 'http.disconnect'."
            )
        self.has_left = True

    async def _wait_for_change(self) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    def _tell_change(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    # -- the time a body may take ----------------------------------------------------------------------

    def idle_limit(self) -> float:
        """Return the seconds that one wait for the client may take."""
        return math.inf if self._is_answered() else self._deadline().idle_seconds

    def give_up(self) -> Exception | None:
        """Return the error for a body that stalled. This reader and all later readers get it."""
        if self._is_answered():
            return None
        self.refused = idle_timeout(self.scope, self._deadline().idle_seconds)
        return self.refused

    def _deadline(self) -> BodyDeadline:
        deadline: BodyDeadline = self.scope.get(BODY_DEADLINE, DEFAULT_BODY_DEADLINE)
        return deadline

    def _is_answered(self) -> bool:
        """Return whether the response has started.

        Client and server may then take turns, so a pause of the client is normal.
        """
        if self.guard is not None and self.guard.has_started:
            return True
        return RESPONSE_STARTED in self.scope

    def _check_rate(self, message: Message) -> None:
        """Refuse an unfinished body that arrives too slowly."""
        if self.waited <= BODY_GRACE_SECONDS or not message.get("more_body", False):
            return
        deadline = self._deadline()
        if deadline.allows(self.received, self.waited):
            return
        if not self._is_answered():
            self.refused = rate_timeout(self.scope, deadline.min_rate)
            raise self.refused

    # -- reading the body ------------------------------------------------------------------------------

    async def read(self, max_size: int | float | None = None) -> bytes:
        """Return the whole body and keep it for later readers.

        ``max_size`` is an additional limit in bytes for this call.

        Raises:
            BodyTooLarge: the body is larger than a limit.
            ClientDisconnect: the client left before the end of its body.
            RuntimeError: the body was already read in chunks.
        """
        if self.is_receiving or self._is_joined:
            await self._wait_for_other_reader()
        if self.state is CACHED:
            return self._within(self.body, max_size)
        if self.refused is not None:
            raise self.refused
        if self.state is STREAMING:
            raise RuntimeError("Stream consumed")
        if max_size is None and BODY_LIMIT not in self.scope:
            max_size = DEFAULT_MAX_BODY_SIZE
        if self.state is UNREAD:
            message = await self._take()
            if message["type"] == "http.request" and not message.get("more_body", False):
                # Nearly every request has a body of one message, which needs no joining.
                self.body = self._within(message.get("body", b""), max_size)
                self.state = CACHED
                return self.body
            self._keep().appendleft(message)
            self._ahead_size += _size_of(message)
        self.body = await self._join(max_size)
        self.state = CACHED
        return self.body

    async def _wait_for_other_reader(self) -> None:
        """Wait for an earlier reader that is about to have the whole body."""
        while self._is_joined or (self.is_receiving and self.state is UNREAD and not self._ahead):
            if self._is_joined:
                await self._wait_for_change()  # the other reader is timed
            else:
                await wait_in_time(self, self._wait_for_change)

    async def _join(self, max_size: int | float | None) -> bytes:
        buffer = ChunkBuffer()
        chunks = self.stream()
        self._is_joined = True
        try:
            async for chunk in chunks:
                buffer.add(chunk)
                if max_size is not None and buffer.size > max_size:
                    raise self._refuse(max_size)
        finally:
            self._is_joined = False
            self._tell_change()
            await chunks.aclose()
        return buffer.join()

    def _within(self, body: bytes, max_size: int | float | None) -> bytes:
        if max_size is not None and len(body) > max_size:
            raise self._refuse(max_size)
        # Middleware may pass on a bytearray or a memoryview, but callers rely on bytes.
        return body if type(body) is bytes else bytes(body)

    def _limit(self) -> int | None:
        limit = self.scope.get(BODY_LIMIT)
        return None if limit is None else limit.max_body_size

    def hand_on(self) -> None:
        """Let the next reader see an empty body after this reader has streamed it.

        An inner ASGI app gets the same when a middleware has received the messages of the body.
        """
        if self.state is DRAINED and not self.is_handed_on:
            self.is_handed_on = True
            import logging

            logging.getLogger("spica.requests").warning(
                "A middleware read the request body with stream(), so the endpoint sees an empty body. "
                "Read it with body() to keep it for the endpoint."
            )

    def _refuse(self, max_size: int | float) -> BodyTooLarge:
        refused = self.refused = BodyTooLarge(max_size)
        return refused

    async def stream(self, *, ends_empty: bool = False) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of the body as they arrive, or the whole body if an earlier reader kept it.

        With ``ends_empty``, an empty chunk follows the last one.

        Raises:
            BodyTooLarge: the body is larger than its limit.
            ClientDisconnect: the client left before the end of its body.
            RuntimeError: another reader has already taken the chunks.
        """
        if self.state is CACHED:
            if self.body:
                yield self.body
        else:
            self._begin_stream()
        # Concurrent readers share the chunks, and each of them sees the end.
        while self.state is STREAMING:
            message = await (self._fetch_in_time() if self._is_simple else self._take())
            if message["type"] == "http.disconnect":
                self.state = DISCONNECTED
                raise ClientDisconnect
            if not message.get("more_body", False):
                self.state = DRAINED
            if chunk := message.get("body", b""):
                yield chunk
        if ends_empty:
            yield b""

    async def take_whole(self, max_size: int) -> bytes | None:
        """Return the rest of the body if it is one message of at most ``max_size`` bytes.

        Otherwise return None, and keep the message for ``stream``. Most forms are one message, and an async
        generator takes longer than decoding them.

        Raises:
            BodyTooLarge, RuntimeError: as in ``stream``. After a disconnect, ``stream`` raises the error.
        """
        if self.state is CACHED:
            return self.body if len(self.body) <= max_size else None
        self._begin_stream()
        if self.state is DRAINED:
            return b""
        message = await (self._fetch_in_time() if self._is_simple else self._take())
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            if len(body) <= max_size:
                self.state = DRAINED
                return body
        self._keep().appendleft(message)
        self._ahead_size += _size_of(message)
        return None

    @property
    def _is_simple(self) -> bool:
        """Whether `_take` would only call `_fetch_in_time`. Skipping it saves a coroutine per chunk."""
        return not (self._ahead or self.is_receiving or self.refused or BODY_LIMIT in self.scope)

    def _begin_stream(self) -> None:
        if self.refused is not None:
            raise self.refused
        if self.state is DISCONNECTED:
            raise ClientDisconnect
        if self.state is DRAINED and not self.is_handed_on:
            raise RuntimeError("Stream consumed")
        if self.state is UNREAD:
            self.state = STREAMING

    # -- as an ASGI receive ----------------------------------------------------------------------------

    async def __call__(self) -> Message:
        """Return the next message, as the server's ``receive`` would.

        After ``read`` it returns the whole body again, so that an inner app sees the body that a middleware
        has read. After ``stream`` it returns an empty body.
        """
        state = self.state
        if state is CACHED or state is DRAINED:
            if not self.is_replayed:
                self.is_replayed = True
                return {"type": "http.request", "body": self.body, "more_body": False}
            return await self.wait_for_disconnect()
        if state is DISCONNECTED:
            return {"type": "http.disconnect"}
        message = await self._take()
        if message["type"] == "http.disconnect":
            self.state = DISCONNECTED
        elif message.get("more_body", False):
            self.state = STREAMING
        else:
            self.state = DRAINED
            self.is_replayed = True
        return message

    # -- disconnects -----------------------------------------------------------------------------------

    async def wait_for_disconnect(self) -> Message:
        """Wait until the client has left and return the ``http.disconnect`` message.

        The wait keeps unread chunks of the body for their reader. After ``READ_AHEAD_SIZE`` bytes it pauses
        until the reader has caught up.
        """
        while not self.has_left:
            is_full = self._ahead_size >= READ_AHEAD_SIZE or self.is_refused_outside
            if self.is_receiving or is_full:
                await self._wait_for_change()
            else:
                await self.read_ahead()
        return {"type": "http.disconnect"}

    async def read_ahead(self) -> None:
        """Take one message from the server and keep it for the reader of the body."""
        try:
            message = await self._fetch()
        except (BodyTooLarge, BodyTimeout):
            # Only a reader of the body gets this error. The wait for a disconnect continues.
            self.is_refused_outside = True
            return
        is_whole = bool(self._ahead) and not self._ahead[-1].get("more_body", False)
        if (self.state is UNREAD or self.state is STREAMING) and not is_whole:
            self._keep().append(message)
            self._ahead_size += _size_of(message)
        elif not self.has_left:
            # A server's `receive` waits after the end of the body. A fake server in a test may return at
            # once, which would keep the event loop busy forever.
            await anyio.sleep(PAUSE_SECONDS)

    async def poll(self) -> bool:
        """Return whether the client has left, without waiting.

        The listener keeps the chunks that it receives for the reader of the body. It runs until the request
        is over: see ``spica._asgi.listener``.
        """
        if not self.has_left:
            listener = self.listen()
            await listener.give_way()
            if not self.has_left:
                listener.raise_error()
        return self.has_left

    def listen(self) -> Listener:
        """Return the listener that waits for the disconnect, and start it if necessary.

        A listener whose ``receive`` failed is replaced. One that has seen the disconnect is kept.
        """
        listener = self.listener
        if listener is None or (listener.is_over and not self.has_left):
            listener = self.listener = Listener(self.wait_for_disconnect)
        return listener


def _size_of(message: Message) -> int:
    return len(message.get("body", b"")) + MESSAGE_SIZE


def channel_of(receive: Receive, scope: Scope) -> BodyChannel:
    """Return ``receive`` if it is already a channel, else a new channel that wraps it."""
    return receive if type(receive) is BodyChannel else BodyChannel(receive, scope)  # pyright: ignore[reportReturnType]


SMALL_SIZE = 512
"""Chunks below this size in bytes are copied into one buffer. As a separate object, a chunk of two bytes
would take about thirty times its size in memory."""


class ChunkBuffer:
    """Collect chunks, count their bytes, and join them at the end."""

    __slots__ = ("_parts", "_small", "size")

    def __init__(self) -> None:
        self._parts: list[bytes | bytearray] = []
        self._small: bytearray | None = None  # the last part, if small chunks are appended to it
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Append a chunk."""
        self.size += len(chunk)
        if len(chunk) >= SMALL_SIZE:
            self._small = None
            self._parts.append(chunk)
        elif self._small is not None:
            self._small += chunk
        else:
            self._small = bytearray(chunk)
            self._parts.append(self._small)

    def join(self) -> bytes:
        """Return all chunks as one bytes object."""
        return b"".join(self._parts)
