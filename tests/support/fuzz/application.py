"""An application that has one of everything, for the targets that send it connections.

Nothing in it is wrong: whatever it is sent, an exception that comes out of it, or an answer of 500 or more,
is a finding. `build` makes it with any of the layers of `LAYERS` around it.
"""

from __future__ import annotations

import atexit
import base64
import functools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from spica.applications import Spica
from spica.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    SimpleUser,
    requires,
)
from spica.background import BackgroundTask
from spica.datastructures import UploadFile
from spica.endpoints import HTTPEndpoint, WebSocketEndpoint
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.body_limit import RequestBodyLimitMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.gzip import GZipMiddleware
from spica.middleware.httpsredirect import HTTPSRedirectMiddleware
from spica.middleware.opentelemetry import OpenTelemetryMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.middleware.trustedhost import TrustedHostMiddleware
from spica.requests import Request
from spica.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from spica.routing import Host, Mount, Route, WebSocketRoute
from spica.staticfiles import StaticFiles
from spica.websockets import WebSocket

CONTENT = b"0123456789" * 20


@functools.cache
def files() -> Path:
    """Return a directory with a few files, which is there as long as the process."""
    path = Path(tempfile.mkdtemp(prefix="spica-fuzz-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    (path / "site").mkdir()
    for name in ("a.txt", "index.html", "404.html", ".hidden"):
        (path / "site" / name).write_bytes(CONTENT)
    return path


class Accounts:
    """What was promised, and what was kept."""

    def __init__(self) -> None:
        self.promised = 0
        self.kept = 0
        self.streams = 0

    def promise(self) -> BackgroundTask:
        self.promised += 1
        return BackgroundTask(self.keep)

    async def keep(self) -> None:
        self.kept += 1


accounts = Accounts()

# -- endpoints -----------------------------------------------------------------------------------------


async def echo(request: Request) -> Response:
    return Response(await request.body(), background=accounts.promise())


async def echo_json(request: Request) -> Response:
    try:
        return JSONResponse(await request.json())
    except (UnicodeEncodeError, RecursionError) as error:  # it can be read, and not be written
        raise HTTPException(422, "That has no form in JSON.") from error


def describe(value: UploadFile | str) -> Any:
    if isinstance(value, str):
        return [value.encode("utf-8", "replace").decode()]
    return [ascii(value.filename), value.safe_filename, value.size, ascii(value.content_type)]


async def echo_form(request: Request) -> Response:
    async with request.form(max_files=3, max_fields=5, max_memory_size=2000) as form:
        found = [(ascii(name), describe(value)) for name, value in form.multi_items()]
        for value in form.values():
            if isinstance(value, UploadFile):
                await value.read(10)
        return JSONResponse(found)


async def forget_form(request: Request) -> Response:
    form = await request.form(max_memory_size=100)
    return JSONResponse(len(form), background=accounts.promise())


async def echo_parts(request: Request) -> Response:
    found = []
    async for part in request.parts():
        found.append(ascii(part.name))
        if len(found) % 2:
            await part.read(100)
    return JSONResponse(found)


async def echo_stream(request: Request) -> Response:
    return StreamingResponse(request.stream())


async def poll(request: Request) -> Response:
    before = await request.is_disconnected()
    body = await request.body()
    return JSONResponse([before, len(body), await request.is_disconnected()])


async def chunks(number: int) -> AsyncIterator[bytes]:
    accounts.streams += 1
    try:
        for _ in range(number):
            yield CONTENT
    finally:
        accounts.streams -= 1


async def download(request: Request) -> Response:
    return StreamingResponse(chunks(20), background=accounts.promise())


def blocking_chunks() -> Iterator[str]:
    accounts.streams += 1
    try:
        yield "a"
        yield "b"
    finally:
        accounts.streams -= 1


async def blocking_download(request: Request) -> Response:
    return StreamingResponse(blocking_chunks(), media_type="text/plain")


def blocking(request: Request) -> Response:
    return PlainTextResponse(ascii(request.url.path))


async def reflect(request: Request) -> Response:
    """Look at all there is, and tell it."""
    client = request.client
    found: dict[str, Any] = {
        "url": str(request.url),
        "base_url": str(request.base_url),
        "link": str(request.url_for("item", number=7, real=1.5, rest="a/b")),
        "changed": str(request.url.include_query_params(a="ü&=").replace(fragment="x y")),
        "host": request.url.hostname,
        "port": request.url.port,
        "headers": dict(request.headers),
        "query": request.query_params.multi_items(),
        "cookies": request.cookies,
        "client": None if client is None else client.host,
        "parameters": {name: str(value) for name, value in request.path_params.items()},
        "keys": len(request),
    }
    return JSONResponse({name: ascii(value) for name, value in found.items()})


async def send_on(request: Request) -> Response:
    """Put what a client sends wherever a response may carry it; what it may not carry is refused."""
    text = request.query_params.get("to", "")
    response = RedirectResponse(text.encode("utf-8", "replace").decode() or "/")
    try:
        response.headers["x-echo"] = text
        response.set_cookie("a", text, path="/", domain=text or None)
        response.set_cookie(text or "b", "value")
    except ValueError as error:
        raise HTTPException(400, "That cannot stand in a header.") from error
    return response


async def send_file(request: Request) -> Response:
    name = request.query_params.get("name", "a.txt")
    return FileResponse(files() / "site" / "a.txt", filename=name, conditional=True)


async def refuse(request: Request) -> Response:
    raise HTTPException(418, "I'm a teapot.", {"x-tea": "yes"})


async def count_visits(request: Request) -> Response:
    if "visits" in request.session or request.query_params:
        request.session["visits"] = request.session.get("visits", 0) + 1
        request.session.setdefault("names", []).append("n")
        del request.session["names"][3:]
    return JSONResponse(dict(request.session))


@requires("authenticated", redirect="plain")
async def secret(request: Request) -> Response:
    return PlainTextResponse(ascii(request.user.display_name))


class Thing(HTTPEndpoint):
    """A class, with a method of its own."""

    http_methods = ("PROPFIND",)

    async def get(self, request: Request) -> Response:
        return PlainTextResponse("got")

    async def propfind(self, request: Request) -> Response:
        return PlainTextResponse("found", status_code=207)

    def put(self, request: Request) -> Response:
        return Response(status_code=204)


class NotMine:
    """A foreign app, which knows nothing of spica."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        message = await receive()
        while message["type"] == "http.request" and message.get("more_body", False):
            message = await receive()
        if message["type"] == "http.disconnect":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": CONTENT, "more_body": True})
        await send({"type": "http.response.body", "body": CONTENT})


# -- WebSockets ----------------------------------------------------------------------------------------


async def talk(websocket: WebSocket) -> None:
    """Answer text with text."""
    await websocket.accept(subprotocol=next(iter(offered(websocket)), None))
    str(websocket.url), websocket.query_params, websocket.cookies  # read for its errors
    async for text in websocket.iter_text():
        await websocket.send_text(text.encode("utf-8", "replace").decode())


def offered(websocket: WebSocket) -> list[str]:
    return [name for name in websocket.scope.get("subprotocols") or () if name == "chat"]


async def talk_json(websocket: WebSocket) -> None:
    mode = websocket.query_params.get("mode", "text")
    await websocket.accept(headers=[(b"x-mode", mode.encode("ascii", "ignore")[:10])])
    while True:
        value = await websocket.receive_json("binary" if mode == "binary" else "text")
        try:
            await websocket.send_json(value)
        except (UnicodeEncodeError, RecursionError, ValueError):
            await websocket.close(1007, "That cannot be written again.")
            return


async def deny(websocket: WebSocket) -> None:
    raise HTTPException(403, "No.")


async def close_at_once(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(4000, "Enough.")


class Listener(WebSocketEndpoint):
    """A class that takes bytes."""

    encoding = "bytes"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_bytes(data)


class JSONListener(WebSocketEndpoint):
    """A class that takes JSON."""

    encoding = "json"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_text(ascii(data))


# -- layers --------------------------------------------------------------------------------------------


class Tokens(AuthenticationBackend):
    """Read ``Basic`` credentials."""

    async def authenticate(self, conn: Any) -> tuple[AuthCredentials, SimpleUser] | None:
        value = conn.headers.get("authorization", "")
        scheme, _, text = value.partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name = base64.b64decode(text).decode().partition(":")[0]
        except ValueError as error:
            raise AuthenticationError("Malformed credentials.") from error
        return AuthCredentials(["authenticated"]), SimpleUser(name)


class Dispatch(BaseHTTPMiddleware):
    """Edit each answer."""

    async def dispatch(self, request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-dispatch"] = "1"
        return response


class ReadingDispatch(BaseHTTPMiddleware):
    """Read the body before others do, and pass the answer's chunks on by hand."""

    async def dispatch(self, request: Request, call_next: Any) -> Any:
        await request.body()
        response = await call_next(request)
        inner = response.body_iterator
        headers = {
            name: value for name, value in response.headers.items() if name != "content-length"
        }
        return StreamingResponse(
            inner, response.status_code, headers, background=accounts.promise()
        )


class Opaque:
    """A foreign layer around ours."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


LAYERS: dict[str, Middleware] = {
    "trustedhost": Middleware(
        TrustedHostMiddleware, allowed_hosts=["example.org", "*.example.org", "127.0.0.1", "[::1]"]
    ),
    "telemetry": Middleware(
        OpenTelemetryMiddleware,
        tracer_provider=NoOpTracerProvider(),
        meter_provider=NoOpMeterProvider(),
    ),
    "cors": Middleware(
        CORSMiddleware,
        allow_origins=["http://example.org"],
        allow_origin_regex=r"https://[a-z]+\.example\.org",
        allow_methods=["GET", "POST", "PROPFIND"],
        allow_headers=["x-a"],
        allow_credentials=True,
        allow_private_network=True,
        expose_headers=["x-dispatch"],
    ),
    "opencors": Middleware(
        CORSMiddleware, allow_origins=["*"], allow_headers=["*"], allow_methods=["*"]
    ),
    "gzip": Middleware(GZipMiddleware, minimum_size=100),
    "session": Middleware(SessionMiddleware, secret_key="of the tests", max_age=60),
    "auth": Middleware(AuthenticationMiddleware, backend=Tokens()),
    "limit": Middleware(RequestBodyLimitMiddleware, max_body_size=3000),
    "dispatch": Middleware(Dispatch),
    "reading": Middleware(ReadingDispatch),
    "opaque": Middleware(Opaque),
    "https": Middleware(HTTPSRedirectMiddleware),
    "innerdispatch": Middleware(Dispatch),
}
"""Layers in an order in which they make sense."""


@asynccontextmanager
async def lifespan(app: Spica) -> AsyncIterator[dict[str, Any]]:
    yield {"is_up": True}


def routes() -> list[Any]:
    return [
        Route("/", blocking, name="plain"),
        Route("/echo", echo, methods=["POST", "PUT"]),
        Route("/json", echo_json, methods=["POST"]),
        Route("/form", echo_form, methods=["POST"]),
        Route("/forget", forget_form, methods=["POST"]),
        Route("/parts", echo_parts, methods=["POST"]),
        Route("/stream", echo_stream, methods=["POST"]),
        Route("/poll", poll, methods=["GET", "POST"]),
        Route("/download", download),
        Route("/blocking", blocking_download),
        Route("/reflect", reflect, name="reflect"),
        Route("/reflect/{a}-{b}.{c}", reflect),
        Route("/item/{number:int}/{real:float}/{rest:path}", reflect, name="item"),
        Route("/uuid/{value:uuid}", reflect),
        Route("/to", send_on),
        Route("/file", send_file),
        Route("/teapot", refuse),
        Route("/thing", Thing),
        Route("/small", echo, methods=["POST"], max_body_size=5),
        Mount("/foreign", NotMine()),
        Mount("/static", StaticFiles(directory=files() / "site", html=True)),
        Mount("/plain", StaticFiles(directory=files() / "site")),
        Mount("/deep", routes=[Mount("/er", routes=[Route("/{a}", reflect)])], max_body_size=2000),
        Host("{sub}.example.org", Spica(routes=[Route("/sub", reflect)])),
        WebSocketRoute("/talk", talk),
        WebSocketRoute("/talk/json", talk_json),
        WebSocketRoute("/talk/deny", deny),
        WebSocketRoute("/talk/close", close_at_once),
        WebSocketRoute("/talk/bytes", Listener),
        WebSocketRoute("/talk/values/{a}", JSONListener),
    ]


@functools.cache
def build(names: frozenset[str]) -> Spica:
    """Return the application with these layers of `LAYERS`, and what each of them makes possible."""
    more = []
    if "session" in names:
        more.append(Route("/visits", count_visits))
    if "auth" in names:
        more.append(Route("/secret", secret))
    return Spica(
        routes=[*routes(), *more],
        middleware=[recipe for name, recipe in LAYERS.items() if name in names],
        lifespan=lifespan,
        max_body_size=5000,
    )
