"""The exception layer: exceptions become responses by registered handlers."""

from typing import Any

import pytest
from asgi_kit import Exchange, call, websocket_scope
from stacks import ForeignPass

from spica._layers.exception_handlers import ALREADY_STARTED
from spica.applications import Spica
from spica.exceptions import HTTPException, SpicaConfigurationWarning, WebSocketException
from spica.middleware import Middleware
from spica.middleware.exceptions import ExceptionMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route, WebSocketRoute

pytestmark = pytest.mark.anyio


class Base(Exception):
    pass


class Derived(Base):
    pass


def raising(exc: Exception) -> Any:
    async def endpoint(request: Request) -> PlainTextResponse:
        raise exc

    return endpoint


def answering(text: str) -> Any:
    async def handler(request: Request, exc: Exception) -> PlainTextResponse:
        return PlainTextResponse(f"{text}: {exc}", status_code=418)

    return handler


def app_raising(exc: Exception, handlers: Any = None) -> Spica:
    return Spica(routes=[Route("/", raising(exc))], exception_handlers=handlers)


class TestHTTPException:
    async def test_status_detail_and_headers(self) -> None:
        exchange = await call(app_raising(HTTPException(403, "no", {"x-a": "1"})))
        assert (exchange.status, exchange.text, exchange.headers["x-a"]) == (403, "no", "1")

    async def test_the_phrase_is_the_default(self) -> None:
        assert (await call(app_raising(HTTPException(404)))).text == "Not Found"

    @pytest.mark.parametrize("status", [204, 304])
    async def test_a_status_without_content(self, status: int) -> None:
        exchange = await call(app_raising(HTTPException(status, "x", {"x-a": "1"})))
        assert (exchange.status, exchange.body, exchange.headers) == (status, b"", {"x-a": "1"})


class TestFinding:
    async def test_by_class(self) -> None:
        app = app_raising(Base("x"), {Base: answering("base")})
        assert (await call(app)).text == "base: x"

    async def test_by_the_nearest_class(self) -> None:
        handlers = {Base: answering("base"), Derived: answering("derived")}
        assert (await call(app_raising(Derived("x"), handlers))).text == "derived: x"
        assert (await call(app_raising(Derived("x"), {Base: answering("base")}))).text == "base: x"

    async def test_by_status_before_class(self) -> None:
        handlers = {404: answering("status"), HTTPException: answering("class")}
        assert (await call(app_raising(HTTPException(404), handlers))).text.startswith("status")
        assert (await call(app_raising(HTTPException(403), handlers))).text.startswith("class")

    async def test_by_500_for_an_http_exception_500(self) -> None:
        app = app_raising(HTTPException(500, "x"), {500: answering("handler")})
        assert (await call(app)).text == "handler: 500: x"

    async def test_of_a_plain_function_in_a_thread(self) -> None:
        import threading

        threads = []

        def handler(request: Request, exc: Exception) -> PlainTextResponse:
            threads.append(threading.current_thread())
            return PlainTextResponse("handled")

        assert (await call(app_raising(Base(), {Base: handler}))).text == "handled"
        assert threads != [threading.current_thread()]

    async def test_none_raises_on(self) -> None:
        exchange = await Exchange().run(app_raising(Base("x")))
        assert (exchange.status, repr(exchange.error)) == (500, "Base('x')")

    async def test_an_exception_of_the_handler_is_raised_on(self) -> None:
        async def handler(request: Request, exc: Exception) -> Any:
            raise KeyError("handler")

        exchange = await Exchange().run(app_raising(Base("x"), {Base: handler}))
        assert (exchange.status, repr(exchange.error)) == (500, "KeyError('handler')")
        assert exchange.error is not None
        assert isinstance(exchange.error.__context__, Base)

    async def test_a_group_of_one_is_the_one(self) -> None:
        group = ExceptionGroup("unhandled errors in a TaskGroup", [Base("x")])
        assert (await call(app_raising(group, {Base: answering("base")}))).text == "base: x"

    async def test_a_handler_added_later(self) -> None:
        app = app_raising(Base("x"))
        app.add_exception_handler(Base, answering("base"))
        assert (await call(app)).text == "base: x"

    async def test_a_handler_put_into_the_layer(self) -> None:
        layer = ExceptionMiddleware(Route("/", raising(Base("x"))).app)
        layer.add_exception_handler(Base, answering("base"))
        assert (await call(layer)).text == "base: x"


class TestOpaqueApps:
    async def test_an_exception_before_the_start_is_answered(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            raise Base("foreign")

        app = Spica(routes=[Mount("/", app=foreign)], exception_handlers={Base: answering("base")})
        assert (await call(app)).text == "base: foreign"

    async def test_one_after_the_start_cannot_be(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("ok")(scope, receive, send)
            raise Base("foreign")

        app = Spica(routes=[Mount("/", app=foreign)], exception_handlers={Base: answering("base")})
        exchange = await Exchange().run(app)
        assert exchange.text == "ok"
        message = str(exchange.error)
        assert message.startswith("Caught handled exception, but response already started. It is ")
        assert __file__ in message
        assert exchange.error is not None
        assert isinstance(exchange.error.__cause__, Base)

    async def test_one_of_a_layer_that_is_called_after_the_start_cannot_be(self) -> None:
        async def fail(scope: Any, receive: Any, send: Any) -> None:
            raise Base("inside")

        inner = ExceptionMiddleware(fail, handlers={Base: answering("base")})

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("ok")(scope, receive, send)
            await inner(scope, receive, send)

        exchange = await Exchange().run(Spica(routes=[Mount("/", app=foreign)]))
        assert exchange.text == "ok"
        assert [message["type"] for message in exchange.sent].count("http.response.start") == 1
        assert str(exchange.error).startswith(ALREADY_STARTED)

    async def test_one_without_a_handler_is_raised_as_it_is(self) -> None:
        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("ok")(scope, receive, send)
            raise Base("foreign")

        exchange = await Exchange().run(ExceptionMiddleware(foreign))
        assert repr(exchange.error) == "Base('foreign')"

    async def test_a_foreign_layer_before_the_router(self) -> None:
        layer = ExceptionMiddleware(
            ForeignPass(Route("/", raising(Base("x"))).app), handlers={Base: answering("base")}
        )
        assert (await call(layer)).text == "base: x"


class TestStreams:
    async def test_a_stream_that_fails_is_not_answered(self) -> None:
        async def chunks() -> Any:
            yield b"a"
            raise Base("stream")

        async def endpoint(request: Request) -> StreamingResponse:
            return StreamingResponse(chunks())

        app = Spica(routes=[Route("/", endpoint)], exception_handlers={Base: answering("base")})
        exchange = await Exchange().run(app)
        assert (exchange.body, exchange.is_complete) == (b"a", False)
        error = exchange.error
        assert isinstance(error, Base) or isinstance(getattr(error, "__cause__", None), Base)


class TestTraces:
    async def test_a_handled_exception_lets_its_frames_go(self) -> None:
        """They hold the request, and all that belongs to it."""
        exc = Base("x")
        await call(app_raising(exc, {Base: answering("base")}))
        assert exc.__traceback__ is None


class TestWebSockets:
    async def run(self, endpoint: Any, handlers: Any = None, **scope: Any) -> Exchange:
        app = Spica(routes=[WebSocketRoute("/", endpoint)], exception_handlers=handlers)
        messages = [{"type": "websocket.connect"}]
        return await Exchange(websocket_scope(**scope), messages).run(app)

    async def test_a_websocket_exception_closes(self) -> None:
        async def endpoint(websocket: Any) -> None:
            await websocket.accept()
            raise WebSocketException(1008, "no")

        exchange = await self.run(endpoint)
        assert exchange.sent[-1] == {"type": "websocket.close", "code": 1008, "reason": "no"}

    async def test_an_http_exception_denies_the_handshake(self) -> None:
        async def endpoint(websocket: Any) -> None:
            raise HTTPException(403, "no")

        exchange = await self.run(endpoint, extensions={"websocket.http.response": {}})
        assert exchange.sent[0]["status"] == 403

    async def test_a_reason_that_is_too_long_keeps_the_code(self) -> None:
        """RFC 6455 s.5.5."""

        async def endpoint(websocket: Any) -> None:
            await websocket.accept()
            with pytest.warns(SpicaConfigurationWarning, match="123 bytes of UTF-8"):
                exc = WebSocketException(1008, "x" * 124)
            raise exc

        exchange = await self.run(endpoint)
        assert exchange.error is None
        assert exchange.sent[-1]["code"] == 1008
        assert exchange.sent[-1]["reason"] == "x" * 120 + "..."

    async def test_a_handler_closes_itself(self) -> None:
        async def endpoint(websocket: Any) -> None:
            await websocket.accept()
            raise Base

        async def handler(websocket: Any, exc: Exception) -> None:
            await websocket.close(3000)

        exchange = await self.run(endpoint, {Base: handler})
        assert exchange.sent[-1]["code"] == 3000
        assert exchange.error is None

    async def test_a_handler_can_send_after_the_handshake(self) -> None:
        async def endpoint(websocket: Any) -> None:
            await websocket.accept()
            raise Base

        async def handler(websocket: Any, exc: Exception) -> None:
            await websocket.send_text("sorry")
            await websocket.close(1011)

        exchange = await self.run(endpoint, {Base: handler})
        assert exchange.error is None
        assert exchange.sent[1:] == [
            {"type": "websocket.send", "text": "sorry"},
            {"type": "websocket.close", "code": 1011, "reason": ""},
        ]

    @pytest.mark.parametrize(
        ("status", "code"),
        [(400, 1008), (404, 1008), (413, 1009), (429, 1013), (503, 1013), (500, 1011)],
    )
    async def test_an_http_exception_closes_an_open_websocket(self, status: int, code: int) -> None:
        async def endpoint(websocket: Any) -> None:
            await websocket.accept()
            raise HTTPException(status, "é" * 62)

        exchange = await self.run(endpoint)
        assert exchange.error is None
        close = {"type": "websocket.close", "code": code, "reason": "é" * 60 + "..."}
        assert exchange.sent[1:] == [close]

    async def test_a_response_for_an_open_websocket_is_an_error(self) -> None:
        async def endpoint(websocket: Any) -> None:
            await websocket.accept()
            raise Base("socket")

        exchange = await self.run(endpoint, {Base: answering("sorry")})
        assert str(exchange.error).startswith(ALREADY_STARTED)

    @pytest.mark.parametrize("is_accepted", [True, False], ids=["closed", "refused"])
    @pytest.mark.parametrize(
        "exc",
        [HTTPException(404), WebSocketException(1008), Base("closed"), Derived("answered")],
        ids=lambda exc: type(exc).__name__,
    )
    async def test_a_handler_that_finds_the_websocket_closed_does_not_hide_the_exception(
        self, exc: Exception, is_accepted: bool
    ) -> None:
        async def endpoint(websocket: Any) -> None:
            if is_accepted:
                await websocket.accept()
            await websocket.close(3000)
            raise exc

        calls = []

        async def handler(websocket: Any, exc: Exception) -> None:
            calls.append(exc)
            await websocket.close(1011)

        exchange = await self.run(endpoint, {Base: handler, Derived: answering("too late")})
        assert exchange.error is exc
        assert exchange.types.count("websocket.close") == 1
        assert any("The WebSocket was already closed" in note for note in exc.__notes__)
        assert len(calls) == (type(exc) is Base)

    async def test_a_handler_that_closes_nothing_handles_after_the_close(self) -> None:
        async def endpoint(websocket: Any) -> None:
            await websocket.close()
            raise Base

        async def handler(websocket: Any, exc: Exception) -> None:
            """Only count the exception."""

        assert (await self.run(endpoint, {Base: handler})).error is None

    async def test_a_denial_that_fails_halfway_raises_its_exception(self) -> None:
        async def chunks() -> Any:
            yield "a"
            raise WebSocketException(1011, "first")

        async def endpoint(websocket: Any) -> None:
            await websocket.send_denial_response(StreamingResponse(chunks(), 403))

        exchange = await self.run(endpoint, extensions={"websocket.http.response": {}})
        assert repr(exchange.error) == "WebSocketException(code=1011, reason='first')"

    async def test_a_middleware_may_raise_after_the_endpoint_has_closed(self) -> None:
        exc = WebSocketException(1008, "late")

        class Late:
            def __init__(self, app: Any) -> None:
                self.app = app

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                await self.app(scope, receive, send)
                raise exc

        async def endpoint(websocket: Any) -> None:
            await websocket.accept()
            await websocket.close()

        routes = [WebSocketRoute("/", endpoint, middleware=[Middleware(Late)])]
        messages = [{"type": "websocket.connect"}]
        exchange = await Exchange(websocket_scope(), messages).run(Spica(routes=routes))
        assert exchange.error is exc
        assert exchange.types == ["websocket.accept", "websocket.close"]

    async def test_what_nobody_handles_is_raised(self) -> None:
        async def endpoint(websocket: Any) -> None:
            raise Base("socket")

        assert repr((await self.run(endpoint)).error) == "Base('socket')"


class TestRegistering:
    @pytest.mark.parametrize("key", ["404", None, int, BaseException, KeyboardInterrupt])
    def test_what_is_no_key(self, key: Any) -> None:
        with pytest.raises(TypeError, match="for a status code or an Exception class, not for"):
            ExceptionMiddleware(ForeignPass(None), handlers={key: answering("x")})

    def test_what_is_no_handler(self) -> None:
        with pytest.raises(TypeError, match="The exception handler for 404 must be a function"):
            ExceptionMiddleware(ForeignPass(None), handlers={404: "x"})  # type: ignore[dict-item]
