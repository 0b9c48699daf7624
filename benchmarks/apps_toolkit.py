"""The apps for spica and for Starlette: one code, told apart by the package's name alone."""

import importlib
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.cases import ROUTES, ROWS, SMALL, STREAM_CHUNK, STREAM_CHUNKS, Apps, Material


class Toolkit:
    """The names that the apps use, taken from one package."""

    def __init__(self, package: str, application: str) -> None:
        def take(module: str, name: str) -> Any:
            return getattr(importlib.import_module(f"{package}.{module}"), name)

        self.Application = take("applications", application)
        self.BackgroundTask = take("background", "BackgroundTask")
        self.BaseHTTPMiddleware = take("middleware.base", "BaseHTTPMiddleware")
        self.CORSMiddleware = take("middleware.cors", "CORSMiddleware")
        self.FileResponse = take("responses", "FileResponse")
        self.GZipMiddleware = take("middleware.gzip", "GZipMiddleware")
        self.HTTPException = take("exceptions", "HTTPException")
        self.JSONResponse = take("responses", "JSONResponse")
        self.Middleware = take("middleware", "Middleware")
        self.Mount = take("routing", "Mount")
        self.PlainTextResponse = take("responses", "PlainTextResponse")
        self.Route = take("routing", "Route")
        self.SessionMiddleware = take("middleware.sessions", "SessionMiddleware")
        self.StaticFiles = take("staticfiles", "StaticFiles")
        self.StreamingResponse = take("responses", "StreamingResponse")
        self.TrustedHostMiddleware = take("middleware.trustedhost", "TrustedHostMiddleware")
        self.WebSocketRoute = take("routing", "WebSocketRoute")


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(STREAM_CHUNKS):
        yield STREAM_CHUNK


async def nothing() -> None:
    pass


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app that no framework knows from the inside."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, world!"})


class Endpoints:
    """What stands behind the routes."""

    def __init__(self, kit: Toolkit, material: Material) -> None:
        self.kit = kit
        self.material = material

    async def plain(self, request: Any) -> Any:
        return self.kit.PlainTextResponse("Hello, world!")

    async def json(self, request: Any) -> Any:
        return self.kit.JSONResponse(SMALL)

    async def json_rows(self, request: Any) -> Any:
        return self.kit.JSONResponse(ROWS)

    async def params(self, request: Any) -> Any:
        params = request.path_params
        return self.kit.PlainTextResponse(f"{params['user_id']} {params['slug']}")

    async def read(self, request: Any) -> Any:
        query = request.query_params
        words = [
            str(request.url),
            query["q"],
            query["page"],
            request.headers["accept-language"],
            request.cookies["session"],
        ]
        return self.kit.PlainTextResponse(" ".join(words))

    async def item(self, request: Any) -> Any:
        return self.kit.PlainTextResponse(request.path_params["id"])

    async def refuse(self, request: Any) -> Any:
        raise self.kit.HTTPException(403, "No entry")

    async def background(self, request: Any) -> Any:
        task = self.kit.BackgroundTask(nothing)
        return self.kit.PlainTextResponse("Hello, world!", background=task)

    async def json_echo(self, request: Any) -> Any:
        return self.kit.JSONResponse(await request.json())

    async def json_body(self, request: Any) -> Any:
        return self.kit.PlainTextResponse(str(len(await request.json())))

    async def form(self, request: Any) -> Any:
        async with request.form() as form:
            return self.kit.PlainTextResponse(str(len(form)))

    async def upload(self, request: Any) -> Any:
        async with request.form() as form:
            return self.kit.PlainTextResponse(str(form["file"].size))

    async def stream(self, request: Any) -> Any:
        return self.kit.StreamingResponse(chunks(), media_type="application/octet-stream")

    async def small_file(self, request: Any) -> Any:
        return self.kit.FileResponse(self.material.small_file)

    async def large_file(self, request: Any) -> Any:
        return self.kit.FileResponse(self.material.large_file)

    async def login(self, request: Any) -> Any:
        request.session["user"] = "Ada"
        return self.kit.PlainTextResponse("")

    async def session(self, request: Any) -> Any:
        return self.kit.PlainTextResponse(request.session["user"])

    def thread(self, request: Any) -> Any:
        return self.kit.PlainTextResponse("Hello, world!")

    async def echo(self, websocket: Any) -> None:
        await websocket.accept()
        for _ in range(10):
            await websocket.send_text(await websocket.receive_text())
        await websocket.close()


def dispatching(kit: Toolkit, times: int) -> list[Any]:
    """As many middlewares that look at the response on its way out."""

    class AddHeader(kit.BaseHTTPMiddleware):  # type: ignore[misc, name-defined]  # a variable base
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["x-passed"] = "1"
            return response

    return [kit.Middleware(AddHeader) for _ in range(times)]


def usual_stack(kit: Toolkit) -> list[Any]:
    return [
        kit.Middleware(kit.TrustedHostMiddleware, allowed_hosts=["localhost", "*.example.org"]),
        kit.Middleware(kit.CORSMiddleware, allow_origins=["https://example.org"]),
        kit.Middleware(kit.GZipMiddleware),
        kit.Middleware(kit.SessionMiddleware, secret_key="not a secret: only for measuring"),
    ]


def build(package: str, application: str, material: Material) -> Apps:
    """Return the app for each case, made of one package."""
    kit = Toolkit(package, application)
    endpoints = Endpoints(kit, material)
    single = {
        "plain": endpoints.plain,
        "json": endpoints.json,
        "json-rows": endpoints.json_rows,
        "exception": endpoints.refuse,
        "background": endpoints.background,
        "stream": endpoints.stream,
        "small-file": endpoints.small_file,
        "large-file": endpoints.large_file,
        "thread": endpoints.thread,
    }
    posted = {
        "json-echo": endpoints.json_echo,
        "json-body": endpoints.json_body,
        "form": endpoints.form,
        "fields": endpoints.form,
        "upload": endpoints.upload,
    }
    routed: dict[str, Any] = {name: kit.Route("/", e) for name, e in single.items()}
    routed |= {name: kit.Route("/", e, methods=["POST"]) for name, e in posted.items()}
    routed["params"] = kit.Route("/users/{user_id:int}/posts/{slug}", endpoints.params)
    routed["read"] = kit.Route("/read", endpoints.read)
    routed["mounts"] = nested(kit, endpoints)
    routed["static"] = kit.Mount("/static", kit.StaticFiles(directory=material.directory))
    routed["websocket"] = kit.WebSocketRoute("/ws", endpoints.echo)
    apps = {name: kit.Application(routes=[route]) for name, route in routed.items()}

    table = kit.Application(routes=many_routes(kit, endpoints))
    apps |= dict.fromkeys(("last-route", "not-found", "not-allowed"), table)
    for times in (1, 5):
        apps[f"middleware-{times}"] = kit.Application(
            routes=[kit.Route("/", endpoints.plain)], middleware=dispatching(kit, times)
        )
    apps["middleware-opaque"] = kit.Application(
        routes=[kit.Mount("/", foreign)], middleware=dispatching(kit, 5)
    )
    apps["stack"] = kit.Application(
        routes=[kit.Route("/login", endpoints.login), kit.Route("/session", endpoints.session)],
        middleware=usual_stack(kit),
    )
    return apps


def nested(kit: Toolkit, endpoints: Endpoints) -> Any:
    innermost = kit.Mount("/c", routes=[kit.Route("/end", endpoints.plain)])
    return kit.Mount("/a", routes=[kit.Mount("/b", routes=[innermost])])


def many_routes(kit: Toolkit, endpoints: Endpoints) -> list[Any]:
    routes = []
    for n in range(ROUTES // 2):
        routes.append(kit.Route(f"/group{n}/items", endpoints.plain))
        routes.append(kit.Route(f"/group{n}/items/{{id}}", endpoints.item))
    return routes
