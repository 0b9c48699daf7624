"""The clients of event streams and WebSockets, and the rules for the events that they get."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

ANSWER_SECONDS = 30
BROKEN = (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError)


class Site:
    """The server, and the clients' common record of its answers and events."""

    def __init__(self, port: int, keeps_state: bool) -> None:
        self.port = port
        self.keeps_state = keeps_state
        self.restarts = 0
        self.changes = 0
        """Counts the begin and the end of each restart."""
        self.is_over = False
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.log: dict[tuple[str, str], str] = {}
        """The data of each event: all clients must agree."""

    def complain(self, text: str) -> None:
        """Note a broken guarantee."""
        self.counts["wrong"] += 1
        if len(self.wrong) < 50:
            self.wrong.append(text)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def request(
        self, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Send a request. Return status, headers and JSON; the status is 0 if the connection broke."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self.connect() as (reader, writer):
                writer.write(make_head("GET" if body is None else "POST", path, body, headers))
                head, _, content = (await reader.read()).partition(b"\r\n\r\n")
        except BROKEN:
            head = content = b""
        status, found = parse_head(head)
        if len(content) != int(found.get("content-length", len(content))):
            status = 0
        self.counts[f"answer {status or 'broken'}"] += 1
        if status >= 500 and status != 503:
            self.complain(f"{path}: {status}")
        return status, found, json.loads(content) if 200 <= status < 300 else None

    async def request_until(self, path: str, body: bytes | None = None, **headers: str) -> Any:
        """Repeat a request until the answer is 200, and return status, headers and JSON."""
        while True:
            found = await self.request(path, body, **headers)
            if found[0] == 200:
                return found
            await asyncio.sleep(0.1)


def make_head(method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    if "upgrade" not in headers:
        lines.append("connection: close")
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Return the status and the headers of an answer; the status is 0 if there is none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    fields = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    return int(parts[1]) if len(parts) > 1 else 0, headers


class Reader:
    """A client of one channel, from its first event. It comes back with the id of its last event."""

    def __init__(self, site: Site, name: str, channel: str) -> None:
        self.site = site
        self.name = name
        self.channel = channel
        self.id = "0"
        self.epoch = ""
        self.number = 0
        self.gaps = 0

    def take(self, id: str, data: str | None, gap: str | None = None) -> None:
        """Check an event, a gap, or a position without data (``data`` is None)."""
        epoch, _, digits = id.rpartition(
            "-"
        )  # "0" is the beginning, before the first epoch is known
        number = int(digits)
        place = f"{self.name} at {self.id}: {id}"
        if gap is not None:
            self.gaps += 1
            self._check_gap(gap, epoch, place)
        elif data is None:
            if self.epoch not in (epoch, "") or number != self.number:
                self.site.complain(f"{place} skips events")
        else:
            self.site.counts["deliveries"] += 1
            if self.epoch not in (epoch, ""):
                self.site.complain(f"{place} has another epoch without a gap")
            elif number != self.number + 1:
                kind = "a duplicate" if number <= self.number else "a hole"
                self.site.complain(f"{place} is {kind}")
            if self.site.log.setdefault((self.channel, id), data) != data:
                self.site.complain(f"{place} has other data than another client's")
        self.id, self.epoch, self.number = id, epoch, number

    def _check_gap(self, reason: str, epoch: str, place: str) -> None:
        self.site.counts[f"gap {reason}"] += 1
        if reason != "restarted":
            self.site.complain(f"{place} is a gap: {reason}")
        elif self.site.keeps_state:
            self.site.complain(f"{place} is a gap, although the store keeps everything")
        elif epoch == self.epoch:
            self.site.complain(f"{place} is a gap in the same epoch")
        elif self.gaps > self.site.restarts:
            self.site.complain(f"{place} is gap {self.gaps} after {self.site.restarts} restarts")

    async def run(self) -> None:
        """Read and come back until the test is over."""
        while not self.site.is_over:
            try:
                async with self.site.connect() as streams:
                    self.site.counts["connections"] += 1
                    await self.read(*streams)
            except BROKEN:
                pass
            self.site.counts["disconnects"] += 1
            await asyncio.sleep(0.05 + int.from_bytes(os.urandom(1)) / 256)

    async def read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class EventReader(Reader):
    """A client of ``/events``."""

    async def read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = {"last-event-id": self.id}
        writer.write(make_head("GET", f"/events/{self.channel}", None, headers))
        async with asyncio.timeout(ANSWER_SECONDS):
            status, found = parse_head((await reader.readuntil(b"\r\n\r\n"))[:-4])
        if status != 200 or found["transfer-encoding"] != "chunked":
            if status != 503:
                self.site.complain(f"{self.name}: {status} {found}")
            return
        pending = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            *events, pending = (pending + await reader.readexactly(size)).split(b"\n\n")
            await reader.readexactly(2)
            for event in events:
                self.take_event(event.decode())

    def take_event(self, event: str) -> None:
        """Read the lines of an event."""
        fields = dict(line.split(": ", 1) for line in event.split("\n") if not line.startswith(":"))
        if "id" in fields:
            gap = json.loads(fields["data"])["reason"] if fields.get("event") == "gap" else None
            self.take(fields["id"], fields.get("data"), gap)


class SocketReader(Reader):
    """A client of ``/socket``."""

    async def read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
        headers["sec-websocket-key"] = base64.b64encode(os.urandom(16)).decode()
        path = f"/socket/{self.channel}?after={self.id}"
        writer.write(make_head("GET", path, None, headers))
        async with asyncio.timeout(ANSWER_SECONDS):
            status, _ = parse_head((await reader.readuntil(b"\r\n\r\n"))[:-4])
        if status != 101:
            if status != 503:
                self.site.complain(f"{self.name}: {status}")
            return
        while True:
            first, size = await reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await reader.readexactly(2))
            content = await reader.readexactly(size)
            if first == 0x81:
                message = json.loads(content)
                self.take(message["id"], message.get("data"), message.get("gap"))
            elif first == 0x89:  # a ping: RFC 6455 s.5.5.2
                writer.write(bytes([0x8A, 0x80 | size]) + bytes(4) + content)
            elif first == 0x88:
                self.site.counts[f"close {struct.unpack('!H', content[:2])[0]}"] += 1
                return


class Publisher:
    """A client that publishes to the channels, one event after the other."""

    def __init__(self, site: Site, name: int, channels: list[str], per_second: float) -> None:
        self.site = site
        self.name = name
        self.channels = channels
        self.pause_seconds = 1 / per_second
        self.is_over = False
        self.published: list[tuple[str, str, str]] = []

    async def run(self) -> None:
        number = 0
        while not self.is_over:
            channel = self.channels[number % len(self.channels)]
            data, path = f"{self.name}:{number}", f"/publish/{channel}"
            _, _, id = await self.site.request_until(path, json.dumps(data).encode())
            self.published.append((channel, id, data))
            number += 1
            await asyncio.sleep(self.pause_seconds)

    def check(self, last_epochs: dict[str, str]) -> None:
        """Compare what the server acknowledged with what the clients got."""
        for channel, id, data in self.published:
            seen = self.site.log.get((channel, id))
            is_lost_with_its_epoch = seen is None and not id.startswith(last_epochs[channel])
            if is_lost_with_its_epoch and not self.site.keeps_state:
                self.site.counts["events lost with the store"] += 1
            elif seen != data:
                self.site.complain(f"{channel} {id}: {data} was published, {seen} was received")
