"""Read a whole ``multipart/form-data`` body into a `FormData` (RFC 7578)."""

import math
from collections.abc import AsyncIterator

from spica.concurrency import close_iterator, file_threads
from spica.datastructures import FormData, Headers, UploadFile
from spica.formparsers.charsets import decode_text
from spica.formparsers.decoder import MultipartDecoder, PartEvent, PartHead
from spica.formparsers.errors import MAX_MEMORY_SIZE, too_big, too_much
from spica.formparsers.pacing import SLICE_SIZE, Pacer
from spica.formparsers.spool import SpoolWriter, open_spool
from spica.formparsers.streamed import PartStream


class MultiPartParser:
    """Parse a ``multipart/form-data`` body, as a whole (`parse`) or part by part (`parts`).

    `headers` are those of the request (Content-Type is needed), `stream` yields the body.

    Each limit is finite, so that no client can make a form cost more than expected: `max_files` and
    `max_fields` in number (default 1000 each), `max_part_size` in bytes of one field (default
    1 MiB; files are not limited by it, the limit on the body counts for them), `max_headers` in
    number of headers of one part (default 8: RFC 7578 knows three), `max_header_size` in bytes of
    one header line (default 8 KiB), `max_memory_size` in bytes of all that is kept in memory
    (default 16 MiB; fields beyond it are refused, files beyond it go to the disk), `max_total_size` in
    bytes of the body that is read as a whole (no limit here; 2 GiB for a form of a request).
    ``float("inf")`` lifts a limit.
    """

    spool_max_size = 1024 * 1024
    """Bytes of a file that are kept in memory, before it moves to the disk."""
    max_part_size: int | float = 1024 * 1024
    """Bytes of a field, unless the constructor is told otherwise."""

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
        """Read the body to its end, and return its fields and files; the caller closes the form.

        Whatever stops it (an error, a cancellation), no temporary file is left.

        Raises:
            MultiPartException: the body is malformed or incomplete, or a limit was passed.
            ImportError: the package that scans the body is not installed.
        """
        collector = _Collector(self.spool_max_size, self.max_memory_size)
        try:
            await self._collect(collector)
        except BaseException:
            collector.close_files()
            await close_iterator(self.stream)
            raise
        return FormData(collector.items)

    def parts(self) -> PartStream:
        """Iterate the parts, each body streamed as it arrives; nothing is stored.

        Raises:
            MultiPartException: there is no usable boundary. The iteration raises it, too, when the
                body is malformed or incomplete, or a limit was passed.
            ImportError: the package that scans the body is not installed.
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
    """Put the events of a body together: fields as text, files into spools."""

    __slots__ = (
        "_field_pieces",
        "_file",
        "_head",
        "_in_memory",
        "_left",
        "_max_memory_size",
        "_memory_size",
        "_opened",
        "items",
    )

    def __init__(self, memory_size: int, max_memory_size: int | float) -> None:
        self._max_memory_size = self._left = max_memory_size
        self.items: list[tuple[str, str | UploadFile]] = []
        self._memory_size = memory_size
        self._opened: list[UploadFile] = []
        self._in_memory: list[SpoolWriter] = []  # those that are written
        self._head: PartHead | None = None
        self._field_pieces: list[bytes] = []
        self._file: SpoolWriter | None = None

    async def add(self, events: list[PartEvent]) -> None:
        """Take the next events of the body."""
        pieces = self._field_pieces
        for event in events:
            if event is None:
                await self._end_part()
            elif isinstance(event, PartHead):
                self._head = event
                self._left -= event.kept_size
                if event.filename is not None:
                    self._file = self._open_file(event)
            elif self._file is None:
                pieces.append(event)
                self._left -= len(event)
            elif self._file.write(event):
                await self._file.flush()
            if self._left < 0:
                await self._make_room()

    async def _make_room(self) -> None:
        """Move the files that are in memory to the disk; what can only be in memory needs the place.

        Raises:
            MultiPartException: that is not enough.
        """
        files, self._in_memory = self._in_memory, []
        self._left += sum(file.size_in_memory for file in files)
        if self._left < 0:
            raise too_much(self._max_memory_size)
        await file_threads.run(_move_to_disk, files)

    async def _end_part(self) -> None:
        head = self._head
        if head is None:
            raise RuntimeError("A part has ended that has not begun.")
        if self._file is None:
            pieces = self._field_pieces
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self.items.append((head.name, decode_text(data, head.charset)))
        else:
            self.items.append((head.name, await self._file.finish()))
            if self._file.size_in_memory:
                self._left -= self._file.size_in_memory
                self._in_memory.append(self._file)
            self._file = None

    def _open_file(self, head: PartHead) -> SpoolWriter:
        # A spool of size 0 would never leave the memory.
        memory_size = max(1, int(min(self._memory_size, self._left)))
        upload = UploadFile(
            open_spool(memory_size),
            size=0,
            filename=head.filename,
            headers=Headers(raw=head.raw_headers()),
        )
        self._opened.append(upload)
        return SpoolWriter(upload, memory_size)

    def close_files(self) -> None:
        """Close every file that was opened, which removes it from the disk."""
        for upload in self._opened:
            upload.file.close()


def _move_to_disk(files: list[SpoolWriter]) -> None:
    for file in files:
        file.move_to_disk()
