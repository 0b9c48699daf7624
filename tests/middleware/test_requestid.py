"""Tests of spica/middleware/requestid.py."""

import logging
import os
import re

import pytest
from asgi_kit import Exchange, http_scope, websocket_scope

from spica.applications import Spica
from spica.concurrency import run_in_threadpool
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.requestid import RequestIdFilter, RequestIdMiddleware, _new_id, request_id
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route, WebSocketRoute

pytestmark = pytest.mark.anyio

PROXY = ("127.0.0.1", 4000)


async def show(request):
    return PlainTextResponse(await run_in_threadpool(request_id.get))


async def fail(request):
    raise RuntimeError("failed")


async def refuse(request):
    raise HTTPException(409, "Already sold.")


async def stream(request):
    async def chunks():
        yield request_id.get()

    return StreamingResponse(chunks())


async def foreign(scope, receive, send):
    await PlainTextResponse(request_id.get())(scope, receive, send)


async def by_hand(request):
    await PlainTextResponse("by hand")(request.scope, request.receive, request._send)


async def socket(websocket):
    await websocket.accept()
    await websocket.send_text(request_id.get())
    await websocket.close()


ROUTES = [
    Route("/", show),
    Route("/fail", fail),
    Route("/refuse", refuse),
    Route("/stream", stream),
    Route("/by-hand", by_hand),
    Mount("/foreign", foreign),
    WebSocketRoute("/socket", socket),
]


def service(problem_details=False, **options):
    recipe = Middleware(RequestIdMiddleware, **options)
    return Spica(routes=ROUTES, middleware=[recipe], problem_details=problem_details)


async def get(app, path="/", sent=None, client=PROXY, headers=()):
    fields = [*headers, *([("x-request-id", sent)] if sent is not None else [])]
    return await Exchange(http_scope(path=path, headers=fields, client=client)).run(app)


def ids_of(exchange):
    return [value for name, value in exchange.starts[0]["headers"] if name == b"x-request-id"]


@pytest.mark.parametrize("path", ["/", "/stream", "/foreign/"])
async def test_endpoint_and_response_have_the_same_id(path):
    exchange = await get(service(), path)

    assert re.fullmatch("[0-9a-f]{32}", exchange.text)
    assert ids_of(exchange) == [exchange.text.encode()]


@pytest.mark.parametrize("path", ["/fail", "/refuse", "/by-hand", "/unknown", "/foreign/"])
async def test_every_response_has_one_id(path):
    exchange = await get(service(), path, sent="abc")

    assert ids_of(exchange) == [b"abc"]


async def test_a_mounted_application_with_the_layer_and_the_response_have_the_same_id():
    app = service()
    app.router.routes.insert(0, Mount("/in", service()))
    exchange = await get(app, "/in/")

    assert ids_of(exchange) == [exchange.text.encode()]


async def test_each_request_has_another_id():
    app = service()

    assert len({ids_of(await get(app))[0] for _ in range(200)}) == 200


@pytest.mark.parametrize("sent", ["a", "A.b_c-9", "x" * 128])
async def test_the_id_of_a_trusted_proxy_is_kept(sent):
    assert (await get(service(), sent=sent)).text == sent


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "a\n", 'a"', "é", "a;b", "a/b"], ids=ascii)
async def test_an_invalid_id_is_replaced(sent):
    exchange = await get(service(), sent=sent.encode("latin-1"))

    assert re.fullmatch("[0-9a-f]{32}", exchange.text)


@pytest.mark.parametrize(
    "client", [("192.0.2.1", 1), None, ("", 0), ("unix:", 0), ("evil", 1)], ids=ascii
)
async def test_the_id_of_any_other_client_is_replaced(client):
    assert (await get(service(), sent="forged", client=client)).text != "forged"


@pytest.mark.parametrize(
    ("accept", "host"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
        ("fd00::/8", "fd00::1"),
        ("unix", ""),
    ],
)
async def test_accept_names_the_trusted_peers(accept, host):
    assert (await get(service(accept=[accept]), sent="known", client=(host, 1))).text == "known"


async def test_the_first_of_several_fields_decides():
    fields = [("x-request-id", "first"), ("x-request-id", "second")]

    assert (await get(service(), headers=fields)).text == "first"


async def test_the_field_can_have_another_name():
    fields = [("correlation-id", "abc")]
    exchange = await get(service(field="Correlation-ID"), headers=fields)

    assert (b"correlation-id", b"abc") in exchange.starts[0]["headers"]


async def test_problem_details_have_the_id():
    fields = [("accept", "application/problem+json")]
    exchange = await get(service(True), "/refuse", sent="abc", headers=fields)

    assert exchange.json["request_id"] == "abc"


async def test_a_websocket_has_an_id_in_its_handshake():
    app = service()
    exchange = Exchange(websocket_scope("/socket"), [{"type": "websocket.connect"}])

    await exchange.run(app)

    accept, message = exchange.sent[:2]
    assert (b"x-request-id", message["text"].encode()) in accept["headers"]


async def test_the_filter_adds_the_id_to_log_records():
    record = logging.makeLogRecord({})
    token = request_id.set("abc")
    try:
        assert RequestIdFilter().filter(record)
    finally:
        request_id.reset(token)

    assert record.request_id == "abc"


async def test_outside_a_request_the_id_is_a_dash():
    record = logging.makeLogRecord({})
    RequestIdFilter().filter(record)

    assert record.request_id == "-"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
# Threads of other tests may still run; the child uses none of them.
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_makes_other_ids():
    _new_id()  # fills the supply
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, _new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reader, 32).decode() not in {_new_id() for _ in range(64)}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"accept": "10.0.0.0/8"}, TypeError, "must be a list of strings"),
        ({"accept": ["proxy"]}, ValueError, "not an address or a network"),
        ({"field": "a b"}, ValueError, "must be a header name"),
        ({"field": None}, TypeError, "must be a string"),
    ],
    ids=["string", "name", "field", "none"],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        RequestIdMiddleware(foreign, **options)
