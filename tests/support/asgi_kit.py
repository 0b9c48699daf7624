"""A tiny ASGI server in memory: run an app once, and keep what it sent.

It checks the order of the messages, as the ASGI HTTP specification has it, and nothing else. No client
library, no threads, no event loop of its own: tests call it from theirs.
"""

from __future__ import annotations

import json
from typing import Any

import anyio

BODY_TYPES = ("http.response.body", "http.response.zerocopysend", "http.response.pathsend")


def http_scope(method: str = "GET", path: str = "/", *, headers: Any = (), **more: Any) -> Any:
    """Return an HTTP scope; ``path`` may have a query, ``headers`` are pairs of text or bytes."""
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(_bytes(name).lower(), _bytes(value)) for name, value in headers],
        "client": ("192.0.2.1", 4000),
        "server": ("example.org", 80),
        "state": {},
        **more,
    }


def websocket_scope(path: str = "/", *, headers: Any = (), **more: Any) -> Any:
    """Return a WebSocket scope."""
    scope = http_scope("GET", path, headers=headers, **more)
    del scope["method"]
    return {**scope, "type": "websocket", "scheme": "ws", "subprotocols": [], **more}


def body_messages(*chunks: bytes) -> list[Any]:
    """Return the messages of a request whose body arrives in ``chunks``."""
    last = len(chunks) - 1
    return [
        {"type": "http.request", "body": chunk, "more_body": index < last}
        for index, chunk in enumerate(chunks)
    ]


DISCONNECT = {"type": "http.disconnect"}
WEBSOCKET_DISCONNECT = {"type": "websocket.disconnect", "code": 1006}


class Receive:
    """Give out messages one by one; then wait until the response is complete, and the client leaves."""

    def __init__(self, messages: Any, disconnect: Any = DISCONNECT) -> None:
        self.messages = list(messages)
        self.disconnect = disconnect
        self.calls = 0
        self.closed = anyio.Event()

    async def __call__(self) -> Any:
        self.calls += 1
        if self.messages:
            return self.messages.pop(0)
        await self.closed.wait()
        return self.disconnect

    def close(self) -> None:
        """Let the client leave."""
        self.closed.set()


class Exchange:
    """One request and what became of it."""

    def __init__(
        self, scope: Any = None, messages: Any = None, *, gone_after: int | None = None
    ) -> None:
        self.scope = http_scope() if scope is None else scope
        messages = body_messages(b"") if messages is None else messages
        is_websocket = self.scope["type"] == "websocket"
        self.receive = Receive(messages, WEBSOCKET_DISCONNECT if is_websocket else DISCONNECT)
        self.sent: list[Any] = []
        self.gone_after = gone_after  # messages after which `send` tells that the client has left
        self.error: BaseException | None = None
        self.is_complete = False

    async def send(self, message: Any) -> None:
        if self.gone_after is not None and len(self.sent) >= self.gone_after:
            self.receive.close()
            raise OSError("client is gone")
        kind = message["type"]
        if kind == "http.response.start":
            assert not self.starts, "a second response start"
        elif kind in BODY_TYPES:
            assert self.starts, "a body before the response start"
            assert not self.is_complete, "a body after the end of the body"
        self.sent.append(message)
        if kind in BODY_TYPES and not message.get("more_body", False):
            self.is_complete = True
            self.receive.close()

    async def run(self, app: Any) -> Exchange:
        """Run ``app`` to its end; an exception is kept as ``error``."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as exc:
            self.error = exc
        return self

    # -- what was sent ---------------------------------------------------------------------------------

    @property
    def starts(self) -> list[Any]:
        return [message for message in self.sent if message["type"] == "http.response.start"]

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]

    @property
    def status(self) -> int | None:
        return self.starts[0]["status"] if self.starts else None

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.starts[0].get("headers", ())) if self.starts else []

    @property
    def headers(self) -> dict[str, str]:
        """The headers as text; several fields of one name are joined."""
        found: dict[str, str] = {}
        for name, value in self.raw_headers:
            key, text = name.decode(), value.decode("latin-1")
            found[key] = f"{found[key]}, {text}" if key in found else text
        return found

    @property
    def chunks(self) -> list[bytes]:
        return [
            bytes(message.get("body", b""))
            for message in self.sent
            if message["type"] == "http.response.body"
        ]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    app: Any,
    method: str = "GET",
    path: str = "/",
    *,
    headers: Any = (),
    body: bytes | list[bytes] = b"",
    **scope: Any,
) -> Exchange:
    """Run ``app`` for one request; raise what it raises."""
    chunks = [body] if isinstance(body, bytes) else body
    exchange = Exchange(http_scope(method, path, headers=headers, **scope), body_messages(*chunks))
    await exchange.run(app)
    if exchange.error is not None:
        raise exchange.error
    return exchange


def _bytes(value: str | bytes) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else value
