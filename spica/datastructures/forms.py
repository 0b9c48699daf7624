"""Fields and files of a form (RFC 7578)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any, BinaryIO, Self, TypeVar

from spica._diagnostics.foreign_names import FIXES_OF_UPLOADS, explain_names
from spica.concurrency import file_threads
from spica.datastructures.headers import Headers
from spica.datastructures.multidict import ImmutableMultiDict

A = TypeVar("A")
T = TypeVar("T")


class UploadFile:
    """A file of a form, with async methods that do not block the event loop.

    A file in memory is accessed directly. A file on disk is accessed in a worker thread, and so is a write
    that will move the file to disk.

    Args:
        file: The open binary file.
        size: Number of bytes, or None if unknown.
        filename: The name that the client sent, or None. Do not use it as a path: use ``safe_filename``.
        headers: The headers of the part.

    >>> import anyio, io
    >>> upload = UploadFile(io.BytesIO(b"content"), size=7, filename="../a.txt")
    >>> anyio.run(upload.read)
    b'content'
    >>> upload.safe_filename
    'a.txt'
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
        """The media type that the client claims, or None."""
        value: str | None = self.headers.get("content-type")
        return value

    @property
    def safe_filename(self) -> str:
        """A valid file name on every system, without directories.

        It is made from `filename` by `spica._http.filenames.make_safe_name`, and is "file" if nothing of
        that remains. Two uploads may get the same name, so add a unique prefix or use a new directory.
        """
        from spica._http.filenames import make_safe_name  # on use: applications start faster

        return make_safe_name(self.filename or "")

    async def write(self, data: bytes) -> None:
        """Write ``data`` at the current position."""
        in_memory = self._in_memory and not self._will_roll(len(data))
        await _call(in_memory, self.file.write, data)
        if self.size is not None:
            self.size += len(data)

    async def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes from the current position. By default, read the rest of the file."""
        return await _call(self._in_memory, self.file.read, size)

    async def seek(self, offset: int) -> None:
        """Move to a position, in bytes from the start."""
        await _call(self._in_memory, self.file.seek, offset)

    async def close(self) -> None:
        """Close the file, which removes it from disk. Closing it again does nothing.

        A cancellation of the caller does not interrupt this.
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
        """Return whether a write of this many bytes moves the file to disk."""
        limit: int = getattr(self.file, "_max_size", 0)
        return limit > 0 and self.file.tell() + size_to_add > limit

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}"
            f"(filename={self.filename!r}, size={self.size!r}, headers={self.headers!r})"
        )


async def _call(in_memory: bool, method: Callable[[A], T], argument: A) -> T:
    """Call a method of a file: directly if the file is in memory, and in a thread if it may block."""
    return method(argument) if in_memory else await file_threads.run(method, argument)


class FormData(ImmutableMultiDict[str, "UploadFile | str"]):
    """The fields of a form: a string for each field, and an `UploadFile` for each file.

    If a name occurs several times, `form[name]` is the last value and `form.getlist(name)` has all of them.

    Args:
        *args: Another multi-dict, a mapping, or an iterable of pairs.
        **kwargs: Further fields.

    >>> form = FormData([("color", "red"), ("color", "blue")])
    >>> form["color"], form.getlist("color")
    ('blue', ['red', 'blue'])
    """

    # The cleanup of the request, which closes the form unless `close` has run before. The cleanup refers to
    # the form, so a strong reference here would keep both, and the files, until the next garbage collection.
    _cleanup: Callable[[], Any] = staticmethod(lambda: None)

    # Whether `close` has to look for files.
    _may_have_files = True

    def __init__(
        self,
        *args: FormData | Mapping[str, str | UploadFile] | Iterable[tuple[str, str | UploadFile]],
        **kwargs: str | UploadFile,
    ) -> None:
        super().__init__(*args, **kwargs)

    @classmethod
    def _of_pairs(cls, pairs: list[tuple[str, str | UploadFile]], *, has_files: bool) -> Self:
        """Return a form of these pairs, which it keeps. This is faster than the constructor."""
        form = cls.__new__(cls)
        form._list = pairs
        form._dict = dict(pairs)
        form._may_have_files = has_files
        return form

    async def close(self) -> None:
        """Close all files, even if closing one of them fails.

        Raises:
            OSError: A file could not be closed. It is the first such error, raised after all files were
                tried.
        """
        if not self._may_have_files:
            return
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


explain_names(UploadFile, FIXES_OF_UPLOADS)
