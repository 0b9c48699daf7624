"""The index against a scan of the list: whatever the routes, whatever the path."""

import copy
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from asgi_kit import http_scope
from hypothesis import given, settings
from hypothesis import strategies as st

import spica.routing
from spica.convertors import CONVERTOR_TYPES, Convertor, StringConvertor
from spica.endpoints import HTTPEndpoint
from spica.responses import PlainTextResponse
from spica.routing import BaseRoute, Host, Match, Mount, Route, WebSocketRoute
from spica.routing.table import MAX_SEGMENTS, RouteList, RouteTable, _build_index

# Braces that stand for themselves are among the paths: those of Starlette's name may have them.
pytestmark = pytest.mark.filterwarnings("ignore:.*matches itself, literally")


class Lowercase(Convertor[str]):
    """A convertor that spans segments, and refuses one word."""

    regex = "[a-z]+(?:/[a-z]+)?"

    def convert(self, value: str) -> str:
        if "aa" in value:
            raise ValueError("not this one")
        return value.upper()

    def to_string(self, value: str) -> str:
        return value.lower()


class Shouting(StringConvertor):
    """A convertor that inherits its pattern."""

    def convert(self, value: str) -> str:
        return value + "!"


@pytest.fixture(scope="module", autouse=True)
def _convertors() -> Iterator[None]:
    CONVERTOR_TYPES["lower"] = Lowercase()
    CONVERTOR_TYPES["shout"] = Shouting()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "starlette.routing", spica.routing)
        yield
    del CONVERTOR_TYPES["lower"], CONVERTOR_TYPES["shout"]


async def endpoint(request: Any) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def socket_endpoint(websocket: Any) -> None: ...


class App:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


app = App()


class Item(HTTPEndpoint):
    async def get(self, request: Any) -> PlainTextResponse:
        return PlainTextResponse("ok")


class EvenLength(BaseRoute):
    """A route of another kind, which only knows itself what it matches."""

    def matches(self, scope: Any) -> Any:
        if len(scope["path"]) % 2:
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self, "path_params": {"even": True}}


class PostOnly(EvenLength):
    """One that matches in part."""

    def matches(self, scope: Any) -> Any:
        match, child_scope = super().matches(scope)
        is_partial = match is Match.FULL and scope["method"] != "POST"
        return Match.PARTIAL if is_partial else match, child_scope


class NeverTwice(Route):
    """A route with a comparison of its own."""

    def matches(self, scope: Any) -> Any:
        match, child_scope = super().matches(scope)
        return (Match.NONE, {}) if "//" in scope["path"] else (match, child_scope)


LITERALS = st.sampled_from(["a", "b", "aa", "a.b", "1", "{", "}", "é", ""])
CONVERTOR_NAMES = ["", ":str", ":int", ":float", ":path", ":uuid", ":lower", ":shout"]
PARAMS = st.sampled_from(CONVERTOR_NAMES).map(lambda name: "{?" + name + "}")
SEGMENTS = st.one_of(
    LITERALS,
    PARAMS,
    st.tuples(LITERALS, PARAMS, LITERALS).map("".join),
    st.tuples(PARAMS, st.sampled_from(["-", ".", ""]), PARAMS).map("".join),
)


def _name_params(path: str) -> str:
    for number in range(path.count("?")):
        path = path.replace("?", f"p{number}", 1)
    return path


PATTERNS = st.lists(SEGMENTS, max_size=4).map(lambda parts: _name_params("/" + "/".join(parts)))
METHODS = st.sampled_from([None, ["GET"], ["POST"], ["GET", "POST"]])


def make_route(kind: str, path: str, methods: Any) -> BaseRoute:
    if kind in ("route", "never twice"):
        return (Route if kind == "route" else NeverTwice)(path, endpoint, methods=methods)
    if kind == "class":
        return Route(path, Item, methods=methods)
    if kind == "asgi":
        return Route(path, app, methods=methods)
    if kind == "socket":
        return WebSocketRoute(path, socket_endpoint)
    if kind == "mount":
        return Mount(path if "{path" not in path else "/m", app=app)
    if kind == "host":
        return Host("{name}.example.org" if methods else "example.org", app)
    return EvenLength() if kind == "even" else PostOnly()


KINDS = [
    "route", "route", "route", "class", "asgi", "socket", "mount", "mount", "host", "even", "post",
    "never twice",
]  # fmt: skip
ROUTES = st.builds(make_route, st.sampled_from(KINDS), PATTERNS, METHODS)
PIECES = st.sampled_from(["a", "b", "aa", "a.b", "1", "-1", "1.5", "x-y", "{", "}", "é", "", "a\n"])
UUID = "123e4567-e89b-12d3-a456-426614174000"
PATHS = st.lists(PIECES | st.just(UUID), max_size=5).map(lambda parts: "/" + "/".join(parts))
SCOPES = st.builds(
    lambda path, method, host, outer: http_scope(
        method, path, headers=[("host", host)], **({"path_params": outer} if outer else {})
    ),
    PATHS,
    st.sampled_from(["GET", "HEAD", "POST", "DELETE"]),
    st.sampled_from(["example.org", "a.example.org:8000", "other", ""]),
    st.sampled_from([None, {"outer": 1}]),
)


def scan(routes: Any, scope: Any) -> tuple[Any, Any]:
    """Return what a scan of the list finds: the first that matches fully, else the first in part."""
    partial = None, {}
    for route in routes:
        match, child_scope = route.matches(scope)
        if match is Match.FULL:
            return route, child_scope
        if match is Match.PARTIAL and partial[0] is None:
            partial = route, child_scope
    return partial


@settings(max_examples=200, deadline=None)
@given(st.lists(ROUTES, max_size=12), st.lists(SCOPES, min_size=1, max_size=6))
def test_the_index_agrees_with_a_scan(routes: list[BaseRoute], scopes: list[Any]) -> None:
    table = RouteTable(routes)
    for scope in scopes:
        expected, child_scope = scan(routes, copy.copy(scope))
        before = dict(scope)
        ask = table.select(scope, scope["path"])
        assert (ask is None) == (expected is None)
        if expected is None:
            assert scope == before
        else:
            assert scope["route"] is expected
            assert scope == {**before, **child_scope, "route": expected}


@settings(max_examples=100, deadline=None)
@given(st.lists(ROUTES, max_size=12), PATHS)
def test_candidates_keep_the_order_of_the_list(routes: list[BaseRoute], path: str) -> None:
    found = [candidate.order for candidate in RouteTable(routes).find(path)]
    assert found == sorted(set(found))


@settings(max_examples=100, deadline=None)
@given(st.lists(ROUTES, max_size=12), PATHS)
def test_sockets_agree_with_a_scan(routes: list[BaseRoute], path: str) -> None:
    routes = [route for route in routes if not isinstance(route, PostOnly)]
    scope = {**http_scope(path=path), "type": "websocket"}
    expected, child_scope = scan(routes, scope)
    before = dict(scope)
    found = RouteTable(routes).select_socket(scope, path)
    assert (found is None) == (expected is None)
    assert scope == ({**before, **child_scope, "route": expected} if expected else before)


def test_what_cannot_match_is_no_candidate() -> None:
    routes = [Route(f"/{number}/{{name}}", endpoint) for number in range(200)]
    found = RouteTable(routes).find("/117/x")
    assert [candidate.route.path for candidate in found] == ["/117/{name}"]


def test_paths_without_parameters_are_looked_up_and_take_no_place_in_the_tree() -> None:
    index = RouteTable([Route(f"/{n}", endpoint) for n in range(4)])._current_index()

    assert set(index.exact) == {"/0", "/1", "/2", "/3"}
    assert not index._root.literals


def test_a_path_nobody_knows_has_no_candidates() -> None:
    routes = [Route(f"/{number}", endpoint) for number in range(200)]
    assert list(RouteTable(routes).find("/nowhere")) == []


def test_a_path_that_is_none_matches_nothing_static() -> None:
    table = RouteTable([Route("/", endpoint)])
    assert table.select(http_scope(path="*"), "*") is None


@pytest.mark.parametrize(
    "count", [MAX_SEGMENTS - 2, MAX_SEGMENTS - 1, MAX_SEGMENTS, MAX_SEGMENTS + 1]
)
def test_patterns_of_very_many_segments_match(count: int) -> None:
    path = "/a" * count
    table = RouteTable([Route(path + "/{last}", endpoint), Route(path, endpoint)])
    scope = http_scope(path=path)
    table.select(scope, path)
    assert scope["route"].path == path
    scope = http_scope(path=path + "/b")
    table.select(scope, path + "/b")
    assert scope["path_params"] == {"last": "b"}


def test_a_path_of_very_many_segments_is_matched_by_a_rest() -> None:
    path = "/a" * 10_000
    scope = http_scope(path=path)
    RouteTable([Route("/{rest:path}", endpoint)]).select(scope, path)
    assert scope["path_params"] == {"rest": path[1:]}


# -- changes of the list -------------------------------------------------------------------------------

NEW = Route("/new", endpoint, name="new")
FIRST = Route("/first", endpoint, name="first")
SECOND = Route("/{second}", endpoint, name="second")


def _assign_slice(routes: list[BaseRoute]) -> None:
    routes[:] = [NEW]


def _assign_item(routes: list[BaseRoute]) -> None:
    routes[0] = NEW


def _delete_item(routes: list[BaseRoute]) -> None:
    del routes[0]


def _delete_slice(routes: list[BaseRoute]) -> None:
    del routes[:]


def _add_in_place(routes: list[BaseRoute]) -> None:
    routes += [NEW]


def _multiply_in_place(routes: list[BaseRoute]) -> None:
    routes *= 0


CHANGES = {
    "append": lambda routes: routes.append(NEW),
    "extend": lambda routes: routes.extend([NEW]),
    "insert": lambda routes: routes.insert(0, NEW),
    "remove": lambda routes: routes.remove(FIRST),
    "pop": lambda routes: routes.pop(),
    "pop first": lambda routes: routes.pop(0),
    "clear": lambda routes: routes.clear(),
    "sort": lambda routes: routes.sort(key=lambda route: route.name, reverse=True),
    "reverse": lambda routes: routes.reverse(),
    "slice": _assign_slice,
    "item": _assign_item,
    "del item": _delete_item,
    "del slice": _delete_slice,
    "+=": _add_in_place,
    "*=": _multiply_in_place,
}
LISTS = {"its own list": None, "a plain list": list, "another table's list": RouteList}


def find_names(table: RouteTable) -> list[Any]:
    names = []
    for path in ("/first", "/new", "/other"):
        scope = http_scope(path=path)
        table.select(scope, path)
        names.append(scope["route"].name if "route" in scope else None)
    return names


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("make_list", LISTS.values(), ids=LISTS.keys())
def test_every_change_of_the_list_is_noticed(make_list: Any, change: Any) -> None:
    table = RouteTable([FIRST, SECOND])
    if make_list is not None:
        table.routes = make_list([FIRST, SECOND])
    assert find_names(table) == ["first", "second", "second"]
    change(table.routes)
    expected = RouteTable(list(table.routes))
    assert find_names(table) == find_names(expected)
    assert find_names(table) == find_names(expected)


def test_a_list_that_was_put_in_is_the_one_that_is_there() -> None:
    table = RouteTable([FIRST])
    find_names(table)
    mine = [SECOND]
    table.routes = mine
    assert table.routes is mine
    assert find_names(table) == ["second"] * 3


def test_the_same_length_is_not_taken_for_the_same_list() -> None:
    table = RouteTable([FIRST])
    table.routes = [FIRST]
    find_names(table)
    table.routes[0] = NEW
    assert find_names(table) == [None, "new", None]


def test_methods_written_later_count() -> None:
    route = Route("/", endpoint)
    table = RouteTable([route])
    table.select(http_scope(), "/")
    route.methods = ["POST"]  # type: ignore[assignment]  # as some libraries do
    scope = http_scope("POST")
    table.select(scope, "/")
    assert scope["endpoint"] is endpoint


def test_a_change_by_another_thread_while_the_index_is_put_in_is_noticed() -> None:
    late = Route("/late", endpoint)

    class Raced(RouteList):
        """A list that another thread appends to right before it is given its index."""

        def __setattr__(self, name: str, value: Any) -> None:
            if value is not None and late not in self:
                self.append(late)
            super().__setattr__(name, value)

    routes = Raced([Route("/early", endpoint)])
    _build_index(routes)
    assert routes == [routes[0], late]
    assert routes.route_index is None


def test_a_copied_list_has_an_index_of_its_own() -> None:
    table, other = RouteTable([FIRST]), RouteTable([])
    find_names(table)
    other.routes = copy.copy(table.routes)
    other.routes.append(NEW)
    assert find_names(table)[1] is None
    assert find_names(other)[1] == "new"
