"""The server-error layer: what nobody handled is answered, and reported."""

from typing import Any

import anyio
import pytest
from asgi_kit import DISCONNECT, Exchange, call, http_scope
from stacks import ForeignPass

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.errors import ServerErrorMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse
from spica.routing import Mount, Route

pytestmark = pytest.mark.anyio


async def fail(request: Request) -> PlainTextResponse:
    raise ValueError("a secret is in the endpoint")


async def handler(request: Request, exc: Exception) -> PlainTextResponse:
    return PlainTextResponse(f"handled {type(exc).__name__}", status_code=500)


def failing(**options: Any) -> Spica:
    return Spica(routes=[Route("/", fail)], **options)


class TestAnswer:
    async def test_a_500_without_details(self) -> None:
        exchange = await Exchange().run(failing())
        assert (exchange.status, exchange.text) == (500, "Internal Server Error")

    async def test_the_exception_is_raised_once_the_response_is_sent(self) -> None:
        exchange = await Exchange().run(failing())
        assert exchange.is_complete
        assert repr(exchange.error) == "ValueError('a secret is in the endpoint')"

    @pytest.mark.parametrize("key", [500, Exception])
    async def test_a_handler(self, key: Any) -> None:
        exchange = await Exchange().run(failing(exception_handlers={key: handler}))
        assert (exchange.status, exchange.text) == (500, "handled ValueError")
        assert isinstance(exchange.error, ValueError)

    async def test_a_plain_handler(self) -> None:
        def plain(request: Request, exc: Exception) -> PlainTextResponse:
            return PlainTextResponse("plain", status_code=500)

        exchange = await Exchange().run(failing(exception_handlers={500: plain}))
        assert exchange.text == "plain"

    async def test_a_handler_that_fails_too(self) -> None:
        async def broken(request: Request, exc: Exception) -> Any:
            raise KeyError("handler")

        exchange = await Exchange().run(failing(exception_handlers={500: broken}))
        assert (exchange.status, exchange.text) == (500, "Internal Server Error")
        assert isinstance(exchange.error, ExceptionGroup)
        kinds = [type(error) for error in exchange.error.exceptions]
        assert kinds == [ValueError, KeyError]

    async def test_a_handler_without_an_answer(self) -> None:
        async def forgetful(request: Request, exc: Exception) -> Any:
            return None

        exchange = await Exchange().run(failing(exception_handlers={500: forgetful}))
        assert exchange.status == 500
        assert isinstance(exchange.error, ExceptionGroup)
        assert "returned None" in str(exchange.error.exceptions[1])

    async def test_an_http_exception_from_outside_the_exception_layer(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            raise HTTPException(503, "later", {"retry-after": "9"})

        exchange = await call(ServerErrorMiddleware(foreign))
        assert (exchange.status, exchange.text) == (503, "later")
        assert exchange.headers["retry-after"] == "9"

    @pytest.mark.parametrize("key", [418, HTTPException])
    async def test_its_handler_is_found_before_the_exception_layer_is_reached(
        self, key: Any
    ) -> None:
        async def refuse(request: Request, call_next: Any) -> PlainTextResponse:
            raise HTTPException(418)

        async def teapot(request: Request, exc: HTTPException) -> PlainTextResponse:
            return PlainTextResponse("short and stout", status_code=exc.status_code)

        middleware = [
            Middleware(BaseHTTPMiddleware, dispatch=refuse),
            Middleware(ForeignPass),
        ]
        app = failing(middleware=middleware, exception_handlers={key: teapot})
        exchange = await Exchange().run(app)
        assert (exchange.status, exchange.text, exchange.error) == (418, "short and stout", None)

    async def test_a_background_task_s_error_is_raised_and_the_answer_stays(self) -> None:
        async def task() -> None:
            raise ValueError("task")

        async def endpoint(request: Request) -> PlainTextResponse:
            return PlainTextResponse("ok", background=BackgroundTask(task))

        exchange = await Exchange().run(Spica(routes=[Route("/", endpoint)]))
        assert (exchange.text, repr(exchange.error)) == ("ok", "ValueError('task')")

    async def test_exit_requests_pass(self) -> None:
        async def leave(request: Request) -> PlainTextResponse:
            raise Leave

        class Leave(BaseException):
            pass

        exchange = Exchange()
        with pytest.raises(BaseException) as info:
            await exchange.run(Spica(routes=[Route("/", leave)]))
        assert isinstance(info.value, Leave)
        assert exchange.sent == []

    async def test_a_client_that_left_is_no_error(self) -> None:
        async def read(request: Request) -> PlainTextResponse:
            return PlainTextResponse(await request.body())

        app = Spica(routes=[Route("/", read, methods=["POST"])])
        exchange = await Exchange(http_scope("POST"), [DISCONNECT]).run(app)
        assert exchange.error is None


async def failing_handler(request: Request, exc: Exception) -> PlainTextResponse:
    raise RuntimeError("in the handler")


async def by_hand(request: Request, exc: Exception) -> None:
    await request._send({"type": "http.response.start", "status": 500, "headers": []})
    await request._send({"type": "http.response.body", "body": b"by hand"})


class TestClosing:
    """After the error is raised the server closes the connection, so the response announces that."""

    APPS = {
        "built in": lambda: failing(),
        "debug": lambda: failing(debug=True),
        "handler": lambda: failing(exception_handlers={500: handler}),
        "failing handler of 500": lambda: failing(exception_handlers={500: failing_handler}),
        "failing handler": lambda: failing(exception_handlers={ValueError: failing_handler}),
        "behind a foreign layer": lambda: failing(middleware=[Middleware(ForeignPass)]),
        "mounted": lambda: Spica(routes=[Mount("/", failing())]),
        "with dispatch": lambda: failing(
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=_pass_on)]
        ),
    }

    @pytest.mark.parametrize("make", APPS.values(), ids=APPS.keys())
    @pytest.mark.parametrize(
        ("version", "expected"), [("1.1", "close"), ("1.0", "close"), ("2", None), ("3", None)]
    )
    async def test_it_is_announced(self, make: Any, version: str, expected: str | None) -> None:
        # RFC 9112 s.9.6; RFC 9113 s.8.2.2 forbids it.
        exchange = await Exchange(http_scope(http_version=version)).run(make())
        assert exchange.status == 500
        assert exchange.error is not None
        assert exchange.headers.get("connection") == expected

    async def test_an_error_that_is_answered_keeps_the_connection(self) -> None:
        exchange = await Exchange().run(failing(exception_handlers={ValueError: handler}))
        assert (exchange.status, exchange.error) == (500, None)
        assert "connection" not in exchange.headers

    async def test_a_handler_may_send_by_hand(self) -> None:
        exchange = await Exchange().run(failing(exception_handlers={500: by_hand}))
        assert (exchange.text, exchange.headers["connection"]) == ("by hand", "close")
        assert isinstance(exchange.error, ValueError)


async def _pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


class TestOpaqueApps:
    async def test_an_error_before_the_start_is_answered(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            raise ValueError("foreign")

        exchange = await Exchange().run(Spica(routes=[Mount("/", app=foreign)]))
        assert (exchange.status, repr(exchange.error)) == (500, "ValueError('foreign')")

    async def test_an_error_after_the_start_leaves_the_answer(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            raise ValueError("foreign")

        exchange = await Exchange().run(Spica(routes=[Mount("/", app=foreign)]))
        assert (exchange.types, exchange.status) == (["http.response.start"], 200)
        assert repr(exchange.error) == "ValueError('foreign')"

    async def test_the_handler_hears_of_an_error_that_came_too_late(self) -> None:
        heard = []

        async def hear(request: Request, exc: Exception) -> PlainTextResponse:
            heard.append(repr(exc))
            return PlainTextResponse("too late")

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("ok")(scope, receive, send)
            raise ValueError("foreign")

        app = Spica(routes=[Mount("/", app=foreign)], exception_handlers={500: hear})
        exchange = await Exchange().run(app)
        assert (exchange.text, heard) == ("ok", ["ValueError('foreign')"])


class TestDebug:
    async def answer(self, accept: str) -> Exchange:
        scope = http_scope(headers=[("accept", accept)])
        return await Exchange(scope).run(failing(debug=True))

    async def test_a_page_for_browsers(self) -> None:
        exchange = await self.answer("text/html, */*")
        assert exchange.status == 500
        assert exchange.headers["content-type"] == "text/html; charset=utf-8"
        assert "a secret is in the endpoint" in exchange.text

    async def test_a_text_for_others(self) -> None:
        exchange = await self.answer("*/*")
        assert exchange.headers["content-type"] == "text/plain; charset=utf-8"
        assert exchange.text.startswith("Traceback (most recent call last)")
        assert "ValueError: a secret is in the endpoint" in exchange.text

    async def test_it_wins_over_a_handler(self) -> None:
        app = failing(debug=True, exception_handlers={500: handler})
        assert "Traceback" in (await Exchange().run(app)).text

    async def test_methods_of_a_subclass_are_called(self) -> None:
        class Own(ServerErrorMiddleware):
            def debug_response(self, request: Request, exc: Exception) -> PlainTextResponse:
                return PlainTextResponse("own debug", status_code=500)

            def error_response(self, request: Request, exc: Exception) -> PlainTextResponse:
                return PlainTextResponse("own error", status_code=500)

        app = ForeignPass(Route("/", fail).app)
        assert (await Exchange().run(Own(app, debug=True))).text == "own debug"
        assert (await Exchange().run(Own(app))).text == "own error"


def test_what_is_no_handler() -> None:
    with pytest.raises(TypeError, match="ServerErrorMiddleware: handler must be a function"):
        ServerErrorMiddleware(ForeignPass(None), handler="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_other_scopes_pass(kind: str) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await ServerErrorMiddleware(app)({"type": kind}, None, None)  # type: ignore[arg-type]
    assert seen == [kind]


class TestOpaqueInside:
    """The app inside is a pure ASGI middleware, so no layer sees a response by value."""

    @staticmethod
    def app(**options: Any) -> Spica:
        routes = [Route("/", fail), Route("/ok", lambda request: PlainTextResponse("ok"))]
        return Spica(routes=routes, middleware=[Middleware(ForeignPass)], **options)

    async def test_each_request_gets_its_own_answer(self) -> None:
        app = self.app()
        found = []
        for path in ("/ok", "/", "/ok"):
            exchange = await Exchange(http_scope(path=path)).run(app)
            found.append((exchange.status, exchange.text, type(exchange.error)))
        error = (500, "Internal Server Error", ValueError)
        assert found == [(200, "ok", type(None)), error, (200, "ok", type(None))]

    async def test_the_app_may_be_replaced_after_a_request(self) -> None:
        app = self.app()
        await Exchange(http_scope(path="/ok")).run(app)
        layer: Any = app.middleware_stack
        inner = layer.app
        layer.app = PlainTextResponse("by value", status_code=201)
        assert (await Exchange().run(app)).status == 201
        layer.app = inner.app  # the exception layer, by value
        assert (await Exchange(http_scope(path="/ok")).run(app)).text == "ok"
        layer.app = ForeignPass(PlainTextResponse("opaque", status_code=202))
        assert (await Exchange().run(app)).status == 202

    async def test_the_wait_for_a_disconnect_ends_with_the_request(self) -> None:
        async def poll(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str(await request.is_disconnected()))

        app = Spica(routes=[Route("/", poll)], middleware=[Middleware(ForeignPass)])
        before = len(anyio.get_running_tasks())
        exchange = await Exchange().run(app)
        assert (exchange.text, len(anyio.get_running_tasks())) == ("False", before)

    async def test_a_layer_around_the_application_can_read_the_body_afterwards(self) -> None:
        async def echo(request: Request) -> PlainTextResponse:
            return PlainTextResponse(await request.body())

        route = Route("/", echo, methods=["POST"])
        inner = Spica(routes=[route], middleware=[Middleware(ForeignPass)])
        bodies = []

        async def outer(scope: Any, receive: Any, send: Any) -> None:
            request = Request(scope, receive)
            await inner(scope, request.receive, send)
            bodies.append(await request.body())

        exchange = await call(outer, "POST", body=b"text")
        assert (exchange.text, bodies) == ("text", [b"text"])
