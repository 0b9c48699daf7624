"""Endpoints, handlers and dispatch functions that send their response themselves."""

import functools
from typing import Any

import anyio
import pytest
from asgi_kit import Exchange, http_scope

from spica._layers.handsent import (
    BY_ENDPOINT,
    is_known_sender,
    remember_sender,
    sends_by_hand,
)
from spica.applications import Spica
from spica.background import BackgroundTask
from spica.endpoints import HTTPEndpoint
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, Response
from spica.routing import Mount, Route

pytestmark = pytest.mark.anyio

PRIVATE_SEND = "_send"  # a name that no code object has: the search does not find it


async def send_response(send: Any, *, is_complete: bool = True) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-sent", b"hand")]})
    await send({"type": "http.response.body", "body": b"by hand", "more_body": not is_complete})


# -- what the search finds -----------------------------------------------------------------------------


async def direct(request):
    await send_response(request._send)


async def by_helper(request):
    await direct(request)


async def by_getattr(request):
    await send_response(getattr(request, "_send"))  # noqa: B009  # as people write it


async def by_nested_function(request):
    async def send():
        await send_response(request._send)

    await send()


def decorate(function):
    @functools.wraps(function)
    async def wrapper(request):
        return await function(request)

    return wrapper


class Streams:
    async def serve(self, request):
        await self.send_all(request)

    async def send_all(self, request):
        await send_response(request._send)

    async def __call__(self, request):
        await self.send_all(request)


async def by_default(request, serve=direct):
    await serve(request)


FOUND = {
    "by its own code": direct,
    "by a helper of its module": by_helper,
    "by getattr": by_getattr,
    "by a nested function": by_nested_function,
    "behind a decorator": decorate(direct),
    "in a partial": functools.partial(direct),
    "by another method of its object": Streams().serve,
    "by a callable object": Streams(),
    "by a default": by_default,
    "by a lambda": lambda request: request._send,
}


@pytest.mark.parametrize("function", FOUND.values(), ids=FOUND.keys())
def test_a_function_that_sends_is_found(function):
    assert sends_by_hand(function)


async def plain(request):
    return PlainTextResponse(str(len(request.headers)))


class Sender(HTTPEndpoint):
    async def get(self, request):
        await send_response(self.send)


class Plain(HTTPEndpoint):
    async def get(self, request):
        return PlainTextResponse("plain")


def test_a_function_that_returns_its_response_is_not_found():
    assert not sends_by_hand(plain)
    assert not sends_by_hand(Plain, BY_ENDPOINT)


def test_a_class_endpoint_that_uses_its_send_is_found():
    assert sends_by_hand(Sender, BY_ENDPOINT)


def test_functions_that_call_each_other_are_read_once():
    async def first(request):
        await second(request)

    async def second(request):
        await first(request)

    assert not sends_by_hand(first)


def test_a_sender_that_was_met_is_remembered_by_its_function():
    class Owner:
        async def serve(self, request):
            return None

    assert not is_known_sender(Owner().serve)
    remember_sender(Owner().serve)
    assert is_known_sender(Owner().serve)
    remember_sender([])  # it has no hash, and can't be remembered as itself
    assert sends_by_hand(Owner().serve)


# -- what the layers see -------------------------------------------------------------------------------


class Look(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-status"] = str(response.status_code)
        return response


class Problem(Exception):
    pass


async def raise_problem(request):
    raise Problem


async def handle_by_hand(request, exc):
    await send_response(request._send)


AROUND = [Middleware(CORSMiddleware, allow_origins=["https://a.example"]), Middleware(Look)]


async def get(app: Any, path: str = "/") -> Exchange:
    scope = http_scope(path=path, headers=[(b"origin", b"https://a.example")])
    return await Exchange(scope).run(app)


def make_app(endpoint: Any, middleware: Any = AROUND) -> Spica:
    routes = [Mount("/sub", routes=[Route("/", endpoint)]), Route("/", endpoint)]
    return Spica(routes=routes, middleware=middleware, exception_handlers={Problem: handle_by_hand})


SENDERS = {
    "a function": direct,
    "a class endpoint": Sender,
    "an exception handler": raise_problem,
    "a method": Streams().serve,
}


@pytest.mark.parametrize("path", ["/", "/sub/"])
@pytest.mark.parametrize("endpoint", SENDERS.values(), ids=SENDERS.keys())
async def test_every_layer_sees_a_response_by_hand(endpoint, path):
    exchange = await get(make_app(endpoint), path)
    assert exchange.error is None
    assert exchange.body == b"by hand"
    assert exchange.headers["x-sent"] == "hand"
    assert exchange.headers["x-status"] == "200"
    assert exchange.headers["access-control-allow-origin"] == "https://a.example"


async def test_the_layers_outside_see_what_a_dispatch_function_sends():
    class Answering(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            await send_response(request._send)
            return Response("second")

    exchange = await get(make_app(plain, [*AROUND, Middleware(Answering)]))
    assert exchange.error is None
    assert exchange.body == b"by hand"
    assert exchange.headers["access-control-allow-origin"] == "https://a.example"
    assert exchange.headers["x-status"] == "200"


async def test_a_session_that_was_set_before_is_written():
    async def endpoint(request):
        request.session["a"] = 1
        await send_response(request._send)

    exchange = await get(make_app(endpoint, [Middleware(SessionMiddleware, secret_key="s" * 32)]))
    assert exchange.headers["set-cookie"].startswith("session=")


def surprise(end: Any = None, *, is_complete: bool = True) -> Any:
    """Return an endpoint that sends by hand, and that the search does not find."""

    async def endpoint(request):
        await send_response(getattr(request, PRIVATE_SEND), is_complete=is_complete)
        return end() if end is not None else None

    assert not sends_by_hand(endpoint)
    return endpoint


async def test_an_endpoint_that_was_not_found_gets_the_edits_at_least():
    cors = [Middleware(CORSMiddleware, allow_origins=["https://a.example"])]
    exchange = await get(make_app(surprise(), cors))
    assert exchange.error is None
    assert exchange.headers["access-control-allow-origin"] == "https://a.example"
    assert exchange.headers["x-sent"] == "hand"


@pytest.mark.parametrize("path", ["/", "/sub/"])
async def test_from_its_second_request_on_every_layer_sees_its_response(path):
    app = make_app(surprise())
    first = await get(app, path)
    assert (first.error, first.body) == (None, b"by hand")
    assert "x-status" not in first.headers
    second = await get(app, path)
    assert (second.error, second.headers["x-status"]) == (None, "200")


async def test_a_route_with_middleware_remembers_too():
    app = Spica(routes=[Route("/", surprise(), middleware=[Middleware(Look)])])
    assert "x-status" not in (await get(app)).headers
    assert (await get(app)).headers["x-status"] == "200"


# -- never a second start ------------------------------------------------------------------------------


def fail(exc: Exception) -> Any:
    def end():
        raise exc

    return end


@pytest.mark.parametrize("middleware", [[], AROUND], ids=["bare", "with layers"])
@pytest.mark.parametrize("is_complete", [True, False], ids=["complete", "truncated"])
class TestNoSecondStart:
    async def test_after_it_an_endpoint_may_return_nothing(self, middleware, is_complete):
        exchange = await get(make_app(surprise(is_complete=is_complete), middleware))
        assert exchange.error is None
        assert exchange.is_complete is is_complete

    async def test_the_task_of_a_returned_response_runs(self, middleware, is_complete):
        ran = []
        task = BackgroundTask(ran.append, 1)
        endpoint = surprise(lambda: Response("second", background=task), is_complete=is_complete)
        app = make_app(endpoint, middleware)
        for count in (1, 2):
            exchange = await get(app)
            assert (exchange.error, exchange.body) == (None, b"by hand")
            assert len(ran) == count

    async def test_an_error_is_raised_once_and_as_it_is(self, middleware, is_complete):
        error = ValueError("after the response")
        app = make_app(surprise(fail(error), is_complete=is_complete), middleware)
        for _ in range(2):
            assert (await get(app)).error is error

    async def test_an_error_with_a_handler_comes_too_late_for_it(self, middleware, is_complete):
        error = HTTPException(400)
        app = make_app(surprise(fail(error), is_complete=is_complete), middleware)
        for _ in range(2):
            exchange = await get(app)
            assert isinstance(exchange.error, RuntimeError)
            assert "already started" in str(exchange.error)
            assert exchange.error.__cause__ is error


async def test_sending_in_a_child_task_is_like_sending():
    async def endpoint(request):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_response, request._send)
        return Response()

    exchange = await get(make_app(endpoint))
    assert (exchange.error, exchange.headers["x-status"]) == (None, "200")


async def test_an_app_that_starts_another_response_is_refused():
    async def app(scope, receive, send):
        await send_response(send)

    exchange = await get(make_app(surprise(lambda: app), []))
    assert "starts another one" in str(exchange.error)


@pytest.mark.parametrize("middleware", [[], AROUND], ids=["bare", "with layers"])
async def test_a_foreign_app_may_send_the_response_that_its_endpoint_returned(middleware):
    """FastAPI awaits the returned response itself."""
    ran = []

    class Foreign:
        async def __call__(self, scope, receive, send):
            await send_response(Request(scope, receive, send)._send)
            response = Response("second", background=BackgroundTask(ran.append, 1))
            await response(scope, receive, send)

    exchange = await get(make_app(Foreign(), middleware))
    assert (exchange.error, exchange.body, ran) == (None, b"by hand", [1])


async def test_two_starts_by_hand_are_a_mistake():
    async def endpoint(request):
        await send_response(request._send)
        await send_response(request._send)

    exchange = await get(make_app(endpoint, []))
    assert "already started" in str(exchange.error)
    assert exchange.body == b"by hand"
