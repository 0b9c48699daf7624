"""Hold the fields and files of a form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any, BinaryIO, TypeVar

from spica._http.filenames import make_safe_name
from spica.concurrency import file_threads
from spica.datastructures.headers import Headers
from spica.datastructures.multidict import ImmutableMultiDict

A = TypeVar("A")
T = TypeVar("T")


class UploadFile:
    """Hold one file of a form, and read and write it without blocking the event loop.

    A file in memory is used directly; one on disk, or a write that will move it there, in a
    worker thread. `size` is the number of bytes, None if unknown; `filename` is as the client
    sent it and must not be trusted as a path: that is what `safe_filename` is for.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        size: int | None = None,
        filename: str | None = None,
        headers: Headers | None = None,
    ) -> None:
        self.file = file
        self.filename = filename
        self.size = size
        self.headers = Headers() if headers is None else headers

    @property
    def content_type(self) -> str | None:
        """The media type that the client named, or None."""
        value: str | None = self.headers.get("content-type")
        return value

    @property
    def safe_filename(self) -> str:
        """A name under which the file can be kept in a directory: one file's, on any system.

        Made of `filename` as `spica._http.filenames.make_safe_name` has it; "file" where nothing of that
        is left. Two files may have the same: choose the directory so, or put a number before it.
        """
        return make_safe_name(self.filename or "")

    async def write(self, data: bytes) -> None:
        """Write at the current position."""
        in_memory = self._in_memory and not self._will_roll(len(data))
        await _call(in_memory, self.file.write, data)
        if self.size is not None:
            self.size += len(data)

    async def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes from the current position; all that is left by default."""
        return await _call(self._in_memory, self.file.read, size)

    async def seek(self, offset: int) -> None:
        """Move to a position, in bytes from the beginning."""
        await _call(self._in_memory, self.file.seek, offset)

    async def close(self) -> None:
        """Close the file, which removes it from disk; closing again does nothing.

        Done even if the caller is being cancelled.
        """
        if self._in_memory:
            self.file.close()
            return
        if getattr(self.file, "closed", False):
            return
        from anyio import CancelScope

        with CancelScope(shield=True):
            await file_threads.run_unbounded(self.file.close)

    @property
    def _in_memory(self) -> bool:
        # A SpooledTemporaryFile says whether it has moved to disk; of others only BytesIO is
        # known to be in memory.
        rolled = getattr(self.file, "_rolled", None)
        return isinstance(self.file, BytesIO) if rolled is None else not rolled

    def _will_roll(self, size_to_add: int) -> bool:
        """Tell whether a write of this many bytes moves the file to disk."""
        limit: int = getattr(self.file, "_max_size", 0)
        return limit > 0 and self.file.tell() + size_to_add > limit

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}"
            f"(filename={self.filename!r}, size={self.size!r}, headers={self.headers!r})"
        )


async def _call(in_memory: bool, method: Callable[[A], T], argument: A) -> T:
    """Call a method of a file: in memory it cannot block, anywhere else it can."""
    return method(argument) if in_memory else await file_threads.run(method, argument)


class FormData(ImmutableMultiDict[str, "UploadFile | str"]):
    """Hold the fields of a form: strings, and an `UploadFile` for each file."""

    # The cleanup of the request, which closes the form unless `close` has run before. The cleanup refers to
    # the form, so a strong reference here would keep both, and the files, until the next garbage collection.
    _cleanup: Callable[[], Any] = staticmethod(lambda: None)

    def __init__(
        self,
        *args: FormData | Mapping[str, str | UploadFile] | Iterable[tuple[str, str | UploadFile]],
        **kwargs: str | UploadFile,
    ) -> None:
        super().__init__(*args, **kwargs)

    async def close(self) -> None:
        """Close all files, whether or not closing one of them fails.

        Raises:
            OSError: a file could not be closed; the first such error, after all were tried.
        """
        failure: Exception | None = None
        for _, value in self.multi_items():
            if isinstance(value, UploadFile):
                try:
                    await value.close()
                except Exception as error:
                    failure = failure or error
        cleanup = self._cleanup()
        if cleanup is not None:
            cleanup.forget_closer(self.close)
        if failure is not None:
            raise failure
