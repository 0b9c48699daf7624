"""Read parts of a file with as few visits to a worker thread as can be.

Changing threads costs far more than reading bytes that the operating system holds in memory. So
one visit opens the file and reads its beginning; after that, pieces that are in memory are read on
the event loop by a call that refuses to wait for the disk (Linux: ``preadv2`` with ``RWF_NOWAIT``),
and only pieces that are not, or all where there is no such call, are fetched by a thread, many at a
time.

There is no HTTP here: ``spica.responses.file`` decides which parts are read.
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
"""Bytes that a visit to a worker thread reads at most: enough that the visit is not the larger part
of the cost, and little enough to be held for each of many slow clients."""

FIRST_BLOCK_SIZE = 256 * 1024
"""Bytes that the visit that opens the file reads at most. A file of that size needs no other."""

_CANNOT_WAIT = getattr(os, "RWF_NOWAIT", 0) if hasattr(os, "preadv") else 0


class FileChangedError(RuntimeError):
    """The bytes of a file are no longer those that its headers announced."""


class FileReader:
    """Hand out segments of a file in pieces.

    Worker threads enter it (``with reader:``) for whatever may have to wait for a disk. ``close``
    may be called at any moment from the event loop, also while a thread is reading whose waiter was
    cancelled: the thread then closes the file when it leaves.
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
        """Close the file, now or as soon as a thread that is reading it is done."""
        self._is_given_up = True
        if self._busy.acquire(blocking=False):
            try:
                if self._file is not None:
                    self._file.close()
            finally:
                self._busy.release()

    def __del__(self) -> None:
        self.close()  # of an answer that was never sent

    def open(self) -> os.stat_result:
        """Open the file at ``path`` and return its status.

        Raises:
            RuntimeError: There is no file, or it is not a regular one.
        """
        # Check the type first: opening a device may have effects, and opening a pipe waits.
        examine(self.path)
        try:
            self._file = io.FileIO(self.path, "rb", opener=_open_without_waiting)
        except FileNotFoundError:
            raise _missing(self.path) from None
        self._known = status = os.fstat(self._file.fileno())
        _require_regular(self.path, status)
        return status

    def adopt(self, descriptor: int, status: os.stat_result) -> None:
        """Read from ``descriptor``, whose status is ``status``, and close it in the end."""
        self._file = io.FileIO(descriptor, "rb")
        self._known = status

    @property
    def status(self) -> os.stat_result | None:
        """The status of the file that ``open`` or ``adopt`` brought; None before that."""
        return self._known

    def look_again(self) -> None:
        """Take the open file as it is now, with whatever was written to it since."""
        if self._file is not None:
            self._known = os.fstat(self._file.fileno())

    def select(self, segments: Iterable[Segment], size: int) -> None:
        """Set the segments to read, ``size`` bytes in all."""
        self._segments = iter(segments)
        self._offset = self._stop = 0
        self.left = size

    def read_next(self, pieces: list[bytes]) -> None:
        """Enter, open the file if it is not open yet, and add the next block to ``pieces``.

        It is not returned, because an idle worker thread keeps its last return value alive.
        """
        with self:
            if self._file is None:
                self.open()
            pieces += self.read_block(BLOCK_SIZE)

    def read_block(self, max_size: int) -> list[bytes]:
        """Read pieces of ``chunk_size`` bytes at most until there are about ``max_size`` bytes.

        Called in a worker thread that has entered. The file is closed with the last piece.

        Raises:
            FileChangedError: The file has become shorter, or other bytes were written to it.
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
        """Read the next piece if that needs no waiting; None if a thread has to do it.

        Called on the event loop, and never while a thread is reading.
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
        """Refuse bytes that may belong to another version of the file than those before.

        A file that was replaced keeps its old content under our descriptor. One that grows, such as a log,
        keeps its beginning. One that was written to otherwise may hold a mixture.
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
        """Go on to the next segment where one has ended, and return the text it begins with."""
        if self._offset < self._stop:
            return b""
        text, self._offset, self._stop = next(self._segments)
        return text

    def _read(self, size: int) -> bytes:
        file: Any = self._file  # opened before anything is read
        try:
            file.seek(self._offset)
            piece: bytes = file.read(size)
        except OSError as exc:  # not to be taken for the network's
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
            # Whatever else is wrong with the file, the thread meets it too, and tells.
            self._may_read_on_loop = exc.errno == errno.EAGAIN
            return None
        if not count:  # some kernels say 0 where they mean "not without waiting"
            return None
        self._offset += count
        return bytes(buffer) if count == size else bytes(memoryview(buffer)[:count])


def examine(path: str | os.PathLike[str]) -> os.stat_result:
    """Return the status of the regular file at ``path``.

    Raises:
        RuntimeError: There is none, or it is something else.
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
        f"File at path {path} is shorter than expected. {size} bytes of the answer are missing."
    )


def _missing(path: str | os.PathLike[str]) -> RuntimeError:
    return RuntimeError(f"File at path {path} does not exist.")


def _open_without_waiting(path: Any, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


_preadv: Any = getattr(os, "preadv", None)  # not there on Windows
