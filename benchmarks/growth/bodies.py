"""What grows with the size of a body: the time, and the memory at most."""

import gc
import math
import time
import tracemalloc
from typing import Any

from benchmarks.driver import DISCONNECT, Call, Exchange, Message
from benchmarks.growth.apps import maker
from benchmarks.growth.series import Series, data_size

FRAMEWORKS = ("spica", "starlette", "falcon")
WAYS = {"stream": "as a stream", "form": "as a file in a form", "body": "as a whole"}
SIZES = (1024, 10 * 1024, 100 * 1024, 1024**2, 10 * 1024**2, 100 * 1024**2)
CHUNK = 64 * 1024
FLAT_FROM = 1024**2
FLAT_MEGABYTES = 1.0
"""What the memory may grow from the size above on: all buffers are full then."""
SLOW_SECONDS = 0.05
PEAKS = 3
"""How often the memory is measured; the least counts, since the first request of a kind makes what stays."""

HEAD = b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
TAIL = b"\r\n--frontier--\r\n"


class Upload(Exchange):
    """A request whose body is made chunk by chunk, each a new object, as servers make them."""

    __slots__ = ("head", "left", "tail")

    def __init__(self, size: int, way: str) -> None:
        super().__init__([])
        self.left = size
        self.head, self.tail = (HEAD, TAIL) if way == "form" else (b"", b"")

    @property
    def length(self) -> int:
        return len(self.head) + self.left + len(self.tail)

    def call(self) -> Call:
        kind = b"multipart/form-data; boundary=frontier" if self.head else b"text/plain"
        length = str(self.length).encode()
        return Call("/", "POST", headers=[(b"content-type", kind), (b"content-length", length)])

    async def receive(self) -> Message:
        if self.finished:
            return DISCONNECT
        if self.head:
            chunk, self.head = self.head, b""
        elif self.left:
            chunk = bytes(min(self.left, CHUNK))
            self.left -= len(chunk)
        elif self.tail:
            chunk, self.tail = self.tail, b""
        else:
            return await super().receive()
        return {"type": "http.request", "body": chunk, "more_body": self.length > 0}


class Sized(Upload):
    """An upload that keeps the answer's body, to check it."""

    __slots__ = ("answer",)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.answer: bytes = message["body"]
        await super().send(message)


async def check(app: Any, size: int, way: str) -> None:
    upload = Sized(size, way)
    await app(upload.call().scope(), upload.receive, upload.send)
    if upload.answer != str(size).encode():
        raise RuntimeError(f"{way}, {size} bytes: answered {upload.answer[:100]!r}")


async def seconds_of(app: Any, size: int, way: str) -> float:
    """Return what one request takes: the mean of as many as fill a moment."""
    number, taken = 0, 0.0
    while taken < SLOW_SECONDS:
        upload = Upload(size, way)
        scope = upload.call().scope()
        begin = time.perf_counter()
        await app(scope, upload.receive, upload.send)
        taken += time.perf_counter() - begin
        number += 1
    return taken / number


async def peak_of(app: Any, size: int, way: str) -> float:
    """Return the bytes that one request takes at most, its current chunk included."""
    upload = Upload(size, way)
    scope = upload.call().scope()
    gc.collect()
    tracemalloc.start()
    try:
        await app(scope, upload.receive, upload.send)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def measure_bodies(rounds: int) -> list[Series]:
    """Measure each way to read a body, in time and in memory."""
    found = []
    for way, title in WAYS.items():
        times = series(f"body-{way}-time", f"A body read {title}", "ms a request")
        peaks = series(f"body-{way}-memory", f"A body read {title}: memory at most", "KB")
        apps = {framework: maker(framework).with_body(way) for framework in FRAMEWORKS}
        for size in SIZES:
            best = dict.fromkeys(FRAMEWORKS, math.inf)
            for app in apps.values():
                await check(app, size, way)
            for _ in range(rounds):
                for framework, app in apps.items():
                    best[framework] = min(best[framework], await seconds_of(app, size, way))
            for framework, app in apps.items():
                times.add(framework, size, best[framework] * 1000)
                found_peaks = [await peak_of(app, size, way) for _ in range(PEAKS)]
                peaks.add(framework, size, min(found_peaks) / 1024)
        if way != "body":
            peaks.fault = not_flat(peaks.values["spica"])
        found += [times, peaks]
    return found


def series(name: str, title: str, y_label: str) -> Series:
    return Series(name, title, "bytes", y_label, x_text=data_size)


def not_flat(peaks: dict[float, float]) -> str:
    """Return what is wrong with the memory for the large bodies, in kilobytes by size; "" for nothing."""
    large = [peak for size, peak in peaks.items() if size >= FLAT_FROM]
    grown = (max(large) - large[0]) / 1024
    return f"grows by {grown:.1f} MB, not {FLAT_MEGABYTES}" if grown > FLAT_MEGABYTES else ""
