"""One WebSocket over RSGI, as messages."""

import asyncio
from typing import Any

import pytest
from rsgi_kit import Message, RSGIScope, WebSocketProtocol

from spica.servers import rsgi_websocket
from spica.servers.rsgi import RSGI
from spica.servers.rsgi_websocket import WebSocketExchange


def exchange_with(*messages: Message) -> tuple[WebSocketExchange, WebSocketProtocol]:
    protocol = WebSocketProtocol(list(messages))
    return WebSocketExchange(protocol), protocol


async def accept(exchange: WebSocketExchange, **more: Any) -> None:
    assert await exchange.receive() == {"type": "websocket.connect"}
    await exchange.send({"type": "websocket.accept", **more})


@pytest.mark.parametrize(
    ("message", "received"),
    [
        (Message(1, b"a"), {"type": "websocket.receive", "bytes": b"a"}),
        (Message(2, "a"), {"type": "websocket.receive", "text": "a"}),
        (Message(0), {"type": "websocket.disconnect", "code": 1005, "reason": ""}),
        (None, {"type": "websocket.disconnect", "code": 1006, "reason": ""}),
    ],
    ids=["bytes", "text", "close", "lost"],
)
def test_messages_of_the_client_are_received(message, received):
    async def run() -> Any:
        exchange, _ = exchange_with(*([message] if message else []))
        await accept(exchange)
        return await exchange.receive()

    assert asyncio.run(run()) == received


def test_bytes_and_text_are_sent():
    async def run() -> Any:
        exchange, protocol = exchange_with()
        await accept(exchange)
        await exchange.send({"type": "websocket.send", "text": "a"})
        await exchange.send({"type": "websocket.send", "bytes": b"b"})
        return protocol.done

    assert asyncio.run(run()) == ["accept", "a", b"b"]


def test_sending_after_the_close_raises_an_os_error():
    async def run() -> Any:
        exchange, _ = exchange_with()
        await accept(exchange)
        await exchange.send({"type": "websocket.close", "code": 1000})
        with pytest.raises(OSError, match="closed"):
            await exchange.send({"type": "websocket.send", "text": "a"})
        return await exchange.receive()

    assert asyncio.run(run())["type"] == "websocket.disconnect"


def test_a_receive_before_the_accept_waits_for_it():
    async def run() -> Any:
        exchange, _ = exchange_with(Message(2, "a"))
        await exchange.receive()
        waiting = asyncio.ensure_future(exchange.receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        await exchange.send({"type": "websocket.accept"})
        return await waiting

    assert asyncio.run(run())["text"] == "a"


@pytest.mark.parametrize(
    ("messages", "done"),
    [
        ([], [("close", 500)]),
        ([{"type": "websocket.accept"}], ["accept", ("close", 1011)]),
    ],
    ids=["before the accept", "after it"],
)
def test_a_websocket_that_the_application_leaves_open_is_closed(messages, done):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    protocol = WebSocketProtocol()
    asyncio.run(RSGI(app).__rsgi__(RSGIScope(proto="ws"), protocol))
    assert protocol.done == done


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ({"type": "websocket.accept", "subprotocol": "chat"}, "a subprotocol"),
        ({"type": "websocket.accept", "headers": [(b"a", b"b")]}, "headers of the handshake"),
        ({"type": "websocket.close", "code": 4000}, "a close code or reason"),
    ],
    ids=["subprotocol", "headers", "code"],
)
def test_a_part_that_rsgi_cannot_transmit_is_logged_once(message, what, caplog, monkeypatch):
    monkeypatch.setattr(rsgi_websocket, "_warned", set())

    async def run() -> None:
        for _ in range(2):
            exchange, _ = exchange_with()
            if message["type"] == "websocket.close":
                await accept(exchange)
            await exchange.send(message)

    asyncio.run(run())
    assert [record.args for record in caplog.records] == [(what,)]


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([{"type": "websocket.send", "text": "a"}], "before 'websocket.accept'"),
        ([{"type": "websocket.accept"}] * 2, "after its answer to the handshake"),
        ([{"type": "websocket.http.response.start"}], "RSGI has no message of type"),
    ],
    ids=["send", "accept", "denial"],
)
def test_messages_out_of_order_are_refused(messages, error):
    async def run() -> None:
        exchange, _ = exchange_with()
        for message in messages:
            await exchange.send(message)

    with pytest.raises(RuntimeError, match=error):
        asyncio.run(run())
