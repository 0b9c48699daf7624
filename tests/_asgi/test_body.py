"""The one owner of a request's body: nothing is lost, nothing is unlimited."""

import pickle
from typing import Any

import anyio
import pytest
from asgi_kit import DISCONNECT, body_messages, call, http_scope
from hypothesis import given, settings
from hypothesis import strategies as st

from spica._asgi.body import (
    DEFAULT_MAX_BODY_SIZE,
    MESSAGE_SIZE,
    READ_AHEAD_SIZE,
    BodyChannel,
    BodyLimit,
    BodyState,
    BodyTooLarge,
    ClientDisconnect,
    channel_of,
)
from spica._asgi.scope import BODY_LIMIT, MAX_BODY_SIZE
from spica.exceptions import HTTPException
from spica.middleware.body_limit import RequestBodyLimitMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse

pytestmark = pytest.mark.anyio


class Server:
    """A server's receive whose messages arrive one by one; after them it waits for a disconnect."""

    def __init__(self, *chunks: bytes, leaves: bool = False) -> None:
        self.messages: list[Any] = body_messages(*chunks) if chunks else []
        if leaves:
            if self.messages:
                self.messages[-1]["more_body"] = True
            self.messages.append(DISCONNECT)
        self.calls = 0
        self.left = anyio.Event()
        self.arrived = anyio.Event()

    async def __call__(self) -> Any:
        self.calls += 1
        while not self.messages:
            if self.left.is_set():
                return DISCONNECT
            await self.arrived.wait()
        return self.messages.pop(0)

    def arrive(self, *messages: Any) -> None:
        self.messages += messages
        self.arrived.set()
        self.arrived = anyio.Event()

    def leave(self) -> None:
        self.left.set()
        self.arrived.set()


def channel(*chunks: bytes, limit: Any = "none", leaves: bool = False, length: Any = None) -> Any:
    """Make a channel over a body, with a limit and a Content-Length if they are given."""
    headers = [] if length is None else [("content-length", str(length))]
    scope = http_scope(headers=headers)
    if limit != "none":
        scope[BODY_LIMIT] = BodyLimit(limit)
    return BodyChannel(Server(*chunks, leaves=leaves), scope)


async def collect(body: Any) -> list[bytes]:
    return [chunk async for chunk in body.stream()]


class TestReading:
    async def test_whole(self) -> None:
        body = channel(b"ab", b"", b"cd")
        assert await body.read() == b"abcd"
        assert body.state is BodyState.CACHED

    async def test_whole_again(self) -> None:
        body = channel(b"ab")
        assert [await body.read(), await body.read()] == [b"ab", b"ab"]

    async def test_in_chunks(self) -> None:
        body = channel(b"ab", b"", b"cd")
        assert await collect(body) == [b"ab", b"cd"]
        assert body.state is BodyState.DRAINED

    async def test_in_chunks_after_whole(self) -> None:
        body = channel(b"ab", b"cd")
        await body.read()
        assert await collect(body) == [b"abcd"]
        assert await collect(body) == [b"abcd"]

    async def test_an_empty_body_has_no_chunks(self) -> None:
        body = channel(b"")
        assert await body.read() == b""
        assert await collect(body) == []

    async def test_in_chunks_twice_is_an_error(self) -> None:
        body = channel(b"ab")
        await collect(body)
        with pytest.raises(RuntimeError, match="Stream consumed"):
            await collect(body)
        with pytest.raises(RuntimeError, match="Stream consumed"):
            await body.read()

    async def test_whole_after_some_chunks_is_an_error(self) -> None:
        body = channel(b"ab", b"cd")
        chunks = body.stream()
        await anext(chunks)
        with pytest.raises(RuntimeError, match="Stream consumed"):
            await body.read()
        await chunks.aclose()

    async def test_a_message_without_its_optional_keys(self) -> None:
        """ASGI HTTP "Request": body and more_body have defaults."""
        body = channel()
        body._receive.messages = [{"type": "http.request"}]
        assert await body.read() == b""

    @pytest.mark.parametrize("kind", [bytearray, memoryview])
    async def test_another_type_of_bytes(self, kind: Any) -> None:
        body = await channel(kind(b"ab")).read()
        assert type(body) is bytes
        assert body == b"ab"

    async def test_nothing_is_asked_for_after_the_end(self) -> None:
        body = channel(b"ab", b"cd")
        await body.read()
        await body.read()
        assert body._receive.calls == 2

    @pytest.mark.parametrize("kind", ["websocket.connect", "lifespan.startup", "mine"])
    async def test_another_kind_of_message_is_the_server_s_mistake(self, kind: str) -> None:
        body = channel()
        body._receive.messages = [{"type": kind}]
        with pytest.raises(RuntimeError, match=f"a message of type '{kind}' for an HTTP request"):
            await body.read()

    async def test_errors_of_receive_surface(self) -> None:
        async def receive() -> Any:
            raise ConnectionResetError("server")

        body = BodyChannel(receive, http_scope())
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await body.read()


class TestReadersAtOnce:
    """Several ask for the whole body before it is there: each gets it, none waits for what never comes."""

    @pytest.mark.parametrize("chunks", [[b"abcd"], [b"ab", b"", b"c", b"d"]], ids=["one", "many"])
    @pytest.mark.parametrize("arrived", [0, 1])
    async def test_each_has_all_of_it(self, chunks: list[bytes], arrived: int) -> None:
        body = BodyChannel(Server(), http_scope())
        found: list[bytes] = []

        async def read() -> None:
            found.append(await body.read())

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(read)
                group.start_soon(read)
                await anyio.wait_all_tasks_blocked()
                messages = body_messages(*chunks)
                body._receive.arrive(*messages[:arrived])  # type: ignore[attr-defined]
                await anyio.wait_all_tasks_blocked()
                group.start_soon(read)
                await anyio.wait_all_tasks_blocked()
                body._receive.arrive(*messages[arrived:])  # type: ignore[attr-defined]
        assert found == [b"abcd"] * 3

    async def test_one_that_is_cancelled_before_the_first_chunk_leaves_it_to_the_next(self) -> None:
        body = BodyChannel(Server(), http_scope())
        scope = anyio.CancelScope()

        async def read() -> None:
            with scope:
                await body.read()

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(read)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(self.cancel, scope, body)
                assert await body.read() == b"abcd"

    async def cancel(self, scope: anyio.CancelScope, body: Any) -> None:
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        body._receive.arrive(*body_messages(b"abcd"))

    async def test_what_one_can_not_read_the_other_can_not_either(self) -> None:
        body = BodyChannel(Server(), http_scope())
        errors: list[BaseException] = []

        async def read() -> None:
            try:
                await body.read(2)
            except Exception as error:
                errors.append(error)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(read)
                group.start_soon(read)
                await anyio.wait_all_tasks_blocked()
                body._receive.arrive(*body_messages(b"ab", b"c"))  # type: ignore[attr-defined]
        assert [type(error) for error in errors] == [BodyTooLarge] * 2

    async def test_a_stream_of_the_user_is_still_an_error(self) -> None:
        body = BodyChannel(Server(), http_scope())
        async with anyio.create_task_group() as group:
            group.start_soon(collect, body)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match=r"^Stream consumed$"):
                await body.read()
            body._receive.arrive(*body_messages(b"abcd"))  # type: ignore[attr-defined]


class TestLeaving:
    async def test_before_the_body(self) -> None:
        body = channel(leaves=True)
        with pytest.raises(ClientDisconnect):
            await body.read()
        assert body.state is BodyState.DISCONNECTED

    async def test_within_the_body(self) -> None:
        body = channel(b"ab", leaves=True)
        seen = []
        with pytest.raises(ClientDisconnect):
            async for chunk in body.stream():
                seen.append(chunk)
        assert seen == [b"ab"]

    async def test_for_every_later_reader(self) -> None:
        body = channel(b"ab", leaves=True)
        for _ in range(2):
            with pytest.raises(ClientDisconnect):
                await body.read()
        assert await body() == DISCONNECT

    async def test_after_the_body(self) -> None:
        body = channel(b"ab")
        await body.read()
        body._receive.leave()
        assert await body.wait_for_disconnect() == DISCONNECT
        assert await body.read() == b"ab"


class TestAsReceive:
    async def test_the_messages_pass(self) -> None:
        body = channel(b"ab", b"cd")
        assert [await body(), await body()] == body_messages(b"ab", b"cd")

    async def test_what_was_read_whole_is_given_once_more(self) -> None:
        body = channel(b"ab", b"cd")
        await body.read()
        assert await body() == {"type": "http.request", "body": b"abcd", "more_body": False}

    async def test_what_was_streamed_is_empty(self) -> None:
        body = channel(b"ab", b"cd")
        await collect(body)
        assert await body() == {"type": "http.request", "body": b"", "more_body": False}

    @pytest.mark.parametrize("reads", ["whole", "in chunks", "messages"])
    async def test_after_the_end_it_waits_for_the_disconnect(self, reads: str) -> None:
        body = channel(b"ab")
        if reads == "whole":
            await body.read()
        elif reads == "in chunks":
            await collect(body)
        await body()
        body._receive.leave()
        assert await body() == DISCONNECT

    async def test_channels_over_channels_read_the_same(self) -> None:
        outer = channel(b"ab", b"cd")
        inner = BodyChannel(outer, outer.scope)
        assert await outer.read() == b"abcd"
        assert await inner.read() == b"abcd"


class TestPolling:
    async def test_a_client_that_is_there(self) -> None:
        body = channel()
        assert await body.poll() is False
        assert await body.poll() is False

    async def test_a_client_that_has_left(self) -> None:
        body = channel(leaves=True)
        body._receive.messages = [DISCONNECT]
        assert await body.poll() is True
        assert await body.poll() is True

    async def test_no_chunk_is_lost(self) -> None:
        body = channel(b"ab", b"cd")
        for _ in range(4):
            assert await body.poll() is False
        assert await body.read() == b"abcd"

    async def test_no_chunk_is_lost_between_chunks(self) -> None:
        body = channel(b"a", b"b", b"c", b"d")
        seen = []
        async for chunk in body.stream():
            seen.append(chunk)
            await body.poll()
        assert b"".join(seen) == b"abcd"

    async def test_a_disconnect_behind_unread_chunks_comes_after_them(self) -> None:
        body = channel(b"ab", leaves=True)
        while not await body.poll():
            pass
        seen = []
        with pytest.raises(ClientDisconnect):
            async for chunk in body.stream():
                seen.append(chunk)
        assert seen == [b"ab"]

    async def test_it_reads_ahead_only_so_far(self) -> None:
        size = READ_AHEAD_SIZE // 2
        body = channel(*[b"x" * size for _ in range(5)])
        for _ in range(10):
            await body.poll()
        assert body._receive.calls == 2
        assert len(await body.read()) == 5 * size

    @pytest.mark.parametrize("chunk", [b"", b"x"], ids=["empty", "tiny"])
    async def test_it_reads_few_messages_ahead_however_small_they_are(self, chunk: bytes) -> None:
        """Their bytes alone would let millions of them pile up."""
        number = -(-READ_AHEAD_SIZE // (len(chunk) + MESSAGE_SIZE))
        body = channel(*[chunk] * 2 * number)
        for _ in range(2 * number):
            await body.poll()
        assert body._receive.calls == number
        assert await body.read() == chunk * 2 * number

    async def test_while_another_waits_in_receive_it_does_not(self) -> None:
        body = channel()
        async with anyio.create_task_group() as group:
            group.start_soon(body.wait_for_disconnect)
            await anyio.wait_all_tasks_blocked()
            assert await body.poll() is False
            assert body._receive.calls == 1
            body._receive.leave()


class TestTogether:
    """A reader of the body and a waiter for a disconnect, at once."""

    async def test_the_reader_gets_what_the_waiter_receives(self) -> None:
        body = channel()
        async with anyio.create_task_group() as group:
            group.start_soon(body.wait_for_disconnect)
            await anyio.wait_all_tasks_blocked()
            results: list[bytes] = []

            async def read() -> None:
                results.append(await body.read())

            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            body._receive.arrive(*body_messages(b"ab", b"cd"))
            await anyio.wait_all_tasks_blocked()
            assert results == [b"abcd"]
            body._receive.leave()

    async def test_a_waiter_that_is_cancelled_hands_over_to_the_reader(self) -> None:
        body = channel()
        results: list[bytes] = []

        async def read() -> None:
            results.append(await body.read())

        async with anyio.create_task_group() as group:
            waiting = anyio.CancelScope()

            async def wait() -> None:
                with waiting:
                    await body.wait_for_disconnect()

            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            waiting.cancel()
            await anyio.wait_all_tasks_blocked()
            body._receive.arrive(*body_messages(b"ab"))
        assert results == [b"ab"]

    async def test_the_waiter_pauses_until_the_reader_has_caught_up(self) -> None:
        chunk = b"x" * READ_AHEAD_SIZE
        body = channel(chunk, chunk, chunk)
        sizes = []
        async with anyio.create_task_group() as group:
            group.start_soon(body.wait_for_disconnect)
            await anyio.wait_all_tasks_blocked()
            assert body._receive.calls == 1
            async for read in body.stream():
                sizes.append(len(read))
                await anyio.wait_all_tasks_blocked()
            body._receive.leave()
        assert sizes == [READ_AHEAD_SIZE] * 3

    async def test_several_waiters_all_hear_of_it(self) -> None:
        body = channel()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(body.wait_for_disconnect)
            await anyio.wait_all_tasks_blocked()
            assert body._receive.calls == 1
            body._receive.leave()

    async def test_several_readers_share_the_chunks_and_each_sees_the_end(self) -> None:
        body = channel()
        seen: list[list[bytes]] = []

        async def read() -> None:
            seen.append(await collect(body))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            body._receive.arrive(*body_messages(b"a", b"b", b"c"))
        assert sorted(chunk for chunks in seen for chunk in chunks) == [b"a", b"b", b"c"]


class TestLimits:
    @pytest.mark.parametrize(("size", "fits"), [(4, True), (5, True), (6, False)])
    @pytest.mark.parametrize("length", ["true", "absent", "too small"])
    async def test_around_the_limit(self, size: int, fits: bool, length: str) -> None:
        declared = {"true": size, "absent": None, "too small": 1}[length]
        body = channel(b"xx", b"x" * (size - 2), limit=5, length=declared)
        if fits:
            assert len(await body.read()) == size
        else:
            with pytest.raises(BodyTooLarge) as info:
                await body.read()
            assert info.value.max_body_size == 5

    async def test_a_declared_size_over_the_limit_is_refused_unread(self) -> None:
        body = channel(b"x" * 6, limit=5, length=6)
        with pytest.raises(BodyTooLarge):
            await body.read()
        assert body._receive.calls == 0

    async def test_a_stream_is_limited_too(self) -> None:
        body = channel(b"xxx", b"xxx", b"xxx", limit=5)
        seen = []
        with pytest.raises(BodyTooLarge):
            async for chunk in body.stream():
                seen.append(chunk)
        assert seen == [b"xxx"]
        assert body._receive.calls == 2

    async def test_later_readers_hear_the_same(self) -> None:
        body = channel(b"xxx", b"xxx", limit=5)
        for read in (body.read, body.read, lambda: collect(body)):
            with pytest.raises(BodyTooLarge):
                await read()

    async def test_a_waiter_for_a_disconnect_does_not_hear_it(self) -> None:
        body = channel(b"x" * 6, limit=5)
        body._receive.leave()
        assert await body.wait_for_disconnect() == DISCONNECT

    async def test_nor_does_one_in_a_channel_further_in(self) -> None:
        outer = channel(b"x" * 6, limit=5)
        inner = BodyChannel(outer, outer.scope)
        async with anyio.create_task_group() as group:
            group.start_soon(inner.wait_for_disconnect)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert await inner.poll() is False
        with pytest.raises(BodyTooLarge):
            await inner.read()

    async def test_none_lifts_the_limit(self) -> None:
        body = channel(b"x" * (DEFAULT_MAX_BODY_SIZE + 1), limit=None)
        assert len(await body.read()) == DEFAULT_MAX_BODY_SIZE + 1

    async def test_what_is_kept_in_memory_has_a_limit_by_default(self) -> None:
        half = b"x" * (DEFAULT_MAX_BODY_SIZE // 2)
        assert len(await channel(half, half).read()) == DEFAULT_MAX_BODY_SIZE
        with pytest.raises(BodyTooLarge):
            await channel(half, half, b"x").read()
        with pytest.raises(BodyTooLarge):
            await channel(half + half + b"x").read()

    async def test_what_is_streamed_has_none_by_default(self) -> None:
        half = b"x" * (DEFAULT_MAX_BODY_SIZE // 2)
        assert len(await collect(channel(half, half, b"x"))) == 3

    @pytest.mark.parametrize("chunks", [[b"xxx"], [b"x", b"xx"]])
    async def test_a_limit_of_one_call(self, chunks: list[bytes]) -> None:
        assert await channel(*chunks).read(3) == b"xxx"
        with pytest.raises(BodyTooLarge) as info:
            await channel(*chunks).read(2)
        assert info.value.max_body_size == 2

    async def test_a_limit_of_one_call_for_what_is_in_memory(self) -> None:
        body = channel(b"xxx")
        await body.read()
        with pytest.raises(BodyTooLarge):
            await body.read(2)
        assert await body.read(3) == b"xxx"

    def test_the_error_is_a_413(self) -> None:
        """RFC 9110 s.15.5.14."""
        error = BodyTooLarge(5)
        assert isinstance(error, HTTPException)
        assert (error.status_code, error.detail) == (413, "Content Too Large")
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), copy.max_body_size) == (BodyTooLarge, 5)


class TestTakingWhole:
    """``take_whole``: a body of one message, without an async generator."""

    async def test_one_message(self) -> None:
        body = channel(b"abc")
        assert await body.take_whole(3) == b"abc"
        assert body.state is BodyState.DRAINED

    @pytest.mark.parametrize("chunks", [(b"abcd",), (b"ab", b"cd"), (b"abcd", b"")])
    async def test_any_other_body_is_left_to_the_stream(self, chunks: tuple[bytes, ...]) -> None:
        body = channel(*chunks)
        assert await body.take_whole(3) is None
        assert b"".join(await collect(body)) == b"abcd"

    async def test_a_body_that_was_read_before(self) -> None:
        body = channel(b"ab", b"c")
        await body.read()
        assert await body.take_whole(3) == b"abc"
        assert await body.take_whole(2) is None
        assert await collect(body) == [b"abc"]

    async def test_a_body_that_was_streamed_before_is_an_error(self) -> None:
        body = channel(b"abc")
        await collect(body)
        with pytest.raises(RuntimeError, match="Stream consumed"):
            await body.take_whole(3)

    async def test_a_body_that_a_middleware_has_streamed_is_empty(self) -> None:
        body = channel(b"abc")
        await collect(body)
        body.hand_on()
        assert await body.take_whole(3) == b""

    async def test_a_disconnect_is_left_to_the_stream(self) -> None:
        body = channel(leaves=True)
        assert await body.take_whole(3) is None
        with pytest.raises(ClientDisconnect):
            await collect(body)

    async def test_the_limit_of_the_body_applies(self) -> None:
        body = channel(b"abc", limit=2)
        with pytest.raises(BodyTooLarge):
            await body.take_whole(3)

    async def test_a_message_that_a_poll_has_read(self) -> None:
        body = channel(b"abc")
        assert await body.poll() is False
        assert await body.take_whole(3) == b"abc"
        body._receive.leave()
        await body.listener.finish()


@settings(max_examples=100, deadline=None)
@given(
    chunks=st.lists(st.binary(max_size=3), min_size=1, max_size=6),
    steps=st.lists(st.sampled_from(["poll", "message", "read", "stream"]), max_size=8),
    backend=st.sampled_from(["asyncio", "trio"]),
)
def test_no_byte_is_lost_whatever_is_done(
    chunks: list[bytes], steps: list[str], backend: str
) -> None:
    async def run() -> None:
        body = channel(*chunks)
        got = b""
        is_over = False
        for step in steps:
            if step == "poll":
                assert await body.poll() is False
            elif step == "message" and not is_over:
                message = await body()
                got += message["body"]
                is_over = not message["more_body"]
            elif step == "read" and body.state in (BodyState.UNREAD, BodyState.CACHED):
                assert await body.read() == b"".join(chunks)
            elif step == "stream" and body.state is BodyState.CACHED:
                assert b"".join(await collect(body)) == b"".join(chunks)
        while not is_over:
            message = await body()
            got += message["body"]
            is_over = not message["more_body"]
        assert got == b"".join(chunks)

    anyio.run(run, backend=backend)


async def test_a_channel_is_made_once() -> None:
    body = channel(b"ab")
    assert channel_of(body, {}) is body
    assert type(channel_of(Server(), {})) is BodyChannel


async def test_a_body_a_middleware_streams_away_reads_as_empty_further_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from spica.middleware.base import BaseHTTPMiddleware
    from spica.routing import Route

    async def dispatch(request: Request, call_next: Any) -> Any:
        seen = b"".join([chunk async for chunk in request.stream()])
        response = await call_next(request)
        response.headers["x-seen"] = seen.decode()
        return response

    async def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await request.body())

    app = BaseHTTPMiddleware(Route("/", echo, methods=["POST"]).app, dispatch=dispatch)
    exchange = await call(app, "POST", body=[b"ab", b"cd"])
    assert (exchange.text, exchange.headers["x-seen"]) == ("", "abcd")
    assert "Read it with body()" in caplog.text


async def test_the_limit_in_force_is_published() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope[MAX_BODY_SIZE])
        await PlainTextResponse("ok")(scope, receive, send)

    await call(RequestBodyLimitMiddleware(app, 7))
    assert seen == [7]


async def test_a_receive_that_never_waits_does_not_keep_the_event_loop_busy() -> None:
    """Doubles of a server in tests return the end of the body again and again."""
    calls = 0

    async def receive() -> Any:
        nonlocal calls
        calls += 1
        return {"type": "http.request", "body": b"a", "more_body": False}

    body = BodyChannel(receive, http_scope("POST"))
    async with anyio.create_task_group() as group:
        group.start_soon(body.wait_for_disconnect)
        while calls < 2:
            await anyio.lowlevel.checkpoint()
        assert await body.read() == b"a"
        group.cancel_scope.cancel()
    assert calls == 2


async def test_channels_share_no_message_that_was_read_ahead() -> None:
    first, second = (BodyChannel(Server(text), http_scope()) for text in (b"one", b"two"))
    await first.read_ahead()
    await second.read_ahead()
    bodies = [await second.read(), await first.read()]
    assert bodies == [b"two", b"one"]
