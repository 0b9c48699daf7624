"""spica.layers: middleware that passes answers as values."""

import re
from typing import Any

import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.exceptions import HTTPException
from spica.layers import Answer, EditableResponse, Layer, as_response, deny
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, Response, StreamingResponse
from spica.routing import Mount, Route
from spica.types import ASGIApp, Receive, Scope, Send

pytestmark = pytest.mark.anyio


class Stamp(Layer):
    def __init__(self, app: ASGIApp, value: str = "yes") -> None:
        super().__init__(app)
        self.value = value

    def edit_response(self, request: Request, response: EditableResponse) -> None:
        response.headers.append("x-stamp", self.value)


class Maintenance(Layer):
    async def respond(self, request: Request) -> Answer:
        if request.url.path != "/health":
            return PlainTextResponse("closed", status_code=503)
        return await self.inner.respond(request)


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def fail(request: Request) -> Response:
    raise KeyError("broken")


async def refuse(request: Request) -> Response:
    raise HTTPException(418)


async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("foreign")(scope, receive, send)


async def by_hand(request: Request) -> None:
    await PlainTextResponse("by hand")(request.scope, request.receive, request._send)


ROUTES = [
    Route("/", hello),
    Route("/health", hello),
    Route("/fail", fail),
    Route("/refuse", refuse),
    Route("/hand", by_hand),
    Mount("/foreign", foreign),
]


def an_app(*layers: Any) -> Spica:
    return Spica(routes=ROUTES, middleware=[Middleware(layer) for layer in layers])


async def test_a_layer_that_overrides_nothing_passes_the_answer() -> None:
    assert (await call(an_app(Layer))).text == "hello"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/refuse", 418), ("/hand", 200), ("/foreign/x", 200), ("/missing", 404)],
)
async def test_every_response_is_edited_once(path: str, status: int) -> None:
    response = await call(an_app(Stamp), path=path)
    assert response.status == status
    assert response.headers["x-stamp"] == "yes"


async def test_the_page_for_an_unhandled_exception_is_edited_once() -> None:
    response = await Exchange(http_scope(path="/fail")).run(an_app(Stamp))
    assert isinstance(response.error, KeyError)
    assert (response.status, response.headers["x-stamp"]) == (500, "yes")


async def test_layers_edit_from_the_inside_out() -> None:
    app = Spica(
        routes=ROUTES, middleware=[Middleware(Stamp, "outer"), Middleware(Stamp, value="inner")]
    )
    response = await call(app)
    assert response.headers["x-stamp"] == "inner, outer"


async def test_a_layer_answers_a_request() -> None:
    assert (await call(an_app(Maintenance))).status == 503
    assert (await call(an_app(Maintenance), path="/health")).text == "hello"


async def test_an_answer_of_the_layer_itself_is_edited_too() -> None:
    class Both(Stamp, Maintenance):
        pass

    response = await call(an_app(Both))
    assert (response.status, response.headers["x-stamp"]) == (503, "yes")


async def test_a_shared_response_is_not_changed_by_an_edit() -> None:
    shared = PlainTextResponse("shared")

    class Answering(Layer):
        async def respond(self, request: Request) -> Answer:
            return shared

    app = an_app(Stamp, Answering)
    for _ in range(2):
        response = await call(app)
        assert response.headers["x-stamp"] == "yes"
    assert "x-stamp" not in shared.headers


async def test_a_layer_catches_an_exception_of_the_app_inside() -> None:
    class Catching(Layer):
        async def respond(self, request: Request) -> Answer:
            try:
                return await self.inner.respond(request)
            except KeyError:
                return PlainTextResponse("caught")

    assert (await call(an_app(Catching), path="/fail")).text == "caught"


async def test_an_opaque_answer_becomes_a_response() -> None:
    class Looking(Layer):
        async def respond(self, request: Request) -> Answer:
            response = await as_response(await self.inner.respond(request), request)
            return PlainTextResponse(f"{response.status_code}")

    assert (await call(an_app(Looking), path="/foreign/x")).text == "200"


async def test_the_background_task_of_a_dropped_response_runs() -> None:
    done = []

    async def work() -> None:
        done.append("work")

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("dropped", background=BackgroundTask(work))

    class Replacing(Layer):
        async def respond(self, request: Request) -> Answer:
            await as_response(await self.inner.respond(request), request)
            return PlainTextResponse("other")

    app = Spica(routes=[Route("/", endpoint)], middleware=[Middleware(Replacing)])
    assert ((await call(app)).text, done) == ("other", ["work"])


async def test_a_layer_returns_a_stream() -> None:
    class Streaming(Layer):
        async def respond(self, request: Request) -> Answer:
            return StreamingResponse(iter(["a", "b"]))

    response = await call(an_app(Stamp, Streaming))
    assert (response.text, response.headers["x-stamp"]) == ("ab", "yes")


@pytest.mark.parametrize("answer", [None, "text", PlainTextResponse])
async def test_something_else_than_an_answer_is_an_error_that_names_the_method(
    answer: Any,
) -> None:
    class Wrong(Layer):
        async def respond(self, request: Request) -> Answer:
            return answer  # type: ignore[no-any-return]

    error = (await Exchange().run(an_app(Wrong))).error
    assert isinstance(error, TypeError)
    assert re.search(r"Wrong\.respond .* must return a Response", str(error))


async def test_an_awaited_edit_is_refused_with_the_class() -> None:
    with pytest.raises(TypeError, match=r"Edit\.edit_response\(\) must be a `def` function"):

        class Edit(Layer):
            async def edit_response(self, request: Request, response: EditableResponse) -> None: ...


@pytest.mark.parametrize("name", ["respond", "edit_response", "connect"])
def test_a_method_with_other_parameters_is_refused_with_the_class(name: str) -> None:
    def method(self: Any) -> None: ...

    with pytest.raises(
        TypeError, match=rf"Wrong\.{name}\(\) has other parameters .* {name}\(self, "
    ):
        type("Wrong", (Layer,), {name: method})


class WithoutInner(Layer):
    def __init__(self, app: Any) -> None: ...


class CallsApp(Layer):
    async def respond(self, request: Request) -> Answer:
        return await self.app.respond(request)  # type: ignore[attr-defined,no-any-return]


class EditsOpaque(Layer):
    async def respond(self, request: Request) -> Answer:
        answer: Any = await self.inner.respond(request)
        answer.headers["x"] = "y"
        return answer  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("layer", "hint"),
    [
        (WithoutInner, "call super().__init__(app)"),
        (CallsApp, "self.inner.respond(request)"),
        (EditsOpaque, "await as_response(answer, request)"),
    ],
)
async def test_a_mistake_with_the_inner_app_names_the_fix(layer: type[Layer], hint: str) -> None:
    async def foreign(scope: Any, receive: Any, send: Any) -> None: ...

    app = Spica(routes=[Mount("/", foreign)], middleware=[Middleware(layer)])
    error = (await Exchange().run(app)).error
    assert error is not None
    assert hint in "".join(error.__notes__)


async def test_a_generator_is_refused_with_the_class() -> None:
    with pytest.raises(TypeError, match=r"Yielding\.respond\(\) must return an answer, not yield"):

        class Yielding(Layer):
            async def respond(self, request: Request) -> Any:
                yield PlainTextResponse("x")


async def test_a_websocket_passes_and_can_be_refused() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    class Refusing(Layer):
        async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                await deny(PlainTextResponse("no", status_code=403), scope, receive, send)
            else:
                await self.inner.connect(scope, receive, send)

    await Exchange(websocket_scope()).run(Stamp(app))
    assert seen == ["websocket"]
    exchange = Exchange(websocket_scope())
    await exchange.run(Refusing(app))
    assert exchange.sent[0]["type"] == "websocket.close"
    await Exchange({"type": "lifespan"}).run(Refusing(app))
    assert seen == ["websocket", "lifespan"]


async def test_a_layer_works_around_a_foreign_app_alone() -> None:
    response = await call(Stamp(foreign))
    assert (response.text, response.headers["x-stamp"]) == ("foreign", "yes")


async def test_a_layer_works_with_dispatch_middleware_on_both_sides() -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        response.headers.append("x-stamp", "dispatch")
        return response

    app = Spica(
        routes=ROUTES,
        middleware=[
            Middleware(BaseHTTPMiddleware, dispatch=dispatch),
            Middleware(Stamp),
            Middleware(BaseHTTPMiddleware, dispatch=dispatch),
        ],
    )
    response = await call(app)
    assert response.headers["x-stamp"] == "dispatch, yes, dispatch"


async def test_a_layer_with_a_call_of_its_own_is_run_with_messages() -> None:
    class Own(Stamp):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            calls.append(scope["type"])
            await super().__call__(scope, receive, send)

    calls: list[str] = []
    response = await call(an_app(Own))
    assert (calls, response.headers["x-stamp"]) == (["http"], "yes")


async def test_a_request_whose_constructor_does_not_call_ours_passes_a_layer() -> None:
    class Bare(Request):
        def __init__(self, scope: Scope) -> None:
            self.scope = scope

    async def dispatch(request: Request, call_next: Any) -> Any:
        return await call_next(Bare(request.scope))

    middleware = [Middleware(BaseHTTPMiddleware, dispatch=dispatch), Middleware(Stamp)]
    app = Spica(routes=[Route("/", hello)], middleware=middleware)
    exchange = await Exchange().run(app)
    assert (exchange.text, exchange.headers["x-stamp"]) == ("hello", "yes")
