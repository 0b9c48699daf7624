"""``wrap_app_handling_exceptions`` as FastAPI uses it, below an application."""

import pytest
from asgi_kit import Exchange, call, websocket_scope

from spica.applications import Spica
from spica.compat._exception_handler import wrap_app_handling_exceptions
from spica.exceptions import HTTPException, WebSocketException
from spica.requests import HTTPConnection, Request
from spica.responses import PlainTextResponse
from spica.routing import Mount
from spica.websockets import WebSocket

pytestmark = pytest.mark.anyio


class Oh(Exception):
    pass


def serve_http(error, *, when_started=False):
    async def app(scope, receive, send):
        async def inner(scope, receive, send):
            if when_started:
                await PlainTextResponse("begun")(scope, receive, send)
            raise error

        request = Request(scope, receive, send)
        await wrap_app_handling_exceptions(inner, request)(scope, receive, send)

    return app


def application(app, **handlers):
    return Spica(routes=[Mount("", app=app)], **handlers)


async def tell(request, exc):
    return PlainTextResponse(type(exc).__name__, status_code=409)


async def test_a_handler_answers():
    app = application(serve_http(Oh()), exception_handlers={Oh: tell})
    exchange = await call(app, "GET", "/")
    assert (exchange.status, exchange.text) == (409, "Oh")


async def test_an_http_exception_is_answered():
    assert (await call(application(serve_http(HTTPException(418))), "GET", "/")).status == 418


async def test_what_has_no_handler_is_raised():
    with pytest.raises(Oh):
        await call(application(serve_http(Oh())), "GET", "/")
    with pytest.raises(Oh):
        await call(serve_http(Oh()), "GET", "/")


async def test_nothing_is_answered_twice():
    app = application(serve_http(Oh(), when_started=True), exception_handlers={Oh: tell})
    with pytest.raises(RuntimeError, match="response already started"):
        await call(app, "GET", "/")


def serve_socket(error, *, accept, connection):
    async def app(scope, receive, send):
        websocket = connection(scope, receive, send)

        async def inner(scope, receive, send):
            if accept:
                own = WebSocket(scope, receive, send)
                await (websocket if isinstance(websocket, WebSocket) else own).accept()
            raise error

        await wrap_app_handling_exceptions(inner, websocket)(scope, receive, send)

    return app


def plain_connection(scope, receive, send):
    return HTTPConnection(scope)


@pytest.mark.parametrize("connection", [WebSocket, plain_connection], ids=["socket", "plain"])
@pytest.mark.parametrize("accept", [True, False], ids=["accepted", "refused"])
async def test_a_websocket_is_closed_with_the_code(accept, connection):
    error = WebSocketException(4000, "no")
    app = application(serve_socket(error, accept=accept, connection=connection))
    exchange = Exchange(websocket_scope(), [{"type": "websocket.connect"}])
    await exchange.run(app)
    assert exchange.error is None
    assert exchange.sent[-1] == {"type": "websocket.close", "code": 4000, "reason": "no"}


async def test_an_unknown_error_of_a_websocket_is_raised():
    app = application(serve_socket(Oh(), accept=True, connection=WebSocket))
    exchange = Exchange(websocket_scope(), [{"type": "websocket.connect"}])
    await exchange.run(app)
    assert isinstance(exchange.error, Oh)
