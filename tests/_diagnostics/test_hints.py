"""An unhandled error of a known kind gets a note with the fix."""

import asyncio
import gc
import json
import traceback
import warnings
from typing import Any

import jinja2
import pytest

from spica._diagnostics.hints import add_hint
from spica.applications import Spica
from spica.authentication import AuthenticationBackend
from spica.background import BackgroundTask
from spica.channels import Channels
from spica.concurrency import run_in_threadpool
from spica.endpoints import HTTPEndpoint, WebSocketEndpoint
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.ratelimit import Limiter
from spica.requests import Request
from spica.responses import JSONResponse, PlainTextResponse, Response
from spica.routing import Route, WebSocketRoute
from spica.stores import open_store
from spica.testclient import TestClient
from spica.websockets import WebSocket


def compile_endpoint(body: str, parameter: str) -> Any:
    lines = "\n    ".join(body.split("; "))
    names: dict[str, Any] = {
        "BackgroundTask": BackgroundTask,
        "JSONResponse": JSONResponse,
        "PlainTextResponse": PlainTextResponse,
        "Response": Response,
        "Channels": Channels,
        "Limiter": Limiter,
        "asyncio": asyncio,
        "json": json,
        "run_in_threadpool": run_in_threadpool,
        "store": open_store("memory://"),
        "templates": jinja2.Environment(autoescape=True),
    }
    exec(f"async def endpoint({parameter}):\n    {lines}", names)
    return names["endpoint"]


def notes_of(app: Spica, connect: bool = False) -> str:
    """Serve one connection, and return the notes of the exception that leaves the application."""
    # Python warns of the coroutines without `await` when the frames that hold them are cleared.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        gc.freeze()  # collect the objects of this connection only: a test run has a million others
        exc = serve(app, connect)
        notes = "\n".join(getattr(exc, "__notes__", []))
        traceback.clear_frames(exc.__traceback__)
        del exc
        gc.collect()
        gc.unfreeze()
    return notes


def serve(app: Spica, connect: bool) -> Exception:
    with pytest.raises(Exception) as caught:  # any: its notes are tested
        if connect:
            with TestClient(app).websocket_connect("/") as socket:
                socket.receive_text()
        else:
            TestClient(app).post("/")
    return caught.value


AWAIT = "An `await` is missing"


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("request.json()['x']", AWAIT),
        ("request.form()['x']", AWAIT),
        ("for name in request.form(): pass", AWAIT),
        ("a, b = request.form()", AWAIT),
        ("len(request.body())", AWAIT),
        ("'x' in request.json()", AWAIT),
        ("request.body().decode()", "Request.body() returned a coroutine. Await it first"),
        ("request.form().get('x')", "Await the form first: `form = await request.form()`"),
        ("request.json['x']", "Parentheses are missing"),
        ("await request.json", "Parentheses are missing"),
        ("request.form.get('x')", "Request.form is a function. Call it before"),
        ("request.body.decode()", "Request.body is a function. Call it before"),
        ("request.path.startswith('/')", "The path itself is request.url.path."),
        ("request.query.get('page')", "One value is request.query_params.get('name')."),
        ("request.query['page']", "One value of a query is request.query_params['name']."),
        ("request.cookies = {}", "Write response.set_cookie(name, value)."),
        ("await Limiter(store).take(request, '5/minute')", "Pass a Limit: Limit(Rate.parse("),
        ("[c for c in request.stream()]", "Iterate over it with `async for`."),
        ("await request.stream()", "Iterate over it with `async for`."),
        ("with request.form() as form: pass", "Write `async with`."),
        ("with Channels().presence.track('a', 'u'): pass", "Write `async with`."),
        ("await request.headers", "Remove the `await`"),
        ("return await PlainTextResponse('x')", "Remove the `await`"),
        ("request.headers.content_type", "Write headers['content-type']"),
        ("request.query_params.page", "Write .get('page') or ['page']."),
        ("'a string'.filename", "A client may send a string where you expect a file."),
        ("request.query_params['page']", "The client did not send 'page'. Use .get('page')"),
        ("request.headers['x-no']", "The client did not send 'x-no'."),
        (
            "request.state.db",
            "The state holds: nothing. request.state gets what the lifespan yields",
        ),
        ("request.app.state.db", "app.state what you assign to it"),
        ("request.url.query_params", "Read request.query_params."),
        ("request.url_for('home', {'id': 1})", "Path parameters are keyword arguments"),
        ("return PlainTextResponse('x', status=404)", "Write status_code=..."),
        ("return PlainTextResponse('x', content_type='a/b')", "Write media_type=..."),
        ("return Response(json={})", "Write content=..."),
        ("raise PlainTextResponse('x')", "A response is returned, not raised."),
        (
            "return PlainTextResponse('x', background=print)",
            "background=BackgroundTask(send, address)",
        ),
        (
            "return PlainTextResponse('x', background=[print])",
            "background=BackgroundTask(send, address)",
        ),
        ("return PlainTextResponse('x', background=BackgroundTask)", "must be a BackgroundTask"),
        ("r = PlainTextResponse(''); r.headers.add('a', 'b')", "Write headers.append(name, value)"),
        ("request.headers['a'] = 'b'", "You can't change the values of the client."),
        ("del request.query_params['a']", "You can't change the values of the client."),
        ("request.query_params('a')", "This is a value, not a function."),
        ("request.url + 'x'", "Write str(url)."),
        ("'x' + request.url", "Write str(url)."),
        ("json.loads(request.body)", "Write `await request.body()`."),
        ("request.session = {}", "Change the dict: request.session['key'] = value"),
        ("request.user = 1", "AuthenticationMiddleware sets it."),
        ("request.method = 'GET'", "Keep values of your own in request.state."),
        ("asyncio.run(asyncio.sleep(0))", "Await the coroutine in place of asyncio.run()"),
        ("await run_in_threadpool(None)", "run_in_threadpool(function, argument)"),
        ("await store.set('a', b'', ttl=3)", "Write seconds=60."),
        ("await store.get('a', b'')", "get() returns None for a missing key"),
        ("await store.incr('a')", "Use a rate (`store.take`) for limits"),
        (
            "async for e in Channels().subscribe('a'): pass",
            "Write `async with channels.subscribe(name)",
        ),
        ("templates.from_string('{% url \"home\" %}')", "Write {{ url_for('name', id=1) }}."),
        ("r = PlainTextResponse(''); r.set_cookie('a', 'b', http_only=True)", "Write httponly=..."),
    ],
)
def test_a_mistake_in_an_endpoint(body: str, note: str) -> None:
    route = Route("/", compile_endpoint(body, "request"), methods=["POST"], name="home")
    assert note in notes_of(Spica(routes=[route]))


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("await websocket.accept(); websocket.receive_text().upper()", "Await it first"),
        ("await websocket.accept(); await websocket.send('x')", "Call send_text(), send_bytes()"),
        ("await websocket.accept(); async for m in websocket: pass", "in websocket.iter_text()`"),
        (
            "await websocket.accept(); await websocket.iter_text()",
            "Iterate over it with `async for`",
        ),
    ],
)
def test_a_mistake_in_a_websocket_endpoint(body: str, note: str) -> None:
    route = WebSocketRoute("/", compile_endpoint(body, "websocket"))
    assert note in notes_of(Spica(routes=[route]), connect=True)


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("r = call_next(request); r.headers", "call_next() returned a coroutine. Await it first"),
        ("return await call_next()", "Write `await call_next(request)`."),
    ],
)
def test_a_mistake_in_a_dispatch_function(body: str, note: str) -> None:
    dispatch = compile_endpoint(body, "request, call_next")
    assert note in notes_of(Spica(middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)]))


def test_a_method_of_a_class_endpoint_without_the_request() -> None:
    class Endpoint(HTTPEndpoint):
        async def post(self) -> Response:
            return Response()

    assert "It takes (self, request)." in notes_of(Spica(routes=[Route("/", Endpoint)]))


def test_a_middleware_of_the_wrong_signature() -> None:
    class Own:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, request: Request) -> None:
            """Take what no server passes."""

    app = Spica(middleware=[Middleware(Own)])  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"with other parameters than \(scope, receive, send\): .*Own"
    ):
        TestClient(app).get("/")


def test_a_middleware_that_cannot_be_called() -> None:
    class Own:
        def __init__(self, app: Any) -> None:
            """Keep nothing."""

    app = Spica(middleware=[Middleware(Own)])  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"can't be called. Define async def __call__\(self, scope,"
    ):
        TestClient(app).get("/")


def test_the_note_is_added_once() -> None:
    exc = TypeError("'coroutine' object is not subscriptable")
    add_hint(exc)
    add_hint(exc)
    assert len(exc.__notes__) == 1


@pytest.mark.parametrize(
    "exc",
    [TypeError("unsupported operand"), AttributeError("no"), ValueError("x"), KeyError("x")],
    ids=lambda exc: type(exc).__name__,
)
def test_other_errors_stay_without_a_note(exc: Exception) -> None:
    add_hint(exc)
    assert not hasattr(exc, "__notes__")


def test_an_error_that_cannot_be_shown_stays_as_it_is() -> None:
    class Broken(TypeError):
        def __str__(self) -> str:
            raise RuntimeError

    exc = Broken()
    add_hint(exc)
    assert not hasattr(exc, "__notes__")


def test_a_method_of_a_websocket_endpoint_without_the_websocket() -> None:
    class Endpoint(WebSocketEndpoint):
        async def on_connect(self) -> None:  # type: ignore[override]
            """Take what spica does not pass."""

    app = Spica(routes=[WebSocketRoute("/", Endpoint)])
    assert "on_receive(self, websocket, data)" in notes_of(app, connect=True)


def test_a_backend_that_is_not_async() -> None:
    class Backend(AuthenticationBackend):
        def authenticate(self, conn: Any) -> None:  # type: ignore[override]
            """Return no coroutine."""

    app = Spica(middleware=[Middleware(AuthenticationMiddleware, backend=Backend())])
    assert "must be an `async def` method" in notes_of(app)


def test_an_exception_handler_with_its_parameters_in_the_other_order() -> None:
    async def handler(exc: Any, request: Any) -> Response:
        return PlainTextResponse(request.url.path)

    app = Spica(exception_handlers={404: handler})
    assert "takes the request first" in notes_of(app)


def test_a_detail_that_is_not_a_string_names_the_fix() -> None:
    async def endpoint(request: Request) -> Response:
        raise HTTPException(400, {"a": 1})  # type: ignore[arg-type]

    with pytest.raises(
        TypeError, match=r"HTTPException\(400\): detail must be a string, .*exception handler"
    ):
        TestClient(Spica(routes=[Route("/", endpoint)])).get("/")


def test_a_receive_of_websocket_run_without_the_message() -> None:
    async def receive() -> None:
        """Take no message."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.run(receive=receive)  # type: ignore[arg-type]

    app = Spica(routes=[WebSocketRoute("/", endpoint)])
    with pytest.raises(TypeError) as caught, TestClient(app).websocket_connect("/") as socket:
        socket.send_text("a")
        socket.receive_text()
    assert "calls receive(message) for each message" in caught.value.__notes__[0]


def test_a_method_of_spica_with_a_wrong_value_gets_no_hint_about_class_endpoints() -> None:
    error = TypeError("Outbox.put() takes str or bytes, not dict.")
    add_hint(error)
    assert not hasattr(error, "__notes__")
