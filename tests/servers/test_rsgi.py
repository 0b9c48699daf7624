"""Every application runs over RSGI as it does over ASGI."""

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from rsgi_kit import HTTPProtocol, Message, RSGIScope, WebSocketProtocol
from stacks import STACKS, Log, Stack, describe_errors, is_replaced, observe, seen_by

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from spica.routing import Route, WebSocketRoute
from spica.servers.rsgi import RSGI


def serve(app: Any, *, chunks: tuple[bytes, ...] = (), **scope: Any) -> HTTPProtocol:
    """Run one request through ``app``."""

    async def run() -> HTTPProtocol:
        protocol = HTTPProtocol(chunks)
        await app.__rsgi__(RSGIScope(**scope), protocol)
        return protocol

    return asyncio.run(run())


def app_of(endpoint: Any) -> Spica:
    return Spica(routes=[Route("/", endpoint, methods=["GET", "POST"])])


def test_a_response_leaves_in_one_call():
    protocol = serve(app_of(lambda request: PlainTextResponse("hello")))
    assert (protocol.kind, protocol.status, protocol.body) == ("bytes", 200, b"hello")
    assert ("content-length", "5") in protocol.headers


def test_a_response_without_a_body_leaves_as_empty():
    protocol = serve(app_of(lambda request: Response(status_code=204)))
    assert (protocol.kind, protocol.status) == ("empty", 204)


def test_a_stream_leaves_in_its_chunks():
    protocol = serve(app_of(lambda request: StreamingResponse(["a", "b"])))
    assert (protocol.kind, protocol.sent) == ("stream", [b"a", b"b"])


def test_a_file_leaves_by_its_path(tmp_path):
    path = tmp_path / "page"
    path.write_bytes(b"content")
    protocol = serve(app_of(lambda request: FileResponse(path)))
    assert (protocol.kind, protocol.file) == ("file", str(path))
    assert ("content-length", "7") in protocol.headers


def foreign_file(path):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": str(path)})

    return app


@pytest.mark.parametrize(
    ("make_answer", "kind"),
    [
        (lambda: PlainTextResponse("hello"), "empty"),
        (lambda: StreamingResponse(["a", "b"]), "stream"),
        (lambda: foreign_file(__file__), "empty"),
    ],
    ids=["bytes", "stream", "file"],
)
@pytest.mark.parametrize("by_value", [True, False])
def test_the_response_to_a_head_request_has_no_body(make_answer, kind, by_value):
    """RFC 9110 s.9.3.2. Over HTTP/2, the server sends any body, which breaks the stream."""
    app = app_of(lambda request: make_answer()) if by_value else make_answer()
    protocol = serve(RSGI(app), method="HEAD")
    assert (protocol.kind, protocol.status, protocol.body) == (kind, 200, b"")


def test_the_response_to_a_head_request_keeps_its_length():
    protocol = serve(app_of(lambda request: PlainTextResponse("hello")), method="HEAD")
    assert ("content-length", "5") in protocol.headers


def test_a_range_of_a_file_is_read_here(tmp_path):
    path = tmp_path / "page"
    path.write_bytes(b"content")
    protocol = serve(app_of(lambda request: FileResponse(path)), fields=(("range", "bytes=1-3"),))
    assert (protocol.status, protocol.body) == (206, b"ont")


def test_the_client_gets_the_error_page_and_the_server_the_error():
    def fail(request):
        raise ValueError("broken")

    protocol = HTTPProtocol.__new__(HTTPProtocol)

    async def run() -> None:
        protocol.__init__()
        await app_of(fail).__rsgi__(RSGIScope(), protocol)

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(run())
    assert (protocol.status, protocol.body) == (500, b"Internal Server Error")


def test_a_background_task_runs_after_the_response():
    done = []
    answer = PlainTextResponse("hello", background=BackgroundTask(done.append, 1))
    assert serve(app_of(lambda request: answer)).status == 200
    assert done == [1]


def test_a_foreign_app_is_served_by_the_adapter():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    assert serve(RSGI(app), path="/there").body == b"/there"


def test_what_is_no_app_is_refused():
    with pytest.raises(TypeError, match="RSGI needs an ASGI application, not 'main:app'"):
        RSGI("main:app")


def test_a_websocket_echoes():
    async def echo(websocket):
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    protocol = WebSocketProtocol([Message(2, "hello")])
    app = Spica(routes=[WebSocketRoute("/", echo)])
    asyncio.run(app.__rsgi__(RSGIScope(proto="ws"), protocol))
    assert protocol.done == ["accept", "hello", ("close", 1000)]


def test_a_websocket_without_a_route_is_refused():
    protocol = WebSocketProtocol()
    asyncio.run(Spica().__rsgi__(RSGIScope(proto="ws"), protocol))
    assert protocol.done == [("close", 403)]


def test_each_request_has_a_copy_of_the_lifespans_state():
    @asynccontextmanager
    async def lifespan(app):
        yield {"name": "state"}

    async def endpoint(request):
        request.state.mine = 1
        return PlainTextResponse(f"{sorted(request.scope['state'])} {request.state.name}")

    app = Spica(routes=[Route("/", endpoint)], lifespan=lifespan)
    loop = asyncio.new_event_loop()
    try:
        app.__rsgi_init__(loop)
        protocols = [HTTPProtocol(), HTTPProtocol()]
        for protocol in protocols:
            loop.run_until_complete(app.__rsgi__(RSGIScope(), protocol))
        app.__rsgi_del__(loop)
    finally:
        loop.close()
    assert [protocol.body for protocol in protocols] == [b"['mine', 'name'] state"] * 2


def test_an_application_under_asgi_does_not_load_the_adapter():
    program = (
        "import sys, spica.applications as a; a.Spica(); print('spica.servers.rsgi' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n"


COMPARED = ("status", "headers", "body", "tasks", "context", "bodies", "left open", "errors")


async def compare(stack: Stack) -> None:
    by_asgi = await observe(stack)
    seen_by.set("nobody")
    log = Log()
    error: Exception | None = None
    protocol = HTTPProtocol(stack.chunks)
    scope = RSGIScope("POST", "/mount/there", fields=(("transfer-encoding", "chunked"),))
    try:
        await RSGI(stack.build(log)).__rsgi__(scope, protocol)
    except Exception as exc:
        error = exc
    if not by_asgi["is_complete"]:
        return  # what a client gets of a response that broke off depends on the server
    by_rsgi = {
        "status": protocol.status,
        "headers": sorted((name.encode(), value.encode()) for name, value in protocol.headers),
        "body": protocol.body,
        "tasks": sorted(log.tasks),
        "context": log.context,
        "bodies": [entry for entry in log.bodies if entry[1]],
        "left open": log.handed_over - log.closed,
        "errors": describe_errors(error, is_replaced(protocol.body)),
    }
    assert by_rsgi == {key: by_asgi[key] for key in COMPARED}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stack=STACKS)
def test_random_stacks_answer_as_they_do_over_asgi(stack: Stack) -> None:
    asyncio.run(compare(stack))
