"""Channels on WebSockets."""

import anyio
import pytest

from spica.applications import Spica
from spica.channels import Channels
from spica.responses import JSONResponse
from spica.routing import Route, WebSocketRoute
from spica.testclient import AsyncTestClient
from spica.websockets import WebSocketDisconnect

pytestmark = pytest.mark.anyio


class Chat:
    """An application with a socket that forwards channels, and one that also receives."""

    def __init__(self, **options):
        self.channels = Channels(**options)
        self.ended = anyio.Event()
        self.application = Spica(
            routes=[
                WebSocketRoute("/listen/{names}", self.listen),
                WebSocketRoute("/chat", self.chat),
                Route("/publish", self.publish, methods=["POST"]),
            ],
            lifespan=[self.channels.lifespan],
            drain_seconds=0.2,
        )

    async def listen(self, websocket):
        await websocket.accept()
        names = websocket.path_params["names"].split(",")
        await self.channels.forward(websocket, *names, after=websocket.query_params.get("after"))
        self.ended.set()

    async def chat(self, websocket):
        await websocket.accept()
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.channels.forward, websocket, "room")
            async for text in websocket.iter_text():
                await self.channels.publish("room", text)
            tasks.cancel_scope.cancel()
        self.ended.set()

    async def publish(self, request):
        return JSONResponse(await self.channels.publish("room", await request.json()))


@pytest.fixture
async def chat():
    return Chat()


async def read(socket, count):
    return [await socket.receive_json(timeout_seconds=5) for _ in range(count)]


async def wait_for_subscriber(chat, count=1):
    with anyio.fail_after(30):
        while sum(len(topic.members) for topic in chat.channels._hub.topics.values()) < count:
            await anyio.sleep(0.001)


async def test_forward_sends_events_as_json(chat):
    async with AsyncTestClient(chat.application) as client:
        async with client.websocket("/listen/room") as socket:
            await wait_for_subscriber(chat)
            id = await chat.channels.publish("room", {"a": 1}, event="e")
            assert await read(socket, 1) == [
                {"id": id, "channel": "room", "event": "e", "data": {"a": 1}}
            ]


async def test_forward_ends_when_the_peer_leaves(chat):
    async with AsyncTestClient(chat.application) as client:
        async with client.websocket("/listen/room"):
            await wait_for_subscriber(chat)
        with anyio.fail_after(30):
            await chat.ended.wait()
        assert chat.channels._subscriptions == set()


async def test_a_peer_continues_after_its_last_message(chat):
    async with AsyncTestClient(chat.application) as client:
        ids = [await chat.channels.publish("room", n) for n in range(3)]
        async with client.websocket(f"/listen/room?after={ids[0]}") as socket:
            assert [m["data"] for m in await read(socket, 2)] == [1, 2]
        async with client.websocket("/listen/room?after=junk") as socket:
            assert await read(socket, 1) == [{"id": ids[2], "channel": "room", "gap": "expired"}]


async def test_several_channels_share_the_id(chat):
    async with AsyncTestClient(chat.application) as client:
        async with client.websocket("/listen/room,other") as socket:
            await wait_for_subscriber(chat, 2)
            await chat.channels.publish("room", 1)
            await chat.channels.publish("other", 2)
            last = (await read(socket, 2))[-1]["id"]
        await chat.channels.publish("room", 3)
        async with client.websocket(f"/listen/room,other?after={last}") as socket:
            assert [m["data"] for m in await read(socket, 1)] == [3]


async def test_another_task_receives_every_message(chat):
    async with AsyncTestClient(chat.application) as client:
        async with client.websocket("/chat") as socket:
            for number in range(40):
                await socket.send_text(str(number))
            assert [m["data"] for m in await read(socket, 40)] == [*map(str, range(40))]
        with anyio.fail_after(30):
            await chat.ended.wait()


async def test_messages_that_nobody_reads_do_not_hide_that_the_peer_left(chat, monkeypatch):
    monkeypatch.setattr("spica.websockets.read_ahead.READER_SECONDS", 0.01)
    async with AsyncTestClient(chat.application) as client:
        async with client.websocket("/listen/room") as socket:
            for _ in range(40):
                await socket.send_text("ping")
        with anyio.fail_after(30):
            await chat.ended.wait()


async def test_the_end_of_the_application_closes_with_1001(chat):
    async with AsyncTestClient(chat.application) as client:
        async with client.websocket("/listen/room") as socket:
            await wait_for_subscriber(chat)
            chat.channels.end_subscriptions()
            assert await close_code(socket) == 1001


async def close_code(socket):
    with pytest.raises(Exception) as info:
        await socket.receive_text(timeout_seconds=5)
    return info.value.code


async def test_the_drain_closes_with_1001(chat):
    async with AsyncTestClient(chat.application) as client:
        async with client.websocket("/listen/room") as socket:
            await wait_for_subscriber(chat)
            chat.application.shutdown.begin()
            assert await close_code(socket) == 1001
        with anyio.fail_after(30):
            await chat.ended.wait()


class Stuck:
    """A peer that takes nothing from the server until it is told."""

    def __init__(self, websocket):
        self.websocket = websocket
        self.ready = anyio.Event()
        self.closed = None

    async def wait_for_disconnect(self):
        await anyio.sleep_forever()

    async def send_text(self, text):
        await self.ready.wait()

    async def close(self, code, reason):
        self.closed = code


async def test_a_slow_peer_is_closed_with_1013():
    channels, peer = Channels(max_queue_events=3), Stuck(None)
    async with channels.lifespan(), anyio.create_task_group() as tasks:
        tasks.start_soon(channels.forward, peer, "room")
        await anyio.wait_all_tasks_blocked()
        for number in range(6):
            await channels.publish("room", number)
            await anyio.wait_all_tasks_blocked()
        peer.ready.set()
    assert peer.closed == 1013


async def test_a_peer_that_takes_nothing_is_dropped(monkeypatch):
    monkeypatch.setattr("spica.channels.forwarding.CLOSE_SECONDS", 0.01)
    channels, peer = Channels(max_queue_events=3), Stuck(None)
    async with channels.lifespan(), anyio.create_task_group() as tasks:
        tasks.start_soon(channels.forward, peer, "room")
        await anyio.wait_all_tasks_blocked()
        for number in range(6):
            await channels.publish("room", number)
            await anyio.wait_all_tasks_blocked()
    assert peer.closed == 1013


async def test_a_wrong_channel_is_the_programmers_error(chat):
    async with chat.channels.lifespan():
        with pytest.raises(ValueError, match="must not be empty"):
            await chat.channels.forward(Stuck(None), "")


async def test_an_endpoint_may_close_the_connection_while_events_are_forwarded(chat):
    async def close(websocket):
        await websocket.accept()
        async with anyio.create_task_group() as tasks:
            await tasks.start(chat.channels.forward, websocket, "room")
            await websocket.close(1008)
            await chat.channels.publish("room", "late")
        chat.ended.set()

    chat.application.add_websocket_route("/close", close)
    async with AsyncTestClient(chat.application) as client:
        async with client.websocket("/close") as socket:
            with pytest.raises(WebSocketDisconnect):
                await socket.receive_json(timeout_seconds=5)
            with anyio.fail_after(30):
                await chat.ended.wait()
