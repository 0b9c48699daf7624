"""The built-in answers to errors: texts, or problem details where the application offers them."""

import json
from typing import Any

import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope

from spica.applications import Spica
from spica.authentication import AuthenticationBackend, AuthenticationError
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.trustedhost import TrustedHostMiddleware
from spica.requests import Request
from spica.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from spica.routing import Mount, Route

pytestmark = pytest.mark.anyio

JSON = [("accept", "application/json")]
HTML = [("accept", "text/html,*/*;q=0.8")]


class Pass:
    """A layer that is not ours."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


async def fail(request: Request) -> Response:
    raise ValueError("a secret is in the endpoint")


async def refuse(request: Request) -> Response:
    raise HTTPException(409, "There is one already.", {"x-there": "1"})


async def read(request: Request) -> Response:
    return JSONResponse(await request.json())


async def empty(request: Request) -> Response:
    raise HTTPException(304)


async def file(request: Request) -> Response:
    return FileResponse(__file__)


class Refusing(AuthenticationBackend):
    async def authenticate(self, conn: Any) -> Any:
        raise AuthenticationError("Who are you?")


def app(*layers: Any, **options: Any) -> Spica:
    routes = [
        Route("/fail", fail),
        Route("/refuse", refuse),
        Route("/read", read, methods=["POST"]),
        Route("/small", read, methods=["POST"], max_body_size=3),
        Route("/empty", empty),
        Route("/file", file),
        Mount("/mount", routes=[Route("/refuse", refuse)]),
    ]
    return Spica(
        routes=routes, middleware=layers, **{"problem_details": True, "max_body_size": 9, **options}
    )


async def run(application: Any, method: str, path: str, headers: Any, body: bytes) -> Exchange:
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    return await Exchange(http_scope(method, path, headers=headers), messages).run(application)


@pytest.mark.parametrize("layers", [[], [Middleware(Pass)]], ids=["value", "message"])
class TestProblemDetails:
    @pytest.mark.parametrize(
        ("request_line", "body", "status", "title", "detail"),
        [
            ("GET /nowhere", b"", 404, "Not Found", None),
            ("GET /mount/nowhere", b"", 404, "Not Found", None),
            ("GET /read", b"", 405, "Method Not Allowed", None),
            ("GET /refuse", b"", 409, "Conflict", "There is one already."),
            ("GET /mount/refuse", b"", 409, "Conflict", "There is one already."),
            ("POST /read", b"0123456789", 413, None, None),
            ("POST /small", b"0123", 413, None, None),
            (
                "POST /read",
                b"{",
                400,
                "Bad Request",
                "Malformed JSON: Expecting property name enclosed in double quotes: "
                "line 1 column 2 (char 1)",
            ),
            ("GET /fail", b"", 500, "Internal Server Error", None),
        ],
        ids=str,
    )
    async def test_of_every_built_in_error(
        self, layers: Any, request_line: str, body: bytes, status: int, title: Any, detail: Any
    ) -> None:
        method, path = request_line.split()
        exchange = await run(app(*layers), method, path, JSON, body)
        assert exchange.status == status
        assert exchange.headers["content-type"] == "application/problem+json"
        assert exchange.headers["vary"] == "Accept"
        found = exchange.json
        assert (found["type"], found["status"]) == ("about:blank", status)
        if title is not None:
            assert (found["title"], found.get("detail")) == (title, detail)

    async def test_headers_of_the_exception_are_kept(self, layers: Any) -> None:
        exchange = await call(app(*layers), path="/refuse", headers=JSON)
        assert exchange.headers["x-there"] == "1"
        exchange = await call(app(*layers), path="/read", headers=JSON)
        assert exchange.headers["allow"] == "POST"

    async def test_a_client_that_prefers_text_gets_it(self, layers: Any) -> None:
        exchange = await call(app(*layers), path="/refuse", headers=HTML)
        assert exchange.text == "There is one already."
        assert exchange.headers["content-type"] == "text/plain; charset=utf-8"
        assert exchange.headers["vary"] == "Accept"

    async def test_without_the_setting_it_is_a_text(self, layers: Any) -> None:
        exchange = await call(app(*layers, problem_details=False), path="/refuse", headers=JSON)
        assert exchange.text == "There is one already."
        assert "vary" not in exchange.headers

    async def test_a_status_without_content_has_none(self, layers: Any) -> None:
        exchange = await call(app(*layers), path="/empty", headers=JSON)
        assert (exchange.status, exchange.body, exchange.raw_headers) == (304, b"", [])

    async def test_a_range_that_cannot_be_satisfied(self, layers: Any) -> None:
        headers = [*JSON, ("range", "bytes=99999999-")]
        exchange = await call(app(*layers), path="/file", headers=headers)
        assert exchange.status == 416
        assert exchange.json["title"]
        assert exchange.headers["content-range"].startswith("bytes */")

    @pytest.mark.parametrize("key", [409, HTTPException])
    async def test_a_handler_wins(self, layers: Any, key: Any) -> None:
        async def handler(request: Request, exc: Exception) -> Response:
            return PlainTextResponse("handled", status_code=409)

        exchange = await call(app(*layers, exception_handlers={key: handler}), path="/refuse")
        assert exchange.text == "handled"


class TestLayersOutside:
    async def test_what_a_middleware_raises(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Response:
            raise HTTPException(403, "Not you.")

        application = app(Middleware(BaseHTTPMiddleware, dispatch=dispatch))
        exchange = await call(application, headers=JSON)
        assert exchange.json == {
            "type": "about:blank",
            "title": "Forbidden",
            "status": 403,
            "detail": "Not you.",
        }

    async def test_what_a_foreign_middleware_raises(self) -> None:
        class Refuse(Pass):
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                raise HTTPException(403)

        cors = Middleware(CORSMiddleware, allow_origins=["https://example.org"])
        exchange = await call(
            app(cors, Middleware(Refuse)), headers=[*JSON, ("origin", "https://example.org")]
        )
        assert exchange.json["status"] == 403
        assert exchange.headers["access-control-allow-origin"] == "https://example.org"
        assert "Accept" in exchange.headers["vary"]

    @pytest.mark.parametrize("layers", [[], [Middleware(Pass)]], ids=["value", "message"])
    async def test_a_500_has_the_headers_of_the_layers_around(self, layers: Any) -> None:
        cors = Middleware(CORSMiddleware, allow_origins=["https://example.org"])
        headers = [*JSON, ("origin", "https://example.org")]
        exchange = await run(app(cors, *layers), "GET", "/fail", headers, b"")
        assert exchange.json == {
            "type": "about:blank",
            "title": "Internal Server Error",
            "status": 500,
        }
        assert exchange.headers["access-control-allow-origin"] == "https://example.org"

    async def test_a_host_that_is_not_allowed(self) -> None:
        layer = Middleware(TrustedHostMiddleware, allowed_hosts=["example.org"])
        exchange = await call(app(layer), headers=[*JSON, ("host", "example.com")])
        assert exchange.json["detail"] == "Invalid host header"

    async def test_a_client_that_is_not_known(self) -> None:
        layer = Middleware(AuthenticationMiddleware, backend=Refusing())
        exchange = await call(app(layer), headers=JSON)
        assert exchange.json["detail"] == "Who are you?"

    async def test_the_debug_page_stays(self) -> None:
        exchange = await run(app(debug=True), "GET", "/fail", JSON, b"")
        assert "Traceback" in exchange.text

    async def test_a_websocket_that_is_denied(self) -> None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def raise_it(websocket: Any) -> None:
            raise HTTPException(403)

        from spica.routing import WebSocketRoute

        application = Spica(routes=[WebSocketRoute("/", raise_it)], problem_details=True)
        scope = websocket_scope(headers=JSON, extensions={"websocket.http.response": {}})
        await application(scope, Exchange().receive, send)
        assert sent[0]["type"] == "websocket.http.response.start"
        assert json.loads(sent[1]["body"])["title"] == "Forbidden"

    async def test_a_detail_that_is_no_text(self) -> None:
        async def endpoint(request: Request) -> Response:
            raise HTTPException(422, ["a", 1])  # type: ignore[arg-type]

        application = Spica(routes=[Route("/", endpoint)], problem_details=True)
        assert (await call(application, headers=JSON)).json["detail"] == "['a', 1]"

    async def test_a_detail_that_says_nothing_is_left_out(self) -> None:
        async def endpoint(request: Request) -> Response:
            raise HTTPException(416, "")

        application = Spica(routes=[Route("/", endpoint)], problem_details=True)
        assert "detail" not in (await call(application, headers=JSON)).json


def test_a_setting_that_is_none() -> None:
    with pytest.raises(TypeError, match="Spica: problem_details"):
        Spica(problem_details="yes")  # type: ignore[arg-type]


HTML = [("accept", "text/html,*/*;q=0.8")]


async def missing(request: Request) -> Response:
    raise HTTPException(404)


class TestRoutesOfADebuggedApplication:
    def application(self, *, debug: bool) -> Spica:
        inner = Mount("/shop", routes=[Route("/items/{id}", missing, methods=["POST"])])
        return Spica(debug, routes=[Route("/", missing), inner])

    @pytest.mark.parametrize("path", ["/missing", "/shop/missing"])
    async def test_a_browser_gets_the_routes(self, path: str) -> None:
        response = await call(self.application(debug=True), path=path, headers=HTML)
        assert response.status == 404
        assert f"Not Found\n\nNo route matches GET {path}." in response.text
        assert "\nGET,HEAD  /\nPOST  /shop/items/{id}\n" in response.text

    @pytest.mark.parametrize(
        ("debug", "path", "headers"),
        [
            pytest.param(False, "/missing", HTML, id="without debug"),
            pytest.param(True, "/missing", [], id="not a browser"),
            pytest.param(True, "/", HTML, id="raised by an endpoint"),
        ],
    )
    async def test_other_responses_do_not_change(
        self, debug: bool, path: str, headers: Any
    ) -> None:
        response = await call(self.application(debug=debug), path=path, headers=headers)
        assert (response.status, response.text) == (404, "Not Found")


async def test_an_exception_with_a_response_keeps_its_own_request_id():
    class Refused(HTTPException):
        request_id = "mine"

        def to_response(self) -> Response:
            return PlainTextResponse(self.request_id, self.status_code)

    async def refuse(request: Request) -> Response:
        raise Refused(418)

    exchange = await call(Spica(routes=[Route("/", refuse)]))
    assert exchange.text == "mine"
