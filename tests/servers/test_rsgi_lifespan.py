"""The lifespan of an application, by the hooks of an RSGI server."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest
from rsgi_kit import HTTPProtocol, RSGIScope

from spica.applications import Spica
from spica.responses import PlainTextResponse
from spica.routing import Route
from spica.servers.rsgi import RSGI


@pytest.fixture
def loop() -> Any:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def app_with(steps: list[str], *, fails: str = "") -> Spica:
    """Return an application that notes its steps, and fails at one of them."""

    @asynccontextmanager
    async def lifespan(app):
        task = asyncio.current_task()
        for step in ("startup", "shutdown"):
            if step == fails:
                raise ValueError(f"{step} fails")
            steps.append(step)
            if step == "startup":
                yield {"task": task}
        assert asyncio.current_task() is task

    return Spica(routes=[Route("/", lambda request: PlainTextResponse("hello"))], lifespan=lifespan)


def test_the_application_starts_and_stops_in_one_task(loop):
    steps: list[str] = []
    app = app_with(steps)
    app.__rsgi_init__(loop)
    assert steps == ["startup"]
    app.__rsgi_del__(loop)
    assert steps == ["startup", "shutdown"]


@pytest.mark.filterwarnings("ignore")
def test_a_failing_start_is_an_error_with_its_cause(loop):
    with pytest.raises(RuntimeError, match="startup failed") as caught:
        app_with([], fails="startup").__rsgi_init__(loop)
    assert str(caught.value.__cause__) == "startup fails"


def test_a_failing_shutdown_is_an_error(loop):
    app = app_with([], fails="shutdown")
    app.__rsgi_init__(loop)
    with pytest.raises(RuntimeError, match="shutdown failed"):
        app.__rsgi_del__(loop)


def test_an_application_without_a_lifespan_is_served(loop):
    async def app(scope, receive, send):
        assert scope["type"] == "http"

    adapter = RSGI(app)
    adapter.__rsgi_init__(loop)
    adapter.__rsgi_del__(loop)


def test_an_error_after_the_first_receive_is_no_missing_lifespan(loop):
    async def app(scope, receive, send):
        await receive()
        raise ValueError("no database")

    with pytest.raises(ValueError, match="no database"):
        RSGI(app).__rsgi_init__(loop)


def test_a_connection_waits_for_the_start_on_a_running_loop():
    """granian's embedded server calls the hooks from within its loop."""
    steps: list[str] = []
    app = app_with(steps)

    async def run() -> HTTPProtocol:
        app.__rsgi_init__(asyncio.get_running_loop())
        assert steps == []
        protocol = HTTPProtocol()
        await app.__rsgi__(RSGIScope(), protocol)
        assert steps == ["startup"]
        app.__rsgi_del__(asyncio.get_running_loop())
        async with asyncio.timeout(10):
            while steps != ["startup", "shutdown"]:
                await asyncio.sleep(0)
        return protocol

    assert asyncio.run(run()).body == b"hello"


def test_each_loop_has_a_lifespan_of_its_own():
    steps: list[str] = []
    app = app_with(steps)
    loops = [asyncio.new_event_loop(), asyncio.new_event_loop()]
    for loop in loops:
        app.__rsgi_init__(loop)
    for loop in loops:
        app.__rsgi_del__(loop)
        loop.close()
    assert steps == ["startup", "startup", "shutdown", "shutdown"]
