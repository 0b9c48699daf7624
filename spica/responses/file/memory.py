"""Keep small files of a directory in memory, and notice changes on disk.

For ``fresh_seconds``, requests for a file are served from memory without a thread. After that, the next
request is still served from memory, while a thread checks the disk. A changed file is dropped, and the next
request reads it again. An entry that has not been checked for twice that time is not used, so no response
is older than that.

The memory has a limit in bytes. The least recently used file is dropped first.

Standard: RFC 9110 s.13 (preconditions).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spica._http.conditional import PRECONDITION_FIELDS
from spica.responses.base import Response
from spica.responses.file.finding import Found

_LEAST_SIZE = 1024
"""Smallest size in bytes of an entry in the total, because headers and table entries need memory."""

_CLOCK_STEP_NANOSECONDS = 2_000_000_000
"""A file that changed this recently may change again without a new modification time, because the coarsest
file systems count in steps of two seconds. The first check reads such a file again."""

_QUIET_NANOSECONDS = 100_000_000
"""A file that changed this recently is not kept, because a program may still be writing it."""


@dataclass(frozen=True, slots=True)
class StaticMemory:
    """The files that ``StaticFiles`` keeps in memory: how many bytes, and for how long.

    Args:
        max_file_size: Limit for one file in bytes. Larger files are read for each request. Default 64 KiB.
        max_size: Limit for all files together in bytes. Default 32 MiB.
        fresh_seconds: Time between two checks of the disk. No response is older than twice this time.
            Default 1 second, so that a change is served within 2 seconds.
        clock: Returns monotonic seconds. Tests may pass their own.

    Raises:
        TypeError: An argument is not a number.
        ValueError: A number is negative or infinite.
    """

    max_file_size: int = 64 * 1024
    max_size: int = 32 * 1024 * 1024
    fresh_seconds: float = 1.0
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        for name in ("max_file_size", "max_size", "fresh_seconds"):
            value: Any = getattr(self, name)
            allowed = (int, float) if name == "fresh_seconds" else int
            if not isinstance(value, allowed) or isinstance(value, bool):
                unit = "seconds" if name == "fresh_seconds" else "bytes"
                raise TypeError(f"StaticMemory({name}={value!r}): give a number of {unit}.")
            if not 0 <= value < math.inf:
                raise ValueError(f"StaticMemory({name}={value!r}): give 0 or a positive number.")


class Kept:
    """A file in memory, and the responses to most requests for it."""

    __slots__ = (
        "_head",
        "_last_modified",
        "_not_modified",
        "_tags",
        "_whole",
        "checked_at",
        "found",
        "has_responses",
        "is_checked",
    )

    _head: Response
    _tags: tuple[bytes, ...]
    _whole: Response

    def __init__(self, found: Found, checked_at: float) -> None:
        self.found = found
        self.checked_at = checked_at
        self.is_checked = False
        self.has_responses = False  # set by `set_responses`

    def set_responses(self, response: Response, not_modified: Response) -> None:
        """Remember the 200 response for this file, and the 304 response that can replace it."""
        fields = dict(response.raw_headers)
        etag = fields.get(b"etag")
        # RFC 9110 s.13.1.2: weak comparison
        self._tags = () if etag is None else (etag, b"W/" + etag)
        self._last_modified = fields.get(b"last-modified")
        self._head = _in_memory(response, b"")
        self._not_modified = not_modified
        self._whole = _in_memory(response, self.found.content or b"")
        self.has_responses = True  # the last step: another event loop may read it

    def answer(self, method: str, headers: list[tuple[bytes, bytes]]) -> Response | None:
        """Return the response to a simple request, or None if it needs the full evaluation.

        A range and most preconditions need it. The response is a copy, because outer layers may edit it.
        """
        fields = [field for field in headers if field[0] in PRECONDITION_FIELDS]
        if not fields:
            return (self._head if method == "HEAD" else self._whole)._copy()
        conditions = dict(fields)
        if len(conditions) != len(fields):
            return None
        tag = conditions.pop(b"if-none-match", None)
        date = conditions.pop(b"if-modified-since", None)
        if conditions:
            return None
        # RFC 9110 s.13.1.3: If-Modified-Since is ignored if there is a tag.
        has_copy = date == self._last_modified if tag is None else tag in self._tags
        return self._not_modified._copy() if has_copy else None


def _in_memory(response: Response, body: bytes) -> Response:
    """Return a response with the headers of another one and its own body."""
    copy = Response(media_type=response.media_type)
    copy.body = copy._measured_body = body
    copy.raw_headers = response.raw_headers
    return copy


class FileMemory:
    """The files of one ``StaticFiles``, by path.

    ``get`` runs on event loops, possibly several at the same time.

    Args:
        settings: The limits.
        find: Looks up a path on the disk. It runs in a thread and may raise.
    """

    def __init__(self, settings: StaticMemory, find: Callable[[str], Found | None]) -> None:
        self._settings = settings
        self.max_file_size = min(settings.max_file_size, settings.max_size)
        self.clock = settings.clock
        self._max_size = settings.max_size
        self._fresh_seconds = settings.fresh_seconds
        self._find = find
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._size = 0
        self._changing = threading.Lock()

    # Applications are copied, and pickled for other processes. The cached files are left out.

    def __getstate__(self) -> tuple[Any, ...]:
        return self._settings, self._find

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        FileMemory.__init__(self, *state)

    def get(self, path: str) -> Kept | None:
        """Return the file at ``path``, or None if it is not in memory or its last check is too old."""
        kept = self._kept.get(path)
        if kept is None:
            return None
        age = self.clock() - kept.checked_at
        if age > self._fresh_seconds:
            if age > 2 * self._fresh_seconds:
                return None
            if not kept.is_checked:
                kept.is_checked = True
                _run_check(self._check, path, kept)
        try:
            self._kept.move_to_end(path)
        except KeyError:  # a thread has just dropped it
            pass
        return kept

    def put(self, path: str, found: Found, started_at: float) -> None:
        """Keep a file with its content. ``started_at`` is when the look-up began.

        A file is not kept if it is too large, if it has changed very recently, or if the cached version is
        newer.
        """
        if found.content is None or len(found.content) > self.max_file_size:
            return
        if _quiet_time(found) < _QUIET_NANOSECONDS:
            return
        with self._changing:
            known = self._kept.get(path)
            if known is not None:
                if known.checked_at > started_at:
                    return
                self._remove(path)
            self._kept[path] = Kept(found, started_at)
            self._size += _size_of(found)
            while self._size > self._max_size:
                self._remove(next(iter(self._kept)))

    def _remove(self, path: str) -> None:
        self._size -= _size_of(self._kept.pop(path).found)

    def _check(self, path: str, kept: Kept) -> None:
        """Compare a file in memory with the disk, and drop it if it has changed."""
        started_at = self.clock()
        try:
            found = self._find(path)
        except Exception:  # the next request raises the same error and reports it
            found = None
        is_time_reliable = _quiet_time(kept.found) > _CLOCK_STEP_NANOSECONDS
        if is_time_reliable and found is not None and _is_same(kept.found, found):
            kept.checked_at = started_at
            kept.is_checked = False
            return
        with self._changing:
            if self._kept.get(path) is kept:
                self._remove(path)


def _size_of(found: Found) -> int:
    return max(len(found.content or b""), _LEAST_SIZE)


def _is_same(kept: Found, found: Found) -> bool:
    """Return whether two look-ups found the same file with the same content and permissions."""
    if kept.path != found.path or kept.is_index != found.is_index:
        return False
    first, second = kept.status, found.status
    return (
        os.path.samestat(first, second)
        and first.st_size == second.st_size
        and first.st_mtime_ns == second.st_mtime_ns
        and first.st_ctime_ns == second.st_ctime_ns
    )


def _quiet_time(found: Found) -> int:
    """Return the time in nanoseconds between the last change of a file and reading it."""
    return found.read_at - max(found.status.st_mtime_ns, found.status.st_ctime_ns)


# One thread runs all checks. If a slow disk delays them, requests read the disk themselves.
_checker: Any = None


def _run_check(check: Callable[[str, Kept], None], path: str, kept: Kept) -> None:
    try:
        get_checker().submit(check, path, kept)
    except RuntimeError:  # the interpreter is shutting down
        pass


def get_checker() -> Any:
    """Return the executor for checks of the disk. A forked process gets a new one."""
    global _checker
    if _checker is None:
        from concurrent.futures import ThreadPoolExecutor  # imported late: few applications need it

        _checker = ThreadPoolExecutor(1, thread_name_prefix="spica-static-files")
    return _checker


def _forget_checker() -> None:
    global _checker
    _checker = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_checker)
