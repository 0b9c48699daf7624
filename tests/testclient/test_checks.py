import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from async_kit import START, Script, WithLifespan, body

from spica.testclient import AsyncTestClient, Checks

pytestmark = pytest.mark.anyio


class Forgetful:
    """An application that starts a task for each request and does not end it."""

    def __init__(self, group: Any) -> None:
        self.group = group
        self.end = anyio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.group.start_soon(self.linger)
        await send(START)
        await send(body(b""))

    async def linger(self) -> None:
        await self.end.wait()


@pytest.fixture
async def app() -> AsyncIterator[Forgetful]:
    async with anyio.create_task_group() as group:
        app = Forgetful(group)
        yield app
        app.end.set()


async def test_a_response_names_the_tasks_of_its_request(app: Forgetful) -> None:
    async with AsyncTestClient(WithLifespan(app)) as client:
        response = await client.get("/")
        assert len(response.tasks) == 1
        assert "linger" in response.tasks[0]
        app.end.set()
        await anyio.wait_all_tasks_blocked()
        assert response.tasks == []


async def test_a_task_that_is_left_is_named_at_the_exit(app: Forgetful) -> None:
    with pytest.raises(AssertionError, match=r"tasks that the application did not end: .*linger"):
        async with AsyncTestClient(WithLifespan(app)) as client:
            await client.get("/")


async def test_tasks_of_the_test_are_not_leaks() -> None:
    async with anyio.create_task_group() as group:
        async with AsyncTestClient(Script(START, body(b""))) as client:
            group.start_soon(anyio.sleep_forever)
            await client.get("/")
        group.cancel_scope.cancel()


async def test_a_task_that_ends_at_the_shutdown_is_not_a_leak(app: Forgetful) -> None:

    async def with_shutdown(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        app.end.set()
        await send({"type": "lifespan.shutdown.complete"})

    async with AsyncTestClient(with_shutdown) as client:
        await client.get("/")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists open files")
async def test_a_file_that_is_left_open_is_named_at_the_exit(tmp_path: Any) -> None:
    with pytest.raises(AssertionError, match=r"files that are still open: .*left\.txt"):
        async with AsyncTestClient(Script(START, body(b""))) as client:
            left = (tmp_path / "left.txt").open("w")
            await client.get("/")
    left.close()


async def test_the_checks_can_be_switched_off(app: Forgetful, tmp_path: Any) -> None:
    async with AsyncTestClient(
        WithLifespan(app), checks=Checks(tasks=False, files=False)
    ) as client:
        left = (tmp_path / "left.txt").open("w")
        await client.get("/")
    left.close()
