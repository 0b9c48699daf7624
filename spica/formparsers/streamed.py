"""The parts of a form one after another (RFC 7578). Each body streams, and nothing is stored."""

from collections import deque
from collections.abc import AsyncIterator

from spica._http.filenames import make_safe_name
from spica.concurrency import close_iterator
from spica.datastructures import Headers
from spica.formparsers.charsets import decode_text
from spica.formparsers.decoder import MultipartDecoder, PartEvent, PartHead
from spica.formparsers.errors import too_large
from spica.formparsers.limits import SLICE_SIZE, Pacer

DEFAULT_READ_LIMIT = 1024 * 1024
"""Default limit for `Part.read` in bytes."""


class PartStream:
    """Iterate over the parts of a form: ``async for part in request.parts()``.

    You can read a part until you request the next one. The unread rest of it is then discarded.
    """

    def __init__(self, stream: AsyncIterator[bytes], decoder: MultipartDecoder) -> None:
        self._stream = aiter(stream)
        self._decoder = decoder
        self._events: deque[PartEvent] = deque()
        self._pacer = Pacer()
        self._chunk = b""
        self._offset = 0
        self._is_exhausted = False
        self._part: Part | None = None

    def __aiter__(self) -> "PartStream":
        return self

    async def __anext__(self) -> "Part":
        if self._part is not None:
            await self._part._leave()
            self._part = None
        if not self._events and not await self._receive():
            raise StopAsyncIteration
        head = self._events.popleft()
        if not isinstance(head, PartHead):
            raise RuntimeError("A part of the form is being read by another task at the same time.")
        self._part = Part(head, self)
        return self._part

    async def aclose(self) -> None:
        """Stop reading, and close the stream of the body."""
        self._is_exhausted = True
        self._part = None
        self._chunk = b""
        self._events.clear()
        await close_iterator(self._stream)

    async def _next_piece(self) -> bytes | None:
        """Return the next bytes of the current part, or None at its end."""
        if not self._events and not await self._receive():
            # If the body had ended too early, `finish` would have raised already.
            raise RuntimeError("A part of the form cannot be read: its stream was closed.")
        event = self._events.popleft()
        if isinstance(event, PartHead):
            raise RuntimeError("A part of the form is being read by another task at the same time.")
        return event

    async def _receive(self) -> bool:
        """Wait for the next events. Return False at the end of the body."""
        while not self._events:
            if self._offset >= len(self._chunk):
                if self._is_exhausted or not await self._receive_chunk():
                    return False
                continue
            piece = self._chunk[self._offset : self._offset + SLICE_SIZE]
            self._offset += SLICE_SIZE
            if self._pacer.is_due(len(piece)):
                await self._pacer.rest()
            try:
                self._events.extend(self._decoder.feed(piece))
            except Exception:
                await self.aclose()  # the rest will not be read
                raise
        return True

    async def _receive_chunk(self) -> bool:
        try:
            self._chunk = await anext(self._stream)
        except StopAsyncIteration:
            self._is_exhausted = True
            self._chunk = b""
            self._decoder.finish()
            return False
        self._offset = 0
        return True


class Part:
    """One part of a form, whose body is still arriving.

    Iterate over it to get the chunks of its body, or call `read` or `text`. ``name`` is the name of the
    field, ``filename`` the name that the client sent for a file, or None, and ``headers`` are those of the
    part.
    """

    def __init__(self, head: PartHead, source: PartStream) -> None:
        self.name = head.name
        self.filename = head.filename
        self.headers = Headers(raw=head.raw_headers())
        self._charset = head.charset
        self._source = source
        self._is_read = False
        self._is_left = False

    @property
    def content_type(self) -> str | None:
        """The media type that the client claims, with its parameters, or None."""
        value: str | None = self.headers.get("content-type")
        return value

    @property
    def safe_filename(self) -> str:
        """A valid file name on every system: see `UploadFile.safe_filename`."""
        return make_safe_name(self.filename or "")

    def __aiter__(self) -> "Part":
        if self._is_read:
            raise RuntimeError(f"The body of the part {self.name!r:.80} was read already.")
        return self

    async def __anext__(self) -> bytes:
        if self._is_left:
            raise RuntimeError(
                f"The part {self.name!r:.80} is gone: read it before you request the next part."
            )
        piece = None if self._is_read else await self._source._next_piece()
        if piece is None:
            self._is_read = True
            raise StopAsyncIteration
        return piece

    async def read(self, limit: int | None = DEFAULT_READ_LIMIT) -> bytes:
        """Return the rest of the body.

        Args:
            limit: Maximum number of bytes to read. Default 1 MiB. None means no limit.

        Raises:
            MultiPartException: The body is larger than `limit`, or malformed.
            RuntimeError: The body was read already, or the next part was requested.
        """
        pieces = []
        size = 0
        async for piece in self:
            size += len(piece)
            if limit is not None and size > limit:
                raise too_large("Part", limit)
            pieces.append(piece)
        return b"".join(pieces)

    async def text(self, limit: int | None = DEFAULT_READ_LIMIT) -> str:
        """Return the rest of the body, decoded with the charset of the part or of the form.

        Bytes that are invalid in it are decoded as latin-1, and so is an unknown charset.
        """
        return decode_text(await self.read(limit), self._charset)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, filename={self.filename!r})"

    async def _leave(self) -> None:
        """Discard the unread rest."""
        while not self._is_read and await self._source._next_piece() is not None:
            pass
        self._is_left = True
