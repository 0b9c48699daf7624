"""Route tables that are changed and read from outside, also while the application serves."""

import copy

import pytest
from asgi_kit import call

pytestmark = pytest.mark.anyio


def answer(text):
    async def endpoint(request):
        from starlette.responses import PlainTextResponse

        return PlainTextResponse(text)

    return endpoint


@pytest.fixture
def app():
    from starlette.applications import Starlette
    from starlette.routing import Route

    return Starlette(
        routes=[
            Route("/a", answer("a"), name="a"),
            Route("/b", answer("b"), name="b"),
            Route("/{rest:path}", answer("rest"), name="rest"),
        ]
    )


async def text_of(app, path, **options):
    return (await call(app, "GET", path, **options)).text


@pytest.fixture
async def serving(app):
    """The application, after it has served."""
    assert await text_of(app, "/a") == "a"
    return app


async def test_the_whole_list_is_replaced(serving):  # sqladmin, fasthtml
    serving.router.routes = [each for each in serving.routes if each.name != "a"]
    assert await text_of(serving, "/a") == "rest"
    serving.router.routes.reverse()
    assert await text_of(serving, "/b") == "rest"
    serving.router.routes.clear()
    assert (await call(serving, "GET", "/b")).status == 404


async def test_a_slice_is_assigned_and_a_route_removed(serving):  # nicegui
    serving.routes[:] = [each for each in serving.routes if each.name != "rest"]
    assert (await call(serving, "GET", "/c")).status == 404
    serving.routes.remove(serving.routes[0])
    assert (await call(serving, "GET", "/a")).status == 404
    assert await text_of(serving, "/b") == "b"


async def test_routes_are_inserted_appended_and_sorted(serving):  # starlette-admin, shiny, fasthtml
    from starlette.routing import Mount, Route

    serving.routes.insert(0, Route("/c", answer("c"), name="c"))
    serving.routes.insert(0, Mount("/m", routes=[Route("/d", answer("d"))], name="m"))
    assert [await text_of(serving, path) for path in ("/c", "/m/d", "/a")] == ["c", "d", "a"]
    serving.routes.append(Route("/a", answer("never"), name="z"))
    serving.routes.sort(key=lambda each: each.name, reverse=True)
    assert await text_of(serving, "/a") == "never"


async def test_a_route_of_its_own_kind_matches_as_it_likes(serving):  # FastAPI's included routers
    from starlette.responses import PlainTextResponse
    from starlette.routing import BaseRoute, Match, NoMatchFound

    class Dynamic(BaseRoute):
        paths = {"/x"}

        def matches(self, scope):
            if scope["path"] in self.paths:
                return Match.FULL, {"endpoint": self}
            return Match.NONE, {}

        def url_path_for(self, name, /, **path_params):
            raise NoMatchFound(name, path_params)

        async def handle(self, scope, receive, send):
            await PlainTextResponse("dynamic")(scope, receive, send)

    serving.routes.insert(0, Dynamic())
    assert [await text_of(serving, path) for path in ("/x", "/y")] == ["dynamic", "rest"]
    Dynamic.paths = {"/y"}
    assert [await text_of(serving, path) for path in ("/x", "/y")] == ["rest", "dynamic"]
    assert str(serving.url_path_for("a")) == "/a"


async def test_a_route_may_override_matches(serving):  # fasthtml
    from starlette.routing import Match, Route

    class Shy(Route):
        def matches(self, scope):
            match, child_scope = super().matches(scope)
            headers = dict(scope["headers"])
            return (match, child_scope) if b"hx-request" in headers else (Match.NONE, {})

    serving.routes.insert(0, Shy("/a", answer("shy")))
    assert await text_of(serving, "/a") == "a"
    assert await text_of(serving, "/a", headers=[("hx-request", "true")]) == "shy"


async def test_methods_are_written_as_a_list(serving):  # fasthtml
    route = serving.routes[0]
    route.methods = ["POST"]
    assert (await call(serving, "POST", "/a")).text == "a"
    assert (await call(serving, "GET", "/a")).text == "rest"
    assert (await call(serving, "DELETE", "/a")).headers["allow"] == "GET, HEAD, POST"


def test_others_match_a_minimal_scope(app):
    # nicegui, opentelemetry, sentry, prometheus-fastapi-instrumentator, slowapi, apitally, ...
    from starlette.routing import Host, Match, Mount, WebSocketRoute

    scope = {"type": "http", "method": "POST", "path": "/a", "headers": []}
    before = copy.deepcopy(scope)
    match = app.routes[0].matches(scope)
    assert match[0] == Match.PARTIAL
    assert match[0] is Match.PARTIAL
    match, child_scope = app.routes[0].matches({**scope, "method": "GET"})
    assert match is Match.FULL
    assert child_scope["path_params"] == {}
    assert WebSocketRoute("/a", answer("")).matches(scope)[0] == Match.NONE
    assert Mount("/a", app=app).matches({**scope, "path": "/a/b"})[0] == Match.FULL
    assert Host("example.org", app).matches(scope)[0] == Match.NONE
    assert scope == before


async def test_others_match_before_and_after_routing():
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Match, Mount, Route

    seen = []

    class Telemetry:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            self.look(scope)
            await self.app(scope, receive, send)
            self.look(scope)

        def look(self, scope):
            scope = {**scope, "path": "/m/u/7", "root_path": ""}
            for route in scope["app"].routes:
                match, child_scope = route.matches(scope)
                if match == Match.FULL:
                    below = {**scope, **child_scope}
                    inner = [each for each in route.routes if each.matches(below)[0] == Match.FULL]
                    seen.append([route.path + each.path for each in inner])

    async def user(request):
        return PlainTextResponse(str(request.path_params["id"]))

    app = Starlette(routes=[Mount("/m", routes=[Route("/u/{id:int}", user)])])
    app.add_middleware(Telemetry)
    assert await text_of(app, "/m/u/7") == "7"
    assert seen == [["/m/u/{id:int}"]] * 2


def test_attributes_are_read(app):
    from starlette.routing import Host, Mount

    route = app.routes[2]
    assert (route.path, route.name, route.methods) == ("/{rest:path}", "rest", {"GET", "HEAD"})
    assert callable(route.endpoint)
    assert callable(route.app)
    assert route.include_in_schema is True
    assert route.path_format == "/{rest}"
    assert list(route.param_convertors) == ["rest"]
    assert route.path_regex.match("/x/y").groupdict() == {"rest": "x/y"}
    mount = Mount("/m", app=app, name="m")
    assert (mount.path, mount.name, mount.app) == ("/m", "m", app)
    assert mount.routes is app.routes
    assert Host("h", app).routes is app.routes
    assert app.router.redirect_slashes is True


async def test_a_copied_mount_gets_another_path(serving):  # FastAPI
    from starlette.routing import Mount, compile_path

    mount = Mount("/m", app=serving, name="m")
    twin = copy.copy(mount)
    twin.path = "/api/m"
    twin.path_regex, twin.path_format, twin.param_convertors = compile_path("/api/m/{path:path}")
    outer = type(serving)(routes=[mount, twin])
    assert [await text_of(outer, path) for path in ("/m/a", "/api/m/b")] == ["a", "b"]
    assert (mount.path, mount.path_format) == ("/m", "/m/{path}")
    assert str(twin.url_path_for("m", path="/x")) == "/api/m/x"


async def test_the_stack_is_reset_and_the_middleware_list_changed(serving):
    # nicegui, gradio, apitally, opentelemetry, elastic-apm
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.middleware.sessions import SessionMiddleware

    async def mark(request, call_next):
        response = await call_next(request)
        response.headers["x-mark"] = "yes"
        return response

    recipe = Middleware(BaseHTTPMiddleware, dispatch=mark)
    serving.user_middleware.append(recipe)
    assert "x-mark" not in (await call(serving, "GET", "/a")).headers
    serving.middleware_stack = None
    assert (await call(serving, "GET", "/a")).headers["x-mark"] == "yes"
    serving.user_middleware.insert(0, Middleware(SessionMiddleware, secret_key="secret" * 6))
    first = serving.user_middleware[0]
    assert (first.cls, first.kwargs["secret_key"], first.args) == (
        SessionMiddleware,
        "secret" * 6,
        (),
    )
    serving.user_middleware.clear()
    serving.middleware_stack = None
    assert "x-mark" not in (await call(serving, "GET", "/a")).headers


async def test_lifespans_are_wrapped_by_assignment(serving):  # gradio, nicegui, fastmcp, fasthtml
    from contextlib import asynccontextmanager

    seen = []
    inner = serving.router.lifespan_context

    @asynccontextmanager
    async def outer(app):
        seen.append("begin")
        async with inner(app) as state:
            yield {**(state or {}), "key": "value"}
        seen.append("end")

    serving.router.lifespan_context = outer
    async with serving.router.lifespan_context(serving) as state:
        assert state == {"key": "value"}
    assert seen == ["begin", "end"]
    from starlette.testclient import TestClient

    with TestClient(serving) as client:
        assert client.get("/a").text == "a"
    assert seen == ["begin", "end"] * 2


async def test_a_route_whose_endpoint_does_not_fit_may_be_made_and_never_served():
    from starlette.routing import Route, WebSocketRoute

    async def endpoint(item_id, more): ...

    for route_class in (Route, WebSocketRoute):
        assert route_class("/items/{item_id:int}", endpoint).endpoint is endpoint
