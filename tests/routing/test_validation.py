"""Mistakes in what a route is given are told where it is made."""

import warnings
from functools import partial
from typing import Any

import pytest

from spica.applications import Spica
from spica.convertors import CONVERTOR_TYPES, Convertor
from spica.endpoints import HTTPEndpoint, WebSocketEndpoint
from spica.exceptions import SpicaConfigurationWarning
from spica.responses import PlainTextResponse
from spica.routing import Host, Mount, NoMatchFound, Route, Router, WebSocketRoute
from spica.staticfiles import StaticFiles
from spica.testclient import TestClient
from spica.websockets import WebSocket


async def endpoint(request: Any) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def app(scope: Any, receive: Any, send: Any) -> None: ...


def nothing() -> None: ...
def with_param(request: Any, item_id: int) -> None: ...
def with_default(request: Any, item_id: int = 1) -> None: ...
def with_rest(*args: Any, **kwargs: Any) -> None: ...
def with_keyword(request: Any, *, item_id: int) -> None: ...
def with_default_keyword(request: Any, *, item_id: int = 1) -> None: ...


class Methods:
    def fits(self, request: Any) -> None: ...
    def does_not(self) -> None: ...


# -- endpoints -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function", [nothing, with_param, with_keyword, app, Methods().does_not, Methods.fits]
)
def test_an_endpoint_that_one_argument_does_not_fit(function: Any) -> None:
    with pytest.raises(TypeError) as info:
        Route("/{item_id}", function)

    assert str(info.value) == (
        "Route('/{item_id}'): spica calls the endpoint with one argument, the request, but "
        f"{function.__qualname__}() has other parameters. Read path parameters from request.path_params. Put "
        "an ASGI app in a Mount."
    )


@pytest.mark.parametrize(
    "function",
    [
        endpoint,
        with_default,
        with_rest,
        with_default_keyword,
        Methods().fits,
        partial(with_param, item_id=1),
        lambda request: None,
    ],
)
def test_an_endpoint_that_one_argument_fits(function: Any) -> None:
    assert Route("/", function).endpoint is function


def test_the_endpoint_of_a_websocket() -> None:
    with pytest.raises(TypeError, match=r"one argument, the websocket, .* websocket\.path_params"):
        WebSocketRoute("/", with_param)


def test_a_class_endpoint_of_the_other_protocol() -> None:
    with pytest.raises(TypeError) as info:
        Route("/", WebSocketEndpoint)
    assert str(info.value) == "Route('/'): WebSocketEndpoint serves WebSockets. Use WebSocketRoute."

    with pytest.raises(TypeError) as info:
        WebSocketRoute("/", HTTPEndpoint)
    assert str(info.value) == "WebSocketRoute('/'): HTTPEndpoint serves HTTP. Use Route."


# -- what is mounted -----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [endpoint, lambda environ, start_response: []])
def test_a_mounted_function_that_is_no_app(function: Any) -> None:
    with pytest.raises(TypeError) as info:
        Mount("/api", function)

    assert str(info.value) == (
        "Mount('/api'): app must be an ASGI app (scope, receive, send), but "
        f"{function.__qualname__}() has other parameters. Put an endpoint in a Route, and a WSGI "
        "application in WSGIMiddleware."
    )


@pytest.mark.parametrize("cls", [StaticFiles, Spica, Router])
def test_a_mounted_class_whose_instances_are_apps(cls: Any) -> None:
    with pytest.raises(TypeError) as info:
        Mount("/static", cls)

    name = cls.__name__
    assert str(info.value) == (
        f"Mount('/static'): app must be an ASGI app, not the class {name}. Write {name}(...)."
    )


def test_a_class_endpoint_may_be_mounted() -> None:
    assert Mount("/", HTTPEndpoint).app is HTTPEndpoint


@pytest.mark.parametrize(
    ("host", "name"),
    [("https://example.org", "example.org"), ("https://a.org/b", "a.org"), ("a.org/b", "a.org")],
)
def test_a_host_is_no_url(host: str, name: str) -> None:
    with pytest.raises(ValueError, match="neither scheme nor path") as info:
        Host(host, app)

    assert str(info.value) == f"Host({host!r}): a host has neither scheme nor path. Write {name!r}."


@pytest.mark.parametrize(
    "make",
    [lambda flag: Mount("/a", app, lifespan=flag), lambda flag: Host("a", app, lifespan=flag)],
)
@pytest.mark.parametrize("flag", ["no", endpoint])
def test_lifespan_of_a_mount_is_yes_or_no(make: Any, flag: Any) -> None:
    with pytest.raises(TypeError, match=r"lifespan must be True, False or None, not "):
        make(flag)


# -- paths ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/:id", ":id"),
        ("/a/:id/b", ":id"),
        ("/files/*", "*"),
        ("/*rest", "*rest"),
        ("/**/b", "**"),
    ],
)
def test_a_parameter_of_another_spelling_is_warned_of(path: str, text: str) -> None:
    with pytest.warns(SpicaConfigurationWarning) as caught:
        Route(path, endpoint)

    assert [str(found.message) for found in caught] == [
        f"Route({path!r}): {text!r} matches itself, literally. "
        "Write a parameter as '{name}' or '{name:int}'."
    ]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(("path", "text"), [("/a?x={x}", "?"), ("/a#b", "#")])
def test_a_query_in_a_path_is_warned_of(path: str, text: str) -> None:
    with pytest.warns(SpicaConfigurationWarning) as caught:
        WebSocketRoute(path, endpoint)

    assert [str(found.message) for found in caught] == [
        f"WebSocketRoute({path!r}): {text!r} is never part of a path. "
        "A query is in request.query_params."
    ]


@pytest.mark.parametrize(
    "path", ["/{id}:cancel", "/a:b", "/x<y", "/{a}-{b:int}", "/@{name}", "/~a", "/a*", "/2*3"]
)
def test_what_may_well_be_meant_is_not_warned_of(path: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Route(path, endpoint)


def test_what_is_no_route_in_the_list_is_named() -> None:
    application = Spica()
    application.routes.append(endpoint)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match=r"^A list of routes has Route, Mount and the like, not <"):
        TestClient(application).get("/")


# -- names ---------------------------------------------------------------------------------------------


def test_a_function_in_the_place_of_a_name() -> None:
    with pytest.raises(NoMatchFound) as info:
        Spica(routes=[Route("/", endpoint)]).url_path_for(endpoint)  # type: ignore[arg-type]

    assert str(info.value).endswith(" A name is a string, for example 'endpoint'.")


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("/{id:int}", "abc", "invalid literal"),
        ("/{id}", None, "Must not be None"),
        ("/{id}", "", "Must not be empty"),
        ("/{id}", "a/b", "May not contain path separators"),
    ],
)
def test_a_value_that_does_not_fit_its_parameter_is_named(path: str, value: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text) as info:
        Route(path, endpoint).url_path_for("endpoint", id=value)

    assert info.value.__notes__ == [f"This was the parameter 'id' of a URL, {value!r}."]


def test_mounted_lifespans_is_yes_or_no() -> None:
    with pytest.raises(TypeError) as info:
        Router(mounted_lifespans="no")  # type: ignore[arg-type]

    assert str(info.value) == "Router: mounted_lifespans must be True, False or None, not 'no'."


class AheadConvertor(Convertor[str]):
    regex = "(?!admin)[a-z]+"


@pytest.mark.parametrize(
    "make", [lambda path: Route(path, endpoint), lambda path: Mount(path, routes=[])]
)
def test_a_regex_without_a_bound_is_warned_of(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERTOR_TYPES, "ahead", AheadConvertor())
    with pytest.warns(
        SpicaConfigurationWarning, match=r"time to match \{name:ahead\} has no bound"
    ) as caught:
        make("/{name:ahead}")
    assert caught[0].filename == __file__


def test_a_function_for_websockets_is_refused_by_a_route() -> None:
    async def chat(websocket: WebSocket) -> None:
        """Take a WebSocket."""

    with pytest.raises(
        TypeError, match=r"chat\(\) takes a WebSocket, but this is HTTP. Use WebSocketRoute"
    ):
        Route("/chat", chat)  # type: ignore[arg-type]


def test_a_list_of_routes_is_refused_as_the_app_of_a_mount() -> None:
    with pytest.raises(TypeError, match=r"Pass routes by name: Mount\(path, routes=\[...\]\)"):
        Mount("/api", [])  # type: ignore[arg-type]


# -- endpoints that would answer with 404 or 405 -------------------------------------------------------


def test_a_class_that_is_not_an_endpoint_is_refused() -> None:
    class View:
        def get(self, request: Any) -> None: ...

    with pytest.raises(
        TypeError, match=r"View \(.*:\d+\) is not an endpoint\. Derive it from spica\.HTTPEnd"
    ):
        Route("/", View)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Derive it from spica\.WebSocketEndpoint"):
        WebSocketRoute("/", View)  # type: ignore[arg-type]


def test_a_class_endpoint_without_methods_is_warned_of() -> None:
    class View(HTTPEndpoint):
        async def GET(self, request: Any) -> None: ...

    with pytest.warns(
        SpicaConfigurationWarning, match=r"View .*has no method such as get\(\)"
    ) as caught:
        Route("/", View)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("app", [Router(), StaticFiles(packages=[("tests", "support")])])
def test_an_app_of_many_paths_in_a_route_is_warned_of(app: Any) -> None:
    with pytest.warns(
        SpicaConfigurationWarning, match=r"the path '/static' alone.*write Mount\('/static'"
    ):
        Route("/static", app)


@pytest.mark.parametrize("path", ["/robots.txt", "/", "/files/{path:path}"])
def test_an_app_of_many_paths_may_serve_one(path: str) -> None:
    Route(path, StaticFiles(packages=[("tests", "support")]))
