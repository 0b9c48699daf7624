"""What is mounted in an application is found, and made ready, when the application starts."""

import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgi_kit import call
from lifespan_kit import Server

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.cors import CORSMiddleware
from spica.responses import PlainTextResponse
from spica.routing import Host, Mount, Route, Router
from spica.routing.lifespan.mounted import build_applications_below, router_of

pytestmark = pytest.mark.anyio

WRONG_CORS = Middleware(CORSMiddleware, allow_origins=["example.org/"])


async def plain(request: Any) -> PlainTextResponse:
    return PlainTextResponse("plain")


class Noting:
    """A middleware of another kind that notes its making and its requests."""

    def __init__(self, app: Any, notes: list[str], name: str = "made") -> None:
        self.app = app
        self.notes = notes
        notes.append(name)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.notes.append(scope["type"])
        await self.app(scope, receive, send)


class Wrapper:
    """An app of another kind around one of ours."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class Product(Spica):
    """An application of a user's class."""


def wrong(kind: type[Spica] = Spica) -> Spica:
    return kind(middleware=[WRONG_CORS])


WRONG = {
    "a mount": (lambda: [Mount("/a", wrong())], "Spica mounted at '/a'"),
    "a mount with parameters": (
        lambda: [Mount("/t/{tenant}", wrong(Product))],
        "Product mounted at '/t/{tenant}'",
    ),
    "mounts in mounts": (
        lambda: [Mount("/a", routes=[Mount("/b", Spica(routes=[Mount("/c", wrong())]))])],
        "Spica mounted at '/a/b/c'",
    ),
    "a host": (lambda: [Host("b.example", wrong())], "Spica for host 'b.example'"),
    "below a host": (
        lambda: [Mount("/a", routes=[Host("b.example", Router([Mount("/c", wrong())]))])],
        "Spica mounted at '/a/c'",
    ),
    "inside a layer of ours": (
        lambda: [Mount("/a", CORSMiddleware(wrong(), allow_origins=["*"]))],
        "Spica mounted at '/a'",
    ),
    "inside a middleware of the mount": (
        lambda: [Mount("/a", wrong(), middleware=[Middleware(Wrapper)])],
        "Spica mounted at '/a'",
    ),
    "whose lifespan does not run": (
        lambda: [Mount("/a", wrong(), lifespan=False)],
        "Spica mounted at '/a'",
    ),
}


@pytest.mark.parametrize(("routes", "place"), WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("outer", [Spica, Router])
async def test_a_middleware_that_cannot_be_made_stops_the_start(
    outer: Any, routes: Any, place: str
) -> None:
    notes: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        notes.append("started")
        yield
        notes.append("ended")

    server = Server()
    with pytest.raises(ValueError, match=r"allow_origins has 'example.org/'") as caught:
        await server.run(outer(routes=routes(), lifespan=lifespan))
    assert notes == ["started", "ended"]
    assert caught.value.__notes__[0].startswith("In Middleware(CORSMiddleware, ")
    note = f"This was when the layers of the application {place} were made."
    assert caught.value.__notes__[1] == note
    assert server.types == ["startup.failed"]
    assert server.sent[0]["message"].rstrip().endswith(note)


async def test_below_starlette_s_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette.routing", sys.modules["spica.routing"])
    with pytest.raises(ValueError, match="allow_origins"):
        await Server().run(Spica(routes=[Mount("/a", wrong())]))


async def test_a_subclass_that_builds_nothing_is_named() -> None:
    class Empty(Spica):
        def build_middleware_stack(self) -> Any:
            return None

    with pytest.raises(TypeError, match="must return an ASGI app, not None") as caught:
        await Server().run(Spica(routes=[Mount("/a", Empty())]))
    assert caught.value.__notes__ == [
        "This was when the layers of the application Empty mounted at '/a' were made."
    ]


async def test_each_is_made_once_and_kept() -> None:
    notes: list[str] = []
    inner = Spica(routes=[Route("/", plain)], middleware=[Middleware(Noting, notes)])
    outer = Spica(routes=[Mount("/a", inner), Mount("/b", inner)])
    outer.mount("/again", outer)
    await Server().run(outer)
    assert notes == ["made"]
    assert (await call(outer, path="/b/")).body == b"plain"
    assert notes == ["made", "http"]


async def test_one_that_has_begun_to_serve_keeps_its_layers() -> None:
    notes: list[str] = []
    inner = Spica(routes=[Route("/", plain)], middleware=[Middleware(Noting, notes)])
    await call(inner)
    stack = inner.middleware_stack
    await Server().run(Spica(routes=[Mount("/a", inner)]))
    assert inner.middleware_stack is stack
    assert notes == ["made", "http"]


async def test_a_lifespan_may_add_middleware_to_what_is_mounted() -> None:
    notes: list[str] = []
    inner = Spica(routes=[Route("/", plain)])
    late = Spica(routes=[Route("/", plain)])

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        inner.add_middleware(Noting, notes, "inner")
        app.mount("/late", late)
        yield

    @contextlib.asynccontextmanager
    async def own_lifespan(app: Any) -> AsyncIterator[None]:
        app.add_middleware(Noting, notes, "late")
        yield

    late.router.lifespan_context = own_lifespan
    app = Spica(routes=[Mount("/a", inner)], lifespan=lifespan)
    await Server().run(app)
    assert sorted(notes) == ["inner", "late"]
    await call(app, path="/a/")
    assert notes[2:] == ["http"]


async def test_afterwards_it_is_as_with_every_application_that_has_started() -> None:
    inner = Spica()
    await Server().run(Spica(routes=[Mount("/a", inner)]))
    with pytest.raises(RuntimeError, match="Cannot add middleware after an application has start"):
        inner.add_middleware(Noting, [])


async def test_what_is_inside_an_app_of_another_kind_is_left_alone() -> None:
    inner = wrong()
    app = Spica(routes=[Mount("/a", Wrapper(inner)), Mount("/b", plain_app)])
    server = await Server().run(app)
    assert server.types == ["startup.complete", "shutdown.complete"]
    assert inner.middleware_stack is None


async def plain_app(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("plain")(scope, receive, send)


async def test_what_only_has_a_router_of_ours_is_gone_through() -> None:
    class Own:
        def __init__(self, router: Router) -> None:
            self.router = router

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.router(scope, receive, send)

    own = Own(Router([Mount("/b", wrong())]))
    assert router_of(own) == (own.router, own)
    with pytest.raises(ValueError, match="allow_origins") as caught:
        build_applications_below(Router([Mount("/a", own)]))
    assert "Spica mounted at '/a/b'" in caught.value.__notes__[1]


def test_what_is_no_application_of_ours_has_no_router() -> None:
    assert router_of(plain_app) == (None, None)
    assert router_of(Wrapper(Spica())) == (None, None)
