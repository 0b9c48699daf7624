from typing import Any

import anyio
import pytest

from spica.testclient.exchange import Signal
from spica.testclient.http_exchange import Chunk, HTTPExchange, HTTPState

pytestmark = pytest.mark.anyio

START = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body", "body": b"ab"}
TRAILERS = {"type": "http.response.trailers", "headers": [(b"x", b"y")]}
WITH_TRAILERS = {**START, "trailers": True}


def more(message: dict[str, Any], key: str = "more_body") -> dict[str, Any]:
    return {**message, key: True}


async def begin(
    body: bytes | None = b"", method: str = "GET", extensions: Any = ()
) -> HTTPExchange:
    return HTTPExchange({"method": method, "extensions": extensions}, body)


async def play(exchange: HTTPExchange, *messages: Any) -> bytes:
    """Send the messages, take every chunk, and return the body they make."""
    taken = []
    async with anyio.create_task_group() as tasks:
        for message in messages:
            if message.get("more_body"):
                tasks.start_soon(exchange.send, message)
                await anyio.wait_all_tasks_blocked()
            else:
                await exchange.send(message)
            while not exchange.outbox.empty():
                event = exchange.outbox.get()
                if isinstance(event, Chunk):
                    taken.append(event.body)
                    if event.taken is not None:
                        event.taken.set()
    return b"".join(taken)


async def refused(exchange: HTTPExchange, *messages: Any) -> str:
    await play(exchange, *messages[:-1])
    with pytest.raises(AssertionError) as caught:
        await exchange.send(messages[-1])
    return str(caught.value)


# The request


async def test_a_buffered_body_is_one_message() -> None:
    exchange = await begin(b"abc")
    assert await exchange.receive() == {"type": "http.request", "body": b"abc"}


async def test_after_the_body_comes_a_disconnect_once_the_response_is_complete() -> None:
    exchange = await begin()
    await exchange.receive()
    received = []

    async def receive() -> None:
        received.append(await exchange.receive())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        assert received == []
        await play(exchange, START, BODY)
    assert received == [{"type": "http.disconnect"}]


async def test_a_poll_in_a_cancelled_scope_gets_the_disconnect() -> None:
    exchange = await begin()
    await exchange.receive()
    await play(exchange, START, BODY)
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert await exchange.receive() == {"type": "http.disconnect"}


async def test_pieces_are_asked_for_when_they_are_wanted() -> None:
    exchange = await begin(None)
    received = []

    async def receive_all() -> None:
        while not received or received[-1]["more_body"]:
            received.append(await exchange.receive())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive_all)
        for piece in (b"a", b"", b"b", None):
            await anyio.wait_all_tasks_blocked()
            assert exchange.outbox.get_nowait() is Signal.BODY_WANTED
            assert exchange.outbox.empty()
            exchange.feed(piece)
    assert received == [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": b"", "more_body": True},
        {"type": "http.request", "body": b"b", "more_body": True},
        {"type": "http.request", "body": b"", "more_body": False},
    ]


async def test_a_piece_survives_that_its_receiver_is_cancelled() -> None:
    exchange = await begin(None)
    with anyio.move_on_after(0):
        await exchange.receive()
    assert exchange.outbox.get_nowait() is Signal.BODY_WANTED
    exchange.feed(b"a")
    assert (await exchange.receive())["body"] == b"a"
    assert exchange.outbox.empty()


async def test_two_receivers_ask_once() -> None:
    exchange = await begin(None)
    received = []

    async def receive() -> None:
        received.append((await exchange.receive())["body"])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        assert exchange.outbox.qsize() == 1
        exchange.feed(b"a")
        await anyio.wait_all_tasks_blocked()
        exchange.feed(b"b")
    assert received == [b"a", b"b"]


# The response


async def test_a_response_in_one_piece() -> None:
    exchange = await begin()
    headers = [(b"a", b"b")]
    assert await play(exchange, {**START, "status": 404, "headers": headers}, BODY) == b"ab"
    assert (exchange.status_code, exchange.headers) == (404, headers)
    assert exchange.state is HTTPState.COMPLETE
    exchange.check_end()


async def test_a_piece_that_is_not_the_last_waits_until_it_is_taken() -> None:
    exchange = await begin()
    await exchange.send(START)
    assert exchange.outbox.get_nowait() is Signal.STARTED
    sent = anyio.Event()

    async def send() -> None:
        await exchange.send(more(BODY))
        sent.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        assert not sent.is_set()
        exchange.outbox.get_nowait().taken.set()
        await sent.wait()


async def test_head_has_no_body() -> None:
    exchange = await begin(method="HEAD")
    start = {**START, "headers": [(b"content-length", b"2")]}
    assert await play(exchange, start, more(BODY), BODY) == b""


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        pytest.param([BODY], "'http.response.body' before 'http.response.start'", id="no start"),
        pytest.param([{"type": "foo"}], "'foo' before 'http.response.start'", id="unknown"),
        pytest.param([START, START], "start' before body completed", id="two starts"),
        pytest.param([START, {"type": "foo"}], "'foo' before body completed", id="unknown later"),
        pytest.param([START, BODY, BODY], "body' after response completed", id="body too late"),
        pytest.param([START, BODY, START], "start' after response completed", id="start too late"),
        pytest.param([TRAILERS], "without declaring trailers", id="trailers alone"),
        pytest.param([START, TRAILERS], "without declaring trailers", id="not declared"),
        pytest.param(
            [START, BODY, TRAILERS], "without declaring trailers", id="not declared, late"
        ),
        pytest.param([WITH_TRAILERS, TRAILERS], "before body completed", id="trailers too early"),
        pytest.param([WITH_TRAILERS, BODY, BODY], "after body completed", id="body for trailers"),
        pytest.param(
            [WITH_TRAILERS, BODY, TRAILERS, TRAILERS], "after response completed", id="twice"
        ),
        pytest.param([{**START, "status": "200"}], "the status '200'", id="status"),
        pytest.param([{**START, "headers": [("a", "b")]}], "the header name 'a'", id="headers"),
        pytest.param([START, {**BODY, "body": "ab"}], "the body 'ab'", id="body of str"),
        pytest.param(
            [{"type": "http.response.early_hint", "links": []}], "early_hint", id="not offered"
        ),
    ],
)
async def test_what_may_not_be_sent_is_refused(messages: list[Any], text: str) -> None:
    assert text in await refused(await begin(), *messages)


async def test_an_extension_that_the_scope_offers_is_accepted() -> None:
    exchange = await begin(extensions={"http.response.early_hint": {}})
    hint = {"type": "http.response.early_hint", "links": [b"</a>"]}
    assert await play(exchange, hint, START, hint, BODY) == b"ab"


# RFC 9110 s.8.6: a declared length is kept


def declared(size: int | str, status: int = 200) -> dict[str, Any]:
    return {**START, "status": status, "headers": [(b"Content-Length", str(size).encode())]}


@pytest.mark.parametrize(
    "messages", [[BODY], [more({**BODY, "body": b"a"}), {**BODY, "body": b"b"}]]
)
async def test_a_body_of_the_declared_length_passes(messages: list[Any]) -> None:
    assert await play(await begin(), declared(2), *messages) == b"ab"


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        pytest.param([declared(3), BODY], "2 bytes, but 3 are due", id="too short"),
        pytest.param([declared(1), BODY], "2 bytes, but 1 are due", id="too long"),
        pytest.param([declared(1), more(BODY)], "2 bytes or more, but 1 are due", id="in time"),
        pytest.param([declared("two")], "the content-length b'two'", id="no number"),
        # RFC 9110 s.15.3.5, s.15.4.5
        pytest.param([{**START, "status": 204}, BODY], "0 are due by the status (204)", id="204"),
        pytest.param([declared(2, 304), BODY], "0 are due by the status (304)", id="304"),
    ],
)
async def test_a_body_of_another_length_is_refused(messages: list[Any], text: str) -> None:
    assert text in await refused(await begin(), *messages)


async def test_304_may_declare_the_length_of_the_200() -> None:
    await play(await begin(), declared(9, 304), {**BODY, "body": b""})


# Extensions


async def test_trailers_are_collected() -> None:
    exchange = await begin()
    other = {**TRAILERS, "headers": [(b"x", b"z")]}
    await play(exchange, WITH_TRAILERS, BODY, more(TRAILERS, "more_trailers"), other)
    assert exchange.extensions == {"http.response.trailers": [(b"x", b"y"), (b"x", b"z")]}
    assert exchange.state is HTTPState.COMPLETE


async def test_declared_trailers_may_be_missing() -> None:
    exchange = await begin()
    await play(exchange, WITH_TRAILERS, BODY)
    exchange.check_end()
    assert exchange.extensions == {"http.response.trailers": []}


async def test_debug_information_may_come_at_any_time() -> None:
    exchange = await begin()
    first = {"type": "http.response.debug", "info": {"a": 1}}
    last = {"type": "http.response.debug", "info": {"b": 2}}
    await play(exchange, first, START, BODY, last)
    assert exchange.extensions == {"http.response.debug": {"b": 2}}


# The end


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        pytest.param([], "TestClient did not receive any response", id="nothing"),
        pytest.param([START], "returned before body completed", id="start only"),
        pytest.param([START, more(BODY)], "one without 'more_body': True", id="no last piece"),
    ],
)
async def test_a_return_before_the_end_is_refused(messages: list[Any], text: str) -> None:
    exchange = await begin()
    await play(exchange, *messages)
    with pytest.raises(AssertionError) as caught:
        exchange.check_end()
    assert text in str(caught.value)
