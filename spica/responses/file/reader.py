"""Read parts of a file with as few visits to a worker thread as possible.

Changing threads costs far more than reading bytes from the page cache. One visit opens the file and reads
its beginning. After that, cached pieces are read on the event loop with a system call that never waits for
the disk (Linux: ``preadv2`` with ``RWF_NOWAIT``). A thread reads the other pieces, many at a time. On
systems without this call, a thread reads everything.

This module knows nothing of HTTP: ``spica.responses.file`` decides which parts to read.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from collections.abc import Iterable
from typing import Any

from spica._http.ranges import Segment

BLOCK_SIZE = 512 * 1024
"""Maximum number of bytes that one visit to a worker thread reads: enough to make the cost of the visit
small, and few enough to hold for each of many slow clients."""

FIRST_BLOCK_SIZE = 256 * 1024
"""Maximum number of bytes that the first visit reads, which also opens the file. Smaller files need no
other visit."""

_CANNOT_WAIT = getattr(os, "RWF_NOWAIT", 0) if hasattr(os, "preadv") else 0


class FileChangedError(RuntimeError):
    """The file no longer contains the bytes that its headers announced."""


class FileReader:
    """Read segments of a file in pieces.

    Worker threads enter it (``with reader:``) for operations that may wait for the disk. The event loop may
    call ``close`` at any time. If a thread is still reading after its waiter was cancelled, the thread
    closes the file when it leaves.

    Args:
        path: The file.
        chunk_size: Maximum size of one piece in bytes.
    """

    __slots__ = (
        "_buffer",
        "_busy",
        "_file",
        "_is_given_up",
        "_known",
        "_may_read_on_loop",
        "_offset",
        "_segments",
        "_stop",
        "chunk_size",
        "left",
        "path",
    )

    def __init__(self, path: str | os.PathLike[str], chunk_size: int) -> None:
        self.path = path
        self.chunk_size = chunk_size
        self.left = 0
        self._busy = threading.Lock()
        self._is_given_up = False
        self._file: io.FileIO | None = None
        self._known: os.stat_result | None = None
        self._may_read_on_loop = bool(_CANNOT_WAIT)
        self._buffer: bytearray | None = None
        self._offset = self._stop = 0

    def __enter__(self) -> None:
        self._busy.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._busy.release()
        if self._is_given_up:
            self.close()

    def close(self) -> None:
        """Close the file now, or as soon as the thread that is reading it leaves."""
        self._is_given_up = True
        if self._busy.acquire(blocking=False):
            try:
                if self._file is not None:
                    self._file.close()
            finally:
                self._busy.release()

    def __del__(self) -> None:
        self.close()  # for a response that was never sent

    def open(self) -> os.stat_result:
        """Open the file at ``path`` and return its status.

        Raises:
            RuntimeError: The file does not exist or is not a regular file.
        """
        # Check the type first: opening a device may have side effects, and opening a pipe waits.
        examine(self.path)
        try:
            self._file = io.FileIO(self.path, "rb", opener=_open_without_waiting)
        except FileNotFoundError:
            raise _missing(self.path) from None
        self._known = status = os.fstat(self._file.fileno())
        _require_regular(self.path, status)
        return status

    def adopt(self, descriptor: int, status: os.stat_result) -> None:
        """Take over an open ``descriptor`` with its ``status``. The reader closes it at the end."""
        self._file = io.FileIO(descriptor, "rb")
        self._known = status

    @property
    def status(self) -> os.stat_result | None:
        """The status of the file from ``open`` or ``adopt``, or None before that."""
        return self._known

    def look_again(self) -> None:
        """Update the status of the open file, which may have been written to."""
        if self._file is not None:
            self._known = os.fstat(self._file.fileno())

    def select(self, segments: Iterable[Segment], size: int) -> None:
        """Set the segments to read, ``size`` bytes in total."""
        self._segments = iter(segments)
        self._offset = self._stop = 0
        self.left = size

    def read_next(self, pieces: list[bytes]) -> None:
        """Open the file if necessary, and append the next block to ``pieces``. Call this in a thread.

        The block is not returned, because an idle worker thread keeps its last return value alive.
        """
        with self:
            if self._file is None:
                self.open()
            pieces += self.read_block(BLOCK_SIZE)

    def read_block(self, max_size: int) -> list[bytes]:
        """Read pieces of at most ``chunk_size`` bytes, until there are about ``max_size`` bytes.

        Call this in a worker thread that has entered. The file is closed after the last piece.

        Raises:
            FileChangedError: The file has become shorter, or was written to.
        """
        pieces: list[bytes] = []
        while self.left and max_size > 0:
            piece = self._advance() or self._read(min(self.chunk_size, self._stop - self._offset))
            self.left -= len(piece)
            max_size -= len(piece)
            pieces.append(piece)
        self._check_unchanged()
        if not self.left and self._file is not None:
            self._file.close()
        return pieces

    def read_at_hand(self) -> bytes | None:
        """Return the next piece if that needs no waiting, or None if a thread must read it.

        Call this on the event loop, and never while a thread is reading.
        """
        if not self._may_read_on_loop or self._file is None:
            return None
        piece = self._advance() or self._read_cached(
            min(self.chunk_size, self._stop - self._offset)
        )
        if piece is not None:
            self._check_unchanged()
            self.left -= len(piece)
        return piece

    def _check_unchanged(self) -> None:
        """Raise an error if the last bytes may belong to another version of the file.

        A replaced file keeps its old content under the open descriptor. A growing file, such as a log,
        keeps its beginning. A file that was otherwise written to may contain a mixture of two versions.
        """
        file, known = self._file, self._known
        if file is None or known is None:
            return
        status = os.fstat(file.fileno())
        if status.st_size < known.st_size:
            raise too_short(self.path, known.st_size - status.st_size)
        if status.st_size == known.st_size and status.st_mtime_ns != known.st_mtime_ns:
            raise FileChangedError(f"File at path {self.path} was changed while it was read.")

    def _advance(self) -> bytes:
        """Move to the next segment if the current one is complete, and return its leading bytes."""
        if self._offset < self._stop:
            return b""
        text, self._offset, self._stop = next(self._segments)
        return text

    def _read(self, size: int) -> bytes:
        file: Any = self._file  # opened before anything is read
        try:
            file.seek(self._offset)
            piece: bytes = file.read(size)
        except OSError as exc:  # convert it, because OSError from `send` means a disconnect
            raise RuntimeError(f"File at path {self.path} can't be read: {exc}") from exc
        if not piece:
            raise too_short(self.path, self.left)
        self._offset += len(piece)
        return piece

    def _read_cached(self, size: int) -> bytes | None:
        file: Any = self._file  # opened before anything is read
        buffer = self._buffer
        if buffer is None or len(buffer) != size:
            buffer = self._buffer = bytearray(size)
        try:
            count = _preadv(file.fileno(), [buffer], self._offset, _CANNOT_WAIT)
        except OSError as exc:
            # The thread will meet any other error as well, and raise it.
            self._may_read_on_loop = exc.errno == errno.EAGAIN
            return None
        if not count:  # some kernels return 0 instead of EAGAIN
            return None
        self._offset += count
        return bytes(buffer) if count == size else bytes(memoryview(buffer)[:count])


def examine(path: str | os.PathLike[str]) -> os.stat_result:
    """Return the status of the regular file at ``path``.

    Raises:
        RuntimeError: It does not exist or is not a regular file.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise _missing(path) from None
    _require_regular(path, status)
    return status


def _require_regular(path: str | os.PathLike[str], status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RuntimeError(f"File at path {path} is not a file.")


def too_short(path: str | os.PathLike[str], size: int) -> FileChangedError:
    """Return the error for a file that is ``size`` bytes shorter than announced."""
    return FileChangedError(
        f"File at path {path} is shorter than expected. {size} bytes of the response are missing."
    )


def _missing(path: str | os.PathLike[str]) -> RuntimeError:
    return RuntimeError(f"File at path {path} does not exist.")


def _open_without_waiting(path: Any, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


_preadv: Any = getattr(os, "preadv", None)  # missing on Windows
