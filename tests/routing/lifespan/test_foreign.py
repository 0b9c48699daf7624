"""The lifespan of an app that is only known by the ASGI protocol."""

from typing import Any

import anyio
import pytest
from lifespan_kit import Server

from spica.applications import Spica
from spica.routing import Mount
from spica.routing.lifespan.foreign import ForeignLifespan

pytestmark = pytest.mark.anyio


class App:
    """Answers the lifespan as it is told to; ``steps`` notes what comes."""

    def __init__(self, startup: Any = "complete", shutdown: Any = "complete") -> None:
        self.answers = [startup, shutdown]
        self.steps: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        for answer in self.answers:
            message = await receive()
            self.steps.append(message["type"])
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                return
            await send({"type": f"{message['type']}.{answer}", "message": "no luck"})
        scope["state"]["late"] = 1
        await receive()  # for which there will be no answer


async def test_it_starts_and_ends() -> None:
    app = App()
    async with ForeignLifespan(app):
        assert app.steps == ["lifespan.startup"]
    assert app.steps == ["lifespan.startup", "lifespan.shutdown"]


FAILING_STARTS = {
    "says so": ("failed", RuntimeError, "startup of .* failed: no luck"),
    "raises": (ConnectionError("no database"), ConnectionError, "no database"),
    "says nothing": (None, RuntimeError, "It ended without an answer to the startup."),
    "says something else": (
        "nonsense",
        RuntimeError,
        "'lifespan.startup.nonsense' is not an answer",
    ),
}


@pytest.mark.parametrize(
    ("answer", "kind", "text"), FAILING_STARTS.values(), ids=FAILING_STARTS.keys()
)
async def test_a_start_that_fails(answer: Any, kind: Any, text: str) -> None:
    with pytest.raises(kind, match=text):
        await ForeignLifespan(App(answer)).__aenter__()


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ("failed", RuntimeError, "shutdown of .* failed: no luck"),
        (ConnectionError("no flush"), ConnectionError, "no flush"),
        (None, RuntimeError, "It ended without an answer to the shutdown."),
    ],
    ids=["says so", "raises", "says nothing"],
)
async def test_an_end_that_fails(answer: Any, kind: Any, text: str) -> None:
    lifespan = ForeignLifespan(App("complete", answer))
    await lifespan.__aenter__()
    with pytest.raises(kind, match=text):
        await lifespan.__aexit__(None, None, None)


async def test_an_app_that_has_ended_in_between() -> None:
    steps = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        steps.append((await receive())["type"])
        await send({"type": "lifespan.startup.complete"})
        steps.append("over")

    async with ForeignLifespan(app):
        await anyio.wait_all_tasks_blocked()
        assert steps == ["lifespan.startup", "over"]


async def test_it_is_cancelled_with_what_is_around_it() -> None:
    app = App()
    with anyio.CancelScope() as scope:
        async with ForeignLifespan(app):
            scope.cancel()
            await anyio.sleep_forever()
    assert app.steps == ["lifespan.startup"]


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
async def test_one_that_hangs_is_ended_by_the_time_limit(phase: str) -> None:
    steps = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            message = await receive()
            while message["type"] != f"lifespan.{phase}":
                await send({"type": f"{message['type']}.complete"})
                message = await receive()
            await anyio.sleep_forever()
        finally:
            steps.append("ended")

    server = Server()
    limit: Any = {f"max_{phase}_seconds": 0.01}
    with pytest.raises(TimeoutError, match=f"The {phase} of .* took longer than 0.01 seconds"):
        await server.run(Spica(routes=[Mount("/a", app, lifespan=True)], **limit))
    assert steps == ["ended"]
    assert server.types[-1] == f"{phase}.failed"


async def test_it_is_cancelled_while_it_starts() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as scope:
        await ForeignLifespan(app).__aenter__()
    assert scope.cancelled_caught


async def test_the_error_says_where_it_is_mounted() -> None:
    with pytest.raises(ConnectionError) as caught:
        await Server().run(
            Spica(routes=[Mount("/a", App(ConnectionError("no database")), lifespan=True)])
        )
    [note] = caught.value.__notes__
    assert note.startswith(f"This was in the startup of the lifespan App ({__file__}:")
    assert note.endswith("of the application mounted at '/a'.")
