"""Every kind of middleware in one list, and in ``add_middleware``."""

import functools
from collections.abc import Sequence
from typing import assert_type

from spica.applications import Spica
from spica.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    BaseUser,
    SimpleUser,
    requires,
)
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from spica.middleware.cors import CORSMiddleware
from spica.middleware.gzip import GZipMiddleware
from spica.middleware.httpsredirect import HTTPSRedirectMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.middleware.trustedhost import TrustedHostMiddleware
from spica.requests import HTTPConnection, Request
from spica.responses import PlainTextResponse, Response
from spica.routing import Mount, Route, Router
from spica.types import ASGIApp, Receive, Scope, Send


class Pure:
    def __init__(self, app: ASGIApp, prefix: str = "", *, depth: int = 1) -> None:
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class Timing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["server-timing"] = "app"
        return response


class Options(BaseHTTPMiddleware):
    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        super().__init__(app)
        self.names = names


async def dispatch(request: Request, call_next: RequestResponseEndpoint) -> Response:
    return await call_next(request)


def wrap(app: ASGIApp, *, name: str) -> ASGIApp:
    return app


class Backend(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        return AuthCredentials(["user"]), SimpleUser(conn.headers.get("x-user", "nobody"))


def on_missing(request: Request, exc: Exception) -> Response:
    return PlainTextResponse("Not here", status_code=404)


class Full(Exception):
    pass


async def on_full(request: Request, exc: Full) -> Response:
    return PlainTextResponse("Full", status_code=503)


@requires("user")
async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.user.display_name)


stack = [
    Middleware(TrustedHostMiddleware, allowed_hosts=["example.org"]),
    Middleware(HTTPSRedirectMiddleware),
    Middleware(CORSMiddleware, allow_origins=["https://example.org"], max_age=60),
    Middleware(GZipMiddleware, minimum_size=1000),
    Middleware(SessionMiddleware, secret_key="a secret of at least 32 characters"),
    Middleware(AuthenticationMiddleware, backend=Backend()),
    Middleware(Timing),
    Middleware(Options, names=["a"]),
    Middleware(BaseHTTPMiddleware, dispatch=dispatch),
    Middleware(Pure, prefix="/x", depth=2),
    Middleware(wrap, name="x"),
    Middleware(functools.partial(wrap, name="x")),
]

app = Spica(
    routes=[Route("/", home, middleware=[Middleware(Timing), Middleware(Pure)])],
    middleware=stack,
    exception_handlers={404: on_missing, Full: on_full},
)
inline = Spica(
    routes=[Mount("/m", app, middleware=[Middleware(Pure, prefix="a"), Middleware(Timing)])],
    middleware=[
        Middleware(CORSMiddleware, allow_origins=["*"]),
        Middleware(Pure, prefix="/x"),
        Middleware(Timing),
    ],
)
router = Router(middleware=[Middleware(Pure), Middleware(GZipMiddleware)])
app.add_middleware(Pure, prefix="/x")
app.add_middleware(SessionMiddleware, secret_key="a secret of at least 32 characters")
app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["GET"])
app.add_exception_handler(Full, on_full)
app.add_exception_handler(404, on_missing)


@app.exception_handler(Full)
async def again(request: Request, exc: Full) -> Response:
    return Response(status_code=503)


async def use(request: Request) -> None:
    assert_type(await home(request), PlainTextResponse)
    assert_type(await again(request, Full()), Response)
