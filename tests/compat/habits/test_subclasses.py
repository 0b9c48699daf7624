"""Subclasses that skip ``super().__init__()``, override what is inside, or are made in odd ways."""

import base64
import json

import pytest
from asgi_kit import call

pytestmark = pytest.mark.anyio


async def hello(request):
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(f"hello {request.path_params or ''}".strip())


async def test_an_application_that_skips_the_constructor():  # FastAPI
    from starlette.applications import Starlette
    from starlette.datastructures import State
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.middleware.errors import ServerErrorMiddleware
    from starlette.middleware.exceptions import ExceptionMiddleware
    from starlette.routing import Route, Router

    async def mark(request, call_next):
        response = await call_next(request)
        response.headers["x-mark"] = "yes"
        return response

    class App(Starlette):
        def __init__(self):
            self.debug = False
            self.state = State()
            self.router = Router([Route("/", hello)])
            self.exception_handlers = {}
            self.user_middleware = [Middleware(BaseHTTPMiddleware, dispatch=mark)]
            self.middleware_stack = None
            self.max_body_size = None

        def build_middleware_stack(self):
            app = ExceptionMiddleware(self.router, handlers=self.exception_handlers)
            for cls, args, kwargs in reversed(self.user_middleware):
                app = cls(app, *args, **kwargs)
            return ServerErrorMiddleware(app, debug=self.debug)

    app = App()
    assert (await call(app)).headers["x-mark"] == "yes"
    app.add_route("/{x}", hello)
    assert (await call(app, "GET", "/1")).text == "hello {'x': '1'}"
    assert str(app.url_path_for("hello", x="2")) == "/2"


async def test_a_route_that_skips_the_constructor():  # FastAPI's APIRoute
    from starlette.applications import Starlette
    from starlette.routing import Match, Route, WebSocketRoute, compile_path, request_response

    class Bare(Route):
        def __init__(self, path, endpoint):
            self.path = path
            self.endpoint = endpoint
            self.name = "bare"
            self.methods = {"GET"}
            self.path_regex, self.path_format, self.param_convertors = compile_path(path)
            self.app = request_response(endpoint)

    class BareSocket(WebSocketRoute):
        def __init__(self, path, endpoint):
            self.path = path
            self.endpoint = endpoint
            self.name = "socket"
            self.path_regex, self.path_format, self.param_convertors = compile_path(path)
            self.app = endpoint

    route = Bare("/u/{id:int}", hello)
    app = Starlette(routes=[route, BareSocket("/ws", hello)])
    assert (await call(app, "GET", "/u/1")).text == "hello {'id': 1}"
    assert (await call(app, "POST", "/u/1")).status == 405
    assert str(app.url_path_for("bare", id=3)) == "/u/3"
    assert str(app.url_path_for("socket")) == "/ws"
    scope = {"type": "http", "method": "GET", "path": "/u/1", "headers": []}
    assert route.matches(scope)[0] is Match.FULL


async def test_a_router_that_overrides_app_and_sets_its_lifespan_first():  # FastAPI's APIRouter
    from starlette.routing import Route, Router

    seen = []

    class Api(Router):
        def __init__(self, **options):
            self.lifespan_context = None
            super().__init__(**options)

        async def app(self, scope, receive, send):
            seen.append(scope["type"])
            if scope["type"] == "lifespan":
                await self.lifespan(scope, receive, send)
            elif scope["path"] == "/missing":
                await self.default(scope, receive, send)
            else:
                await super().app(scope, receive, send)

    router = Api(routes=[Route("/", hello)])
    assert (await call(router)).text == "hello"
    assert (await call(router, "GET", "/missing")).status == 404
    assert seen == ["http", "http"]


async def test_headers_and_background_of_a_response_are_edited():  # FastAPI
    from starlette.applications import Starlette
    from starlette.background import BackgroundTasks
    from starlette.datastructures import Headers
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    done = []

    async def endpoint(request):
        sub = Response()
        del sub.headers["content-length"]
        sub.status_code = None
        sub.headers.append("x-sub", "1")
        sub.set_cookie("a", "b")
        tasks = BackgroundTasks()
        tasks.add_task(done.append, 1)
        response = JSONResponse({"a": 1})
        assert response.background is None
        response.background = tasks
        assert [task.func for task in tasks.tasks] == [done.append]
        response.headers.raw.extend(sub.headers.raw)
        assert isinstance(response.headers, Headers)
        return response

    exchange = await call(Starlette(routes=[Route("/", endpoint)]))
    assert exchange.json == {"a": 1}
    assert exchange.headers["x-sub"] == "1"
    assert exchange.headers["set-cookie"].startswith("a=b;")
    assert exchange.headers["content-length"] == "7"
    assert done == [1]


async def test_middleware_is_a_function():  # FastAPI's tests
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import Route

    def shout(app, word):
        async def shouting(scope, receive, send):
            scope["word"] = word
            await app(scope, receive, send)

        return shouting

    async def endpoint(request):
        from starlette.responses import PlainTextResponse

        return PlainTextResponse(request.scope["word"])

    middleware = [Middleware(shout, word="loud")]
    app = Starlette(routes=[Route("/", endpoint)], middleware=middleware)
    assert (await call(app)).text == "loud"


async def test_a_response_that_skips_the_constructor():  # sse-starlette
    from starlette.applications import Starlette
    from starlette.datastructures import MutableHeaders
    from starlette.responses import Response
    from starlette.routing import Route

    class Events(Response):
        def __init__(self, chunks):
            self.chunks = chunks
            self.status_code = 200
            self.media_type = "text/event-stream"
            self.background = None
            headers = MutableHeaders()
            headers.setdefault("Cache-Control", "no-store")
            self.init_headers(headers)

        async def __call__(self, scope, receive, send):
            send = self._wrap_websocket_denial_send(send) if scope["type"] == "websocket" else send
            head = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **head})
            for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    async def endpoint(request):
        return Events([b"data: 1\n\n"])

    exchange = await call(Starlette(routes=[Route("/", endpoint)]))
    assert exchange.body == b"data: 1\n\n"
    assert exchange.headers["content-type"].startswith("text/event-stream")
    assert exchange.headers["cache-control"] == "no-store"


async def test_a_denial_is_sent_under_its_own_names():  # sse-starlette
    from starlette.responses import Response

    sent = []

    async def send(message):
        sent.append(message["type"])

    wrapped = Response()._wrap_websocket_denial_send(send)
    await wrapped({"type": "http.response.start", "status": 403, "headers": []})
    await wrapped({"type": "http.response.body", "body": b""})
    assert sent == ["websocket.http.response.start", "websocket.http.response.body"]


async def test_a_gzip_responder_is_used_alone():  # gradio, brotli-asgi
    from starlette.middleware.gzip import GZipResponder
    from starlette.responses import PlainTextResponse

    async def app(scope, receive, send):
        responder = GZipResponder(PlainTextResponse("a" * 1000), 500)
        await responder(scope, receive, send)

    exchange = await call(app, headers=[("accept-encoding", "gzip")])
    assert exchange.headers["content-encoding"] == "gzip"


def test_an_upload_of_ones_own_kind():  # gradio
    import io

    from starlette.datastructures import UploadFile

    class Counted(UploadFile):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.count = 0

    upload = Counted(file=io.BytesIO(b"abc"), size=3, filename="a.txt")
    assert (upload.filename, upload.size, upload.count) == ("a.txt", 3, 0)


def test_a_part_of_a_form_is_filled_by_hand():  # gradio's own parser
    from starlette.formparsers import MultiPartParser, MultipartPart

    part = MultipartPart()
    part.data += b"abc"
    part.item_headers.append((b"content-type", b"text/plain"))
    assert bytes(part.data) == b"abc"
    assert part.item_headers == [(b"content-type", b"text/plain")]
    assert MultiPartParser.spool_max_size == 1024 * 1024  # read by nicegui


async def test_static_files_are_overridden_and_called_by_hand(tmp_path):
    # nicegui, shiny, gradio, FastAPI
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    (tmp_path / "a.js").write_text("1")

    class Typed(StaticFiles):
        def file_response(self, full_path, stat_result, scope, status_code=200):
            response = super().file_response(full_path, stat_result, scope, status_code)
            assert response.charset == "utf-8"
            response.media_type = "text/javascript"
            response.headers["content-type"] = "text/javascript"
            return response

    files = Typed(directory=tmp_path)
    app = Starlette(routes=[Mount("/s", app=files)])
    assert (await call(app, "GET", "/s/a.js")).headers["content-type"] == "text/javascript"

    async def by_hand(scope, receive, send):
        response = await files.get_response("a.js", scope)
        await response(scope, receive, send)

    assert (await call(by_hand)).text == "1"


async def test_a_socket_endpoint_is_made_by_type():  # fasthtml
    from starlette.applications import Starlette
    from starlette.endpoints import WebSocketEndpoint
    from starlette.routing import WebSocketRoute
    from starlette.testclient import TestClient

    async def on_receive(self, websocket, data):
        await websocket.send_text(data.upper())

    Echo = type("Echo", (WebSocketEndpoint,), {"encoding": "text", "on_receive": on_receive})
    app = Starlette(routes=[WebSocketRoute("/", Echo)])
    app.lifespan = None
    with TestClient(app).websocket_connect("/") as websocket:
        websocket.send_text("a")
        assert websocket.receive_text() == "A"


def test_the_test_client_is_subclassed_and_the_cookie_is_read():  # fasthtml
    import itsdangerous
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.sessions import SessionMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    class Client(TestClient):
        def session(self):
            cookie = next(each for each in self.cookies.jar if each.name == "session")
            signer = itsdangerous.TimestampSigner("secret" * 6)
            return json.loads(base64.b64decode(signer.unsign(cookie.value)))

    async def login(request):
        request.session["user"] = "ann"
        return PlainTextResponse("in")

    async def logout(request):
        request.session.clear()
        return PlainTextResponse("out")

    app = Starlette(
        routes=[Route("/in", login), Route("/out", logout)],
        middleware=[Middleware(SessionMiddleware, secret_key="secret" * 6)],
    )
    client = Client(app)
    assert client.app is app
    client.get("/in")
    assert client.session() == {"user": "ann"}
    assert client.get("/out").headers["set-cookie"].startswith("session=null;")
