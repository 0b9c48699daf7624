"""Open files below a directory, and read exactly the file that was checked.

An attacker may swap a link into a path after the check, and the path then names another file. Therefore
this module walks down from a descriptor of the directory, one name at a time, and follows no link. The
status comes from the descriptor that is read, and the path is never opened twice.

Links that stay inside the directory work: they are resolved first, and then the resolved path is walked.

Windows has no descriptors of directories. There, the file is looked up before and after it is opened, and
both results must be the same file.

Standards: POSIX.1-2017 ``openat`` with ``O_NOFOLLOW``, ``fstat``.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

CAN_WALK = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd
"""Whether this system can open a file relative to a descriptor of a directory."""

_MAX_TRIES = 4
"""Attempts to resolve a path that keeps changing. After that, the file counts as missing."""

_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
# A pipe without a writer must not block the thread. A terminal must not become our controlling terminal.
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
# Walking through a directory needs the permission to search it, not to list it.
_SEARCH = getattr(os, "O_PATH", 0) or getattr(os, "O_SEARCH", 0)
_DIRECTORY = _READ | getattr(os, "O_DIRECTORY", 0) | _SEARCH


class Opened(NamedTuple):
    """An existing file or directory, and the descriptor to read it from.

    Only a regular file has a descriptor, and only without ``reads=False``. The caller closes it.
    """

    path: str
    status: os.stat_result
    descriptor: int | None = None
    directory: str = ""
    """The directory in which ``StaticFiles`` has found it, if it serves several."""

    def close(self) -> None:
        """Close the descriptor, if there is one."""
        if self.descriptor is not None:
            os.close(self.descriptor)


class _LinkFoundError(Exception):
    """A component of the path is a link."""


def open_path(path: str, *, follows_last: bool = True, reads: bool = True) -> Opened:
    """Open the file at ``path``, and follow links.

    Raises:
        OSError: The file can't be opened.
    """
    return _open_last(path, path, None, 0 if follows_last else _NO_LINK, reads=reads)


def open_below(root: str, names: list[str], *, reads: bool = True) -> Opened | None:
    """Open the file at ``names`` below the directory ``root``, or return None if links lead out of it.

    ``root`` itself may be a link. ``names`` must not contain ``..``. With ``reads=False``, only the status
    is returned.

    Raises:
        FileNotFoundError: There is no such file, or it kept changing while it was opened.
        OSError: The system denies the look-up, for example because of missing permissions.
    """
    open_without_links = _walk if CAN_WALK else _compare
    resolved: tuple[str, list[str]] | None = (root, names)
    for _ in range(_MAX_TRIES):
        if resolved is None:
            return None
        try:
            return open_without_links(*resolved, reads=reads)
        except _LinkFoundError:
            # The link may be new, so resolve the whole path each time.
            resolved = _resolve(root, names)
    raise FileNotFoundError(errno.ENOENT, "The path changed while it was opened", names[-1])


def read_content(opened: Opened) -> bytes | None:
    """Return the content of an open regular file, or None if it changed meanwhile.

    Raises:
        OSError: The file can't be read.
    """
    descriptor, known = opened.descriptor, opened.status
    if descriptor is None:
        return None
    # Read one more byte to notice growth.
    content = os.read(descriptor, known.st_size + 1)
    status = os.fstat(descriptor)
    if len(content) != known.st_size or not has_same_content(status, known):
        return None
    return content


def has_same_content(first: os.stat_result, second: os.stat_result) -> bool:
    """Return whether two statuses of a file have the same size and modification time."""
    return first.st_size == second.st_size and first.st_mtime_ns == second.st_mtime_ns


def _walk(root: str, names: list[str], *, reads: bool) -> Opened:
    """Open a path without links, starting at the descriptor of its root."""
    directory = os.open(root, _DIRECTORY)
    try:
        if not names:
            return Opened(root, os.fstat(directory))
        for name in names[:-1]:
            inner = _open_directory(name, directory)
            os.close(directory)
            directory = inner
        return _open_last(names[-1], os.path.join(root, *names), directory, _NO_LINK, reads=reads)
    finally:
        os.close(directory)


def _open_directory(name: str, directory: int) -> int:
    try:
        return os.open(name, _DIRECTORY | _NO_LINK, dir_fd=directory)
    except OSError as exc:
        # Systems use different errors for a link instead of a directory.
        if exc.errno in (errno.ENOTDIR, errno.ELOOP, errno.EMLINK):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                raise _LinkFoundError from None
        raise


def _open_last(name: str, path: str, directory: int | None, no_link: int, *, reads: bool) -> Opened:
    """Open the last component of a path if it is a regular file."""
    # Check the type first, because opening a device may have side effects.
    status = os.stat(name, dir_fd=directory, follow_symlinks=not no_link)
    if stat.S_ISLNK(status.st_mode):
        raise _LinkFoundError
    if not reads or not stat.S_ISREG(status.st_mode):
        return Opened(path, status)
    try:
        descriptor = os.open(name, _READ | _NO_WAIT | no_link, dir_fd=directory)
    except OSError as exc:
        if no_link and exc.errno in (errno.ELOOP, errno.EMLINK):
            raise _LinkFoundError from None  # it was swapped in after the check
        raise
    try:
        status = os.fstat(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    if stat.S_ISREG(status.st_mode):
        return Opened(path, status, descriptor)
    os.close(descriptor)
    return Opened(path, status)


def _resolve(root: str, names: list[str]) -> tuple[str, list[str]] | None:
    """Return the root and names of a path without its links, or None if it leads out of the root.

    Raises:
        OSError: There is no such file, or a link leads in a circle.
    """
    real_root = os.path.realpath(root)
    try:
        real_path = os.path.realpath(os.path.join(root, *names), strict=True)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        return root, names  # a link was replaced while it was read
    if real_path != real_root and os.path.commonpath((real_root, real_path)) != real_root:
        return None
    below = real_path[len(real_root) :].strip(os.sep)
    return real_root, below.split(os.sep) if below else []


def _compare(root: str, names: list[str], *, reads: bool) -> Opened:
    """Open a path by its name, and check that it contains no link and is still the same file."""
    path = os.path.join(root, *names)
    _refuse_links(root, names)
    opened = open_path(path, follows_last=False, reads=reads)
    if opened.descriptor is None:
        return opened
    try:
        _refuse_links(root, names)
        if not os.path.samestat(os.stat(path, follow_symlinks=False), opened.status):
            raise _LinkFoundError
    except BaseException:
        opened.close()
        raise
    return opened


def _refuse_links(root: str, names: list[str]) -> None:
    path = root
    for name in names:
        path = os.path.join(path, name)
        if stat.S_ISLNK(os.lstat(path).st_mode):
            raise _LinkFoundError
