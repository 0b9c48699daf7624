"""Responses that send their body while it is produced (ASGI HTTP specification, "Response Body")."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable, Mapping, Sequence
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any

from spica._asgi.body import BodyChannel, channel_of
from spica._asgi.cleanup import nearest_cleanup
from spica._asgi.disconnect import run_until_disconnect
from spica._asgi.scope import RESPONSE_STARTED
from spica._asgi.sending import DenialSend
from spica._asgi.unread import CloseOnce, close_unread
from spica.concurrency import iterate_in_threadpool
from spica.responses.base import Response, one_chunk
from spica.responses.sending import (
    WITHOUT_BODY,
    Content,
    keep_length,
    send_chunks,
    send_start,
    send_without_body,
)

if TYPE_CHECKING:
    from spica.background import BackgroundTask
    from spica.types import Receive, Scope, Send

SyncContentStream = Iterable[Content]
AsyncContentStream = AsyncIterable[Content]
ContentStream = AsyncContentStream | SyncContentStream
"""The type of a streamed body. A worker thread advances a plain iterable."""


class StreamingResponse(Response):
    """A response that sends the chunks of ``content`` as they are produced.

    Each chunk is a string, bytes or a memoryview, and becomes one body message. There is no Content-Length
    unless ``headers`` contain one. When the client disconnects, the iteration is cancelled, even while it
    waits for the next chunk. Then its iterator is closed and the background task runs.

    Args:
        content: An iterable or async iterable of chunks, or a single chunk.
        status_code, headers, media_type, background: As for ``Response``.

    Raises:
        TypeError: ``content`` is not iterable.

    >>> async def count():
    ...     for number in range(3):
    ...         yield f"{number} "
    >>> response = StreamingResponse(count(), media_type="text/plain")
    """

    _is_value, _receives = False, True
    body_iterator: AsyncContentStream = None  # type: ignore[assignment]  # a plain attribute, always set
    _handed_over: AsyncContentStream | None = None
    """The iterator from the constructor. The body may be replaced before this iterator starts."""

    def __init__(
        self,
        content: ContentStream | Content,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        # The usual type first: an abstract base class takes several times as long.
        if type(content) is AsyncGeneratorType or isinstance(content, AsyncIterable):
            self.body_iterator = self._handed_over = content
        elif isinstance(content, (str, bytes, memoryview)):
            self.body_iterator = one_chunk(content)  # not one chunk per character  # pyright: ignore[reportArgumentType]
        elif isinstance(content, Iterable) or hasattr(content, "__getitem__"):
            self.body_iterator = self._handed_over = iterate_in_threadpool(content)  # pyright: ignore[reportIncompatibleMethodOverride]
        else:
            raise TypeError(
                f"StreamingResponse needs an iterable or async iterable of chunks, not "
                f"{type(content).__name__}. Use Response for a complete body."
            )
        self.status_code = status_code
        if media_type is not None:
            self.media_type = media_type
        self.background = background
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response until its end or until the client disconnects, then run its background task.

        The task also runs if the iteration or the sending fails.

        Raises:
            ClientDisconnect: ``send`` raised OSError because the client disconnected (ASGI spec version
                2.4).
        """
        try:
            try:
                if self.status_code not in WITHOUT_BODY:
                    send = keep_length(send, self.raw_headers, scope)
                scope[RESPONSE_STARTED] = True
                if scope["type"] == "websocket":
                    await self._deny(DenialSend(send, scope))
                else:
                    await self._stream(send, channel_of(receive, scope), scope)
            finally:
                if self._unread:
                    self._note_sent(self.body_iterator)  # the end of the request closes the others
                elif self._handed_over is not self.body_iterator:
                    await close_unread(self._handed_over)
        except Exception:
            if self.background is not None:
                await self.background()
            raise
        if self.background is not None:
            await self.background()

    def _stream(self, send: Send, channel: BodyChannel, scope: Scope) -> Awaitable[object]:
        """Send the response until its end or until the client disconnects, once awaited."""
        return run_until_disconnect(self.stream_response, send, channel)

    async def _deny(self, send: DenialSend) -> None:
        """Reject a WebSocket handshake, with the body if the server supports denial responses."""
        if send.is_offered:
            await self.stream_response(send)
            return
        try:
            await send({"type": "http.response.start", "status": 403, "headers": []})
        finally:
            await close_unread(self.body_iterator)

    async def _resolve(self, request: Any) -> Response:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the response itself, after registering its iterators to be closed in any case."""
        self._register_iterators(request)
        return self

    def _iterators(self) -> Sequence[Any]:
        return (self.body_iterator, self._handed_over)

    def _register_iterators(self, request: Any) -> None:
        iterator = self.body_iterator
        if self._unread and self._unread[-1].iterator is iterator is self._handed_over:
            return  # an inner layer has registered it
        if iterator is not self._handed_over or self._unread:
            super()._register_iterators(request)  # a layer has replaced the body
            return
        close = CloseOnce(iterator)
        self._unread = (close,)
        nearest_cleanup(request).add_unread(close)

    async def listen_for_disconnect(self, receive: Receive) -> None:
        """Wait until the client disconnects."""
        while (await receive())["type"] != "http.disconnect":
            pass

    async def stream_response(self, send: Send) -> None:
        """Send the start, the chunks and the end of the response."""
        status_code = self.status_code
        if status_code in WITHOUT_BODY:
            await send_without_body(send, status_code, self.raw_headers, self.body_iterator)
            return
        start = {
            "type": "http.response.start",
            "status": status_code,
            "headers": self.raw_headers[:],
        }
        await send_start(start, send, self.body_iterator)
        await send_chunks(self.body_iterator, send, self.charset)


def is_simple_value(response: Response) -> bool:
    """Return whether status, headers and ``body`` or ``body_iterator`` describe a response completely.

    Sending such a response runs no user code except the iterator and the background task.
    """
    call = type(response).__call__
    is_value = type(response)._is_value or response._resolve is not None
    return is_value and call in (Response.__call__, StreamingResponse.__call__)
