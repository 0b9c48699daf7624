"""The one owner of a request's body.

ASGI hands out a body as messages that can be received once (ASGI HTTP specification, "Request"). Several
parties want it: a middleware, the endpoint, a poll for a disconnect, a foreign app further in. A
``BodyChannel`` stands before the server's ``receive`` and is the only one to call it; whoever holds the
channel sees the same body, and no byte is lost. It is itself a ``receive``, so it can be handed to any
ASGI app. The size limit lives here too, since this is where bytes are counted.

The channel does not parse anything and does not decide what an error looks like: it raises
``ClientDisconnect``, ``BodyTooLarge`` and ``BodyTimeout``.
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
"""Bytes of a body that are kept in memory unless a limit was set: enough for large JSON documents, and
finite, so that one client cannot fill the memory of a server."""

DEFAULT_MAX_JSON_SIZE = 4 * 1024 * 1024
"""Bytes of a JSON body that are decoded unless a limit was set. Decoding takes up to 40 times as much memory:
160 MiB at most."""

READ_AHEAD_SIZE = 1024 * 1024
"""Bytes that waiting for a disconnect may read ahead of whoever reads the body."""

PAUSE_SECONDS = 0.1
"""Seconds between two calls of a ``receive`` that returns messages after the end of the body."""

MESSAGE_SIZE = 512
"""Bytes that a message counts as beside its body: one of a single byte, or of none, takes memory too."""


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
    """How far the body of a request has been read, and by whom."""

    UNREAD = "unread"  # nobody has asked for it
    STREAMING = "streaming"  # somebody reads it in chunks
    CACHED = "cached"  # all of it is in memory, to be had any number of times
    DRAINED = "drained"  # it was read in chunks to its end, and is gone
    DISCONNECTED = "disconnected"  # the client left before its end


# Members as module globals: an attribute of an Enum class costs more than the work between two of them.
UNREAD = BodyState.UNREAD
STREAMING = BodyState.STREAMING
CACHED = BodyState.CACHED
DRAINED = BodyState.DRAINED
DISCONNECTED = BodyState.DISCONNECTED


class BodyLimit:
    """The largest request body that may pass, in bytes; None: any. Limit layers set it in turn."""

    __slots__ = ("max_body_size",)

    def __init__(self, max_body_size: int | None) -> None:
        self.max_body_size = max_body_size


NOTHING_MORE: Message = {"type": "http.request", "body": b"", "more_body": False}


class BodyChannel:
    """Stand before ``receive`` and own the body it carries.

    The limit in force is that of ``scope[BODY_LIMIT]``, which the innermost limit layer has set. Where no
    layer has set one, a body may be of any size while it streams, and of ``DEFAULT_MAX_BODY_SIZE`` where
    it is kept in memory.
    """

    # Slots, all set at once: nothing else is as quick to read and to change for each chunk.
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
        self.is_handed_on = False  # a body that was streamed away reads as empty
        self.is_replayed = False  # the cached body was given to a caller of ``receive``
        self.has_left = False  # http.disconnect was seen
        self.is_receiving = False  # somebody waits in the server's receive
        self.is_refused_outside = False  # by the limit of a channel further out, behind `receive`
        self._ahead: deque[Message] = deque()  # read by a poll, not yet given to a reader
        self._ahead_size = 0
        self._changed: anyio.Event | None = None
        self._is_joined = False  # somebody reads it whole, chunk by chunk
        self.listener: Listener | None = None
        # For every later reader of a body over its limit, or one that came too slowly.
        self.refused: BodyTooLarge | BodyTimeout | None = None
        self.waited = 0.0  # seconds that readers waited for the client
        self.guard: StartedSend | None = (
            None  # of a foreign app: knows whether its response has started
        )

    # -- taking messages -------------------------------------------------------------------------------

    async def _take(self) -> Message:
        """Return the next message for the reader: one that was read ahead, or the server's next."""
        if self.refused is not None:
            raise self.refused
        limit = self._limit()
        if limit is not None and not self.received and declared_size(self.scope) > limit:
            raise self._refuse(limit)  # before a byte of it is asked for
        if self._ahead or self.is_receiving:
            message = await self._take_ahead()
        else:
            message = await self._fetch_in_time()
        if limit is not None and self.received > limit:
            raise self._refuse(limit)
        return message

    async def _take_ahead(self) -> Message:
        """Return the message that a wait for a disconnect has read, or is about to read."""
        while not self._ahead:
            if self.state is DRAINED or self.state is DISCONNECTED:
                return NOTHING_MORE  # another reader took the end while this one waited
            if not self.is_receiving:
                return await self._fetch_in_time()
            # A wait for a disconnect is in the server's receive: what it gets, it puts ahead.
            await wait_in_time(self, self._wait_for_change)
        message = self._ahead.popleft()
        self._ahead_size -= _size_of(message)
        self._tell_change()
        self._check_rate(message)
        return message

    async def _fetch_in_time(self) -> Message:
        """Return the server's next message to a reader of the body, whose wait is limited."""
        self.is_receiving = True
        try:
            if "trio" in modules and running_asyncio_loop() is None:
                message = await wait_in_time(self, self._receive)
            else:
                # What `wait_in_time` does on asyncio, without the step to it.
                steps = self._receive().__await__()
                try:
                    pause = next(steps)
                except StopIteration as done:
                    message = done.value
                else:
                    message = await resume_in_time(self, steps, pause)
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
        """Return the server's next message to a wait for a disconnect, which is not timed."""
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
        """Return the error for a body that did not go on, for this reader and all later ones."""
        if self._is_answered():
            return None
        self.refused = idle_timeout(self.scope, self._deadline().idle_seconds)
        return self.refused

    def _deadline(self) -> BodyDeadline:
        deadline: BodyDeadline = self.scope.get(BODY_DEADLINE, DEFAULT_BODY_DEADLINE)
        return deadline

    def _is_answered(self) -> bool:
        """Return whether the response has started: then client and server may talk in turns."""
        if self.guard is not None and self.guard.has_started:
            return True
        return RESPONSE_STARTED in self.scope

    def _check_rate(self, message: Message) -> None:
        """Refuse a body of which more is to come if it arrives too slowly."""
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
        """Return the whole body and keep it.

        ``max_size`` is a further limit in bytes for this call.

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
                # One message: nearly every request. Nothing to join.
                self.body = self._within(message.get("body", b""), max_size)
                self.state = CACHED
                return self.body
            self._ahead.appendleft(message)
            self._ahead_size += _size_of(message)
        self.body = await self._join(max_size)
        self.state = CACHED
        return self.body

    async def _wait_for_other_reader(self) -> None:
        """Wait while another, who came first, is about to have the whole body."""
        while self._is_joined or (self.is_receiving and self.state is UNREAD and not self._ahead):
            if self._is_joined:
                await self._wait_for_change()  # the other reader is timed
            else:
                await wait_in_time(self, self._wait_for_change)

    async def _join(self, max_size: int | float | None) -> bytes:
        gathering = ChunkBuffer()
        chunks = self.stream()
        self._is_joined = True
        try:
            async for chunk in chunks:
                gathering.add(chunk)
                if max_size is not None and gathering.size > max_size:
                    raise self._refuse(max_size)
        finally:
            self._is_joined = False
            self._tell_change()
            await chunks.aclose()
        return gathering.join()

    def _within(self, body: bytes, max_size: int | float | None) -> bytes:
        if max_size is not None and len(body) > max_size:
            raise self._refuse(max_size)
        return body

    def _limit(self) -> int | None:
        limit = self.scope.get(BODY_LIMIT)
        return None if limit is None else limit.max_body_size

    def hand_on(self) -> None:
        """Let the next reader see an empty body where this one has streamed it away.

        That is what an app further in gets in ASGI when a middleware has taken the body's messages.
        """
        if self.state is DRAINED and not self.is_handed_on:
            self.is_handed_on = True
            import logging

            logging.getLogger("spica.requests").warning(
                "A middleware read the request body with stream(), so that what comes next sees an "
                "empty one. Read it with body() to leave it to others too."
            )

    def _refuse(self, max_size: int | float) -> BodyTooLarge:
        refused = self.refused = BodyTooLarge(max_size)
        return refused

    async def stream(self, *, ends_empty: bool = False) -> AsyncGenerator[bytes, None]:
        """Yield the body's chunks as they arrive; the cached body if somebody read it whole before.

        With ``ends_empty`` an empty chunk follows the last.

        Raises:
            BodyTooLarge: the body is larger than its limit.
            ClientDisconnect: the client left before the end of its body.
            RuntimeError: the chunks were already given to another reader.
        """
        if self.state is CACHED:
            if self.body:
                yield self.body
        else:
            self._begin_stream()
        # Several readers at a time share the chunks; each sees the end.
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

    @property
    def _is_simple(self) -> bool:
        """Whether `_take` would do no more than `_fetch`, to which it is a step."""
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

        After ``read`` it is the whole body once more, so that an app further in finds what a middleware
        has read; after ``stream`` it is an empty body.
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
        """Wait until the client has left and return the message that says so.

        Chunks of a body that nobody has read yet are kept for its reader. With ``READ_AHEAD_SIZE`` bytes
        of them the wait pauses until the reader has caught up.
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
            # A reader of the body gets this error. A wait for a disconnect goes on.
            self.is_refused_outside = True
            return
        is_whole = bool(self._ahead) and not self._ahead[-1].get("more_body", False)
        if (self.state is UNREAD or self.state is STREAMING) and not is_whole:
            self._ahead.append(message)
            self._ahead_size += _size_of(message)
        elif not self.has_left:
            # A server waits in `receive` after the end of the body. Doubles of a server in tests may return
            # at once, which would keep the event loop busy for ever.
            await anyio.sleep(PAUSE_SECONDS)

    async def poll(self) -> bool:
        """Return whether the client has left, without waiting.

        Chunks that are there are kept for the reader of the body. The listener stays until the request is
        over: see ``spica._asgi.listener``.
        """
        if not self.has_left:
            listener = self.listen()
            await listener.give_way()
            if not self.has_left:
                listener.raise_error()
        return self.has_left

    def listen(self) -> Listener:
        """Return the one who waits for the client's leaving; begun now if there is none.

        One whose ``receive`` failed is followed by another; one that has heard of it stays.
        """
        listener = self.listener
        if listener is None or (listener.is_over and not self.has_left):
            listener = self.listener = Listener(self.wait_for_disconnect)
        return listener


def _size_of(message: Message) -> int:
    return len(message.get("body", b"")) + MESSAGE_SIZE


def channel_of(receive: Receive, scope: Scope) -> BodyChannel:
    """Return ``receive`` if it is a channel already, else a new channel before it."""
    return receive if type(receive) is BodyChannel else BodyChannel(receive, scope)


SMALL_SIZE = 512
"""Bytes of a chunk below which it is copied at once: as an object of its own, one of two bytes would take
some thirty times its size in memory."""


class ChunkBuffer:
    """Chunks that are joined in the end, and how many bytes they are."""

    __slots__ = ("_parts", "_small", "size")

    def __init__(self) -> None:
        self._parts: list[bytes | bytearray] = []
        self._small: bytearray | None = None  # the last part, where small chunks go
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Take the next chunk."""
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
        """Return them as one."""
        return b"".join(self._parts)
