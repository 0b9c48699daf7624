"""Routes that can't be reached, and names that can't be used, found without a request."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica.applications import Spica
from spica.convertors import CONVERTOR_TYPES, Convertor
from spica.endpoints import HTTPEndpoint
from spica.routing import Host, Match, Mount, Route, Router, WebSocketRoute
from spica.routing.reachability import (
    PatternShape,
    _covering,
    _Reach,
    find_problems,
    warn_of_routes,
)
from spica.routing.table import RouteIndex


def endpoint(request: Any) -> Any:
    """Serve nothing: these routes are only looked at."""


LINE = endpoint.__code__.co_firstlineno


async def socket(websocket: Any) -> None:
    """Serve nothing."""


class Page(HTTPEndpoint):
    """A class endpoint."""

    async def put(self, request: Any) -> Any:
        """Serve nothing."""


class App:
    """An ASGI app."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve nothing."""


APP = App()


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    """Stand for an ASGI app that is not ours."""


def get(path: str, name: str | None = None) -> Route:
    return Route(path, endpoint, name=path if name is None else name)


def of(methods: list[str], path: str) -> Route:
    return Route(path, endpoint, methods=methods, name=path)


def kinds(*routes: Any) -> list[str]:
    return [problem.kind for problem in find_problems(routes)]


UNREACHABLE = {
    "a general parameter": [get("/users/{id}"), get("/users/me")],
    "a parameter of fewer texts": [get("/{x}"), get("/{x:int}", "other")],
    "a float takes whole numbers": [get("/{x:float}"), get("/{x:int}", "other")],
    "text in a segment": [get("/{x}/b"), get("/v{x:int}/b")],
    "the rest": [get("/{rest:path}"), get("/a/{b}/c")],
    "the rest of the rest": [get("/a/{rest:path}"), get("/a/{p:path}/edit")],
    "the rest, which may be empty": [get("/a/{rest:path}"), get("/a/")],
    "all methods": [Route("/a/{b}", APP), of(["POST"], "/a/b")],
    "the methods of a class": [Route("/a/{b}", Page), of(["PUT"], "/a/b")],
    "several together": [of(["POST"], "/{a}"), get("/{a}", "g"), of(["GET", "POST"], "/a")],
    "HEAD is where GET is": [get("/{a}"), of(["HEAD"], "/a")],
    "a mount of the prefix": [Mount("/api", foreign), get("/api/users")],
    "the bare path of a mount": [Mount("/api", foreign, serve_bare_path=True), get("/api")],
    "a socket there": [
        Mount("/{a}", foreign, serve_bare_path=True),
        WebSocketRoute("/{a}", socket),
    ],
    "a mount of everything": [Mount("/", foreign), get("/users")],
    "a socket below a mount": [Mount("/api", foreign), WebSocketRoute("/api/ws", socket)],
    "a socket": [WebSocketRoute("/{a}", socket), WebSocketRoute("/a", socket, name="b")],
    "a mount in a mount's prefix": [Mount("/api", foreign), Mount("/api/v1", foreign)],
    "a mount with parameters": [Mount("/{tenant}", foreign), Mount("/blue", foreign)],
    "a host behind a mount of everything": [Mount("", foreign), Host("a.example", foreign)],
    "a host": [Host("{a}.example", foreign), Host("B.example", foreign)],
    "deep in mounts": [Mount("/a", routes=[Mount("/b", routes=[get("/{c}"), get("/c")])])],
    "in a host": [Host("a.example", Router([get("/{c}"), get("/c")]))],
    "in an application": [Mount("/a", Spica(routes=[get("/{c}"), get("/c")]))],
}


@pytest.mark.parametrize("routes", UNREACHABLE.values(), ids=UNREACHABLE.keys())
def test_unreachable(routes: list[Any]) -> None:
    assert kinds(*routes) == ["unreachable"]


DUPLICATE = {
    "the same path": [get("/a"), get("/a")],
    "other names of parameters": [get("/{a}"), get("/{b}", "b")],
    "a mount": [Mount("/a", routes=[get("/b")]), Mount("/a", routes=[get("/c")])],
    "a mount, written with a slash": [Mount("/a", foreign), Mount("/a/", foreign)],
    "a host, in another case": [Host("A.example", foreign), Host("a.example", foreign)],
    "a host with a port": [Host("a.example", foreign), Host("a.example:8000", foreign)],
    "a socket": [WebSocketRoute("/a", socket), WebSocketRoute("/a", socket)],
    "several parameters": [get("/{a:int}-{b}"), get("/{c:int}-{d}", "d")],
}


@pytest.mark.parametrize("routes", DUPLICATE.values(), ids=DUPLICATE.keys())
def test_duplicate(routes: list[Any]) -> None:
    assert kinds(*routes) == ["duplicate"]


class OwnRoute(Route):
    """A route that matches its own way."""

    def matches(self, scope: Any) -> Any:
        return Match.NONE, {}


class Own(Convertor[str]):
    """A convertor of which nothing is known."""

    regex = "[ab]+"

    def convert(self, value: str) -> str:
        """Return the text."""
        return value


@pytest.fixture(scope="module", autouse=True)
def _convertors() -> Iterator[None]:
    CONVERTOR_TYPES["own"] = Own()
    yield
    del CONVERTOR_TYPES["own"]


FINE = {
    "the special one first": [get("/users/me"), get("/users/{id}")],
    "other methods": [get("/a"), of(["POST"], "/a")],
    "all methods behind one": [get("/a"), Route("/a", APP, name="/a")],
    "methods that a class has not": [Route("/a", Page, name="/a"), get("/a")],
    "a class without methods": [get("/{a}"), Route("/a", HTTPEndpoint)],
    "HEAD on its own, before GET": [of(["HEAD"], "/a"), get("/a")],
    "whole numbers before any": [get("/{a:int}"), get("/{a}", "b")],
    "a UUID is no number": [get("/{a:uuid}"), get("/{a:int}", "b")],
    "a longer path": [get("/{a}"), get("/a/b")],
    "a shorter path": [get("/{a}/{b}"), get("/a")],
    "an empty segment is none": [get("/a/{b}"), get("/a/")],
    "a parameter is one segment": [get("/{a}/edit"), get("/{a:path}/edit", "b")],
    "the prefix itself is not below the mount": [Mount("/api", foreign), get("/api")],
    "a prefix within a segment": [Mount("/api", foreign), get("/apis/a")],
    "a mount behind its parts": [get("/api/a"), Mount("/api", foreign)],
    "a mount behind a route for GET": [get("/{rest:path}"), Mount("/api", foreign)],
    "a mount behind a route without sockets": [Route("/{rest:path}", APP), Mount("/api", foreign)],
    "a page and a socket": [get("/a"), WebSocketRoute("/a", socket, name="b")],
    "a socket behind a mount with fewer paths": [
        Mount("/{a:int}", foreign),
        WebSocketRoute("/{a}/b", socket),
    ],
    "another host": [Host("a.example", foreign), Host("b.example", foreign)],
    "a host says nothing of other hosts": [Host("a.example", foreign), get("/a")],
    "a route of its own kind": [OwnRoute("/{a}", endpoint), get("/a"), OwnRoute("/a", endpoint)],
    "division of a segment": [get("/{a}-{b}"), get("/{a}-b-{c}")],
}


@pytest.mark.parametrize("routes", FINE.values(), ids=FINE.keys())
def test_nothing_is_said_of_what_works(routes: list[Any]) -> None:
    assert [problem for problem in kinds(*routes) if problem != "duplicate-name"] == []


def test_a_convertor_of_an_unknown_kind_covers_itself_alone() -> None:
    assert kinds(get("/{a}"), get("/{b:own}", "b")) == []
    assert kinds(get("/{a:own}"), get("/{b:own}/c", "b")) == []
    assert kinds(get("/{a:own}"), get("/{b:own}", "b")) == ["duplicate"]
    assert kinds(get("/{a:own}/{b}"), get("/{b:own}/{c:int}", "b")) == ["unreachable"]


def test_some_methods_that_never_arrive() -> None:
    [problem] = find_problems([get("/{a}"), of(["GET", "POST"], "/a")])
    assert problem.kind == "shadowed"
    assert problem.message == (
        f"Route('/a', methods=['GET', 'HEAD', 'POST']) at {__file__}:{LINE} never gets GET: "
        f"Route('/{{a}}', methods=['GET', 'HEAD']) at {__file__}:{LINE} before it takes that. "
        "Leave these methods out, or change the order."
    )


@pytest.mark.parametrize(
    ("team", "item", "expected"),
    [
        ("org", "id", ["duplicate-name"]),
        ("team", "id", []),
        ("org", "item", []),
    ],
)
def test_a_name_repeated_in_mounts_needs_the_same_parameters(
    team: str, item: str, expected: list[str]
) -> None:
    """Those of the mount and those of the route."""
    routes = [
        Mount("/{org}/a", routes=[get("/{id}", "x")]),
        Mount(f"/{{{team}}}/b", routes=[get(f"/{{{item}}}", "x")]),
    ]
    assert kinds(*routes) == expected


def test_a_filter_finds_the_warnings_by_the_package() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", module=r"spica\.")
        warn_of_routes([get("/a"), get("/a", "b")])
    assert caught == []


def test_what_a_problem_says() -> None:
    routes = [get("/users/{id}"), get("/users/me")]
    [problem] = find_problems([Mount("/api", routes=routes)])
    assert problem.route is routes[1]
    assert problem.path == "/api/users/me"
    assert problem.place == f"{__file__}:{LINE}"
    assert problem.message == (
        f"Route('/api/users/me', methods=['GET', 'HEAD']) at {__file__}:{LINE} is never reached: "
        f"Route('/api/users/{{id}}', methods=['GET', 'HEAD']) at {__file__}:{LINE} before it takes every "
        "request for it. Put the more special pattern first."
    )


def test_what_a_duplicate_says() -> None:
    [problem] = find_problems([Mount("/a", foreign), Mount("/a", foreign)])
    assert problem.message == (
        "Mount('/a') is never reached: Mount('/a') before it has the same pattern. "
        "Remove one of them."
    )
    assert problem.place == ""


def test_what_is_below_a_mount_that_is_not_reached_is_not_reported_again() -> None:
    below = [get("/b"), get("/b")]
    assert kinds(Mount("/a", foreign), Mount("/a", routes=below)) == ["duplicate"]


def test_an_application_that_is_mounted_twice_is_reported_once() -> None:
    app = Spica(routes=[get("/{a}"), get("/b")])
    assert kinds(Mount("/one", app, name="one"), Mount("/two", app, name="two")) == ["unreachable"]


def test_an_application_that_is_mounted_in_itself_comes_to_an_end() -> None:
    app = Spica(routes=[get("/a")])
    app.mount("/b", app)
    assert kinds(*app.routes) == []


def test_an_app_whose_routes_are_something_else_is_passed_over() -> None:
    class Other:
        routes = object()

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            raise NotImplementedError

    assert kinds(Mount("/a", Other())) == []


_SEGMENTS = (
    "",
    "a",
    "0",
    "{%s}",
    "{%s:int}",
    "{%s:float}",
    "{%s:uuid}",
    "{%s:path}",
    "v{%s}",
    "{%s:own}",
)


@st.composite
def any_route(draw: st.DrawFn) -> Any:
    """Draw a route, mount or host; no two parameters of it have the same name."""
    segments = draw(st.lists(st.sampled_from(_SEGMENTS), min_size=1, max_size=4))
    path = "/".join(text.replace("%s", f"P{place}") for place, text in enumerate(segments))
    kind = draw(st.sampled_from(["route", "socket", "mount", "everything", "host"]))
    if kind == "route":
        return get("/" + path)
    if kind == "socket":
        return WebSocketRoute("/" + path, socket)
    if kind == "host":
        return Host(
            draw(st.sampled_from(["A.b", "a.B:80", "{T}.b", "{t:own}.b", "{t:path}"])), foreign
        )
    return Mount("" if kind == "everything" else "/" + path, foreign)


@given(st.lists(any_route(), max_size=12))
def test_the_index_gives_all_that_cover_a_route(routes: list[Any]) -> None:
    reaches = [_Reach(route, order) for order, route in enumerate(routes)]
    index = RouteIndex(reaches)
    for later in reaches:
        by_scan = [one for one in reaches[: later.order] if one.covers(later)]
        assert _covering(later, index) == by_scan


@pytest.mark.parametrize(
    "path", ["/a{}/b", "/a{}/{{b}}", "/{{a}}/b{}", "/x/{{a:int}}/b{}/{{c}}", "/a{}/{{b:path}}"]
)
def test_a_route_is_compared_with_few_others(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    covers, compared = PatternShape.covers, []

    def count(self: PatternShape, other: PatternShape) -> bool:
        compared.append(other)
        return covers(self, other)

    monkeypatch.setattr(PatternShape, "covers", count)
    routes = [get(path.format(number)) for number in range(2000)]
    assert kinds(*routes, routes[0]) == ["duplicate"]
    assert len(compared) < 3 * len(routes)


class TestNames:
    def test_a_repeated_name(self) -> None:
        [problem] = find_problems([get("/a", "x"), get("/b", "x")])
        assert problem.kind == "duplicate-name"
        assert problem.path == "/b"
        assert problem.message == (
            f"Route('/b', methods=['GET', 'HEAD']) at {__file__}:{LINE} has the name 'x' of "
            f"Route('/a', methods=['GET', 'HEAD']) at {__file__}:{LINE} before it, so url_for finds "
            "that one. Give one of them another name."
        )

    @pytest.mark.parametrize(
        "routes",
        [
            [get("/a/{b}", "x"), get("/c/{b}", "x")],
            [get("/a", "x"), WebSocketRoute("/a", socket, name="x")],
            [
                Mount("/a", name="x", routes=[get("/c", "y")]),
                Mount("/b", routes=[get("/c", "x:y")]),
            ],
            [Mount("/a", foreign, name="x"), Mount("/b", foreign, name="x")],
            [Host("a.example", foreign, name="x"), Host("b.example", foreign, name="x")],
            [Mount("/a", foreign, name="x"), get("/b/{path:path}", "x")],
            [get("/a", "x"), Mount("/b", routes=[get("/a", "x")])],
        ],
        ids=["params", "socket", "names", "mounts", "hosts", "mount and route", "unnamed mount"],
    )
    def test_names_that_lead_elsewhere(self, routes: list[Any]) -> None:
        assert kinds(*routes) == ["duplicate-name"]

    @pytest.mark.parametrize(
        "routes",
        [
            [get("/a", "x"), of(["POST"], "/a")],
            [get("/a", "x"), Route("/a", endpoint, methods=["POST"], name="x")],
            [get("/a/{b}", "x"), get("/a", "x")],
            [get("/a", "x"), Mount("/b", name="b", routes=[get("/a", "x")])],
            [get("/a", ""), get("/b", "")],
        ],
        ids=["two names", "one URL", "other params", "named mount", "no name"],
    )
    def test_names_that_do_not(self, routes: list[Any]) -> None:
        assert kinds(*routes) == []
