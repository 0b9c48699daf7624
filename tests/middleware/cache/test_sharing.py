"""Requests that share one store or one computation, and those that must not."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from asgi_kit import Exchange, http_scope
from session_kit import CountingStore

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.cache import ResponseCacheMiddleware
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route
from spica.stores import MemoryStore

pytestmark = pytest.mark.anyio

PUBLIC = {"cache-control": "public, max-age=60"}


class Service:
    """An application that counts its computations, each of which waits until all requests have come."""

    def __init__(self, store: Any = None, layers: int = 1, **settings: Any) -> None:
        self.runs = 0
        self.now = 1_000_000.0
        self.fields = PUBLIC
        self.gate = anyio.Event()
        self.store = MemoryStore() if store is None else store
        recipe = Middleware(self.make, store=self.store, **settings)
        routes = [
            Mount("/foreign", self.foreign),
            Route("/stream/a", self.stream),
            Route("/{rest:path}", self.run),
        ]
        self.app = Spica(routes=routes, middleware=[recipe] * layers)

    def make(self, app: Any, **settings: Any) -> Any:
        layer = ResponseCacheMiddleware(app, **settings)
        layer._clock = lambda: self.now
        return layer

    async def run(self, request: Any) -> Any:
        self.runs += 1
        text = request.url.path + (await request.body()).decode()
        await self.gate.wait()
        return PlainTextResponse(text, headers=self.fields)

    async def stream(self, request: Any) -> Any:
        return StreamingResponse(request.stream(), headers=self.fields)

    async def foreign(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        await PlainTextResponse(message["body"], headers=PUBLIC)(scope, receive, send)

    async def get(self, path: str = "/", body: bytes = b"", raw: str = "", **fields: str) -> Any:
        headers = [(name.replace("_", "-"), value) for name, value in fields.items()]
        scope = http_scope("GET", path, headers=headers)
        scope["raw_path"] = raw.encode() or scope["raw_path"]
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        return await Exchange(scope, messages).run(self.app)

    async def get_many(self, requests: list[dict[str, str]]) -> None:
        """Send the requests at once."""
        async with anyio.create_task_group() as group:
            for fields in requests:
                group.start_soon(lambda fields=fields: self.get(**fields))  # type: ignore[misc]
            await anyio.wait_all_tasks_blocked()
            self.gate.set()


@pytest.mark.parametrize("make_store", [MemoryStore, CountingStore])
async def test_each_value_of_a_varied_field_is_computed_once(make_store: Any) -> None:
    service = Service(make_store())
    service.fields = {**PUBLIC, "vary": "Accept-Language"}
    await service.get_many([{"accept_language": each} for each in ["de", "en", "fr"] * 10])
    assert service.runs == 3


async def test_a_request_with_credentials_lets_others_go_on_to_share() -> None:
    service = Service(default_seconds=60)
    service.fields = {}
    service.gate.set()
    await service.get(cookie="id=1")
    service.gate = anyio.Event()
    await service.get_many([{}] * 20)
    assert service.runs == 2


async def test_a_request_that_forbids_to_store_lets_others_go_on_to_share() -> None:
    service = Service()
    service.gate.set()
    await service.get(cache_control="no-store")
    service.gate = anyio.Event()
    await service.get_many([{}] * 20)
    assert service.runs == 2


async def test_a_request_that_forbids_to_store_removes_no_response() -> None:
    service = Service()
    service.gate.set()
    await service.get()
    await service.get(cache_control="no-store, no-cache")
    assert "hit" in (await service.get()).headers["cache-status"]


@pytest.mark.parametrize("make_store", [MemoryStore, CountingStore])
async def test_two_layers_with_one_store_do_not_wait_for_each_other(make_store: Any) -> None:
    service = Service(make_store(), layers=2, wait_seconds=86_400)
    service.gate.set()
    service.fields = {"cache-control": "public, max-age=60, stale-while-revalidate=60"}
    await service.get()
    service.now += 70
    await service.get()  # it computes the response in the background
    assert service.runs == 2
    assert "hit" in (await service.get()).headers["cache-status"]


@pytest.mark.parametrize("path", ["/a", "/foreign/a", "/stream/a"])
@pytest.mark.parametrize(
    "fields", [{"content_length": "4"}, {"transfer_encoding": "chunked"}, {}], ids=str
)
async def test_a_response_to_a_body_reaches_no_other_request(
    path: str, fields: dict[str, str]
) -> None:
    service = Service()
    service.gate.set()
    await service.get(path, b"evil", **fields)
    assert "evil" not in (await service.get(path)).text


async def test_a_request_with_a_body_is_not_answered_from_the_cache() -> None:
    service = Service()
    service.gate.set()
    await service.get("/a")
    answer = await service.get("/a", b"?", content_length="1")
    assert (answer.text, answer.headers["cache-status"]) == ("/a?", "spica;fwd=bypass")


async def test_a_path_that_a_layer_outside_has_changed_belongs_to_the_key() -> None:
    service = Service()
    service.gate.set()
    await service.get("/tenant-1/report", raw="/report")
    assert (await service.get("/tenant-2/report", raw="/report")).text == "/tenant-2/report"


@pytest.mark.parametrize("name", ["x_api_key", "x_forwarded_user", "cookie", "authorization"])
async def test_a_default_is_for_requests_without_a_usual_field_of_users(name: str) -> None:
    service = Service(default_seconds=60)
    service.fields = {}
    service.gate.set()
    await service.get(**{name: "ann"})
    assert "hit" not in (await service.get()).headers["cache-status"]
    assert "hit" not in (await service.get(**{name: "bob"})).headers["cache-status"]
