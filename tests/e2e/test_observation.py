"""The access log and the metrics on real servers: a client that leaves, and a stream that breaks."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

START_SECONDS = 60

PROGRAM = """\
import asyncio
import logging

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.accesslog import AccessLogMiddleware
from spica.middleware.metrics import MetricsMiddleware, metrics_response
from spica.middleware.requestid import RequestIdMiddleware
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Route

log = logging.getLogger("spica.access")
log.setLevel(logging.INFO)
log.addHandler(logging.FileHandler("access.log"))


async def hello(request):
    return PlainTextResponse("hello")


async def endless(request):
    async def chunks():
        while True:
            yield bytes(4096)
            await asyncio.sleep(0.005)

    return StreamingResponse(chunks())


async def broken(request):
    async def chunks():
        yield b"12345"
        raise RuntimeError("failed")

    return StreamingResponse(chunks())


async def metrics(request):
    return metrics_response(request)


app = Spica(
    routes=[
        Route("/hello", hello),
        Route("/endless", endless),
        Route("/broken", broken),
        Route("/metrics", metrics),
    ],
    middleware=[
        Middleware(RequestIdMiddleware),
        Middleware(AccessLogMiddleware, format="json"),
        Middleware(MetricsMiddleware),
    ],
)
"""

COMMANDS = {
    "uvicorn": ["uvicorn", "main:app", "--no-access-log", "--port"],
    "granian": ["granian", "--interface", "asgi", "main:app", "--port"],
}


class Server:
    """A server with the program above, in a folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        (folder / "main.py").write_text(PROGRAM)
        (folder / "metrics").mkdir()
        environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
        }
        with (folder / "server.log").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *COMMANDS[name], str(self.port)],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def get(self, path: str, size: int | None = None) -> bytes:
        """Return the body of a response, or its first bytes; then leave."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers={"X-Request-ID": path[1:]})
            response = connection.getresponse()
            return response.read() if size is None else response.read(size)
        finally:
            connection.close()

    def wait_for(self, find: Callable[[], Any]) -> Any:
        """Return what ``find`` returns, once that is true."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                found = find()
            except OSError:
                found = None
            if found:
                return found
            time.sleep(0.05)
        pytest.fail((self.folder / "server.log").read_text(errors="replace")[-3000:])

    def entry(self, path: str) -> dict[str, Any] | None:
        """Return the entry of a path in the access log."""
        lines = (self.folder / "access.log").read_text().splitlines()
        found = [entry for entry in map(json.loads, lines) if entry["path"] == path]
        return found[-1] if found else None

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module", params=COMMANDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    pytest.importorskip(request.param)
    pytest.importorskip("prometheus_client")
    server = Server(request.param, tmp_path_factory.mktemp(request.param))
    try:
        server.wait_for(lambda: server.get("/hello"))
        yield server
    finally:
        server.stop()


def test_a_complete_response(server: Server) -> None:
    assert server.get("/hello") == b"hello"

    entry = server.wait_for(lambda: server.entry("/hello"))
    assert (entry["status"], entry["outcome"], entry["bytes"]) == (200, "done", 5)
    assert entry["request_id"] == "hello"


def test_a_client_that_leaves(server: Server) -> None:
    server.get("/endless", size=10_000)

    entry = server.wait_for(lambda: server.entry("/endless"))
    assert (entry["status"], entry["outcome"]) == (200, "client_left")
    assert entry["bytes"] >= 10_000


def test_a_stream_that_breaks(server: Server) -> None:
    with pytest.raises((http.client.HTTPException, OSError)):
        server.get("/broken")

    entry = server.wait_for(lambda: server.entry("/broken"))
    assert (entry["status"], entry["outcome"], entry["bytes"]) == (200, "broken", 5)


def test_the_metrics_know_both(server: Server) -> None:
    def has_both() -> bool:
        text = server.get("/metrics").decode()
        return (
            'responses_total{outcome="broken",route="/broken"}' in text
            and 'responses_total{outcome="client_left",route="/endless"}' in text
            and "http_server_active_streams 0.0" in text
        )

    assert server.wait_for(has_both)
