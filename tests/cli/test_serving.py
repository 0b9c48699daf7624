"""The application that is served."""

import sys
from types import ModuleType
from typing import Any

import pytest

from spica.applications import Spica
from spica.checks.loading import Found
from spica.cli.options import ServeOptions
from spica.cli.serving import (
    BrokenApplication,
    describe,
    enable_debug,
    explain_no_app,
    load_served,
    logs_requests,
    settle,
)
from spica.middleware import Middleware
from spica.middleware.accesslog import AccessLogMiddleware
from spica.routing import Mount, Route
from spica.testclient import TestClient
from spica.websockets import WebSocketDisconnect


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


async def endpoint(request: Any) -> None: ...


def wsgi(environ: Any, start_response: Any) -> None: ...


def factory() -> None: ...


class Pure:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class App:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize("app", [asgi, App(), Spica(), lambda *args: None])
def test_an_asgi_app(app: Any) -> None:
    assert explain_no_app(app) == ""


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        (App, "it is the class App. Make an instance of it."),
        (3, "it is 3."),
        (factory, "With --factory it is called to make one."),
        (wsgi, "it looks like a WSGI application."),
        (endpoint, "It may be an endpoint."),
    ],
)
def test_why_an_object_is_no_asgi_app(app: Any, reason: str) -> None:
    assert reason in explain_no_app(app)


def test_the_routes_and_findings() -> None:
    app = Spica(routes=[Route("/{a}", endpoint), Route("/b", endpoint)])
    routes, findings = describe(Found(app, "main:app", "", []))
    assert routes.splitlines()[0].startswith("  GET,HEAD  /{a}")
    assert "is never reached" in findings


def test_foreign_apps_are_not_described() -> None:
    assert list(describe(Found(asgi, "main:app", "", []))) == []


def app_on_starlette() -> Any:
    """Return an object of a class that says that it is Starlette's, known to no module of ours."""
    return type("Starlette", (App,), {"__module__": "starlette.applications"})()


def test_an_application_on_starlette_itself_gets_a_hint() -> None:
    (line,) = describe(Found(app_on_starlette(), "main:app", "", []))
    assert "main:app runs on Starlette, not on spica. Add --compat" in line


@pytest.mark.parametrize(("is_dev", "count"), [(False, 1), (True, 0)])
def test_run_warns_of_starlette_itself(
    is_dev: bool, count: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = ModuleType("on_starlette")
    module.app = app_on_starlette()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "on_starlette", module)
    load_served(ServeOptions("on_starlette:app", is_dev=is_dev))
    assert len(caplog.messages) == count


def test_debug_is_turned_on_inside_of_layers() -> None:
    class Layer(App):
        def __init__(self, app: Any) -> None:
            self.app = app

    app = Spica()
    enable_debug(Found(Layer(app), "main:app", "", []))
    assert app.debug is True


def test_a_broken_application_shows_its_error() -> None:
    with TestClient(BrokenApplication("SyntaxError")) as client:
        response = client.get("/")
        assert (response.status_code, response.text) == (500, "SyntaxError")
        with pytest.raises(WebSocketDisconnect) as caught, client.websocket_connect("/"):
            pass
        assert caught.value.code == 1011


class OwnAccessLog(AccessLogMiddleware):
    """An access log of the user."""


LOGGED = Spica(middleware=[Middleware(OwnAccessLog)])


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (LOGGED, True),
        (Pure(LOGGED), True),
        (AccessLogMiddleware(Spica()), True),
        (AccessLogMiddleware(asgi), True),
        (Spica(), False),
        (Spica(middleware=[Middleware(Pure)]), False),
        (Spica(routes=[Mount("/part", LOGGED)]), False),
        (asgi, False),
    ],
    ids=["recipe", "wrapped", "around", "foreign", "none", "another", "mounted", "unknown"],
)
def test_an_application_may_log_its_requests_itself(app: Any, expected: bool) -> None:
    assert logs_requests(app) is expected
    assert settle(app, ServeOptions("main:app")).access_log is not expected


@pytest.mark.parametrize("is_wanted", [True, False])
def test_the_command_line_decides_about_the_access_log(is_wanted: bool) -> None:
    for app in (LOGGED, Spica()):
        assert settle(app, ServeOptions("main:app", access_log=is_wanted)).access_log is is_wanted
