"""Where the bytes of an uploaded file go: memory first, then a temporary file on disk."""

import sys
from typing import Any, BinaryIO

from spica.concurrency import file_threads
from spica.datastructures import UploadFile

WRITE_SIZE = 512 * 1024
"""Bytes gathered before they are written to disk, in one visit to a thread."""


_PACKAGE = "spica.formparsers"


def __getattr__(name: str) -> Any:
    """Fetch `SpooledTemporaryFile` for this package when it is first asked for.

    `tempfile` takes long to import, and applications without uploads need it not. The class is kept
    as a plain attribute of the package, where tests of applications replace it.
    """
    if name != "SpooledTemporaryFile":
        raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}")
    from tempfile import SpooledTemporaryFile

    vars(sys.modules[_PACKAGE])[name] = SpooledTemporaryFile
    return SpooledTemporaryFile


def open_spool(max_size: int) -> BinaryIO:
    """Open a file that stays in memory up to `max_size` bytes, and has no name on disk later."""
    package: Any = sys.modules[_PACKAGE]
    file: BinaryIO = package.SpooledTemporaryFile(max_size=max_size)
    return file


class SpoolWriter:
    """Write one uploaded file; the event loop writes to memory only, a thread to the disk."""

    __slots__ = (
        "_file",
        "_memory_left",
        "_on_disk",
        "_pending",
        "_pending_size",
        "_size",
        "upload",
    )

    def __init__(self, upload: UploadFile, memory_size: int) -> None:
        self.upload = upload
        self._file = upload.file
        self._memory_left = memory_size
        self._on_disk = False
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._size = 0

    @property
    def size_in_memory(self) -> int:
        """Bytes of the file that are not on the disk."""
        return 0 if self._on_disk else self._size

    def write(self, chunk: bytes) -> bool:
        """Take a chunk; True when `flush` must be awaited before the next one."""
        size = len(chunk)
        self._size += size
        if not self._on_disk:
            self._memory_left -= size
            if self._memory_left >= 0:
                self._file.write(chunk)
                return False
            self._on_disk = True
        self._pending.append(chunk)
        self._pending_size += size
        return self._pending_size >= WRITE_SIZE

    async def flush(self) -> None:
        """Write what was gathered, in a thread."""
        await file_threads.run(self._drain)

    async def finish(self) -> UploadFile:
        """Write the rest, and return the file ready to be read from its start."""
        self.upload.size = self._size
        if self._on_disk:
            await file_threads.run(self._drain_and_rewind)
        else:
            self._file.seek(0)
        return self.upload

    def move_to_disk(self) -> None:
        """Take a file that was finished out of the memory; for a thread."""
        file: Any = self._file
        file.rollover()
        self._on_disk = True

    def _drain(self) -> None:
        pending, self._pending, self._pending_size = self._pending, [], 0
        self._file.write(b"".join(pending))

    def _drain_and_rewind(self) -> None:
        if self._pending:
            self._drain()
        self._file.seek(0)
