"""Servers as processes of their own: started on a free port, waited for, stopped by their id."""

import os
import shutil
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
    "granian-rsgi": [
        *("granian", "--interface", "rsgi", "--log-level", "error", "--host", "127.0.0.1"),
    ],
}


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def on_core(core: int | None) -> list[str]:
    """Return the words before a command that hold it to one core, where ``taskset`` is known."""
    if core is None or shutil.which("taskset") is None:
        return []
    return ["taskset", "--cpu-list", str(core)]


def status_kilobytes(pid: int, key: str) -> int:
    """Return a figure of ``/proc/PID/status``, which Linux has."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/{pid}/status has no {key}")


class Served:
    """Serve ``benchmarks.served:app`` while the context is open."""

    def __init__(self, server: str, framework: str, case: str, core: int | None = None) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", *COMMANDS[server], "--port", str(self.port)]
        self.command = [*on_core(core), *command]
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
        stop(self.process)
        self.log.close()


def stop(process: subprocess.Popen[bytes]) -> None:
    """Respond a process to end, and end it when it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
