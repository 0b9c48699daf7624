"""The routes of an application as a table."""

from typing import Any

from spica.applications import Spica
from spica.checks.report import format_routes
from spica.endpoints import HTTPEndpoint
from spica.routing import BaseRoute, Host, Mount, Route, Router, WebSocketRoute


async def index(request: Any) -> None: ...


async def chat(websocket: Any) -> None: ...


class Item(HTTPEndpoint):
    async def put(self, request: Any) -> None: ...


def app(scope: Any, receive: Any, send: Any) -> Any: ...


class Odd(BaseRoute):
    pass


def test_each_route_is_a_line() -> None:
    routes = [
        Route("/", index),
        Route("/item/{id:int}", Item, name="item"),
        WebSocketRoute("/chat", chat),
        Mount("/api", routes=[Route("/", index, name="api")], name="v1"),
        Host("a.example.org", Router([Route("/b", index)])),
        Mount("/other", app),
        Odd(),
    ]
    lines = format_routes(Spica(routes=routes)).splitlines()
    assert [line.split() for line in lines] == [
        ["GET,HEAD", "/", "index", f"{__name__}.index"],
        ["PUT", "/item/{id:int}", "item", f"{__name__}.Item"],
        ["WEBSOCKET", "/chat", "chat", f"{__name__}.chat"],
        ["MOUNT", "/api", "v1", "spica.routing.router.Router"],
        ["GET,HEAD", "/api/", "api", f"{__name__}.index"],
        ["HOST", "a.example.org", "spica.routing.router.Router"],
        ["GET,HEAD", "a.example.org/b", "index", f"{__name__}.index"],
        ["MOUNT", "/other", f"{__name__}.app"],
        ["*", f"{__name__}.Odd"],
    ]


def test_columns_stand_below_each_other() -> None:
    lines = format_routes(Spica(routes=[Route("/", index), Route("/long", index)])).splitlines()
    assert lines[0].index("index") == lines[1].index("index")


def test_no_routes() -> None:
    assert format_routes(Spica()) == "There are no routes."


def test_an_application_that_is_mounted_in_itself_has_an_end() -> None:
    application = Spica()
    application.mount("/again", application)
    assert format_routes(application).splitlines()[0].startswith("MOUNT  /again")
