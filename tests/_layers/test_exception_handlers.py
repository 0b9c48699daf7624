"""Finding handlers. How they answer: tests/middleware/test_exceptions.py."""

import asyncio
from typing import Any

import anyio
import pytest
from asgi_kit import Exchange

from spica._layers.exception_handlers import ALREADY_STARTED, find_handled, find_handler
from spica.applications import Spica
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route


class Base(Exception):
    pass


class Derived(Base):
    pass


def by_class(request: Any, exc: Exception) -> None: ...


def by_status(request: Any, exc: Exception) -> None: ...


HANDLERS: Any = ({Base: by_class, HTTPException: by_class}, {404: by_status})


@pytest.mark.parametrize(
    ("exc", "handler"),
    [
        (Base(), by_class),
        (Derived(), by_class),
        (HTTPException(404), by_status),
        (HTTPException(403), by_class),
        (ValueError(), None),
    ],
)
def test_handlers_are_found(exc: Exception, handler: Any) -> None:
    assert find_handler(exc, HANDLERS) is handler
    assert find_handler(exc, None) is None


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_group_of_one_is_the_one(depth: int) -> None:
    inner = Base()
    exc: Exception = inner
    for _ in range(depth):
        exc = ExceptionGroup("unhandled errors in a TaskGroup", [exc])
    assert find_handled(exc, HANDLERS) == (by_class, inner)


@pytest.mark.anyio
async def test_the_group_of_a_task_group_is_recognized() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with anyio.create_task_group():
            raise Base
    assert find_handled(caught.value, HANDLERS) == (by_class, caught.value.exceptions[0])


def test_the_group_of_asyncio_is_recognized() -> None:
    async def fail() -> None:
        async with asyncio.TaskGroup():
            raise Base

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(fail())
    assert find_handled(caught.value, HANDLERS) == (by_class, caught.value.exceptions[0])


def test_a_group_that_the_application_has_made_is_a_group() -> None:
    group = ExceptionGroup("several imports failed", [Base()])
    assert find_handled(group, HANDLERS) == (None, group)


def test_a_group_of_several_is_nobody_s() -> None:
    group = ExceptionGroup("unhandled errors in a TaskGroup", [Base(), Base()])
    assert find_handled(group, HANDLERS) == (None, group)


def test_a_handler_for_groups_gets_the_group() -> None:
    group = ExceptionGroup("tasks", [Base()])
    assert find_handled(group, ({ExceptionGroup: by_class}, {})) == (by_class, group)


class HandledKey(Exception):
    """An exception that has a handler."""


async def teapot(request: Any, exc: Exception) -> PlainTextResponse:
    return PlainTextResponse(f"handled {type(exc).__name__}", status_code=418)


class Foreign:
    """A layer that is not ours."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


PATHS = pytest.mark.parametrize("layers", [[], [Middleware(Foreign)]], ids=["value", "message"])


@pytest.mark.anyio
class TestAnErrorAfterTheStart:
    """The value path and the message path raise the same."""

    @PATHS
    @pytest.mark.parametrize("error", [HTTPException(403), HandledKey()])
    async def test_one_that_a_handler_would_have_answered(self, layers: Any, error: Any) -> None:
        async def chunks() -> Any:
            yield b"begun"
            raise error

        async def endpoint(request: Any) -> StreamingResponse:
            return StreamingResponse(chunks())

        app = Spica(
            routes=[Route("/", endpoint)],
            middleware=layers,
            exception_handlers={HandledKey: teapot},
        )
        exchange = await Exchange().run(app)
        assert (exchange.status, exchange.body, exchange.is_complete) == (200, b"begun", False)
        assert isinstance(exchange.error, RuntimeError)
        assert str(exchange.error).startswith(ALREADY_STARTED)
        assert exchange.error.__cause__ is error

    @PATHS
    async def test_one_without_a_handler(self, layers: Any) -> None:
        async def chunks() -> Any:
            yield b"begun"
            raise KeyError("midway")

        async def endpoint(request: Any) -> StreamingResponse:
            return StreamingResponse(chunks())

        app = Spica(routes=[Route("/", endpoint)], middleware=layers)
        exchange = await Exchange().run(app)
        assert not exchange.is_complete
        assert repr(exchange.error) == "KeyError('midway')"

    @PATHS
    async def test_one_that_a_handler_raises_is_answered(self, layers: Any) -> None:
        """It came before the start, though from a handler."""

        async def handler(request: Any, exc: Exception) -> Any:
            raise HTTPException(409)

        async def endpoint(request: Any) -> Any:
            raise HandledKey

        app = Spica(
            routes=[Route("/", endpoint)],
            middleware=layers,
            exception_handlers={HandledKey: handler},
        )
        exchange = await Exchange().run(app)
        assert (exchange.status, exchange.error) == (409, None)


@pytest.mark.anyio
class TestALayerAndAnAppItEnds:
    """A layer raises an HTTPException, and an app that it had begun fails too when it is ended."""

    @PATHS
    async def test_the_layer_s_is_answered_and_the_app_s_is_raised(self, layers: Any) -> None:
        async def app_that_fails(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            try:
                await send({"type": "http.response.body", "body": b"x"})
            except OSError:
                raise KeyError("the app's own") from None

        async def dispatch(request: Any, call_next: Any) -> Any:
            await call_next(request)
            raise HTTPException(403, "Not you.")

        # The layer itself is by value or by message; what it stands around is an app.
        app = Spica(
            routes=[Mount("", app_that_fails)],
            middleware=[*layers, Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
        )
        exchange = await Exchange().run(app)
        assert (exchange.status, exchange.text) == (403, "Not you.")
        assert repr(exchange.error) == 'KeyError("the app\'s own")'
