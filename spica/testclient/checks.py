"""The checks of `AsyncTestClient`: ASGI rules while it runs, and leaks at its exit."""

import gc
import os
import stat
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel

from spica.testclient.tasks import names_of_marked

_DESCRIPTORS = "/proc/self/fd"
"""The directory with the open files of a process on Linux."""

GRACE_STEPS = 20
"""The number of event loop turns that a task has to end after the application has stopped."""

GRACE_SECONDS = 0.05
"""The seconds that a task has to end after those turns. Then it counts as a leak."""

GRACE_PARTS = 5
"""The parts of that time. A busy machine may stop the process for longer than all of it, which ends one
part."""


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks of a client. Switch off the checks that do not fit a test.

    Args:
        asgi: raise an AssertionError in the application for a message that breaks a rule of ASGI.
            Without the check, the client drops the message.
        tasks: refuse, at exit, tasks that the application started and did not end.
        streams: refuse, at exit, responses and WebSockets that the test did not close.
        files: refuse, at exit, files that were opened while the client ran and are still open.
            Works on Linux; other systems have no cheap list of open files.
    """

    asgi: bool = True
    tasks: bool = True
    streams: bool = True
    files: bool = True


class LeakCheck:
    """Find the tasks, streams and files that an application leaves open.

    Args:
        checks: the checks to run.
        owner: the `client` of the exchanges whose tasks count.
    """

    def __init__(self, checks: Checks, owner: Any) -> None:
        self._checks = checks
        self._owner = owner
        self._files = _open_files() if checks.files else {}

    async def leftovers(self, streams: list[str]) -> list[str]:
        """Return a line for each kind of leak; `streams` are the names of the open streams."""
        tasks = await self._left_tasks() if self._checks.tasks else []
        lines = []
        for kind, names in (
            ("tasks that the application did not end", tasks),
            ("responses or WebSockets that the test did not close", self._left_streams(streams)),
            ("files that are still open", self._left_files() if self._checks.files else []),
        ):
            if names:
                lines.append(f"{kind}: {', '.join(names)}")
        return lines

    def _left_streams(self, streams: list[str]) -> list[str]:
        return streams if self._checks.streams else []

    async def _left_tasks(self) -> list[str]:
        for _ in range(GRACE_STEPS):
            if not names_of_marked(self._is_mark):
                return []
            await anyio.lowlevel.checkpoint()
        for _ in range(GRACE_PARTS):
            await anyio.sleep(GRACE_SECONDS / GRACE_PARTS)
            if not names_of_marked(self._is_mark):
                break
        return names_of_marked(self._is_mark)

    def _is_mark(self, mark: Any) -> bool:
        return mark is not None and mark.client is self._owner

    def _left_files(self) -> list[str]:
        left = _open_files().items() - self._files.items()
        if left:
            # A file object that only a reference cycle holds is garbage, not a leak
            gc.collect()
            left = _open_files().items() - self._files.items()
        return sorted(path for _, path in left)


def _open_files() -> dict[int, str]:
    """Return the open regular files of this process by descriptor, or nothing on other systems."""
    files = {}
    try:
        descriptors = os.listdir(_DESCRIPTORS)
    except OSError:
        return {}
    for descriptor in map(int, descriptors):
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                files[descriptor] = os.readlink(f"{_DESCRIPTORS}/{descriptor}")
        except OSError:
            pass  # the descriptor of the listing itself, closed again
    return files
