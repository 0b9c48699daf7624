"""Routes that end at an endpoint."""

from functools import partial
from typing import Any
from urllib.parse import unquote

import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope

import spica.routing
from spica.applications import Spica
from spica.middleware import Middleware
from spica.requests import Request
from spica.responses import PlainTextResponse
from spica.routing import (
    Match,
    Mount,
    NoMatchFound,
    Route,
    Router,
    WebSocketRoute,
    get_name,
)

pytestmark = pytest.mark.anyio


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def hello_in_thread(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello from a thread")


async def hello_with(greeting: str, request: Request) -> PlainTextResponse:
    return PlainTextResponse(greeting)


async def echo_params(request: Request) -> PlainTextResponse:
    return PlainTextResponse(repr(request.path_params))


class HelloApp:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("hello app")(scope, receive, send)


class HelloClass:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.args = scope, receive, send

    def __await__(self) -> Any:
        return PlainTextResponse("hello class")(*self.args).__await__()


class Controller:
    async def hello(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello method")


ENDPOINTS = {
    "async function": (hello, "hello"),
    "function": (hello_in_thread, "hello from a thread"),
    "partial": (partial(hello_with, "hi"), "hi"),
    "partial of a partial": (partial(partial(hello_with), "hi"), "hi"),
    "bound method": (Controller().hello, "hello method"),
    "ASGI instance": (HelloApp(), "hello app"),
    "ASGI class": (HelloClass, "hello class"),
}


@pytest.mark.parametrize(("endpoint", "text"), ENDPOINTS.values(), ids=ENDPOINTS.keys())
async def test_an_endpoint_is_served(endpoint: Any, text: str) -> None:
    assert (await call(Spica(routes=[Route("/", endpoint)]))).text == text


class TestMethods:
    def test_a_function_serves_get_and_head(self) -> None:
        """RFC 9110 s.9.3.2: HEAD is where GET is."""
        assert Route("/", hello).methods == {"GET", "HEAD"}

    def test_an_app_serves_all(self) -> None:
        assert Route("/", HelloApp()).methods is None

    def test_an_app_serves_those_given(self) -> None:
        assert Route("/", HelloApp(), methods=["post"]).methods == {"POST"}

    def test_any_token_is_a_method(self) -> None:
        assert Route("/", hello, methods=["PROPFIND", "x-mine"]).methods == {"PROPFIND", "X-MINE"}

    def test_no_methods_at_all_means_all(self) -> None:
        assert Route("/", hello, methods=[]).matches(http_scope("BREW"))[0] is Match.FULL

    def test_a_method_is_a_token(self) -> None:
        with pytest.raises(ValueError, match=r"Route\('/'\): 'G ET' is not an HTTP method"):
            Route("/", hello, methods=["G ET"])

    def test_a_text_is_no_list_of_methods(self) -> None:
        with pytest.raises(TypeError, match=r"Route\('/'\).*Write methods=\['GET'\]"):
            Route("/", hello, methods="GET")

    async def test_lower_case_is_another_method(self) -> None:
        """RFC 9110 s.9.1: methods are case-sensitive."""
        assert (await call(Spica(routes=[Route("/", hello)]), "get")).status == 405

    async def test_head_of_a_get_route(self) -> None:
        assert (await call(Spica(routes=[Route("/", hello)]), "HEAD")).status == 200


class TestMatching:
    def test_full(self) -> None:
        match, child_scope = Route("/u/{id:int}", hello).matches(http_scope(path="/u/7"))
        assert match is Match.FULL
        assert child_scope == {"endpoint": hello, "path_params": {"id": 7}}

    def test_partial(self) -> None:
        match, child_scope = Route("/u/{id:int}", hello).matches(http_scope("PUT", "/u/7"))
        assert match is Match.PARTIAL
        assert child_scope["path_params"] == {"id": 7}

    def test_none(self) -> None:
        assert Route("/a", hello).matches(http_scope(path="/b")) == (Match.NONE, {})

    def test_outer_parameters_stay(self) -> None:
        scope = http_scope(path="/7", path_params={"a": 1, "id": "outer"})
        _, child_scope = Route("/{id:int}", hello).matches(scope)
        assert child_scope["path_params"] == {"a": 1, "id": 7}
        assert scope["path_params"] == {"a": 1, "id": "outer"}

    def test_the_prefix_of_a_mount_does_not_count(self) -> None:
        assert Route("/b", hello).matches(http_scope(path="/a/b", root_path="/a"))[0] is Match.FULL

    def test_a_minimal_scope_will_do(self) -> None:
        scope = {"type": "http", "method": "GET", "path": "/"}
        assert Route("/", hello).matches(scope)[0] is Match.FULL

    def test_the_scope_is_not_changed(self) -> None:
        scope = http_scope(path="/7")
        before = dict(scope)
        Route("/{id:int}", hello).matches(scope)
        assert scope == before

    @pytest.mark.parametrize("kind", ["websocket", "lifespan"])
    def test_other_scopes_are_not_served(self, kind: str) -> None:
        assert Route("/", hello).matches({"type": kind, "path": "/"}) == (Match.NONE, {})

    async def test_a_refused_value_is_no_match(self) -> None:
        app = Spica(routes=[Route("/{id:int}", echo_params), Route("/{id}", hello)])
        assert (await call(app, path="/" + "9" * 5000)).text == "hello"
        assert (await call(Spica(routes=app.routes[:1]), path="/" + "9" * 5000)).status == 404

    async def test_converted_values_reach_the_endpoint(self) -> None:
        app = Spica(routes=[Route("/{a:int}/{b:float}/{c:path}", echo_params)])
        exchange = await call(app, path="/1/2.5/x/y")
        assert exchange.text == "{'a': 1, 'b': 2.5, 'c': 'x/y'}"


class TestAlone:
    """A route is an ASGI app of its own."""

    async def test_it_serves(self) -> None:
        assert (await call(Route("/a", hello), path="/a")).text == "hello"

    async def test_it_answers_404(self) -> None:
        exchange = await call(Route("/a", hello), path="/b")
        assert (exchange.status, exchange.text) == (404, "Not Found")

    async def test_it_answers_405_with_allow(self) -> None:
        exchange = await call(Route("/a", hello), "POST", "/a")
        assert (exchange.status, exchange.headers["allow"]) == (405, "GET, HEAD")
        assert exchange.text == "Method Not Allowed"

    @pytest.mark.parametrize("kind", ["lifespan", "unknown"])
    @pytest.mark.parametrize("path", ["/a", "/b"])
    async def test_it_refuses_scopes_of_other_types(self, kind: str, path: str) -> None:
        route = Route("/a", hello)
        exchange = await Exchange({"type": kind, "path": path}).run(route)
        assert isinstance(exchange.error, RuntimeError)
        text = f"Route serves scopes of type 'http' and 'websocket', not '{kind}'."
        assert str(exchange.error) == text

    async def test_it_closes_a_websocket(self) -> None:
        exchange = await Exchange(websocket_scope("/a")).run(Route("/a", hello))
        assert exchange.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]


class TestMiddleware:
    async def test_it_stands_around_the_endpoint_alone(self) -> None:
        class Note:
            def __init__(self, app: Any, name: str) -> None:
                self.app, self.name = app, name

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                scope.setdefault("notes", []).append(self.name)
                await self.app(scope, receive, send)

        middleware = [Middleware(Note, "outer"), Middleware(Note, name="inner")]
        routes = [Route("/", hello, middleware=middleware), Route("/other", hello)]
        assert (await call(Spica(routes=routes))).scope["notes"] == ["outer", "inner"]
        assert "notes" not in (await call(Spica(routes=routes), path="/other")).scope

    @pytest.mark.parametrize(("size", "status"), [(4, 200), (5, 200), (6, 413)])
    async def test_a_body_limit(self, size: int, status: int) -> None:
        async def read(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str(len(await request.body())))

        route = Route("/", read, methods=["POST"], max_body_size=5)
        exchange = await call(Spica(routes=[route]), "POST", body=b"x" * size)
        assert exchange.status == status

    def test_a_body_limit_is_checked_at_once(self) -> None:
        with pytest.raises(ValueError, match=r"Route\('/'\): max_body_size must not be negative"):
            Route("/", hello, max_body_size=-1)


class TestLinks:
    def test_the_path_is_built(self) -> None:
        path = Route("/u/{id:int}", hello, name="user").url_path_for("user", id=7)
        assert (path, path.protocol) == ("/u/7", "http")

    def test_each_segment_is_encoded(self) -> None:
        path = Route("/u/{name}", hello, name="user").url_path_for("user", name="a b?#é")
        assert path == "/u/a%20b%3F%23%C3%A9"

    def test_a_query_and_a_fragment(self) -> None:
        route = Route("/u/{id}", hello, name="u")
        url = route.url_path_for("u", id="a?", _query={"q": "x y"}, _fragment="top")
        assert url == "/u/a%3F?q=x+y#top"
        with pytest.raises(NoMatchFound):
            route.url_path_for("other", id=1, _query="a=1")

    @pytest.mark.parametrize("value", ["a\nb", "\n", "a/\n/b", " %2F ", "é\r\n", "?#[]\\"])
    async def test_a_path_leads_where_it_was_built_for(self, value: str) -> None:
        async def show(request: Any) -> PlainTextResponse:
            return PlainTextResponse(repr(request.path_params["rest"]))

        routes = [
            Route("/r/{rest:path}", show, name="rest"),
            Mount("/{m}", routes=[Route("/", show)]),
        ]
        router = Router(routes)
        scope = {**http_scope(), "path": unquote(str(router.url_path_for("rest", rest=value)))}
        assert (await Exchange(scope).run(router)).text == repr(value)

    def test_a_websocket_route_says_so(self) -> None:
        path = WebSocketRoute("/ws", hello, name="ws").url_path_for("ws")
        assert (path, path.protocol) == ("/ws", "websocket")

    @pytest.mark.parametrize(
        ("params", "fix"),
        [
            ({}, "Its path has the parameters id. Missing: id."),
            ({"id": 1, "more": 2}, "Unknown: more. A query is passed as _query="),
            ({"other": 1}, "Missing: id. Unknown: other."),
        ],
    )
    def test_exactly_the_parameters_are_needed(self, params: dict[str, Any], fix: str) -> None:
        with pytest.raises(NoMatchFound, match=fix):
            Route("/u/{id:int}", hello, name="user").url_path_for("user", **params)

    def test_a_parameter_may_be_called_name(self) -> None:
        route = Route("/u/{name}", hello, name="user")
        assert route.url_path_for("user", name="x") == "/u/x"

    def test_another_name_is_none(self) -> None:
        with pytest.raises(NoMatchFound) as info:
            Route("/", hello, name="home").url_path_for("hom", a=1, b=2)
        assert str(info.value) == (
            'No route exists for name "hom" and params "a, b". Did you mean "home"?'
        )


class TestNames:
    def test_that_of_the_function(self) -> None:
        assert Route("/", hello).name == "hello"

    def test_that_of_the_function_in_a_partial(self) -> None:
        assert get_name(partial(hello_with, "hi")) == "hello_with"

    def test_that_of_the_class(self) -> None:
        assert Route("/", HelloApp()).name == "HelloApp"
        assert Route("/", HelloClass).name == "HelloClass"

    def test_one_that_is_given(self) -> None:
        assert Route("/", hello, name="home").name == "home"


class TestObjects:
    def test_equality(self) -> None:
        assert Route("/", hello) == Route("/", hello)
        assert Route("/", hello) != Route("/", hello, methods=["POST"])
        assert Route("/", hello) != Route("/x", hello)
        assert Route("/", hello) != "/"
        assert WebSocketRoute("/", hello) == WebSocketRoute("/", hello)
        assert WebSocketRoute("/", hello) != WebSocketRoute("/x", hello)

    def test_repr(self) -> None:
        route = Route("/", hello, methods=["POST", "GET"])
        assert repr(route) == "Route(path='/', name='hello', methods=['GET', 'HEAD', 'POST'])"
        assert repr(Route("/", HelloApp())) == "Route(path='/', name='HelloApp', methods=[])"
        assert repr(WebSocketRoute("/", hello)) == "WebSocketRoute(path='/', name='hello')"

    def test_attributes(self) -> None:
        route = Route("/{a}", hello, include_in_schema=False)
        assert (route.path, route.path_format) == ("/{a}", "/{a}")
        assert (route.endpoint, route.include_in_schema) == (hello, False)
        assert list(route.param_convertors) == ["a"]
        assert route.path_regex.match("/x")
        assert callable(route.app)

    def test_the_function_that_wraps_endpoints_is_looked_up_when_a_route_is_made(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = HelloApp()
        monkeypatch.setattr(spica.routing, "request_response", lambda function: app)
        assert Route("/", hello).app is app

    async def test_a_route_made_without_init_is_served(self) -> None:
        class Made(Route):
            def __init__(self) -> None:
                self.path = "/{a}"
                self.endpoint = hello
                self.name = "made"
                self.methods = {"GET"}
                compiled = spica.routing.compile_path(self.path)
                self.path_regex, self.path_format, self.param_convertors = compiled
                self.app = spica.routing.request_response(echo_params)

        route = Made()
        exchange = await call(Spica(routes=[route]), path="/x")
        assert exchange.text == "{'a': 'x'}"
        assert route.url_path_for("made", a="y") == "/y"


class TestErrors:
    @pytest.mark.parametrize("cls", [Route, WebSocketRoute])
    def test_a_path_without_its_slash(self, cls: Any) -> None:
        with pytest.raises(ValueError, match="Routed paths must start with '/'"):
            cls("a", hello)

    @pytest.mark.parametrize("cls", [Route, WebSocketRoute])
    def test_an_endpoint_that_cannot_be_called(self, cls: Any) -> None:
        with pytest.raises(TypeError, match=cls.__name__ + r"\('/'\): the endpoint must be"):
            cls("/", "hello")


@pytest.mark.anyio
@pytest.mark.parametrize("has_application", [True, False])
async def test_one_that_is_handled_with_another_method_is_405(has_application: bool) -> None:
    """As by a router that goes through its routes by itself: RFC 9110 s.15.5.6."""
    route = Route("/", hello, methods=["POST"])

    async def delegate(scope: Any, receive: Any, send: Any) -> None:
        await route.handle(scope, receive, send)

    exchange = await call(Spica(routes=[Mount("/", delegate)]) if has_application else delegate)
    assert (exchange.status, exchange.text) == (405, "Method Not Allowed")
    assert exchange.headers["allow"] == "POST"
