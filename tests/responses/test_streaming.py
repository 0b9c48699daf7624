"""Responses whose body is made while it is sent."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from asgi_kit import DISCONNECT, Exchange, call, http_scope, websocket_scope

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.requests import ClientDisconnect
from spica.responses import Response, StreamingResponse
from spica.routing import Route

pytestmark = pytest.mark.anyio


async def numbers(count: int = 3) -> Any:
    for number in range(count):
        yield str(number)


class Watched:
    """Chunks without end, which note how their iteration ended."""

    def __init__(self, *, waits_after: int = 10**9) -> None:
        self.waits_after = waits_after
        self.waits = anyio.Event()
        self.end = ""

    async def chunks(self) -> Any:
        number = 0
        try:
            while True:
                if number == self.waits_after:
                    self.waits.set()
                    await anyio.sleep_forever()
                yield b"x"
                number += 1
        except GeneratorExit:
            self.end = "closed"
            raise
        except BaseException as exc:
            self.end = type(exc).__name__
            raise


class TestSending:
    @pytest.mark.parametrize("make", [lambda: ["a", b"b", memoryview(b"c")], lambda: iter("abc")])
    async def test_chunks_of_a_plain_iterable(self, make: Any) -> None:
        exchange = await call(StreamingResponse(make()))
        assert exchange.chunks == [b"a", b"b", b"c", b""]

    async def test_chunks_of_a_sequence_without_iter(self) -> None:
        class Pages:
            def __getitem__(self, index: int) -> str:
                return ["a", "b"][index]

        exchange = await call(StreamingResponse(Pages()))  # type: ignore[arg-type]
        assert exchange.chunks == [b"a", b"b", b""]

    @pytest.mark.parametrize("content", ["abc", b"abc", memoryview(b"abc")])
    async def test_a_whole_body_is_one_chunk(self, content: Any) -> None:
        exchange = await call(StreamingResponse(content))
        assert exchange.chunks == [b"abc", b""]

    async def test_text_in_another_charset(self) -> None:
        class Latin(StreamingResponse):
            charset = "latin-1"

        assert (await call(Latin("\xe4"))).chunks == [b"\xe4", b""]

    async def test_chunks_of_an_async_iterable(self) -> None:
        exchange = await call(StreamingResponse(numbers()))
        assert exchange.chunks == [b"0", b"1", b"2", b""]
        assert exchange.headers == {}

    async def test_the_last_message_alone_ends_the_body(self) -> None:
        exchange = await call(StreamingResponse(numbers(2)))
        assert [message.get("more_body") for message in exchange.sent[1:]] == [True, True, False]

    async def test_status_headers_and_type(self) -> None:
        response = StreamingResponse(numbers(), 201, {"Content-Length": "3"}, "text/csv")
        exchange = await call(response)
        assert exchange.status == 201
        assert exchange.headers == {
            "content-length": "3",
            "content-type": "text/csv; charset=utf-8",
        }

    @pytest.mark.parametrize("status", [204, 304])
    async def test_a_status_without_content(self, status: int) -> None:
        exchange = await call(StreamingResponse(numbers(), status))
        assert exchange.body == b""

    async def test_a_websocket_handshake_is_denied(self) -> None:
        sent = []

        async def send(message: Any) -> None:
            sent.append(message["type"].removeprefix("websocket.http.response."))

        scope: Any = {"type": "websocket", "extensions": {"websocket.http.response": {}}}
        await StreamingResponse(numbers(2))(scope, None, send)  # type: ignore[arg-type]
        assert sent == ["start", "body", "body", "body"]

    @pytest.mark.parametrize("content", [None, 1, object()])
    def test_what_cannot_be_iterated(self, content: Any) -> None:
        with pytest.raises(TypeError, match="StreamingResponse needs an iterable"):
            StreamingResponse(content)

    async def test_the_iterator_may_be_replaced(self) -> None:
        response = StreamingResponse(numbers())
        response.body_iterator = numbers(1)
        assert (await call(response)).text == "0"

    async def test_a_subclass_s_stream_is_sent(self) -> None:
        class Own(StreamingResponse):
            async def stream_response(self, send: Any) -> None:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"own"})

        assert (await call(Own(numbers()))).text == "own"


class TestLeaving:
    @pytest.mark.parametrize("spec_version", ["2.0", "2.3", "2.4"])
    async def test_an_idle_stream_stops_when_the_client_leaves(self, spec_version: str) -> None:
        watched = Watched(waits_after=2)
        exchange = Exchange(http_scope(asgi={"spec_version": spec_version}))
        async with anyio.create_task_group() as group:
            with anyio.fail_after(30):
                group.start_soon(exchange.run, StreamingResponse(watched.chunks()))
                await watched.waits.wait()
                exchange.receive.close()
        assert exchange.error is None
        assert (exchange.chunks, exchange.is_complete) == ([b"x", b"x"], False)
        assert watched.end in ("CancelledError", "Cancelled")

    @pytest.mark.parametrize("gone_after", [1, 2])
    async def test_a_busy_stream_stops_when_send_tells(self, gone_after: int) -> None:
        """ASGI HTTP spec version 2.4: send raises OSError."""
        watched = Watched()
        exchange = Exchange(gone_after=gone_after)
        with anyio.fail_after(30):
            await exchange.run(StreamingResponse(watched.chunks()))
        assert isinstance(exchange.error, ClientDisconnect)
        assert watched.end == "closed"

    async def test_a_stream_that_never_waits_stops_when_the_client_leaves(self) -> None:
        """Servers before ASGI spec version 2.4: a send to nobody returns at once."""
        exchange = Exchange(http_scope(asgi={"spec_version": "2.3"}))
        sent = 0

        async def endless() -> Any:
            nonlocal sent
            for sent in range(1_000_000):
                if sent == 3:
                    exchange.receive.close()
                yield b"x"

        with anyio.fail_after(30):
            await exchange.run(StreamingResponse(endless()))
        assert not exchange.is_complete
        assert sent < 5000

    async def test_a_client_gone_before_the_start(self) -> None:
        exchange = await Exchange(gone_after=0).run(StreamingResponse(numbers()))
        assert isinstance(exchange.error, ClientDisconnect)

    async def test_the_iterator_is_closed_under_a_shield(self) -> None:
        cleaned = []

        async def chunks() -> Any:
            try:
                yield b"x"
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.wait_all_tasks_blocked()
                cleaned.append("clean")

        exchange = Exchange()
        exchange.receive.close()
        exchange.receive.messages = [DISCONNECT]
        with anyio.fail_after(30):
            await exchange.run(StreamingResponse(chunks()))
        assert cleaned == ["clean"]

    async def test_a_generator_that_waits_at_its_end_is_closed_when_sending_is_cancelled(
        self,
    ) -> None:
        """It stands at its yield, so that only who closes it can shield what it does at its end."""
        steps = []

        async def chunks() -> Any:
            try:
                yield b"x"
            finally:
                steps.append("begins")
                await anyio.lowlevel.checkpoint()
                steps.append("clean")

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                scope.cancel()
                await anyio.sleep_forever()

        with anyio.CancelScope() as scope:
            await StreamingResponse(chunks())(http_scope(), Exchange().receive, send)
        assert scope.cancelled_caught
        assert steps == ["begins", "clean"]

    async def test_an_iterator_is_closed_that_was_never_asked_since_the_start_did_not_go_out(
        self,
    ) -> None:
        class Rows:
            is_closed = False

            def __aiter__(self) -> Any:
                return self

            async def __anext__(self) -> bytes:
                raise AssertionError("nobody is there to take it")

            async def aclose(self) -> None:
                self.is_closed = True

        rows = Rows()
        exchange = await Exchange(gone_after=0).run(StreamingResponse(rows))
        assert isinstance(exchange.error, ClientDisconnect)
        assert rows.is_closed

    async def test_a_plain_iterable_is_closed(self) -> None:
        ends = []

        def chunks() -> Any:
            try:
                while True:
                    yield b"x"
            finally:
                ends.append("closed")

        await Exchange(gone_after=3).run(StreamingResponse(chunks()))
        assert ends == ["closed"]

    async def test_an_unread_body_is_no_disconnect(self) -> None:
        exchange = await call(StreamingResponse(numbers()), "POST", body=[b"a", b"b"])
        assert exchange.text == "012"


class TestErrors:
    async def test_an_error_leaves_the_body_without_an_end(self) -> None:
        async def chunks() -> Any:
            yield b"a"
            raise ValueError("stream")

        exchange = await Exchange().run(StreamingResponse(chunks()))
        assert repr(exchange.error) == "ValueError('stream')"
        assert (exchange.body, exchange.is_complete) == (b"a", False)

    async def test_an_oserror_of_the_iterator_is_not_the_client_s(self) -> None:
        async def chunks() -> Any:
            yield b"a"
            raise FileNotFoundError("template")

        exchange = await Exchange().run(StreamingResponse(chunks()))
        assert repr(exchange.error) == "FileNotFoundError('template')"

    async def test_a_chunk_of_another_type(self) -> None:
        exchange = await Exchange().run(StreamingResponse([1]))  # type: ignore[list-item]
        assert repr(exchange.error) == (
            "TypeError('A chunk of a streamed body must be str or bytes, not 1 of type int.')"
        )
        assert not exchange.is_complete


class TestBackground:
    """The task runs once, whatever became of the response."""

    async def run(self, chunks: Any, exchange: Exchange) -> list[bool]:
        ran = []

        async def task() -> None:
            ran.append(exchange.is_complete)

        await exchange.run(StreamingResponse(chunks, background=BackgroundTask(task)))
        return ran

    async def test_after_the_end(self) -> None:
        assert await self.run(numbers(), Exchange()) == [True]

    async def test_after_a_disconnect_by_send(self) -> None:
        assert await self.run(numbers(), Exchange(gone_after=2)) == [False]

    async def test_after_a_disconnect_by_receive(self) -> None:
        exchange = Exchange(messages=[DISCONNECT])
        with anyio.fail_after(30):
            assert await self.run(Watched(waits_after=1).chunks(), exchange) == [False]

    async def test_after_an_error(self) -> None:
        async def chunks() -> Any:
            yield b"a"
            raise ValueError("stream")

        exchange = Exchange()
        assert await self.run(chunks(), exchange) == [False]
        assert isinstance(exchange.error, ValueError)


async def test_listen_for_disconnect() -> None:
    exchange = Exchange(messages=[{"type": "http.request"}, DISCONNECT])
    await StreamingResponse(numbers()).listen_for_disconnect(exchange.receive)
    assert exchange.receive.calls == 2


class Gateway:
    """Responses over generators that hold a connection each, and the number of connections in use."""

    def __init__(self) -> None:
        self.in_use = 0
        self.log: list[str] = []

    def stream(self, status_code: int = 200) -> StreamingResponse:
        self.in_use += 1
        task = BackgroundTask(self.log.append, "task")
        return StreamingResponse(self.chunks(), status_code, background=task)

    async def chunks(self) -> Any:
        try:
            yield b"chunk"
        finally:
            await anyio.lowlevel.checkpoint()
            self.in_use -= 1
            self.log.append("released")


async def replace(request: Any, call_next: Any) -> Any:
    await call_next(request)
    return Response("replaced")


async def fail_after(request: Any, call_next: Any) -> Any:
    await call_next(request)
    raise ValueError("after")


async def set_body(request: Any, call_next: Any) -> Any:
    response = await call_next(request)
    response.body_iterator = numbers()
    return response


async def set_status(request: Any, call_next: Any) -> Any:
    response = await call_next(request)
    response.status_code = 204
    return response


DROPS = {"replaced": replace, "error": fail_after, "other body": set_body, "204": set_status}


class TestHandedOver:
    """An iterator that a response was given is closed, whatever becomes of the response."""

    @pytest.mark.parametrize("status_code", [200, 204, 205, 304])
    async def test_with_each_status(self, status_code: int) -> None:
        gateway = Gateway()
        exchange = await call(gateway.stream(status_code))
        assert exchange.is_complete
        assert (gateway.in_use, gateway.log) == (0, ["released", "task"])

    async def test_after_the_client_has_its_answer(self) -> None:
        gateway = Gateway()
        exchange = Exchange()

        async def send(message: Any) -> None:
            assert gateway.log == []
            await exchange.send(message)

        await gateway.stream(304)(exchange.scope, exchange.receive, send)
        assert gateway.log == ["released", "task"]

    @pytest.mark.parametrize("layers", [1, 3])
    @pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS.keys())
    async def test_where_a_middleware_drops_it(self, drop: Any, layers: int) -> None:
        gateway = Gateway()

        async def endpoint(request: Any) -> StreamingResponse:
            return gateway.stream()

        middleware = [Middleware(BaseHTTPMiddleware, dispatch=drop)] * layers
        await Exchange().run(Spica(routes=[Route("/", endpoint)], middleware=middleware))
        assert (gateway.in_use, gateway.log) == (0, ["released", "task"])

    async def test_where_the_first_send_fails(self) -> None:
        gateway = Gateway()
        await Exchange(gone_after=0).run(gateway.stream())
        assert (gateway.in_use, gateway.log) == (0, ["released", "task"])

    @pytest.mark.parametrize("gone_after", [1, 2])
    async def test_where_an_iterable_has_made_it(self, gone_after: int) -> None:
        """``__aiter__`` as a generator: the response iterates over an iterator that is not ``content``."""
        log: list[str] = []

        class Upstream:
            async def __aiter__(self) -> Any:
                try:
                    yield b"a"
                    yield b"b"
                finally:
                    log.append("released")

            async def aclose(self) -> None:
                log.append("closed")

        await Exchange(gone_after=gone_after).run(StreamingResponse(Upstream()))
        assert log == ["released", "closed"]

    async def test_where_an_edit_fails(self) -> None:
        gateway = Gateway()

        async def endpoint(request: Any) -> StreamingResponse:
            request.session["x"] = object()  # it has no form in JSON
            return gateway.stream()

        session = Middleware(SessionMiddleware, secret_key="s" * 32)
        app = Spica(routes=[Route("/", endpoint)], middleware=[session])
        exchange = await Exchange().run(app)
        assert exchange.status == 500
        assert (gateway.in_use, gateway.log) == (0, ["released", "task"])

    async def test_where_a_handler_makes_it(self) -> None:
        gateway = Gateway()

        async def endpoint(request: Any) -> Any:
            raise ZeroDivisionError

        async def handler(request: Any, exc: Exception) -> StreamingResponse:
            return gateway.stream()

        app = Spica(
            routes=[Route("/", endpoint)],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=replace)],
            exception_handlers={ZeroDivisionError: handler},
        )
        await Exchange().run(app)
        assert (gateway.in_use, gateway.log) == (0, ["released", "task"])

    @pytest.mark.parametrize("is_offered", [True, False])
    async def test_where_a_handshake_is_refused(self, is_offered: bool) -> None:
        extensions = {"websocket.http.response": {}} if is_offered else {}
        gateway = Gateway()
        scope = websocket_scope(extensions=extensions)
        await gateway.stream(403)(scope, Exchange().receive, drop_message)
        assert (gateway.in_use, gateway.log) == (0, ["released", "task"])

    async def test_where_a_response_of_another_kind_gets_it_as_its_body(self) -> None:
        gateway = Gateway()

        async def set_chunks(request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            response.body_iterator = gateway.stream().body_iterator
            return response

        async def endpoint(request: Any) -> Response:
            return Response("in memory")

        dispatches = [replace, set_chunks]
        middleware = [Middleware(BaseHTTPMiddleware, dispatch=each) for each in dispatches]
        await Exchange().run(Spica(routes=[Route("/", endpoint)], middleware=middleware))
        assert gateway.in_use == 0

    @pytest.mark.parametrize("status_code", [200, 304])
    async def test_an_open_file_too(self, status_code: int, tmp_path: Any) -> None:
        (tmp_path / "lines").write_bytes(b"a\nb\n")
        file = (tmp_path / "lines").open("rb")
        await call(StreamingResponse(file, status_code))
        assert file.closed


async def drop_message(message: Any) -> None:
    pass
