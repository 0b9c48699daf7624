"""The one who waits for the client's leaving: nothing that arrives meanwhile is lost."""

import gc
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from asgi_kit import DISCONNECT, Exchange, body_messages, http_scope

from spica._asgi.listener import Listener
from spica.applications import Spica
from spica.requests import Request
from spica.responses import PlainTextResponse, Response
from spica.routing import Mount, Route

pytestmark = pytest.mark.anyio


class Server:
    """A receive that, when it is cancelled, loses the message that it was about to return."""

    def __init__(self, messages: Any, *, turns: int = 0) -> None:
        self.messages = list(messages)
        self.turns = turns
        self.more = anyio.Event()
        self.waiting = 0

    async def __call__(self) -> Any:
        self.waiting += 1
        try:
            if not self.messages:
                await self.more.wait()
            message = self.messages.pop(0)
            for _ in range(self.turns):
                await anyio.lowlevel.checkpoint()
            return message
        finally:
            self.waiting -= 1

    def put(self, *messages: Any) -> None:
        self.messages += messages
        self.more.set()


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_a_disconnect_that_is_there_is_seen_by_the_first_question(turns: int) -> None:
    """Also where ``receive`` gives way to others first, as channels of AnyIO and trio do."""
    request = Request(http_scope(), Server([DISCONNECT], turns=turns))
    assert await request.is_disconnected()


async def test_a_disconnect_behind_a_body_is_seen() -> None:
    server = Server([*body_messages(b"ab", b"cd"), DISCONNECT])
    request = Request(http_scope("POST"), server)
    assert await request.is_disconnected()
    assert await request.body() == b"abcd"


async def test_a_disconnect_that_has_just_happened_is_seen_by_a_later_question() -> None:
    for _ in range(10):  # trio runs the tasks of one turn in any order
        has_left = anyio.Event()

        async def receive(has_left: anyio.Event = has_left) -> Any:
            await has_left.wait()
            return DISCONNECT

        request = Request(http_scope(), receive)
        assert not await request.is_disconnected()
        has_left.set()
        assert await request.is_disconnected()


@pytest.mark.parametrize("turns", [0, 1, 10])
async def test_no_chunk_is_lost_where_a_cancelled_receive_loses_one(turns: int) -> None:
    request = Request(http_scope("POST"), Server(body_messages(*[b"x"] * 20), turns=turns))
    for _ in range(30):
        assert not await request.is_disconnected()
    assert await request.body() == b"x" * 20


async def test_a_block_that_is_over_loses_no_chunk() -> None:
    server = Server([])
    request = Request(http_scope("POST"), server)
    with request.cancel_on_disconnect():
        await anyio.wait_all_tasks_blocked()
    server.put(*body_messages(b"ab", b"cd"))
    assert await request.body() == b"abcd"


async def test_the_question_does_not_wait() -> None:
    request = Request(http_scope(), Server([]))
    with anyio.fail_after(30):
        assert not await request.is_disconnected()
        assert not await request.is_disconnected()


async def test_only_one_waits_in_receive() -> None:
    server = Server([])
    request = Request(http_scope(), server)
    for _ in range(3):
        await request.is_disconnected()
    await anyio.wait_all_tasks_blocked()
    assert server.waiting == 1


async def test_a_later_question_hears_what_has_just_happened() -> None:
    """In whichever order the event loop runs the two: that of trio is another each time."""
    for _ in range(20):
        server = Server([])
        request = Request(http_scope(), server)
        assert not await request.is_disconnected()
        server.put(DISCONNECT)
        assert await request.is_disconnected()


async def test_who_asks_again_after_the_client_has_left_begins_no_other() -> None:
    request = Request(http_scope(), Server([DISCONNECT]))
    assert await request.is_disconnected()
    listener = request._channel().listener
    for _ in range(3):
        assert await request.is_disconnected()
    assert request._channel().listener is listener
    assert request._cleanup is not None
    assert request._cleanup.started == [listener]


async def test_it_is_gone_when_the_request_is_over() -> None:
    server = Server([])

    async def endpoint(request: Request) -> Response:
        await request.is_disconnected()
        await anyio.wait_all_tasks_blocked()
        assert server.waiting == 1
        return PlainTextResponse("there")

    exchange = Exchange()
    await Spica(routes=[Route("/", endpoint)])(exchange.scope, server, exchange.send)
    assert exchange.text == "there"
    assert server.waiting == 0


@pytest.mark.parametrize("end", ["answer", "error"])
async def test_that_of_a_request_made_by_a_mounted_app_is_gone_too(end: str) -> None:
    server = Server([])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Request(scope, receive).is_disconnected()
        await anyio.wait_all_tasks_blocked()
        assert server.waiting == 1
        if end == "error":
            raise ValueError("mounted")
        await PlainTextResponse("there")(scope, receive, send)

    exchange = Exchange()
    exchange.receive = server  # type: ignore[assignment]
    await exchange.run(Spica(routes=[Mount("/", app)]))
    assert exchange.status == (200 if end == "answer" else 500)
    assert server.waiting == 0


async def test_it_is_gone_when_the_request_is_cancelled() -> None:
    server = Server([])

    async def endpoint(request: Request) -> Response:
        await request.is_disconnected()
        await anyio.sleep_forever()
        raise AssertionError

    exchange = Exchange()
    async with anyio.create_task_group() as group:
        app = Spica(routes=[Route("/", endpoint)])
        group.start_soon(app, exchange.scope, server, exchange.send)
        await anyio.wait_all_tasks_blocked()
        assert server.waiting == 1
        group.cancel_scope.cancel()
    assert server.waiting == 0


async def test_an_error_of_receive_is_raised_by_the_question_once() -> None:
    async def receive() -> Any:
        raise RuntimeError("receive is broken")

    request = Request(http_scope(), receive)
    with pytest.raises(RuntimeError, match="receive is broken"):
        await request.is_disconnected()


async def test_one_that_never_began_can_be_ended() -> None:
    ended = []

    async def wait() -> None:
        ended.append("began")

    listener = Listener(wait)
    with anyio.fail_after(30):
        await listener.finish()
    del listener
    gc.collect()
    await anyio.wait_all_tasks_blocked()
