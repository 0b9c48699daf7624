"""The way by which the table enters each kind of route."""

from typing import Any

import pytest
from asgi_kit import call, http_scope

from spica.applications import Spica
from spica.endpoints import HTTPEndpoint
from spica.responses import PlainTextResponse
from spica.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from spica.routing.base import partial_match
from spica.routing.candidates import EntryByMatches, find_entry, make_candidates
from spica.routing.hosts import HostRun

pytestmark = pytest.mark.anyio


async def endpoint(request: Any) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def socket_endpoint(websocket: Any) -> None: ...


async def app(scope: Any, receive: Any, send: Any) -> None: ...


class Item(HTTPEndpoint):
    async def get(self, request: Any) -> PlainTextResponse:
        return PlainTextResponse("item")


class OwnMatches(Route):
    def matches(self, scope: Any) -> Any:
        return super().matches(scope)


class OwnHandle(Route):
    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("own")(scope, receive, send)


@pytest.mark.parametrize(
    "route",
    [
        Route("/", endpoint),
        Route("/", Item),
        WebSocketRoute("/", socket_endpoint),
        Mount("/m", app),
        Host("a.org", app),
    ],
    ids=["function", "class", "socket", "mount", "host"],
)
def test_an_original_route_is_entered_directly(route: Any) -> None:
    assert find_entry(route) is route


@pytest.mark.parametrize("cls", [OwnMatches, OwnHandle])
def test_a_route_with_a_method_of_its_own_is_entered_by_matches(cls: Any) -> None:
    assert isinstance(find_entry(cls("/", endpoint)), EntryByMatches)


@pytest.mark.parametrize("name", ["matches", "handle"])
def test_a_method_assigned_on_the_route_counts(name: str) -> None:
    route, other = Route("/", endpoint), Route("/", endpoint)
    setattr(route, name, getattr(other, name))
    assert isinstance(find_entry(route), EntryByMatches)


def test_an_item_that_is_not_a_route_is_refused() -> None:
    with pytest.raises(TypeError, match="A list of routes has Route, Mount and the like, not 5"):
        find_entry(5)  # type: ignore[arg-type]


async def test_only_an_own_handle_is_called() -> None:
    assert (await call(Spica(routes=[OwnMatches("/", endpoint)]))).text == "ok"
    assert (await call(Spica(routes=[OwnHandle("/", endpoint)]))).text == "own"


async def test_an_app_that_is_replaced_later_is_served() -> None:
    for cls in (Route, OwnMatches):
        router = Router([cls("/", endpoint)])
        assert (await call(router)).text == "ok"
        router.routes[0].app = PlainTextResponse("new")  # type: ignore[attr-defined]
        assert (await call(router)).text == "new"


def test_hosts_that_follow_each_other_are_one_candidate() -> None:
    routes: list[BaseRoute] = [Host("a", app), Host("b", app), Route("/", endpoint), Host("c", app)]
    candidates = make_candidates(routes)
    assert [candidate.order for candidate in candidates] == [0, 2, 3]
    assert [isinstance(candidate.route, HostRun) for candidate in candidates] == [True, False, True]


def test_patterns_of_the_index() -> None:
    routes = [
        Route("/a/{id}", endpoint),
        Mount("/m", app),
        Host("a", app),
        OwnMatches("/b", endpoint),
    ]
    patterns = [candidate.pattern for candidate in make_candidates(routes)]
    assert patterns == ["/a/{id}", "/m/{path:path}", None, None]


@pytest.mark.parametrize(("method", "is_partial"), [("GET", False), ("DELETE", True)])
@pytest.mark.parametrize(
    "route", [Route("/", endpoint), Route("/", Item), OwnMatches("/", Item)], ids=str
)
def test_another_method_is_a_partial_match_and_changes_nothing(
    route: Any, method: str, is_partial: bool
) -> None:
    [candidate] = make_candidates([route])
    scope = http_scope(method)
    before = dict(scope)
    respond = candidate.enter(scope, "/")
    assert (respond is partial_match) == is_partial
    assert (scope == before) == is_partial


class Partly(BaseRoute):
    methods = ("PUT",)

    def matches(self, scope: Any) -> Any:
        return Match.PARTIAL, {"mine": True}

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(f"mine: {scope['mine']}")(scope, receive, send)


async def test_allow_includes_the_methods_of_a_route_of_another_class() -> None:
    exchange = await call(Router([Route("/", endpoint), Partly()]), "POST")
    assert (exchange.status, exchange.headers["allow"]) == (405, "GET, HEAD, PUT")


async def test_a_route_of_another_class_answers_other_methods_itself() -> None:
    assert (await call(Router([Partly(), Route("/", endpoint)]), "POST")).text == "mine: True"
