"""The apps for spica and for Starlette: one code, told apart by the package's name alone."""

import importlib
import sys
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.cases import (
    LARGER,
    MANY_ROUTES,
    MIXED_ROWS,
    ROUTES,
    ROWS,
    SMALL,
    SMALL_WITH_NULL,
    STREAM_CHUNK,
    STREAM_CHUNKS,
    WORDS,
    Apps,
    Material,
)

MODULES = {
    "AuthCredentials": "authentication",
    "AuthenticationBackend": "authentication",
    "AuthenticationMiddleware": "middleware.authentication",
    "BackgroundTask": "background",
    "BaseHTTPMiddleware": "middleware.base",
    "CORSMiddleware": "middleware.cors",
    "FileResponse": "responses",
    "GZipMiddleware": "middleware.gzip",
    "HTTPException": "exceptions",
    "JSONResponse": "responses",
    "Jinja2Templates": "templating",
    "Middleware": "middleware",
    "Mount": "routing",
    "PlainTextResponse": "responses",
    "Route": "routing",
    "SessionMiddleware": "middleware.sessions",
    "SimpleUser": "authentication",
    "StaticFiles": "staticfiles",
    "StreamingResponse": "responses",
    "TrustedHostMiddleware": "middleware.trustedhost",
    "WebSocketRoute": "routing",
}


class Toolkit:
    """The names that the apps use, taken from one package when they are needed."""

    def __init__(self, package: str, application: str) -> None:
        self.package = package
        self.Application = self.take("applications", application)

    def take(self, module: str, name: str) -> Any:
        return getattr(importlib.import_module(f"{self.package}.{module}"), name)

    def __getattr__(self, name: str) -> Any:
        value = self.take(MODULES[name], name)
        setattr(self, name, value)  # the next time it is an attribute like any other
        return value


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(STREAM_CHUNKS):
        yield STREAM_CHUNK


async def words() -> AsyncIterator[str]:
    for word in WORDS:
        yield word


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

    async def json_null(self, request: Any) -> Any:
        return self.kit.JSONResponse(SMALL_WITH_NULL)

    async def json_mixed_rows(self, request: Any) -> Any:
        return self.kit.JSONResponse(MIXED_ROWS)

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

    async def rows(self, request: Any) -> Any:
        return self.kit.JSONResponse({**LARGER, "user": request.user.display_name})

    async def browser(self, request: Any) -> Any:
        cookies, headers = request.cookies, request.headers
        words = cookies["session"], cookies["theme"], headers["sec-ch-ua-mobile"]
        return self.kit.PlainTextResponse(" ".join(words))

    async def words(self, request: Any) -> Any:
        return self.kit.StreamingResponse(words(), media_type="text/plain")

    async def echo_json(self, websocket: Any) -> None:
        await websocket.accept()
        for _ in range(10):
            await websocket.send_json(await websocket.receive_json())
        await websocket.close()

    def thread(self, request: Any) -> Any:
        return self.kit.PlainTextResponse("Hello, world!")

    async def echo(self, websocket: Any) -> None:
        await websocket.accept()
        for _ in range(10):
            await websocket.send_text(await websocket.receive_text())
        await websocket.close()


def passing(kit: Toolkit, times: int) -> list[Any]:
    """As many middlewares that let everything pass: what each one costs by itself."""

    class Pass(kit.BaseHTTPMiddleware):  # type: ignore[misc, name-defined]  # a variable base
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            return await call_next(request)

    return [kit.Middleware(Pass) for _ in range(times)]


def adding_headers(kit: Toolkit, times: int) -> list[Any]:
    """As many middlewares that add to the response on its way out."""

    class AddHeader(kit.BaseHTTPMiddleware):  # type: ignore[misc, name-defined]  # a variable base
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["x-passed"] = "1"
            return response

    return [kit.Middleware(AddHeader) for _ in range(times)]


class AddHeaderASGI:
    """A pure ASGI middleware, as applications write it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_more(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-passed", b"1"))
            await send(message)

        await self.app(scope, receive, send_more)


def header_layer(kit: Toolkit) -> Any:
    """Return a middleware that adds a header in the fastest way of the package."""
    if kit.package != "spica":
        return AddHeaderASGI

    class AddHeader(kit.take("layers", "Layer")):  # type: ignore[misc]  # a variable base
        def edit_response(self, request: Any, response: Any) -> None:
            response.headers["x-passed"] = "1"

    return AddHeader


def authentication(kit: Toolkit) -> Any:
    """Return a middleware that takes the user from the session."""

    class Backend(kit.AuthenticationBackend):  # type: ignore[misc, name-defined]  # a variable base
        async def authenticate(self, conn: Any) -> Any:
            name = conn.session.get("user")
            return name and (kit.AuthCredentials(["authenticated"]), kit.SimpleUser(name))

    return kit.Middleware(kit.AuthenticationMiddleware, backend=Backend())


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
    apps: Apps = {}
    parts = (simple_apps, table_apps, middleware_apps, stack_apps, static_apps, template_apps)
    for part in parts:
        try:
            apps |= part(kit, endpoints)
        except ImportError as error:
            print(f"{package} has no {part.__name__}: {error}", file=sys.stderr)
    return apps


def simple_apps(kit: Toolkit, endpoints: Endpoints) -> Apps:
    """One route each."""
    got = {
        "plain": endpoints.plain,
        "json": endpoints.json,
        "json-rows": endpoints.json_rows,
        "json-null": endpoints.json_null,
        "json-mixed-rows": endpoints.json_mixed_rows,
        "exception": endpoints.refuse,
        "background": endpoints.background,
        "stream": endpoints.stream,
        "stream-2.4": endpoints.stream,
        "stream-text": endpoints.words,
        "stream-text-2.4": endpoints.words,
        "browser": endpoints.browser,
        "small-file": endpoints.small_file,
        "large-file": endpoints.large_file,
        "thread": endpoints.thread,
        "thread-30": endpoints.thread,
    }
    posted = {
        "json-echo": endpoints.json_echo,
        "json-body": endpoints.json_body,
        "json-mixed-body": endpoints.json_body,
        "form": endpoints.form,
        "fields": endpoints.form,
        "upload": endpoints.upload,
        "small-upload": endpoints.upload,
        "files": endpoints.form,
    }
    routes: dict[str, Any] = {name: kit.Route("/", endpoint) for name, endpoint in got.items()}
    for name, endpoint in posted.items():
        routes[name] = kit.Route("/", endpoint, methods=["POST"])
    routes["params"] = kit.Route("/users/{user_id:int}/posts/{slug}", endpoints.params)
    routes["read"] = kit.Route("/read", endpoints.read)
    routes["mounts"] = nested(kit, endpoints)
    routes["websocket"] = kit.WebSocketRoute("/ws", endpoints.echo)
    routes["websocket-json"] = kit.WebSocketRoute("/ws", endpoints.echo_json)
    return {name: kit.Application(routes=[route]) for name, route in routes.items()}


def table_apps(kit: Toolkit, endpoints: Endpoints) -> Apps:
    table = kit.Application(routes=many_routes(kit, endpoints))
    large = kit.Application(routes=many_routes(kit, endpoints, MANY_ROUTES))
    return {
        **dict.fromkeys(("last-route", "not-found", "not-allowed"), table),
        "not-found-2000": large,
    }


def middleware_apps(kit: Toolkit, endpoints: Endpoints) -> Apps:
    plain, opaque = kit.Route("/", endpoints.plain), kit.Mount("/", foreign)
    return {
        "middleware-1": kit.Application(routes=[plain], middleware=passing(kit, 1)),
        "middleware-5": kit.Application(routes=[plain], middleware=passing(kit, 5)),
        "middleware-headers": kit.Application(routes=[plain], middleware=adding_headers(kit, 5)),
        "middleware-opaque": kit.Application(routes=[opaque], middleware=passing(kit, 5)),
        "asgi-headers": kit.Application(
            routes=[plain], middleware=[kit.Middleware(AddHeaderASGI) for _ in range(3)]
        ),
        "layer-headers": kit.Application(
            routes=[plain], middleware=[kit.Middleware(header_layer(kit)) for _ in range(3)]
        ),
    }


def stack_apps(kit: Toolkit, endpoints: Endpoints) -> Apps:
    login = kit.Route("/login", endpoints.login)
    session, rows = kit.Route("/session", endpoints.session), kit.Route("/rows", endpoints.rows)
    stack = usual_stack(kit)
    return {
        "stack": kit.Application(routes=[login, session], middleware=stack),
        "stack-rows": kit.Application(
            routes=[login, rows], middleware=[*stack, authentication(kit)]
        ),
    }


PAGE = """<!doctype html><title>{{ title }}</title>
<ul>{% for user in users %}<li><a href="/users/{{ user.id }}">{{ user.name }}</a></li>{% endfor %}</ul>
"""


def template_apps(kit: Toolkit, endpoints: Endpoints) -> Apps:
    (endpoints.material.directory / "page.html").write_text(PAGE, encoding="utf-8")
    templates = kit.Jinja2Templates(directory=endpoints.material.directory)
    users = ROWS[:20]

    async def page(request: Any) -> Any:
        return templates.TemplateResponse(request, "page.html", {"title": "Users", "users": users})

    return {"template": kit.Application(routes=[kit.Route("/", page)])}


def static_apps(kit: Toolkit, endpoints: Endpoints) -> Apps:
    files = kit.StaticFiles(directory=endpoints.material.directory)
    app = kit.Application(routes=[kit.Mount("/static", files)])
    return {"static": app, "static-304": app, "static-60k": app}


def nested(kit: Toolkit, endpoints: Endpoints) -> Any:
    innermost = kit.Mount("/c", routes=[kit.Route("/end", endpoints.plain)])
    return kit.Mount("/a", routes=[kit.Mount("/b", routes=[innermost])])


def many_routes(kit: Toolkit, endpoints: Endpoints, number: int = ROUTES) -> list[Any]:
    routes = []
    for n in range(number // 2):
        routes.append(kit.Route(f"/group{n}/items", endpoints.plain))
        routes.append(kit.Route(f"/group{n}/items/{{id}}", endpoints.item))
    return routes
