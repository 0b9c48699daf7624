"""Which layers are asked by value, and which are run."""

from typing import Any

import anyio
import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope

from spica._layers.layer import BaseLayer, resolve_respond, responds_by
from spica.applications import Spica
from spica.background import BackgroundTask
from spica.endpoints import HTTPEndpoint
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.exceptions import ExceptionMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, Response
from spica.routing import Match, Mount, Route, Router

pytestmark = pytest.mark.anyio


class Layer(BaseLayer):
    """A layer that passes on."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def _layer_respond(self, request: Request) -> Any:
        return await self._layer_inner.respond(request)


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("foreign")(scope, receive, send)


def a_request() -> Request:
    return Request(http_scope())


# -- asking --------------------------------------------------------------------------------------------


async def test_a_layer_is_asked_for_its_answer() -> None:
    answer = await resolve_respond(Layer(Route("/", hello).app))(a_request())
    assert isinstance(answer, PlainTextResponse)


async def test_a_foreign_app_answers_with_itself() -> None:
    assert await resolve_respond(Layer(foreign))(a_request()) is foreign


async def test_a_layer_with_a_call_of_its_own_answers_with_itself() -> None:
    class Own(Layer):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, send)

    layer = Own(Route("/", hello).app)
    assert await resolve_respond(layer)(a_request()) is layer


async def test_a_layer_whose_class_was_patched_answers_with_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def traced(self: Any, scope: Any, receive: Any, send: Any) -> None:
        await born(self, scope, receive, send)

    born = Layer.__call__
    monkeypatch.setattr(Layer, "__call__", traced, raising=False)
    layer = Layer(foreign)
    assert await resolve_respond(layer)(a_request()) is layer


async def test_a_bound_method_is_asked_under_its_other_name() -> None:
    class Server:
        @responds_by("answer")
        async def serve(self, scope: Any, receive: Any, send: Any) -> None: ...

        async def answer(self, request: Request) -> Any:
            return foreign

    assert await resolve_respond(Server().serve)(a_request()) is foreign


async def test_an_app_assigned_later_is_the_one_asked() -> None:
    layer = Layer(foreign)
    layer.app = Route("/", hello).app
    assert isinstance(await layer._layer_respond(a_request()), PlainTextResponse)


async def test_an_app_that_was_never_set_is_a_plain_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'BaseLayer' object has no attribute 'app'"):
        BaseLayer().app  # noqa: B018


async def test_a_layer_without_respond_says_so() -> None:
    with pytest.raises(
        NotImplementedError, match=r"BaseLayer must define _layer_respond\(request\)"
    ):
        BaseLayer()._layer_respond(a_request())


# -- running -------------------------------------------------------------------------------------------


async def test_a_layer_is_an_asgi_app() -> None:
    assert (await call(Layer(foreign))).text == "foreign"


async def test_scopes_that_are_not_http_pass_through() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await Exchange(websocket_scope()).run(Layer(app))
    await Exchange({"type": "lifespan"}).run(Layer(app))
    assert seen == ["websocket", "lifespan"]


async def test_the_answer_s_receive_has_what_a_layer_has_read() -> None:
    class Reading(Layer):
        async def _layer_respond(self, request: Request) -> Any:
            await request.body()
            return await self._layer_inner.respond(request)

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await Response((await receive())["body"])(scope, receive, send)

    assert (await call(Reading(echo), "POST", body=[b"a", b"b"])).text == "ab"


# -- what tracing agents and users replace -------------------------------------------------------------


class Calls(list):
    """Notes of what was called, and replacements that make them."""

    def around(self, original: Any) -> Any:
        async def replacement(*args: Any) -> None:
            self.append(original.__qualname__)
            await original(*args)

        return replacement


REPLACED = {
    "Spica.__call__": (Spica, "__call__"),
    "ExceptionMiddleware.__call__": (ExceptionMiddleware, "__call__"),
    "BaseHTTPMiddleware.__call__": (BaseHTTPMiddleware, "__call__"),
    "Router.__call__": (Router, "__call__"),
    "Router.app": (Router, "app"),
    "Route.handle": (Route, "handle"),
    "Mount.handle": (Mount, "handle"),
}


async def passing(request: Request, call_next: Any) -> Any:
    return await call_next(request)


def make_app() -> Spica:
    return Spica(
        routes=[Mount("/a", routes=[Route("/b", hello)])],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=passing)],
    )


@pytest.mark.parametrize(("cls", "name"), REPLACED.values(), ids=REPLACED.keys())
async def test_what_was_replaced_on_a_class_is_called(
    cls: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls()
    monkeypatch.setattr(cls, name, calls.around(getattr(cls, name)), raising=False)
    exchange = await call(make_app(), path="/a/b")
    assert exchange.text == "hello"
    assert calls


@pytest.mark.parametrize("cls", [Route, Mount])
async def test_a_handle_replaced_on_a_route_itself_is_called(cls: Any) -> None:
    app = make_app()
    mount: Any = app.routes[0]
    route = mount if cls is Mount else mount.routes[0]
    calls = Calls()
    route.handle = calls.around(route.handle)
    assert (await call(app, path="/a/b")).text == "hello"
    assert len(calls) == 1


@pytest.mark.parametrize("cls", [Route, Mount])
async def test_matches_replaced_on_a_class_is_called(
    cls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    born = cls.matches
    calls = []

    def matches(self: Any, scope: Any) -> Any:
        calls.append(self)
        return born(self, scope)

    app = make_app()
    monkeypatch.setattr(cls, "matches", matches)
    assert (await call(app, path="/a/b")).text == "hello"
    assert calls


async def test_a_subclass_s_matches_decides() -> None:
    class OnTuesday(Route):
        def matches(self, scope: Any) -> Any:
            return (Match.NONE, {}) if scope["path"] == "/" else super().matches(scope)

    app = Router([OnTuesday("/", hello)])
    assert (await call(app)).status == 404


async def test_a_subclass_s_handle_is_called() -> None:
    class Shouting(Route):
        async def handle(self, scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("HELLO")(scope, receive, send)

    assert (await call(Router([Shouting("/", hello)]))).text == "HELLO"


async def test_a_subclass_s_app_method_is_called() -> None:
    class Own(Router):
        async def app(self, scope: Any, receive: Any, send: Any) -> None:
            scope["noted"] = True
            await super().app(scope, receive, send)

    exchange = await call(Spica(routes=[Mount("/a", app=Own([Route("/b", hello)]))]), path="/a/b")
    assert (exchange.text, exchange.scope["noted"]) == ("hello", True)


async def test_an_app_put_around_a_route_later_is_called() -> None:
    app = make_app()
    await call(app, path="/a/b")
    mount: Any = app.routes[0]
    route = mount.routes[0]
    calls = Calls()
    route.app = calls.around(type(route.app).__call__.__get__(route.app))
    assert (await call(app, path="/a/b")).text == "hello"
    assert calls


async def test_dispatch_replaced_on_an_endpoint_class_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Endpoint(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("got")

    calls = Calls()
    monkeypatch.setattr(HTTPEndpoint, "dispatch", calls.around(HTTPEndpoint.dispatch))
    assert (await call(Router([Route("/", Endpoint)]))).text == "got"
    assert calls == ["HTTPEndpoint.dispatch"]


async def test_a_background_task_s_call_replaced_on_the_class_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran = []

    async def task() -> None:
        ran.append("task")

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("ok", background=BackgroundTask(task))

    calls = Calls()
    monkeypatch.setattr(BackgroundTask, "__call__", calls.around(BackgroundTask.__call__))
    await call(Spica(routes=[Route("/", endpoint)]))
    assert (ran, len(calls)) == (["task"], 1)


async def test_a_response_s_call_replaced_on_the_class_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Calls()
    monkeypatch.setattr(Response, "__call__", calls.around(Response.__call__))
    assert (await call(make_app(), path="/a/b")).text == "hello"
    assert len(calls) == 1


async def test_a_begun_app_is_ended_though_its_layer_is_cancelled_while_it_reports() -> None:
    """A dropped app waits to be ended; sending fails, and the handler that hears of it never returns."""
    steps = []

    async def begun(scope: Any, receive: Any, send: Any) -> None:
        try:
            await foreign(scope, receive, send)
        finally:
            steps.append("ended")

    async def replace(request: Request, call_next: Any) -> Response:
        await call_next(request)
        return PlainTextResponse("other")

    async def hang(request: Request, exc: Exception) -> Response:
        steps.append("told")
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        raise ValueError("send is broken")

    app = Spica(
        routes=[Mount("/", begun)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=replace)],
        exception_handlers={Exception: hang},
    )
    async with anyio.create_task_group() as group:
        group.start_soon(app, http_scope(), Exchange().receive, send)
        await anyio.wait_all_tasks_blocked()
        assert steps == ["told"]
        group.cancel_scope.cancel()
    assert steps == ["told", "ended"]
