"""Tests of spica/middleware/accesslog.py, and of spica/middleware/_observing.py through it."""

import json
import logging

import anyio
import anyio.lowlevel
import pytest
from asgi_kit import Exchange, http_scope, websocket_scope

from spica.applications import Spica
from spica.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from spica.background import BackgroundTask
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.accesslog import AccessLogMiddleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.middleware.gzip import GZipMiddleware
from spica.middleware.requestid import RequestIdMiddleware
from spica.middleware.timeout import TimeoutMiddleware
from spica.requests import ClientDisconnect
from spica.responses import FileResponse, PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route, WebSocketRoute
from spica.websockets import WebSocketDisconnect

pytestmark = pytest.mark.anyio

SHARED = PlainTextResponse("shared")


class Detached(SimpleUser):
    @property
    def identity(self):
        raise RuntimeError("no database session")


async def user(request):
    return PlainTextResponse("a user")


async def shared(request):
    return SHARED


async def fail(request):
    raise RuntimeError("failed")


async def refuse(request):
    raise HTTPException(409)


async def leave(request):
    raise ClientDisconnect


async def slow(request):
    await anyio.sleep_forever()


async def file(request):
    return FileResponse(__file__)


async def by_hand(request):
    await PlainTextResponse("by hand", 201)(request.scope, request.receive, request._send)


async def nothing(request):
    return None


async def foreign(scope, receive, send):
    await PlainTextResponse("foreign", 202)(scope, receive, send)


def stream(error=None):
    async def endpoint(request):
        return StreamingResponse(chunks())

    async def chunks():
        yield b"12345"
        if error is not None:
            raise error
        yield b"678"

    return endpoint


async def endless(request):
    async def chunks():
        while True:
            yield b"x"
            await anyio.lowlevel.checkpoint()

    return StreamingResponse(chunks())


async def hung(request):
    async def chunks():
        yield b"x"
        await anyio.sleep_forever()

    return StreamingResponse(chunks())


ROUTES = [
    Route("/users/{id:int}", user),
    Route("/shared", shared),
    Route("/fail", fail),
    Route("/refuse", refuse),
    Route("/leave", leave),
    Route("/slow", slow, timeout_seconds=0.01),
    Route("/file", file),
    Route("/by-hand", by_hand),
    Route("/nothing", nothing),
    Route("/stream", stream()),
    Route("/broken", stream(RuntimeError("failed"))),
    Route("/read-error", stream(OSError("disk"))),
    Route("/endless", endless),
    Route(
        "/hung",
        hung,
        middleware=[Middleware(TimeoutMiddleware, seconds=0.01, streams=True)],
    ),
    Route("/livez", user),
    Mount("/foreign", foreign),
    Mount("/shops/{shop}", routes=[Route("/items/{item}", user)]),
]


def service(*inner, routes=ROUTES, **options):
    return Spica(routes=routes, middleware=[Middleware(AccessLogMiddleware, **options), *inner])


@pytest.fixture
def entries(caplog):
    """The records of the access log."""
    caplog.set_level(logging.INFO, "spica.access")

    def read():
        return [record.access for record in caplog.records if record.name == "spica.access"]

    return read


async def get(app, path="/users/7", method="GET", **options):
    return await Exchange(http_scope(method, path), **options).run(app)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/users/7", ("/users/{id}", 200, "done", 6)),
        ("/shared", ("/shared", 200, "done", 6)),
        ("/refuse", ("/refuse", 409, "done", 8)),
        ("/fail", ("/fail", 500, "done", 21)),
        ("/nothing", ("/nothing", 500, "done", 21)),
        ("/stream", ("/stream", 200, "done", 8)),
        ("/broken", ("/broken", 200, "broken", 5)),
        ("/read-error", ("/read-error", 200, "broken", 5)),
        ("/slow", ("/slow", 504, "timeout", 15)),
        ("/hung", ("/hung", 200, "timeout", 1)),
        ("/by-hand", ("/by-hand", 201, "done", 7)),
        ("/unknown", (None, 404, "done", 9)),
        ("/foreign/a", ("/foreign", 202, "done", 7)),
        ("/shops/3/items/4", ("/shops/{shop}/items/{item}", 200, "done", 6)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_entry_has_route_status_outcome_and_bytes(entries, path, expected):
    await get(service(), path)

    (entry,) = entries()
    assert (entry["route"], entry["status"], entry["outcome"], entry["bytes"]) == expected


async def test_a_file_counts_its_bytes(entries):
    exchange = await get(service(), "/file")

    assert entries()[0]["bytes"] == len(exchange.body) > 0


async def test_the_body_of_head_does_not_count(entries):
    await get(service(), "/users/7", "HEAD")
    await get(service(), "/stream", "HEAD")

    assert [entry["bytes"] for entry in entries()] == [0, 0]


@pytest.mark.parametrize("inner", [[], [Middleware(GZipMiddleware)]], ids=["plain", "gzip"])
async def test_a_client_that_leaves_a_stream_is_recorded(entries, inner):
    await get(service(*inner), "/endless", gone_after=5)

    (entry,) = entries()
    assert (entry["status"], entry["outcome"]) == (200, "client_left")


@pytest.mark.parametrize(
    ("has_left", "outcome"), [(False, "broken"), (True, "client_left")], ids=["stays", "leaves"]
)
@pytest.mark.parametrize("sent", [0, 1, 2], ids=["nothing", "start", "half"])
async def test_an_app_that_does_not_end_its_response_is_broken(entries, sent, has_left, outcome):
    messages = [
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": b"a", "more_body": True},
    ]

    async def forgets(scope, receive, send):
        for message in messages[:sent]:
            await send(message)

    received = [{"type": "http.request"}, *([{"type": "http.disconnect"}] if has_left else [])]
    app = service(routes=[Mount("/apps", forgets)])
    await get(app, "/apps/x", messages=received)

    (entry,) = entries()
    assert entry["outcome"] == outcome
    assert entry["status"] == (200 if sent else 400 if has_left else 500)


async def test_a_client_that_leaves_before_the_response_is_recorded(entries):
    await get(service(), "/users/7", gone_after=0)
    await get(service(), "/leave")

    assert [entry["outcome"] for entry in entries()] == ["client_left", "client_left"]
    assert entries()[0]["bytes"] == 0


async def test_a_cancelled_request_is_broken(entries):
    with anyio.move_on_after(0.01):
        await get(
            Spica(routes=[Route("/", slow)], middleware=[Middleware(AccessLogMiddleware)]), "/"
        )

    assert entries()[0]["outcome"] == "broken"


async def test_the_line_comes_before_background_tasks(entries):
    order = []

    async def work():
        order.append(len(entries()))

    async def in_memory(request):
        return PlainTextResponse("done", background=BackgroundTask(work))

    async def streamed(request):
        return StreamingResponse("done", background=BackgroundTask(work))

    app = service(routes=[Route("/memory", in_memory), Route("/stream", streamed)])
    await get(app, "/memory")
    await get(app, "/stream")

    assert order == [1, 2]


async def test_a_shared_response_stays_unchanged(entries):
    app = service()
    await get(app, "/shared")
    await get(app, "/shared")

    assert SHARED.background is None
    assert len(entries()) == 2


async def test_times_are_in_order(entries):
    await get(service(), "/stream")

    (entry,) = entries()
    assert 0 < entry["first_byte_ms"] <= entry["total_ms"]


async def test_the_line_has_no_query_unless_asked(caplog):
    caplog.set_level(logging.INFO, "spica.access")
    await get(service(), "/users/7?token=secret")
    await get(service(query=True), "/users/7?page=2")

    assert "secret" not in caplog.messages[0]
    assert "/users/7?page=2 200" in caplog.messages[1]


async def test_a_path_can_not_forge_a_line(caplog):
    caplog.set_level(logging.INFO, "spica.access")
    await get(service(), "/a\r\n192.0.2.9 GET /admin 200\x1b[31m\u2028é")

    (line,) = caplog.messages
    assert line.isascii()
    assert line.isprintable()
    assert line.startswith(r"192.0.2.1 GET /a\r\n192.0.2.9\x20GET\x20/admin\x20200\x1b[31m")


async def test_a_method_and_an_address_can_not_forge_a_line(caplog):
    caplog.set_level(logging.INFO, "spica.access")
    await Exchange(http_scope("GET\nX", "/users/7", client=("a\nb", 1))).run(service())

    assert caplog.messages[0].startswith(r"a\nb GET\nX /users/7 405 ")


async def test_the_json_format_is_one_object_a_line(caplog):
    caplog.set_level(logging.INFO, "spica.access")
    await get(service(format="json"), '/"\n')

    entry = json.loads(caplog.messages[0])
    assert (entry["path"], entry["status"]) == ('/"\n', 404)
    assert "\n" not in caplog.messages[0]


async def test_health_checks_are_not_logged(entries):
    await get(service(), "/livez")

    assert entries() == []


async def test_slow_seconds_leaves_out_quick_requests_that_went_well(entries):
    app = service(slow_seconds=60)
    for path in ("/users/7", "/refuse", "/fail", "/broken"):
        await get(app, path)

    assert [entry["path"] for entry in entries()] == ["/fail", "/broken"]


async def test_failures_are_warnings(caplog):
    caplog.set_level(logging.INFO, "spica.access")
    for path in ("/users/7", "/refuse", "/fail", "/broken"):
        await get(service(), path)

    levels = [record.levelname for record in caplog.records if record.name == "spica.access"]
    assert levels == ["INFO", "INFO", "WARNING", "WARNING"]


class Backend(AuthenticationBackend):
    def __init__(self, user=None):
        self.user = user or SimpleUser("ann")

    async def authenticate(self, conn):
        return AuthCredentials(), self.user


async def test_the_entry_has_user_and_request_id(entries):
    recipes = [
        Middleware(RequestIdMiddleware),
        Middleware(AccessLogMiddleware),
        Middleware(AuthenticationMiddleware, backend=Backend()),
    ]
    exchange = await get(Spica(routes=ROUTES, middleware=recipes))

    (entry,) = entries()
    identifier = dict(exchange.starts[0]["headers"])[b"x-request-id"].decode()
    assert (entry["user"], entry["request_id"]) == ("ann", identifier)


async def test_an_identity_that_fails_does_not_break_the_response(entries):
    recipes = [
        Middleware(AccessLogMiddleware),
        Middleware(AuthenticationMiddleware, backend=Backend(Detached("ann"))),
    ]
    exchange = await get(Spica(routes=ROUTES, middleware=recipes))

    assert (exchange.status, exchange.error) == (200, None)
    assert [entry["user"] for entry in entries()] == [None]


async def test_a_filter_that_fails_does_not_break_the_response_and_its_background_task(caplog):
    done = []

    async def end(request):
        return PlainTextResponse("x", background=BackgroundTask(done.append, 1))

    def reject(record):
        raise ValueError("a bug")

    caplog.set_level(logging.INFO, "spica.access")
    log = logging.getLogger("spica.access")
    log.addFilter(reject)
    try:
        app = Spica(routes=[Route("/", end)], middleware=[Middleware(AccessLogMiddleware)])
        exchange = await get(app, "/")
    finally:
        log.removeFilter(reject)

    assert (exchange.status, exchange.error, done) == (200, None, [1])
    assert "A request could not be reported." in caplog.text


async def test_a_foreign_app_can_be_inside(entries):
    await get(AccessLogMiddleware(foreign), "/a")

    (entry,) = entries()
    assert (entry["status"], entry["outcome"], entry["bytes"]) == (202, "done", 7)


async def test_an_error_of_a_foreign_app_reaches_the_server(entries):
    async def raises(scope, receive, send):
        raise RuntimeError("failed")

    exchange = await get(AccessLogMiddleware(raises), "/a")

    (entry,) = entries()
    assert isinstance(exchange.error, RuntimeError)
    assert (entry["status"], entry["outcome"], entry["error"]) == (500, "done", "RuntimeError")


async def test_a_request_to_a_mounted_app_is_logged_once(entries):
    inner = service(routes=[Route("/a", user), WebSocketRoute("/ws", denied)])
    app = service(routes=[Mount("/in", inner)])
    await get(app, "/in/a")
    await Exchange(websocket_scope("/in/ws"), [{"type": "websocket.connect"}]).run(app)

    assert [entry["route"] for entry in entries()] == ["/in/a", "/in/ws"]


class ForgetfulMount(Mount):
    """A mount that does not note itself in the scope, like that of FastAPI's router."""

    async def handle(self, scope, receive, send):
        del scope["route"]
        await super().handle(scope, receive, send)


async def test_a_mount_that_another_router_has_entered_is_the_route(entries):
    app = service(routes=[ForgetfulMount("/apps/{name}", foreign)])
    await get(app, "/apps/one/x")

    assert [entry["route"] for entry in entries()] == ["/apps/{name}"]


# -- WebSockets ----------------------------------------------------------------------------------------


async def echo(websocket):
    await websocket.accept()
    await websocket.send_text("é")
    await websocket.receive_text()


async def denied(websocket):
    await websocket.close()


async def leaves_early(websocket):
    await websocket.receive()
    await websocket.receive()


async def socket_fails(websocket):
    await websocket.accept()
    raise RuntimeError("failed")


@pytest.mark.parametrize(
    ("endpoint", "code", "expected"),
    [
        (echo, 1000, (101, "done", 2)),
        (echo, 1006, (101, "client_left", 2)),
        (denied, 1000, (403, "done", 0)),
        (leaves_early, 1006, (400, "client_left", 0)),
        (leaves_early, 1000, (400, "client_left", 0)),
        (socket_fails, 1000, (101, "broken", 0)),
    ],
    ids=["closed", "left", "denied", "left early", "closed early", "broken"],
)
async def test_a_websocket_is_logged_at_its_end(entries, endpoint, code, expected):
    app = service(routes=[WebSocketRoute("/{room}", endpoint)])
    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": code}]

    exchange = await Exchange(websocket_scope("/blue"), messages).run(app)

    (entry,) = entries()
    assert exchange.error is None or isinstance(exchange.error, (RuntimeError, WebSocketDisconnect))
    assert (entry["status"], entry["outcome"], entry["bytes"]) == expected
    assert (entry["method"], entry["route"]) == ("WEBSOCKET", "/{room}")


async def test_a_websocket_app_that_never_answers_is_broken(entries):
    async def forgets(scope, receive, send):
        await receive()

    app = service(routes=[Mount("/apps", forgets)])
    await Exchange(websocket_scope("/apps/x"), [{"type": "websocket.connect"}]).run(app)

    (entry,) = entries()
    assert (entry["status"], entry["outcome"]) == (500, "broken")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"format": "xml"}, ValueError, "format must be 'text' or 'json'"),
        ({"skip": "/livez"}, TypeError, "must be a list of strings"),
        ({"slow_seconds": -1}, ValueError, "must be 0 or more"),
        ({"slow_seconds": "1"}, TypeError, "must be a number"),
        ({"query": "no"}, TypeError, "must be True or False"),
    ],
    ids=["format", "skip", "negative", "string", "flag"],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        AccessLogMiddleware(foreign, **options)
