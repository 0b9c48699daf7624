from typing import Any

import pytest
from async_kit import START, Script, WithLifespan, body, echo

from spica.applications import Spica
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Route
from spica.testclient import AsyncTestClient
from spica.testclient.interface import httpx
from spica.websockets import WebSocketDisconnect

pytestmark = pytest.mark.anyio


class Reader:
    """An application that receives messages up to the disconnect, and keeps them."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            self.messages.append(message)
            more = message.get("more_body", False)
        await send(START)
        await send(body(b""))

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.messages if "body" in message]


async def test_a_body_arrives_in_small_chunks() -> None:
    app = Reader()
    async with AsyncTestClient(WithLifespan(app)) as client:
        client.faults(receive_chunk_size=2)
        await client.post("/", content=b"abcde")
    assert app.bodies == [b"ab", b"cd", b"e"]
    assert [message["more_body"] for message in app.messages] == [True, True, False]


@pytest.mark.parametrize(
    ("limit", "bodies"),
    [(0, [b""]), (1, [b"a"]), (2, [b"ab"]), (3, [b"ab", b"c"]), (4, [b"ab", b"cd"])],
)
async def test_an_upload_breaks_after_some_bytes(limit: int, bodies: list[bytes]) -> None:
    app = Reader()
    async with AsyncTestClient(WithLifespan(app)) as client:
        client.faults(disconnect_after=limit, receive_chunk_size=2)
        with pytest.raises(httpx.ReadError, match=f"POST /: .* after {limit} bytes"):
            await client.post("/", content=b"abcde")
    assert app.bodies == bodies
    assert app.messages[-1] == {"type": "http.disconnect"}


async def test_content_up_to_the_limit_passes() -> None:
    async with AsyncTestClient(echo) as client:
        client.faults(disconnect_after=6)
        assert (await client.post("/", content=b"abc")).content == b"abc"


async def test_a_download_breaks_after_some_bytes() -> None:
    app = Script("receive", START, body(b"abc", True), body(b"def", True), "receive")
    async with AsyncTestClient(app) as client:
        client.faults(disconnect_after=4)
        read: list[bytes] = []
        with pytest.raises(httpx.ReadError):
            async with client.stream("GET", "/") as response:
                async for chunk in response.aiter_raw():
                    read.append(chunk)
    assert read == [b"abc", b"d"]
    assert app.received[-1] == {"type": "http.disconnect"}


async def test_send_fails_after_some_messages() -> None:
    app = Script(START, body(b"a", True), body(b"b", True))
    async with AsyncTestClient(app) as client:
        client.faults(send_fails_after=2)
        with pytest.raises(httpx.ReadError, match="after 2 messages"):
            await client.get("/")
    assert app.log == []


async def test_a_delay_is_within_the_timeout_or_not() -> None:
    async with AsyncTestClient(echo) as client:
        client.faults(delay_seconds=0.01)
        assert (await client.post("/", content=b"a")).content == b"a"
        client.faults(delay_seconds=60)
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/", timeout=0.01)


async def test_faults_are_restored_after_a_with_and_removed_by_a_call() -> None:
    app = Reader()
    async with AsyncTestClient(WithLifespan(app)) as client:
        client.faults(receive_chunk_size=1)
        with client.faults(receive_chunk_size=2):
            await client.post("/", content=b"abcd")
        await client.post("/", content=b"ef")
        client.faults()
        await client.post("/", content=b"gh")
    assert app.bodies == [b"ab", b"cd", b"e", b"f", b"gh"]


@pytest.mark.parametrize(
    "option",
    [
        {"disconnect_after": -1},
        {"send_fails_after": 1.5},
        {"receive_chunk_size": 0},
        {"delay_seconds": -0.1},
        {"delay_seconds": float("inf")},
    ],
    ids=str,
)
async def test_values_out_of_range_are_refused(option: Any) -> None:
    async with AsyncTestClient(echo) as client:
        with pytest.raises(ValueError, match=next(iter(option))):
            client.faults(**option)


async def test_a_websocket_breaks_between_two_frames() -> None:
    sent = {"type": "websocket.send", "text": "abc"}
    app = Script("receive", {"type": "websocket.accept"}, sent, sent, "receive")
    async with AsyncTestClient(app) as client:
        client.faults(disconnect_after=4)
        async with client.websocket("/") as session:
            assert await session.receive_text() == "abc"
            for _ in range(2):
                with pytest.raises(WebSocketDisconnect) as caught:
                    await session.receive_text()
                assert caught.value.code == 1006
    assert app.received[-1]["type"] == "websocket.disconnect"
    assert app.received[-1]["code"] == 1006


async def read(request: Any) -> PlainTextResponse:
    await request.body()
    return PlainTextResponse("read")


async def numbers() -> Any:
    while True:
        yield "1"


async def count(request: Any) -> StreamingResponse:
    return StreamingResponse(numbers())


@pytest.mark.parametrize(
    ("method", "path", "fault"),
    [
        ("POST", "/read", {"disconnect_after": 3}),
        ("GET", "/count", {"disconnect_after": 3}),
        ("GET", "/count", {"send_fails_after": 3}),
    ],
)
async def test_spica_treats_a_broken_connection_as_no_error(
    method: str, path: str, fault: Any
) -> None:
    app = Spica(routes=[Route("/read", read, methods=["POST"]), Route("/count", count)])
    async with AsyncTestClient(app) as client:
        client.faults(**fault)
        with pytest.raises(httpx.ReadError):
            await client.request(method, path, content=b"abcdef")
