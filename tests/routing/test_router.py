"""The router: which route serves, and what answers where none does."""

import copy
from typing import Any

import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope

from spica.applications import Spica
from spica.datastructures import URLPath
from spica.endpoints import HTTPEndpoint
from spica.middleware import Middleware
from spica.middleware.cors import CORSMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse
from spica.routing import BaseRoute, Host, Match, Mount, NoMatchFound, Route, Router, WebSocketRoute

pytestmark = pytest.mark.anyio


def saying(text: str) -> Any:
    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse(text)

    return endpoint


async def accept_and_close(websocket: Any) -> None:
    await websocket.accept()
    await websocket.close()


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("foreign")(scope, receive, send)


async def answer(request: Any) -> PlainTextResponse:
    return PlainTextResponse("answer")


def test_a_default_is_an_app() -> None:
    with pytest.raises(TypeError, match=r"^Router: default must be an ASGI app, not 'index'"):
        Router(default="index")  # type: ignore[arg-type]


def test_one_route_is_no_list() -> None:
    with pytest.raises(TypeError, match=r"^Router: routes must be a list of routes, not Route"):
        Router(Route("/", saying("a")))  # type: ignore[arg-type]


class TestSelection:
    async def test_the_first_full_match_wins(self) -> None:
        app = Router([Route("/{x}", saying("first")), Route("/a", saying("second"))])
        assert (await call(app, path="/a")).text == "first"

    async def test_a_full_match_wins_over_an_earlier_partial_one(self) -> None:
        routes = [Route("/a", saying("get")), Route("/a", saying("post"), methods=["POST"])]
        assert (await call(Router(routes), "POST", "/a")).text == "post"

    async def test_what_was_found_stands_in_the_scope(self) -> None:
        route = Route("/{x}", saying("ok"))
        router = Router([route])
        scope = (await call(router, path="/a")).scope
        assert scope["route"] is route
        assert scope["endpoint"] is route.endpoint
        assert scope["path_params"] == {"x": "a"}
        assert scope["router"] is router

    async def test_the_router_is_the_outermost_one_and_the_route_the_innermost(self) -> None:
        route = Route("/b", saying("ok"))
        app = Spica(routes=[Mount("/a", routes=[route])])
        scope = (await call(app, path="/a/b")).scope
        assert scope["router"] is app.router
        assert scope["route"] is route

    async def test_a_route_added_while_serving_is_served(self) -> None:
        router = Router()
        assert (await call(router, path="/a")).status == 404
        router.routes.append(Route("/a", saying("ok")))
        assert (await call(router, path="/a")).text == "ok"

    async def test_a_list_put_in_is_served(self) -> None:
        router = Router([Route("/a", saying("old"))])
        await call(router, path="/a")
        router.routes = [Route("/a", saying("new"))]
        assert (await call(router, path="/a")).text == "new"

    async def test_the_list_given_is_copied(self) -> None:
        routes: list[BaseRoute] = []
        router = Router(routes)
        routes.append(Route("/", answer))
        assert router.routes == []


class OwnRouter(Router):
    """As FastAPI's: it goes through the routes by itself."""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        assert "router" in scope
        for route in self.routes:
            match, child_scope = route.matches(scope)
            if match is Match.FULL:
                scope.update(child_scope)
                await route.handle(scope, receive, send)
                return
        await self.default(scope, receive, send)


class TestAnAppOfItsOwn:
    async def test_it_serves_behind_every_kind_of_layer(self) -> None:
        router = OwnRouter([Route("/", answer)])
        assert (await call(router)).text == "answer"
        assert (await call(Spica(routes=[Mount("/m", router)]), path="/m/")).text == "answer"
        router = OwnRouter([Route("/", answer)], middleware=[Middleware(CORSMiddleware)])
        assert (await call(router)).text == "answer"

    async def test_who_replaces_the_call_of_routers_hears_of_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heard = []
        born = Router.__call__

        async def tell(self: Any, scope: Any, receive: Any, send: Any) -> None:
            heard.append(self)
            await born(self, scope, receive, send)

        monkeypatch.setattr(Router, "__call__", tell)
        router = OwnRouter([Route("/", answer)])
        assert (await call(router)).text == "answer"
        assert heard == [router]

    def test_a_class_beside_it_hears_of_subclasses(self) -> None:
        seen = []

        class Registry:
            def __init_subclass__(cls, **options: Any) -> None:
                seen.append((cls.__name__, options))

        class Registered(Router, Registry, name="a"):
            pass

        assert seen == [("Registered", {"name": "a"})]

    async def test_a_subclass_may_have_a_call_of_its_own(self) -> None:
        class Called(OwnRouter):
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                await PlainTextResponse("called")(scope, receive, send)

        assert (await call(Called([Route("/", answer)]))).text == "called"


class TestNotFound:
    @pytest.mark.parametrize("make", [Router, lambda routes: Spica(routes=routes)])
    async def test_404(self, make: Any) -> None:
        exchange = await call(make([Route("/a", saying("ok"))]), path="/b")
        assert (exchange.status, exchange.text) == (404, "Not Found")

    async def test_a_handler_answers_in_an_application(self) -> None:
        async def missing(request: Request, exc: Any) -> PlainTextResponse:
            return PlainTextResponse(f"no {request.url.path}", status_code=404)

        app = Spica(exception_handlers={404: missing})
        assert (await call(app, path="/b")).text == "no /b"

    async def test_another_default(self) -> None:
        assert (await call(Router(default=foreign), path="/b")).text == "foreign"

    async def test_a_default_put_in_later(self) -> None:
        router = Router()
        router.default = foreign
        assert (await call(router, path="/b")).text == "foreign"

    async def test_a_subclass_s_not_found(self) -> None:
        class Own(Router):
            async def not_found(self, scope: Any, receive: Any, send: Any) -> None:
                await PlainTextResponse("own", status_code=404)(scope, receive, send)

        assert (await call(Own())).text == "own"

    async def test_a_websocket_is_closed(self) -> None:
        exchange = await Exchange(websocket_scope("/b")).run(Router())
        assert exchange.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]


class Item(HTTPEndpoint):
    """A class endpoint."""

    async def get(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("get")

    async def propfind(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("propfind")


class TestMethods:
    """RFC 9110 s.15.5.6: 405 comes with the methods that are allowed."""

    routes = [
        Route("/{x}", saying("get")),
        Route("/a", saying("put"), methods=["PUT"]),
        Route("/a", saying("delete"), methods=["DELETE", "PUT"]),
        Route("/b", saying("other"), methods=["PATCH"]),
    ]

    @pytest.mark.parametrize("make", [Router, lambda routes: Spica(routes=routes)])
    async def test_allow_names_the_methods_of_all_routes(self, make: Any) -> None:
        exchange = await call(make(self.routes), "POST", "/a")
        assert (exchange.status, exchange.text) == (405, "Method Not Allowed")
        assert exchange.headers["allow"] == "DELETE, GET, HEAD, PUT"

    async def test_options_is_answered(self) -> None:
        """RFC 9110 s.9.3.7."""
        exchange = await call(Router(self.routes), "OPTIONS", "/a")
        assert (exchange.status, exchange.body) == (200, b"")
        assert exchange.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"
        assert exchange.headers["content-length"] == "0"

    async def test_a_route_may_answer_options_itself(self) -> None:
        routes = [*self.routes, Route("/a", saying("mine"), methods=["OPTIONS"])]
        assert (await call(Router(routes), "OPTIONS", "/a")).text == "mine"

    async def test_options_of_nothing_is_404(self) -> None:
        assert (await call(Router(self.routes), "OPTIONS", "/x/y")).status == 404

    async def test_the_first_route_s_parameters_are_in_the_scope(self) -> None:
        scope = (await call(Router(self.routes), "POST", "/a")).scope
        assert scope["route"] is self.routes[0]
        assert scope["path_params"] == {"x": "a"}

    @pytest.mark.parametrize("make", [Router, lambda routes: Spica(routes=routes)])
    async def test_a_class_stands_among_the_other_routes_of_a_path(self, make: Any) -> None:
        app = make([Route("/{x}", Item), *self.routes[1:]])
        assert (await call(app, "PROPFIND", "/a")).text == "propfind"
        assert (await call(app, "PUT", "/a")).text == "put"
        exchange = await call(app, "POST", "/a")
        assert (exchange.status, exchange.text) == (405, "Method Not Allowed")
        assert exchange.headers["allow"] == "DELETE, GET, HEAD, PROPFIND, PUT"
        exchange = await call(app, "OPTIONS", "/a")
        assert (exchange.status, exchange.body) == (200, b"")
        assert exchange.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PROPFIND, PUT"

    async def test_the_methods_of_a_route_to_a_class_may_be_a_list_and_change(self) -> None:
        route = Route("/a", Item)
        route.methods = ["GET"]  # type: ignore[assignment]  # as dependents write it
        router = Router([route])
        assert (await call(router, "PROPFIND", "/a")).status == 405
        route.methods += ["PROPFIND"]  # type: ignore[operator]
        assert (await call(router, "PROPFIND", "/a")).status == 200

    async def test_the_methods_of_a_route_narrow_those_of_a_class(self) -> None:
        router = Router([Route("/a", Item, methods=["GET", "POST"])])
        assert (await call(router, "GET", "/a")).text == "get"
        for method in ("POST", "PROPFIND"):
            exchange = await call(router, method, "/a")
            assert (exchange.status, exchange.headers["allow"]) == (405, "GET, HEAD")

    async def test_a_class_behind_middleware_is_asked_for_every_method(self) -> None:
        """The middleware may have an answer of its own, to a preflight request for example."""
        cors = Middleware(CORSMiddleware, allow_origins=["https://a.example"])
        router = Router([Route("/a", Item, middleware=[cors])])
        scope = http_scope("OPTIONS", "/a")
        scope["headers"] = [
            (b"origin", b"https://a.example"),
            (b"access-control-request-method", b"GET"),
        ]
        exchange = await Exchange(scope).run(router)
        assert exchange.headers["access-control-allow-origin"] == "https://a.example"

    @pytest.mark.parametrize("method", ["get", "Get", "BREW", "M-SEARCH", "!#$%&'*+-.^_`|~"])
    async def test_a_method_that_nobody_knows_is_405(self, method: str) -> None:
        for routes in (self.routes, [Route("/a", Item)]):
            assert (await call(Router(routes), method, "/a")).status == 405

    async def test_any_token_can_be_a_method(self) -> None:
        router = Router([Route("/a", saying("x"), methods=["M-SEARCH", "!#$%&'*+-.^_`|~"])])
        for method in ("M-SEARCH", "!#$%&'*+-.^_`|~"):
            assert (await call(router, method, "/a")).text == "x"

    async def test_a_handler_for_405_is_asked(self) -> None:
        async def handle(request: Request, exc: Any) -> PlainTextResponse:
            return PlainTextResponse("handled", status_code=405, headers=exc.headers)

        app = Spica(routes=self.routes, exception_handlers={405: handle})
        exchange = await call(app, "POST", "/b")
        assert exchange.text == "handled"
        assert exchange.headers["allow"] == "GET, HEAD, PATCH"

    async def test_a_route_of_another_kind_answers_a_partial_match_itself(self) -> None:
        class Teapot(BaseRoute):
            def matches(self, scope: Any) -> Any:
                return Match.PARTIAL, {"tea": True}

            async def handle(self, scope: Any, receive: Any, send: Any) -> None:
                await PlainTextResponse(str(scope["tea"]), status_code=418)(scope, receive, send)

        exchange = await call(Router([Teapot(), Mount("/m", app=foreign)]), "BREW")
        assert (exchange.status, exchange.text) == (418, "True")


class TestSuffixes:
    """``_query`` and ``_fragment``, wherever a URL is built."""

    routes = [
        Route("/a/{b}", saying("x"), name="a"),
        Mount("/m", name="m", routes=[Route("/a/{b}", saying("x"), name="a")]),
        Host("h.example", Router([Route("/a/{b}", saying("x"), name="a")]), name="h"),
        WebSocketRoute("/ws", accept_and_close, name="ws"),
    ]
    suffix = {"_query": {"q": ["1", "ä"]}, "_fragment": "top"}

    @pytest.mark.parametrize("make", [Router, lambda routes: Spica(routes=routes)])
    def test_paths(self, make: Any) -> None:
        app = make(self.routes)
        assert app.url_path_for("a", b="c d", **self.suffix) == "/a/c%20d?q=1&q=%C3%A4#top"
        assert app.url_path_for("m:a", b=1, **self.suffix) == "/m/a/1?q=1&q=%C3%A4#top"
        assert app.url_path_for("m", path="x", _query="a=1") == "/m/x?a=1"
        assert app.url_path_for("a", b=1, _query=None, _fragment=None) == "/a/1"
        url = app.url_path_for("h:a", b=1, **self.suffix)
        assert (
            url.make_absolute_url("https://x.example/") == "https://h.example/a/1?q=1&q=%C3%A4#top"
        )
        url = app.url_path_for("ws", _query={"a": 1})
        assert url.make_absolute_url("https://x.example/") == "wss://x.example/ws?a=1"

    def test_of_a_mount_and_a_host_by_themselves(self) -> None:
        assert self.routes[1].url_path_for("m:a", b=1, _fragment="x") == "/m/a/1#x"
        assert self.routes[2].url_path_for("h:a", b=1, _query=[("a", 1)]) == "/a/1?a=1"

    async def test_of_a_request(self) -> None:
        async def endpoint(request: Request) -> PlainTextResponse:
            return PlainTextResponse(
                str(request.url_for("a", b=1, _query={"q": "x"}, _fragment="y"))
            )

        router = Router([Route("/", endpoint), *self.routes])
        scope = http_scope("GET", "/", headers=[("host", "x.example")])
        assert (await Exchange(scope).run(router)).text == "http://x.example/a/1?q=x#y"

    def test_of_a_route_of_another_kind(self) -> None:
        class Own(BaseRoute):
            def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
                assert path_params == {"b": 1}
                return URLPath("/own", "http")

        assert Router([Own()]).url_path_for("x", b=1, _query="a") == "/own?a"

    def test_what_is_no_query(self) -> None:
        with pytest.raises(TypeError, match="query of a URL must be"):
            Router(self.routes).url_path_for("a", b=1, _query=5)


class TestSlashes:
    routes = [
        Route("/a", saying("a")),
        Route("/b/", saying("b")),
        Route("/p", saying("p"), methods=["POST"]),
        Mount("/m", routes=[Route("/", saying("m")), Route("/x", saying("x"))]),
        WebSocketRoute("/ws", accept_and_close),
    ]

    @pytest.mark.parametrize(
        ("path", "location"),
        [
            ("/a/", "/a"),
            ("/a//", "/a"),
            ("/b", "/b/"),
            ("/m", "/m/"),
            ("/m/x/", "/m/x"),
            ("/b?q=1&r=%20", "/b/?q=1&r=%20"),
        ],
    )
    async def test_the_path_with_the_other_slash(self, path: str, location: str) -> None:
        exchange = await call(Spica(routes=self.routes), path=path)
        assert exchange.status == 307
        assert exchange.headers["location"].removeprefix("http://example.org") == location

    @pytest.mark.parametrize("make", [Router, lambda routes: Spica(routes=routes)])
    async def test_no_path_at_all_has_no_other(self, make: Any) -> None:
        """As in "OPTIONS *", and where a server takes the root_path off: nothing leads to "/"."""
        assert (await call(make([Route("/", saying("root"))]), path="")).status == 404

    async def test_it_is_relative_so_that_no_host_leads_elsewhere(self) -> None:
        """RFC 9110 s.10.2.2: Location is a reference, relative to the target."""
        exchange = await call(Router(self.routes), path="/b", headers=[("host", "evil.example")])
        assert exchange.headers["location"] == "/b/"

    async def test_it_cannot_lead_to_another_host(self) -> None:
        app = Router([Route("/{rest:path}/", saying("any"))])
        exchange = await call(app, path="//evil.example/x")
        assert exchange.headers["location"] == "/evil.example/x/"

    @pytest.mark.parametrize("path", ["/b", "/api/b"])
    async def test_it_has_the_prefix_of_the_application(self, path: str) -> None:
        exchange = await call(Router(self.routes), path=path, root_path="/api")
        assert exchange.headers["location"] == "/api/b/"

    async def test_special_characters_stay_encoded(self) -> None:
        app = Router([Route("/{x}/", saying("x"))])
        exchange = await call(app, path="/é b")
        assert exchange.headers["location"] == "/%C3%A9%20b/"

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/", 404),
            ("GET", "/c/", 404),
            ("GET", "/p/", 404),
            ("POST", "/a/", 404),
            ("POST", "/p/", 307),
            ("GET", "/ws/", 404),
        ],
    )
    async def test_only_where_the_other_path_is_served(
        self, method: str, path: str, status: int
    ) -> None:
        assert (await call(Router(self.routes), method, path)).status == status

    async def test_it_can_be_switched_off(self) -> None:
        router = Router(self.routes, redirect_slashes=False)
        assert (await call(router, path="/b")).status == 404
        router.redirect_slashes = True
        assert (await call(router, path="/b")).status == 307


class TestLinks:
    router = Router(
        [
            Route("/", answer, name="home"),
            Route("/u/{id:int}", answer, name="user"),
            Route("/v/{id:int}/{tab}", answer, name="user"),
            Mount("/m", name="m", routes=[Route("/x", answer, name="x")]),
        ]
    )

    def test_the_route_with_the_name_and_the_parameters(self) -> None:
        assert self.router.url_path_for("user", id=1) == "/u/1"
        assert self.router.url_path_for("user", id=1, tab="a") == "/v/1/a"
        assert self.router.url_path_for("m:x") == "/m/x"

    def test_what_there_is_not_is_named(self) -> None:
        with pytest.raises(NoMatchFound) as info:
            self.router.url_path_for("usr", id=1)
        message = 'No route exists for name "usr" and params "id". Did you mean "user"?'
        assert str(info.value) == message

    async def test_absolute_urls(self) -> None:
        async def link(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str(request.url_for("m:x")))

        app = Spica(routes=[*self.router.routes, Route("/link", link)])
        exchange = await call(app, path="/api/link", root_path="/api")
        assert exchange.text == "http://example.org/api/m/x"


class TestAdding:
    async def test_each_way(self) -> None:
        router = Router()
        router.add_route("/a", saying("a"), methods=["POST"], name="n", include_in_schema=False)
        router.add_websocket_route("/ws", accept_and_close, name="ws")
        router.mount("/m", foreign, name="m")
        router.host("example.org", foreign, name="h")
        kinds = [type(route).__name__ for route in router.routes]
        assert kinds == ["Route", "WebSocketRoute", "Mount", "Host"]
        assert [route.name for route in router.routes] == ["n", "ws", "m", "h"]  # type: ignore[attr-defined]
        assert router.routes[0].include_in_schema is False  # type: ignore[attr-defined]
        assert (await call(router, "POST", "/a")).text == "a"

    def test_equality(self) -> None:
        assert Router([Route("/", answer)]) == Router([Route("/", answer)])
        assert Router([Route("/", answer)]) != Router()

    @pytest.mark.parametrize("make", [Router, lambda routes: Spica(routes=routes)])
    def test_what_is_no_route_is_refused(self, make: Any) -> None:
        with pytest.raises(
            TypeError, match="Router: routes must be Route, Mount and the like"
        ) as info:
            make([foreign])
        assert str(info.value).endswith(">. Write Route('/path', function).")

    def test_a_mapping_is_no_list_of_routes(self) -> None:
        with pytest.raises(
            TypeError, match=r"Mount and the like, not '/'\. Write \[Route\('/', function"
        ):
            Router({"/": answer})  # type: ignore[arg-type]


class TestAsApp:
    async def test_middleware_stands_around_the_routes(self) -> None:
        class Note:
            def __init__(self, app: Any, name: str) -> None:
                self.app, self.name = app, name

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                scope.setdefault("notes", []).append((self.name, scope["type"]))
                await self.app(scope, receive, send)

        router = Router(
            [Route("/a", saying("a")), WebSocketRoute("/ws", accept_and_close)],
            middleware=[Middleware(Note, "outer"), Middleware(Note, "inner")],
        )
        exchange = await call(router, path="/a")
        assert (exchange.text, exchange.scope["notes"]) == (
            "a",
            [("outer", "http"), ("inner", "http")],
        )
        exchange = await Exchange(websocket_scope("/ws")).run(router)
        assert exchange.scope["notes"] == [("outer", "websocket"), ("inner", "websocket")]

    @pytest.mark.parametrize(("size", "status"), [(4, 200), (5, 200), (6, 413)])
    async def test_a_body_limit(self, size: int, status: int) -> None:
        async def read(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str(len(await request.body())))

        router = Router([Route("/", read, methods=["POST"])], max_body_size=5)
        assert (await call(router, "POST", body=b"x" * size)).status == status

    async def test_another_kind_of_scope_is_an_error(self) -> None:
        message = "Router serves scopes of type 'http', 'websocket' and 'lifespan', not 'mqtt'"
        with pytest.raises(RuntimeError, match=message):
            await Router()({"type": "mqtt"}, None, None)  # type: ignore[arg-type]

    async def test_app_alone_serves_the_routes_without_the_middleware(self) -> None:
        router = Router([Route("/", saying("ok"))], middleware=[Middleware(lambda app: foreign)])
        exchange = await Exchange(http_scope()).run(router.app)
        assert exchange.text == "ok"
        assert (await call(router)).text == "foreign"


# -- copies --------------------------------------------------------------------------------------------


async def test_a_copy_begins_with_the_same_list() -> None:
    """cadwyn copies routers, and gives each copy routes of its own."""
    router = Router([Route("/a", saying("a"))])
    copied = copy.copy(router)
    assert copied.routes is router.routes
    copied.routes = [Route("/b", saying("b"))]
    assert [route.path for route in router.routes] == ["/a"]
    assert (await call(router, path="/a")).body == b"a"
    assert (await call(router, path="/b")).status == 404
    assert (await call(copied, path="/b")).body == b"b"
    assert (await call(copied, path="/a")).status == 404


async def test_a_deep_copy_serves_its_own_routes() -> None:
    router = Router([Route("/a", saying("a"))])
    copied = copy.deepcopy(router)
    copied.routes.append(Route("/b", saying("b")))
    assert (await call(copied, path="/b")).body == b"b"
    assert (await call(router, path="/b")).status == 404


def test_a_copy_keeps_the_lifespans() -> None:
    router = Router(lifespan=[])
    copied = copy.copy(router)
    copied.lifespan_context = accept_and_close
    assert repr(router.lifespan_context) == "<lifespan of nothing>"
    assert "accept_and_close" in repr(copied.lifespan_context)
