"""A process that serves: started by ``spica run --workers`` and by ``spica dev``."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from spica.checks.loading import LoadError
from spica.cli.options import ServeOptions

EXIT_STOPPED, EXIT_FAILED, EXIT_UNUSABLE = 0, 1, 2
READY = "ready"

ORPHAN_SECONDS = 3.0
"""The time that a worker without a parent has for the end of its lifespan."""


def run_worker(
    options: ServeOptions,
    sock: socket.socket,
    pipe: Connection,
    stdin: int | None = None,
    survives_errors: bool = False,
) -> None:
    """Load the application and serve it; the function that a worker process runs.

    Args:
        options: The settings.
        sock: The socket that listens.
        pipe: Receives ``READY``, or the reason why there is no application.
        stdin: The descriptor of the terminal, so that ``breakpoint()`` works.
        survives_errors: Serve an error page if the application can't be loaded.
    """
    follow_parent(options.graceful_seconds)
    # Ctrl-C and a closed terminal reach the whole process group. The parent decides, and sends SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):  # not on Windows
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if stdin is not None:
        with contextlib.suppress(OSError):
            sys.stdin = os.fdopen(stdin)
    sys.exit(_serve(options, sock, pipe, survives_errors))


def _serve(
    options: ServeOptions, sock: socket.socket, pipe: Connection, survives_errors: bool
) -> int:
    from spica.cli.logs import configure_logs
    from spica.cli.serving import BrokenApplication
    from spica.cli.uvicorn_server import serve

    configure_logs(options)
    app: Any
    try:
        app = _load(options)
    except LoadError as error:
        if not survives_errors:
            pipe.send(str(error))
            return EXIT_UNUSABLE
        message = f"{own_traceback(error.__cause__)}{error}"
        print(f"spica: {message}\nWaiting for a change.", file=sys.stderr, flush=True)
        app = BrokenApplication(f"{message}\n")
    ready = _Ready(pipe)
    if serve(app, options, sock, ready):
        return EXIT_STOPPED
    if survives_errors:
        message = "The application failed at its start-up. The terminal shows the error."
        print(f"spica: {message} Waiting for a change.", file=sys.stderr, flush=True)
        return EXIT_STOPPED if serve(BrokenApplication(message), options, sock, ready) else 1
    return EXIT_FAILED


class _Ready:
    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def __call__(self) -> None:
        with contextlib.suppress(OSError):  # the parent has gone
            self.pipe.send(READY)


def _load(options: ServeOptions) -> Any:
    from spica.cli.serving import describe, enable_debug, load_served

    found = load_served(options)
    if options.is_dev:
        print("\n".join([found.target, *describe(found)]), flush=True)
        enable_debug(found)
    return found.app


def own_traceback(error: BaseException | None) -> str:
    """Return the traceback of an error without the frames of the import machinery and of spica's loader."""
    if error is None:
        return ""
    summary = traceback.TracebackException.from_exception(error)
    frames = [
        frame
        for frame in summary.stack
        if not frame.filename.startswith("<frozen importlib")
        and not frame.filename.endswith(("importlib/__init__.py", "checks/loading.py"))
    ]
    summary.stack = traceback.StackSummary.from_list(frames)
    return "".join(summary.format())


def follow_parent(graceful_seconds: float) -> None:
    """Make this process stop when its parent has ended, even if that was killed.

    It has ``graceful_seconds`` and some more to do so by itself.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        thread = threading.Thread(
            target=_follow,
            args=(parent.sentinel, graceful_seconds),
            name="spica.parent",
            daemon=True,
        )
        thread.start()


def _follow(sentinel: int, graceful_seconds: float) -> None:
    multiprocessing.connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(graceful_seconds + ORPHAN_SECONDS)
    os._exit(EXIT_FAILED)
