"""Receiving with a time limit loses no message."""

import pytest
from socket_kit import Peer

from spica.applications import Spica
from spica.endpoints import WebSocketEndpoint
from spica.routing import WebSocketRoute
from spica.testclient import AsyncTestClient, TestClient
from spica.websockets import ReceiveTimeout, WebSocket, WebSocketDisconnect

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", ["receive_text", "receive_bytes", "receive_json"])
async def test_each_method_has_a_time_limit(name: str) -> None:
    websocket = await Peer().accepted()
    with pytest.raises(TimeoutError) as raised:
        await getattr(websocket, name)(timeout_seconds=0.001)
    assert isinstance(raised.value, ReceiveTimeout)
    assert (raised.value.code, raised.value.timeout_seconds) == (1001, 0.001)
    assert str(raised.value) == "1001: No message within 0.001 seconds."


async def test_a_message_after_the_time_limit_is_received_by_the_next_call() -> None:
    peer = Peer()
    websocket = await peer.accepted()
    for _ in range(3):
        with pytest.raises(ReceiveTimeout):
            await websocket.receive_text(timeout_seconds=0.001)
    peer.put("a", "b", '"c"', b"d")
    assert await websocket.receive_text(timeout_seconds=1) == "a"
    assert await websocket.receive_text() == "b"
    assert await websocket.receive_json(timeout_seconds=1) == "c"
    assert (await websocket.receive())["bytes"] == b"d"
    assert peer.lost == 0


async def test_zero_seconds_return_only_a_message_that_has_arrived() -> None:
    peer = Peer()
    websocket = await peer.accepted()
    with pytest.raises(ReceiveTimeout):
        await websocket.receive_text(timeout_seconds=0)
    peer.put("a", "b")
    assert await websocket.receive_text(timeout_seconds=0) == "a"
    assert await websocket.receive_text(timeout_seconds=0) == "b"


async def test_a_disconnect_and_an_error_of_the_server_reach_the_caller() -> None:
    peer = Peer()
    websocket = await peer.accepted()
    with pytest.raises(ReceiveTimeout):
        await websocket.receive_text(timeout_seconds=0)
    peer.leave(4000)
    with pytest.raises(WebSocketDisconnect) as raised:
        await websocket.receive_text(timeout_seconds=1)
    assert raised.value.code == 4000

    peer = Peer()
    websocket = await peer.accepted()
    peer.fail(ConnectionError())
    with pytest.raises(ConnectionError):
        await websocket.receive_text(timeout_seconds=1)


async def test_a_subclass_that_overrides_receive_sees_the_messages() -> None:
    class Counting(WebSocket):
        seen = 0

        async def receive(self):  # type: ignore[no-untyped-def]  # a test
            message = await super().receive()
            self.seen += 1
            return message

    peer = Peer()
    websocket = Counting(peer.scope, peer.receive, peer.send)
    await websocket.accept()
    with pytest.raises(ReceiveTimeout):
        await websocket.receive_text(timeout_seconds=0)
    peer.put("a")
    assert await websocket.receive_text(timeout_seconds=1) == "a"
    assert websocket.seen == 2


async def test_the_limit_holds_inside_another_receive_that_was_put_around_it() -> None:
    peer = Peer()
    websocket = await peer.accepted()
    with pytest.raises(ReceiveTimeout):
        await websocket.receive_text(timeout_seconds=0)
    inner = websocket._receive

    async def outer():  # type: ignore[no-untyped-def]  # a test
        return await inner()

    websocket._receive = outer
    with pytest.raises(ReceiveTimeout):
        await websocket.receive_text(timeout_seconds=0)
    peer.put("a")
    assert await websocket.receive_text(timeout_seconds=1) == "a"


@pytest.mark.parametrize(
    ("seconds", "error"), [("1", TypeError), (True, TypeError), (-1, ValueError)]
)
async def test_wrong_limits_are_refused(seconds: object, error: type[Exception]) -> None:
    websocket = await Peer().accepted()
    with pytest.raises(error, match="timeout_seconds must be"):
        await websocket.receive_text(timeout_seconds=seconds)  # type: ignore[arg-type]  # a test


def test_an_unhandled_timeout_closes_with_1001() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text(timeout_seconds=0.001)

    client = TestClient(Spica(routes=[WebSocketRoute("/", endpoint)]))
    with client.websocket_connect("/") as session:
        with pytest.raises(WebSocketDisconnect) as raised:
            session.receive_text()
    assert (raised.value.code, raised.value.reason) == (1001, "No message within 0.001 seconds.")


async def test_an_endpoint_leaves_no_task_behind() -> None:
    async def function(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await websocket.receive_text(timeout_seconds=0)
        except TimeoutError:
            await websocket.send_text("late")

    class Endpoint(WebSocketEndpoint):
        async def on_connect(self, websocket: WebSocket) -> None:
            await function(websocket)
            raise ConnectionError

    routes = [WebSocketRoute("/function", function), WebSocketRoute("/class", Endpoint)]
    app = Spica(routes=routes)
    async with AsyncTestClient(app, raise_app_exceptions=False) as client:  # it checks for leaks
        for path in ("/function", "/class"):
            async with client.websocket(path) as session:
                assert await session.receive_text() == "late"
