"""Storage for uploaded files: memory first, then temporary files on disk."""

import sys
from collections.abc import Iterable
from typing import Any, BinaryIO

from spica.datastructures import UploadFile
from spica.formparsers.shared_file import SharedSpool

WRITE_SIZE = 512 * 1024
"""Bytes to buffer before one visit to a thread writes them to disk."""

MAX_OPEN_FILES = 16
"""Maximum number of temporary files of one form. Further uploads share one more, so that a few large forms
can't use up the descriptors of the process, of which systems often allow 1024."""

_PACKAGE = "spica.formparsers"


def __getattr__(name: str) -> Any:
    """Import `SpooledTemporaryFile` for this package on first use.

    `tempfile` is slow to import, and applications without uploads do not need it. The class is an ordinary
    attribute of the package, so tests of applications can replace it.
    """
    if name != "SpooledTemporaryFile":
        raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}")
    from tempfile import SpooledTemporaryFile

    vars(sys.modules[_PACKAGE])[name] = SpooledTemporaryFile
    return SpooledTemporaryFile


def open_storage(max_size: int) -> BinaryIO:
    """Open a file that stays in memory up to `max_size` bytes. On disk it has no name."""
    package: Any = sys.modules[_PACKAGE]
    file: BinaryIO = package.SpooledTemporaryFile(max_size=max_size)
    return file


class UploadStorage:
    """The files of one form, with a limited number of descriptors."""

    __slots__ = ("_on_disk", "_shared", "files")

    def __init__(self) -> None:
        self._on_disk = 0
        self._shared: SharedSpool | None = None
        self.files: list[BinaryIO] = []
        """All files that were opened."""

    def open(self, max_size: int) -> BinaryIO:
        """Open an empty file in memory, which moves to disk beyond `max_size` bytes."""
        file = open_storage(max_size)
        self.files.append(file)
        return file

    def move_to_disk(self, file: BinaryIO) -> BinaryIO:
        """Move the content of a file from memory to disk, and return the new file. Call this in a thread.

        Raises:
            OSError: The system can't open another file, or the disk is full.
        """
        spool: Any = file
        if self._on_disk < MAX_OPEN_FILES:
            spool.rollover()
            self._on_disk += 1
            return file
        if self._shared is None:
            self._shared = SharedSpool()
        shared: Any = self._shared.open()
        self.files.append(shared)
        file.seek(0)
        shared.write(file.read())
        file.close()
        moved: BinaryIO = shared
        return moved

    def make_room(self, uploads: Iterable[UploadFile]) -> None:
        """Move complete files from memory to disk. Call this in a thread.

        Raises:
            OSError: The system can't open another file, or the disk is full.
        """
        for upload in uploads:
            upload.file = self.move_to_disk(upload.file)
            upload.file.seek(0)

    def close(self) -> None:
        """Close all files, which removes them from disk."""
        for file in self.files:
            file.close()


class DiskWriter:
    """Write one uploaded file to disk, in a thread, while it arrives."""

    __slots__ = ("_file", "_is_on_disk", "_pending", "_pending_size", "_storage")

    def __init__(self, storage: UploadStorage, file: BinaryIO) -> None:
        self._storage = storage
        self._file = file
        self._is_on_disk = False
        self._pending: list[bytes] = []
        self._pending_size = 0

    def write(self, chunk: bytes) -> bool:
        """Buffer a chunk. Return True if `flush` must run in a thread before the next one."""
        self._pending.append(chunk)
        self._pending_size += len(chunk)
        return self._pending_size >= WRITE_SIZE

    def flush(self) -> BinaryIO:
        """Write the buffered chunks, and return the file.

        Raises:
            OSError: The system can't open another file, or the disk is full.
        """
        if not self._is_on_disk:
            self._file = self._storage.move_to_disk(self._file)
            self._is_on_disk = True
        pending, self._pending, self._pending_size = self._pending, [], 0
        self._file.write(b"".join(pending))
        return self._file

    def finish(self) -> BinaryIO:
        """Write the rest, and return the file at its start."""
        file = self.flush()
        file.seek(0)
        return file
