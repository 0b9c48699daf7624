"""A deploy: SIGTERM under open event streams and WebSockets, on each server."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ports import free_port

ROOT = Path(__file__).resolve().parents[2]
STREAMS = SOCKETS = 60
DRAIN_SECONDS = 2
PROGRAM = f"""\
import sys
from contextlib import asynccontextmanager

import anyio

from spica.applications import Spica
from spica.responses import EventSourceResponse, ServerSentEvent
from spica.routing import Route, WebSocketRoute


@asynccontextmanager
async def lifespan(app):
    yield
    print("lifespan ended:", app.shutdown.reason, file=sys.stderr, flush=True)


async def ticks():
    number = 0
    while True:
        yield ServerSentEvent("x" * 1000, id=number)
        number += 1
        await anyio.sleep(0.2)


async def events(request):
    return EventSourceResponse(ticks())


async def feed(websocket):
    await websocket.accept()
    async with websocket.app.shutdown.cancel_soon() as ending:
        while True:
            await websocket.receive_text()
    if ending.is_over:
        await websocket.close(1012)


app = Spica(
    routes=[Route("/events", events), WebSocketRoute("/feed", feed)],
    lifespan=lifespan,
    drain_seconds={DRAIN_SECONDS},
)
"""
SERVERS = {
    "uvicorn": ["uvicorn", "main:app"],
    "uvicorn-workers": ["uvicorn", "main:app", "--workers", "2"],
    "granian": ["granian", "main:app", "--interface", "asgi", "--workers-kill-timeout", "60"],
    "granian-rsgi": ["granian", "main:app", "--interface", "rsgi", "--workers-kill-timeout", "60"],
    "spica-run": ["spica", "run", "main:app", "--workers", "2"],
}
GRANIAN_CODES = {1005, 1006, 1012}
"""granian closes WebSockets by itself at once, without a code or a close frame."""

HANDSHAKE = (
    "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


@pytest.fixture(params=SERVERS)
def server(request, tmp_path):
    """A process that serves the program, its port and its log."""
    (tmp_path / "main.py").write_text(PROGRAM)
    port = free_port()
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *SERVERS[request.param], "--port", str(port)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process, port, log
    finally:
        process.kill()
        process.wait()


async def connect(port, path, headers=""):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101")), head
    return reader, writer


async def connect_first(port):
    """Wait until the server answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return await connect(port, "/events")
        except OSError:
            assert time.monotonic() < deadline, "the server does not answer"
            await asyncio.sleep(0.05)


async def read_rest(reader, writer):
    rest = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return rest


async def deploy(process, port):
    """Open the connections, send SIGTERM, and return what each of them gets until its end."""
    streams = [await connect_first(port)]
    streams += [await connect(port, "/events") for _ in range(STREAMS - 1)]
    sockets = [await connect(port, "/feed", HANDSHAKE) for _ in range(SOCKETS)]
    process.send_signal(signal.SIGTERM)
    rests = await asyncio.gather(*(read_rest(*each) for each in streams + sockets))
    return rests[:STREAMS], rests[STREAMS:]


def events_of(body):
    """Return the events of a chunked body, after a check that it is complete."""
    assert body.endswith(b"0\r\n\r\n"), body[-100:]
    data = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        data += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
    return data.split(b"\n\n")


def close_code(frames):
    """Return the code of a close frame; 1005 without a code, 1006 without a frame (RFC 6455 s.7.4.1)."""
    while frames[:1] == b"\x89":  # a ping, because the test took long
        frames = frames[2 + frames[1] :]
    if not frames:
        return 1006
    assert frames[0] == 0x88
    return int.from_bytes(frames[2:4]) if frames[1] else 1005


def test_a_deploy_ends_all_streams_and_sockets_in_good_order(server):
    process, port, log = server
    streams, sockets = asyncio.run(deploy(process, port))
    process.wait(60)
    for body in streams:
        *events, last, end = events_of(body)
        assert re.fullmatch(rb": The server restarts\.\nretry: \d{4}", last)
        assert end == b""
        assert all(re.fullmatch(rb"id: \d+\ndata: x{1000}", event) for event in events)
    codes = {close_code(frames) for frames in sockets}
    assert codes <= (GRANIAN_CODES if "granian" in str(process.args) else {1001, 1012})
    assert "lifespan ended: SIGTERM" in log.read_text()
