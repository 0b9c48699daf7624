"""The cases that are measured: what is asked, what must be answered, and how fast spica has to be.

Every framework's module has a function ``apps(material)`` that returns its ASGI app for each case
that it supports, by the name of the case.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from benchmarks.driver import Answer, Call

SMALL = {"id": 17, "name": "Ada", "active": True, "tags": ["a", "b"]}
ROWS = [
    {"id": n, "name": f"user {n}", "email": f"user{n}@example.org", "active": True, "score": n / 7}
    for n in range(1000)
]
SMALL_WITH_NULL = {"id": 17, "name": "Ada", "active": None, "tags": ["a", "b"]}
MIXED_ROWS = [
    {
        **row,
        "manager": n // 10 if n % 2 else None,
        "left": None,
        "share": n / 7919,
        "height": n * 0.1,
    }
    for n, row in enumerate(ROWS)
]
"""Rows as a database has them: nulls, and floats of which a few need 20 digits."""
STREAM_CHUNK = b"x" * 1024
STREAM_CHUNKS = 100
WORDS = [f"word{number} " for number in range(500)]
"""The chunks of a stream of text, as a language model makes them."""
ROUTES = 200
"""Half of them fixed (``/group7/items``), half with a parameter (``/group7/items/{id}``)."""

Apps = dict[str, Any]
"""An ASGI app for each case, by its name."""


MEDIUM_SIZE = 60 * 1024
FILE_TIME = 1_700_000_000
FILE_DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"


@dataclass(frozen=True)
class Material:
    """What the apps are made of: files to serve and the size of the route table."""

    directory: Path

    @property
    def small_file(self) -> Path:
        return self.directory / "small.txt"

    @property
    def large_file(self) -> Path:
        return self.directory / "large.bin"

    @property
    def medium_file(self) -> Path:
        return self.directory / "medium.txt"

    def write(self) -> None:
        self.small_file.write_bytes(b"s" * 1024)
        self.medium_file.write_bytes(b"m" * MEDIUM_SIZE)
        self.large_file.write_bytes(bytes(8 * 1024 * 1024))
        (self.directory / "medium.bin").write_bytes(bytes(1024 * 1024))
        # A time of its own, so that a client can have the file already.
        os.utime(self.small_file, (FILE_TIME, FILE_TIME))


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    title: str
    target: float
    """The largest ratio of spica's time to Starlette's that is good enough."""
    call: Call
    status: int = 200
    body: bytes = b""
    check: Literal["body", "json", "length", "status"] = "body"
    """What of the body must be right: all of it, its meaning, its length, or nothing."""
    login: bool = False
    """Whether a session cookie is fetched from ``/login`` first."""

    def is_answered_by(self, answer: Answer) -> bool:
        """Whether an app has done its work."""
        if self.call.websocket:
            return answer.frames == list(self.call.frames)
        if answer.status != self.status:
            return False
        if self.check == "json":
            return bool(json.loads(answer.body) == json.loads(self.body))
        if self.check == "length":
            return len(answer.body) == len(self.body)
        return self.check == "status" or answer.body == self.body


def chunked(body: bytes, size: int = 64 * 1024) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def multipart(parts: Sequence[tuple[str, bytes]]) -> bytes:
    """Parts are their header's parameters and their content."""
    lines = []
    for parameters, content in parts:
        head = f"--frontier\r\nContent-Disposition: form-data; {parameters}\r\n\r\n"
        lines.append(head.encode() + content + b"\r\n")
    return b"".join(lines) + b"--frontier--\r\n"


def post(path: str, content_type: str, body: bytes) -> Call:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    return Call(path, "POST", headers=headers, body=chunked(body))


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def all_cases() -> list[Case]:
    """Return the rows, in the order in which they are shown."""
    form = urlencode({f"field{n}": f"value {n}" for n in range(20)}).encode()
    fields = multipart([(f'name="field{n}"', b"value %d" % n) for n in range(500)])
    upload = multipart([('name="file"; filename="data.bin"', bytes(5 * 1024 * 1024))])
    small_upload = multipart(
        [
            *((f'name="field{n}"', b"value %d" % n) for n in range(5)),
            ('name="file"; filename="data.bin"', bytes(100 * 1024)),
        ]
    )
    files = multipart(
        [(f'name="file{n}"; filename="data.bin"', bytes(4 * 1024)) for n in range(20)]
    )
    last = ROUTES // 2 - 1
    hello = b"Hello, world!"
    boundary = "multipart/form-data; boundary=frontier"
    reading = Call(
        "/read", query=b"q=python&page=2", headers=[(b"cookie", b"session=abc123; theme=dark")]
    )
    read = b"http://localhost:8000/read?q=python&page=2 python 2 en-GB,en;q=0.5 abc123"
    cross_site = Call("/session", headers=[(b"origin", b"https://example.org")])
    echoes = Call("/ws", websocket=True, frames=[f"message {n}" for n in range(10)])
    return [
        Case("plain", "one route, plain text", 0.40, Call(), body=hello),
        Case("json", "small JSON response", 0.35, Call(), body=json_bytes(SMALL), check="json"),
        Case(
            "json-rows",
            "JSON response, 1000 rows",
            0.17,
            Call(),
            body=json_bytes(ROWS),
            check="json",
        ),
        Case(
            "json-null",
            "small JSON with a null",
            0.40,
            Call(),
            body=json_bytes(SMALL_WITH_NULL),
            check="json",
        ),
        Case(
            "json-mixed-rows",
            "JSON response, 1000 rows with nulls and floats",
            0.25,
            Call(),
            body=json_bytes(MIXED_ROWS),
            check="json",
        ),
        Case(
            "params", "two path parameters", 0.45, Call("/users/42/posts/hello"), body=b"42 hello"
        ),
        Case("read", "url, query, headers, cookies read", 0.45, reading, body=read),
        Case("last-route", "200th of 200 routes", 0.06, Call(f"/group{last}/items/x"), body=b"x"),
        Case(
            "not-found",
            "404 on 200 routes",
            0.055,
            Call("/nowhere/at/all"),
            status=404,
            check="status",
        ),
        Case(
            "not-allowed",
            "405 on 200 routes",
            0.12,
            Call(f"/group{last}/items/x", "POST"),
            status=405,
            check="status",
        ),
        Case("mounts", "mounted three deep", 0.40, Call("/a/b/c/end"), body=hello),
        Case("exception", "HTTPException answered", 0.55, Call(), status=403, check="status"),
        Case("background", "response with background task", 0.45, Call(), body=hello),
        Case(
            "json-echo",
            "small JSON body echoed",
            0.45,
            post("/", "application/json", json_bytes(SMALL)),
            body=json_bytes(SMALL),
            check="json",
        ),
        Case(
            "json-body",
            "JSON body of 1000 rows",
            0.65,
            post("/", "application/json", json_bytes(ROWS)),
            body=b"1000",
        ),
        Case(
            "json-mixed-body",
            "JSON body, 1000 rows with floats",
            0.50,
            post("/", "application/json", json_bytes(MIXED_ROWS)),
            body=b"1000",
        ),
        Case(
            "form",
            "urlencoded form, 20 fields",
            0.35,
            post("/", "application/x-www-form-urlencoded", form),
            body=b"20",
        ),
        Case("fields", "multipart, 500 fields", 0.50, post("/", boundary, fields), body=b"500"),
        Case(
            "upload",
            "multipart, one 5 MB file",
            0.60,
            post("/", boundary, upload),
            body=str(5 * 1024 * 1024).encode(),
        ),
        Case(
            "small-upload",
            "multipart, 100 KB file and 5 fields",
            0.50,
            post("/", boundary, small_upload),
            body=str(100 * 1024).encode(),
        ),
        Case("files", "multipart, 20 files of 4 KB", 0.50, post("/", boundary, files), body=b"20"),
        Case(
            "stream",
            "stream of 100 chunks",
            0.45,
            Call(),
            body=STREAM_CHUNK * STREAM_CHUNKS,
            check="length",
        ),
        Case("small-file", "FileResponse 1 KB", 0.40, Call(), body=b"s" * 1024),
        Case(
            "large-file",
            "FileResponse 8 MB",
            0.40,
            Call(),
            body=bytes(8 * 1024 * 1024),
            check="length",
        ),
        Case("static", "StaticFiles 1 KB", 0.05, Call("/static/small.txt"), body=b"s" * 1024),
        Case(
            "static-304",
            "StaticFiles, not modified",
            0.05,
            Call("/static/small.txt", headers=[(b"if-modified-since", FILE_DATE)]),
            status=304,
        ),
        Case(
            "static-60k",
            "StaticFiles 60 KB",
            0.10,
            Call("/static/medium.txt"),
            body=b"m" * MEDIUM_SIZE,
        ),
        Case("middleware-1", "1 dispatch middleware", 0.04, Call(), body=hello),
        Case("middleware-5", "5 dispatch middlewares", 0.01, Call(), body=hello),
        Case(
            "middleware-headers",
            "5 dispatch middlewares, each adding a header",
            0.02,
            Call(),
            body=hello,
        ),
        Case(
            "middleware-opaque",
            "5 dispatch middlewares over an opaque ASGI app",
            0.05,
            Call(),
            body=hello,
        ),
        Case(
            "stack",
            "trusted host + CORS + gzip + session",
            0.45,
            cross_site,
            body=b"Ada",
            login=True,
        ),
        Case("websocket", "WebSocket, ten echoes", 0.60, echoes),
        Case("thread", "`def` endpoint", 0.60, Call(), body=hello),
        Case("thread-30", "30 `def` endpoints at once", 0.60, Call(at_once=30), body=hello),
        *realistic_cases(),
    ]


BROWSER_HEADERS = [
    (b"cache-control", b"max-age=0"),
    (b"sec-ch-ua", b'"Chromium";v="140", "Not=A?Brand";v="24"'),
    (b"sec-ch-ua-mobile", b"?0"),
    (b"sec-ch-ua-platform", b'"Linux"'),
    (b"upgrade-insecure-requests", b"1"),
    (b"sec-fetch-site", b"same-origin"),
    (b"sec-fetch-mode", b"navigate"),
    (b"sec-fetch-dest", b"document"),
    (b"referer", b"http://localhost:8000/"),
    (b"cookie", b"session=abc123; theme=dark; lang=en; _ga=GA1.2.1718281828.1732; consent=all"),
]
"""What a browser sends beyond ``driver.USUAL_HEADERS``: sixteen lines together, and five cookies."""

MANY_ROUTES = 2000
LARGER = {"rows": ROWS[:200]}
"""About 20 KB as JSON."""


def realistic_cases() -> list[Case]:
    """Return the rows that look like requests of an application in production."""
    text = "".join(WORDS).encode()
    stream = STREAM_CHUNK * STREAM_CHUNKS
    hello = b"Hello, world!"
    asked = Call("/rows", headers=[(b"origin", b"https://example.org")])
    objects = [json_bytes({"id": n, "text": "hello"}).decode() for n in range(10)]
    return [
        Case(
            "browser",
            "16 headers and 5 cookies of a browser, some read",
            0.45,
            Call(headers=BROWSER_HEADERS),
            body=b"abc123 dark ?0",
        ),
        Case(
            "asgi-headers",
            "3 pure ASGI middlewares, each adding a header",
            0.60,
            Call(),
            body=hello,
        ),
        Case(
            "layer-headers", "3 layers, each adding a header (ASGI there)", 0.60, Call(), body=hello
        ),
        Case(
            "stack-rows",
            "host, CORS, gzip, session, authentication; 20 KB of JSON",
            0.60,
            asked,
            body=json_bytes(LARGER),
            check="status",
            login=True,
        ),
        Case("stream-text", "stream of 500 words", 0.40, Call(), body=text),
        Case(
            "stream-2.4",
            "stream of 100 chunks, ASGI 2.4",
            0.60,
            Call(spec_version="2.4"),
            body=stream,
            check="length",
        ),
        Case(
            "stream-text-2.4",
            "stream of 500 words, ASGI 2.4",
            0.75,
            Call(spec_version="2.4"),
            body=text,
        ),
        Case("template", "page of a template", 0.90, Call(), check="status"),
        Case(
            "not-found-2000",
            "404 on 2000 routes",
            0.010,
            Call("/nowhere/at/all"),
            status=404,
            check="status",
        ),
        Case(
            "websocket-json",
            "WebSocket, ten echoes of JSON",
            0.55,
            Call("/ws", websocket=True, frames=objects),
        ),
    ]
