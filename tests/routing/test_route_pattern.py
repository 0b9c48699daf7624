"""The pattern of the route that served."""

from typing import Any

from asgi_kit import http_scope, websocket_scope

from spica.applications import Spica
from spica.routing import Host, Match, Mount, Route, Router, WebSocketRoute
from spica.routing.route_pattern import MAX_DEPTH, find_pattern, route_ahead, route_template


async def plain(request: Any) -> Any:
    raise AssertionError("only its pattern is needed")


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("only its pattern is needed")


def find(app: Any, path: str, route: Any, **more: Any) -> str | None:
    return find_pattern(http_scope("GET", path, route=route, app_root_path="", **more), app, "")


def test_a_route_without_mounts_is_not_searched_for() -> None:
    scope = http_scope("GET", "/elsewhere", route=Route("/{a:int}", plain))
    assert route_template(scope, None, "") == "/{a}"


def test_mounts_are_as_they_are_written() -> None:
    route = Route("/items/{id:int}", plain)
    app = Spica(routes=[Mount("/t/{t:int}", routes=[Mount("/u/", Router([route]))])])
    assert find(app, "/t/1/u/items/1", route) == "/t/{t:int}/u/items/{id:int}"
    mount = app.routes[0]
    assert find(app, "/t/1/none", mount) == "/t/{t:int}"
    assert find(app.router, "/t/1/u/items/1", route) == "/t/{t:int}/u/items/{id:int}"


def test_a_request_that_was_not_routed_leads_to_a_pattern() -> None:
    inner = Router([Route("/items/{id:int}", plain)])
    app = Spica(routes=[Mount("/t/{t:int}", inner), Mount("/foreign", foreign), Host("a.b", inner)])
    scope = http_scope("GET", "/api/t/1/items/2", root_path="/api")
    assert route_ahead(scope, app, "/api") == "/api/t/{t}/items/{id}"
    assert "route" not in scope
    assert route_ahead(http_scope("GET", "/foreign/x"), app, "") == "/foreign"
    assert route_ahead(http_scope("GET", "/t/1/none"), app, "") is None
    on_host = http_scope("GET", "/items/1", headers=[("host", "a.b")])
    assert route_ahead(on_host, app, "") is None


def test_websockets_have_the_patterns_of_their_routes() -> None:
    route = WebSocketRoute("/rooms/{id:int}", plain)
    app = Spica(routes=[Mount("/t/{t}", routes=[route]), route])
    for path, pattern in (("/rooms/1", "/rooms/{id}"), ("/t/1/rooms/2", "/t/{t}/rooms/{id}")):
        assert route_ahead(websocket_scope(path), app, "") == pattern
    served = websocket_scope("/t/1/rooms/2", route=route, app_root_path="")
    assert find_pattern(served, app, "") == "/t/{t}/rooms/{id:int}"


def test_below_the_root_path_of_the_server() -> None:
    route = Route("/x", plain)
    app = Spica(routes=[Mount("/{t}", routes=[route])])
    scope = http_scope("GET", "/api/1/x", route=route, app_root_path="/api", root_path="/api/1")
    before = {**scope}
    assert find_pattern(scope, app, "/api") == "/{t}/x"
    assert scope == before


def test_the_first_that_leads_there() -> None:
    route = Route("/x", plain)
    inner = Router([route])
    routes = [Mount("/a", Router()), Mount("/{first}", inner), Mount("/{second}", inner)]
    assert find(Router(routes), "/1/x", route) == "/{first}/x"
    assert find(Router(routes), "/a/x", route) is None


def test_many_routes_and_hosts() -> None:
    route = Route("/x/{y}", plain)
    others = [Mount(f"/{number}", Router()) for number in range(50)]
    sub = Router([*(Route(f"/{number}", plain) for number in range(50)), route])
    app = Router(
        [Host("other.org", Router()), *others, Host("{t}.org", Router([Mount("/{u}", sub)]))]
    )
    assert find(app, "/1/x/1", route, headers=[("host", "a.org")]) is None
    assert find(app, "/u/x/1", route, headers=[("host", "a.org")]) == "/{u}/x/{y}"


def test_what_has_routes_of_its_own() -> None:
    class Own(Mount):
        def matches(self, scope: Any) -> Any:
            match, keys = super().matches(scope)
            return (Match.PARTIAL if scope["path"].endswith("no") else match), keys

    route = Route("/{x}", plain)
    app = Router([Own("/{t}", Router([route]))])
    assert find(app, "/1/yes", route) == "/{t}/{x}"
    assert find(app, "/1/no", route) == "/{t}/{x}"
    other = Route("/{z}/no", plain)
    app.routes.append(other)
    assert find(app, "/1/no", other) == "/{z}/no"


def test_what_is_not_there_any_more() -> None:
    route = Route("/x", plain)
    inner = Router([route])
    app = Spica(routes=[Mount("/a", inner)])
    assert find(app, "/a/x", route) == "/a/x"
    inner.routes.clear()
    assert find(app, "/a/x", route) is None
    assert find(app, "/a/x", None) is None
    assert find(app, "/a/x", app.routes) is None


def test_behind_what_does_not_tell_what_is_in_it() -> None:
    async def hidden(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("only its pattern is needed")

    route = Route("/x", plain)
    app = Router([Mount("/{t}", hidden)])
    assert find(app, "/1/x", route, root_path="/1") == "/{t}/x"
    assert find(app, "/1/2/x", route, root_path="/1/2") is None
    assert find(app, "/1/x", app.routes[0], root_path="/1") == "/{t}"
    assert find(None, "/1/x", app.routes[0], root_path="/1") is None


def test_a_circle_has_an_end() -> None:
    app = Router()
    app.mount("", app)
    assert find(app, "/x", Route("/x", plain)) is None
    deep, route = Router(), Route("/x", plain)
    deep.routes.append(route)
    for _ in range(MAX_DEPTH - 1):
        deep = Router([Mount("", deep)])
    assert find(deep, "/x", route) == "/x"
    assert find(Router([Mount("", deep)]), "/x", route) is None
