"""The parent of worker processes: it starts them, replaces those that end, and stops them all."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from spica.cli.options import ServeOptions
from spica.cli.worker import EXIT_FAILED, EXIT_STOPPED, EXIT_UNUSABLE, READY, run_worker

RESTART_SECONDS = 1.0
"""The pause before a worker that ended by itself is replaced, so that a crash at start-up costs little."""

logger = logging.getLogger("spica.run")


class StopSignals:
    """Count SIGINT and SIGTERM, and make ``reader`` readable at each."""

    def __init__(self) -> None:
        self.count = 0
        self.reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")


class Worker:
    """A worker process, and the pipe that it reports to."""

    def __init__(
        self, options: ServeOptions, sock: socket.socket, *, survives_errors: bool = False
    ) -> None:
        context = multiprocessing.get_context("spawn")
        # On Windows a pipe has another class with the same methods.
        reader, writer = context.Pipe(duplex=False)
        self.pipe: Any = reader
        self.process = context.Process(
            target=run_worker, args=(options, sock, writer, _terminal(), survives_errors)
        )
        self.process.start()
        writer.close()
        self.is_ready = False
        self.failure = ""

    def read(self) -> None:
        """Take the messages that the worker has sent."""
        with contextlib.suppress(EOFError, OSError):
            while self.pipe.poll():
                message = self.pipe.recv()
                if message == READY:
                    self.is_ready = True
                else:
                    self.failure = message

    @property
    def has_ended(self) -> bool:
        """Whether the process is over."""
        return not self.process.is_alive()

    def terminate(self) -> None:
        """Ask the worker to stop."""
        self.process.terminate()

    def end(self, seconds: float, signals: StopSignals | None = None) -> None:
        """Wait for the end of the process, and kill it after ``seconds`` or at a second signal."""
        first = signals.count if signals is not None else 0
        deadline = time.monotonic() + seconds
        waits_for: list[Any] = [self.process.sentinel]
        if signals is not None:
            waits_for.append(signals.reader)
        while self.process.is_alive():
            left = deadline - time.monotonic()
            if left <= 0 or (signals is not None and signals.count > max(first, 1)):
                self.process.kill()
                self.process.join()
                break
            ready = multiprocessing.connection.wait(waits_for, left)
            if signals is not None and signals.reader in ready:
                signals.reader.recv(64)
        self.process.join()
        self.pipe.close()


def _terminal() -> int | None:
    """Return the descriptor of standard input if it is a terminal."""
    try:
        return sys.stdin.fileno() if sys.stdin.isatty() else None
    except (AttributeError, OSError, ValueError):  # there is none
        return None


class Pool:
    """Several workers behind one socket.

    A worker that can't start at the beginning ends the pool; one that ends later is replaced.
    """

    def __init__(
        self, options: ServeOptions, sock: socket.socket, announce: Callable[[], None]
    ) -> None:
        self.options = options
        self.sock = sock
        self.announce = announce
        self.signals = StopSignals()
        self.workers: list[Worker] = []
        self.has_started = False
        self.restart_at: list[float] = []

    def run(self) -> int:
        """Serve until a signal arrives, and return the exit status."""
        try:
            for _ in range(self.options.workers):
                self.workers.append(Worker(self.options, self.sock))
            while not self.signals.count:
                self._wait()
                status = self._replace_ended()
                if status is not None:
                    return status
            return EXIT_STOPPED
        finally:
            self.stop()

    def _wait(self) -> None:
        waits_for: list[Any] = [self.signals.reader]
        waits_for += [worker.process.sentinel for worker in self.workers]
        waits_for += [worker.pipe for worker in self.workers if not worker.is_ready]
        timeout = None
        if self.restart_at:
            timeout = max(0.0, min(self.restart_at) - time.monotonic())
        multiprocessing.connection.wait(waits_for, timeout)
        for worker in self.workers:
            worker.read()
        if not self.has_started and all(worker.is_ready for worker in self.workers):
            self.has_started = True
            self.announce()

    def _replace_ended(self) -> int | None:
        """Replace the workers that have ended; return an exit status if that makes no sense."""
        for worker in [worker for worker in self.workers if worker.has_ended]:
            worker.read()
            if worker.failure and not self.has_started:
                print(f"spica: {worker.failure}", file=sys.stderr)
                return EXIT_UNUSABLE
            if not self.has_started and not self.signals.count:
                return EXIT_FAILED
            self.workers.remove(worker)
            worker.end(0)
            if not self.signals.count:
                code = worker.process.exitcode
                reason = f": {worker.failure}" if worker.failure else ""
                logger.error("A worker ended with status %s%s; another one starts", code, reason)
                self.restart_at.append(time.monotonic() + RESTART_SECONDS)
        self._start_due()
        return None

    def _start_due(self) -> None:
        now = time.monotonic()
        due = [moment for moment in self.restart_at if moment <= now]
        self.restart_at = [moment for moment in self.restart_at if moment > now]
        self.workers += [Worker(self.options, self.sock) for _ in due]

    def stop(self) -> None:
        """Stop all workers, and return when none is left."""
        self.sock.close()
        for worker in self.workers:
            worker.terminate()
        deadline = time.monotonic() + self.options.stop_seconds
        for worker in self.workers:
            worker.end(max(0.0, deadline - time.monotonic()), self.signals)
        self.workers.clear()
