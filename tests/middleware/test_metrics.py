"""Tests of spica/middleware/metrics.py, with the parsers of prometheus-client."""

import os
import subprocess
import sys

import anyio
import pytest
from asgi_kit import Exchange, http_scope, websocket_scope

pytest.importorskip("prometheus_client")

import anyio.lowlevel
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from spica.applications import Spica
from spica.authentication import AuthenticationBackend
from spica.channels import Channels
from spica.concurrency import run_in_threadpool
from spica.layers import Layer
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.middleware.metrics import MetricsMiddleware, metrics_response
from spica.requests import Request
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route, WebSocketRoute
from spica.stores import MemoryStore

pytestmark = pytest.mark.anyio

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


async def user(request):
    return PlainTextResponse("a user")


async def fail(request):
    raise RuntimeError("failed")


async def broken(request):
    async def chunks():
        yield b"12345"
        raise RuntimeError("failed")

    return StreamingResponse(chunks())


async def endless(request):
    async def chunks():
        while True:
            yield b"x"
            await anyio.lowlevel.checkpoint()

    return StreamingResponse(chunks())


async def socket(websocket):
    await websocket.accept()
    websocket.app.seen = read(websocket.app.registry)
    await websocket.close()


def service(*routes, **options):
    """Return an application with a registry of its own."""
    registry = CollectorRegistry()

    async def show(request):
        return metrics_response(request, registry=registry)

    app = Spica(
        routes=[
            Route("/users/{id:int}", user, methods=["GET", "POST"]),
            Route("/fail", fail),
            Route("/broken", broken),
            Route("/endless", endless),
            Route("/metrics", show),
            WebSocketRoute("/rooms/{room}", socket),
            Mount("/shops/{shop}", routes=[Route("/items/{item}", user)]),
            *routes,
        ],
        middleware=[Middleware(MetricsMiddleware, registry=registry, **options)],
    )
    app.registry = registry
    return app


def read(registry):
    """Return the samples by name and labels."""
    text = metrics_response(registry=registry).body.decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


async def get(app, path="/users/7", method="GET", **options):
    return await Exchange(http_scope(method, path), **options).run(app)


COUNT = "http_server_request_duration_seconds_count"


@pytest.mark.parametrize("is_shared", [True, False], ids=["one registry", "two"])
async def test_a_request_to_a_mounted_app_counts_once(is_shared):
    app = service()
    registry = app.registry if is_shared else CollectorRegistry()
    layer = Middleware(MetricsMiddleware, registry=registry)
    app.router.routes.append(Mount("/in", Spica(routes=[Route("/a", user)], middleware=[layer])))
    await get(app, "/in/a")

    assert read(app.registry)[COUNT, "GET", "/in/a", "200"] == 1
    assert read(registry)[COUNT, "GET", "/in/a", "200"] == 1


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/users/7", ("GET", "/users/{id}", "200")),
        ("POST", "/users/7", ("POST", "/users/{id}", "200")),
        ("GET", "/shops/3/items/4", ("GET", "/shops/{shop}/items/{item}", "200")),
        ("GET", "/fail", ("GET", "/fail", "500")),
        ("GET", "/unknown", ("GET", "unmatched", "404")),
        ("BREW", "/unknown", ("_OTHER", "unmatched", "404")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_request_counts_with_method_route_and_status(method, path, labels):
    app = service()
    await get(app, path, method)

    assert read(app.registry)[(COUNT, *labels)] == 1


async def test_unmatched_paths_share_one_series():
    app = service()
    for number in range(50):
        await get(app, f"/unknown/{number}")

    series = [key for key in read(app.registry) if key[0] == COUNT]
    assert series == [(COUNT, "GET", "unmatched", "404")]


class Refusing(Layer):
    """Answers before the routing, like a cache or a rate limit."""

    async def respond(self, request):
        return PlainTextResponse("no", 429)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/users/7", "/users/{id}"),
        ("/shops/3/items/4", "/shops/{shop}/items/{item}"),
        ("/shops/3/none", "unmatched"),
        ("/unknown", "unmatched"),
    ],
)
async def test_a_request_that_a_layer_answers_has_its_route(path, route):
    app = service()
    app.user_middleware.append(Middleware(Refusing))
    await get(app, path)

    assert read(app.registry)[COUNT, "GET", route, "429"] == 1


class Strangers(AuthenticationBackend):
    async def authenticate(self, conn):
        return None


async def test_a_request_that_default_scopes_refuses_has_its_route():
    app = service()
    app.user_middleware.append(Middleware(AuthenticationMiddleware, backend=Strangers()))
    app.default_scopes = ["authenticated"]
    await get(app)
    await get(app, "/unknown")

    samples = read(app.registry)
    assert samples[COUNT, "GET", "/users/{id}", "403"] == 1
    assert samples[COUNT, "GET", "unmatched", "403"] == 1


async def test_bytes_are_counted():
    app = service()
    await get(app)
    await get(app)

    assert read(app.registry)["http_server_response_body_bytes_total", "GET", "/users/{id}"] == 12


@pytest.mark.parametrize(
    ("path", "options", "outcome"),
    [("/broken", {}, "broken"), ("/endless", {"gone_after": 4}, "client_left")],
    ids=["broken", "left"],
)
async def test_incomplete_responses_are_counted(path, options, outcome):
    app = service()
    await get(app, path, **options)

    samples = read(app.registry)
    assert samples["http_server_incomplete_responses_total", outcome, path] == 1
    assert samples["http_server_active_requests",] == 0
    assert samples["http_server_active_streams",] == 0


async def test_requests_and_streams_in_progress_are_gauges():
    seen = []

    async def chunks():
        yield b"a"
        seen.append(read(app.registry))
        yield b"b"

    async def stream(request):
        return StreamingResponse(chunks())

    app = service(Route("/stream", stream))
    await get(app, "/stream")

    assert seen[0]["http_server_active_requests",] == 1
    assert seen[0]["http_server_active_streams",] == 1
    assert read(app.registry)["http_server_active_streams",] == 0


async def test_websockets_are_measured_apart():
    app = service()
    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
    await Exchange(websocket_scope("/rooms/blue"), messages).run(app)

    samples = read(app.registry)
    assert app.seen["websocket_server_active_connections",] == 1
    assert samples["websocket_server_active_connections",] == 0
    assert samples["websocket_server_duration_seconds_count", "/rooms/{room}", "101"] == 1


async def test_threads_and_tasks_are_gauges():
    app = service()
    release = anyio.Event()
    app.tasks.open()
    app.tasks.start(release.wait)

    exchange = await get(app, "/metrics")
    release.set()
    await app.tasks.aclose()

    assert "spica_tasks_running 1.0" in exchange.text
    assert 'spica_threads_running{group="endpoints"} 0.0' in exchange.text


class LostStore(MemoryStore):
    is_available = False


async def test_stores_and_channels_are_gauges():
    channels = Channels("memory://")
    stores = {"main": MemoryStore(), "other": LostStore()}
    app = service(stores=stores, channels={"live": channels})
    async with channels.lifespan(app), channels.subscribe("news"):
        await get(app)
        samples = read(app.registry)

    assert samples["spica_store_available", "main"] == 1
    assert samples["spica_store_available", "other"] == 0
    assert samples["spica_channels_subscriptions", "live"] == 1


async def test_metrics_can_be_read_in_a_thread():
    app = service()
    await get(app)

    response = await run_in_threadpool(metrics_response, registry=app.registry)

    assert b"http_server_active_requests" in response.body


async def test_openmetrics_is_negotiated():
    app = service()
    await get(app)
    fields = [("accept", "application/openmetrics-text; version=1.0.0")]
    exchange = await Exchange(http_scope(path="/metrics", headers=fields)).run(app)

    names = {family.name for family in parse_openmetrics(exchange.text)}
    content_type = dict(exchange.starts[0]["headers"])[b"content-type"]
    assert "http_server_request_duration_seconds" in names
    assert content_type.startswith(b"application/openmetrics-text")


async def test_labels_are_escaped():
    app = service(Route('/quo"ted\\{a}', user))
    await get(app, '/quo"ted\\1')

    assert read(app.registry)[COUNT, "GET", '/quo"ted\\{a}', "200"] == 1


async def test_skipped_paths_are_not_measured():
    app = service(Route("/livez", user))
    await get(app, "/livez")
    await get(app, "/metrics")

    assert [key for key in read(app.registry) if key[0] == COUNT] == []


async def test_two_layers_share_a_registry():
    registry = CollectorRegistry()
    first, second = (MetricsMiddleware(user, registry=registry) for _ in range(2))

    assert first.metrics is second.metrics
    with pytest.raises(ValueError, match="Use the same buckets"):
        MetricsMiddleware(user, registry=registry, buckets=[1, 2])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"registry": 7}, TypeError, "registry must be a CollectorRegistry, not 7"),
        ({"buckets": 7}, TypeError, "buckets must be a list of seconds, not 7"),
        ({"buckets": []}, TypeError, "buckets must be a list of seconds"),
        ({"buckets": ["1"]}, TypeError, "buckets must be numbers of seconds, not '1'"),
        ({"buckets": [2, 1]}, ValueError, "buckets must be above 0 and in ascending order"),
        ({"stores": [MemoryStore()]}, TypeError, "stores must map names to stores"),
        ({"stores": {"main": "memory://"}}, TypeError, "stores must map names to stores"),
        ({"channels": {"main": MemoryStore()}}, TypeError, "channels must map names to channels"),
    ],
)
async def test_a_wrong_setting_is_an_error(options, error, message):
    with pytest.raises(error, match=message):
        MetricsMiddleware(user, **{"registry": CollectorRegistry(), **options})


async def test_several_accept_fields_count_as_one():
    request = Request(http_scope("GET", "/", headers=[("accept", "a/b"), ("accept", OPENMETRICS)]))
    response = metrics_response(request, registry=CollectorRegistry())
    assert response.headers["content-type"].startswith("application/openmetrics-text")


async def test_skip_must_be_a_list():
    with pytest.raises(TypeError, match="must be a list of strings"):
        MetricsMiddleware(user, skip="/livez", registry=CollectorRegistry())


WORKER = """\
import asyncio, os, sys
from asgi_kit import call
from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.metrics import MetricsMiddleware, metrics_response
from spica.responses import PlainTextResponse
from spica.routing import Route

async def hello(request):
    if "wait" in request.query_params:
        os._exit(0)  # the worker is killed while it serves a request
    return PlainTextResponse("hello")

async def main():
    app = Spica(routes=[Route("/", hello)], middleware=[Middleware(MetricsMiddleware)])
    await call(app, "GET", "/")
    print(metrics_response().body.decode(), flush=True)
    if sys.argv[1] == "die":
        await call(app, "GET", "/?wait=1")

asyncio.run(main())
"""


def test_workers_are_summed_and_dead_ones_leave_the_gauges(tmp_path):
    support = os.path.join(os.path.dirname(__file__), "..", "support")
    path = os.pathsep.join([os.path.abspath(support), *sys.path])
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": path}
    texts = [
        subprocess.run(
            [sys.executable, "-c", WORKER, fate],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        for fate in ("die", "live")
    ]
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse_text(texts[1])
        for sample in family.samples
    }

    # The first worker has counted two requests, the last of which never ended.
    assert samples[COUNT, "GET", "/", "200"] == 2
    assert samples["http_server_active_requests",] == 0
