"""Serving a WebSocket message by message, with ``websocket.run()``."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest
from socket_kit import Peer
from virtual_time import run_in_virtual_time

from spica.applications import Spica
from spica.exceptions import HTTPException, WebSocketException
from spica.routing import WebSocketRoute
from spica.testclient import AsyncTestClient, TestClient, WebSocketDenialResponse
from spica.websockets import WebSocket, WebSocketDisconnect

pytestmark = pytest.mark.anyio

InTime = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture(params=["asyncio", "trio"])
def in_time(request: pytest.FixtureRequest) -> InTime:
    """Run an async function where sleeping takes no time, on each event loop."""
    return partial(run_in_virtual_time, request.param)


class Handler(list[Any]):
    """Keeps the messages."""

    async def __call__(self, message: Any) -> None:
        self.append(message)
        await anyio.sleep(0.001)


async def fail(message: Any) -> None:
    raise ValueError(message)


async def test_it_accepts_and_passes_each_message_until_the_peer_leaves() -> None:
    peer, handler = Peer(subprotocols=["chat"]), Handler()
    peer.put("a", b"b", "pong")
    peer.leave()
    await peer.connect().run(receive=handler, subprotocol="chat")
    assert handler == ["a", b"b", "pong"]
    assert [each["type"] for each in peer.sent] == ["websocket.accept"]
    assert peer.sent[0]["subprotocol"] == "chat"


@pytest.mark.parametrize(("mode", "wrong"), [("text", b"b"), ("binary", "b")])
async def test_a_message_of_the_other_kind_closes_the_connection(mode: Any, wrong: Any) -> None:
    """RFC 6455 s.7.4.1: 1003, "a type of data it cannot accept"."""
    peer, handler = Peer(), Handler()
    right = "a" if mode == "text" else b"a"
    peer.put(right, wrong, right)
    await peer.connect().run(handler, mode=mode)
    assert handler == [right]
    assert peer.close == (1003, f"Send {mode} messages only.")


async def test_the_answer_to_a_heartbeat_is_text_in_every_mode() -> None:
    peer, handler = Peer(), Handler()
    peer.put("pong", b"a")
    peer.leave()
    await peer.connect().run(handler, mode="binary", heartbeat_seconds=60)
    assert handler == [b"a"]


async def test_an_accepted_connection_stays_so() -> None:
    peer, handler = Peer(), Handler()
    websocket = await peer.accepted()
    peer.put("a")
    peer.leave()
    await websocket.run(handler)
    assert handler == ["a"]
    assert peer.sent == []


async def test_it_ends_when_the_handler_closes() -> None:
    peer = Peer()
    websocket = peer.connect()

    async def close(message: Any) -> None:
        await websocket.close(4000, message)

    peer.put("bye", "more")
    await websocket.run(close)
    assert peer.close == (4000, "bye")


async def test_it_ends_when_the_peer_leaves_while_the_handler_sends() -> None:
    peer = Peer()
    websocket = peer.connect()

    async def send(message: Any) -> None:
        peer.is_broken = True
        await websocket.send_text(message)

    peer.put("a")
    await websocket.run(send)


async def test_an_error_closes_with_1011_and_is_raised() -> None:
    peer = Peer()
    peer.put("a")
    with pytest.raises(ValueError, match="a"):
        await peer.connect().run(fail)
    assert peer.close == (1011, "")


async def test_the_disconnect_of_another_connection_is_an_error() -> None:
    async def send_to_other(message: Any) -> None:
        raise WebSocketDisconnect(1006)

    peer = Peer()
    peer.put("a")
    with pytest.raises(WebSocketDisconnect):
        await peer.connect().run(send_to_other)
    assert peer.close == (1011, "")


@pytest.mark.parametrize(
    ("error", "code"), [(WebSocketException(4001), 4001), (KeyError("x"), 4002)], ids=str
)
def test_an_error_with_a_handler_closes_as_that_does(error: Exception, code: int) -> None:
    async def close(websocket: WebSocket, exc: Exception) -> None:
        await websocket.close(4002)

    async def endpoint(websocket: WebSocket) -> None:
        async def receive(message: Any) -> None:
            raise error

        await websocket.run(receive)

    app = Spica(routes=[WebSocketRoute("/", endpoint)], exception_handlers={LookupError: close})
    with TestClient(app).websocket_connect("/") as session:
        session.send_text("a")
        with pytest.raises(WebSocketDisconnect) as raised:
            session.receive_text()
    assert raised.value.code == code


def test_a_task_that_sends_after_a_limit_has_closed_the_connection_is_not_at_fault() -> None:
    ends: list[BaseException] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.run(receive=ignore, max_message_size=10)
        try:
            await websocket.send_text("late")
        except WebSocketDisconnect as exc:
            ends.append(exc)

    with TestClient(Spica(routes=[WebSocketRoute("/", endpoint)])) as client:
        with client.websocket_connect("/") as session:
            session.send_text("a" * 11)
            with pytest.raises(WebSocketDisconnect):
                session.receive_text()
    assert len(ends) == 1


async def ignore(message: str | bytes) -> None: ...


@pytest.mark.parametrize(
    ("message", "code"),
    [("a" * 10, None), ("a" * 11, 1009), ("é" * 5, None), ("é" * 6, 1009), (b"a" * 11, 1009)],
    ids=["n", "n+1", "utf-8 n", "utf-8 n+1", "binary n+1"],
)
async def test_a_large_message_closes_with_1009(message: Any, code: int | None) -> None:
    peer, handler = Peer(), Handler()
    peer.put(message)
    peer.leave()
    await peer.connect().run(handler, max_message_size=10)
    assert handler == ([message] if code is None else [])
    assert (peer.close and peer.close[0]) == code


@pytest.mark.parametrize("count", [20, 21])
async def test_too_many_messages_close_with_1008(count: int) -> None:
    peer, received = Peer(), []

    async def receive(message: Any) -> None:
        received.append(message)

    peer.put(*["a"] * count)
    peer.leave()
    await peer.connect().run(receive, max_messages_per_second=10)
    assert len(received) == 20
    assert peer.close == (None if count == 20 else (1008, "Too many messages."))


def test_the_limit_of_messages_recovers(in_time: InTime) -> None:
    async def main() -> int:
        peer, handler = Peer(), Handler()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(peer.connect().run, handler, max_messages_per_second=10))
            for _ in range(30):
                peer.put("a")
                await anyio.sleep(0.1)
            peer.leave()
        assert peer.close is None
        return len(handler)

    assert in_time(main) == 30


async def test_without_a_limit_any_number_passes() -> None:
    peer, received = Peer(), []

    async def receive(message: Any) -> None:
        received.append(message)

    peer.put(*["a"] * 90)
    peer.leave()
    await peer.connect().run(receive, max_messages_per_second=None)
    assert len(received) == 90


OWN = [(b"host", b"example.org"), (b"origin", b"https://example.org")]
OTHER = [(b"host", b"example.org"), (b"origin", b"https://evil.example")]


@pytest.mark.parametrize(
    ("headers", "origins", "passes"),
    [
        ([(b"host", b"example.org")], (), True),
        (OWN, (), True),
        (OTHER, (), False),
        (OTHER, ["https://evil.example"], True),
        (OTHER, None, True),
        ([*OTHER[:1], (b"origin", b"null")], (), False),
        ([*OWN, (b"sec-fetch-site", b"cross-site")], (), False),
        ([*OTHER, (b"sec-fetch-site", b"same-origin")], (), True),
    ],
    ids=["none", "own", "other", "trusted", "unchecked", "null", "cross-site", "same-origin"],
)
async def test_a_page_of_another_origin_is_refused(
    headers: Any, origins: Any, passes: bool
) -> None:
    """RFC 6455 s.10.2."""
    peer, handler = Peer(scheme="wss", headers=headers), Handler()
    peer.put("a")
    peer.leave()
    if passes:
        await peer.connect().run(handler, origins=origins)
    else:
        with pytest.raises(HTTPException, match="Cross-origin request refused") as raised:
            await peer.connect().run(handler, origins=origins)
        assert raised.value.status_code == 403
        with pytest.raises(WebSocketException, match="1008"):
            await (await Peer(scheme="wss", headers=headers).accepted()).run(handler)
    assert handler == (["a"] if passes else [])


def test_the_refusal_is_a_403_with_the_reason() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.run(Handler())

    client = TestClient(Spica(routes=[WebSocketRoute("/", endpoint)]))
    with pytest.raises(WebSocketDenialResponse) as raised:
        with client.websocket_connect("/", headers={"origin": "https://evil.example"}):
            pass
    assert raised.value.status_code == 403
    assert "its Origin is not http://testserver" in raised.value.text


def test_a_heartbeat_keeps_a_peer_that_answers(in_time: InTime) -> None:
    async def main() -> None:
        peer, handler = Peer(), Handler()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(peer.connect().run, handler, heartbeat_seconds=10))
            for _ in range(5):
                await anyio.sleep(11)
                peer.put("pong")
            peer.put("a")
            peer.leave()
        assert peer.close is None
        assert len(peer.texts) == 5
        assert set(peer.texts) == {"ping"}
        assert handler == ["a"]

    in_time(main)


def test_a_peer_that_sends_messages_gets_no_heartbeat(in_time: InTime) -> None:
    async def main() -> None:
        peer = Peer()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(peer.connect().run, Handler(), heartbeat_seconds=10))
            for _ in range(10):
                await anyio.sleep(9)
                peer.put("a")
            peer.leave()
        assert peer.texts == []

    in_time(main)


def test_a_peer_that_does_not_answer_is_closed_with_1001(in_time: InTime) -> None:
    async def main() -> None:
        peer, start = Peer(), anyio.current_time()
        await peer.connect().run(Handler(), heartbeat_seconds=10)
        assert round(anyio.current_time() - start) == 20
        assert peer.close == (1001, "No answer to the heartbeat.")

    in_time(main)


def test_a_heartbeat_to_a_broken_connection_ends_the_session(in_time: InTime) -> None:
    async def main() -> None:
        peer = Peer()
        websocket = await peer.accepted()
        peer.is_broken = True
        await websocket.run(Handler(), heartbeat_seconds=10)

    in_time(main)


@pytest.mark.parametrize("at_shutdown", ["close", "leave"])
async def test_a_shutdown_closes_with_1001_after_the_current_call(at_shutdown: Any) -> None:
    steps: list[str] = []

    async def endpoint(websocket: WebSocket) -> None:
        async def receive(message: Any) -> None:
            await app.shutdown.wait()
            await anyio.wait_all_tasks_blocked()
            await websocket.send_text("answer")

        await websocket.run(receive, at_shutdown=at_shutdown)
        steps.append("ended")

    app = Spica(routes=[WebSocketRoute("/", endpoint)], drain_seconds=0.02)
    async with AsyncTestClient(app) as client, client.websocket("/") as session:
        await session.send_text("a")
        await anyio.wait_all_tasks_blocked()
        app.shutdown.begin()
        assert await session.receive_text() == "answer"
        if at_shutdown == "close":
            with pytest.raises(WebSocketDisconnect) as raised:
                await session.receive_text()
            assert (raised.value.code, raised.value.reason) == (
                1001,
                "The server is shutting down.",
            )
    assert steps == ["ended"]


def test_the_end_of_the_drain_cancels_a_call(in_time: InTime) -> None:
    async def main() -> None:
        peer = Peer(app=(app := Spica(drain_seconds=5)))
        peer.put("a")

        async def receive(message: Any) -> None:
            await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.connect().run, receive)
            await anyio.wait_all_tasks_blocked()
            app.shutdown.begin()
        assert peer.close == (1001, "The server is shutting down.")

    in_time(main)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"receive": print}, TypeError, "receive must be an `async def` function"),
        ({"mode": "bytes"}, ValueError, "mode must be 'text' or 'binary', not 'bytes'"),
        ({"max_message_size": 0}, ValueError, "max_message_size must be more than 0"),
        ({"heartbeat_seconds": "1"}, TypeError, "heartbeat_seconds must be a number"),
        ({"at_shutdown": "x"}, ValueError, "at_shutdown must be 'close' or 'leave', not 'x'"),
        ({"origins": "https://a.example"}, TypeError, "origins"),
        ({"origins": ["*"]}, ValueError, "which would trust pages of strangers"),
        ({"origins": ["a.example"]}, ValueError, "WebSocket.run: origins has 'a.example'"),
    ],
    ids=str,
)
async def test_wrong_arguments_are_refused(
    options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await Peer().connect().run(**{"receive": Handler(), **options})
