"""Mistakes that type checkers must report: each ignore comment fails the check if there is none to ignore."""

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.cors import CORSMiddleware
from spica.requests import Request
from spica.responses import Response
from spica.routing import Route, WebSocketRoute
from spica.types import ASGIApp, Receive, Scope, Send
from spica.websockets import WebSocket


class Pure:
    def __init__(self, app: ASGIApp, prefix: str = "") -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def no_parameter() -> Response:
    return Response()


def two_parameters(request: Request, other: str) -> Response:
    return Response()


async def returns_a_string(request: Request) -> str:
    return "hello"


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()


def sync_socket(websocket: WebSocket) -> None: ...


def handler_without_the_exception(request: Request) -> Response:
    return Response()


def handler_of_a_string(request: Request, exc: Exception) -> str:
    return "hello"


app = Spica()
Route("/", no_parameter)  # type: ignore[arg-type]
Route("/", two_parameters)  # type: ignore[arg-type]
Route("/", returns_a_string)  # type: ignore[arg-type]
Route("/", socket)  # type: ignore[arg-type]
WebSocketRoute("/", sync_socket)  # type: ignore[arg-type]
app.add_route("/", no_parameter)  # type: ignore[arg-type]
app.get("/")(returns_a_string)  # type: ignore[type-var]
app.websocket_route("/")(sync_socket)  # type: ignore[type-var]
app.add_exception_handler(404, handler_without_the_exception)  # type: ignore[arg-type]
app.add_exception_handler(404, handler_of_a_string)  # type: ignore[arg-type]
app.exception_handler(404)(handler_of_a_string)  # type: ignore[type-var]
Spica(exception_handlers={404: handler_without_the_exception})  # type: ignore[dict-item]
Middleware(CORSMiddleware, allow_origin=["*"])  # type: ignore[call-arg]
Middleware(Pure, prefix=1)  # type: ignore[arg-type]
app.add_middleware(Pure, prefix=1)  # type: ignore[arg-type]
app.add_middleware(Pure, suffix="x")  # type: ignore[call-arg]
