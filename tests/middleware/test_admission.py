"""Tests of spica/middleware/admission.py."""

import anyio
import anyio.lowlevel
import pytest
from asgi_kit import Exchange, body_messages, call, http_scope, websocket_scope
from virtual_time import run_in_virtual_time

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.middleware import Middleware
from spica.middleware.admission import AdmissionGauges, AdmissionMiddleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route, WebSocketRoute

pytestmark = pytest.mark.anyio


class Service:
    """An application whose endpoints wait until the test lets each of them go on."""

    def __init__(self, **options):
        self.gauges = AdmissionGauges()
        self.gates = {}
        self.order = []
        recipe = Middleware(AdmissionMiddleware, gauges=self.gauges, **options)
        routes = [
            Route("/livez", self.quick),
            Route("/quick", self.quick),
            Route("/raise", self.fail),
            Route("/stream/{name}", self.stream),
            Route("/task/{name}", self.task),
            Mount("/foreign", self.foreign),
            Mount("/foreign-echo", self.foreign_echo),
            Route("/echo", self.echo, methods=["POST"]),
            Route("/quick", self.quick, methods=["POST"]),
            WebSocketRoute("/read/three", self.read_three),
            WebSocketRoute("/{name}", self.socket),
            Route("/{name}", self.work),
        ]
        self.app = Spica(routes=routes, middleware=[recipe])

    def gate(self, name):
        return self.gates.setdefault(name, anyio.Event())

    async def quick(self, request):
        return PlainTextResponse("quick")

    async def fail(self, request):
        raise RuntimeError("failed")

    async def work(self, request):
        name = request.path_params["name"]
        self.order.append(name)
        await self.gate(name).wait()
        return PlainTextResponse(name)

    async def stream(self, request):
        return StreamingResponse(self.chunks(request.path_params["name"]))

    async def chunks(self, name):
        yield b"a"
        await self.gate(name).wait()
        yield b"b"

    async def task(self, request):
        return PlainTextResponse("a", background=BackgroundTask(self.gate(request.url.path).wait))

    async def foreign(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await self.gate("foreign").wait()
        await send({"type": "http.response.body"})

    async def socket(self, websocket):
        await websocket.accept()
        await self.gate(websocket.path_params["name"]).wait()
        await websocket.close()

    async def echo(self, request):
        return PlainTextResponse(await request.body())

    async def foreign_echo(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            await send({**message, "type": "http.response.body"})

    async def read_three(self, websocket):
        await websocket.accept()
        for _ in range(3):
            await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    async def status(self, path="/quick"):
        return (await call(self.app, path=path)).status


async def settle():
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_requests_over_the_limit_are_503_without_reading_the_body():
    service = Service(max_active=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, "/a")
        await settle()
        exchange = await call(service.app, "POST", "/quick", body=b"large")
        assert (exchange.status, exchange.receive.calls) == (503, 0)
        assert exchange.headers["retry-after"] in ("1", "2", "3")
        assert "connection" not in exchange.headers
        assert (service.gauges.active, service.gauges.refused) == (1, 1)
        service.gate("a").set()
    assert (await service.status(), service.gauges.active) == (200, 0)


async def test_the_newest_waiting_request_is_served_first():
    service = Service(max_active=1, max_waiting=2)
    async with anyio.create_task_group() as tasks:
        for name in ("a", "b", "c"):
            tasks.start_soon(service.status, f"/{name}")
            await settle()
        assert (service.gauges.active, service.gauges.waiting) == (1, 2)
        assert await service.status() == 503
        for name in ("a", "c", "b"):
            service.gate(name).set()
            await settle()
    assert service.order == ["a", "c", "b"]
    assert (service.gauges.active, service.gauges.waiting, service.gauges.refused) == (0, 0, 1)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_request_waits_for_a_limited_time(backend):
    async def run():
        service = Service(max_active=1, max_waiting=1, max_wait_seconds=5.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.status, "/a")
            await settle()
            start = anyio.current_time()
            assert await service.status() == 503
            assert anyio.current_time() - start == pytest.approx(5.0)
            assert service.gauges.waiting == 0
            service.gate("a").set()
        assert await service.status() == 200

    run_in_virtual_time(backend, run)


async def test_a_cancelled_request_waits_no_more_and_keeps_no_place():
    service = Service(max_active=1, max_waiting=1)
    async with anyio.create_task_group() as outer:
        outer.start_soon(service.status, "/a")
        await settle()
        async with anyio.create_task_group() as inner:
            inner.start_soon(service.status, "/b")
            await settle()
            inner.cancel_scope.cancel()
        assert (service.gauges.active, service.gauges.waiting) == (1, 0)
        service.gate("a").set()
    assert (await service.status(), service.gauges.active) == (200, 0)


async def test_a_place_that_comes_with_the_cancellation_is_given_on():
    service = Service(max_active=1, max_waiting=2)
    async with anyio.create_task_group() as outer:
        outer.start_soon(service.status, "/a")
        await settle()
        outer.start_soon(service.status, "/b")
        await settle()
        async with anyio.create_task_group() as inner:
            inner.start_soon(service.status, "/c")
            await settle()
            service.gate("a").set()  # gives its place to "c" ...
            service.gate("b").set()
            while service.gauges.waiting > 1 or "a" not in service.order:
                await anyio.lowlevel.checkpoint()
            inner.cancel_scope.cancel()  # ... which is cancelled
    assert (service.gauges.active, service.gauges.waiting) == (0, 0)
    assert "b" in service.order


async def test_a_client_that_leaves_while_it_waits_gives_up_its_place():
    service = Service(max_active=1, max_waiting=1, max_wait_seconds=3600)
    waiting = Exchange(http_scope(path="/b"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, "/a")
        await settle()
        async with anyio.create_task_group() as inner:
            inner.start_soon(waiting.run, service.app)
            await settle()
            assert service.gauges.waiting == 1
            waiting.receive.close()
        assert (service.gauges.active, service.gauges.waiting) == (1, 0)
        service.gate("a").set()
    assert service.order == ["a"]
    assert (waiting.error, service.gauges.refused) == (None, 0)


async def test_a_place_that_comes_as_the_client_leaves_is_given_on():
    service = Service(max_active=1, max_waiting=1, max_wait_seconds=3600)
    waiting = Exchange(http_scope(path="/b"))
    service.gate("b").set()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, "/a")
        await settle()
        tasks.start_soon(waiting.run, service.app)
        await settle()
        service.gate("a").set()
        waiting.receive.close()
    assert (service.gauges.active, service.gauges.waiting) == (0, 0)


@pytest.mark.parametrize("path", ["/echo", "/foreign-echo/"])
async def test_a_request_that_has_waited_has_its_whole_body(path):
    service = Service(max_active=1, max_waiting=1, max_wait_seconds=3600)
    exchange = Exchange(http_scope("POST", path), body_messages(b"first ", b"second"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, "/a")
        await settle()
        tasks.start_soon(exchange.run, service.app)
        await settle()
        service.gate("a").set()
    assert exchange.text == "first second"


async def test_a_client_that_expects_100_continue_is_not_asked_for_its_body():
    """RFC 9110 s.10.1.1: a server sends 100 when the application reads."""
    service = Service(max_active=1, max_waiting=1, max_wait_seconds=3600)
    headers = [("expect", "100-continue")]
    exchange = Exchange(http_scope("POST", "/quick", headers=headers), body_messages(b"large"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, "/a")
        await settle()
        tasks.start_soon(exchange.run, service.app)
        await settle()
        assert (service.gauges.waiting, exchange.receive.calls) == (1, 0)
        service.gate("a").set()
    assert exchange.status == 200


@pytest.mark.parametrize(("path", "gate"), [("/stream/x", "x"), ("/foreign/", "foreign")])
async def test_a_stream_counts_until_it_ends(path, gate):
    service = Service(max_active=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, path)
        await settle()
        assert await service.status() == 503
        service.gate(gate).set()
    assert await service.status() == 200


@pytest.mark.parametrize(("path", "gate"), [("/stream/x", "x"), ("/foreign/", "foreign")])
async def test_a_stream_counts_until_it_starts_if_you_say_so(path, gate):
    service = Service(max_active=1, streams=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, path)
        await settle()
        assert (await service.status(), service.gauges.active) == (200, 0)
        service.gate(gate).set()


async def test_a_background_task_counts():
    service = Service(max_active=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, "/task/x")
        await settle()
        assert await service.status() == 503
        service.gate("/task/x").set()


async def test_an_error_frees_the_place():
    service = Service(max_active=1)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="failed"):
            await service.status("/raise")
    assert service.gauges.active == 0


async def test_a_layer_outside_that_drops_the_answer_frees_the_place():
    class Drop(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            await call_next(request)
            return PlainTextResponse("another")

    service = Service(max_active=1)
    service.app.add_middleware(Drop)
    for path in ("/stream/x", "/stream/y", "/quick"):
        assert await service.status(path) == 200
    assert service.gauges.active == 0


async def test_health_checks_are_always_served():
    service = Service(max_active=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, "/a")
        await settle()
        assert await service.status("/livez") == 200
        assert service.gauges.active == 1
        service.gate("a").set()


def shake(service, name):
    scope = websocket_scope(f"/{name}", extensions={"websocket.http.response": {}})
    return Exchange(scope, [{"type": "websocket.connect"}])


@pytest.mark.parametrize(("streams", "status"), [(True, 503), (False, 200)])
async def test_a_websocket_counts_until_it_ends_or_is_accepted(streams, status):
    service = Service(max_active=1, streams=streams)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shake(service, "x").run, service.app)
        await settle()
        assert await service.status() == status
        service.gate("x").set()
    assert (await service.status(), service.gauges.active) == (200, 0)


async def test_a_websocket_over_the_limit_is_refused():
    service = Service(max_active=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, "/a")
        await settle()
        exchange = await shake(service, "x").run(service.app)
        start = exchange.sent[0]
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
        service.gate("a").set()


async def test_a_websocket_that_leaves_while_it_waits_gives_up_its_place():
    service = Service(max_active=1, max_waiting=1, max_wait_seconds=3600)
    exchange = shake(service, "x")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, "/a")
        await settle()
        async with anyio.create_task_group() as inner:
            inner.start_soon(exchange.run, service.app)
            await settle()
            assert service.gauges.waiting == 1
            exchange.receive.close()
        assert (service.gauges.active, service.gauges.waiting) == (1, 0)
        service.gate("a").set()
    assert (exchange.sent, exchange.error) == ([], None)


async def test_a_websocket_that_has_waited_loses_no_message():
    service = Service(max_active=1, max_waiting=1, max_wait_seconds=3600)
    messages = [{"type": "websocket.connect"}]
    messages += [{"type": "websocket.receive", "text": text} for text in ("1", "2", "3")]
    exchange = Exchange(websocket_scope("/read/three"), messages)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, "/a")
        await settle()
        tasks.start_soon(exchange.run, service.app)
        await settle()
        service.gate("a").set()
    assert [message.get("text") for message in exchange.sent] == [None, "1", "2", "3", None]
    assert service.gauges.active == 0


async def test_a_websocket_that_waits_too_long_is_refused():
    service = Service(max_active=1, max_waiting=1, max_wait_seconds=0.01)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.status, "/a")
        await settle()
        exchange = await shake(service, "x").run(service.app)
        assert exchange.sent[0]["status"] == 503
        service.gate("a").set()


async def test_it_works_around_an_app_of_another_framework():
    app = AdmissionMiddleware(PlainTextResponse("passed"), max_active=1)
    assert [(await call(app)).status for _ in range(2)] == [200, 200]
    assert app.gauges.active == 0


async def test_a_client_that_has_left_frees_the_place():
    service = Service(max_active=1)
    exchange = Exchange(http_scope(path="/stream/x"), gone_after=1)
    service.gate("x").set()
    await exchange.run(service.app)
    assert service.gauges.active == 0


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_active": 0}, ValueError, "max_active must be at least 1"),
        ({"max_active": "9"}, TypeError, "max_active must be an int"),
        ({"max_active": True}, TypeError, "max_active must be an int"),
        ({"max_waiting": -1}, ValueError, "max_waiting must be at least 0"),
        ({"max_wait_seconds": 0}, ValueError, "more than 0"),
        ({"max_wait_seconds": float("inf")}, ValueError, "finite"),
        ({"max_wait_seconds": "1"}, TypeError, "number of seconds"),
        ({"exempt": "/livez"}, TypeError, "list of strings"),
        ({"exempt": ["livez"]}, ValueError, 'begin with "/"'),
        ({"streams": "no"}, TypeError, "True or False"),
        ({"gauges": {}}, TypeError, "must be an AdmissionGauges"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        AdmissionMiddleware(PlainTextResponse(""), **{"max_active": 1, **options})
