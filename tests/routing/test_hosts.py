"""Routes to another application for a host name."""

from typing import Any

import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope

from spica.applications import Spica
from spica.requests import Request
from spica.responses import JSONResponse, PlainTextResponse
from spica.routing import Host, Match, Mount, NoMatchFound, Route, Router
from spica.routing.hosts import HostRun

pytestmark = pytest.mark.anyio


async def tell(request: Request) -> JSONResponse:
    return JSONResponse({"path": request.scope["path"], "params": request.path_params})


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("foreign")(scope, receive, send)


class TestHost:
    def test_it_takes_an_app(self) -> None:
        with pytest.raises(TypeError, match=r"^Host\('a.b'\): app must be an ASGI app, not 5"):
            Host("a.b", 5)  # type: ignore[arg-type]

    def host_scope(self, host: str, path: str = "/") -> Any:
        return http_scope(path=path, headers=[("host", host)])

    @pytest.mark.parametrize("pattern", ["api.example.org", "Api.example.org.:80", "api.{x}.org."])
    @pytest.mark.parametrize(
        "host",
        ["api.example.org", "API.example.org:8000", "api.example.org.", "api.example.org.:1"],
    )
    async def test_case_port_and_a_final_dot_do_not_count(self, pattern: str, host: str) -> None:
        route = Host(pattern, foreign)
        assert route.matches(self.host_scope(host))[0] is Match.FULL
        assert (await Exchange(self.host_scope(host)).run(Router([route]))).status == 200

    @pytest.mark.parametrize("pattern", ["a.org", "{name}.org", "c.org"])
    @pytest.mark.parametrize("outer", [Spica, Router])
    async def test_contradicting_host_fields_are_400(self, pattern: str, outer: Any) -> None:
        """RFC 9112 s.3.2."""
        app = outer(routes=[Host(pattern, foreign), Mount("/", foreign)])
        headers = [("host", "a.org"), ("host", "b.org")]
        exchange = await call(app, headers=headers)
        assert (exchange.status, exchange.text) == (400, "Contradicting Host header fields")
        assert (await call(app.routes[0], headers=headers)).status == 400
        repeated = await call(app, headers=[("host", "a.org"), ("host", "a.org")])
        assert repeated.status == 200

    @pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
    async def test_contradicting_host_fields_refuse_a_handshake(self, extensions: Any) -> None:
        headers = [("host", "a.org"), ("host", "b.org")]
        scope = websocket_scope(headers=headers, extensions=extensions)
        exchange = await Exchange(scope).run(Spica(routes=[Host("a.org", foreign)]))
        start = exchange.sent[0]
        assert start["type"] in ("websocket.close", "websocket.http.response.start")
        assert start.get("status", 400) == 400

    async def test_contradicting_host_fields_do_not_matter_to_routes_before_it(self) -> None:
        routes = [Route("/", tell), Host("a.org", foreign)]
        headers = [("host", "a.org"), ("host", "b.org")]
        assert (await call(Router(routes), headers=headers)).status == 200

    @pytest.mark.parametrize(
        ("host", "answer"),
        [("a.org", "a"), ("b.org", "any b"), ("c.org", "any c"), ("A.org:1", "a"), ("x", "404")],
    )
    async def test_the_first_of_several_hosts_that_matches_is_served(
        self, host: str, answer: str
    ) -> None:
        async def tenant(request: Request) -> PlainTextResponse:
            return PlainTextResponse(f"any {request.path_params['name']}")

        routes = [
            Host("a.org", PlainTextResponse("a")),
            Host("A.org", PlainTextResponse("second a")),
            Host("{name}.org", Router([Route("/", tenant)])),
            Host("b.org", PlainTextResponse("b")),
            Host("{rest:path}.org", PlainTextResponse("rest")),
        ]
        exchange = await Exchange(self.host_scope(host)).run(Router(routes))
        assert (exchange.text if exchange.status == 200 else str(exchange.status)) == answer

    async def test_the_cost_does_not_grow_with_the_number_of_names(self) -> None:
        compared = []

        class Pattern(str):
            def match(self, name: str) -> None:
                compared.append(name)

        routes = [Host(f"h{number}.org", PlainTextResponse(str(number))) for number in range(200)]
        for route in routes:
            route.host_regex = Pattern()  # type: ignore[assignment]
        exchange = await Exchange(self.host_scope("h199.org")).run(Router(routes))
        assert (exchange.text, compared) == ("199", [])

    @pytest.mark.parametrize("host", ["example.org", "x.api.example.org", "", "a b", "["])
    def test_other_and_malformed_hosts_do_not_match(self, host: str) -> None:
        assert Host("api.example.org", foreign).matches(self.host_scope(host)) == (Match.NONE, {})

    def test_without_a_host_field_it_does_not_match(self) -> None:
        assert Host("example.org", foreign).matches(http_scope()) == (Match.NONE, {})

    def test_an_ipv6_address(self) -> None:
        assert Host("[::1]", foreign).matches(self.host_scope("[::1]:8000"))[0] is Match.FULL

    async def test_parameters_reach_the_endpoint(self) -> None:
        app = Spica(routes=[Host("{tenant}.example.org", Router([Route("/{id:int}", tell)]))])
        exchange = await Exchange(self.host_scope("acme.example.org", "/7")).run(app)
        assert exchange.json["params"] == {"tenant": "acme", "id": 7}

    async def test_it_takes_its_place_in_the_order(self) -> None:
        routes = [Host("api.example.org", PlainTextResponse("api")), Route("/", tell)]
        exchange = await Exchange(self.host_scope("api.example.org")).run(Spica(routes=routes))
        assert exchange.text == "api"
        exchange = await Exchange(self.host_scope("www.example.org")).run(Spica(routes=routes))
        assert exchange.json["path"] == "/"

    def test_links(self) -> None:
        router = Router([Route("/{id:int}", tell, name="item")])
        host = Host("{tenant}.example.org", router, name="tenant")
        url = host.url_path_for("tenant:item", tenant="acme", id=7)
        assert (url, url.host) == ("/7", "acme.example.org")
        url = host.url_path_for("tenant", tenant="acme", path="/x y")
        assert (url, url.host) == ("/x%20y", "acme.example.org")
        assert str(url.make_absolute_url("https://www.example.org/")).startswith(
            "https://acme.example.org/x%20y"
        )

    @pytest.mark.parametrize("params", [{}, {"id": 7}, {"tenant": "a"}])
    def test_links_there_are_not(self, params: dict[str, Any]) -> None:
        host = Host("{tenant}.example.org", Router([Route("/{id:int}", tell, name="item")]))
        with pytest.raises(NoMatchFound):
            host.url_path_for("item", **params)

    def test_a_link_with_other_parameters_says_so(self) -> None:
        host = Host("{tenant}.example.org", Router([Route("/{id:int}", tell, name="item")]))
        with pytest.raises(NoMatchFound, match=r"The route of this name has other param"):
            host.url_path_for("item", id=7)

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match="Host must not start with '/'"):
            Host("/a", foreign)

    def test_equality_and_repr(self) -> None:
        assert Host("a", foreign) == Host("a", foreign)
        assert Host("a", foreign) != Host("b", foreign)
        assert repr(Host("a", foreign, "n")) == f"Host(host='a', name='n', app={foreign!r})"


@pytest.mark.parametrize(("name", "found"), [("a.org", 0), ("b.org", 1), ("c.org", 1), ("x", None)])
def test_a_run_finds_the_first_route_for_a_name(name: str, found: int | None) -> None:
    routes = [Host("a.org", foreign), Host("{tenant}.org", foreign), Host("b.org", foreign)]
    run = HostRun()
    for order, route in enumerate(routes):
        run.add(route, order)
    result = run.find(name)
    assert (None if result is None else routes.index(result[0])) == found
