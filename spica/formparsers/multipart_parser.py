"""Read a complete ``multipart/form-data`` body into a `FormData` (RFC 7578)."""

import math
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import BinaryIO, ParamSpec, TypeVar

from spica.concurrency import close_iterator, file_threads
from spica.datastructures import FormData, Headers, UploadFile
from spica.exceptions import SpicaDeprecationWarning
from spica.formparsers.charsets import decode_text
from spica.formparsers.decoder import MultipartDecoder, PartEvent, PartHead
from spica.formparsers.errors import MAX_MEMORY_SIZE, cannot_store, too_big, too_much
from spica.formparsers.limits import SLICE_SIZE, Pacer
from spica.formparsers.streamed import PartStream
from spica.formparsers.upload_storage import DiskWriter, UploadStorage

if sys.version_info >= (3, 13):
    from warnings import deprecated
else:
    from typing_extensions import deprecated

P = ParamSpec("P")
T = TypeVar("T")

# A list of tiny pieces needs 50 times the memory of their bytes.
_MAX_PIECES = 64


class MultiPartParser:
    """Parse a ``multipart/form-data`` body, as a whole (`parse`) or part by part (`parts`).

    ``math.inf`` removes a limit.

    Args:
        headers: The headers of the request, with a Content-Type.
        stream: The chunks of the body.
        max_files: Number of files. Default 1000.
        max_fields: Number of fields. Default 1000.
        max_part_size: Bytes of one field. Default 1 MiB. The limit for the body applies to files.
        max_headers: Number of headers of one part. Default 8, since RFC 7578 defines three.
        max_header_size: Bytes of one header line. Default 8 KiB.
        max_memory_size: Bytes in memory. Default 16 MiB. More fields are an error, and more files move to
            disk.
        max_total_size: Bytes of the body in `parse`. Unlimited here, and 2 GiB in ``request.form()``.
    """

    spool_max_size = 1024 * 1024
    """Maximum size in bytes of a file in memory. A larger file moves to disk."""
    max_part_size: int | float = 1024 * 1024
    """Default limit for the bytes of a field."""
    _has_files = True

    def __init__(
        self,
        headers: Headers,
        stream: AsyncIterator[bytes],
        *,
        max_files: int | float = 1000,
        max_fields: int | float = 1000,
        max_part_size: int | float = 1024 * 1024,
        max_headers: int | float = 8,
        max_header_size: int | float = 8 * 1024,
        max_memory_size: int | float = MAX_MEMORY_SIZE,
        max_total_size: int | float = math.inf,
    ) -> None:
        self.headers = headers
        self.stream = stream
        self.max_files = max_files
        self.max_fields = max_fields
        self.max_part_size = max_part_size
        self.max_headers = max_headers
        self.max_header_size = max_header_size
        self.max_memory_size = max_memory_size
        self.max_total_size = max_total_size

    async def parse(self) -> FormData:
        """Read the whole body, and return its fields and files. The caller closes the form.

        An error or a cancellation leaves no temporary file.

        Raises:
            MultiPartException: The body is malformed, incomplete or over a limit. 415: it has another media
                type.
            HTTPException: 503, the system can't store the files.
        """
        collector = _Collector(self.spool_max_size, self.max_memory_size)
        try:
            await self._collect(collector)
        except BaseException:
            collector.close_files()
            await close_iterator(self.stream)
            raise
        self._has_files = collector.has_files
        return FormData._of_pairs(collector.items, has_files=collector.has_files)

    def parts(self) -> PartStream:
        """Iterate over the parts. Each body streams as it arrives, and nothing is stored.

        Raises:
            MultiPartException: There is no usable boundary. During the iteration, the body is malformed,
                incomplete or over a limit.
        """
        return PartStream(self.stream, self._make_decoder())

    def _make_decoder(self) -> MultipartDecoder:
        return MultipartDecoder(
            self.headers.get("content-type", ""),
            max_files=self.max_files,
            max_fields=self.max_fields,
            max_part_size=self.max_part_size,
            max_headers=self.max_headers,
            max_header_size=self.max_header_size,
        )

    async def _collect(self, collector: "_Collector") -> None:
        decoder = self._make_decoder()
        pacer = Pacer()
        left = self.max_total_size
        async for chunk in self.stream:
            left -= len(chunk)
            if left < 0:
                raise too_big(self.max_total_size)
            for start in range(0, len(chunk), SLICE_SIZE):
                piece = chunk[start : start + SLICE_SIZE]
                if pacer.is_due(len(piece)):
                    await pacer.rest()
                await collector.add(decoder.feed(piece))
        decoder.finish()


class _Collector:
    """Collect the events of a body: fields as strings, files as uploads.

    Small pieces of a part wait in a chunk buffer. A file that grows too large moves to disk.
    """

    __slots__ = (
        "_buffer",
        "_file",
        "_file_memory",
        "_head",
        "_in_memory",
        "_left",
        "_max_memory_size",
        "_pieces",
        "_size",
        "_spool_max_size",
        "_storage",
        "_writer",
        "has_files",
        "items",
    )

    def __init__(self, spool_max_size: int, max_memory_size: int | float) -> None:
        self.items: list[tuple[str, str | UploadFile]] = []
        self.has_files = False
        self._spool_max_size = spool_max_size
        self._max_memory_size = self._left = max_memory_size
        self._storage = UploadStorage()
        self._in_memory: list[UploadFile] = []  # complete files
        # Of the current part:
        self._head: PartHead | None = None
        # Maximum size of a file in memory, or None for a field:
        self._file_memory: int | None = None
        self._file: BinaryIO | None = None
        self._size = 0
        self._pieces: list[bytes] = []
        self._buffer = bytearray()  # the pieces before `_pieces`, joined
        self._writer: DiskWriter | None = None

    async def add(self, events: list[PartEvent]) -> None:
        """Process the next events of the body."""
        for event in events:
            if event is None:
                if self._writer is None:
                    self._end_in_memory()
                else:
                    await self._end_on_disk(self._writer)
            elif isinstance(event, bytes):
                self._size += len(event)
                if self._writer is not None:
                    if self._writer.write(event):
                        await _use_disk(self._writer.flush)
                elif self._keep_piece(event) and self._file is not None:
                    self._writer = DiskWriter(self._storage, self._file)
                    self._writer.write(self._take_data())
            else:
                self._begin_part(event)
            if self._left < 0:
                await self._make_room()

    def _begin_part(self, head: PartHead) -> None:
        self._head = head
        self._size = 0
        self._left -= head.kept_size
        if head.filename is None:
            self._file_memory = self._file = None
        else:
            # A SpooledTemporaryFile with max_size=0 would never move to disk.
            left = self._left
            size = self._spool_max_size
            self._file_memory = size if 1 <= size <= left else max(1, int(min(size, left)))
            self._file = self._storage.open(self._file_memory)

    def _keep_piece(self, piece: bytes) -> bool:
        """Keep a piece of the current part in memory. Return whether the part must move to disk."""
        self._pieces.append(piece)
        if len(self._pieces) == _MAX_PIECES:
            self._buffer += b"".join(self._pieces)
            self._pieces.clear()
        if self._file_memory is None:
            self._left -= len(piece)
            return False
        return self._size > self._file_memory

    def _take_data(self) -> bytes:
        """Return the bytes of the current part in memory, and empty the buffer."""
        pieces = self._pieces
        if self._buffer:
            data = bytes(self._buffer) + b"".join(pieces)
            self._buffer = bytearray()
        else:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data

    def _write_data(self, file: BinaryIO) -> None:
        """Write the bytes of the current part to a file in memory, without joining them first."""
        if self._buffer:
            file.write(self._buffer)
            self._buffer = bytearray()
        for piece in self._pieces:
            file.write(piece)
        self._pieces.clear()

    async def _make_room(self) -> None:
        """Move files from memory to disk. Fields can't move.

        Raises:
            MultiPartException: The fields alone need too much memory.
        """
        files, self._in_memory = self._in_memory, []
        self._left += sum(upload.size or 0 for upload in files)
        if self._left < 0:
            raise too_much(self._max_memory_size)
        await _use_disk(self._storage.make_room, files)

    def _end_in_memory(self) -> None:
        head = self._head
        if head is None:
            raise RuntimeError("A part ended before it started.")
        file = self._file
        if file is None:
            self.items.append((head.name, decode_text(self._take_data(), head.charset)))
            return
        upload = self._add_upload(head, file)
        if self._size:
            self._write_data(file)
            file.seek(0)
            self._left -= self._size
            self._in_memory.append(upload)

    async def _end_on_disk(self, writer: DiskWriter) -> None:
        self._writer = None
        file = await _use_disk(writer.finish)
        if self._head is not None:
            self._add_upload(self._head, file)

    def _add_upload(self, head: PartHead, file: BinaryIO) -> UploadFile:
        headers = Headers(raw=head.raw_headers())
        upload = UploadFile(file, size=self._size, filename=head.filename, headers=headers)
        self.items.append((head.name, upload))
        self.has_files = True
        return upload

    def close_files(self) -> None:
        """Close every open file, which removes it from disk."""
        self._storage.close()


async def _use_disk(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread.

    Raises:
        HTTPException: 503, the system can't open another file, or the disk is full.
    """
    try:
        return await file_threads.run(work, *args, **kwargs)
    except OSError as error:
        raise cannot_store(error) from error


# spica does not use the two classes below. Other packages import them for parsers of their own.


@dataclass
class MultipartPart:
    """Hold one part of a form while a parser of another package reads it."""

    content_disposition: bytes | None = None
    field_name: str = ""
    data: bytearray = field(default_factory=bytearray)
    file: UploadFile | None = None
    item_headers: list[tuple[bytes, bytes]] = field(default_factory=list)


@deprecated(
    "`FormMessage` is deprecated and will be removed in a future version.",
    category=SpicaDeprecationWarning,
)
class FormMessage(Enum):
    """Name the steps of a parser with callbacks. Deprecated: spica has no such parser."""

    FIELD_START = 1
    FIELD_NAME = 2
    FIELD_DATA = 3
    FIELD_END = 4
    END = 5
