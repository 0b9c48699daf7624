"""What the lifespan of a mounted application yields, seen by the requests below the mount alone."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.responses import JSONResponse
from spica.routing import Host, Mount, Route, WebSocketRoute
from spica.testclient import TestClient


def yielding(state: Any) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        yield state

    return lifespan


async def show(request: Any) -> JSONResponse:
    return JSONResponse(dict(request.scope.get("state", {})))


async def show_socket(websocket: Any) -> None:
    await websocket.accept()
    await websocket.send_json(dict(websocket.scope.get("state", {})))
    await websocket.close()


ROUTES = [Route("/", show), WebSocketRoute("/ws", show_socket)]


class Foreign:
    """A middleware that hides the application: it is served on the message path."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


async def pass_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


STACKS = {
    "value path": [],
    "message path": [Middleware(Foreign)],
    "dispatch": [Middleware(BaseHTTPMiddleware, dispatch=pass_on)],
}


def make(middleware: list[Any]) -> Spica:
    inner = Spica(routes=ROUTES, lifespan=yielding({"db": "inner", "a": 1}))
    routes = [
        *ROUTES,
        Mount("/inner", inner, middleware=middleware),
        Mount("/again", inner),
        Mount("/plain", Spica(routes=ROUTES)),
        Mount(
            "/outer", Spica(routes=[Mount("/deep", inner)], lifespan=yielding({"deep": 2, "a": 3}))
        ),
        Host("inner.example", inner),
    ]
    return Spica(routes=routes, lifespan=yielding({"db": "outer", "b": 2}), middleware=middleware)


OUTER = {"db": "outer", "b": 2}
INNER = {"db": "inner", "a": 1, "b": 2}


@pytest.mark.parametrize("middleware", STACKS.values(), ids=STACKS.keys())
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_is_laid_over_that_of_the_applications_around(middleware: Any, backend: Any) -> None:
    with TestClient(make(middleware), backend=backend) as client:
        assert client.get("/inner/").json() == INNER
        assert client.get("/again/").json() == INNER
        assert client.get("/outer/deep/").json() == {**INNER, "deep": 2}
        # Others do not see it, not even afterwards.
        assert client.get("/").json() == OUTER
        assert client.get("/plain/").json() == OUTER
        with client.websocket_connect("/inner/ws") as websocket:
            assert websocket.receive_json() == INNER
        with client.websocket_connect("/ws") as websocket:
            assert websocket.receive_json() == OUTER


def test_below_a_host() -> None:
    with TestClient(make([]), base_url="http://inner.example") as client:
        assert client.get("/nowhere").status_code == 404
    only = Spica(routes=[Host("inner.example", Spica(routes=ROUTES, lifespan=yielding({"a": 1})))])
    with TestClient(only, base_url="http://inner.example") as client:
        assert client.get("/").json() == {"a": 1}


def test_of_an_app_that_is_not_ours() -> None:
    async def foreign(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["from"] = "foreign"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await JSONResponse(dict(scope["state"]))(scope, receive, send)

    with TestClient(Spica(routes=[Mount("/a", foreign, lifespan=True)])) as client:
        assert client.get("/a/").json() == {"from": "foreign"}


def test_a_mount_keeps_its_app_and_drops_the_state_at_shutdown() -> None:
    app = make([])
    mounts = [route for route in app.routes if isinstance(route, (Mount, Host))]
    before = [route.app for route in mounts]
    with TestClient(app):
        during = [route.app for route in mounts]
        assert [len(route._lifespan_states) for route in mounts] == [1, 1, 0, 1, 1]
    assert all(a is b for a, b in zip(before, during, strict=True))
    assert [route._lifespan_states for route in mounts] == [()] * 5


class OwnMatches(Mount):
    def matches(self, scope: Any) -> Any:
        return super().matches(scope)


class OwnHandle(Mount):
    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class OwnHost(Host):
    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await super().handle(scope, receive, send)


@pytest.mark.parametrize(
    "make_route",
    [
        lambda app: OwnMatches("", app),
        lambda app: OwnHandle("", app),
        lambda app: OwnHost("testserver", app),
    ],
    ids=["matches", "handle", "host"],
)
def test_a_subclass_passes_the_state_on(make_route: Any) -> None:
    inner = Spica(routes=ROUTES, lifespan=yielding({"a": 1}))
    with TestClient(Spica(routes=[make_route(inner)])) as client:
        assert client.get("/").json() == {"a": 1}
        with client.websocket_connect("/ws") as websocket:
            assert websocket.receive_json() == {"a": 1}


def test_a_route_alone_passes_the_state_on() -> None:
    mount = Mount("/inner", Spica(routes=ROUTES, lifespan=yielding({"a": 1})))
    with TestClient(Spica(routes=[mount])):
        assert TestClient(mount).get("/inner/").json() == {"a": 1}


@pytest.mark.parametrize("path", ["/inner", "/inner/"])
def test_the_path_without_its_slash_has_the_state_too(path: str) -> None:
    inner = Spica(routes=ROUTES, lifespan=yielding({"a": 1}))
    app = Spica(routes=[Mount("/inner", inner, serve_bare_path=True)])
    with TestClient(app) as client:
        assert client.get(path).json() == {"a": 1}


def test_an_application_that_runs_twice_at_a_time() -> None:
    app = make([])
    before = [route.app for route in app.routes if isinstance(route, (Mount, Host))]
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        client = first.enter_context(TestClient(app))
        other = second.enter_context(TestClient(app))
        assert client.get("/inner/").json() == INNER
        first.close()
        assert other.get("/inner/").json() == INNER
    after = [route.app for route in app.routes if isinstance(route, (Mount, Host))]
    assert all(a is b for a, b in zip(before, after, strict=True))


def test_an_app_that_was_put_in_meanwhile_stays() -> None:
    app = make([])
    mount: Any = app.routes[2]
    replacement = Spica()
    with TestClient(app):
        mount.app = replacement
    assert mount.app is replacement
