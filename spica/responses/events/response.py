"""The response that sends server-sent events, and the position of a client that comes back."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from spica._asgi.body import BodyChannel
from spica._asgi.unread import close_unread
from spica.responses.base import Response
from spica.responses.events.event import EncodedEvents, format_retry
from spica.responses.events.stream import EventStream
from spica.responses.sending import WITHOUT_BODY, send_to_client
from spica.responses.streaming import StreamingResponse

if TYPE_CHECKING:
    from spica.background import BackgroundTask
    from spica.requests import HTTPConnection
    from spica.types import Scope, Send

MEDIA_TYPE = "text/event-stream"

_DEFAULT_HEADERS = (
    (b"content-type", MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect events in its buffer
)


def last_event_id(
    connection: HTTPConnection[Any], *, query: str | None = None, max_length: int = 256
) -> str | None:
    """Return the ID of the last event that the client has got, or None (HTML s.9.2.4).

    An invalid or too long ID counts as none, because it is input of the client.

    Args:
        connection: The request or WebSocket.
        query: The name of a query parameter to read if the header is missing, for clients that can't set it.
        max_length: The limit of its length in characters. 256 is enough for several positions in one ID.

    Raises:
        ValueError: ``max_length`` is less than 1.
    """
    if max_length < 1:
        raise ValueError(f"last_event_id: max_length must be at least 1, not {max_length!r}.")
    value = connection.headers.get("last-event-id")
    if value is not None:
        try:
            value = value.encode("latin-1").decode()  # HTML s.9.2.4: the header is UTF-8
        except UnicodeDecodeError:
            return None
    elif query is not None:
        value = connection.query_params.get(query)
    if not value or len(value) > max_length:
        return None
    if "\0" in value or "\r" in value or "\n" in value:
        return None
    return value


class EventSourceResponse(StreamingResponse):
    """A response that sends server-sent events as they are produced.

    ```python
    async def clock(request):
        async def ticks():
            while True:
                yield ServerSentEvent(time.time(), event="tick")
                await anyio.sleep(1)

        return EventSourceResponse(ticks())
    ```

    Each event is one message to the server. When the client disconnects, the iteration is cancelled, its
    iterator is closed, and the background task runs, as for ``StreamingResponse``. A HEAD request gets the
    headers only.

    Args:
        events: An async iterable of events: ``ServerSentEvent``, a string, or a mapping of arguments.
        status_code, headers, background: As for ``Response``. Clients reconnect only after a 200.
        ping_seconds: Seconds without any output until a comment is sent (15, because proxies cut idle
            connections after 30 to 60). None sends none.
        retry_milliseconds: The time that the client waits before it reconnects. By default, it decides.
        send_timeout_seconds: Seconds that one event may take to be sent (30). A client that takes nothing for
            so long counts as disconnected. None waits forever.
        at_shutdown: "end" ends the stream in the first half of ``drain_seconds`` of the application, and asks
            the client to reconnect after a random time. "leave" is for generators that watch
            ``app.shutdown`` themselves.

    Raises:
        TypeError: ``events`` is not an async iterable, or an argument has the wrong type.
        ValueError: A time is out of range, or ``at_shutdown`` has another value.
    """

    media_type = MEDIA_TYPE
    _is_value, _receives = False, True

    def __init__(
        self,
        events: AsyncIterable[Any],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
        *,
        ping_seconds: float | None = 15.0,
        retry_milliseconds: int | None = None,
        send_timeout_seconds: float | None = 30.0,
        at_shutdown: Literal["end", "leave"] = "end",
    ) -> None:
        if not isinstance(events, AsyncIterable):
            raise TypeError(_explain_events(events))
        if at_shutdown not in ("end", "leave"):
            raise ValueError(
                f"EventSourceResponse: at_shutdown must be 'end' or 'leave', not {at_shutdown!r:.80}."
            )
        self.ping_seconds = _check_period(ping_seconds, "ping_seconds")
        self.send_timeout_seconds = _check_period(send_timeout_seconds, "send_timeout_seconds")
        self.at_shutdown: Literal["end", "leave"] = at_shutdown
        self.retry = b""
        if retry_milliseconds is not None:
            field = format_retry(retry_milliseconds, "EventSourceResponse")
            self.retry = f"{field}\n".encode()
        self.body_iterator = self._handed_over = EncodedEvents(events)
        self.status_code = status_code
        self.background = background
        self.init_headers(headers)

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set ``raw_headers`` from ``headers`` and those of an event stream, without a charset."""
        if not headers:
            self.raw_headers = [*_DEFAULT_HEADERS]
            return
        super().init_headers(headers)
        names = {name.lower().encode("latin-1", "replace") for name in headers}
        # The type of the base class would have a charset. HTML s.9.2.5: the stream is always UTF-8.
        own = [field for field in self.raw_headers if field[0] in names]
        self.raw_headers = own + [field for field in _DEFAULT_HEADERS if field[0] not in names]

    @staticmethod
    def stop() -> Response:
        """Return a 204 response, after which a browser does not reconnect any more (HTML s.9.2.3)."""
        return Response(status_code=204, headers={"cache-control": "no-store"})

    async def _stream(self, send: Send, channel: BodyChannel, scope: Scope) -> None:
        """Send the events until their end, a disconnect, or the shutdown."""
        if scope.get("method") == "HEAD" or self.status_code in WITHOUT_BODY:
            await self._send_headers_only(send)
            return
        await EventStream(self, send, channel).run()

    async def _send_headers_only(self, send: Send) -> None:
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers[:],
        }
        try:
            await send_to_client(send, start)
            await send_to_client(send, {"type": "http.response.body", "body": b""})
        finally:
            await close_unread(self.body_iterator)


_FUNCTION_FIX = " Call the function: EventSourceResponse({name}())."


def _explain_events(events: Any) -> str:
    message = (
        "EventSourceResponse: events must be an async iterable, for example an async generator, "
        f"not {type(events).__name__}."
    )
    if callable(events):
        return message + _FUNCTION_FIX.format(name=getattr(events, "__name__", "events"))
    if hasattr(events, "__await__"):
        if hasattr(events, "close"):
            events.close()  # a coroutine that is never awaited
        return f"{message} A coroutine has no items: use `yield` in the function."
    if hasattr(events, "__aenter__"):
        return f"{message} For a channel, write channels.events(name)."
    if hasattr(events, "__iter__"):
        return f"{message} For a plain iterable: spica.concurrency.iterate_in_threadpool(events)."
    return message


def _check_period(seconds: Any, name: str) -> float | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(
            f"EventSourceResponse: {name} must be a number of seconds or None, not {seconds!r:.80}."
        )
    if not 0 < seconds < math.inf:
        raise ValueError(
            f"EventSourceResponse: {name} must be a number of seconds above 0, or None, not {seconds!r}."
        )
    return seconds
