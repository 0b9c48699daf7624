"""Dispatch middleware over responses that are values. Opaque apps: tests/_layers/test_begun.py."""

import contextvars
from typing import Any

import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope

from spica.applications import Spica
from spica.background import BackgroundTask, BackgroundTasks
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.requests import Request
from spica.responses import FileResponse, PlainTextResponse, StreamingResponse
from spica.routing import Route

pytestmark = pytest.mark.anyio

current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="unset")


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def app_with(*dispatches: Any, endpoint: Any = hello, **options: Any) -> Spica:
    route = Route("/", endpoint, methods=["GET", "POST"])
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=dispatch) for dispatch in dispatches]
    return Spica(routes=[route], middleware=middleware, **options)


class TestNames:
    """Subclasses are written by users: what is not documented must not take a name of theirs."""

    DOCUMENTED = {"app", "dispatch", "dispatch_func"}

    def test_only_documented_names_are_taken(self) -> None:
        names = {*dir(BaseHTTPMiddleware), *dir(BaseHTTPMiddleware(hello))}  # type: ignore[arg-type]
        taken = {name for name in names if not name.startswith(("__", "_layer_"))}
        assert taken == self.DOCUMENTED

    @pytest.mark.parametrize("name", ["connect", "_connect", "respond", "report", "guard", "_ask"])
    async def test_a_method_of_any_name(self, name: str) -> None:
        async def dispatch(self: Any, request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["x-own"] = getattr(self, name)("argument")
            return response

        own = {name: lambda self, argument: f"own {argument}", "dispatch": dispatch}
        layer = type("Layer", (BaseHTTPMiddleware,), own)
        app = Spica(routes=[Route("/", hello)], middleware=[Middleware(layer)])
        exchange = await call(app)
        assert exchange.headers["x-own"] == "own argument"


class TestWriting:
    async def test_as_a_subclass(self) -> None:
        class Adds(BaseHTTPMiddleware):
            def __init__(self, app: Any, value: str) -> None:
                super().__init__(app)
                self.value = value

            async def dispatch(self, request: Request, call_next: Any) -> Any:
                response = await call_next(request)
                response.headers["x-value"] = self.value
                return response

        app = Spica(routes=[Route("/", hello)], middleware=[Middleware(Adds, value="1")])
        assert (await call(app)).headers["x-value"] == "1"

    async def test_as_a_function(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            return PlainTextResponse("mine")

        layer = BaseHTTPMiddleware(hello, dispatch=dispatch)  # type: ignore[arg-type]
        assert layer.dispatch_func is dispatch
        assert (await call(layer)).text == "mine"

    async def test_a_function_put_in_later(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            return PlainTextResponse("mine")

        layer = BaseHTTPMiddleware(Route("/", hello).app, dispatch=None)
        layer.dispatch_func = dispatch
        assert (await call(layer)).text == "mine"

    async def test_without_either(self) -> None:
        with pytest.raises(NotImplementedError, match="BaseHTTPMiddleware must define `async def"):
            await call(BaseHTTPMiddleware(Route("/", hello).app))

    async def test_a_function_that_is_not_async_is_named(self) -> None:
        def dispatch(request: Request, call_next: Any) -> Any:
            return PlainTextResponse("mine")

        exchange = await Exchange().run(BaseHTTPMiddleware(hello, dispatch=dispatch))  # type: ignore[arg-type]
        assert isinstance(exchange.error, TypeError)

    async def test_an_app_put_in_later(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            return await call_next(request)

        layer = BaseHTTPMiddleware(PlainTextResponse("old"), dispatch=dispatch)
        layer.app = PlainTextResponse("new")
        assert (await call(layer)).text == "new"


class TestResponses:
    async def test_the_endpoint_s_own_is_passed(self) -> None:
        class Mine(PlainTextResponse):
            pass

        seen = []

        async def endpoint(request: Request) -> Mine:
            return Mine("mine")

        async def dispatch(request: Request, call_next: Any) -> Any:
            seen.append(await call_next(request))
            return seen[0]

        await call(app_with(dispatch, endpoint=endpoint))
        assert (type(seen[0]), seen[0].body) == (Mine, b"mine")

    async def test_every_kind_has_a_body_iterator(self, tmp_path: Any) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"file")

        async def chunks() -> Any:
            yield b"chunks"

        answers = [PlainTextResponse("text"), StreamingResponse(chunks()), FileResponse(path)]
        seen = []

        async def endpoint(request: Request) -> Any:
            return answers.pop(0)

        async def dispatch(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            seen.append(b"".join([bytes(chunk) async for chunk in response.body_iterator]))
            return PlainTextResponse(seen[-1])

        app = app_with(dispatch, endpoint=endpoint)
        for _ in range(3):
            await call(app)
        assert seen == [b"text", b"chunks", b"file"]

    async def test_the_layers_are_passed_from_the_outermost_in_and_out_again(self) -> None:
        steps = []

        def layer(name: str) -> Any:
            async def dispatch(request: Request, call_next: Any) -> Any:
                steps.append(name)
                response = await call_next(request)
                steps.append(name)
                return response

            return dispatch

        await call(app_with(layer("a"), layer("b")))
        assert steps == ["a", "b", "b", "a"]

    async def test_call_next_may_be_awaited_again(self) -> None:
        calls = []

        async def flaky(request: Request) -> PlainTextResponse:
            calls.append(await request.body())
            if len(calls) < 3:
                raise ValueError("try again")
            return PlainTextResponse("at last")

        async def retry(request: Request, call_next: Any) -> Any:
            while True:
                try:
                    return await call_next(request)
                except ValueError:
                    pass

        exchange = await call(app_with(retry, endpoint=flaky), "POST", body=b"body")
        assert (exchange.text, calls) == ("at last", [b"body"] * 3)

    async def test_another_app_may_answer(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("foreign")(scope, receive, send)

        async def dispatch(request: Request, call_next: Any) -> Any:
            return foreign

        assert (await call(app_with(dispatch))).text == "foreign"


class TestRequests:
    async def test_it_is_the_same_object_all_the_way_in(self) -> None:
        seen = []

        async def endpoint(request: Request) -> PlainTextResponse:
            seen.append(request)
            return PlainTextResponse("ok")

        async def dispatch(request: Request, call_next: Any) -> Any:
            seen.append(request)
            request.injected = 1  # type: ignore[attr-defined]
            return await call_next(request)

        await call(app_with(dispatch, dispatch, endpoint=endpoint))
        assert len(set(seen)) == 1
        assert seen[-1].injected == 1

    async def test_a_body_that_was_read_is_there_further_in(self) -> None:
        async def endpoint(request: Request) -> PlainTextResponse:
            return PlainTextResponse(await request.body())

        async def dispatch(request: Request, call_next: Any) -> Any:
            assert await request.body() == b"abcd"
            return await call_next(request)

        exchange = await call(app_with(dispatch, endpoint=endpoint), "POST", body=[b"ab", b"cd"])
        assert exchange.text == "abcd"

    async def test_a_body_that_was_not_read_is_streamed(self) -> None:
        async def endpoint(request: Request) -> PlainTextResponse:
            chunks = [chunk async for chunk in request.stream()]
            return PlainTextResponse(repr(chunks))

        async def dispatch(request: Request, call_next: Any) -> Any:
            return await call_next(request)

        exchange = await call(app_with(dispatch, endpoint=endpoint), "POST", body=[b"ab", b"cd"])
        assert exchange.text == "[b'ab', b'cd', b'']"

    async def test_another_request_may_be_passed_on(self) -> None:
        async def endpoint(request: Request) -> PlainTextResponse:
            return PlainTextResponse(f"{request.headers['x-a']} {(await request.body()).decode()}")

        async def dispatch(request: Request, call_next: Any) -> Any:
            body = (await request.body()).upper()

            async def receive() -> Any:
                return {"type": "http.request", "body": body}

            scope = {**request.scope, "headers": [(b"x-a", b"1")]}
            return await call_next(Request(scope, receive))

        exchange = await call(app_with(dispatch, endpoint=endpoint), "POST", body=b"abc")
        assert exchange.text == "1 ABC"

    async def test_websockets_and_the_lifespan_pass_by(self) -> None:
        seen = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope["type"])

        async def dispatch(request: Request, call_next: Any) -> Any:
            raise AssertionError

        layer = BaseHTTPMiddleware(app, dispatch=dispatch)
        await layer(websocket_scope(), None, None)  # type: ignore[arg-type]
        await layer({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
        assert seen == ["websocket", "lifespan"]


class TestContext:
    async def test_variables_are_seen_inward_and_outward(self) -> None:
        seen = []

        async def endpoint(request: Request) -> PlainTextResponse:
            seen.append(current.get())
            current.set("set by the endpoint")
            return PlainTextResponse("ok")

        async def dispatch(request: Request, call_next: Any) -> Any:
            current.set("set outside")
            response = await call_next(request)
            seen.append(current.get())
            return response

        await call(app_with(dispatch, endpoint=endpoint))
        assert seen == ["set outside", "set by the endpoint"]

    async def test_also_those_set_in_a_thread(self) -> None:
        seen = []

        def endpoint(request: Request) -> PlainTextResponse:
            current.set("set in a thread")
            return PlainTextResponse("ok")

        async def dispatch(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            seen.append(current.get())
            return response

        await call(app_with(dispatch, endpoint=endpoint))
        assert seen == ["set in a thread"]


class TestBackground:
    """A response that is replaced does not take its background task with it."""

    ran: list[str]

    @pytest.fixture(autouse=True)
    def _forget(self) -> None:
        self.ran = []

    def task(self, name: str) -> BackgroundTask:
        async def run() -> None:
            self.ran.append(name)

        return BackgroundTask(run)

    async def endpoint(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("endpoint", background=self.task("endpoint"))

    async def test_passed_on(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            return await call_next(request)

        await call(app_with(dispatch, dispatch, endpoint=self.endpoint))
        assert self.ran == ["endpoint"]

    async def test_replaced(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            await call_next(request)
            return PlainTextResponse("replaced", background=self.task("dispatch"))

        exchange = await call(app_with(dispatch, endpoint=self.endpoint))
        assert exchange.text == "replaced"
        assert sorted(self.ran) == ["dispatch", "endpoint"]

    async def test_set_over_another(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            response.background = self.task("dispatch")
            return response

        await call(app_with(dispatch, endpoint=self.endpoint))
        assert sorted(self.ran) == ["dispatch", "endpoint"]

    async def test_added_to_another(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            tasks = BackgroundTasks()
            if response.background is not None:
                tasks.tasks.append(response.background)
            tasks.tasks.append(self.task("dispatch"))
            response.background = tasks
            return response

        await call(app_with(dispatch, endpoint=self.endpoint))
        assert sorted(self.ran) == ["dispatch", "endpoint"]

    async def test_after_an_error_in_the_dispatch_function(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            await call_next(request)
            raise HTTPException(503)

        exchange = await call(app_with(dispatch, endpoint=self.endpoint))
        assert (exchange.status, self.ran) == (503, ["endpoint"])

    async def test_it_runs_when_the_response_is_complete(self) -> None:
        exchange = Exchange()

        async def run() -> None:
            self.ran.append(f"complete: {exchange.is_complete}")

        async def endpoint(request: Request) -> PlainTextResponse:
            return PlainTextResponse("endpoint", background=BackgroundTask(run))

        async def dispatch(request: Request, call_next: Any) -> Any:
            return await call_next(request)

        await exchange.run(app_with(dispatch, endpoint=endpoint))
        assert self.ran == ["complete: True"]

    async def test_of_a_request_of_one_s_own(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            await call_next(Request(dict(request.scope), request.receive))
            return PlainTextResponse("replaced")

        await call(app_with(dispatch, endpoint=self.endpoint))
        assert self.ran == ["endpoint"]


class TestErrors:
    async def fail(self, request: Request) -> PlainTextResponse:
        raise ValueError("endpoint")

    async def test_an_endpoint_s_error_is_raised_by_call_next(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            try:
                return await call_next(request)
            except ValueError as exc:
                return PlainTextResponse(f"caught {exc}")

        assert (await call(app_with(dispatch, endpoint=self.fail))).text == "caught endpoint"

    async def test_a_handled_error_comes_as_a_response(self) -> None:
        statuses = []

        async def dispatch(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            statuses.append(response.status_code)
            return response

        assert (await call(app_with(dispatch), path="/nowhere")).status == 404
        assert statuses == [404]

    async def test_an_error_reaches_the_server_once_with_its_frames(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            return await call_next(request)

        exchange = await Exchange().run(app_with(dispatch, dispatch, endpoint=self.fail))
        assert (exchange.status, repr(exchange.error)) == (500, "ValueError('endpoint')")
        assert exchange.error is not None
        assert exchange.error.__context__ is None
        frames = []
        traceback = exchange.error.__traceback__
        while traceback is not None:
            frames.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        assert frames[-1] == "fail"

    async def test_an_http_exception_of_a_middleware_is_answered_as_such(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            raise HTTPException(401, "who?", {"www-authenticate": "Basic"})

        exchange = await call(app_with(dispatch))
        assert (exchange.status, exchange.text) == (401, "who?")
        assert exchange.headers["www-authenticate"] == "Basic"

    async def test_its_handler_is_asked(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            raise HTTPException(401)

        async def handler(request: Request, exc: Exception) -> PlainTextResponse:
            return PlainTextResponse("handled", 401)

        app = app_with(dispatch, exception_handlers={401: handler})
        # The exception layer publishes its handlers once it has been passed.
        assert (await call(app)).status == 401

    async def test_a_stream_that_fails_is_the_server_s_to_hear_of(self) -> None:
        async def chunks() -> Any:
            yield b"a"
            raise ValueError("stream")

        async def endpoint(request: Request) -> StreamingResponse:
            return StreamingResponse(chunks())

        async def dispatch(request: Request, call_next: Any) -> Any:
            return await call_next(request)

        exchange = await Exchange(http_scope()).run(app_with(dispatch, endpoint=endpoint))
        assert (exchange.body, exchange.is_complete) == (b"a", False)
        assert repr(exchange.error) == "ValueError('stream')"
