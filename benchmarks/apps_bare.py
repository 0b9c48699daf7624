"""Bare ASGI callables: what a request costs when there is no framework at all."""

from pathlib import Path
from typing import Any

from benchmarks.cases import ROUTES, SMALL, STREAM_CHUNK, STREAM_CHUNKS, Apps, Material, json_bytes


class Fixed:
    """Answer every request with the same bytes."""

    def __init__(self, status: int, content_type: bytes, body: bytes) -> None:
        length = str(len(body)).encode()
        headers = [(b"content-length", length), (b"content-type", content_type)]
        self.start = {"type": "http.response.start", "status": status, "headers": headers}
        self.body = {"type": "http.response.body", "body": body}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send(self.start)
        await send(self.body)


class Table:
    """Look the path up in a dict."""

    def __init__(self) -> None:
        self.paths = {f"/group{n}/items/x": Fixed(200, b"text/plain", b"x") for n in range(ROUTES)}
        self.missing = Fixed(404, b"text/plain", b"Not Found")
        self.wrong_method = Fixed(405, b"text/plain", b"Method Not Allowed")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        app = self.paths.get(scope["path"], self.missing)
        if scope["method"] != "GET":
            app = self.wrong_method
        await app(scope, receive, send)


class Pass:
    """A middleware by hand that lets everything pass."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class AddHeader:
    """A middleware by hand: one more header on the way out."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_more(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], (b"x-passed", b"1")]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, send_more)


async def stream(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"application/octet-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(STREAM_CHUNKS):
        await send({"type": "http.response.body", "body": STREAM_CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class ReadFile:
    """Read a file for each request, in the way of all others: no thread, no validators."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await Fixed(200, b"text/plain", self.path.read_bytes())(scope, receive, send)


async def count(scope: Any, receive: Any, send: Any) -> None:
    """Take a body and look at nothing of it."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await Fixed(200, b"text/plain", str(size).encode())(scope, receive, send)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    for _ in range(10):
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"]})
    await send({"type": "websocket.close", "code": 1000})


def wrapped(app: Any, middleware: Any, times: int) -> Any:
    for _ in range(times):
        app = middleware(app)
    return app


def apps(material: Material) -> Apps:
    plain = Fixed(200, b"text/plain", b"Hello, world!")
    table = Table()
    return {
        "plain": plain,
        "json": Fixed(200, b"application/json", json_bytes(SMALL)),
        "params": Fixed(200, b"text/plain", b"42 hello"),
        "last-route": table,
        "not-found": table,
        "not-allowed": table,
        "stream": stream,
        "middleware-1": wrapped(plain, Pass, 1),
        "middleware-5": wrapped(plain, Pass, 5),
        "middleware-headers": wrapped(plain, AddHeader, 5),
        "websocket": echo,
        "static": ReadFile(material.small_file),
        "count": count,
    }
