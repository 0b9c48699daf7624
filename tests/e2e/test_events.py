"""Event streams on real servers: a client that takes nothing."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ports import free_port

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """\
import sys
import time

from spica.applications import Spica
from spica.responses import EventSourceResponse, ServerSentEvent
from spica.routing import Route


async def events(request):
    event = ServerSentEvent("x" * 65536)

    async def many():
        begin = time.monotonic()
        try:
            while True:
                yield event
        finally:
            print(f"closed after {time.monotonic() - begin} seconds", file=sys.stderr, flush=True)

    return EventSourceResponse(many(), send_timeout_seconds=1)


app = Spica(routes=[Route("/", events)])
"""
SERVERS = {
    "uvicorn": ["uvicorn", "main:app"],
    "granian": ["granian", "main:app", "--interface", "asgi"],
}
"""Not over RSGI: granian takes each chunk at once there, and keeps it in memory."""


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def request_without_reading(port):
    """Ask for the events with a small receive buffer, or return None before the server listens."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    try:
        client.connect(("127.0.0.1", port))
    except OSError:
        client.close()
        return None
    client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    return client


@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS.keys())
def test_a_client_that_takes_nothing_is_dropped(command, tmp_path):
    (tmp_path / "main.py").write_text(PROGRAM)
    port = free_port()
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", str(port)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with wait_for(lambda: request_without_reading(port)):
            wait_for(lambda: re.search(r"closed after [1-9]\d*\.\d+ seconds", log.read_text()))
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
