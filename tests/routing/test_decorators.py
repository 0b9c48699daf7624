"""Decorators that add routes."""

from typing import Any

import pytest
from asgi_kit import Exchange, call, websocket_scope

from spica.applications import Spica
from spica.endpoints import HTTPEndpoint
from spica.requests import Request
from spica.responses import PlainTextResponse, Response
from spica.routing import Router
from spica.websockets import WebSocket

pytestmark = pytest.mark.anyio

both = pytest.mark.parametrize("make", [Spica, Router])


async def endpoint(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


@both
@pytest.mark.parametrize(
    "method", ["get", "post", "put", "patch", "delete", "head", "options", "query"]
)
async def test_each_method_has_its_decorator(make: Any, method: str) -> None:
    app = make()
    decorated = getattr(app, method)("/a", name="n", include_in_schema=False)(endpoint)
    assert decorated is endpoint
    (route,) = app.routes
    expected = {"GET", "HEAD"} if method == "get" else {method.upper()}
    assert (route.path, route.methods, route.name) == ("/a", expected, "n")
    assert (route.endpoint, route.include_in_schema) == (endpoint, False)
    assert (await call(app, method.upper(), "/a")).status == 200


@both
async def test_route_takes_what_add_route_takes(make: Any) -> None:
    app = make()
    assert app.route("/a", ["PUT"], "n", False)(endpoint) is endpoint
    assert app.route("/b")(endpoint) is endpoint
    first, second = app.routes
    assert (first.methods, first.name, first.include_in_schema) == ({"PUT"}, "n", False)
    assert (second.methods, second.name, second.include_in_schema) == (
        {"GET", "HEAD"},
        "endpoint",
        True,
    )


@both
async def test_one_function_may_have_several(make: Any) -> None:
    app = make()
    app.get("/a")(app.post("/b")(endpoint))
    assert [(route.path, "POST" in route.methods) for route in app.routes] == [
        ("/b", True),
        ("/a", False),
    ]


@both
async def test_a_class_endpoint(make: Any) -> None:
    app = make()

    @app.route("/a")
    class Item(HTTPEndpoint):
        async def put(self, request: Request) -> Response:
            return PlainTextResponse("put")

    assert (await call(app, "PUT", "/a")).text == "put"
    assert (await call(app, "POST", "/a")).status == 405


@both
@pytest.mark.parametrize("decorator", ["websocket_route", "websocket"])
async def test_a_websocket(make: Any, decorator: str) -> None:
    app = make()

    async def close(websocket: WebSocket) -> None:
        await websocket.close(reason="closed")

    assert getattr(app, decorator)("/ws", name="n")(close) is close
    assert app.url_path_for("n") == "/ws"
    exchange = await Exchange(websocket_scope("/ws"), []).run(app)
    assert exchange.sent[0]["reason"] == "closed"


async def test_an_exception_handler() -> None:
    app = Spica()

    @app.exception_handler(404)
    async def not_found(request: Request, exc: Exception) -> Response:
        return PlainTextResponse("gone", 404)

    @app.exception_handler(KeyError)
    def missing(request: Request, exc: Exception) -> Response:
        return PlainTextResponse("missing", 400)

    assert app.exception_handlers == {404: not_found, KeyError: missing}
    assert (await call(app, path="/nowhere")).text == "gone"


@both
@pytest.mark.parametrize("name", ["route", "get", "query", "websocket", "websocket_route"])
def test_a_decorator_without_its_parentheses(make: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} needs a path, not <function .*Write @app.{name}"):
        getattr(make(), name)(endpoint)


@both
def test_a_path_without_its_slash_is_an_error_of_the_decorator(make: Any) -> None:
    with pytest.raises(ValueError, match=r"^get\('a'\): a path begins with '/'. Write '/a'."):
        make().get("a")


def test_an_exception_handler_without_its_parentheses() -> None:
    with pytest.raises(TypeError, match=r"Write @app.exception_handler\(404\)"):
        Spica().exception_handler(endpoint)  # type: ignore[arg-type]


@both
async def test_a_subclass_sees_every_route(make: Any) -> None:
    added = []

    class Noting(make):  # type: ignore[misc]
        def add_route(self, path: str, *args: Any, **kwargs: Any) -> None:
            added.append(path)
            super().add_route(path, *args, **kwargs)

    app = Noting()
    app.get("/a")(endpoint)
    app.route("/b")(endpoint)
    assert added == ["/a", "/b"]
    assert (await call(app, path="/a")).status == 200


@both
def test_the_decorators_of_a_subclass_win(make: Any) -> None:
    class Own(make):  # type: ignore[misc]
        def get(self, path: str, response_model: Any) -> str:
            return f"{path} {response_model}"

        def websocket(self, *, sub: int) -> int:
            return sub

    app = Own()
    assert app.get("/a", response_model=int) == f"/a {int}"
    assert app.websocket(sub=1) == 1
    app.websocket_route("/ws")(endpoint)
    assert len(app.routes) == 1


@both
async def test_options_of_routes_reach_the_route(make: Any) -> None:
    app = make()

    @app.post("/small", max_body_size=3)
    @app.put("/small", max_body_size=3)
    async def read(request: Request) -> Response:
        return Response(await request.body())

    app.add_route("/large", read, methods=["POST"], max_body_size=30)

    bodies = [("POST", "/small"), ("PUT", "/small"), ("POST", "/large")]
    statuses = [(await call(app, *line, body=b"four")).status for line in bodies]
    assert statuses == [413, 413, 200]


@both
def test_an_unknown_option_is_an_error_of_route(make: Any) -> None:
    with pytest.raises(TypeError, match="max_size"):
        make().get("/", max_size=3)(endpoint)


def test_methods_belong_to_route() -> None:
    with pytest.raises(
        TypeError, match=r"@app\.post\('/'\) serves one method.*@app\.route\('/', methods="
    ):
        Spica().post("/", methods=["GET"])  # type: ignore[call-arg]
