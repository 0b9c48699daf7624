"""Tests of spica/auth/default.py."""

import pytest
from asgi_kit import Exchange, call, websocket_scope

from spica.applications import Spica
from spica.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from spica.exceptions import SpicaConfigurationWarning
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.responses import PlainTextResponse
from spica.routing import Host, Mount, Route, WebSocketRoute

pytestmark = pytest.mark.anyio

USER = [(b"x-user", b"ann")]


class HeaderBackend(AuthenticationBackend):
    """Believes a header."""

    async def authenticate(self, conn):
        name = conn.headers.get("x-user")
        return (AuthCredentials(["authenticated"]), SimpleUser(name)) if name else None


async def endpoint(request):
    return PlainTextResponse("served")


async def socket(websocket):
    await websocket.accept()
    await websocket.close()


async def foreign(scope, receive, send):
    await PlainTextResponse("served")(scope, receive, send)


ROUTES = [
    Route("/open", endpoint, public=True),
    Route("/closed", endpoint),
    Route("/posted", endpoint, methods=["POST"], public=True),
    Route("/mixed", endpoint, public=True),
    Route("/mixed", endpoint, methods=["POST"]),
    Route("/items/{id:int}", endpoint, public=True),
    Route("/items/{id}", endpoint),
    Mount("/static", foreign, public=True),
    Mount("/foreign", foreign),
    Mount("/sub", routes=[Route("/open", endpoint, public=True), Route("/closed", endpoint)]),
    Mount("/app", Spica(routes=[Route("/open", endpoint, public=True), Route("/c", endpoint)])),
    Host("public.example", foreign, public=True),
    WebSocketRoute("/ws/open", socket, public=True),
    WebSocketRoute("/ws/closed", socket),
]


def make_app(**options):
    recipe = Middleware(AuthenticationMiddleware, backend=HeaderBackend(), **options)
    return Spica(routes=ROUTES, middleware=[recipe], default_scopes=["authenticated"])


async def status_of(method, path, headers=(), app=None, **more):
    exchange = await call(app or make_app(), method, path, headers=headers, **more)
    return exchange.status


async def first_message(app, path, headers=()):
    exchange = Exchange(websocket_scope(path, headers=headers), [{"type": "websocket.connect"}])
    await exchange.run(app)
    return exchange.types[0]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/open", 200),
        ("GET", "/closed", 403),
        ("GET", "/posted", 405),
        ("POST", "/posted", 200),
        ("GET", "/mixed", 200),
        ("POST", "/mixed", 403),
        ("GET", "/items/7", 200),
        ("GET", "/items/a", 403),
        ("GET", "/static/a.css", 200),
        ("GET", "/foreign/a", 403),
        ("GET", "/sub/open", 200),
        ("GET", "/sub/closed", 403),
        ("GET", "/sub/unknown", 403),
        ("GET", "/app/open", 200),
        ("GET", "/app/c", 403),
        ("GET", "/unknown", 403),
        ("GET", "//open", 403),
        ("GET", "/closed/", 403),
    ],
)
async def test_a_stranger_reaches_public_routes_only(method, path, status):
    assert await status_of(method, path) == status


@pytest.mark.parametrize(
    ("path", "status"),
    [("/closed", 200), ("/foreign/a", 200), ("/app/c", 200), ("/unknown", 404), ("/closed/", 307)],
)
async def test_a_user_reaches_everything(path, status):
    assert await status_of("GET", path, USER) == status


async def test_a_public_host_is_served():
    assert await status_of("GET", "/any", [(b"host", b"public.example")]) == 200


async def test_a_prefix_of_the_server_is_no_way_around():
    assert await status_of("GET", "/api/closed", root_path="/api") == 403
    assert await status_of("GET", "/api/open", root_path="/api") == 200


async def test_a_stranger_gets_the_challenge():
    app = make_app(challenge="Bearer")
    exchange = await call(app, path="/closed")
    assert (exchange.status, exchange.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("path", "headers", "kind"),
    [
        ("/ws/open", (), "websocket.accept"),
        ("/ws/closed", USER, "websocket.accept"),
        ("/ws/closed", (), "websocket.close"),
        ("/ws/unknown", (), "websocket.close"),
    ],
)
async def test_a_websocket_needs_the_scopes(path, headers, kind):
    assert await first_message(make_app(), path, headers) == kind


async def test_decorators_take_public():
    app = Spica(
        middleware=[Middleware(AuthenticationMiddleware, backend=HeaderBackend())],
        default_scopes=["authenticated"],
    )
    app.get("/open", public=True)(endpoint)
    app.get("/closed")(endpoint)
    app.websocket("/ws", public=True)(socket)
    app.mount("/static", foreign, public=True)

    assert await status_of("GET", "/open", app=app) == 200
    assert await status_of("GET", "/closed", app=app) == 403
    assert await status_of("GET", "/static/x", app=app) == 200
    assert await first_message(app, "/ws") == "websocket.accept"


async def test_a_route_that_is_added_later_is_protected():
    app = make_app()
    assert await status_of("GET", "/open", app=app) == 200
    app.add_route("/late", endpoint)
    assert await status_of("GET", "/late", app=app) == 403


async def test_a_stack_that_is_built_again_has_one_layer():
    app = make_app()
    await status_of("GET", "/open", app=app)
    layer = app.router.middleware_stack
    app.middleware_stack = None
    app.default_scopes = ["admin"]
    assert await status_of("GET", "/closed", USER, app=app) == 403
    assert app.router.middleware_stack is layer


async def test_authentication_is_needed():
    app = Spica(routes=ROUTES, default_scopes=["authenticated"])
    with pytest.warns(SpicaConfigurationWarning, match="default_scopes needs Authentication"):
        assert await status_of("GET", "/open", app=app) == 200
    with pytest.raises(AssertionError, match="AuthenticationMiddleware must be installed"):
        await status_of("GET", "/closed", app=app)


async def test_a_mounted_application_uses_the_users_of_the_outer_one():
    inner = Spica(routes=[Route("/closed", endpoint)], default_scopes=["authenticated"])
    layer = Middleware(AuthenticationMiddleware, backend=HeaderBackend(), challenge="Bearer")
    app = Spica(routes=[Mount("/in", inner)], middleware=[layer])
    assert await status_of("GET", "/in/closed", app=app) == 401
    assert await status_of("GET", "/in/closed", USER, app=app) == 200


@pytest.mark.parametrize("scopes", ["authenticated", [], 7, [7]])
def test_the_scopes_are_a_list(scopes):
    with pytest.raises((TypeError, ValueError), match="Spica: default_scopes must be"):
        Spica(default_scopes=scopes)


@pytest.mark.parametrize("make", [Route, WebSocketRoute, Mount])
def test_public_is_a_flag(make):
    with pytest.raises(TypeError, match="public must be True or False"):
        make("/", endpoint, public="no")
