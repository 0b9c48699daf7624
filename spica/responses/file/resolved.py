"""The response to one request for a file, with its final status and headers.

``FileResponse`` makes it for each request. Outer layers see an ordinary response. Its body is read while it
is sent, or while ``body_iterator`` is iterated over.

Standards: ASGI extension "Path Send".
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from spica._asgi.body import BodyChannel, ClientDisconnect, channel_of
from spica._asgi.disconnect import run_until_disconnect
from spica._asgi.sending import DenialSend
from spica.concurrency import file_threads
from spica.responses.base import Response
from spica.responses.sending import (
    WITHOUT_BODY,
    keep_length,
    send_chunks,
    send_to_client,
    send_without_body,
)

if TYPE_CHECKING:
    from spica.background import BackgroundTask
    from spica.responses.file.reader import FileReader
    from spica.types import Receive, Scope, Send

PATHSEND = "http.response.pathsend"

# Maximum number of bytes between two turns of the event loop, even for a fast client.
_BYTES_A_TURN = 1024 * 1024


class ResolvedFile(Response):
    """Send the pieces that were already read, then read and send the rest of the file.

    With ``sends_path``, the server gets the path instead. The reader is then only used if a layer reads the
    body.
    """

    _is_value, _receives = True, True
    _is_by_path = False
    _iterator: AsyncIterator[bytes] | None = None
    _sent_in_turn = 0

    def __init__(
        self,
        status_code: int,
        raw_headers: list[tuple[bytes, bytes]],
        reader: FileReader,
        pieces: list[bytes],
        *,
        sends_path: bool,
        background: BackgroundTask | None,
    ) -> None:
        self.status_code = status_code
        self.raw_headers = raw_headers
        self.background = background
        self._reader = reader
        self._pieces = pieces
        self._sends_path = sends_path

    @property
    def is_by_path(self) -> bool:
        """Whether the server opens the file itself, or would do so for a GET of the whole file."""
        return self._is_by_path and self._replaced_body is None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response until its end or until the client disconnects, then run the background task.

        The task also runs if sending fails.

        Raises:
            RuntimeError: The file became shorter, or can no longer be read.
            ClientDisconnect: ``send`` raised OSError because the client disconnected (ASGI spec version
                2.4).
        """
        try:
            try:
                if scope["type"] == "websocket":
                    await self._send(scope, DenialSend(send, scope), None)
                else:
                    await self._send(scope, send, channel_of(receive, scope))
            finally:
                self._reader.close()
        except Exception:
            if self.background is not None:
                await self.background()
            raise
        if self.background is not None:
            await self.background()

    def _body_chunks(self) -> AsyncIterator[Any]:
        """Return the body as chunks that are read on demand. They can be iterated over once."""
        if self._iterator is None:
            self._iterator = self._iterate()
        return self._iterator

    async def _iterate(self) -> AsyncIterator[bytes]:
        reader = self._reader
        try:
            for piece in self._pieces:
                yield piece
            while reader.left:
                for piece in await self._read_on():
                    yield piece
        finally:
            reader.close()

    async def _send(self, scope: Scope, send: Send, channel: BodyChannel | None) -> None:
        if self.status_code in WITHOUT_BODY:  # an outer layer may have set the status
            unused = self._replaced_body or self._iterator
            await send_without_body(send, self.status_code, self.raw_headers, unused)
            return
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            # A copy: foreign layers may edit the message.
            "headers": self.raw_headers[:],
        }
        await send_to_client(send, start)
        chunks = self._replaced_body or self._iterator
        if chunks is not None:
            await send_chunks(chunks, keep_length(send, self.raw_headers, scope), self.charset)
        elif self._sends_path:
            await send_to_client(send, {"type": PATHSEND, "path": await self._absolute_path()})
        else:
            await self._send_body(send, channel)

    async def _send_body(self, send: Send, channel: BodyChannel | None) -> None:
        if channel is None or not (self._pieces or self._reader.left):
            await self._send_all(send)
        else:
            # Listen from the first piece on, because `send` may wait for a slow client.
            await run_until_disconnect(self._send_all, send, channel)

    async def _send_pieces(self, pieces: list[bytes], send: Send, *, is_end: bool) -> None:
        last = len(pieces) - 1 if is_end else -1
        try:
            for index, piece in enumerate(pieces):
                more = index != last
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        except OSError as exc:
            raise ClientDisconnect from exc

    async def _send_all(self, send: Send) -> None:
        reader = self._reader
        await self._send_pieces(self._pieces or [b""], send, is_end=not reader.left)
        self._pieces = []  # free the memory
        while reader.left:
            pieces = await self._read_on()
            await self._send_pieces(pieces, send, is_end=not reader.left)

    async def _read_on(self) -> list[bytes]:
        """Read the next pieces: one from the page cache, or otherwise a block in a thread."""
        if self._sent_in_turn > _BYTES_A_TURN:
            self._sent_in_turn = 0
            import anyio.lowlevel  # imported late: only large files need it

            await anyio.lowlevel.checkpoint()
        piece = self._reader.read_at_hand()
        if piece is None:
            pieces: list[bytes] = []
            await file_threads.run_unbounded(self._reader.read_next, pieces)
            return pieces
        self._sent_in_turn += len(piece)
        return [piece]

    async def _absolute_path(self) -> str:
        path = os.fsdecode(self._reader.path)
        if os.path.isabs(path):
            return path
        absolute: list[str] = []
        await file_threads.run(_make_absolute, path, absolute)
        return absolute[0]


def _make_absolute(path: str, result: list[str]) -> None:
    result.append(os.path.abspath(path))
