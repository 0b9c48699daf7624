"""The base of all routes."""

from functools import partial
from typing import Any

import pytest
from asgi_kit import Exchange, call, websocket_scope

from spica.responses import PlainTextResponse
from spica.routing import BaseRoute, Match, NoMatchFound, Route, get_name
from spica.routing.base import Entry, OwnRoute, known_names, url_with_suffix

pytestmark = pytest.mark.anyio


async def endpoint(request: Any) -> PlainTextResponse:
    return PlainTextResponse("ok")


class Always(BaseRoute):
    """A route of a user, for every path."""

    def matches(self, scope: Any) -> Any:
        return Match.FULL, {"path_params": {"mine": 1}}

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(str(scope["path_params"]))(scope, receive, send)


class Never(Always):
    def matches(self, scope: Any) -> Any:
        return Match.NONE, {}


@pytest.mark.parametrize("method", ["matches", "url_path_for"])
def test_a_base_route_names_the_missing_method(method: str) -> None:
    with pytest.raises(NotImplementedError, match=f"BaseRoute must define {method}"):
        getattr(BaseRoute(), method)({})


async def test_a_base_route_without_handle_says_so() -> None:
    with pytest.raises(NotImplementedError, match="BaseRoute must define handle"):
        await BaseRoute().handle({}, None, None)  # type: ignore[arg-type]


async def test_a_route_alone_adds_its_keys_and_handles_the_request() -> None:
    assert (await call(Always())).text == "{'mine': 1}"


async def test_a_route_alone_answers_404() -> None:
    exchange = await call(Never())
    assert (exchange.status, exchange.text) == (404, "Not Found")


async def test_a_route_alone_closes_a_websocket() -> None:
    exchange = await Exchange(websocket_scope("/")).run(Never())
    assert exchange.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]


async def test_a_route_alone_refuses_other_scopes() -> None:
    exchange = await Exchange({"type": "lifespan"}).run(Never())
    assert isinstance(exchange.error, RuntimeError)
    assert str(exchange.error).startswith("Never serves scopes of type 'http' and 'websocket'")


def test_the_default_name_is_the_name_of_the_function_or_class() -> None:
    assert get_name(endpoint) == "endpoint"
    assert get_name(partial(partial(endpoint))) == "endpoint"
    assert get_name(Always) == "Always"
    assert get_name(Always()) == "Always"


@pytest.mark.parametrize(
    ("name", "known", "end"),
    [
        ("a", (), 'name "a" and params "id".'),
        ("home", ("home", "user"), "The route of this name has other parameters."),
        ("hom", ("home", "user"), 'Did you mean "home"?'),
        ("zzz", ("home", "user"), 'name "zzz" and params "id".'),
        (endpoint, ("home",), "A name is a string, for example 'endpoint'."),
    ],
)
def test_a_missing_name_is_explained(name: Any, known: tuple[str, ...], end: str) -> None:
    assert str(NoMatchFound(name, {"id": 1}, known)).endswith(end)


def test_the_names_for_a_message_are_sorted_and_unique() -> None:
    routes = [Route("/b", endpoint, name="b"), Always(), Route("/a", endpoint, name="a")]
    assert known_names([*routes, routes[0]]) == ("a", "b")


def test_a_query_and_a_fragment_follow_the_url() -> None:
    route = Route("/{id}", endpoint, name="item")
    url = url_with_suffix(route, "item", {"id": 7, "_query": {"q": "a b"}, "_fragment": "top"})
    assert (str(url), url.protocol) == ("/7?q=a+b#top", "http")


class Skipped(OwnRoute):
    """A route whose subclass does not call ``__init__``."""


def test_a_route_without_an_app_says_so() -> None:
    with pytest.raises(AttributeError, match="'Skipped' object has no attribute 'app'"):
        _ = Skipped().app
    assert not hasattr(Skipped(), "app")


def test_an_app_that_is_replaced_is_resolved_again() -> None:
    route = Skipped()
    route.app = first = PlainTextResponse("first")
    before = route._route_respond
    route.app = PlainTextResponse("second")
    assert route.app is not first
    assert route._route_respond is not before


def test_an_entry_serves_any_path_and_no_socket_unless_it_says_otherwise() -> None:
    assert Entry()._index_pattern is None
    assert Entry()._enter_socket_last({}, "/") is None
