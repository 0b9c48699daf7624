"""Floods: input that never ends, or is as large as it can be, in a process with a cap on memory and time.

``python -m fuzz.floods`` (with ``tests/support`` and the checkout on the path) runs each of `FLOODS` and
prints a line of JSON for it. The process may have `CAP` bytes of memory beyond what it has when it begins,
and `CPU_SECONDS` of the processor's time for all of them together: work that grows with the square of its
input would take hours.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from asgi_checker import checker_for

from fuzz.application import LAYERS
from spica.applications import Spica
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses import FileResponse, JSONResponse, Response
from spica.routing import Host, Route

MEGABYTE = 1024 * 1024
CAP = 512 * MEGABYTE
CPU_SECONDS = 600
LIMIT = 4 * MEGABYTE
"""Bytes of a body that the application lets into its memory."""
DROPS = 100_000
"""The same, where a body comes byte by byte."""

FORM = "multipart/form-data; boundary=b"
FIELDS = "application/x-www-form-urlencoded"
FIELD_HEAD = b'--b\r\nContent-Disposition: form-data; name="a"\r\n'
FILE_HEAD = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n'
CHUNK = 64 * 1024
ANY_HEADERS: Any = {"max_headers": math.inf, "max_header_size": math.inf}
"""Without the limits of an application: its parsers are linear by themselves."""


# -- the application -----------------------------------------------------------------------------------


async def read_body(request: Request) -> Response:
    return JSONResponse(len(await request.body()))


async def read_json(request: Request) -> Response:
    return JSONResponse(type(await request.json()).__name__)


async def read_form(request: Request) -> Response:
    async with request.form(max_memory_size=LIMIT) as form:
        return JSONResponse(len(form.multi_items()))


async def read_parts(request: Request) -> Response:
    return JSONResponse(len([part.name async for part in request.parts()]))


async def read_stream(request: Request) -> Response:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > 8 * LIMIT:
            raise HTTPException(413)
    return JSONResponse(size)


async def send_file(request: Request) -> Response:
    return FileResponse(__file__, conditional=True)


async def look_at_fields(request: Request) -> Response:
    """Let everybody read the request who can."""
    return JSONResponse([len(request.cookies), len(request.query_params), len(str(request.url))])


def make_app() -> Spica:
    names = ["telemetry", "cors", "gzip", "session", "auth", "dispatch"]
    return Spica(
        routes=[
            Route("/body", read_body, methods=["POST"], max_body_size=LIMIT),
            Route("/drops", read_body, methods=["POST"], max_body_size=DROPS),
            Route("/default", read_body, methods=["POST"]),
            Route("/json", read_json, methods=["POST"], max_body_size=LIMIT),
            Route("/form", read_form, methods=["POST"]),
            Route("/form/small", read_form, methods=["POST"], max_body_size=8 * LIMIT),
            Route("/parts", read_parts, methods=["POST"], max_body_size=8 * LIMIT),
            Route("/stream", read_stream, methods=["POST"]),
            Route("/file", send_file),
            Route("/fields", look_at_fields),
            Route("/a/{a}-{b}-{c}-{d}", look_at_fields),
            Route("/b/{a:path}/x/{b:path}/y", look_at_fields),
            Route("/c/{a:float}-{b:int}", look_at_fields),
            Route("/d/{a}{b}{c}", look_at_fields),
            Host(
                "{a}-{b}.{c}.example.org", Spica(routes=[Route("/", look_at_fields)], **ANY_HEADERS)
            ),
        ],
        middleware=[LAYERS[name] for name in names],
        **ANY_HEADERS,
    )


# -- floods --------------------------------------------------------------------------------------------


def none() -> list[bytes]:
    """No body."""
    return [b""]


@dataclass
class Flood:
    """A request, its body in chunks, and the statuses that are right answers."""

    path: str
    statuses: set[int]
    chunks: Callable[[], Iterable[bytes]] = field(default=none)
    headers: dict[str, str | bytes] = field(default_factory=dict)
    max_taken: int = 64 * MEGABYTE
    """Bytes of the body that may have been taken when the answer is there."""
    query: bytes = b""


def endless(piece: bytes, start: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """A body that begins with ``start`` and never ends, in chunks of some size."""
    chunk = piece * max(1, CHUNK // len(piece))
    return lambda: itertools.chain([start], itertools.repeat(chunk))


def drops(size: int, start: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """A body of ``size`` bytes that comes byte by byte."""
    return lambda: itertools.chain([start], itertools.repeat(b"x", size))


def whole(body: bytes) -> Callable[[], list[bytes]]:
    return lambda: [body]


def form(path: str, statuses: set[int], chunks: Any, content_type: str = FORM) -> Flood:
    return Flood(path, statuses, chunks, {"content-type": content_type})


def fields(**headers: str | bytes) -> Flood:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Flood("/fields", {200, 400}, headers=named)


SMALL_FILE = FILE_HEAD + b"\r\n\r\n"
FLOODS: dict[str, Flood] = {
    # bodies
    "an endless body": Flood("/body", {413}, endless(b"x"), max_taken=LIMIT + 2 * CHUNK),
    "an endless body, no limit set": Flood("/default", {413}, endless(b"x")),
    "an endless body in drops": Flood("/drops", {413}, drops(LIMIT), max_taken=DROPS + 1),
    "an endless stream": Flood("/stream", {413}, endless(b"x")),
    "a body that is declared too large": Flood(
        "/body", {413}, endless(b"x"), {"content-length": str(LIMIT + 1)}, max_taken=0
    ),
    "a body of a length beyond all": Flood(
        "/body", {413}, endless(b"x"), {"content-length": "9" * 5000}
    ),
    "an endless body that says it is compressed": Flood(
        "/json", {413}, endless(bytes(100)), {"content-encoding": "gzip"}
    ),
    # JSON
    "deep JSON": Flood("/json", {400}, whole(b"[" * LIMIT)),
    "deep JSON that is closed": Flood("/json", {400}, whole(b"[" * 2000000 + b"]" * 2000000)),
    "deep objects": Flood("/json", {400}, whole(b'{"a":' * 500000)),
    "a number of many digits": Flood("/json", {400}, whole(b"9" * LIMIT)),
    "many numbers of many digits": Flood("/json", {200}, whole(b"[" + b"9" * 4000 + b"]")),
    "a float of many digits": Flood("/json", {200, 400}, whole(b"0." + b"9" * 1000000)),
    "JSON of many small values": Flood("/json", {200}, whole(b"[" + b"[]," * 1000000 + b"[]]")),
    "JSON of many keys": Flood(
        "/json", {200}, whole(json.dumps({str(n): n for n in range(200000)}).encode())
    ),
    "JSON of many equal keys": Flood("/json", {200}, whole(b'{"a":0' + b',"a":0' * 600000 + b"}")),
    "JSON of escapes": Flood("/json", {200}, whole(b'"' + b"\\u00e9" * 600000 + b'"')),
    "JSON of bytes that are no UTF-8": Flood("/json", {400}, whole(b"\xff" * LIMIT)),
    # urlencoded forms
    "an endless field": form("/form", {400}, endless(b"x"), FIELDS),
    "endless fields": form("/form", {400}, endless(b"a=b&"), FIELDS),
    "endless separators": form("/form", {413}, endless(b"&"), FIELDS),
    "endless percent signs": form("/form", {400}, endless(b"%"), FIELDS),
    "separators in drops": form("/form", {200}, lambda: itertools.repeat(b"&", 100000), FIELDS),
    # multipart forms
    "an endless preamble": form("/form/small", {413}, endless(b"x")),
    "a preamble of boundaries": form("/form/small", {400}, endless(b"--b")),
    "a preamble of line ends": form("/form/small", {413}, endless(b"\r\n--")),
    "an endless epilogue": form("/form/small", {413}, endless(b"x", b"--b--\r\n")),
    "an endless header": form("/form", {400}, endless(b"x", b"--b\r\nX: ")),
    "an endless header in drops": form("/form", {400}, drops(100000, b"--b\r\nX: ")),
    "endless headers": form("/form", {400}, endless(b"X: y\r\n", b"--b\r\n")),
    "an endless value": form("/form", {400}, endless(b"x", FIELD_HEAD + b"\r\n")),
    "a value of line ends": form("/form", {400}, endless(b"\r\n--", FIELD_HEAD + b"\r\n")),
    "a value of line ends in drops": form(
        "/form", {400}, lambda: itertools.chain([FIELD_HEAD + b"\r\n"], itertools.cycle([b"\r"]))
    ),
    "endless parts": form("/form", {400}, endless(FIELD_HEAD + b"\r\nx\r\n")),
    "endless parts with values of the largest size": form(
        "/form", {413}, endless(FIELD_HEAD + b"\r\n" + b"x" * 1000000 + b"\r\n")
    ),
    "endless files": form("/form", {400}, endless(SMALL_FILE)),
    "endless files with long headers": form(
        "/form", {413}, endless(FILE_HEAD + (b"X: " + b"y" * 8000 + b"\r\n") * 7 + b"\r\n\r\n")
    ),
    "endless files with long names": form(
        "/form",
        {413},
        endless(FILE_HEAD.replace(b'"f"\r', b'"' + b"f" * 8000 + b'"\r') + b"\r\n\r\n"),
    ),
    "an endless file": form("/form/small", {413}, endless(b"x", FILE_HEAD + b"\r\n")),
    "an endless file in parts()": form("/parts", {413}, endless(b"x", FILE_HEAD + b"\r\n")),
    "endless parts in parts()": form("/parts", {400}, endless(FIELD_HEAD + b"\r\nx\r\n")),
    "a form of parameters": form("/form", {200, 400}, whole(b""), FORM + "; a=b" * 200000),
    "a disposition of parameters": form(
        "/form",
        {200, 400},
        whole(FIELD_HEAD[:-2] + b"; a=b" * 1500 + b'; x="' + b"\r\n\r\nx\r\n--b--"),
    ),
    # fields of the request
    "many cookies": fields(cookie="a=b; " * 200000),
    "many quotes in a cookie": fields(cookie='a="' + '\\"' * 400000),
    "a session of rubbish": fields(cookie="session=" + "." * 1000000),
    "many weights": fields(accept_encoding="gzip;q=0.5," * 100000),
    "a weight of many parameters": fields(accept_encoding="gzip" + ";a=b" * 200000),
    "quotes without an end": fields(accept_encoding='a,"' * 300000),
    "a long origin": fields(origin="https://" + "a." * 300000),
    "many requested headers": Flood(
        "/fields",
        {200, 204, 400, 405},
        headers={"origin": "http://example.org", "access-control-request-headers": "x-a," * 200000},
    ),
    "long credentials": fields(authorization="Basic " + "YWJj" * 250000),
    "a long host": fields(host="a." * 500000),
    "a host of separators": Flood("/", {200, 404}, headers={"host": "a-" * 100000 + "/"}),
    "many ranges": Flood("/file", {200}, headers={"range": "bytes=" + "0-1," * 200000}),
    "a range of many digits": Flood(
        "/file", {416}, headers={"range": "bytes=" + "9" * 900000 + "-"}
    ),
    "many tags": Flood("/file", {200}, headers={"if-none-match": '"a",' * 200000}),
    "tags without an end": Flood("/file", {200}, headers={"if-none-match": 'W/"' * 200000}),
    "a date of words": Flood("/file", {200}, headers={"if-modified-since": "a " * 300000}),
    "a query of separators": Flood("/fields", {200}, query=b"&" * 1000000),
    "a query of fields": Flood("/fields", {200}, query=b"a&" * 100000),
    "a query of escapes": Flood("/fields", {200}, query=b"a=" + b"%ff" * 100000),
    # paths
    "a path of dashes": Flood("/a/" + "-" * 100000, {200, 404}),
    "a path of dashes and a slash": Flood("/a/" + "-" * 100000 + "/", {307, 404}),
    "a path of slashes": Flood("/b" + "/x/" * 50000, {404}),
    "a path of digits": Flood("/c/" + "1" * 100000, {404}),
    "a path of digits and dashes": Flood("/c/" + "1-" * 50000, {404}),
    "a path without separators": Flood("/d/" + "a" * 100000, {200, 404}),
    "a path without separators, refused": Flood("/d/" + "a" * 100000 + "/", {307, 404}),
}


# -- running them --------------------------------------------------------------------------------------


class Client:
    """Send a flood for as long as somebody reads."""

    def __init__(self, flood: Flood) -> None:
        self.chunks = iter(flood.chunks())
        self.taken = 0
        self.status = 0
        self.is_over = False
        self.scope = scope_of(flood)
        self.checker = checker_for(self.scope)

    async def receive(self) -> Any:
        if self.is_over:
            await asyncio.sleep(0)
            return {"type": "http.disconnect"}
        chunk = next(self.chunks, None)
        self.is_over = chunk is None
        self.taken += len(chunk or b"")
        return {"type": "http.request", "body": chunk or b"", "more_body": not self.is_over}

    async def send(self, message: Any) -> None:
        self.checker.take(message)
        self.status = self.checker.status or 0


def scope_of(flood: Flood) -> dict[str, Any]:
    headers = {"host": "example.org", **flood.headers}
    is_preflight = "access-control-request-headers" in headers
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "OPTIONS" if is_preflight else "POST" if flood.chunks is not none else "GET",
        "scheme": "http",
        "path": flood.path,
        "raw_path": flood.path.encode(),
        "query_string": flood.query,
        "root_path": "",
        "headers": [
            (name.encode(), value.encode("latin-1") if isinstance(value, str) else value)
            for name, value in headers.items()
        ],
        "client": ("192.0.2.1", 4000),
        "server": ("example.org", 80),
    }


async def run(app: Any, flood: Flood) -> dict[str, Any]:
    client = Client(flood)
    try:
        await app(client.scope, client.receive, client.send)
    except Exception as error:
        return {"status": client.status, "taken": client.taken, "error": repr(error)[:300]}
    client.checker.finish()
    return {"status": client.status, "taken": client.taken, "error": ""}


def kilobytes(name: str) -> int:
    """Read a line of ``/proc/self/status``, 0 where there is none."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(name + ":"))
    except (OSError, StopIteration):
        return 0


def forget_peak() -> None:
    """Let the peak of the memory begin anew (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass


def set_caps() -> None:
    """Let this process have no more memory and time than is allowed."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    if size := kilobytes("VmSize") * 1024:  # macOS does not hold to this limit, and tells no size
        resource.setrlimit(resource.RLIMIT_AS, (size + CAP, size + CAP))


def main(names: list[str]) -> None:
    """Run floods, and print what has become of each."""
    app = make_app()
    asyncio.run(run(app, Flood("/form", {400}, whole(b"x"), {"content-type": FORM})))  # load all
    set_caps()
    there = set(os.listdir(tempfile.gettempdir()))
    for name in names or FLOODS:
        forget_peak()
        before = kilobytes("VmRSS")
        outcome = asyncio.run(run(app, FLOODS[name]))
        grown = max(0, kilobytes("VmHWM") - before) * 1024
        left = sorted(set(os.listdir(tempfile.gettempdir())) - there)
        print(json.dumps({"name": name, "grown": grown, "left": left, **outcome}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
