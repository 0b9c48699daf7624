"""Spans and metrics of requests."""

import contextvars
import subprocess
import sys
import time

import anyio
import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import baggage, context, metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from spica.applications import Spica
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.gzip import GZipMiddleware
from spica.middleware.opentelemetry import OBSERVED, OpenTelemetryMiddleware
from spica.middleware.opentelemetry.semantics import (
    known_methods,
    redact_query,
    request_attributes,
    strip_convertors,
)
from spica.requests import ClientDisconnect
from spica.responses import FileResponse, PlainTextResponse, StreamingResponse
from spica.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = [("traceparent", f"00-{TRACE}-b7ad6b7169203331-01")]


class Telemetry:
    """Providers that keep in memory what they are told."""

    def __init__(self, **options):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(**options)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    def around(self, app, **options):
        options.setdefault("tracer_provider", self.tracers)
        options.setdefault("meter_provider", self.meters)
        return OpenTelemetryMiddleware(app, **options)

    def recipe(self, **options):
        return Middleware(
            OpenTelemetryMiddleware,
            tracer_provider=self.tracers,
            meter_provider=self.meters,
            **options,
        )

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    @property
    def span(self):
        (span,) = self.spans
        return span

    def points(self, name):
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def telemetry():
    return Telemetry()


def current_is_recording():
    return trace.get_current_span().is_recording()


async def plain(request):
    return PlainTextResponse("plain")


async def foreign(scope, receive, send):
    await PlainTextResponse("foreign")(scope, receive, send)


# -- the span ------------------------------------------------------------------------------------------


async def test_a_span_tells_of_the_request(telemetry):
    app = Spica(routes=[Route("/items/{id:int}", plain)], middleware=[telemetry.recipe()])
    headers = [("host", "example.org:8080"), ("user-agent", "test/1")]
    await call(app, path="/items/7?q=1", headers=headers)
    span = telemetry.span
    assert (span.name, span.kind, span.status.status_code) == (
        "GET /items/{id}",
        SpanKind.SERVER,
        StatusCode.UNSET,
    )
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "url.path": "/items/7",
        "url.scheme": "http",
        "url.query": "q=1",
        "server.address": "example.org",
        "server.port": 8080,
        "network.protocol.version": "1.1",
        "client.address": "192.0.2.1",
        "user_agent.original": "test/1",
        "http.route": "/items/{id}",
        "http.response.status_code": 200,
        "http.response.body.size": 5,
    }
    assert span.instrumentation_scope.name == "spica"


async def test_a_span_continues_the_trace_of_the_client(telemetry):
    await call(telemetry.around(foreign), headers=PARENT)
    assert f"{telemetry.span.parent.trace_id:032x}" == TRACE


async def test_without_a_trace_a_span_is_the_first(telemetry):
    await call(telemetry.around(foreign))
    assert telemetry.span.parent is None


async def test_a_request_that_is_not_sampled_passes_its_trace_on():
    telemetry = Telemetry(sampler=ALWAYS_OFF)
    seen = []

    async def app(scope, receive, send):
        seen.append(f"{trace.get_current_span().get_span_context().trace_id:032x}")
        await foreign(scope, receive, send)

    await call(telemetry.around(app), headers=PARENT)
    assert (seen, telemetry.spans) == ([TRACE], ())
    assert len(telemetry.points("http.server.request.duration")) == 1


@pytest.mark.parametrize(
    ("method", "name", "told", "original"),
    [
        ("GET", "GET", "GET", None),
        ("QUERY", "QUERY", "QUERY", None),
        ("get", "GET", "GET", "get"),
        ("PROPFIND", "HTTP", "_OTHER", "PROPFIND"),
    ],
)
async def test_unknown_methods_are_one(method, name, told, original, telemetry):
    await call(telemetry.around(foreign), method)
    attributes = telemetry.span.attributes
    assert telemetry.span.name == name
    assert attributes["http.request.method"] == told
    assert attributes.get("http.request.method_original") == original


def test_known_methods_can_be_listed(monkeypatch):
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET, PROPFIND,")
    assert known_methods() == {"GET", "PROPFIND"}


async def test_a_server_error_is_an_error(telemetry):
    await call(telemetry.around(PlainTextResponse("no", 503)))
    span = telemetry.span
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert span.attributes["error.type"] == "503"


async def test_a_client_error_is_none(telemetry):
    await call(telemetry.around(PlainTextResponse("no", 404)))
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert "error.type" not in telemetry.span.attributes


@pytest.mark.parametrize("by_value", [True, False], ids=["value", "message"])
async def test_an_exception_is_recorded_and_raised(by_value, telemetry):
    async def endpoint(request):
        raise ValueError("broken")

    async def opaque(scope, receive, send):
        raise ValueError("broken")

    app = telemetry.around(Router([Route("/", endpoint)]) if by_value else opaque)
    exchange = await Exchange().run(app)
    span = telemetry.span
    assert isinstance(exchange.error, ValueError)
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ValueError: broken"
    assert span.attributes["error.type"] == "ValueError"
    assert "http.response.status_code" not in span.attributes
    assert [event.name for event in span.events] == ["exception"]


async def test_an_http_exception_on_its_way_out_is_an_answer(telemetry):
    async def refuse(request, call_next):
        raise HTTPException(403)

    recipes = [telemetry.recipe(), Middleware(BaseHTTPMiddleware, dispatch=refuse)]
    exchange = await call(Spica(middleware=recipes))
    assert exchange.status == telemetry.span.attributes["http.response.status_code"] == 403
    assert telemetry.span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(("status_code", "is_error"), [(499, False), (500, True), (501, True)])
async def test_an_http_exception_of_the_server_is_an_error(telemetry, status_code, is_error):
    async def app(scope, receive, send):
        raise HTTPException(status_code)

    await Exchange().run(telemetry.around(app))
    status = StatusCode.ERROR if is_error else StatusCode.UNSET
    assert telemetry.span.status.status_code is status
    assert telemetry.span.attributes.get("error.type") == ("HTTPException" if is_error else None)


async def test_a_client_that_leaves_is_no_error(telemetry):
    async def app(scope, receive, send):
        raise ClientDisconnect

    await Exchange().run(telemetry.around(app))
    assert telemetry.span.status.status_code is StatusCode.UNSET


async def test_a_stream_that_breaks_is_an_error(telemetry):
    async def chunks():
        yield b"a"
        raise ValueError("broken")

    async def endpoint(request):
        return StreamingResponse(chunks())

    app = Spica(routes=[Route("/", endpoint)], middleware=[telemetry.recipe()])
    exchange = await Exchange().run(app)
    assert not exchange.is_complete
    assert telemetry.span.attributes["error.type"] == "ValueError"
    assert telemetry.span.attributes["http.response.status_code"] == 200
    assert telemetry.span.name == "GET /"


# -- when it begins and ends, and where it is current --------------------------------------------------


async def test_the_span_is_current_inside_and_not_outside(telemetry):
    seen = {}

    async def chunks():
        seen["stream"] = current_is_recording()
        yield b"a"

    async def task():
        seen["task"] = current_is_recording()

    async def endpoint(request):
        seen["endpoint"] = current_is_recording()
        return StreamingResponse(chunks(), background=task)

    async def outside(request, call_next):
        response = await call_next(request)
        seen["outside"] = current_is_recording()
        return response

    recipes = [Middleware(BaseHTTPMiddleware, dispatch=outside), telemetry.recipe()]
    await call(Spica(routes=[Route("/", endpoint)], middleware=recipes))
    assert seen == {"endpoint": True, "outside": False, "stream": True, "task": seen["task"]}
    assert not current_is_recording()


async def test_a_background_task_runs_in_the_span(telemetry):
    tracer = telemetry.tracers.get_tracer("test")

    async def task():
        with tracer.start_as_current_span("task"):
            pass

    async def endpoint(request):
        return PlainTextResponse("", background=task)

    await call(Spica(routes=[Route("/", endpoint)], middleware=[telemetry.recipe()]))
    inner, outer = telemetry.spans
    assert (inner.name, outer.name) == ("task", "GET /")
    assert inner.parent.span_id == outer.context.span_id


async def test_an_error_of_a_background_task_is_recorded(telemetry):
    async def task():
        raise ValueError("task")

    exchange = await Exchange().run(telemetry.around(PlainTextResponse("", background=task)))
    assert exchange.is_complete
    assert telemetry.span.attributes["error.type"] == "ValueError"


RESPONSES = {
    "in memory": lambda path: PlainTextResponse("a"),
    "a stream": lambda path: StreamingResponse(iter([b"a"])),
    "a file": lambda path: FileResponse(path),
    "an app": lambda path: foreign,
}


@pytest.mark.parametrize("make", RESPONSES.values(), ids=RESPONSES.keys())
@pytest.mark.parametrize("around", [False, True], ids=["outermost", "in a dispatch"])
async def test_the_span_ends_after_the_last_message(make, around, telemetry, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a")
    ended = []

    async def endpoint(request):
        return make(path)

    async def passing(request, call_next):
        return await call_next(request)

    async def send(message):
        ended.append(len(telemetry.spans))

    recipes = [telemetry.recipe()]
    if around:
        recipes.insert(0, Middleware(BaseHTTPMiddleware, dispatch=passing))
    app = Spica(routes=[Route("/", endpoint)], middleware=recipes)
    await app(http_scope(), Exchange().receive, send)
    assert set(ended) == {0}
    assert telemetry.span.attributes["http.response.status_code"] == 200


async def test_the_span_of_a_dropped_answer_ends(telemetry):
    async def replace(request, call_next):
        await call_next(request)
        return PlainTextResponse("other", 299)

    recipes = [Middleware(BaseHTTPMiddleware, dispatch=replace), telemetry.recipe()]
    for endpoint in (plain, lambda request: StreamingResponse(iter([b"a"]))):
        await call(Spica(routes=[Route("/", endpoint)], middleware=recipes))
    assert len(telemetry.spans) == 2
    assert sum(point.value for point in telemetry.points("http.server.active_requests")) == 0


@pytest.mark.parametrize("where", ["endpoint", "stream", "app"])
async def test_the_span_of_a_cancelled_request_ends(where, telemetry):
    async def chunks():
        await anyio.sleep_forever()
        yield b""

    async def endpoint(request):
        if where == "endpoint":
            await anyio.sleep_forever()
        return StreamingResponse(chunks())

    async def app(scope, receive, send):
        await anyio.sleep_forever()

    routes = [Mount("/", app) if where == "app" else Route("/", endpoint)]
    with anyio.move_on_after(0.05):
        await call(Spica(routes=routes, middleware=[telemetry.recipe()]))
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert sum(point.value for point in telemetry.points("http.server.active_requests")) == 0


async def test_what_the_endpoint_sets_is_seen_outside(telemetry):
    variable = contextvars.ContextVar("variable")

    async def endpoint(request):
        variable.set("set inside")
        return PlainTextResponse("")

    await call(telemetry.around(Router([Route("/", endpoint)])))
    assert variable.get() == "set inside"


async def test_a_stream_is_closed(telemetry):
    class Chunks:
        closed = False

        def __aiter__(self):
            return self

        async def __anext__(self):
            return b"a"

        async def aclose(self):
            Chunks.closed = True

    layer = telemetry.around(Router([Route("/", lambda request: StreamingResponse(Chunks()))]))
    await Exchange(gone_after=1).run(layer)
    assert Chunks.closed
    assert len(telemetry.spans) == 1


async def test_a_stream_whose_iterator_is_another_object_is_closed(telemetry):
    steps = []

    class Chunks:
        async def __aiter__(self):
            try:
                yield b"a"
                yield b"b"
            finally:
                steps.append("closed")

    layer = telemetry.around(Router([Route("/", lambda request: StreamingResponse(Chunks()))]))
    await Exchange(gone_after=1).run(layer)
    assert steps == ["closed"]


async def test_no_answer_at_all_is_named_and_leaves_nothing_in_the_scope(telemetry):
    async def forget(request):
        return None

    layer = telemetry.around(Route("/", forget))
    scope = http_scope()
    exchange = await Exchange(scope).run(layer)
    assert isinstance(exchange.error, TypeError)
    assert "forget (" in str(exchange.error)
    assert OBSERVED not in scope
    assert len(telemetry.spans) == 1


async def test_a_shared_response_is_not_changed(telemetry):
    async def task():
        pass

    shared = PlainTextResponse("a", background=task)
    app = telemetry.around(Router([Route("/", lambda request: shared)]))
    await call(app)
    await call(app)
    assert shared.background is task


# -- routes --------------------------------------------------------------------------------------------


class OwnRoute(BaseRoute):
    path = "/own"

    def matches(self, scope):
        return Match.FULL, {}

    async def handle(self, scope, receive, send):
        await foreign(scope, receive, send)


class Passing:
    """A layer of another kind: what is inside it is asked by messages."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


def below(app):
    """Return an app of which nobody can see what is in it."""

    async def hidden(scope, receive, send):
        await app(scope, receive, send)

    return hidden


SUB = Router([Route("/x/{y}", plain)])
ITEMS = Spica(routes=[Route("/items/{id:int}", plain), Route("/post", plain, methods=["POST"])])

ROUTES = {
    "a mount": (Mount("/m", SUB), "/m/x/1", "/m/x/{y}"),
    "a mount with parameters": (Mount("/m/{t}", SUB), "/m/abc/x/1", "/m/{t}/x/{y}"),
    "its app": (Mount("/m/{t}", foreign), "/m/abc/x/1", "/m/{t}"),
    "mounts in mounts": (
        Mount("/{a}", routes=[Mount("/{b}", SUB)]),
        "/one/two/x/1",
        "/{a}/{b}/x/{y}",
    ),
    "the same values": (Mount("/{a}", routes=[Mount("/{b}", SUB)]), "/x/x/x/1", "/{a}/{b}/x/{y}"),
    "the same names": (Mount("/{y}", routes=[Mount("/{y}", SUB)]), "/a/a/x/a", "/{y}/{y}/x/{y}"),
    "a value like a text of the pattern": (
        Mount("/t/{t}", routes=[Mount("/t/{u}", SUB)]),
        "/t/t/t/t/x/x",
        "/t/{t}/t/{u}/x/{y}",
    ),
    "a value that is written otherwise": (
        Mount("/t/{t:int}", ITEMS),
        "/t/007/items/7",
        "/t/{t}/items/{id}",
    ),
    "several in a segment": (Mount("/{a}-{b:int}", SUB), "/v-1/x/1", "/{a}-{b}/x/{y}"),
    "one with slashes": (Mount("/f/{a:path}/end", SUB), "/f/1/2/end/x/1", "/f/{a}/end/x/{y}"),
    "another method": (Mount("/t/{t}", ITEMS), "/t/1/post", "/t/{t}/post"),
    "no route of a mounted application": (Mount("/t/{t}", ITEMS), "/t/1/none", "/t/{t}"),
    "mounted applications": (
        Mount("/t/{t}", Spica(routes=[Mount("/u/{u}", ITEMS)])),
        "/t/1/u/1/items/1",
        "/t/{t}/u/{u}/items/{id}",
    ),
    "behind layers of ours": (
        Mount("/t/{t}", GZipMiddleware(ITEMS)),
        "/t/1/post",
        "/t/{t}/post",
    ),
    "behind a layer of another kind": (
        Mount("/t/{t}", ITEMS, middleware=[Middleware(Passing)]),
        "/t/1/items/1",
        "/t/{t}/items/{id}",
    ),
    "below an app of another kind": (
        Mount("/t/{t}", Passing(Passing(Spica(routes=[Mount("/u/{u}", ITEMS)])))),
        "/t/1/u/1/items/1",
        "/t/{t}/u/{u}/items/{id}",
    ),
    "below a function": (Mount("/t/{t}", below(ITEMS)), "/t/1/items/1", "/t/{t}/items/{id}"),
    "a mount below a function": (
        Mount("/t/{t}", below(Spica(routes=[Mount("/u/{u}", ITEMS)]))),
        "/t/1/u/1/items/1",
        None,
    ),
    "a mount below a host": (
        Host("{t}.org", Router([Mount("/{u}", SUB)])),
        "/example/x/1",
        "/{u}/x/{y}",
    ),
    "a mount without a route": (Mount("/m", SUB), "/m/none", "/m"),
    "a mount at the root": (Mount("", foreign), "/any/thing", "/"),
    "a mounted application": (Mount("/m", Spica(routes=[Route("/", plain)])), "/m/", "/m/"),
    "a host": (Host("{name}.org", SUB), "/x/1", "/x/{y}"),
    "the app of a host": (Host("{name}.org", foreign), "/x/1", None),
    "a route of another kind": (OwnRoute(), "/own", None),
    "no route": (Route("/x", plain), "/none", None),
}


@pytest.mark.parametrize(("route", "path", "template"), ROUTES.values(), ids=ROUTES.keys())
@pytest.mark.parametrize("inside", [[], [Middleware(Passing)]], ids=["by value", "by messages"])
async def test_the_route_is_told_as_a_pattern(route, path, template, inside, telemetry):
    app = Spica(routes=[route], middleware=[telemetry.recipe(), *inside])
    await call(app, path=path, headers=[("host", "example.org")])
    assert telemetry.span.attributes.get("http.route") == template
    assert telemetry.span.name == ("GET" if template is None else f"GET {template}")
    (point,) = telemetry.points("http.server.request.duration")
    assert point.attributes.get("http.route") == template


async def test_a_prefix_of_the_server_is_part_of_the_route(telemetry):
    app = Spica(routes=[Mount("/m/{t}", SUB)], middleware=[telemetry.recipe()])
    await call(app, path="/api/m/abc/x/1", root_path="/api")
    assert telemetry.span.attributes["http.route"] == "/api/m/{t}/x/{y}"


@pytest.mark.parametrize("where", ["application", "router", "mount", "around"])
async def test_further_in_the_route_is_told_from_the_outermost_application(where, telemetry):
    recipes = [telemetry.recipe()]
    routes = [Mount("/u/{u}", SUB)]
    if where == "application":
        mount = Mount("/t/{t}", Spica(routes=routes, middleware=recipes))
    elif where == "router":
        mount = Mount("/t/{t}", Router(routes, middleware=recipes))
    elif where == "mount":
        mount = Mount("/t/{t}", routes=routes, middleware=recipes)
    else:
        mount = Mount("/t/{t}", telemetry.around(Router(routes)))
    await call(Spica(routes=[mount]), path="/api/t/1/u/1/x/1", root_path="/api")
    assert telemetry.span.attributes["http.route"] == "/api/t/{t}/u/{u}/x/{y}"


class OtherRouter:
    """A router of another kind, which mounts one app below its first segment."""

    def __init__(self, app, name=None):
        self.app = app
        self.name = name

    async def __call__(self, scope, receive, send):
        segment = scope["path"].split("/")[1]
        scope.update(router=self, app=self, app_root_path="", root_path="/" + segment)
        scope["path_params"] = {self.name: segment} if self.name else {}
        await self.app(scope, receive, send)


async def test_a_prefix_of_another_router_stays_as_it_is(telemetry):
    inner = Spica(routes=[Mount("/u/{u}", SUB)], middleware=[telemetry.recipe()])
    await call(OtherRouter(inner), path="/v1/u/1/x/1")
    assert telemetry.span.attributes["http.route"] == "/v1/u/{u}/x/{y}"


async def test_what_clients_send_does_not_become_a_series_of_metrics(telemetry):
    inner = Spica(routes=[Route("/x", plain)], middleware=[telemetry.recipe()])
    await call(OtherRouter(inner, "tenant"), path="/acme/x")
    (point,) = telemetry.points("http.server.request.duration")
    assert "http.route" not in point.attributes
    assert telemetry.span.name == "GET"


async def test_nothing_is_written_to_the_scope_for_it(telemetry):
    app = Router([Mount("/t/{t}", SUB)])
    scopes = [http_scope("GET", "/t/1/x/1") for _ in range(2)]
    for scope, served in zip(scopes, [app, telemetry.around(app)], strict=True):
        await Exchange(scope).run(served)
    assert scopes[0].keys() == scopes[1].keys()
    assert telemetry.span.attributes["http.route"] == "/t/{t}/x/{y}"


@pytest.mark.parametrize(
    ("path", "plain_path"),
    [("/a", "/a"), ("/{a}", "/{a}"), ("/{a:int}/{b:path}", "/{a}/{b}"), ("/a:b/{c}", "/a:b/{c}")],
)
def test_convertors_are_left_out(path, plain_path):
    assert strip_convertors(path) == plain_path


# -- attributes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "scheme", "server", "address", "port"),
    [
        ("example.org", "http", ("10.0.0.1", 8000), "example.org", 80),
        ("example.org", "https", None, "example.org", 443),
        ("[::1]:81", "http", None, "::1", 81),
        ("no host:x", "http", ("10.0.0.1", 8000), "10.0.0.1", 8000),
        (None, "http", ("10.0.0.1", 8000), "10.0.0.1", 8000),
        (None, "http", ("/run/app.sock", None), None, None),
        (None, "http", None, None, None),
    ],
)
def test_the_server_is_the_one_that_was_asked(host, scheme, server, address, port):
    headers = [] if host is None else [("host", host)]
    found = request_attributes(http_scope(headers=headers, server=server), scheme)
    assert (found.get("server.address"), found.get("server.port")) == (address, port)


def test_what_is_unknown_is_left_out():
    scope = {"path": "/", "query_string": b""}
    assert request_attributes(scope, "http") == {"url.path": "/"}
    assert "client.address" not in request_attributes({**scope, "client": ("", 0)}, "http")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("a=1&b=2", "a=1&b=2"),
        ("a=1&Signature=abc&sig=x=y", "a=1&Signature=REDACTED&sig=REDACTED"),
        ("X-Goog-Signature=s", "X-Goog-Signature=REDACTED"),
        ("sig", "sig"),
        ("signal=1", "signal=1"),
        (
            "AWSAccessKeyId=1&Signature=2&sig=3&X-Goog-Signature=4&a=5",
            "AWSAccessKeyId=REDACTED&Signature=REDACTED&sig=REDACTED&X-Goog-Signature=REDACTED&a=5",
        ),
    ],
)
def test_secrets_of_clouds_are_redacted(query, told):
    assert redact_query(query) == told


# -- metrics -------------------------------------------------------------------------------------------


async def test_the_duration_is_measured(telemetry):
    app = Spica(routes=[Route("/{id}", plain)], middleware=[telemetry.recipe()])
    began = time.perf_counter()
    await call(app, path="/1")
    await call(app, path="/2")
    (point,) = telemetry.points("http.server.request.duration")
    assert (point.count, point.explicit_bounds[0]) == (2, 0.005)
    assert 0 < point.sum < time.perf_counter() - began
    assert dict(point.attributes) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
        "http.route": "/{id}",
    }


async def test_errors_are_measured_apart(telemetry):
    await call(telemetry.around(PlainTextResponse("", 500)))
    (point,) = telemetry.points("http.server.request.duration")
    assert point.attributes["error.type"] == "500"


async def test_active_requests_are_counted(telemetry):
    seen = []

    async def app(scope, receive, send):
        seen.append([point.value for point in telemetry.points("http.server.active_requests")])
        await foreign(scope, receive, send)

    await call(telemetry.around(app))
    (point,) = telemetry.points("http.server.active_requests")
    assert (seen, point.value) == ([[1]], 0)
    assert dict(point.attributes) == {"http.request.method": "GET", "url.scheme": "http"}


async def test_metrics_need_no_tracer(telemetry):
    await call(telemetry.around(foreign, tracer_provider=trace.NoOpTracerProvider()))
    assert len(telemetry.points("http.server.request.duration")) == 1
    assert telemetry.spans == ()


# -- which requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("excluded", "is_excluded"),
    [
        ((), False),
        ("", False),
        ("/health", True),
        ("other, health$ ", True),
        (["^http://example.org/health$"], True),
        (["health", "other"], True),
        (["^/health$"], False),
        ([" health"], False),
    ],
)
async def test_urls_can_be_excluded(excluded, is_excluded, telemetry):
    await call(telemetry.around(foreign, excluded_urls=excluded), path="/health")
    assert (telemetry.spans == ()) is is_excluded
    assert (telemetry.points("http.server.request.duration") == []) is is_excluded


@pytest.mark.parametrize("inner", [foreign, Router([Route("/", plain)])], ids=["app", "value"])
@pytest.mark.parametrize("excluded", ["", "/"], ids=["observed", "excluded"])
async def test_only_the_outermost_is_at_work(inner, excluded, telemetry):
    app = telemetry.around(telemetry.around(inner), excluded_urls=excluded)
    exchange = await call(app)
    assert len(telemetry.spans) == (0 if excluded else 1)
    assert OBSERVED not in exchange.scope


async def test_an_error_lets_the_scope_be_observed_again(telemetry):
    async def endpoint(request):
        raise ValueError

    exchange = await Exchange().run(telemetry.around(Router([Route("/", endpoint)])))
    assert OBSERVED not in exchange.scope


async def test_a_request_within_a_request_has_its_own_span(telemetry):
    layer = telemetry.around(foreign)

    async def app(scope, receive, send):
        await call(layer, path="/inner")
        await foreign(scope, receive, send)

    await call(telemetry.around(app))
    assert [span.parent for span in telemetry.spans] == [None, None]


async def test_baggage_is_kept_and_added_to(telemetry):
    seen = []

    async def app(scope, receive, send):
        seen.append(dict(baggage.get_all()))
        await foreign(scope, receive, send)

    token = context.attach(baggage.set_baggage("here", "1"))
    await call(telemetry.around(app), headers=[("baggage", "sent=2")])
    context.detach(token)
    assert seen == [{"here": "1", "sent": "2"}]


async def test_what_is_no_answer_is_named_by_whoever_sends_it(telemetry):
    exchange = await Exchange().run(telemetry.around(Router([Route("/", lambda request: None)])))
    assert isinstance(exchange.error, TypeError)
    assert "must return a Response" in str(exchange.error)
    assert (len(telemetry.spans), OBSERVED in exchange.scope) == (1, False)


@pytest.mark.parametrize(
    ("path", "method", "size"),
    [("/plain", "GET", 5), ("/plain", "HEAD", 0), ("/foreign", "GET", 7), ("/stream", "GET", 6)],
)
async def test_the_size_of_the_body_is_in_span_and_metric(telemetry, path, method, size):
    async def chunks():
        yield "é"
        yield b"1234"

    async def stream(request):
        return StreamingResponse(chunks())

    routes = [Route("/plain", plain), Route("/stream", stream), Mount("/", foreign)]
    await call(Spica(routes=routes, middleware=[telemetry.recipe()]), method, path)

    (point,) = telemetry.points("http.server.response.body.size")
    assert telemetry.span.attributes["http.response.body.size"] == point.sum == size


async def test_open_streams_are_counted(telemetry):
    seen = []

    async def chunks():
        yield b"a"
        seen.append([point.value for point in telemetry.points("http.server.active_streams")])
        yield b"b"

    async def stream(request):
        return StreamingResponse(chunks())

    await call(Spica(routes=[Route("/", stream)], middleware=[telemetry.recipe()]))

    (point,) = telemetry.points("http.server.active_streams")
    assert (seen, point.value) == ([[1]], 0)


# -- WebSockets ----------------------------------------------------------------------------------------


async def accepted(websocket):
    await websocket.accept()
    assert current_is_recording()
    await websocket.receive_text()


async def refused(websocket):
    await websocket.close()


async def failing(websocket):
    await websocket.accept()
    raise RuntimeError("failed")


@pytest.mark.parametrize(
    ("endpoint", "status_code", "status"),
    [
        (accepted, 101, StatusCode.UNSET),
        (refused, 403, StatusCode.UNSET),
        (failing, 101, StatusCode.ERROR),
    ],
    ids=["accepted", "refused", "failing"],
)
async def test_a_websocket_has_a_span(telemetry, endpoint, status_code, status):
    middleware = [telemetry.recipe(websocket_spans=True)]
    app = Spica(routes=[WebSocketRoute("/rooms/{room}", endpoint)], middleware=middleware)
    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
    scope = websocket_scope("/rooms/blue", headers=PARENT)
    await Exchange(scope, messages).run(app)

    span = telemetry.span
    assert (span.name, span.status.status_code) == ("GET /rooms/{room}", status)
    assert span.attributes["http.response.status_code"] == status_code
    assert span.attributes["network.protocol.name"] == "websocket"
    assert f"{span.parent.trace_id:032x}" == TRACE
    assert OBSERVED not in scope


async def test_websockets_are_not_in_the_metrics_of_requests(telemetry):
    await Exchange(websocket_scope()).run(telemetry.around(foreign_socket, websocket_spans=True))

    names = ["http.server.request.duration", "http.server.active_requests"]
    assert [telemetry.points(name) for name in names] == [[], []]


async def foreign_socket(scope, receive, send):
    await send({"type": "websocket.close"})


async def test_a_websocket_has_no_span_by_default(telemetry):
    await Exchange(websocket_scope()).run(telemetry.around(foreign_socket))

    assert telemetry.spans == ()


async def test_an_excluded_websocket_passes(telemetry):
    app = telemetry.around(foreign_socket, excluded_urls="/rooms", websocket_spans=True)
    exchange = await Exchange(websocket_scope("/rooms")).run(app)

    assert (exchange.types, telemetry.spans) == (["websocket.close"], ())


# -- providers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"tracer_provider": None, "meter_provider": None},
        {
            "tracer_provider": trace.NoOpTracerProvider(),
            "meter_provider": metrics.NoOpMeterProvider(),
        },
    ],
    ids=["none is set", "those that do nothing"],
)
async def test_without_providers_nothing_is_done(options, telemetry):
    seen = []

    async def app(scope, receive, send):
        seen.append(OBSERVED in scope)
        await foreign(scope, receive, send)

    await call(telemetry.around(app, **options))
    assert seen == [False]


async def test_global_providers_may_be_set_later(telemetry, monkeypatch):
    layer = OpenTelemetryMiddleware(foreign)
    await call(layer)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: telemetry.tracers)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: telemetry.meters)
    await call(layer)
    assert len(telemetry.spans) == len(telemetry.points("http.server.request.duration")) == 1


# -- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("excluded", "error", "text"),
    [
        (["("], ValueError, "excluded_urls has '\\(', which is not a regular expression: missing"),
        ("a,(", ValueError, "excluded_urls has '\\('"),
        ([1], TypeError, "excluded_urls must be strings, not 1"),
    ],
)
def test_settings_that_cannot_work_are_named(excluded, error, text):
    with pytest.raises(error, match=f"^OpenTelemetryMiddleware: {text}"):
        OpenTelemetryMiddleware(foreign, excluded_urls=excluded)


def test_without_the_package_the_extra_is_named():
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "try:\n    import spica.middleware.opentelemetry\n"
        "except ImportError as exc:\n    print(exc)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "pip install 'spica[opentelemetry]'" in result.stdout
