"""The clients of a soak: what each of them does, over and over, on plain sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

ANSWER_SECONDS = 60
BOUNDARY = "frontier"


class Wrong(Exception):
    """The server has answered what it should not."""


class Site:
    """Where the server is, and what its clients have seen."""

    def __init__(self, port: int, seed: int = 0) -> None:
        self.port = port
        self.random = random.Random(seed)
        self.statuses: Counter[int] = Counter()
        self.done: Counter[str] = Counter()
        self.sessions = 0

    @asynccontextmanager
    async def connect(self) -> Any:
        """Open a connection; it is closed at the end, whatever the server does."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def request(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, bytes, bytes]:
        """Send a request, and return the status, the head and the body of its answer."""
        async with self.connect() as (reader, writer):
            writer.write(head(method, path, len(body), **headers) + body)
            try:
                answer = await asyncio.wait_for(reader.read(), ANSWER_SECONDS)
            except TimeoutError:
                raise Wrong(f"{method} {path} was not answered in {ANSWER_SECONDS} s") from None
        top, _, content = answer.partition(b"\r\n\r\n")
        status = self.note(top)
        return status, top, content

    def note(self, answer: bytes) -> int:
        """Count the status of an answer; 0 where there is none."""
        found = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
        status = int(found[1]) if found else 0
        self.statuses[status] += 1
        if status >= 500:
            raise Wrong(f"an answer of {status}: {answer[:200]!r}")
        return status


def head(method: str, path: str, length: int = 0, **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    if length or method == "POST":
        lines.append(f"Content-Length: {length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def make_form(size: int) -> tuple[bytes, str]:
    """Return a form with a file of a size, and its Content-Type."""
    parts = [
        part("title", b"Soak"),
        part("text", b"wet"),
        part("attachment", os.urandom(1024) * (size // 1024), '; filename="../a b.bin"'),
    ]
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return body, f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, data: bytes, more: str = "") -> bytes:
    line = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return line.encode() + data + b"\r\n"


async def leave(writer: asyncio.StreamWriter, site: Site) -> None:
    """Go away in the middle: closed, or reset without a word."""
    if site.random.random() < 0.5:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# -- what clients do -----------------------------------------------------------------------------------


async def browse(site: Site) -> None:
    """Look at pages and files."""
    for path in (
        "/",
        "/?q=soak&page=2",
        "/static/style.css",
        "/api/notes",
        "/nowhere",
        "/notes.csv",
    ):
        await site.request("GET", path, accept_encoding="gzip")


async def keep_a_note(site: Site) -> None:
    """Upload a note with a file, read it, and delete it."""
    body, content_type = make_form(site.random.choice([2048, 300 * 1024, 1500 * 1024]))
    status, top, _ = await site.request("POST", "/notes", body, content_type=content_type)
    found = re.search(rb"(?i)\nlocation: \S*?(/notes/\d+)", top)
    if status != 303 or found is None:
        raise Wrong(f"the note was not kept: {top[:300]!r}")
    path = found[1].decode()
    await site.request("GET", path)
    await site.request("GET", f"{path}/attachment", range="bytes=0-99,200-300")
    await site.request("POST", f"{path}/delete")


async def break_off_an_upload(site: Site) -> None:
    body, content_type = make_form(2 * 1024 * 1024)
    cut = site.random.randrange(len(body))
    path = site.random.choice(["/notes", "/soak/form"])
    async with site.connect() as (_, writer):
        writer.write(head("POST", path, len(body), content_type=content_type) + body[:cut])
        await asyncio.sleep(site.random.random() / 20)
        await leave(writer, site)


async def forget_a_form(site: Site) -> None:
    body, content_type = make_form(site.random.choice([1024, 400 * 1024]))
    status, _, _ = await site.request("POST", "/soak/form", body, content_type=content_type)
    if status != 200:
        raise Wrong(f"a form: {status}")


async def leave_a_stream(site: Site) -> None:
    async with site.connect() as (reader, writer):
        writer.write(head("GET", "/soak/stream"))
        for _ in range(site.random.randrange(4)):
            await reader.read(65536)
        await leave(writer, site)


async def leave_before_the_answer(site: Site) -> None:
    async with site.connect() as (_, writer):
        writer.write(head("POST", "/soak/task"))
        await leave(writer, site)


async def ask_for_tasks(site: Site) -> None:
    await site.request("POST", "/soak/task")


async def count_in_a_session(site: Site) -> None:
    """Write a session ten times: each answer must know of the one before."""
    cookie = ""
    for number in range(1, 11):
        _, top, body = await site.request("POST", "/soak/session", cookie=cookie)
        if json.loads(body) != number:
            raise Wrong(f"a write of a session is lost: {body!r} is not {number}")
        site.sessions += 1
        found = re.search(rb"(?i)\nset-cookie: (session=[^;]+)", top)
        cookie = found[1].decode() if found else ""


GARBAGE = [
    b"\0" * 100,
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /%ff%fe HTTP/1.1\r\nHost: [\r\nCookie: ;;=;\xff\r\nRange: bytes=9-1,-\r\n\r\n",
    b"POST /api/notes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /api/notes HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n[[[[[[[[[",
    b"POST /notes HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 20\r\n\r\n--b\r\nContent-Disposi",
    b"GET /chat/live HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
]


async def send_garbage(site: Site) -> None:
    async with site.connect() as (reader, writer):
        data = site.random.choice([*GARBAGE, site.random.randbytes(300)])
        writer.write(data)
        try:
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(65536), ANSWER_SECONDS)
        except OSError:
            return
        if answer:
            site.note(answer)


async def drip(site: Site) -> None:
    """Send a body slowly."""
    body = json.dumps({"title": "Drip", "text": "drop"}).encode()
    async with site.connect() as (reader, writer):
        writer.write(head("POST", "/api/notes", len(body), content_type="application/json"))
        for start in range(0, len(body), 7):
            writer.write(body[start : start + 7])
            await asyncio.sleep(0.01)
        answer = await asyncio.wait_for(reader.read(), ANSWER_SECONDS)
    if site.note(answer) == 201:
        number = json.loads(answer.partition(b"\r\n\r\n")[2])["id"]
        await site.request("DELETE", f"/api/notes/{number}")


async def chat(site: Site) -> None:
    """Talk on a WebSocket, say rubbish now and then, and leave with or without a word."""
    key = base64.b64encode(site.random.randbytes(16)).decode()
    async with site.connect() as (reader, writer):
        upgrade = {"upgrade": "websocket", "sec_websocket_version": "13", "sec_websocket_key": key}
        start = head("GET", "/chat/live?name=soak", 0, **upgrade)
        writer.write(start.replace(b"Connection: close", b"Connection: Upgrade"))
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_SECONDS)
        if b" 101 " not in answer.partition(b"\r\n")[0]:
            raise Wrong(f"a handshake: {answer[:200]!r}")
        for number in range(site.random.randrange(5)):
            writer.write(frame(1, f"message {number}".encode()))
            await asyncio.sleep(0.01)
        last = site.random.choice(
            [frame(8, b"\x03\xe8"), frame(2, b"\xff"), frame(1, b"\xff"), b"\xff\xff"]
        )
        writer.write(last)
        await asyncio.sleep(0.01)
        await leave(writer, site)


def frame(kind: int, data: bytes) -> bytes:
    """Write a frame of fewer than 126 bytes, masked with zeros (RFC 6455 s.5.2)."""
    return bytes([0x80 | kind, 0x80 | len(data), 0, 0, 0, 0]) + data


KINDS: list[Callable[[Site], Awaitable[None]]] = [
    browse,
    keep_a_note,
    break_off_an_upload,
    forget_a_form,
    leave_a_stream,
    leave_before_the_answer,
    ask_for_tasks,
    count_in_a_session,
    send_garbage,
    drip,
    chat,
]


async def crowd(site: Site, clients: int, seconds: float) -> list[str]:
    """Let so many clients at a time do what they do, until the time is over; return what was wrong."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    wrong: list[str] = []
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(live(site, number, deadline, wrong))
    return wrong[:10]


async def live(site: Site, number: int, deadline: float, wrong: list[str]) -> None:
    """One client: all kinds in turn, each client beginning with another."""
    loop = asyncio.get_running_loop()
    turn = number
    while True:
        kind = KINDS[turn % len(KINDS)]
        try:
            await kind(site)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the server has hung up, as it may on those
        except (Wrong, ValueError) as error:
            wrong.append(f"{kind.__name__}: {error}")
        site.done[kind.__name__] += 1
        turn += 1
        if loop.time() >= deadline:
            return
