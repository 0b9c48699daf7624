from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from async_kit import START, Script, body, echo

from spica.testclient import AsyncTestClient, Checks
from spica.testclient.interface import httpx
from spica.testclient.outbox import WINDOW_MESSAGES

pytestmark = pytest.mark.anyio


# Responses


async def test_a_response_has_the_messages_of_the_application() -> None:
    start = {**START, "status": 418, "headers": [(b"x-a", b"1"), (b"x-a", b"2")]}
    async with AsyncTestClient(Script(start, body(b"ab"))) as client:
        response = await client.get("/")
    assert (response.status_code, response.content) == (418, b"ab")
    assert response.headers.get_list("x-a") == ["1", "2"]


async def test_trailers_are_an_extension_of_the_response() -> None:
    trailers = {"type": "http.response.trailers", "headers": [(b"a", b"b")]}
    async with AsyncTestClient(Script({**START, "trailers": True}, body(b""), trailers)) as client:
        response = await client.get("/")
    assert response.extensions["trailers"] == [(b"a", b"b")]
    assert response.extensions["http.response.trailers"] == [(b"a", b"b")]


async def test_early_hints_are_an_attribute_of_the_response() -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
    async with AsyncTestClient(Script(hint, START, body(b""))) as client:
        response = await client.get("/")
    assert response.early_hints == ["</a.css>; rel=preload"]


async def test_debug_information_gives_template_and_context() -> None:
    info = {"template": object(), "context": {"a": 1}}
    app = Script({"type": "http.response.debug", "info": info}, START, body(b""))
    async with AsyncTestClient(app) as client:
        response: Any = await client.get("/")
    assert (response.template, response.context) == (info["template"], info["context"])


async def test_a_scheme_that_no_server_speaks_is_refused() -> None:
    async with AsyncTestClient(Script()) as client:
        with pytest.raises(httpx.UnsupportedProtocol, match=r"'ftp'. Allowed: http, https"):
            await client.get("ftp://h/")


# Failures

PLACES = [
    pytest.param([], 500, b"", id="before the start"),
    pytest.param([START], 200, b"", id="after the start"),
    pytest.param([START, body(b"a", True)], 200, b"a", id="in the body"),
    pytest.param([START, body(b"a")], 200, b"a", id="after the response"),
]


@pytest.mark.parametrize(("steps", "status", "content"), PLACES)
async def test_an_exception_of_the_application_reaches_the_test(
    steps: list[Any], status: int, content: bytes
) -> None:
    error = ValueError("x")
    async with AsyncTestClient(Script(*steps, error)) as client:
        with pytest.raises(ValueError) as caught:
            await client.get("/")
    assert caught.value is error


@pytest.mark.parametrize(("steps", "status", "content"), PLACES)
async def test_without_raising_an_exception_ends_the_response(
    steps: list[Any], status: int, content: bytes
) -> None:
    app = Script(*steps, ValueError("x"))
    async with AsyncTestClient(app, raise_app_exceptions=False) as client:
        response = await client.get("/")
    assert (response.status_code, response.content) == (status, content)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
async def test_an_exit_always_reaches_the_test(error: BaseException) -> None:
    async with AsyncTestClient(Script(error), raise_app_exceptions=False) as client:
        with pytest.raises(type(error)):
            await client.get("/")


async def test_a_message_that_breaks_a_rule_raises_where_it_is_sent() -> None:
    async with AsyncTestClient(Script(body(b"a"))) as client:
        with pytest.raises(AssertionError, match=r"before 'http.response.start'"):
            await client.get("/")


async def test_without_asgi_checks_such_a_message_is_dropped() -> None:
    app = Script(body(b"lost"), START, body(b"a"), body(b"lost"))
    async with AsyncTestClient(app, checks=Checks(asgi=False)) as client:
        assert (await client.get("/")).content == b"a"


# Requests


async def gen(*pieces: Any) -> AsyncIterator[Any]:
    for piece in pieces:
        yield piece


async def test_a_generator_is_a_request_body() -> None:
    async with AsyncTestClient(echo) as client:
        assert (await client.post("/", content=gen(b"a", b"b"))).content == b"ab"


async def test_the_response_starts_before_the_upload_ends() -> None:
    sender, receiver = anyio.create_memory_object_stream[bytes](0)
    async with AsyncTestClient(echo) as client, receiver:
        async with client.stream("POST", "/", content=receiver) as response:
            chunks = response.aiter_raw()
            async with sender:
                for piece in (b"a", b"b"):
                    await sender.send(piece)
                    assert await anext(chunks) == piece
            assert [chunk async for chunk in chunks] == []


async def test_a_piece_is_made_only_when_the_application_wants_it() -> None:
    made: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(9):
            made.append(number)
            yield b"x"

    async with AsyncTestClient(Script("receive", START, body(b""))) as client:
        await client.post("/", content=pieces())
    assert made == [0]


async def test_the_generator_is_closed_when_the_application_does_not_read_it() -> None:
    closed = anyio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            closed.set()

    app = Script("receive", START, body(b""))
    async with AsyncTestClient(app) as client:
        await client.post("/", content=pieces())
        with anyio.fail_after(30):
            await closed.wait()


async def test_an_exception_of_the_generator_reaches_the_test_and_the_app_is_disconnected() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        raise LookupError("mine")

    app = Script("receive", "receive", "receive")
    async with AsyncTestClient(app) as client:
        with pytest.raises(LookupError, match="mine"):
            await client.post("/", content=pieces())
    assert [message["type"] for message in app.received] == [
        "http.request",
        "http.disconnect",
        "http.disconnect",
    ]


async def test_a_body_of_other_things_than_bytes_is_refused() -> None:
    async with AsyncTestClient(echo) as client:
        with pytest.raises(TypeError, match="consists of bytes, not of 1"):
            await client.post("/", content=gen(1))


async def test_a_redirect_sends_a_generated_body_again() -> None:
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        more, content = True, b""
        while more:
            message = await receive()
            content += message["body"]
            more = message.get("more_body", False)
        seen.append(content)
        moved = {**START, "status": 307, "headers": [(b"location", b"/b")]}
        await send(moved if scope["path"] == "/a" else START)
        await send(body(b""))

    async with AsyncTestClient(Script.with_lifespan(app)) as client:
        response = await client.post("/a", content=gen(b"x", b"y"))
    assert (response.url.path, seen) == ("/b", [b"xy", b"xy"])


# Streams


async def test_the_application_waits_until_the_test_reads() -> None:
    sent: list[bytes] = []

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while True:
            sent.append(b"x")
            await send(body(b"x", True))

    async with AsyncTestClient(Script.with_lifespan(endless)) as client:
        async with client.stream("GET", "/") as response:
            chunks = response.aiter_raw()
            for _ in range(50):
                assert await anext(chunks) == b"x"
            assert len(sent) <= 50 + WINDOW_MESSAGES + 1


async def test_closing_a_stream_disconnects_the_application() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send(body(b"x", True))
        messages.append(await receive())

    messages: list[Any] = []
    async with AsyncTestClient(Script.with_lifespan(app)) as client:
        async with client.stream("GET", "/") as response:
            assert await anext(response.aiter_raw()) == b"x"
    assert messages == [{"type": "http.disconnect"}]


async def test_a_cancelled_request_disconnects_the_application() -> None:
    app = Script("receive", "receive")
    async with AsyncTestClient(app) as client:
        with anyio.move_on_after(0.01):
            await client.get("/")
    assert app.received[-1] == {"type": "http.disconnect"}


async def test_an_application_that_ignores_the_disconnect_is_cancelled() -> None:
    app = Script(START, body(b"x", True), "sleep")
    async with AsyncTestClient(app) as client:
        async with client.stream("GET", "/") as response:
            assert response.status_code == 200
    assert app.log == ["cancelled"]


async def test_an_error_of_the_application_after_the_disconnect_reaches_the_test() -> None:
    app = Script("receive", START, body(b"x", True), "receive", ValueError("late"))
    async with AsyncTestClient(app) as client:
        with pytest.raises(ValueError, match="late"):
            async with client.stream("GET", "/") as response:
                assert response.status_code == 200


async def test_a_background_task_ends_before_the_request_does() -> None:
    app = Script(START, body(b"x"), "checkpoint", "checkpoint")
    async with AsyncTestClient(app) as client:
        await client.get("/")
        assert app.log == ["returned"]


async def test_two_requests_run_at_the_same_time() -> None:
    met = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/first":
            await met.wait()
        met.set()
        await send(START)
        await send(body(b""))

    async with AsyncTestClient(Script.with_lifespan(app)) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.get, "/first")
            group.start_soon(client.get, "/second")


# Timeouts


async def test_an_application_that_hangs_is_a_timeout_that_names_its_line() -> None:
    app = Script("sleep")
    async with AsyncTestClient(app, timeout_seconds=0.01) as client:
        with pytest.raises(
            httpx.ReadTimeout, match=r"GET /x: .* nothing for 0.01 seconds.*async_kit"
        ):
            await client.get("/x")
    assert app.log == ["cancelled"]


async def test_a_request_has_a_timeout_of_its_own() -> None:
    async with AsyncTestClient(Script("sleep"), timeout_seconds=None) as client:
        with pytest.raises(httpx.ReadTimeout, match=r"0.02 seconds"):
            await client.get("/", timeout=0.02)
        with pytest.raises(httpx.ReadTimeout, match=r"0.01 seconds"):
            await client.get("/", timeout=0.01)
