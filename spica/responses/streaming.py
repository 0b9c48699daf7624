"""Responses whose body is made while it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spica._asgi.body import channel_of
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
"""What a streamed body may be given as. A plain iterable is advanced in a worker thread."""


class StreamingResponse(Response):
    """Send the chunks of ``content`` as they are made.

    Chunks are text, bytes or memoryviews; each is one body message, and so is a ``content`` that is one of
    these itself. There is no Content-Length unless ``headers`` give one. When the client leaves, the
    iteration is cancelled, also while it waits for the next chunk, and its iterator is closed; then the
    background task runs.

    Raises:
        TypeError: ``content`` can't be iterated over.
    """

    _is_value, _receives = False, True
    body_iterator: AsyncContentStream = None  # type: ignore[assignment]  # a plain attribute, always set
    _handed_over: AsyncContentStream | None = None
    """The iterator that the constructor was given: the body may be replaced before it has begun."""

    def __init__(
        self,
        content: ContentStream | Content,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        if isinstance(content, AsyncIterable):
            self.body_iterator = self._handed_over = content
        elif isinstance(content, (str, bytes, memoryview)):
            self.body_iterator = one_chunk(content)  # not letter by letter
        elif isinstance(content, Iterable):
            self.body_iterator = self._handed_over = iterate_in_threadpool(content)
        else:
            raise TypeError(
                f"StreamingResponse needs an iterable or async iterable of chunks, not "
                f"{type(content).__name__}. Use Response for a body that is already there."
            )
        self.status_code = status_code
        if media_type is not None:
            self.media_type = media_type
        if background is not None:
            self.background = background
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response until its end or until the client leaves, then run its background task.

        The task also runs when the iteration or the sending fails.

        Raises:
            ClientDisconnect: ``send`` told that the client has left (ASGI spec version 2.4).
        """
        try:
            try:
                if self.status_code not in WITHOUT_BODY:
                    send = keep_length(send, self.raw_headers, scope)
                scope[RESPONSE_STARTED] = True
                if scope["type"] == "websocket":
                    await self._deny(DenialSend(send, scope))
                else:
                    await run_until_disconnect(
                        self.stream_response, send, channel_of(receive, scope)
                    )
            finally:
                if self._unread:
                    self._note_sent(self.body_iterator)  # the end of the request closes any other
                elif self._handed_over is not self.body_iterator:
                    await close_unread(self._handed_over)
        except Exception:
            if self.background is not None:
                await self.background()
            raise
        if self.background is not None:
            await self.background()

    async def _deny(self, send: DenialSend) -> None:
        """Refuse a WebSocket handshake; without the body where the server has no denial responses."""
        if send.is_offered:
            await self.stream_response(send)
            return
        try:
            await send({"type": "http.response.start", "status": 403, "headers": []})
        finally:
            await close_unread(self.body_iterator)

    async def _resolve(self, request: Any) -> Response:
        """Return the response itself, whose iterators are closed whatever becomes of it."""
        self._note_iterators(request)
        return self

    def _iterators(self) -> Sequence[Any]:
        return (self.body_iterator, self._handed_over)

    def _note_iterators(self, request: Any) -> None:
        iterator = self.body_iterator
        if iterator is not self._handed_over or self._unread:
            super()._note_iterators(request)  # a layer has replaced it
            return
        close = CloseOnce(iterator)
        self._unread = (close,)
        nearest_cleanup(request).add_unread(close)

    async def listen_for_disconnect(self, receive: Receive) -> None:
        """Wait until the client has left."""
        while (await receive())["type"] != "http.disconnect":
            pass

    async def stream_response(self, send: Send) -> None:
        """Send the start, the chunks and the end."""
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
    """Tell whether status, headers and ``body`` or ``body_iterator`` are all there is to a response.

    Sending it then runs nothing of the user's but its iterator and its background task.
    """
    call = type(response).__call__
    is_value = type(response)._is_value or response._resolve is not None
    return is_value and call in (Response.__call__, StreamingResponse.__call__)
