"""A browser that keeps one cookie, and an application with sessions in a store."""

from __future__ import annotations

from typing import Any

from asgi_kit import Exchange, http_scope, websocket_scope

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.sessions import SessionMiddleware
from spica.responses import PlainTextResponse
from spica.routing import Route, WebSocketRoute
from spica.stores import MemoryStore, StoreUnavailable
from spica.stores.base import BaseStore

KEY = "a secret of at least 32 bytes, for tests"


class Browser:
    """A client that sends its cookie, and stores the one it gets."""

    def __init__(self, app: Any, cookie: str = "") -> None:
        self.app = app
        self.cookie = cookie

    def scope(self, path: str = "/", make: Any = http_scope) -> Any:
        headers = [("cookie", self.cookie)] if self.cookie else []
        return make(path=path, headers=headers)

    def keep(self, header: str) -> None:
        """Store the cookie of a Set-Cookie header."""
        pair, _, attributes = header.partition(";")
        self.cookie = "" if "1970" in attributes else pair

    async def get(self, path: str = "/") -> Exchange:
        exchange = await Exchange(self.scope(path)).run(self.app)
        if exchange.error is not None:
            raise exchange.error
        if "set-cookie" in exchange.headers:
            self.keep(exchange.headers["set-cookie"])
        return exchange

    async def connect(self, path: str = "/") -> Exchange:
        messages = [{"type": "websocket.connect"}]
        exchange = Exchange(self.scope(path, websocket_scope), messages)
        exchange.scope["extensions"] = {"websocket.http.response": {}}
        await self.app(exchange.scope, exchange.receive, Sender(exchange.sent))
        return exchange


class Sender:
    """A ``send`` for WebSockets, which keeps the messages."""

    def __init__(self, sent: list[Any]) -> None:
        self.sent = sent

    async def __call__(self, message: Any) -> None:
        self.sent.append(message)


class CountingStore(MemoryStore):
    """A memory store that counts its operations, and can be down."""

    def __init__(self) -> None:
        super().__init__()
        # A view of the store is a copy of it, and shares these.
        self.operations: list[str] = []
        self.down: set[str] = set()

    # Without the direct way of MemoryStore.
    get = BaseStore.get
    generation = BaseStore.generation
    set = BaseStore.set

    async def _run(self, operation: str, *args: Any) -> Any:
        self.operations.append(operation)
        if operation in self.down or "all" in self.down:
            raise StoreUnavailable("CountingStore", operation, "it is down")
        return await super()._run(operation, *args)


def app_with(endpoint: Any, store: Any, *, websocket: Any = None, **settings: Any) -> Spica:
    """Return an application with one endpoint. An endpoint that returns None answers with the session."""

    async def respond(request: Any) -> Any:
        answer = await endpoint(request)
        return PlainTextResponse(repr(dict(request.session))) if answer is None else answer

    settings.setdefault("secret_key", KEY)
    return Spica(
        routes=[Route("/{rest:path}", respond)]
        + ([WebSocketRoute("/{rest:path}", websocket)] if websocket else []),
        middleware=[Middleware(SessionMiddleware, store=store, **settings)],
    )
