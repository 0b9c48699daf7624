"""What a user's function returned instead of a response is named, with the place."""

from typing import Any

import pytest
from asgi_kit import Exchange, call, http_scope
from stacks import ForeignPass

from spica._layers.answers import explain_answer, resolve_answer
from spica.applications import Spica
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, Response
from spica.routing import Route

pytestmark = pytest.mark.anyio


def source(request: Request) -> None: ...


async def coroutine() -> Response:
    return Response()


WRONG = {
    "None": (lambda: None, "returned None, but must return a Response. Is a `return` missing?"),
    "a class": (lambda: Response, "returned the class Response, .* Return an instance: Response"),
    "a coroutine": (coroutine, "returned an awaitable, <coroutine .* Is an `await` missing"),
    "a generator": (
        (lambda: (c for c in "a")),
        r"of type generator, .*StreamingResponse\(\.\.\.\)",
    ),
    "an exception": (lambda: HTTPException(404), r"of type HTTPException, .* Raise it\.$"),
    "a dict": (lambda: {"a": 1}, r"returned \{'a': 1\} of type dict, .* Wrap it in one"),
    "a long text": (lambda: "x" * 500, r"returned 'x{76}\.\.\. of type str"),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG.keys())
async def test_what_is_no_response(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        await resolve_answer(make(), Request(http_scope()), source)


@pytest.mark.parametrize("answer", [Response(), ForeignPass(None)])
async def test_responses_and_apps_are_answers(answer: Any) -> None:
    assert await resolve_answer(answer, Request(http_scope()), source) is answer


async def test_a_response_that_sends_itself_is_opaque() -> None:
    class Own(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("own")(scope, receive, send)

    answer = await resolve_answer(Own(), Request(http_scope()), source)
    assert not isinstance(answer, Response)
    assert (await call(answer)).text == "own"


def test_an_explanation_names_the_source() -> None:
    assert explain_answer(None, source).startswith(f"source ({__file__}:")


class TestInAnApplication:
    async def forgetful(self, request: Request) -> Any:
        return None

    def forgetful_in_thread(self, request: Request) -> Any:
        return None

    async def answer(self, app: Any) -> str:
        exchange = await Exchange().run(app)
        assert (exchange.status, exchange.text) == (500, "Internal Server Error")
        assert isinstance(exchange.error, TypeError)
        return str(exchange.error)

    @pytest.mark.parametrize("name", ["forgetful", "forgetful_in_thread"])
    async def test_an_endpoint(self, name: str) -> None:
        message = await self.answer(Spica(routes=[Route("/", getattr(self, name))]))
        assert f"{name} (" in message

    async def test_an_endpoint_inside_middleware_of_its_route(self) -> None:
        async def passing(request: Request, call_next: Any) -> Any:
            return await call_next(request)

        layer = Middleware(BaseHTTPMiddleware, dispatch=passing)
        message = await self.answer(Spica(routes=[Route("/", self.forgetful, middleware=[layer])]))
        assert "forgetful (" in message

    async def test_a_dispatch_function(self) -> None:
        async def forgets(request: Request, call_next: Any) -> Any:
            await call_next(request)

        app = Spica(middleware=[Middleware(BaseHTTPMiddleware, dispatch=forgets)])
        assert "forgets (" in await self.answer(app)

    async def test_a_handler(self) -> None:
        async def handler(request: Request, exc: Exception) -> Any:
            return {"error": str(exc)}

        message = await self.answer(Spica(exception_handlers={404: handler}))
        assert "returned {'error': '404: Not Found'} of type dict" in message
