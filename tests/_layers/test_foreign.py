"""An opaque app inside a dispatch middleware: one task, one context, and always an end."""

import asyncio
import contextvars
import sys
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from asgi_kit import DISCONNECT, Exchange, body_messages, call, http_scope

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.gzip import GZipMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route

pytestmark = pytest.mark.anyio

current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="unset")


def dispatching(app: Any, dispatch: Any) -> BaseHTTPMiddleware:
    return BaseHTTPMiddleware(app, dispatch=dispatch)


async def pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


async def replace(request: Request, call_next: Any) -> Any:
    await call_next(request)
    return PlainTextResponse("replaced")


async def read_all(request: Request, call_next: Any) -> Any:
    response = await call_next(request)
    body = b"".join([chunk async for chunk in response.body_iterator])
    return PlainTextResponse(body.upper())


class Foreign:
    """A foreign app in steps, which notes how far it came."""

    def __init__(self, *chunks: bytes, then: Any = None) -> None:
        self.chunks = chunks
        self.then = then
        self.steps: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.steps.append("begun")
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            self.steps.append("sent")
            if self.then is not None:
                await self.then(scope, receive, send)
        except OSError:
            self.steps.append("nobody wants it")
        finally:
            self.steps.append("over")


class TaskCounter:
    """Count the tasks that asyncio makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = asyncio.get_running_loop()
        self.made = 0
        self._create = self.loop.create_task
        monkeypatch.setattr(self.loop, "create_task", self.create_task)

    def create_task(self, *args: Any, **kwargs: Any) -> Any:
        self.made += 1
        return self._create(*args, **kwargs)


def five_dispatches(endpoint: Any) -> Spica:
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=pass_on) for _ in range(5)]
    return Spica(routes=[endpoint], middleware=middleware)


class TestTasks:
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_a_stack_of_ours_starts_no_task(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def endpoint(request: Request) -> PlainTextResponse:
            return PlainTextResponse("ok")

        app = five_dispatches(Route("/", endpoint))
        counter = TaskCounter(monkeypatch)
        exchange = await call(app)
        assert (exchange.text, counter.made) == ("ok", 0)

    async def test_a_stream_that_never_waits_starts_no_task(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def endpoint(request: Request) -> StreamingResponse:
            return StreamingResponse(chunks())

        async def chunks() -> Any:
            yield "a"
            yield "b"

        app = five_dispatches(Route("/", endpoint))
        counter = TaskCounter(monkeypatch)
        exchange = await call(app)
        assert (exchange.text, counter.made) == ("ab", 0)

    async def test_an_opaque_app_starts_one_task_for_all_layers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = five_dispatches(Mount("/", app=Foreign(b"foreign")))
        counter = TaskCounter(monkeypatch)
        exchange = await call(app)
        assert (exchange.text, counter.made) == ("foreign", 1)

    async def test_no_task_is_left(self) -> None:
        app = five_dispatches(Mount("/", app=Foreign(b"foreign")))
        before = asyncio.all_tasks()
        await call(app)
        assert asyncio.all_tasks() == before


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio shares no context before 3.12")
async def test_the_context_of_an_opaque_app_is_the_caller_s() -> None:
    seen = []

    async def foreign(scope: Any, receive: Any, send: Any) -> None:
        seen.append(current.get())
        current.set("set inside")
        await PlainTextResponse("ok")(scope, receive, send)

    async def dispatch(request: Request, call_next: Any) -> Any:
        current.set("set outside")
        response = await call_next(request)
        seen.append(current.get())
        return response

    await call(dispatching(foreign, dispatch))
    assert seen == ["set outside", "set inside"]


async def test_what_is_sent_before_the_start_passes() -> None:
    async def foreign(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>"]})
        await PlainTextResponse("ok")(scope, receive, send)

    exchange = await call(dispatching(foreign, pass_on))
    assert exchange.types[0] == "http.response.early_hint"
    assert exchange.text == "ok"


async def test_the_start_keeps_what_is_not_known_here() -> None:
    async def foreign(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"ok"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    exchange = await call(dispatching(foreign, pass_on))
    assert exchange.starts[0] == {
        "type": "http.response.start",
        "status": 200,
        "headers": [],
        "trailers": True,
    }
    assert exchange.types[-1] == "http.response.trailers"


async def test_status_and_headers_can_be_changed() -> None:
    async def dispatch(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.status_code = 202
        response.headers["x-new"] = "1"
        return response

    exchange = await call(dispatching(Foreign(b"ok"), dispatch))
    assert (exchange.status, exchange.headers, exchange.text) == (202, {"x-new": "1"}, "ok")


async def test_the_body_can_be_read_and_replaced() -> None:
    foreign = Foreign(b"for", b"", b"eign")
    exchange = await call(dispatching(foreign, read_all))
    assert exchange.text == "FOREIGN"
    assert foreign.steps == ["begun", "sent", "over"]


async def test_the_body_can_be_wrapped_and_is_sent_as_it_is_made() -> None:
    async def dispatch(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.body_iterator = numbered(response.body_iterator)
        return response

    async def numbered(chunks: Any) -> Any:
        number = 0
        async for chunk in chunks:
            yield b"%d%s" % (number, chunk)
            number += 1

    exchange = await call(dispatching(Foreign(b"a", b"b"), dispatch))
    assert exchange.chunks == [b"0a", b"1b", b""]


async def test_a_body_iterator_that_was_only_looked_at_is_sent() -> None:
    async def dispatch(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        assert response.body_iterator is response.body_iterator
        return response

    exchange = await call(dispatching(Foreign(b"a", b"b"), dispatch))
    assert exchange.text == "ab"


async def test_a_file_sent_by_its_path_can_be_read(tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"contents")

    async def foreign(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.pathsend", "path": str(path)})

    exchange = await call(dispatching(foreign, read_all))
    assert exchange.text == "CONTENTS"


async def test_trailers_are_dropped_where_the_body_became_chunks() -> None:
    async def trailers(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.trailers", "headers": []})

    foreign = Foreign(b"a", then=trailers)
    exchange = await call(dispatching(foreign, read_all))
    assert exchange.text == "A"
    assert foreign.steps == ["begun", "sent", "over"]


async def test_the_end_of_a_wrapped_body_does_not_wait_for_the_app_s_own_tasks() -> None:
    body_is_complete = []
    exchange = Exchange()

    async def background(scope: Any, receive: Any, send: Any) -> None:
        await receive()  # waits for the end of the outer response
        body_is_complete.append(exchange.is_complete)

    app = dispatching(Foreign(b"a", then=background), read_all)
    await exchange.run(app)
    assert (exchange.error, body_is_complete) == (None, [True])


class TestReplaced:
    async def test_the_app_sees_its_client_as_gone_and_ends_in_good_order(self) -> None:
        foreign = Foreign(b"a", b"b")
        exchange = await call(dispatching(foreign, replace))
        assert exchange.text == "replaced"
        assert foreign.steps == ["begun", "nobody wants it", "over"]

    async def test_an_app_that_waits_for_a_disconnect_hears_of_one(self) -> None:
        received = []

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            received.append((await receive())["type"])

        exchange = await call(dispatching(foreign, replace))
        assert exchange.text == "replaced"
        assert received == ["http.disconnect"]

    async def test_it_is_paused_while_the_layer_outside_goes_on(self) -> None:
        """They share a context: what one sets for itself is not seen by the other."""
        seen = []

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            seen.append("before the start")
            await send({"type": "http.response.start", "status": 200})
            seen.append("after the start")

        async def wait(request: Request, call_next: Any) -> Any:
            await call_next(request)
            await anyio.wait_all_tasks_blocked()
            seen.append("outside")
            return PlainTextResponse("replaced")

        await call(dispatching(foreign, wait))
        assert seen == ["before the start", "outside", "after the start"]

    async def test_several_of_its_tasks_may_wait_to_send(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(send, {"type": "http.response.start", "status": 200})
                for _ in range(2):  # trio runs the tasks of one turn in any order
                    await checkpoint()
                group.start_soon(send, {"type": "http.response.body", "body": b"a"})

        with anyio.fail_after(30):
            exchange = await call(dispatching(foreign, replace))
        assert exchange.text == "replaced"

    async def test_each_of_several_tasks_that_wait_hears_of_it(self) -> None:
        heard = []

        async def wait(receive: Any, name: str) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            heard.append(name)

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(wait, receive, "first")
                group.start_soon(wait, receive, "second")
                await send({"type": "http.response.start", "status": 200})

        with anyio.fail_after(30):
            await call(dispatching(foreign, replace))
        assert sorted(heard) == ["first", "second"]

    async def test_background_tasks_of_a_response_inside_run(self) -> None:
        ran = []

        async def task() -> None:
            ran.append("task")

        response = PlainTextResponse("inner", background=BackgroundTask(task))
        exchange = await call(dispatching(response.__call__, replace))
        assert (exchange.text, ran) == ("replaced", ["task"])

    async def test_an_error_of_the_app_s_own_is_raised_after_the_answer(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            raise ValueError("its own")

        exchange = await Exchange().run(dispatching(foreign, replace))
        assert exchange.text == "replaced"
        assert repr(exchange.error) == "ValueError('its own')"

    async def test_an_oserror_of_the_app_s_own_is_not_taken_for_the_client_s(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            raise ConnectionRefusedError("the database")

        exchange = await Exchange().run(dispatching(foreign, replace))
        assert repr(exchange.error) == "ConnectionRefusedError('the database')"

    async def test_both_apps_end_when_the_answer_of_one_is_sent_by_another(self) -> None:
        inner = Foreign(b"inner")

        async def answer_by_app(request: Request, call_next: Any) -> Any:
            response = await call_next(request)

            async def forward(scope: Any, receive: Any, send: Any) -> None:
                await response(scope, receive, send)

            return forward

        app = dispatching(dispatching(inner, answer_by_app), replace)
        with anyio.fail_after(30):
            exchange = await call(app)
        assert exchange.text == "replaced"
        assert inner.steps[-1] == "over"

    async def test_an_iterator_dropped_inside_another_does_not_hold_the_app(self) -> None:
        foreign = Foreign(b"a", b"b", b"c")

        async def first_only(chunks: Any) -> Any:
            async for chunk in chunks:
                yield chunk
                break

        async def dispatch(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            self.chunks = response.body_iterator  # held, so that nothing collects it
            response.body_iterator = first_only(self.chunks)
            return response

        with anyio.fail_after(30):
            exchange = await call(dispatching(foreign, dispatch))
        await self.chunks.aclose()
        assert exchange.text == "a"
        assert foreign.steps == ["begun", "nobody wants it", "over"]


class TestErrors:
    async def test_an_error_before_the_start_is_raised_by_call_next(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            raise ValueError("early")

        async def dispatch(request: Request, call_next: Any) -> Any:
            try:
                return await call_next(request)
            except ValueError as exc:
                return PlainTextResponse(f"caught {exc}")

        exchange = await call(dispatching(foreign, dispatch))
        assert exchange.text == "caught early"

    async def test_an_app_without_a_response_is_named(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            pass

        exchange = await Exchange().run(dispatching(foreign, pass_on))
        assert repr(exchange.error) == "RuntimeError('No response returned.')"

    async def test_an_app_need_not_answer_a_client_that_has_left(self) -> None:
        """Found by scripts/fuzz."""

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            assert (await receive())["type"] == "http.disconnect"

        exchange = await Exchange(messages=[DISCONNECT]).run(dispatching(foreign, pass_on))
        assert (
            repr(exchange.error) == "ClientDisconnect()"
        )  # nobody's error, for the layers outside

    async def test_an_error_after_the_start_leaves_the_body_without_an_end(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
            raise ValueError("late")

        exchange = await Exchange().run(dispatching(foreign, pass_on))
        assert (exchange.text, exchange.is_complete) == ("a", False)
        assert repr(exchange.error) == "ValueError('late')"

    async def test_an_error_is_raised_while_the_body_is_read(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
            raise ValueError("late")

        exchange = await Exchange().run(dispatching(foreign, read_all))
        assert exchange.sent == []
        assert repr(exchange.error) == "ValueError('late')"

    async def test_an_app_that_ends_before_its_body_is_not_closed_off_as_complete(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})

        exchange = await Exchange().run(dispatching(foreign, read_all))
        assert exchange.sent == []
        assert "ended before the body" in str(exchange.error)

    async def test_an_error_is_raised_once(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            raise ValueError("late")

        app = dispatching(dispatching(foreign, pass_on), pass_on)
        exchange = await Exchange().run(app)
        assert repr(exchange.error) == "ValueError('late')"

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    @pytest.mark.parametrize("has_started", [False, True])
    def test_exit_requests_reach_the_server(self, has_started: bool, backend: str) -> None:
        """In a loop of its own, because trio reports an error of a system task at the end."""

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            if has_started:
                await send({"type": "http.response.start", "status": 200})
            raise Stop

        class Stop(BaseException):
            pass

        async def serve() -> str:
            try:
                await Exchange().run(dispatching(foreign, pass_on))
            except Stop:
                return "stopped"
            return "went on"

        assert anyio.run(serve, backend=backend) == "stopped"

    async def test_an_app_whose_body_is_not_read_any_further_hears_of_it(self) -> None:
        foreign = Foreign(b"a", b"b", b"c")

        async def read_one(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            chunk = await anext(response.body_iterator)
            await response.body_iterator.aclose()
            return PlainTextResponse(chunk)

        exchange = await call(dispatching(foreign, read_one))
        assert exchange.text == "a"
        assert foreign.steps == ["begun", "nobody wants it", "over"]


class TestBody:
    async def test_the_app_gets_what_a_middleware_has_read(self) -> None:
        bodies = []

        async def dispatch(request: Request, call_next: Any) -> Any:
            bodies.append(await request.body())
            return await call_next(request)

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            bodies.append((await receive())["body"])
            await PlainTextResponse("ok")(scope, receive, send)

        await call(dispatching(foreign, dispatch), "POST", body=[b"ab", b"cd"])
        assert bodies == [b"abcd", b"abcd"]

    async def test_the_request_that_is_passed_on_is_the_one_the_app_reads(self) -> None:
        bodies = []

        async def dispatch(request: Request, call_next: Any) -> Any:
            async def receive() -> Any:
                return {"type": "http.request", "body": b"another"}

            return await call_next(Request(request.scope, receive))

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            bodies.append((await receive())["body"])
            await PlainTextResponse("ok")(scope, receive, send)

        await call(dispatching(foreign, dispatch), "POST", body=b"first")
        assert bodies == [b"another"]


class TestCancellation:
    async def run_and_cancel(self, app: Any, exchange: Exchange, when: anyio.Event) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(app, exchange.scope, exchange.receive, exchange.send)
            with anyio.fail_after(30):
                await when.wait()
            group.cancel_scope.cancel()

    @pytest.mark.parametrize("place", ["before the start", "after the start"])
    async def test_the_app_is_cancelled_with_the_request(self, place: str) -> None:
        waits, over = anyio.Event(), anyio.Event()

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            try:
                if place == "after the start":
                    await send({"type": "http.response.start", "status": 200})
                    await send({"type": "http.response.body", "body": b"a", "more_body": True})
                waits.set()
                await anyio.sleep_forever()
            finally:
                over.set()

        await self.run_and_cancel(dispatching(foreign, pass_on), Exchange(), waits)
        assert over.is_set()

    async def test_the_app_is_cancelled_while_it_is_ended(self) -> None:
        waits, over = anyio.Event(), anyio.Event()

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            try:
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": b"a"})
            except OSError:
                waits.set()
                await anyio.sleep_forever()
            finally:
                over.set()

        await self.run_and_cancel(dispatching(foreign, replace), Exchange(), waits)
        assert over.is_set()

    async def test_every_begun_app_is_cancelled(self) -> None:
        waits, over = anyio.Event(), []

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            try:
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": b"a"})
            except OSError:
                waits.set()
                await anyio.sleep_forever()
            finally:
                over.append("over")

        async def twice(request: Request, call_next: Any) -> Any:
            await call_next(request)
            await call_next(request)
            return PlainTextResponse("replaced")

        await self.run_and_cancel(dispatching(foreign, twice), Exchange(), waits)
        assert over == ["over", "over"]

    async def test_an_app_waiting_to_send_is_cancelled(self) -> None:
        waits, over = anyio.Event(), anyio.Event()

        async def dispatch(request: Request, call_next: Any) -> Any:
            await call_next(request)
            waits.set()
            await anyio.sleep_forever()

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            try:
                await PlainTextResponse("ok")(scope, receive, send)
            finally:
                over.set()

        await self.run_and_cancel(dispatching(foreign, dispatch), Exchange(), waits)
        assert over.is_set()


async def test_a_websocket_handshake_may_be_denied_by_a_begun_app() -> None:
    """The start of a denial has a name of its own (ASGI, "WebSocket Denial Response")."""
    exchange = Exchange(http_scope(), body_messages(b""))
    responses = []

    async def dispatch(request: Request, call_next: Any) -> Any:
        responses.append(await call_next(request))
        return responses[0]

    sent = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def then(request: Request, call_next: Any) -> Any:
        await call_next(request)
        scope: Any = {"type": "websocket", "extensions": {"websocket.http.response": {}}}
        await responses[0](scope, exchange.receive, send)
        return PlainTextResponse("over")

    await exchange.run(dispatching(dispatching(Foreign(), dispatch), then))
    assert sent == ["websocket.http.response.start", "websocket.http.response.body"]


PRIVATE_SEND = "_send"  # a name that no code object has: the search does not find it


async def test_a_response_sent_by_hand_past_a_started_app_reaches_the_dispatch_function() -> None:
    """A layer such as GZip answers with an app, which the dispatch middleware starts."""

    async def endpoint(request: Request) -> None:
        send = getattr(request, PRIVATE_SEND)
        start = {"type": "http.response.start", "status": 201, "headers": [(b"x-sent", b"hand")]}
        await send(start)
        await send({"type": "http.response.body", "body": b"by hand"})

    seen: list[Any] = []

    async def look(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        seen.append((response.status_code, response.headers["x-sent"]))
        return response

    layers = [
        Middleware(CORSMiddleware, allow_origins=["*"]),
        Middleware(SessionMiddleware, secret_key="s" * 32),
        Middleware(BaseHTTPMiddleware, dispatch=look),
        Middleware(GZipMiddleware),
    ]
    app = Spica(routes=[Route("/", endpoint)], middleware=layers)
    headers = [("origin", "https://a.example"), ("accept-encoding", "gzip")]
    for count in (1, 2):
        exchange = await call(app, headers=headers)
        assert (len(exchange.starts), exchange.body) == (1, b"by hand")
        assert seen == [(201, "hand")] * count
