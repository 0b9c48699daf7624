"""``spica dev``: serve from a worker process, and replace it when a file is saved.

The parent holds the socket: a request during a reload waits for the new process, which answers it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from spica.cli.listening import url_of
from spica.cli.options import ServeOptions
from spica.cli.pool import StopSignals, Worker
from spica.cli.worker import EXIT_FAILED, EXIT_STOPPED, EXIT_UNUSABLE

if TYPE_CHECKING:
    import socket

    from watchfiles import Change

GRACE_SECONDS = 1.0
"""The time that an old process has for the end of its lifespan. Open streams get none."""

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
        self.signals = StopSignals()
        self.folders = folders
        self.worker = Worker(options, sock)
        self.reports_end = True

    def run(self) -> int:
        """Serve and reload until a signal arrives; return the exit status."""
        try:
            status = self._wait_for_start()
            if status is None:
                self._watch()
                status = EXIT_STOPPED
            return status
        finally:
            self._stop()

    def _wait_for_start(self) -> int | None:
        """Wait until the first process serves; return a status if it does not come to that."""
        import multiprocessing.connection

        while not self.signals.count:
            multiprocessing.connection.wait(
                [self.worker.process.sentinel, self.worker.pipe, self.signals.reader]
            )
            has_ended = self.worker.has_ended
            self.worker.read()
            if self.worker.is_ready:
                print(f"{url_of(self.sock)}  (Ctrl-C stops)", flush=True)
                return None
            if has_ended and not self.signals.count:
                if not self.worker.failure:
                    return EXIT_FAILED
                print(f"spica: {self.worker.failure}", file=sys.stderr)
                return EXIT_UNUSABLE
        return EXIT_STOPPED

    def _watch(self) -> None:
        from watchfiles import watch

        stop = _StopEvent(self.signals)
        changes = watch(
            *self.folders,
            watch_filter=_is_source_change,
            debounce=200,
            rust_timeout=500,
            yield_on_timeout=True,
            stop_event=stop,
            raise_interrupt=False,
        )
        for changed in changes:
            if self.signals.count:
                break
            if changed:
                self._reload(sorted({path for _, path in changed}))
            elif self.worker.has_ended and self.reports_end:
                self.reports_end = False
                code = self.worker.process.exitcode
                print(f"The server ended with status {code}. Waiting for a change.", flush=True)

    def _reload(self, paths: list[str]) -> None:
        names = ", ".join(os.path.relpath(path) for path in paths[:3])
        print(f"\n{names}{' ...' if len(paths) > 3 else ''} changed: reloading.", flush=True)
        self._stop()
        if self.signals.count:
            return
        self.worker = Worker(self.options, self.sock, survives_errors=True)
        self.reports_end = True

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
