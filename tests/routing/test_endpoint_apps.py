"""Functions as ASGI apps."""

from typing import Any

import anyio
import pytest
from asgi_kit import Exchange, call, websocket_scope

from spica.applications import Spica
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses import PlainTextResponse
from spica.routing import WebSocketRoute, request_response, websocket_session
from spica.websockets import WebSocketDisconnect

pytestmark = pytest.mark.anyio


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"hello {request.method}")


def hello_in_thread(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"hello {request.method}")


class Hello:
    async def __call__(self, request: Request) -> PlainTextResponse:
        return await hello(request)


@pytest.mark.parametrize("function", [hello, hello_in_thread, Hello()])
async def test_a_function_answers(function: Any) -> None:
    assert (await call(request_response(function), "PUT")).text == "hello PUT"


@pytest.mark.parametrize("scope", [{}, {"starlette.exception_handlers": ({}, {})}])
async def test_an_exception_that_nobody_handles_is_raised(scope: Any) -> None:
    async def fail(request: Request) -> PlainTextResponse:
        raise HTTPException(403)

    with pytest.raises(HTTPException):
        await call(request_response(fail), **scope)


async def test_a_handler_in_the_scope_answers() -> None:
    async def fail(request: Request) -> PlainTextResponse:
        raise ValueError("x")

    async def handler(request: Request, exc: Exception) -> PlainTextResponse:
        return PlainTextResponse(f"handled {exc}")

    handlers: Any = ({ValueError: handler}, {})
    exchange = await call(request_response(fail), **{"starlette.exception_handlers": handlers})
    assert exchange.text == "handled x"


async def test_a_websocket_function() -> None:
    async def endpoint(websocket: Any) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    messages = [{"type": "websocket.connect"}]
    exchange = await Exchange(websocket_scope(), messages).run(websocket_session(endpoint))
    assert exchange.types == ["websocket.accept", "websocket.send", "websocket.close"]


async def test_a_websocket_function_without_async_is_named() -> None:
    def function(websocket: Any) -> None: ...

    with pytest.raises(TypeError) as caught:
        await websocket_session(function)(websocket_scope(), None, None)  # type: ignore[arg-type]
    [note] = caught.value.__notes__
    assert "function (" in note
    assert note.endswith(") must be an `async def` function.")


async def test_a_handshake_without_an_answer_is_refused(caplog: Any) -> None:
    """ASGI "Close": the server answers 403."""

    async def forgetful(websocket: Any) -> None: ...

    exchange = await Exchange(websocket_scope()).run(websocket_session(forgetful))
    assert exchange.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]
    assert exchange.error is None
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("spica.websockets", "WARNING")
    assert "forgetful (" in record.getMessage()
    assert "test_endpoint_apps.py:" in record.getMessage()
    assert "Await websocket.accept() first" in record.getMessage()


async def leave_at_once(websocket: Any) -> None:
    await websocket.receive()


async def answer_by_hand(websocket: Any) -> None:
    await websocket._send({"type": "websocket.close"})


@pytest.mark.parametrize("endpoint", [leave_at_once, answer_by_hand])
async def test_a_handshake_that_is_over_needs_no_answer(endpoint: Any, caplog: Any) -> None:
    messages = [{"type": "websocket.disconnect", "code": 1006}]
    app = Spica(routes=[WebSocketRoute("/", endpoint)])
    exchange = await Exchange(websocket_scope(), messages).run(app)
    assert exchange.types == (["websocket.close"] if endpoint is answer_by_hand else [])
    assert not caplog.records


async def test_a_websocket_exception_nobody_handles_is_raised() -> None:
    async def endpoint(websocket: Any) -> None:
        raise ValueError("x")

    exchange = await Exchange(websocket_scope()).run(websocket_session(endpoint))
    assert repr(exchange.error) == "ValueError('x')"


async def test_a_peer_that_leaves_is_no_error() -> None:
    async def endpoint(websocket: Any) -> None:
        await websocket.accept()
        while True:
            await websocket.receive_text()

    messages = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.disconnect", "code": 1001},
    ]
    exchange = await Exchange(websocket_scope(), messages).run(websocket_session(endpoint))
    assert (exchange.types, exchange.error) == (["websocket.accept"], None)


async def test_a_peer_that_leaves_the_tasks_of_a_group_is_no_error() -> None:
    async def endpoint(websocket: Any) -> None:
        await websocket.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(websocket.receive_text)

    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
    exchange = await Exchange(websocket_scope(), messages).run(websocket_session(endpoint))
    assert exchange.error is None


async def test_another_error_in_such_a_group_is_raised() -> None:
    async def endpoint(websocket: Any) -> None:
        await websocket.accept()
        await websocket.receive()
        raise ExceptionGroup("two", [WebSocketDisconnect(1001), ValueError("x")])

    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
    exchange = await Exchange(websocket_scope(), messages).run(websocket_session(endpoint))
    assert isinstance(exchange.error, ExceptionGroup)


async def test_the_disconnect_of_another_connection_is_an_error() -> None:
    async def endpoint(websocket: Any) -> None:
        await websocket.accept()
        raise WebSocketDisconnect(1001)

    messages = [{"type": "websocket.connect"}]
    exchange = await Exchange(websocket_scope(), messages).run(websocket_session(endpoint))
    assert isinstance(exchange.error, WebSocketDisconnect)
