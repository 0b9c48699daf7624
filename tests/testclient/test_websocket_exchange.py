from typing import Any

import anyio
import pytest

from spica.testclient.websocket_exchange import WebSocketExchange, WebSocketSide

pytestmark = pytest.mark.anyio

ACCEPT = {"type": "websocket.accept"}
TEXT = {"type": "websocket.send", "text": "a"}
CLOSE = {"type": "websocket.close"}
DENIAL = {"type": "websocket.http.response.start", "status": 403}
DENIAL_BODY = {"type": "websocket.http.response.body", "body": b"a"}


async def begin(*messages: Any) -> WebSocketExchange:
    """Make an exchange in which the application has sent the messages."""
    exchange = WebSocketExchange()
    assert await exchange.receive() == {"type": "websocket.connect"}
    for message in messages:
        await exchange.send(message)
    return exchange


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([ACCEPT, TEXT, TEXT, CLOSE], id="conversation"),
        pytest.param([{**ACCEPT, "subprotocol": "a", "headers": [(b"a", b"b")]}], id="accept"),
        pytest.param([{**ACCEPT, "subprotocol": None}], id="accept without subprotocol"),
        pytest.param([ACCEPT, {"type": "websocket.send", "bytes": b"a"}], id="bytes"),
        pytest.param([ACCEPT, {**TEXT, "bytes": None}], id="text, bytes None"),
        pytest.param(
            [ACCEPT, {"type": "websocket.send", "text": None, "bytes": b""}], id="empty bytes"
        ),
        pytest.param([CLOSE], id="refused"),
        pytest.param([{**CLOSE, "code": 1006, "reason": [{"a": 1}]}], id="refused, not checked"),
        pytest.param([DENIAL, {**DENIAL_BODY, "more_body": True}, DENIAL_BODY], id="denied"),
    ],
)
async def test_what_is_sent_comes_out(messages: list[Any]) -> None:
    exchange = await begin(*messages)
    assert [exchange.outbox.get_nowait() for _ in messages] == messages
    exchange.check_end()


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        pytest.param([TEXT], "'websocket.send' before it accepted the connection", id="no accept"),
        pytest.param([{"type": "foo"}], "'foo' before it accepted", id="unknown"),
        pytest.param([ACCEPT, ACCEPT], "accept' on the open connection", id="accepted twice"),
        pytest.param([ACCEPT, DENIAL], "start' on the open connection", id="denied late"),
        pytest.param([ACCEPT, CLOSE, TEXT], "after it had closed the connection", id="closed"),
        pytest.param([ACCEPT, CLOSE, CLOSE], "after it had closed the connection", id="twice"),
        pytest.param([DENIAL, CLOSE], "while it was sending a denial response", id="two answers"),
        pytest.param([DENIAL, DENIAL_BODY, CLOSE], "after it had closed", id="closed and denied"),
        pytest.param([{**ACCEPT, "headers": [("a", "b")]}], "the header name 'a'", id="headers"),
        pytest.param([{**ACCEPT, "subprotocol": b"a"}], "the subprotocol b'a'", id="subprotocol"),
        pytest.param([ACCEPT, {"type": "websocket.send"}], "either a 'text'", id="empty"),
        pytest.param([ACCEPT, {**TEXT, "text": b"a"}], "either a 'text'", id="text of bytes"),
        pytest.param([ACCEPT, {**TEXT, "bytes": b"a"}], "either a 'text'", id="both"),
        pytest.param(
            [ACCEPT, {"type": "websocket.send", "bytes": "a"}],
            "either a 'text'",
            id="bytes of text",
        ),
        pytest.param([ACCEPT, {**CLOSE, "code": 1006}], "1006 may not be sent", id="close code"),
        pytest.param([ACCEPT, {**CLOSE, "reason": "a" * 124}], "this one has 124", id="reason"),
        pytest.param([{**DENIAL, "status": None}], "the status None", id="denial status"),
        pytest.param([DENIAL, {**DENIAL_BODY, "body": "a"}], "the body 'a'", id="denial body"),
    ],
)
async def test_what_may_not_be_sent_is_refused(messages: list[Any], text: str) -> None:
    exchange = await begin(*messages[:-1])
    with pytest.raises(AssertionError) as caught:
        await exchange.send(messages[-1])
    assert text in str(caught.value)


async def test_the_application_receives_what_is_fed_in_order() -> None:
    exchange = await begin(ACCEPT)
    received = []

    async def receive() -> None:
        for _ in range(3):
            received.append((await exchange.receive())["text"])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        for text in "abc":
            exchange.feed({"type": "websocket.receive", "text": text})
    assert received == ["a", "b", "c"]


async def test_a_disconnect_is_told_once() -> None:
    exchange = await begin(ACCEPT)
    exchange.disconnect(3000, "bye")
    exchange.disconnect()
    message = await exchange.receive()
    assert message == {"type": "websocket.disconnect", "code": 3000, "reason": "bye"}
    with anyio.move_on_after(0) as scope:
        await exchange.receive()
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        # RFC 6455 s.5.5.1: a close is answered with its own code
        pytest.param([ACCEPT, CLOSE], 1000, id="closed"),
        pytest.param([ACCEPT, {**CLOSE, "code": 4000}], 4000, id="closed with a code"),
        # RFC 6455 s.7.1.5: no connection came into being
        pytest.param([{**CLOSE, "code": 4000}], 1006, id="refused"),
        pytest.param([DENIAL, DENIAL_BODY], 1006, id="denied"),
    ],
)
async def test_who_closes_receives_a_disconnect(messages: list[Any], code: int) -> None:
    exchange = await begin(*messages)
    assert exchange.side is WebSocketSide.CLOSED
    assert (await exchange.receive())["code"] == code


async def test_who_waits_after_the_disconnect_is_settled_and_still_receives() -> None:
    exchange = await begin(ACCEPT)
    exchange.disconnect()
    await exchange.receive()
    assert not exchange._settled.is_set()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.receive)
        await anyio.wait_all_tasks_blocked()
        assert exchange._settled.is_set()
        exchange.feed({"type": "websocket.receive", "text": "late"})


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        pytest.param([], "neither 'websocket.accept' nor 'websocket.close'", id="no answer"),
        pytest.param([DENIAL], "Missing: 'websocket.http.response.body'", id="denial begun"),
    ],
)
async def test_a_return_without_an_answer_is_refused(messages: list[Any], text: str) -> None:
    exchange = await begin(*messages)
    with pytest.raises(AssertionError) as caught:
        exchange.check_end()
    assert text in str(caught.value)


async def test_a_return_without_an_answer_to_one_who_left_is_fine() -> None:
    exchange = await begin()
    exchange.disconnect()
    exchange.check_end()
