"""Work that is cancelled when the client leaves."""

import time
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import from_thread
from asgi_kit import Exchange, Receive, body_messages, call, http_scope

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.endpoints import HTTPEndpoint
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.disconnect import CancelOnDisconnectMiddleware
from spica.requests import ClientDisconnect, Request
from spica.responses import PlainTextResponse, Response, StreamingResponse
from spica.routing import Mount, Route


class Client(Receive):
    """A client that sends its body, and stays until it is told to leave (``close``)."""

    def __init__(self, *chunks: bytes) -> None:
        super().__init__(body_messages(*chunks or (b"",)))


async def leave_during(app: Any, *chunks: bytes) -> Exchange:
    """Run ``app`` for a client that leaves as soon as everything waits."""
    client, exchange = Client(*chunks), Exchange(http_scope("POST"))
    exchange.receive = client
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(exchange.run, app)
            await anyio.wait_all_tasks_blocked()
            client.close()
    return exchange


class Work:
    """Endpoints that read the body, wait for ever and clean up; in every form there is."""

    def __init__(self) -> None:
        self.steps: list[Any] = []

    async def work(self, request: Request) -> Response:
        self.steps.append(await request.body())
        try:
            await anyio.sleep_forever()
        finally:
            self.steps.append("cleaned up")
        raise AssertionError

    async def with_block(self, request: Request) -> Response:
        with request.cancel_on_disconnect():
            return await self.work(request)
        raise AssertionError

    async def foreign(self, scope: Any, receive: Any, send: Any) -> None:
        await self.work(Request(scope, receive, send))

    async def foreign_with_block(self, scope: Any, receive: Any, send: Any) -> None:
        await self.with_block(Request(scope, receive, send))

    async def see(self, request: Request, call_next: Any) -> Response:
        try:
            response: Response = await call_next(request)
        except ClientDisconnect:
            self.steps.append("seen outside")
            raise
        return response

    def routes(self) -> dict[str, Any]:
        layer = [Middleware(CancelOnDisconnectMiddleware)]
        foreign, foreign_with_block = AsApp(self.foreign), AsApp(self.foreign_with_block)
        return {
            "block": Route("/", self.with_block, methods=["POST"]),
            "setting": Route("/", self.work, methods=["POST"], cancel_on_disconnect=True),
            "both": Route("/", self.with_block, methods=["POST"], cancel_on_disconnect=True),
            "mount": Mount("", routes=[Route("/", self.work, methods=["POST"])], middleware=layer),
            "foreign block": Route("/", foreign_with_block),
            "foreign setting": Route("/", foreign, cancel_on_disconnect=True),
        }


class AsApp:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


WAYS = ["block", "setting", "both", "mount", "foreign block", "foreign setting"]


@pytest.mark.anyio
class TestAClientThatLeaves:
    @pytest.mark.parametrize("is_opaque", [False, True], ids=["value", "message"])
    @pytest.mark.parametrize("layers", [0, 1, 2])
    @pytest.mark.parametrize("way", WAYS)
    async def test_cancels_the_work(
        self, way: str, layers: int, is_opaque: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        work = Work()
        middleware: list[Any] = [Middleware(BaseHTTPMiddleware, dispatch=work.see)] * layers
        if is_opaque:
            middleware.append(Middleware(AsApp))
        app = Spica(routes=[work.routes()[way]], middleware=middleware)
        exchange = await leave_during(app, b"ab", b"cd")
        assert work.steps == [b"abcd", "cleaned up", *["seen outside"] * layers]
        assert exchange.error is None, "it is no error of the server's"
        assert not caplog.records

    async def test_before_the_block_cancels_it_at_its_first_wait(self) -> None:
        client = Client()
        request = Request(http_scope(), client)
        client.close()
        assert await request.is_disconnected()
        with pytest.raises(ClientDisconnect):
            with request.cancel_on_disconnect():
                await anyio.sleep_forever()

    async def test_after_the_block_is_nothing_to_it(self) -> None:
        client = Client()
        request = Request(http_scope(), client)
        with request.cancel_on_disconnect():
            await anyio.wait_all_tasks_blocked()
        client.close()
        await anyio.wait_all_tasks_blocked()
        assert await request.is_disconnected()

    async def test_a_block_that_ends_is_not_cancelled(self) -> None:
        client = Client()
        request = Request(http_scope(), client)
        with request.cancel_on_disconnect():
            await anyio.wait_all_tasks_blocked()
            client.close()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
        assert await request.is_disconnected()

    async def test_an_error_of_the_block_s_own_is_raised_as_it_is(self) -> None:
        request = Request(http_scope(), Client())
        with pytest.raises(KeyError):
            with request.cancel_on_disconnect():
                await anyio.wait_all_tasks_blocked()
                raise KeyError

    async def test_a_cancellation_from_outside_is_no_disconnect(self) -> None:
        request = Request(http_scope(), Client())
        with anyio.CancelScope() as scope:
            with request.cancel_on_disconnect():
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    async def test_an_error_of_receive_ends_the_block_and_is_raised(self) -> None:
        async def receive() -> Any:
            raise RuntimeError("receive is broken")

        request = Request(http_scope(), receive)
        with pytest.raises(RuntimeError, match="receive is broken"):
            with request.cancel_on_disconnect():
                await anyio.sleep_forever()

    async def test_a_plain_endpoint_below_the_layer_runs_to_its_end_and_is_answered(self) -> None:
        client, exchange = Client(), Exchange(http_scope("POST"))
        steps = []

        def endpoint(request: Request) -> Response:
            from_thread.run_sync(client.close)
            while not request._channel().has_left:
                time.sleep(0)
            steps.append("end")
            return PlainTextResponse("done", background=BackgroundTask(steps.append, "task"))

        mount = Mount(
            "",
            routes=[Route("/", endpoint, methods=["POST"])],
            middleware=[Middleware(CancelOnDisconnectMiddleware)],
        )
        exchange.receive = client
        with anyio.fail_after(30):
            await exchange.run(Spica(routes=[mount]))
        assert (exchange.error, steps) == (None, ["end", "task"])


@pytest.mark.anyio
class TestAClientThatStays:
    @pytest.mark.parametrize("layers", [0, 2])
    async def test_gets_the_answer(self, layers: int) -> None:
        async def endpoint(request: Request) -> Response:
            with request.cancel_on_disconnect():
                body = await request.body()
                await anyio.wait_all_tasks_blocked()
            return PlainTextResponse(body)

        work = Work()
        middleware: list[Any] = [Middleware(BaseHTTPMiddleware, dispatch=work.see)] * layers
        route = Route("/", endpoint, methods=["POST"], cancel_on_disconnect=True)
        exchange = await call(
            Spica(routes=[route], middleware=middleware), "POST", body=[b"a", b"b"]
        )
        assert exchange.text == "ab"

    async def test_a_body_that_a_layer_has_read(self) -> None:
        async def read(request: Request, call_next: Any) -> Response:
            await request.body()
            response: Response = await call_next(request)
            return response

        async def endpoint(request: Request) -> Response:
            await anyio.wait_all_tasks_blocked()
            return PlainTextResponse(await request.body())

        app = Spica(
            routes=[Route("/", endpoint, methods=["POST"], cancel_on_disconnect=True)],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=read)],
        )
        assert (await call(app, "POST", body=[b"a", b"b"])).text == "ab"

    async def test_what_a_foreign_app_does_after_its_start_is_not_cancelled(self) -> None:
        """A server tells of a disconnect once the response is complete; its tasks run nevertheless."""
        steps = []

        async def task() -> None:
            await anyio.wait_all_tasks_blocked()
            steps.append("task")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            response = PlainTextResponse("done", background=BackgroundTask(task))
            await response(scope, receive, send)

        route = Route("/", AsApp(app), cancel_on_disconnect=True)
        assert (await call(Spica(routes=[route]))).text == "done"
        assert steps == ["task"]

    async def test_a_stream_is_sent_by_its_own_rule(self) -> None:
        async def chunks() -> Any:
            yield b"a"
            await anyio.wait_all_tasks_blocked()
            yield b"b"

        async def endpoint(request: Request) -> Response:
            return StreamingResponse(chunks())

        route = Route("/", endpoint, cancel_on_disconnect=True)
        assert (await call(Spica(routes=[route]))).text == "ab"

    async def test_a_class_endpoint(self) -> None:
        class Endpoint(HTTPEndpoint):
            async def get(self, request: Request) -> Response:
                await anyio.wait_all_tasks_blocked()
                return PlainTextResponse("class")

        route = Route("/", Endpoint, cancel_on_disconnect=True)
        assert (await call(Spica(routes=[route]))).text == "class"


def plain(request: Request) -> Response:
    raise AssertionError


@pytest.mark.parametrize("endpoint", [plain, partial(plain)])
def test_a_plain_function_can_t_be_cancelled(endpoint: Any) -> None:
    with pytest.raises(TypeError) as caught:
        Route("/", endpoint, cancel_on_disconnect=True)
    assert str(caught.value) == (
        "Route('/'): cancel_on_disconnect needs an `async def` endpoint. A `def` endpoint runs in a thread, "
        "which can't be cancelled."
    )


@pytest.mark.anyio
async def test_a_block_in_a_thread_is_refused() -> None:
    def endpoint(request: Request) -> Response:
        with request.cancel_on_disconnect():
            raise AssertionError

    exchange = await Exchange().run(Spica(routes=[Route("/", endpoint)]))
    assert exchange.status == 500
    assert "write `async def`" in str(exchange.error)


def test_a_route_without_it_has_no_layer() -> None:
    async def endpoint(request: Request) -> Response:
        raise AssertionError

    assert not isinstance(Route("/", endpoint).app, CancelOnDisconnectMiddleware)
