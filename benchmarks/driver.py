"""Drive an ASGI app in memory, as cheaply as a driver can, so that what is measured is the app.

The scope looks like uvicorn's. Each request gets a fresh copy of it, its own ``receive`` and its
own ``send``; nothing is copied or kept of what the app sends while the time is taken.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]

USUAL_HEADERS = (
    (b"host", b"localhost:8000"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-GB,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"connection", b"keep-alive"),
)
DISCONNECT = {"type": "http.disconnect"}


@dataclass(frozen=True)
class Call:
    """What a client asks: the same for every framework."""

    path: str = "/"
    method: str = "GET"
    query: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: Sequence[bytes] = ()
    websocket: bool = False
    frames: Sequence[str] = ()
    spec_version: str = "2.3"
    """The version of the ASGI specification that the server names."""
    at_once: int = 1
    """How many clients make the call at the same time."""

    def scope(self) -> dict[str, Any]:
        scope: dict[str, Any] = {
            "type": "websocket" if self.websocket else "http",
            "asgi": {"version": "3.0", "spec_version": self.spec_version},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 51234),
            "scheme": "ws" if self.websocket else "http",
            "root_path": "",
            "path": self.path,
            "raw_path": self.path.encode("ascii"),
            "query_string": self.query,
            "headers": [*USUAL_HEADERS, *self.headers],
        }
        if self.websocket:
            scope["subprotocols"] = []
        else:
            scope["method"] = self.method
        return scope

    def messages(self) -> list[Message]:
        if self.websocket:
            frames = [{"type": "websocket.receive", "text": text} for text in self.frames]
            return [{"type": "websocket.connect"}, *frames]
        last = len(self.body) - 1
        if last < 0:
            return [{"type": "http.request", "body": b"", "more_body": False}]
        return [
            {"type": "http.request", "body": chunk, "more_body": number < last}
            for number, chunk in enumerate(self.body)
        ]


class Exchange:
    """One request's ``receive`` and ``send``."""

    __slots__ = ("finished", "messages", "position", "waiter")

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages
        self.position = 0
        self.finished = False
        self.waiter: asyncio.Future[None] | None = None

    async def receive(self) -> Message:
        position = self.position
        if position < len(self.messages):
            self.position = position + 1
            return self.messages[position]
        if not self.finished:  # as under a server: the client stays until the answer is complete
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return DISCONNECT

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.finished = True
            if self.waiter is not None and not self.waiter.done():
                self.waiter.set_result(None)


@dataclass
class Answer:
    """What an app sent, put together."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    frames: list[str] = field(default_factory=list)


class RecordingExchange(Exchange):
    """An exchange that keeps what was sent, to check it."""

    __slots__ = ("sent",)

    def __init__(self, messages: list[Message]) -> None:
        super().__init__(messages)
        self.sent: list[Message] = []

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        await super().send(message)

    def answer(self) -> Answer:
        answer = Answer()
        for message in self.sent:
            match message["type"]:
                case "http.response.start":
                    answer.status = message["status"]
                    answer.headers = [(bytes(k), bytes(v)) for k, v in message.get("headers", ())]
                case "http.response.body":
                    answer.body += message.get("body", b"")
                case "websocket.send":
                    answer.frames.append(message["text"])
        return answer


async def ask(app: App, call: Call) -> Answer:
    """Make one request and return its answer."""
    exchange = RecordingExchange(call.messages())
    await app(call.scope(), exchange.receive, exchange.send)
    return exchange.answer()


async def take_time(app: App, call: Call, number: int) -> float:
    """Make a number of requests, one after the other, and return the seconds that one took.

    If a call is made by several clients at once, one request is one of each client.
    """
    if call.at_once > 1:
        return await take_time_at_once(app, call, number)
    scope = call.scope()
    messages = call.messages()
    begin = time.perf_counter()
    for _ in range(number):
        exchange = Exchange(messages)
        await app(scope.copy(), exchange.receive, exchange.send)
    return (time.perf_counter() - begin) / number


async def take_time_at_once(app: App, call: Call, number: int) -> float:
    """Make a number of requests for each client, and return the seconds that one of each took."""
    scope = call.scope()
    messages = call.messages()
    begin = time.perf_counter()
    for _ in range(number):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(call.at_once):
                exchange = Exchange(messages)
                tasks.create_task(serve(app, scope.copy(), exchange))
    return (time.perf_counter() - begin) / number


async def serve(app: App, scope: dict[str, Any], exchange: Exchange) -> None:
    """Make one request in a task of its own."""
    await app(scope, exchange.receive, exchange.send)


class Lifespan:
    """Keep an app's lifespan open while it is measured; apps that know none are left in peace."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.received: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        try:
            await self.app(scope, self.received.get, self.sent.put)
        except Exception as error:
            await self.sent.put({"type": "lifespan.unsupported", "message": repr(error)})
        else:
            await self.sent.put({"type": "lifespan.ended"})

    async def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self.run())
        await self.received.put({"type": "lifespan.startup"})
        answer = await asyncio.wait_for(self.sent.get(), 30)
        if answer["type"] == "lifespan.startup.failed":
            raise RuntimeError(f"{self.app!r} did not start: {answer.get('message')}")

    async def stop(self) -> None:
        if self.task is not None:
            await self.received.put({"type": "lifespan.shutdown"})
            await asyncio.wait_for(self.task, 30)
