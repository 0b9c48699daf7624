"""Send an event stream: events, pings, timeouts, disconnects, and the end at a shutdown."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import anyio

from spica._asgi.body import BodyChannel, ClientDisconnect
from spica._asgi.callback_task import CallbackTask
from spica._asgi.listener import Listener
from spica._asgi.scope import send_raises_on_disconnect
from spica._asgi.side_task import (
    SideTask,
    Signal,
    clock_of,
    running_asyncio_loop,
    start_listening_task,
    start_timer,
)
from spica._asgi.unread import close_unread
from spica.concurrency import close_iterator
from spica.responses.events.event import EncodedEvents, ServerSentEvent, encode_event
from spica.responses.sending import send_start, send_to_client

if TYPE_CHECKING:
    from spica.responses.sending import RawHeaders
    from spica.types import Send

PING = b": ping\n\n"
"""A comment, which browsers ignore. It has no id, because an id would replace that of the last event."""

_CHUNKS_A_TURN = 128
"""Events between two turns of the event loop: rare enough to cost almost nothing."""

CLOSE_SECONDS = 5.0
"""Seconds that a generator has to close after the last message of a shutdown."""

CLOCK_TOLERANCE = 0.002
"""Seconds that a timer may fire early: uvloop counts in milliseconds."""


class EventResponse(Protocol):
    """The part of an ``EventSourceResponse`` that its stream needs."""

    status_code: int
    raw_headers: RawHeaders
    body_iterator: Any
    ping_seconds: float | None
    send_timeout_seconds: float | None
    at_shutdown: Literal["end", "leave"]
    retry: bytes


class EventStream:
    """One event stream while it is sent. It is also a ``DrainingStream`` (see ``spica.shutdown``).

    The events are sent by the task of the request. Callbacks of the event loop do the rest, so that an idle
    stream has no task of its own: one timer for pings and the send timeout, and the wait for a disconnect.
    The timer is not set again for each event. It fires, finds the time of the last output, and is set for
    the rest.
    """

    __slots__ = (
        "_body",
        "_channel",
        "_clock",
        "_handle",
        "_idle_since",
        "_is_cut",
        "_is_ending",
        "_is_pulling",
        "_listener",
        "_loop",
        "_ping_over",
        "_ping_seconds",
        "_ping_task",
        "_response",
        "_scope",
        "_send",
        "_sending_since",
        "_shutdown",
        "_timeout",
        "_timer",
        "_watch",
        "end_after_seconds",
    )

    def __init__(self, response: EventResponse, send: Send, channel: BodyChannel) -> None:
        self._response = response
        self._send = send
        self._channel = channel
        self._body: Any = response.body_iterator
        self._ping_seconds = response.ping_seconds
        self._timeout = response.send_timeout_seconds
        self._is_ending = self._is_cut = self._is_pulling = False
        self._sending_since: float | None = None
        self._listener: Listener | None = None
        self._watch: CallbackTask | None = None
        self._ping_task: SideTask | None = None
        self._ping_over: Signal | None = None
        self._timer: SideTask | None = None
        self._handle: SideTask | None = None
        self._shutdown: Any = None
        self._scope = anyio.CancelScope()
        self.end_after_seconds = None if response.at_shutdown == "end" else math.inf
        self._loop = running_asyncio_loop()
        self._clock = anyio.current_time if self._loop is None else clock_of(self._loop)
        self._idle_since = self._clock()

    async def run(self) -> None:
        """Send the response.

        Raises:
            ClientDisconnect: ``send`` raised OSError, or the client took nothing for too long.
        """
        is_complete = False
        if self._loop is None:
            self._begin()
        else:
            # Only a stream that pauses needs a timer, the wait for a disconnect, and the shutdown.
            self._handle = self._loop.call_soon(self._begin)
        try:
            with self._scope:
                is_complete = await self._send_events()
            if not is_complete and self._is_ending and not self._channel.has_left:
                is_complete = await self._send_last()
        finally:
            await self._stop()
        if self._is_cut and not is_complete and not self._channel.has_left:
            raise ClientDisconnect("The client did not take an event in time.")

    # -- events ----------------------------------------------------------------------------------------

    async def _send_events(self) -> bool:
        """Send the response; return False if the shutdown has ended it before its last message."""
        response = self._response
        start = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": response.raw_headers[:],
        }
        await send_start(start, self._send, self._body)
        source = events = self._body
        encode: Callable[[Any], bytes] = _encode_chunk
        if type(source) is EncodedEvents:  # else a layer has wrapped the body
            events = source.events
            source, encode = source.start(), encode_event
        try:
            if response.retry:
                await self._send_chunk(response.retry)
            if not self._is_ending:
                await self._send_items(source, encode)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await close_iterator(self._body)
            raise
        if self._is_ending:
            return False
        await self._wait_for_ping()
        await self._send_chunk(b"", more_body=False)
        if type(events) is not AsyncGeneratorType:  # an exhausted generator is closed already
            await close_unread(self._body)
        return True

    async def _send_items(self, source: Any, encode: Callable[[Any], bytes]) -> None:
        send, clock = self._send, self._clock
        left = _CHUNKS_A_TURN
        self._is_pulling = True
        async for item in source:
            self._is_pulling = False
            if self._is_ending:
                return
            # The usual event without a call, because a stream may have very many.
            chunk = item._encoded if type(item) is ServerSentEvent else encode(item)
            if self._ping_over is not None:
                await self._wait_for_ping()
            self._sending_since = clock()
            try:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except OSError as exc:
                raise ClientDisconnect from exc
            self._sending_since = None
            self._idle_since = clock()
            if self._is_ending:
                return
            left -= 1
            if not left:
                left = _CHUNKS_A_TURN
                await _take_turn()
            self._is_pulling = True
        self._is_pulling = False

    async def _send_chunk(self, chunk: bytes, more_body: bool = True) -> None:
        self._sending_since = self._clock()
        message = {"type": "http.response.body", "body": chunk, "more_body": more_body}
        await send_to_client(self._send, message)
        self._sending_since = None
        self._idle_since = self._clock()

    async def _send_last(self) -> bool:
        """End the stream for a shutdown: ask the client to reconnect, at a random time."""
        retry = random.randint(1000, 5000)
        last = ServerSentEvent(comment="The server restarts.", retry_milliseconds=retry)
        is_complete = False
        if not self._is_cut:
            # A disconnect, a timeout and the end of the drain cancel this scope, too.
            self._scope = anyio.CancelScope()
            with self._scope:
                await self._wait_for_ping()
                await self._send_chunk(last.encode(), more_body=False)
                is_complete = True
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await close_iterator(self._body)
        return is_complete

    # -- the shutdown ----------------------------------------------------------------------------------

    def end(self) -> None:
        """End the stream in good order: the shutdown calls this. An event that is being sent is not cut."""
        self._is_ending = True
        if self._is_pulling:
            self._scope.cancel()

    def cancel(self) -> None:
        """End the stream, because the drain is over. An event that the client does not take is cut."""
        if not self._is_ending and self._is_pulling:
            self.end()
        else:
            self._cut()

    def _cut(self) -> None:
        self._is_cut = True
        self._scope.cancel()

    # -- pings and the send timeout --------------------------------------------------------------------

    def _begin(self) -> None:
        # Imported on use, because a test of one response needs no shutdown.
        from spica.shutdown import shutdown_of_scope

        self._shutdown = shutdown_of_scope(self._channel.scope)
        if self._shutdown is not None:
            self._shutdown.add_stream(self)
        self._set_timer()
        if self._loop is None:
            self._listener = Listener(self._wait_for_disconnect)
        else:
            wait = self._channel.wait_for_disconnect
            self._watch = CallbackTask(self._loop, wait, self._note_end_of_watch)

    def _set_timer(self) -> None:
        """Set the timer for the next moment at which a ping or the timeout may be due."""
        now = self._clock()
        ping = math.inf if self._ping_seconds is None else self._ping_seconds
        timeout = math.inf if self._timeout is None else self._timeout
        if self._sending_since is None:
            due = min(self._idle_since + ping, now + timeout)
        else:
            due = min(self._sending_since + timeout, now + ping)
        if due < math.inf:
            self._timer = start_timer(max(0.0, due - now), self._tick)

    def _tick(self) -> None:
        now = self._clock() + CLOCK_TOLERANCE
        since = self._sending_since
        if since is not None:
            if self._timeout is not None and now >= since + self._timeout:
                self._cut()
                return
        elif self._ping_seconds is not None and now >= self._idle_since + self._ping_seconds:
            self._sending_since = self._idle_since = self._clock()
            self._ping_over = Signal()
            self._ping_task = start_listening_task(self._ping)
        self._set_timer()

    async def _ping(self) -> None:
        try:
            await self._send({"type": "http.response.body", "body": PING, "more_body": True})
        except Exception:  # an OSError, nearly always: the client has left
            self._cut()
        else:
            self._sending_since = None
            self._idle_since = self._clock()
        finally:
            if self._ping_over is not None:
                self._ping_over.set()

    async def _wait_for_ping(self) -> None:
        if self._ping_over is not None:
            await self._ping_over.wait()
            self._ping_over = self._ping_task = None

    # -- disconnects -----------------------------------------------------------------------------------

    def _note_end_of_watch(self, error: BaseException | None) -> None:
        if error is None:
            self._scope.cancel()
        else:  # a `receive` that needs a task, or that fails: a task finds out
            self._listener = Listener(self._wait_for_disconnect)

    async def _wait_for_disconnect(self) -> None:
        try:
            await self._channel.wait_for_disconnect()
        except Exception:
            if send_raises_on_disconnect(self._channel.scope):
                return
            self._scope.cancel()
            raise
        self._scope.cancel()

    async def _stop(self) -> None:
        """Stop all that runs next to the request. Raise an error of ``receive``."""
        for each in (self._handle, self._timer, self._watch, self._ping_task):
            if each is not None:
                each.cancel()
        if self._shutdown is not None:
            self._shutdown.remove_stream(self)
        if self._listener is not None:
            await self._listener.finish()
            self._listener.raise_error()


def _encode_chunk(chunk: Any) -> bytes:
    encoded: bytes = chunk.encode() if isinstance(chunk, str) else chunk
    return encoded


async def _take_turn() -> None:
    import anyio.lowlevel  # imported late: only long streams need it

    await anyio.lowlevel.checkpoint()
