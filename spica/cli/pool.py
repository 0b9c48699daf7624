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
    """Count SIGINT and SIGTERM, and make ``reader`` readable at each.

    SIGHUP counts too, for example if the terminal has been closed. A pool reloads its workers instead, unless
    it had a terminal and lost it.
    """

    def __init__(self, *, can_reload: bool = False) -> None:
        self.count = 0
        self.reloads = 0
        self._can_reload = can_reload
        self._has_terminal = find_terminal() is not None
        self.reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)
        hangup = getattr(signal, "SIGHUP", None)  # not on Windows
        if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
            signal.signal(hangup, self._handle_hangup)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self._wake()

    def _handle_hangup(self, number: int, frame: FrameType | None) -> None:
        if not self._can_reload or (self._has_terminal and find_terminal() is None):
            self.count += 1
        else:
            self.reloads += 1
        self._wake()

    def _wake(self) -> None:
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
            target=run_worker, args=(options, sock, writer, find_terminal(), survives_errors)
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


def find_terminal() -> int | None:
    """Return the descriptor of standard input if it is a terminal."""
    try:
        return sys.stdin.fileno() if sys.stdin.isatty() else None
    except (AttributeError, OSError, ValueError):  # there is none
        return None


class Pool:
    """Several workers behind one socket.

    A worker that can't start at the beginning ends the pool; one that ends later is replaced.

    SIGHUP replaces all workers, one after the other: a new one starts, and when it serves, an old one ends
    in good order. If a new one can't start, the old ones go on.
    """

    def __init__(
        self, options: ServeOptions, sock: socket.socket, announce: Callable[[], None]
    ) -> None:
        self.options = options
        self.sock = sock
        self.announce = announce
        self.signals = StopSignals(can_reload=True)
        self.workers: list[Worker] = []
        self.has_started = False
        self.restart_at: list[float] = []
        self.outdated: list[Worker] = []
        """The workers that a reload replaces."""
        self.fresh: Worker | None = None
        """The worker that starts in place of one of them."""
        self.leaving: list[tuple[Worker, float]] = []
        """The workers that end, and the times when they must have."""

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
                self._reload()
                self._kill_late()
            return EXIT_STOPPED
        finally:
            self.stop()

    def _wait(self) -> None:
        waits_for: list[Any] = [self.signals.reader]
        waits_for += [worker.process.sentinel for worker in self.workers]
        waits_for += [worker.pipe for worker in self.workers if not worker.is_ready]
        waits_for += [worker.process.sentinel for worker, _ in self.leaving]
        timeout = None
        times = [*self.restart_at, *(latest for _, latest in self.leaving)]
        if times:
            timeout = max(0.0, min(times) - time.monotonic())
        if self.signals.reader in multiprocessing.connection.wait(waits_for, timeout):
            self.signals.reader.recv(64)
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
            if worker is self.fresh:
                self._stop_reload(worker)
            elif not self.signals.count:
                self._replace(worker)
        self._start_due()
        return None

    def _replace(self, worker: Worker) -> None:
        """Plan another worker in place of one that has ended by itself."""
        code = worker.process.exitcode
        reason = f": {worker.failure}" if worker.failure else ""
        logger.error("A worker ended with status %s%s; another one starts", code, reason)
        if worker in self.outdated:
            self.outdated.remove(worker)  # the other one has the new code
            if self.fresh is not None and not self.outdated:
                self.fresh = None  # it starts already, and takes the place of this one
                return
        self.restart_at.append(time.monotonic() + RESTART_SECONDS)

    def _start_due(self) -> None:
        now = time.monotonic()
        due = [moment for moment in self.restart_at if moment <= now]
        self.restart_at = [moment for moment in self.restart_at if moment > now]
        for _ in due:
            if self._start() is None:
                self.restart_at.append(now + RESTART_SECONDS)

    def _start(self) -> Worker | None:
        """Start a worker, or log why the system can't: it may lack memory, for example."""
        try:
            worker = Worker(self.options, self.sock)
        except OSError as error:
            logger.error("A worker can't start: %s. The others go on.", error)
            return None
        self.workers.append(worker)
        return worker

    def _reload(self) -> None:
        """Take the next step of a reload, if there is one."""
        if self.signals.reloads and self.has_started and not self.outdated:
            self.signals.reloads = 0
            self.outdated = list(self.workers)
            logger.info("SIGHUP: new workers start")
        if self.fresh is not None and self.fresh.is_ready:
            self.fresh = None
            if self.outdated:
                worker = self.outdated.pop(0)
                self.workers.remove(worker)
                worker.terminate()
                self.leaving.append((worker, time.monotonic() + self.options.stop_seconds))
        if self.outdated and self.fresh is None:
            self.fresh = self._start()
            if self.fresh is None:
                self.outdated.clear()

    def _stop_reload(self, worker: Worker) -> None:
        end = "it ended at once" if worker.is_ready else "its start-up failed"
        reason = worker.failure or end
        logger.error("The new worker can't serve: %s. The old workers go on.", reason)
        self.fresh = None
        self.outdated.clear()

    def _kill_late(self) -> None:
        now = time.monotonic()
        for entry in list(self.leaving):
            worker, latest = entry
            if worker.has_ended or latest <= now:
                worker.end(0)
                self.leaving.remove(entry)

    def stop(self) -> None:
        """Stop all workers, and return when none is left."""
        self.sock.close()
        for worker in self.workers:
            worker.terminate()
        deadline = time.monotonic() + self.options.stop_seconds
        ending = self.workers + [worker for worker, _ in self.leaving]
        for worker in ending:
            worker.end(max(0.0, deadline - time.monotonic()), self.signals)
        self.workers.clear()
        self.leaving.clear()
