"""The lifespan: started, stopped, failed."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from lifespan_kit import Server, noting

from spica.applications import Spica
from spica.exceptions import SpicaDeprecationWarning
from spica.middleware import Middleware
from spica.routing import Router
from spica.routing.lifespan.own import make_lifespans
from spica.stores import MemoryStore

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("make", [Router, Spica])
async def test_an_application_without_a_lifespan_starts_and_stops(make: Any) -> None:
    assert (await Server().run(make())).types == ["startup.complete", "shutdown.complete"]


def test_the_context_in_the_place_of_its_function() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> Any:
        yield

    with pytest.raises(TypeError) as caught:
        Spica(lifespan=lifespan(None))  # type: ignore[arg-type]
    assert str(caught.value) == (
        "lifespan must be the function, not its result: write lifespan=name, not lifespan=name(app)."
    )


async def test_the_context_is_entered_and_left_with_the_application() -> None:
    steps: list[Any] = []
    app = Spica(lifespan=noting(steps))
    server = await Server().run(app)
    assert server.types == ["startup.complete", "shutdown.complete"]
    assert steps == [("start", app), ("stop", app)]


async def test_what_it_yields_is_the_state() -> None:
    server = await Server().run(Spica(lifespan=noting([], {"pool": 1})))
    assert server.scope["state"] == {"pool": 1}


async def test_state_needs_a_server_with_a_place_for_it() -> None:
    server = Server(has_state=False)
    with pytest.raises(
        RuntimeError, match=r'^The server does not support "state" in the lifespan scope\.$'
    ):
        await server.run(Spica(lifespan=noting([], {"pool": 1})))
    assert server.types == ["startup.failed"]


async def test_without_state_no_place_is_needed() -> None:
    server = await Server(has_state=False).run(Spica(lifespan=noting([])))
    assert server.types == ["startup.complete", "shutdown.complete"]


async def test_a_lifespan_put_in_later_runs() -> None:
    steps: list[Any] = []
    app = Spica()
    app.router.lifespan_context = noting(steps)
    await Server().run(app)
    assert [step for step, _ in steps] == ["start", "stop"]


async def test_the_context_can_be_called_directly() -> None:
    steps: list[Any] = []
    app = Spica(lifespan=noting(steps, {"a": 1}))
    async with app.router.lifespan_context(app) as state:
        assert state == {"a": 1}
    assert len(steps) == 2


async def test_it_passes_the_middleware() -> None:
    seen = []

    class Note:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope["type"])
            await self.app(scope, receive, send)

    await Server().run(Spica(middleware=[Middleware(Note)]))
    assert seen == ["lifespan"]


async def test_a_failing_start_is_told_and_raised() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        raise ValueError("no database")
        yield

    server = Server()
    with pytest.raises(ValueError, match="no database"):
        await server.run(Spica(lifespan=lifespan))
    assert server.types == ["startup.failed"]
    assert "ValueError: no database" in server.sent[0]["message"]


async def test_a_failing_stop_is_told_and_raised() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        raise ValueError("no database")

    server = Server()
    with pytest.raises(ValueError, match="no database"):
        await server.run(Spica(lifespan=lifespan))
    assert server.types == ["startup.complete", "shutdown.failed"]
    assert "ValueError: no database" in server.sent[1]["message"]


class TestKinds:
    async def test_an_async_generator_function_is_deprecated(self) -> None:
        async def lifespan(app: Any) -> AsyncIterator[Any]:
            yield {"a": 1}

        with pytest.warns(SpicaDeprecationWarning, match="async generator function") as caught:
            app = Spica(lifespan=lifespan)  # type: ignore[arg-type]
        assert caught[0].filename == __file__
        assert (await Server().run(app)).scope["state"] == {"a": 1}

    async def test_a_generator_function_is_deprecated(self) -> None:
        def lifespan(app: Any) -> Iterator[Any]:
            yield {"a": 1}

        with pytest.warns(SpicaDeprecationWarning, match="generator function") as caught:
            router = Router(lifespan=lifespan)  # type: ignore[arg-type]
        assert caught[0].filename == __file__
        assert (await Server().run(router)).scope["state"] == {"a": 1}

    def test_what_cannot_be_called_is_refused(self) -> None:
        with pytest.raises(TypeError, match="lifespan must be a function"):
            make_lifespans("lifespan")  # type: ignore[arg-type]

    def test_an_object_with_a_lifespan_names_its_method(self) -> None:
        with pytest.raises(TypeError, match=r"Pass its method: lifespan=\[store.lifespan\]"):
            make_lifespans([MemoryStore()])  # type: ignore[arg-type]


def test_a_lifespan_without_the_application_is_refused() -> None:
    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield

    with pytest.raises(
        TypeError, match=r"one argument, the application, but .*lifespan \(.*:\d+\) has other"
    ):
        Spica(lifespan=lifespan)  # type: ignore[arg-type]


def test_a_method_may_be_a_lifespan() -> None:
    class Pool:
        @contextlib.asynccontextmanager
        async def lifespan(self, app: object) -> AsyncIterator[None]:
            yield

    Spica(lifespan=Pool().lifespan)
