"""Rows of ``scripts/bench state`` for sessions: one request through an application.

"read + write" increases a number in the session. Its Redis row stands next to the two operations of the
store, and to the two commands as a plain client sends them: an HGETALL, and the script that changes a record.
"""

import importlib
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.driver import Call
from spica.stores import Store, open_store
from spica.stores.redis import _MERGE as MERGE

SECRET = "k" * 32

RATIOS = (
    ("session in Redis, read + write", "read + merge, RedisStore"),
    ("session in memory, read + write", "Starlette's signed cookie, read + write"),
    ("session in memory, read + write", "signed cookie, read + write"),
    ("session in Redis, read + write", "HGETALL + EVALSHA, Redis"),
)
DIFFERENCES = (("session in a store, no cookie", "no session layer"),)

Operation = Callable[[], Awaitable[object]]


class Visit:
    """One request that an application answers; what it sends is kept until the next one."""

    def __init__(self, app: Any, path: str) -> None:
        self.app = app
        self.call = Call(path)
        self.sent: list[Any] = []

    async def __call__(self) -> None:
        self.sent.clear()
        await self.app(self.call.scope(), self.receive, self.send)

    async def receive(self) -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def begin(self) -> "Visit":
        """Get a session, and send its cookie from now on."""
        await self()
        headers = dict(self.sent[0]["headers"])
        cookie = headers[b"set-cookie"].partition(b";")[0]
        self.call = Call(self.call.path, headers=[(b"cookie", cookie)])
        return self


def app_of(package: str, application: str, *settings: dict[str, Any]) -> Any:
    """Return an application of spica or Starlette, with one session layer for each of ``settings``."""
    middleware = importlib.import_module(f"{package}.middleware")
    sessions = importlib.import_module(f"{package}.middleware.sessions")
    routing = importlib.import_module(f"{package}.routing")
    text = importlib.import_module(f"{package}.responses").PlainTextResponse

    async def plain(request: Any) -> Any:
        return text("ok")

    async def count(request: Any) -> Any:
        request.session["count"] = request.session.get("count", 0) + 1
        return text("ok")

    layers = [
        middleware.Middleware(sessions.SessionMiddleware, SECRET, **each) for each in settings
    ]
    routes = [routing.Route("/", plain), routing.Route("/count", count)]
    module = importlib.import_module(f"{package}.applications")
    return getattr(module, application)(routes=routes, middleware=layers)


async def operations(redis: Store | None, client: Any) -> dict[str, Operation]:
    """Return the rows. Those of Redis need a store and a client."""
    memory = {"store": open_store("memory://")}
    rows: dict[str, Operation] = {
        "no session layer": Visit(app_of("spica", "Spica"), "/"),
        "session in a store, no cookie": Visit(app_of("spica", "Spica", memory), "/"),
        "signed cookie, read + write": await Visit(app_of("spica", "Spica", {}), "/count").begin(),
        "session in memory, read + write": await Visit(
            app_of("spica", "Spica", memory), "/count"
        ).begin(),
    }
    try:
        starlette = app_of("starlette", "Starlette", {})
    except ImportError:
        starlette = None
    if starlette is not None:
        name = "Starlette's signed cookie, read + write"
        rows[name] = await Visit(starlette, "/count").begin()
    if redis is not None:
        app = app_of("spica", "Spica", {"store": redis})
        rows["session in Redis, read + write"] = await Visit(app, "/count").begin()
        (key,) = await client.keys("spica:r:session:*")
        rows["read + merge, RedisStore"] = Pair(redis, key.decode().removeprefix("spica:r:"))
        rows["HGETALL + EVALSHA, Redis"] = Floor(client, key)
    return rows


class Pair:
    """The two operations of one request with a session, on the store."""

    def __init__(self, store: Store, key: str) -> None:
        self.store = store
        self.key = key

    async def __call__(self) -> None:
        await self.store.read(self.key)
        await self.store.merge(self.key, {".count": b"2"}, idle_seconds=1000)


class Floor:
    """The commands of one request with a session, without spica."""

    def __init__(self, client: Any, key: bytes) -> None:
        self.client = client
        self.key = key
        self.script = client.register_script(MERGE)

    async def __call__(self) -> None:
        await self.client.hgetall(self.key)
        await self.script(keys=[self.key], args=[1_000_000_000, 0, b"f.count", b"2"])
