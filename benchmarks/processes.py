"""Servers as processes of their own: started on a free port, waited for, stopped by their id."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 20
STOP_SECONDS = 10

COMMANDS = {
    "uvicorn": ["uvicorn", "--no-access-log", "--log-level", "warning", "--host", "127.0.0.1"],
    "granian": ["granian", "--interface", "asgi", "--log-level", "error", "--host", "127.0.0.1"],
}


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """Serve ``benchmarks.served:app`` while the context is open."""

    def __init__(self, server: str, framework: str, case: str) -> None:
        self.port = free_port()
        self.command = [sys.executable, "-m", *COMMANDS[server], "--port", str(self.port)]
        self.environment = {**os.environ, "BENCH_FRAMEWORK": framework, "BENCH_CASE": case}
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  # closed by stop()

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [*self.command, "benchmarks.served:app"],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def wait(self) -> None:
        """Wait until the server takes connections."""
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                self.connect().close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.log.seek(0)
        raise RuntimeError(f"{self.command} did not start:\n{self.log.read().decode()}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
