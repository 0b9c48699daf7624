"""Find the file that answers a request to a directory of files, and read it if it is small.

``spica.staticfiles`` runs this in a worker thread, once for each request.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from typing import NamedTuple

from spica.responses.file import FileResponse
from spica.responses.file.opening import Opened, read_content
from spica.responses.file.reader import FileReader

MAX_TRIES = 4
"""How often a file is looked up again that changes while it is looked up or read."""

_DIRECTORY = object()


class Found(NamedTuple):
    """A file that answers a request, with its content if it is small, or else with its reader."""

    path: str
    status: os.stat_result
    content: bytes | None = None
    reader: FileReader | None = None
    is_index: bool = False
    status_code: int = 200
    read_at: int = 0
    """When the content was read, in nanoseconds since 1970."""

    def close(self) -> None:
        """Close the file, if it is open."""
        if self.reader is not None:
            self.reader.close()


class Finding:
    """Look for one path. The result is kept in ``found``.

    It is not returned, because an idle worker thread keeps its last return value alive.

    Args:
        open_file: Opens a path relative to the directory; None if nothing is there.
        path: The path that the request asks for.
        is_html: Whether ``index.html`` answers for a directory, and ``404.html`` for a missing file.
        wants_directory: Whether no regular file at ``path`` itself may answer.
        max_size: Files of at most so many bytes are read at once. None: no file is kept open.
    """

    __slots__ = ("_is_html", "_max_size", "_open_file", "_path", "_wants_directory", "found")

    def __init__(
        self,
        open_file: Callable[[str], Opened | None],
        path: str,
        *,
        is_html: bool = False,
        wants_directory: bool = False,
        max_size: int | None = None,
    ) -> None:
        self._open_file = open_file
        self._path = path
        self._is_html = is_html
        self._wants_directory = wants_directory
        self._max_size = max_size
        self.found: Found | None = None

    def run(self) -> None:
        """Look for the file."""
        found = self._find_file(self._path)
        if isinstance(found, Found):
            if not self._wants_directory:
                self.found = found
                return
            found.close()
        if not self._is_html:
            return
        if found is _DIRECTORY:
            index = self._find_file(os.path.join(self._path, "index.html"))
            if isinstance(index, Found):
                self.found = index._replace(is_index=True)
                return
        page = self._find_file("404.html")
        if isinstance(page, Found):
            self.found = page._replace(status_code=404)

    def _find_file(self, path: str) -> Found | object | None:
        """Return a regular file, `_DIRECTORY` for a directory, and None for anything else."""
        max_size = self._max_size
        for tries_left in reversed(range(MAX_TRIES)):
            opened = self._open_file(path)
            if opened is None:
                return None
            if not stat.S_ISREG(opened.status.st_mode):
                return _DIRECTORY if stat.S_ISDIR(opened.status.st_mode) else None
            if not tries_left and max_size is not None:
                # It grows all the time, as a log does: send as much as there was when it was opened.
                max_size = -1
            found = _load(opened, max_size)
            if found is not None:
                return found
        return None


def _load(opened: Opened, max_size: int | None) -> Found | None:
    """Return the file with its content, or with its reader if it is large; None if it changed."""
    path, status, descriptor = opened
    if max_size is None or descriptor is None:
        opened.close()
        return Found(path, status)
    if status.st_size > max_size:
        reader = FileReader(path, FileResponse.chunk_size)
        reader.adopt(descriptor, status)
        return Found(path, status, reader=reader)
    read_at = time.time_ns()
    try:
        content = read_content(opened)
    finally:
        opened.close()
    return None if content is None else Found(path, status, content, read_at=read_at)
