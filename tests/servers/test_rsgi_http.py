"""One HTTP request over RSGI, as messages."""

import asyncio
import weakref
from typing import Any

import pytest
from rsgi_kit import HTTPProtocol, RSGIScope

from spica.servers.rsgi import RSGI
from spica.servers.rsgi_http import HTTPExchange, decode_headers

START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b""}


def receive_all(*chunks: bytes, **scope: Any) -> list[Any]:
    """Return the messages of a request until the last of its body."""

    async def run() -> list[Any]:
        exchange = HTTPExchange(RSGIScope("POST", **scope), HTTPProtocol(chunks))
        messages = [await exchange.receive()]
        while messages[-1].get("more_body", False):
            messages.append(await exchange.receive())
        return messages

    return asyncio.run(run())


def send_all(*messages: Any, is_gone: bool = False) -> HTTPProtocol:
    async def run() -> HTTPProtocol:
        protocol = HTTPProtocol(is_gone=is_gone)
        exchange = HTTPExchange(RSGIScope(), protocol)
        for message in messages:
            await exchange.send(message)
        return protocol

    return asyncio.run(run())


def test_a_body_of_known_length_ends_with_its_last_chunk():
    messages = receive_all(b"ab", b"c", fields=(("content-length", "3"),))
    assert [(m["body"], m["more_body"]) for m in messages] == [(b"ab", True), (b"c", False)]


def test_a_body_of_unknown_length_ends_with_an_empty_message():
    messages = receive_all(b"ab", b"", fields=(("transfer-encoding", "chunked"),))
    assert [(m["body"], m["more_body"]) for m in messages] == [(b"ab", True), (b"", False)]


def test_a_body_over_http2_needs_no_header():
    assert receive_all(b"ab", http_version="2")[0]["body"] == b"ab"


def test_a_request_without_a_body_does_not_read_from_the_server():
    assert receive_all(b"of the next request") == [
        {"type": "http.request", "body": b"", "more_body": False}
    ]


def test_a_body_that_breaks_off_is_a_disconnect():
    messages = receive_all(b"ab", fields=(("content-length", "3"),))
    assert messages[-1] == {"type": "http.disconnect"}


def test_receive_returns_the_disconnect_when_the_client_leaves():
    async def run() -> Any:
        protocol = HTTPProtocol()
        exchange = HTTPExchange(RSGIScope(), protocol)
        await exchange.receive()
        waiting = asyncio.ensure_future(exchange.receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        protocol.left.set()
        return await waiting

    assert asyncio.run(run()) == {"type": "http.disconnect"}


def test_receive_returns_the_disconnect_when_the_response_is_complete():
    async def run() -> Any:
        exchange = HTTPExchange(RSGIScope(), HTTPProtocol())
        await exchange.receive()
        waiting = asyncio.ensure_future(exchange.receive())
        await asyncio.sleep(0)
        await exchange.send(START)
        await exchange.send(END)
        return await waiting, await exchange.receive()

    assert asyncio.run(run()) == ({"type": "http.disconnect"},) * 2


def test_the_rest_of_the_body_is_released_with_the_end_of_the_response():
    """granian closes the connection only then, and a reference cycle may last long."""

    async def run() -> bool:
        scope = RSGIScope("POST", fields=(("content-length", "9"),))
        exchange = HTTPExchange(scope, HTTPProtocol((b"ab",)))
        await exchange.receive()
        chunks = weakref.ref(exchange._chunks)
        await exchange.send(START)
        await exchange.send(END)
        assert await exchange.receive() == {"type": "http.disconnect"}
        return chunks() is None

    assert asyncio.run(run())


def test_a_chunk_for_a_client_that_has_left_raises_an_os_error():
    with pytest.raises(OSError, match="The client has left"):
        send_all(START, {**END, "body": b"a", "more_body": True}, is_gone=True)


def test_a_file_whose_name_is_not_utf8_is_sent_in_chunks(tmp_path):
    path = str(tmp_path / "caf\udce9")
    with open(path, "wb") as file:
        file.write(b"content")
    protocol = send_all(START, {"type": "http.response.pathsend", "path": path})
    assert (protocol.kind, protocol.body) == ("stream", b"content")


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([START, START], "a second response"),
        ([END], "before 'http.response.start'"),
        ([START, END, END], "after the end of its response"),
        ([START, {**END, "more_body": True}, END, END], "after the end of its response"),
        ([START, {"type": "http.response.trailers"}], "RSGI has no message of type"),
    ],
    ids=["two starts", "no start", "two ends", "a stream with two ends", "trailers"],
)
def test_messages_out_of_order_are_refused(messages, error):
    with pytest.raises(RuntimeError, match=error):
        send_all(*messages)


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([], "returned without a response"),
        ([START], "returned before the end of its response"),
        ([START, {**END, "more_body": True}], "returned before the end of its response"),
    ],
    ids=["nothing", "start", "stream"],
)
def test_an_application_that_returns_too_early_is_an_error(messages, error):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    async def run() -> None:
        await RSGI(app).__rsgi__(RSGIScope(), HTTPProtocol())

    with pytest.raises(RuntimeError, match=error):
        asyncio.run(run())


def test_an_application_may_return_early_when_the_client_has_left():
    async def app(scope, receive, send):
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    async def run() -> HTTPProtocol:
        protocol = HTTPProtocol()
        protocol.left.set()
        await RSGI(app).__rsgi__(RSGIScope(), protocol)
        return protocol

    assert asyncio.run(run()).kind is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(b"a", "a"), ("ü".encode(), "ü"), (b"caf\xe9", "café")],
    ids=["ascii", "utf-8", "latin-1"],
)
def test_header_values_become_strings(value, text):
    assert decode_headers([(b"x-a", value)]) == [("x-a", text)]
