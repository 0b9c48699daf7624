"""The example under real servers, each on a free port of the loopback interface."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ports import free_port

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
START_SECONDS = 60
STOP_SECONDS = 60
SETTLE_SECONDS = 60
"""How long a server may take to clear away what a client has left behind."""

UVICORN = ["uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--no-access-log"]
SERVERS = {
    "uvicorn-httptools": [*UVICORN, "--http", "httptools", "--loop", "uvloop"],
    "uvicorn-h11": [*UVICORN, "--http", "h11", "--loop", "asyncio", "--ws", "wsproto"],
    "granian": ["granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}"],
    "granian-rsgi": ["granian", "--interface", "rsgi", "--host", "127.0.0.1", "--port", "{port}"],
    "hypercorn": [
        *("hypercorn", "--bind", "127.0.0.1:{port}", "--graceful-timeout", "1"),
        *("--config", str(HERE / "hypercorn.toml")),
    ],
}
"""The commands that start them; ``{port}`` stands for the port."""

RSGI_SERVERS = {"granian-rsgi"}
"""Servers that are given the app in its adapter, since it is a plain function."""

CONNECTION_TASKS = ("EventWrapper.", "TCPServer.", "worker_serve.")
"""What hypercorn calls the tasks that wait for the next request of a connection."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show what the server has said when a test fails."""
    report = yield
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(server, Server):
        report.sections.append((f"log of {server.name}", server.log_text()[-5000:]))
    return report


def tasks_of_requests(report: dict) -> list[str]:
    """The tasks that run, but for those that a server keeps for each open connection."""
    return [name for name in report["tasks"] if not name.startswith(CONNECTION_TASKS)]


class Server:
    """One server process that serves ``observed:app``."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.log_path = directory / "log"
        self.temporary = directory / "temporary"
        self.temporary.mkdir()
        self.data = directory / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.resting: list[str] = []
        self.app_name = "rsgi_app" if name in RSGI_SERVERS else "app"
        self.sends_close_codes = name not in RSGI_SERVERS

    def start(self) -> None:
        environment = {
            **os.environ,
            "NOTES_DIRECTORY": str(self.data),
            "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(HERE), str(HERE.parents[1])]),
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.temporary),
        }
        command = [word.format(port=self.port) for word in SERVERS[self.name]]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command, f"observed:{self.app_name}"],
                cwd=HERE,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait_for("the server to answer", self.is_answering)
        self.resting = tasks_of_requests(self.report())

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"{self.name} did not stop:\n{self.log_text()[-3000:]}")

    def log_text(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_for(
        self, what: str, is_so: Callable[[], bool], seconds: float = START_SECONDS
    ) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{self.name}: waited in vain for {what}\n{self.log_text()[-5000:]}")
            time.sleep(0.02)

    def is_answering(self) -> bool:
        try:
            return bool(self.report())
        except OSError:
            return False

    def report(self) -> dict:
        """Return what goes on in the server's process."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", "/observed/report", headers={"connection": "close"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def settle(self) -> None:
        """Wait until nothing is left of earlier requests: no task, no stream, no file."""
        left: dict = {}

        def is_settled() -> bool:
            left.update(self.report())
            extra = len(tasks_of_requests(left)) - len(self.resting)
            return extra <= 0 and not left["files"] and not left["streams"]

        deadline = time.monotonic() + SETTLE_SECONDS
        while not is_settled():
            if time.monotonic() > deadline:
                pytest.fail(f"{self.name} has left over {left}; at rest it has {self.resting}")
            time.sleep(0.02)


@pytest.fixture(scope="module", params=list(SERVERS))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A running server; one for all tests of a file."""
    server = Server(request.param, tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()
