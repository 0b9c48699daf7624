"""Many uploaded files in one temporary file, so that a form with 1000 files needs one descriptor.

`SharedFile` has the interface of a binary file. Some operations need a separate file (a write in the
middle, ``fileno()``), so they copy the upload out first.
"""

import io
from threading import Lock
from typing import Any, BinaryIO

_COPY_SIZE = 512 * 1024  # bytes copied at once


def open_temporary_file() -> BinaryIO:
    """Open a temporary file without a name. The system removes it when it is closed."""
    from tempfile import TemporaryFile  # imported late: it is slow to import, and rarely needed

    file: Any = TemporaryFile()  # noqa: SIM115  # the caller closes it
    opened: BinaryIO = file
    return opened


class SharedSpool:
    """One temporary file with the contents of many uploads, one after another.

    The temporary file is closed with its last upload. Threads may use different uploads at the same time.
    """

    def __init__(self) -> None:
        self._file = open_temporary_file()
        self._lock = Lock()
        self._size = 0
        self._users = 0

    def open(self) -> "SharedFile":
        """Return an empty file after all others."""
        with self._lock:
            self._users += 1
            return SharedFile(self, self._size)

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(size)

    def append(self, start: int, data: bytes) -> bool:
        """Write `data` at `start` if that is the end. Return whether it was written."""
        with self._lock:
            if start != self._size:
                return False
            self._file.seek(start)
            self._file.write(data)
            self._size += len(data)
            return True

    def leave(self) -> None:
        """Close the temporary file if it contains no other upload."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._file.close()


class SharedFile(io.BufferedIOBase):
    """One upload in a `SharedSpool`, with the interface of a binary file."""

    # As on a SpooledTemporaryFile: the contents are on disk, so reading them may block.
    _rolled = True

    def __init__(self, shared: SharedSpool, start: int) -> None:
        self._shared = shared
        self._start = start
        self._size = 0
        self._position = 0
        self._own: BinaryIO | None = None

    @property
    def name(self) -> Any:
        """The name or descriptor of the file, or None while it shares one with others."""
        return None if self._own is None else self._own.name

    @property
    def mode(self) -> str:
        """The mode of the file."""
        return "rb+"

    def readable(self) -> bool:
        """Return True: the file can be read."""
        return True

    def writable(self) -> bool:
        """Return True: the file can be written."""
        return True

    def seekable(self) -> bool:
        """Return True: the position can be changed."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes from the current position. By default, read the rest."""
        self._check_open()
        if self._own is not None:
            return self._own.read(-1 if size is None else size)
        data = self._read_shared(self._size if size is None or size < 0 else size)
        self._position += len(data)
        return data

    def read1(self, size: int = -1, /) -> bytes:
        """Read like `read`."""
        return self.read(size)

    def peek(self, size: int = 8192, /) -> bytes:
        """Return up to `size` bytes without moving the position. ``readline()`` uses this."""
        self._check_open()
        if self._own is not None:
            position = self._own.tell()
            data = self._own.read(max(size, 1))
            self._own.seek(position)
            return data
        return self._read_shared(max(size, 1))

    def _read_shared(self, size: int) -> bytes:
        left = min(size, self._size - self._position)
        return self._shared.read(self._start + self._position, left) if left > 0 else b""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position and return it."""
        self._check_open()
        if self._own is not None:
            return self._own.seek(offset, whence)
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the current position."""
        self._check_open()
        return self._position if self._own is None else self._own.tell()

    def write(self, data: Any, /) -> int:
        """Write at the current position."""
        self._check_open()
        data = bytes(data)
        is_at_end = self._own is None and self._position == self._size
        if is_at_end and self._shared.append(self._start + self._size, data):
            self._size += len(data)
            self._position = self._size
            return len(data)
        return self.separate().write(data)

    def truncate(self, size: int | None = None, /) -> int:
        """Cut the file to `size` bytes, or by default at the current position."""
        return self.separate().truncate(self.tell() if size is None else size)

    def flush(self) -> None:
        """Write buffered data to disk."""
        if self._own is not None and not self.closed:
            self._own.flush()

    def fileno(self) -> int:
        """Return the descriptor of a file that contains only this upload."""
        file = self.separate()
        file.flush()
        return file.fileno()

    def rollover(self) -> None:
        """Do nothing, because the contents are already on disk."""

    def separate(self) -> BinaryIO:
        """Copy the contents to a separate temporary file on first use, and return that file."""
        self._check_open()
        if self._own is None:
            own = open_temporary_file()
            for start in range(0, self._size, _COPY_SIZE):
                size = min(_COPY_SIZE, self._size - start)
                own.write(self._shared.read(self._start + start, size))
            own.seek(self._position)
            self._own = own
            self._shared.leave()
        return self._own

    def close(self) -> None:
        """Close the file. Closing it again does nothing."""
        if not self.closed:
            super().close()
            if self._own is not None:
                self._own.close()
            else:
                self._shared.leave()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(
                "I/O operation on closed file. An upload is closed with its form: at the end of "
                "`async with request.form()`, or of the request. Read it before, also for a background task."
            )
