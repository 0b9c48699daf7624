"""Find the file for a request to ``StaticFiles``, and read it if it is small.

``spica.staticfiles`` runs this in a worker thread, once for each request.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from typing import NamedTuple

from spica.exceptions import HTTPException
from spica.responses.file import FileResponse
from spica.responses.file.delivery import Delivery, ServedPath, Siblings, Tags
from spica.responses.file.opening import Opened, read_content
from spica.responses.file.reader import FileReader

MAX_TRIES = 4
"""Attempts to read a file that keeps changing."""

_DIRECTORY = object()


class Found(NamedTuple):
    """The file for a request, with its content if it is small, or otherwise with its reader."""

    path: str
    status: os.stat_result
    content: bytes | None = None
    reader: FileReader | None = None
    is_index: bool = False
    status_code: int = 200
    read_at: int = 0
    """When the content was read, in nanoseconds since 1970."""
    tag: str = ""
    """The hash of the content, if ``Finding`` computes it."""
    directory: str = ""
    """The directory that has the file, see ``Opened``."""

    def close(self) -> None:
        """Close the file, if it is open."""
        if self.reader is not None:
            self.reader.close()


class Finding:
    """Look up one path, and keep the result in ``found``.

    The result is not returned, because an idle worker thread keeps its last return value alive.

    Args:
        open_file: A function that opens a path relative to the directory. It returns None for a missing
            file.
        path: The path in the request.
        is_html: Whether to serve ``index.html`` for a directory and ``404.html`` for a missing file.
        wants_directory: Whether to ignore a regular file at ``path``.
        max_size: Read files of at most this many bytes at once. With None, no file stays open.
        siblings: Compressed files to prefer to the file itself.
        delivery: With it, paths are found as a ``ServedPath``, with hashes if the delivery has them.
    """

    __slots__ = (
        "_delivery",
        "_is_html",
        "_max_size",
        "_open_file",
        "_path",
        "_siblings",
        "_wants_directory",
        "found",
    )

    def __init__(
        self,
        open_file: Callable[[str], Opened | None],
        path: str,
        *,
        is_html: bool = False,
        wants_directory: bool = False,
        max_size: int | None = None,
        siblings: Siblings = (),
        delivery: Delivery | None = None,
    ) -> None:
        self._siblings = siblings
        self._delivery = delivery
        self._open_file = open_file
        self._path = path
        self._is_html = is_html
        self._wants_directory = wants_directory
        self._max_size = max_size
        self.found: Found | None = None

    def run(self) -> None:
        """Look up the file."""
        found = self._find_best(self._path)
        if isinstance(found, Found):
            if not self._wants_directory:
                self.found = found
                return
            found.close()
        if not self._is_html:
            return
        if found is _DIRECTORY:
            index = self._find_best(os.path.join(self._path, "index.html"))
            if isinstance(index, Found):
                self.found = index._replace(is_index=True)
                return
        page = self._find_best("404.html")
        if isinstance(page, Found):
            self.found = page._replace(status_code=404)

    def _find_best(self, path: str) -> Found | object | None:
        """Return the best sibling of a regular file, or what is at ``path``."""
        if self._siblings:
            plain = self._find_file(path, None)
            if not isinstance(plain, Found):
                return plain
            for coding, extension in self._siblings:
                sibling = self._find_sibling(plain, path, extension)
                if sibling is not None:
                    return self._mark(sibling, path, coding)
        found = self._find_file(path, self._max_size)
        return self._mark(found, path) if isinstance(found, Found) else found

    def _find_sibling(self, plain: Found, path: str, extension: str) -> Found | None:
        """Return the sibling of a file, or None if it must not replace the file."""
        try:
            sibling = self._find_file(path + extension, self._max_size)
        except HTTPException:  # it can't be read, but the file can
            return None
        if not isinstance(sibling, Found):
            return None
        # An older sibling belongs to an earlier version of the file, and one in another directory to the
        # file there, which the first directory overrides.
        is_older = sibling.status.st_mtime_ns < plain.status.st_mtime_ns
        if is_older or sibling.directory != plain.directory:
            sibling.close()
            return None
        return sibling

    def _mark(self, found: Found, path: str, coding: str = "") -> Found:
        """Return ``found`` with a path that records how it was found."""
        if self._delivery is None:
            return found
        served = ServedPath(found.path)
        served.name = os.path.normpath(path).replace(os.sep, "/")
        served.coding, served.tag = coding, found.tag
        return found._replace(path=served)

    def _find_file(self, path: str, max_size: int | None) -> Found | object | None:
        """Return a regular file, `_DIRECTORY` for a directory, or None."""
        for tries_left in reversed(range(MAX_TRIES)):
            opened = self._open_file(path)
            if opened is None:
                return None
            if not stat.S_ISREG(opened.status.st_mode):
                return _DIRECTORY if stat.S_ISDIR(opened.status.st_mode) else None
            if not tries_left and max_size is not None:
                # The file keeps growing, as a log does: send the part that existed when it was opened.
                max_size = -1
            tags = None if self._delivery is None else self._delivery.tags
            found = _load(opened, max_size, tags)
            if found is not None:
                return found
        return None


def _load(opened: Opened, max_size: int | None, tags: Tags | None = None) -> Found | None:
    """Return the file with its content, or with its reader if it is large, or None if it has changed."""
    path, status, descriptor, directory = opened
    tag = "" if tags is None else tags.find(opened)
    if tag is None and max_size != -1:
        opened.close()
        return None
    tag = tag or ""
    if max_size is None or descriptor is None:
        opened.close()
        return Found(path, status, tag=tag, directory=directory)
    if status.st_size > max_size:
        reader = FileReader(path, FileResponse.chunk_size)
        reader.adopt(descriptor, status)
        return Found(path, status, reader=reader, tag=tag, directory=directory)
    read_at = time.time_ns()
    try:
        content = read_content(opened)
    finally:
        opened.close()
    if content is None:
        return None
    return Found(path, status, content, read_at=read_at, tag=tag, directory=directory)
