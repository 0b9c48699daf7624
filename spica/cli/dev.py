"""``spica dev``: serve from a worker process, and replace it when a file is saved.

The parent holds the socket: a request during a reload waits for the new process, which answers it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from spica.cli.options import ServeOptions, url_of
from spica.cli.pool import StopSignals, Worker
from spica.cli.worker import EXIT_FAILED, EXIT_STOPPED, EXIT_UNUSABLE

if TYPE_CHECKING:
    import socket

    from watchfiles import Change

GRACE_SECONDS = 1.0
"""The time that an old process has for the end of its lifespan. Open streams get none."""

TICK_MILLISECONDS = 100
"""The time between two looks at the process, while no file changes."""

SUFFIXES = frozenset({".py", ".html", ".jinja", ".jinja2", ".j2"})
IGNORED_FOLDERS = frozenset(
    {"__pycache__", "node_modules", "site-packages", ".git", ".tox", ".venv", "venv"}
)


def is_source(path: str) -> bool:
    """Return whether a file belongs to the program: Python, a template, or a ``.env`` file."""
    file = Path(path)
    if not IGNORED_FOLDERS.isdisjoint(file.parts):
        return False
    return file.suffix in SUFFIXES or file.name == ".env" or file.name.startswith(".env.")


def _is_source_change(change: Change, path: str) -> bool:
    return is_source(path)


class Reloader:
    """A worker process that is replaced whenever a source file changes."""

    def __init__(self, options: ServeOptions, sock: socket.socket, folders: list[str]) -> None:
        self.options = options
        self.sock = sock
        self.folders = folders
        self.signals = StopSignals()
        self.has_served = False
        self._start()

    def run(self) -> int:
        """Serve and reload until a signal arrives; return the exit status."""
        from watchfiles import watch

        # The watch begins while the process starts, so that no save is missed.
        changes = watch(
            *self.folders,
            watch_filter=_is_source_change,
            debounce=200,
            rust_timeout=TICK_MILLISECONDS,
            yield_on_timeout=True,
            stop_event=_StopEvent(self.signals),
            raise_interrupt=False,
        )
        try:
            for changed in changes:
                if self.signals.count:
                    break
                status = self._look_at_worker()
                if status is not None:
                    return status
                if changed:
                    self._reload(sorted({path for _, path in changed}))
            return EXIT_STOPPED
        finally:
            self._stop()

    def _start(self) -> None:
        self.begin = time.monotonic()
        self.worker = Worker(self.options, self.sock, survives_errors=self.has_served)
        self.is_reported = self.has_reported_end = False

    def _look_at_worker(self) -> int | None:
        """Print that the worker is ready or has ended; return a status if none ever served."""
        has_ended = self.worker.has_ended
        self.worker.read()
        if has_ended:
            return self._report_end()
        if self.worker.is_ready and not self.is_reported:
            if self.has_served:
                print(f"Reloaded in {time.monotonic() - self.begin:.1f} s.", flush=True)
            else:
                print(f"{url_of(self.sock)}  (Ctrl-C stops)", flush=True)
            self.has_served = self.is_reported = True
        return None

    def _report_end(self) -> int | None:
        if self.has_served:
            if not self.has_reported_end:
                self.has_reported_end = True
                code = self.worker.process.exitcode
                print(f"The server ended with status {code}. Waiting for a change.", flush=True)
            return None
        if not self.worker.failure:
            return EXIT_FAILED
        print(f"spica: {self.worker.failure}", file=sys.stderr)
        return EXIT_UNUSABLE

    def _reload(self, paths: list[str]) -> None:
        names = ", ".join(os.path.relpath(path) for path in paths[:3])
        print(f"\n{names}{' ...' if len(paths) > 3 else ''} changed: reloading.", flush=True)
        self._stop()
        if not self.signals.count:
            self._start()

    def _stop(self) -> None:
        self.worker.terminate()
        self.worker.end(GRACE_SECONDS)


class _StopEvent(threading.Event):
    """An event that is set once a signal has arrived."""

    def __init__(self, signals: StopSignals) -> None:
        super().__init__()
        self.signals = signals

    def is_set(self) -> bool:
        return bool(self.signals.count)
