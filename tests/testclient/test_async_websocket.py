from typing import Any

import anyio
import pytest
from async_kit import Script, WithLifespan

from spica.applications import Spica
from spica.routing import WebSocketRoute
from spica.testclient import AsyncTestClient, WebSocketDenialResponse
from spica.testclient.outbox import WINDOW_MESSAGES
from spica.websockets import WebSocketDisconnect

pytestmark = pytest.mark.anyio

ACCEPT = {"type": "websocket.accept"}


def text(data: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": data}


async def shout(websocket: Any) -> None:
    await websocket.accept(websocket.headers.get("x-choose"))
    async for line in websocket.iter_text():
        await websocket.send_text(line.upper())


SHOUT = Spica(routes=[WebSocketRoute("/shout", shout)])


async def test_frames_go_both_ways() -> None:
    async with AsyncTestClient(SHOUT) as client, client.websocket("/shout") as session:
        for line in ("a", "b"):
            await session.send_text(line)
            assert await session.receive_text() == line.upper()


async def test_bytes_and_json() -> None:
    app = Script(
        "receive",
        ACCEPT,
        "receive",
        {"type": "websocket.send", "bytes": b'{"a":1}'},
        text("[2]"),
        {"type": "websocket.send", "bytes": b"c"},
        "receive",
        "receive",
    )
    async with AsyncTestClient(app) as client, client.websocket("/") as session:
        await session.send_json({"b": 2}, mode="binary")
        assert await session.receive_json(mode="binary") == {"a": 1}
        assert await session.receive_json() == [2]
        assert await session.receive_bytes() == b"c"
        await session.send_bytes(b"d")
        await session.close(3000, "enough")
    assert app.received[1:] == [
        {"type": "websocket.receive", "bytes": b'{"b":2}'},
        {"type": "websocket.receive", "bytes": b"d"},
        {"type": "websocket.disconnect", "code": 3000, "reason": "enough"},
    ]


async def test_the_handshake_offers_subprotocols_and_headers() -> None:
    async with AsyncTestClient(SHOUT) as client:
        async with client.websocket(
            "/shout", subprotocols=["a", "b"], headers={"x-choose": "b"}
        ) as session:
            assert session.scope["subprotocols"] == ["a", "b"]
            assert session.accepted_subprotocol == "b"
            assert session.extra_headers == []


async def test_a_close_before_the_accept_is_raised() -> None:
    async with AsyncTestClient(SHOUT) as client:
        with pytest.raises(WebSocketDisconnect):
            async with client.websocket("/missing"):
                pass


async def test_a_close_has_its_code_and_reason_each_time() -> None:
    app = Script("receive", ACCEPT, {"type": "websocket.close", "code": 3001, "reason": "r"})
    async with AsyncTestClient(app) as client, client.websocket("/") as session:
        for _ in range(2):
            with pytest.raises(WebSocketDisconnect) as caught:
                await session.receive_text()
            assert (caught.value.code, caught.value.reason) == (3001, "r")


async def test_a_denial_response_is_raised() -> None:
    app = Script(
        "receive",
        {"type": "websocket.http.response.start", "status": 401, "headers": [(b"a", b"b")]},
        {"type": "websocket.http.response.body", "body": b"no ", "more_body": True},
        {"type": "websocket.http.response.body", "body": b"entry"},
    )
    async with AsyncTestClient(app) as client:
        with pytest.raises(WebSocketDenialResponse) as caught:
            async with client.websocket("/"):
                pass
    assert (caught.value.status_code, caught.value.content) == (401, b"no entry")


async def test_a_frame_of_the_other_kind_is_an_error() -> None:
    app = Script("receive", ACCEPT, text("a"), "receive")
    async with AsyncTestClient(app) as client, client.websocket("/") as session:
        with pytest.raises(AssertionError, match="waits for a frame of bytes"):
            await session.receive_bytes()


async def test_silence_is_a_timeout_that_names_the_line() -> None:
    app = Script("receive", ACCEPT, "receive")
    async with AsyncTestClient(app) as client, client.websocket("/x") as session:
        with pytest.raises(TimeoutError, match=r"WebSocket /x: .* 0.01 seconds.*async_kit"):
            await session.receive_text(timeout_seconds=0.01)


async def test_a_return_without_a_message_is_an_error() -> None:
    async with AsyncTestClient(Script("receive", ACCEPT)) as client:
        async with client.websocket("/") as session:
            with pytest.raises(AssertionError, match="returned without sending another one"):
                await session.receive()


async def test_an_exception_of_the_application_reaches_the_test_on_leaving() -> None:
    app = Script("receive", ACCEPT, "receive", ValueError("x"))
    async with AsyncTestClient(app) as client:
        with pytest.raises(ValueError, match="x"):
            async with client.websocket("/"):
                pass


async def test_without_raising_an_exception_closes_with_1011() -> None:
    app = Script("receive", ACCEPT, ValueError("x"))
    async with AsyncTestClient(app, raise_app_exceptions=False) as client:
        async with client.websocket("/") as session:
            with pytest.raises(WebSocketDisconnect) as caught:
                await session.receive()
    assert caught.value.code == 1011


async def test_an_application_that_only_sends_waits_for_the_test() -> None:
    sent: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        while True:
            sent.append(len(sent))
            await send(text(str(sent[-1])))

    async with AsyncTestClient(WithLifespan(app)) as client, client.websocket("/") as session:
        for number in range(40):
            assert await session.receive_text() == str(number)
        assert len(sent) <= 40 + WINDOW_MESSAGES + 1


async def test_two_tasks_cannot_wait_for_one_session() -> None:
    app = Script("receive", ACCEPT, "receive")
    async with AsyncTestClient(app) as client, client.websocket("/") as session:
        async with anyio.create_task_group() as group:
            group.start_soon(wait_forever, session)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="Read it in one task"):
                await session.receive()
            group.cancel_scope.cancel()


async def wait_forever(session: Any) -> None:
    await session.receive(timeout_seconds=60)


async def test_a_session_is_used_while_it_is_open() -> None:
    async with AsyncTestClient(SHOUT) as client:
        async with client.websocket("/shout") as session:
            pass
        with pytest.raises(RuntimeError, match="is not connected"):
            await session.send_text("a")


async def test_another_scheme_is_refused() -> None:
    async with AsyncTestClient(SHOUT) as client:
        with pytest.raises(RuntimeError, match="Pass a path"):
            async with client.websocket("https://testserver/"):
                pass
