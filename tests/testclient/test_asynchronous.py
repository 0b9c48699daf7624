import asyncio
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from async_kit import START, Script, WithLifespan, body

from spica.applications import Spica
from spica.responses import JSONResponse, StreamingResponse
from spica.routing import Route
from spica.testclient import AsyncTestClient, Checks, ReceivedEvent, TestClient, cluster
from spica.testclient.interface import httpx

pytestmark = pytest.mark.anyio


async def show(request: Any) -> JSONResponse:
    return JSONResponse(
        {
            "path": request.url.path,
            "query": str(request.query_params),
            "agent": request.headers["user-agent"],
            "cookies": request.cookies,
            "host": request.headers["host"],
            "client": list(request.client),
            "root_path": request.scope["root_path"],
            "state": dict(request.scope["state"]),
        }
    )


@asynccontextmanager
async def lifespan(app: Any) -> Any:
    yield {"greeting": "Hello"}


SHOW = Spica(routes=[Route("/{rest:path}", show)], lifespan=lifespan)


def test_it_is_a_client_of_httpx_and_no_test() -> None:
    assert issubclass(AsyncTestClient, httpx.AsyncClient)
    assert AsyncTestClient.__test__ is False


async def test_the_options_reach_the_scope() -> None:
    async with AsyncTestClient(
        SHOW,
        "https://example.org/base/",
        headers={"user-agent": "x"},
        cookies={"a": "b"},
        client=("192.0.2.1", 7),
        root_path="/base",
    ) as client:
        shown = (await client.get("c?d=1")).json()
    assert shown == {
        "path": "/base/c",
        "query": "d=1",
        "agent": "x",
        "cookies": {"a": "b"},
        "host": "example.org",
        "client": ["192.0.2.1", 7],
        "root_path": "/base",
        "state": {"greeting": "Hello"},
    }


async def test_the_defaults() -> None:
    async with AsyncTestClient(SHOW) as client:
        shown = (await client.get("/a")).json()
        assert client.app_state == {"greeting": "Hello"}
    assert (shown["agent"], shown["host"]) == ("testclient", "testserver")
    assert shown["client"] == ["testclient", 50000]


async def test_a_known_url_follows_its_base_and_its_params() -> None:
    async with AsyncTestClient(SHOW) as client:
        for _ in range(2):
            assert (await client.get("/a?b=1")).json()["query"] == "b=1"
        assert (await client.get("/a", params={"c": "2"})).json()["query"] == "c=2"
        client.base_url = "http://other"
        assert (await client.get("/a?b=1")).json()["host"] == "other"
        client.params = {"d": "3"}
        assert (await client.get("/e")).json()["query"] == "d=3"


async def test_a_repeated_request_is_built_like_the_first() -> None:
    async with AsyncTestClient(SHOW, headers={"x-a": "b"}, timeout_seconds=3) as client:
        first, second = (client.build_request("GET", "/a?b=c") for _ in range(2))
    assert (first.method, first.url, first.content) == (second.method, second.url, second.content)
    assert first.headers.raw == second.headers.raw
    assert first.extensions == second.extensions


@pytest.mark.parametrize(
    "method", ["get", "options", "head", "post", "put", "patch", "delete"], ids=str
)
async def test_each_method_has_a_function(method: str) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["method"])
        await send(START)
        await send(body(b""))

    async with AsyncTestClient(WithLifespan(app)) as client:
        await getattr(client, method)("/")
    assert seen == [method.upper()]


async def test_the_codec_of_the_application_encodes_json() -> None:
    class Codec:
        def encode(self, value: Any) -> bytes:
            return b'"encoded"'

    async with AsyncTestClient(Script("receive", START, body(b""))) as client:
        client.app.json_codec = Codec()  # type: ignore[attr-defined]
        await client.post("/", json={"a": 1})
        assert client.app.received[0]["body"] == b'"encoded"'  # type: ignore[attr-defined]


async def test_redirects_are_followed_and_cookies_kept() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        cookies = [value for name, value in scope["headers"] if name == b"cookie"]
        moved = {**START, "status": 302, "headers": [(b"location", b"/b"), (b"set-cookie", b"a=b")]}
        await send(moved if scope["path"] == "/a" else START)
        await send(body(b"".join(cookies)))

    async with AsyncTestClient(WithLifespan(app)) as client:
        response = await client.get("/a")
    assert (response.url.path, response.content) == ("/b", b"a=b")


# Lifespan


async def test_a_failure_of_the_start_is_raised() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"):
        async with AsyncTestClient(app):
            pass


async def test_an_application_that_says_that_it_cannot_start() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="failed to start: no database"):
        async with AsyncTestClient(app):
            pass


async def test_a_failure_of_the_shutdown_is_raised() -> None:
    @asynccontextmanager
    async def failing(app: Any) -> Any:
        yield
        raise LookupError("late")

    with pytest.raises(LookupError, match="late"):
        async with AsyncTestClient(Spica(lifespan=failing)):
            pass


async def test_the_shutdown_runs_when_the_test_fails_or_is_cancelled() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def logging(app: Any) -> Any:
        yield
        await anyio.lowlevel.checkpoint()
        log.append("down")

    with pytest.raises(ZeroDivisionError):
        async with AsyncTestClient(Spica(lifespan=logging)):
            raise ZeroDivisionError
    with anyio.CancelScope() as scope:
        async with AsyncTestClient(Spica(lifespan=logging)):
            scope.cancel()
            await anyio.sleep_forever()
    assert log == ["down", "down"]


async def test_a_start_that_is_cancelled_cancels_the_application() -> None:
    log: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append("cancelled")

    with anyio.move_on_after(0.01):
        async with AsyncTestClient(app):
            pass
    assert log == ["cancelled"]


def test_on_asyncio_one_task_may_enter_it_and_another_leave_it() -> None:
    # pytest-asyncio runs the two halves of a fixture in different tasks
    client = AsyncTestClient(SHOW)
    with asyncio.Runner() as runner:
        runner.run(client.__aenter__())
        assert runner.run(client.get("/")).status_code == 200
        runner.run(client.__aexit__())


async def test_requests_need_a_client_that_was_entered() -> None:
    client = AsyncTestClient(SHOW)
    with pytest.raises(RuntimeError, match=r"Write: async with AsyncTestClient\(app\) as client"):
        await client.get("/")
    async with client:
        pass
    with pytest.raises(RuntimeError):
        await client.get("/")


def test_a_class_is_not_an_application() -> None:
    with pytest.raises(TypeError, match=r"Write Spica\(...\)"):
        AsyncTestClient(Spica)


# Events


async def ticks(request: Any) -> StreamingResponse:
    return StreamingResponse(tick(), media_type="text/event-stream")


async def tick() -> Any:
    number = 0
    while True:
        yield f"id: {number}\ndata: {number}\n\n"
        number += 1


async def test_an_endless_stream_of_events_is_read_one_by_one() -> None:
    read: list[str] = []
    async with AsyncTestClient(Spica(routes=[Route("/", ticks)])) as client:
        async with client.stream("GET", "/") as response:
            async for event in response.events():
                read.append(event.data)
                if len(read) == 50:
                    break
    assert read == [str(number) for number in range(50)]


async def test_events_of_a_whole_response() -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    app = Script({**START, "headers": headers}, body(b"data: a\n\ndata: b\n\n"))
    async with AsyncTestClient(app) as client:
        response = await client.get("/")
        assert [event async for event in response.events()] == [
            ReceivedEvent("a"),
            ReceivedEvent("b"),
        ]


async def test_events_need_their_media_type() -> None:
    async with AsyncTestClient(SHOW) as client:
        response = await client.get("/")
        with pytest.raises(ValueError, match="'application/json', not 'text/event-stream'"):
            response.events()


def test_the_sync_client_reads_events_too() -> None:
    client = TestClient(Spica(routes=[Route("/", ticks)]))
    with client.stream("GET", "/") as response:
        events = response.events()  # type: ignore[attr-defined]
        assert [next(events).id for _ in range(3)] == ["0", "1", "2"]


# Shutdown, cluster


async def test_shutdown_begins_the_drain_of_the_application() -> None:
    class Drain:
        is_begun = False

        def begin(self) -> None:
            self.is_begun = True

    app: Any = Script()
    app.shutdown = Drain()
    async with AsyncTestClient(app) as client:
        client.shutdown()
    assert app.shutdown.is_begun


async def test_shutdown_of_an_application_without_a_drain_is_an_error() -> None:
    async with AsyncTestClient(Script()) as client:
        with pytest.raises(RuntimeError, match="Script has no drain"):
            client.shutdown()


async def test_a_cluster_has_a_lifespan_for_each_worker() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def logging(app: Any) -> Any:
        log.append("up")
        yield {"number": len(log)}
        log.append("down")

    def make_app() -> Any:
        return Spica(routes=[Route("/", show)], lifespan=logging)

    async with cluster(make_app, workers=2, headers={"user-agent": "x"}) as workers:
        shown = [(await worker.get("/")).json() for worker in workers]
        assert [one["state"]["number"] for one in shown] == [1, 2]
        assert {one["agent"] for one in shown} == {"x"}
    assert log == ["up", "up", "down", "down"]


@pytest.mark.parametrize("make_app", [Spica(), lambda workers: Spica(), None])
async def test_a_cluster_needs_a_function_that_makes_an_application(make_app: Any) -> None:
    with pytest.raises(TypeError, match="must be a function without parameters"):
        async with cluster(make_app):
            pass


async def test_a_cluster_has_at_least_one_worker() -> None:
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        async with cluster(Spica, workers=0):
            pass


# Checks


async def test_an_open_stream_is_named_at_the_exit() -> None:
    app = Spica(routes=[Route("/ticks", ticks)])
    with pytest.raises(AssertionError, match="did not close: GET /ticks"):
        async with AsyncTestClient(app) as client:
            request = client.build_request("GET", "/ticks")
            response = await client.send(request, stream=True)
            assert response.status_code == 200


async def test_a_failure_of_the_test_hides_no_leak_message_over_it() -> None:
    app = Spica(routes=[Route("/ticks", ticks)])
    with pytest.raises(ZeroDivisionError):
        async with AsyncTestClient(app) as client:
            request = client.build_request("GET", "/ticks")
            response = await client.send(request, stream=True)
            raise ZeroDivisionError(response)


async def test_the_checks_can_be_switched_off() -> None:
    app = Spica(routes=[Route("/ticks", ticks)])
    async with AsyncTestClient(app, checks=Checks(streams=False)) as client:
        request = client.build_request("GET", "/ticks")
        response = await client.send(request, stream=True)
        assert response.status_code == 200
