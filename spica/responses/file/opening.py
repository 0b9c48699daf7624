"""Open files below a directory, and read the very file that was checked.

A path names another file as soon as a link is swapped into it. This module therefore walks from a
descriptor of the directory down, one name at a time, and follows no link on the way. The status comes from
the descriptor that is read, and the path is never opened a second time.

Links that stay inside the directory still work: they are resolved first, and the resolved path is walked.

Windows has no descriptors of directories. There the file is looked up before and after it is opened, and
both must be the same file.

Standards: POSIX.1-2017 ``openat`` with ``O_NOFOLLOW``, ``fstat``.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

CAN_WALK = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd
"""Whether this system opens a file relative to a descriptor of a directory."""

_MAX_TRIES = 4
"""How often a path is resolved that changes while it is opened; then it counts as missing."""

_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
# A pipe without a writer must not block the thread, and a terminal must not become ours.
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
# Walking through a directory needs the right to search it, not the right to list it.
_SEARCH = getattr(os, "O_PATH", 0) or getattr(os, "O_SEARCH", 0)
_DIRECTORY = _READ | getattr(os, "O_DIRECTORY", 0) | _SEARCH


class Opened(NamedTuple):
    """A file or directory that exists, and the descriptor to read it from.

    The descriptor is None for everything but a regular file, and after a look-up with
    ``reads=False``. The caller closes it.
    """

    path: str
    status: os.stat_result
    descriptor: int | None = None

    def close(self) -> None:
        """Close the descriptor, if there is one."""
        if self.descriptor is not None:
            os.close(self.descriptor)


class _LinkFoundError(Exception):
    """A name on the way is a link."""


def open_path(path: str, *, follows_last: bool = True, reads: bool = True) -> Opened:
    """Open the file at ``path``, and follow links.

    Raises:
        OSError: It can't be opened.
    """
    return _open_last(path, path, None, 0 if follows_last else _NO_LINK, reads=reads)


def open_below(root: str, names: list[str], *, reads: bool = True) -> Opened | None:
    """Open the file at ``names`` below the directory ``root``; None if links lead out of it.

    ``root`` itself may be a link. ``names`` must not contain ``..``. With ``reads=False`` nothing but the
    status is returned.

    Raises:
        FileNotFoundError: There is no such file, or it kept changing while it was opened.
        OSError: The system refuses to look, for example for a lack of permissions.
    """
    open_without_links = _walk if CAN_WALK else _compare
    resolved: tuple[str, list[str]] | None = (root, names)
    for _ in range(_MAX_TRIES):
        if resolved is None:
            return None
        try:
            return open_without_links(*resolved, reads=reads)
        except _LinkFoundError:
            # The link may be new, so resolve the path from the start each time.
            resolved = _resolve(root, names)
    raise FileNotFoundError(errno.ENOENT, "The path changed while it was opened", names[-1])


def read_content(opened: Opened) -> bytes | None:
    """Return all of a regular file that was opened; None if it changed meanwhile.

    Raises:
        OSError: It can't be read.
    """
    descriptor, known = opened.descriptor, opened.status
    if descriptor is None:
        return None
    # One byte more, to notice a file that has grown.
    content = os.read(descriptor, known.st_size + 1)
    status = os.fstat(descriptor)
    if len(content) != known.st_size or not has_same_content(status, known):
        return None
    return content


def has_same_content(first: os.stat_result, second: os.stat_result) -> bool:
    """Return whether two looks at one file saw the same bytes, as far as size and time can tell."""
    return first.st_size == second.st_size and first.st_mtime_ns == second.st_mtime_ns


def _walk(root: str, names: list[str], *, reads: bool) -> Opened:
    """Open a path without links, from the descriptor of its root down."""
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
        # Systems disagree on the error for a link where a directory is wanted.
        if exc.errno in (errno.ENOTDIR, errno.ELOOP, errno.EMLINK):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                raise _LinkFoundError from None
        raise


def _open_last(name: str, path: str, directory: int | None, no_link: int, *, reads: bool) -> Opened:
    """Open the last name of a path, if it is a regular file."""
    # Check the type first: opening a device may have effects.
    status = os.stat(name, dir_fd=directory, follow_symlinks=not no_link)
    if stat.S_ISLNK(status.st_mode):
        raise _LinkFoundError
    if not reads or not stat.S_ISREG(status.st_mode):
        return Opened(path, status)
    try:
        descriptor = os.open(name, _READ | _NO_WAIT | no_link, dir_fd=directory)
    except OSError as exc:
        if no_link and exc.errno in (errno.ELOOP, errno.EMLINK):
            raise _LinkFoundError from None  # swapped in since
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
    """Return the root and the names of the same path without links; None if it leads out of the root.

    Raises:
        OSError: There is no such file, or a link leads in a circle.
    """
    real_root = os.path.realpath(root)
    try:
        real_path = os.path.realpath(os.path.join(root, *names), strict=True)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        return root, names  # a link became something else while it was read
    if real_path != real_root and os.path.commonpath((real_root, real_path)) != real_root:
        return None
    below = real_path[len(real_root) :].strip(os.sep)
    return real_root, below.split(os.sep) if below else []


def _compare(root: str, names: list[str], *, reads: bool) -> Opened:
    """Open a path without links by its name, and look whether it still is the same file."""
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
