from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from spica.testclient import exchange as exchange_module
from spica.testclient.lifespan import Lifespan

STARTED = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}
RECEIVE = "receive"


@pytest.fixture
def portal(anyio_backend: str) -> Iterator[BlockingPortal]:
    with start_blocking_portal(anyio_backend) as portal:
        yield portal


class Script:
    """An application that does what it is told, and notes what it receives."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.received: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        for step in self.steps:
            if step is RECEIVE:
                self.received.append((await receive())["type"])
            elif isinstance(step, BaseException):
                raise step
            else:
                await send(step)


def test_an_application_starts_and_stops(portal: BlockingPortal) -> None:
    app = Script(RECEIVE, STARTED, RECEIVE, STOPPED)
    state: dict[str, Any] = {}
    lifespan = Lifespan(app, state)
    task = lifespan.begin(portal)
    assert app.received == ["lifespan.startup"]
    assert not task.done()
    lifespan.finish()
    assert app.received == ["lifespan.startup", "lifespan.shutdown"]
    assert task.result(timeout=60) is None
    assert app.scope == {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    assert app.scope["state"] is state


@pytest.mark.parametrize(
    ("steps", "error", "text"),
    [
        pytest.param([ValueError("x")], ValueError, "x", id="raises"),
        pytest.param([RECEIVE, ValueError("x")], ValueError, "x", id="raises later"),
        pytest.param(
            [RECEIVE, {"type": "lifespan.startup.failed", "message": "no database"}],
            RuntimeError,
            "The application failed to start: no database",
            id="says so",
        ),
        pytest.param(
            [RECEIVE, {"type": "lifespan.startup.failed"}],
            RuntimeError,
            "The application failed to start: it gave no reason",
            id="says so without a reason",
        ),
        pytest.param(
            [RECEIVE, {"type": "lifespan.startup.failed"}, ValueError("x")],
            ValueError,
            "x",
            id="says so and raises",
        ),
        pytest.param(
            [RECEIVE, {"type": "lifespan.startup.failed"}, RECEIVE],
            RuntimeError,
            "failed to start",
            id="says so and waits",
        ),
        pytest.param(
            [RECEIVE],
            AssertionError,
            "returned during start-up, without sending 'lifespan.startup.complete'",
            id="returns",
        ),
        pytest.param(
            [RECEIVE, STOPPED],
            AssertionError,
            "sent 'lifespan.shutdown.complete' during start-up. Allowed here: 'lifespan.startup",
            id="wrong message",
        ),
    ],
)
def test_a_failing_start_is_raised(
    steps: list[Any], error: type[Exception], text: str, portal: BlockingPortal
) -> None:
    with pytest.raises(error) as caught:
        Lifespan(Script(*steps), {}).begin(portal)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "error", "text"),
    [
        pytest.param([ValueError("x")], ValueError, "x", id="raises between"),
        pytest.param([RECEIVE, ValueError("x")], ValueError, "x", id="raises"),
        pytest.param([RECEIVE, STOPPED, ValueError("x")], ValueError, "x", id="raises after"),
        pytest.param(
            [RECEIVE, {"type": "lifespan.shutdown.failed", "message": "stuck"}],
            RuntimeError,
            "The application failed to stop: stuck",
            id="says so",
        ),
        pytest.param(
            [RECEIVE],
            AssertionError,
            "returned during shutdown, without sending 'lifespan.shutdown.complete'",
            id="returns",
        ),
        pytest.param(
            [STARTED],
            AssertionError,
            "sent 'lifespan.startup.complete' between start-up and shutdown. Nothing may",
            id="starts twice",
        ),
    ],
)
def test_a_failing_stop_is_raised(
    steps: list[Any], error: type[Exception], text: str, portal: BlockingPortal
) -> None:
    lifespan = Lifespan(Script(RECEIVE, STARTED, *steps), {})
    lifespan.begin(portal)
    with pytest.raises(error) as caught:
        lifespan.finish()
    assert text in str(caught.value)


def test_an_application_that_waits_for_more_is_cancelled(portal: BlockingPortal) -> None:
    lifespan = Lifespan(Script(RECEIVE, STARTED, RECEIVE, STOPPED, RECEIVE), {})
    task = lifespan.begin(portal)
    lifespan.finish()
    assert task.done()


def test_an_application_that_stays_is_cancelled(
    portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STARTED)
        await receive()
        await receive()
        await send(STOPPED)
        await anyio.sleep_forever()

    monkeypatch.setattr(exchange_module, "CLEANUP_SECONDS", 0.01)
    lifespan = Lifespan(app, {})
    task = lifespan.begin(portal)
    lifespan.finish()
    assert task.done()
