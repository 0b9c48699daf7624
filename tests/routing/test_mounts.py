"""Routes to another application below a path prefix."""

from typing import Any

import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope

from spica.applications import Spica
from spica.middleware import Middleware
from spica.requests import Request
from spica.responses import JSONResponse, PlainTextResponse
from spica.routing import Match, Mount, NoMatchFound, Route, Router, WebSocketRoute

pytestmark = pytest.mark.anyio


async def tell(request: Request) -> JSONResponse:
    scope = request.scope
    return JSONResponse(
        {
            "path": scope["path"],
            "root_path": scope["root_path"],
            "app_root_path": scope.get("app_root_path"),
            "params": request.path_params,
            "url": str(request.url),
            "base_url": str(request.base_url),
        }
    )


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse(f"{scope['root_path']} {scope['path']}")(scope, receive, send)


class TestMount:
    async def test_the_prefix_is_the_root_path_and_the_path_stays_whole(self) -> None:
        app = Spica(routes=[Mount("/a", routes=[Mount("/b", routes=[Route("/c", tell)])])])
        told = (await call(app, path="/a/b/c")).json
        assert (told["path"], told["root_path"], told["app_root_path"]) == ("/a/b/c", "/a/b", "")

    @pytest.mark.parametrize("root_path", ["/api", "/api/"])
    async def test_the_prefix_of_the_application_stays_known(self, root_path: str) -> None:
        app = Spica(routes=[Mount("/a", routes=[Route("/c", tell)])])
        told = (await call(app, path="/api/a/c", root_path=root_path)).json
        assert (told["root_path"], told["app_root_path"]) == ("/api/a", "/api")
        assert told["base_url"] == "http://example.org/api/"
        assert told["url"] == "http://example.org/api/a/c"

    @pytest.mark.parametrize("root_path", ["/api", "/api/"])
    @pytest.mark.parametrize("path", ["/a/b/c", "/api/a/b/c"])
    async def test_a_prefix_may_be_in_the_path_or_stripped_by_the_proxy(
        self, path: str, root_path: str
    ) -> None:
        inner = Mount("/{x}", routes=[Route("/c", tell)])
        for app in (
            Spica(routes=[Mount("/a", routes=[inner])]),
            Router([Mount("/a", Router([inner]))]),
        ):
            told = (await call(app, path=path, root_path=root_path)).json
            assert (told["path"], told["root_path"]) == ("/api/a/b/c", "/api/a/b")
            assert told["base_url"] == "http://example.org/api/"
            assert told["url"] == "http://example.org/api/a/b/c"

    async def test_a_foreign_app_gets_a_path_with_the_stripped_prefix(self) -> None:
        app = Router([Mount("/a", app=foreign)])
        assert (await call(app, path="/a/c", root_path="/api")).text == "/api/a /api/a/c"

    def test_matches_returns_the_path_only_where_it_changes(self) -> None:
        mount = Mount("/a", app=foreign)
        _, whole = mount.matches(http_scope(path="/api/a/c", root_path="/api"))
        _, stripped = mount.matches(http_scope(path="/a/c", root_path="/api"))
        assert "path" not in whole
        assert (stripped["path"], stripped["raw_path"]) == ("/api/a/c", b"/api/a/c")

    @pytest.mark.parametrize("path", ["/a/ws", "/api/a/ws"])
    async def test_a_websocket_below_a_stripped_prefix(self, path: str) -> None:
        async def endpoint(websocket: Any) -> None:
            await websocket.close(reason=websocket.url.path)

        app = Spica(routes=[Mount("/a", routes=[WebSocketRoute("/ws", endpoint)])])
        scope = websocket_scope(path, root_path="/api")
        exchange = await Exchange(scope, [{"type": "websocket.connect"}]).run(app)
        assert exchange.sent[0]["reason"] == "/api/a/ws"

    async def test_parameters_of_the_prefix_reach_the_endpoint(self) -> None:
        app = Spica(routes=[Mount("/{org}", routes=[Route("/{id:int}", tell)])])
        told = (await call(app, path="/acme/7")).json
        assert (told["params"], told["root_path"]) == ({"org": "acme", "id": 7}, "/acme")

    @pytest.mark.parametrize("path", ["/a", "/ab", "/ab/c", "/b/a/c", "/A/c"])
    async def test_only_what_is_below_the_prefix_matches(self, path: str) -> None:
        app = Router([Mount("/a", app=foreign)], redirect_slashes=False)
        assert (await call(app, path=path)).status == 404

    @pytest.mark.parametrize("path", ["/a/", "/a/b", "/a//"])
    async def test_what_is_below_it_matches(self, path: str) -> None:
        assert (await call(Router([Mount("/a", app=foreign)]), path=path)).text == f"/a {path}"

    async def test_an_empty_prefix_matches_all(self) -> None:
        assert (await call(Router([Mount("", app=foreign)]), path="/x")).text == " /x"
        assert Mount("/", app=foreign).path == ""

    def test_a_trailing_slash_makes_no_difference(self) -> None:
        assert Mount("/a/", app=foreign).path == "/a"

    async def test_websockets_pass(self) -> None:
        seen = []

        async def endpoint(websocket: Any) -> None:
            seen.append((websocket.scope["root_path"], websocket.path_params))
            await websocket.close()

        app = Spica(routes=[Mount("/{a}", routes=[WebSocketRoute("/ws", endpoint)])])
        await Exchange(websocket_scope("/x/ws")).run(app)
        assert seen == [("/x", {"a": "x"})]

    def test_other_scopes_do_not(self) -> None:
        assert Mount("/a", app=foreign).matches({"type": "lifespan"}) == (Match.NONE, {})

    def test_a_minimal_scope_will_do(self) -> None:
        scope = {"type": "http", "method": "GET", "path": "/a/b", "headers": []}
        match, child_scope = Mount("/a", app=foreign).matches(scope)
        assert match is Match.FULL
        assert child_scope["root_path"] == "/a"
        assert list(scope) == ["type", "method", "path", "headers"]

    async def test_middleware_stands_around_it(self) -> None:
        class Note:
            def __init__(self, app: Any) -> None:
                self.app = app

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                scope["noted"] = True
                await self.app(scope, receive, send)

        mount = Mount("/a", routes=[Route("/b", tell)], middleware=[Middleware(Note)])
        exchange = await call(Spica(routes=[mount]), path="/a/b")
        assert exchange.scope["noted"]
        assert [route.path for route in mount.routes] == ["/b"]  # type: ignore[attr-defined]

    @pytest.mark.parametrize(("inner", "status"), [(None, 413), (10, 200)])
    async def test_the_limit_furthest_in_wins(self, inner: Any, status: int) -> None:
        async def read(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str(len(await request.body())))

        route = Route("/b", read, methods=["POST"], max_body_size=inner)
        app = Spica(routes=[Mount("/a", routes=[route], max_body_size=5)], max_body_size=1)
        assert (await call(app, "POST", "/a/b", body=b"x" * 6)).status == status

    async def test_an_application_inside_sees_itself(self) -> None:
        async def which(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str(request.app is inner))

        inner = Spica(routes=[Route("/b", which)])
        assert (await call(Spica(routes=[Mount("/a", app=inner)]), path="/a/b")).text == "True"

    async def test_an_app_put_in_later_is_served(self) -> None:
        mount = Mount("/a", app=foreign)
        app = Spica(routes=[mount])
        await call(app, path="/a/b")
        mount.app = PlainTextResponse("another")
        assert (await call(app, path="/a/b")).text == "another"

    def test_routes_of_an_app_without_any(self) -> None:
        assert Mount("/a", app=foreign).routes == []

    def test_equality_and_repr(self) -> None:
        assert Mount("/a", app=foreign) == Mount("/a/", app=foreign)
        assert Mount("/a", app=foreign) != Mount("/b", app=foreign)
        mount = Mount("/a", app=foreign, name="n")
        assert repr(mount) == f"Mount(path='/a', name='n', app={foreign!r})"


class TestMountErrors:
    def test_nothing_to_mount(self) -> None:
        with pytest.raises(ValueError, match=r"Mount\('/a'\): Either 'app=...', or 'routes='"):
            Mount("/a")

    def test_a_path_without_its_slash(self) -> None:
        with pytest.raises(ValueError, match=r"Routed paths must start with '/'"):
            Mount("a", app=foreign)

    def test_an_app_that_is_none(self) -> None:
        with pytest.raises(TypeError, match=r"Mount\('/a'\): app must be an ASGI app, not 'app'"):
            Mount("/a", app="app")  # type: ignore[arg-type]

    def test_a_negative_limit(self) -> None:
        with pytest.raises(ValueError, match=r"Mount\('/a'\): max_body_size"):
            Mount("/a", app=foreign, max_body_size=-1)


class TestMountLinks:
    mount = Mount("/{org}", name="org", routes=[Route("/{id:int}", tell, name="item")])

    def test_of_a_route_inside(self) -> None:
        assert self.mount.url_path_for("org:item", org="a b", id=7) == "/a%20b/7"

    def test_of_the_mount_itself(self) -> None:
        assert self.mount.url_path_for("org", org="acme", path="/x/y z") == "/acme/x/y%20z"

    def test_without_a_name_the_names_inside_are_plain(self) -> None:
        mount = Mount("/a", routes=[Route("/b", tell, name="b")])
        assert mount.url_path_for("b") == "/a/b"

    def test_a_parameter_inside_may_be_called_path(self) -> None:
        mount = Mount("/a", name="m", routes=[Route("/f/{path:path}", tell, name="f")])
        assert mount.url_path_for("m:f", path="x/y") == "/a/f/x/y"

    def test_through_several_mounts(self) -> None:
        inner = Mount("/b", name="b", routes=[Route("/c", tell, name="c")])
        assert Mount("/a", name="a", routes=[inner]).url_path_for("a:b:c") == "/a/b/c"

    def test_of_a_websocket_inside(self) -> None:
        mount = Mount("/a", routes=[WebSocketRoute("/ws", tell, name="ws")])
        assert mount.url_path_for("ws").protocol == "websocket"

    @pytest.mark.parametrize(
        ("name", "params"),
        [
            ("org:item", {"org": "a"}),
            ("org:other", {"org": "a"}),
            ("org", {"org": "a", "path": "", "more": 1}),
            ("org", {"path": ""}),
            ("org", {"org": "a"}),
            ("item", {"org": "a", "id": 1}),
        ],
    )
    def test_what_there_is_not(self, name: str, params: dict[str, Any]) -> None:
        with pytest.raises(NoMatchFound):
            self.mount.url_path_for(name, **params)

    async def test_a_link_leads_back(self) -> None:
        app = Spica(routes=[self.mount])
        path = app.url_path_for("org:item", org="a?b é", id=7)
        from urllib.parse import unquote

        assert (await call(app, path=unquote(path).replace("?", "%3F"))).status == 200
        exchange = await Exchange(http_scope(path="/") | {"path": unquote(path)}).run(app)
        assert exchange.json["params"] == {"org": "a?b é", "id": 7}


async def say_hello(websocket: Any) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.url.path)
    await websocket.close()


SERVED: list[Any] = [Route("/", tell, methods=["GET", "POST"]), WebSocketRoute("/", say_hello)]


class TestBarePath:
    @pytest.mark.parametrize(
        ("option", "method", "status"),
        [
            (None, "GET", 307),
            (None, "HEAD", 307),
            (None, "POST", 200),
            (None, "PUT", 405),
            (True, "GET", 200),
            (True, "HEAD", 200),
            (True, "POST", 200),
            (False, "GET", 307),
            (False, "POST", 307),
        ],
    )
    @pytest.mark.parametrize("pattern", ["/mcp", "/{x}", "/{x:int}p"])
    async def test_it_is_served_or_redirected(
        self, pattern: str, option: bool | None, method: str, status: int
    ) -> None:
        path = "/7p" if "int" in pattern else "/mcp"
        for inner in (SERVED, [Mount("/", routes=SERVED)]):
            app = Spica(routes=[Mount(pattern, routes=inner, serve_bare_path=option)])
            exchange = await call(app, method, f"{path}?q=1")
            assert exchange.status == status
            assert exchange.headers.get("location") == (f"{path}/?q=1" if status == 307 else None)

    @pytest.mark.parametrize("path", ["/a/mcp", "/api/a/mcp"])
    async def test_the_application_sees_a_slash_at_the_end(self, path: str) -> None:
        app = Router([Mount("/a", routes=[Mount("/mcp", app=Router(SERVED))])])
        told = (await call(app, "POST", path, root_path="/api")).json
        assert (told["path"], told["root_path"]) == ("/api/a/mcp/", "/api/a/mcp")

    async def test_a_foreign_app_sees_it_too(self) -> None:
        seen: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append((scope["path"], scope["raw_path"], scope["root_path"]))
            await PlainTextResponse("ok")(scope, receive, send)

        await call(Router([Mount("/mcp", app=app, serve_bare_path=True)]), path="/mcp")
        assert seen == [("/mcp/", b"/mcp/", "/mcp")]

    @pytest.mark.parametrize(("option", "sent"), [(None, 3), (True, 3), (False, 1)])
    @pytest.mark.parametrize("pattern", ["/mcp", "/{x}"])
    async def test_a_websocket(self, pattern: str, option: bool | None, sent: int) -> None:
        app = Spica(routes=[Mount(pattern, routes=SERVED, serve_bare_path=option)])
        exchange = await Exchange(websocket_scope("/mcp"), [{"type": "websocket.connect"}]).run(app)
        assert len(exchange.sent) == sent
        if sent == 3:
            assert exchange.sent[1]["text"] == "/mcp/"

    async def test_another_route_for_the_path_wins_by_default(self) -> None:
        async def other(request: Request) -> PlainTextResponse:
            return PlainTextResponse("other")

        async def other_socket(websocket: Any) -> None:
            await websocket.close(reason="other")

        routes = [
            Mount("/mcp", routes=SERVED),
            Route("/mcp", other, methods=["POST"]),
            WebSocketRoute("/mcp", other_socket),
        ]
        assert (await call(Router(routes), "POST", "/mcp")).text == "other"
        exchange = await Exchange(websocket_scope("/mcp"), []).run(Router(routes))
        assert exchange.sent[0]["reason"] == "other"
        routes[0] = Mount("/mcp", routes=SERVED, serve_bare_path=True)
        assert (await call(Router(routes), "POST", "/mcp")).json["path"] == "/mcp/"

    async def test_a_route_with_other_methods_before_it_keeps_its_405(self) -> None:
        app = Router([Route("/mcp", tell), Mount("/mcp", routes=SERVED)])
        assert (await call(app, "POST", "/mcp")).status == 405

    @pytest.mark.parametrize(
        ("option", "method", "match"),
        [
            (None, "GET", Match.NONE),
            (None, "POST", Match.PARTIAL),
            (True, "GET", Match.FULL),
            (False, "POST", Match.NONE),
        ],
    )
    def test_matches_agrees(self, option: bool | None, method: str, match: Match) -> None:
        mount = Mount("/mcp", app=foreign, serve_bare_path=option)
        found, child_scope = mount.matches(http_scope(method, "/mcp"))
        assert found is match
        assert child_scope.get("path") == (None if match is Match.NONE else "/mcp/")

    async def test_mount_methods_take_the_option(self) -> None:
        for app in (Spica(), Router()):
            app.mount("/mcp", Router(SERVED), serve_bare_path=True)
            assert (await call(app, path="/mcp")).json["path"] == "/mcp/"

    def test_it_is_yes_or_no(self) -> None:
        with pytest.raises(TypeError, match="serve_bare_path must be True, False or None, not 'x'"):
            Mount("/a", app=foreign, serve_bare_path="x")  # type: ignore[arg-type]
