"""Tracing agents replace functions, methods and classes. What they replaced must be what runs.

The names of the tests say who does it; each does it in the same way.
"""

import functools
import inspect
import weakref

import pytest
from asgi_kit import call

pytestmark = pytest.mark.anyio


class Calls(list):
    """What was called, in order."""

    def wrap(self, target, name, label=None):
        """Return a function that notes the call and makes it."""
        old = getattr(target, name)
        label = label or name

        if inspect.iscoroutinefunction(old):

            @functools.wraps(old)
            async def wrapper(*args, **kwargs):
                self.append(label)
                return await old(*args, **kwargs)

        else:

            @functools.wraps(old)
            def wrapper(*args, **kwargs):
                self.append(label)
                return old(*args, **kwargs)

        return wrapper


@pytest.fixture
def calls(monkeypatch):
    made = Calls()

    def patch(target, name, label=None):
        monkeypatch.setattr(target, name, made.wrap(target, name, label))

    made.patch = patch
    return made


async def hello(request):
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("hello")


def hello_sync(request):
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("hello")


def make_app(*middleware, endpoint=hello, **options):
    from starlette.applications import Starlette
    from starlette.routing import Route

    return Starlette(
        routes=[Route("/", endpoint, methods=["GET", "POST"])], middleware=middleware, **options
    )


async def get(app, path="/", method="GET", **options):
    return await call(app, method, path, **options)


# -- sentry-sdk ------------------------------------------------------------------------------------


async def test_sentry_rebinds_request_response_in_the_module(monkeypatch):
    import starlette.routing

    old = starlette.routing.request_response
    seen = []

    def traced(func):
        if inspect.iscoroutinefunction(func):

            async def endpoint(request):
                seen.append(request.scope["path"])
                return await func(request)
        else:

            def endpoint(request):
                seen.append(request.scope["path"])
                return func(request)

        return old(endpoint)

    monkeypatch.setattr(starlette.routing, "request_response", traced)
    assert (await get(make_app())).text == "hello"
    assert (await get(make_app(endpoint=hello_sync))).text == "hello"
    assert seen == ["/", "/"]


async def test_sentry_wraps_the_recipe_and_the_call_of_every_middleware_class(monkeypatch):
    from starlette.middleware import Middleware
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.gzip import GZipMiddleware

    seen = []
    old_init = Middleware.__init__

    def trace(cls):
        old_call = cls.__call__
        assert old_call.__name__ == "__call__"

        async def traced_call(self, scope, receive, send):
            seen.append(cls.__name__)
            await old_call(self, scope, receive, send)

        monkeypatch.setattr(cls, "__call__", traced_call)

    def init(self, cls, *args, **kwargs):
        trace(cls)
        old_init(self, cls, *args, **kwargs)

    monkeypatch.setattr(Middleware, "__init__", init)
    app = make_app(Middleware(GZipMiddleware), Middleware(CORSMiddleware, allow_origins=["*"]))
    exchange = await get(app, headers=[("origin", "https://example.org")])
    assert seen == [
        "ServerErrorMiddleware",
        "GZipMiddleware",
        "CORSMiddleware",
        "ExceptionMiddleware",
    ]
    assert exchange.text == "hello"
    assert exchange.headers["access-control-allow-origin"] == "*"


async def test_sentry_replaces_the_applications_call(calls):
    from starlette.applications import Starlette

    calls.patch(Starlette, "__call__")
    assert (await get(make_app())).text == "hello"
    assert calls == ["__call__"]


async def test_sentry_passes_context_processors_to_the_templates(monkeypatch, tmp_path):
    from starlette.templating import Jinja2Templates

    (tmp_path / "page").write_text("{{ meta }}")
    old = Jinja2Templates.__init__

    def init(self, *args, **kwargs):
        processors = kwargs.get("context_processors") or []
        kwargs["context_processors"] = [*processors, lambda request: {"meta": "trace"}]
        old(self, *args, **kwargs)

    monkeypatch.setattr(Jinja2Templates, "__init__", init)
    templates = Jinja2Templates(directory=tmp_path)

    async def page(request):
        return templates.TemplateResponse(request, "page")

    assert (await get(make_app(endpoint=page))).text == "trace"


async def test_sentry_replaces_the_handlers_of_the_exception_layer(monkeypatch):
    from starlette.exceptions import HTTPException
    from starlette.middleware.exceptions import ExceptionMiddleware

    seen = []
    old_init = ExceptionMiddleware.__init__

    def init(self, *args, **kwargs):
        old_init(self, *args, **kwargs)
        for key, old_handler in list(self._exception_handlers.items()):

            async def handler(request, exc, old_handler=old_handler):
                seen.append(type(exc).__name__)
                return await old_handler(request, exc)

            self._exception_handlers[key] = handler

    async def teapot(request):
        raise HTTPException(418)

    monkeypatch.setattr(ExceptionMiddleware, "__init__", init)
    assert (await get(make_app(endpoint=teapot))).status == 418
    assert seen == ["HTTPException"]


# -- ddtrace ---------------------------------------------------------------------------------------


class Tracer:
    """A pure ASGI middleware that is put in from outside."""

    def __init__(self, app, seen):
        self.app = app
        self.seen = seen

    async def __call__(self, scope, receive, send):
        self.seen.append(scope["type"])
        await self.app(scope, receive, send)


async def test_ddtrace_passes_middleware_to_the_application(monkeypatch):
    from starlette.applications import Starlette
    from starlette.middleware import Middleware

    seen = []
    old = Starlette.__init__

    def init(self, *args, **kwargs):
        middleware = list(kwargs.pop("middleware", None) or [])
        old(self, *args, middleware=[Middleware(Tracer, seen=seen), *middleware], **kwargs)

    monkeypatch.setattr(Starlette, "__init__", init)
    assert (await get(Starlette())).status == 404
    assert seen == ["http"]


async def test_ddtrace_wraps_the_endpoint_and_handle_of_routes(calls, monkeypatch):
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route

    old = Route.__init__
    endpoints = []

    def init(self, *args, **kwargs):
        endpoints.append(kwargs.get("endpoint") or args[1])
        old(self, *args, **kwargs)

    monkeypatch.setattr(Route, "__init__", init)
    calls.patch(Route, "handle", "Route.handle")
    calls.patch(Mount, "handle", "Mount.handle")
    app = Starlette(routes=[Mount("/a", routes=[Route("/{x}", hello), Route("/", endpoint=hello)])])
    assert (await get(app, "/a/b")).text == "hello"
    assert calls == ["Mount.handle", "Route.handle"]
    assert endpoints == [hello, hello]


async def test_ddtrace_wraps_add_task(calls):
    from starlette.background import BackgroundTasks
    from starlette.responses import PlainTextResponse

    done = []
    calls.patch(BackgroundTasks, "add_task")

    async def endpoint(request):
        tasks = BackgroundTasks()
        tasks.add_task(done.append, 1)
        return PlainTextResponse("hello", background=tasks)

    await get(make_app(endpoint=endpoint))
    assert calls == ["add_task"]
    assert done == [1]


@pytest.mark.parametrize("name", ["__getitem__", "get", "keys"])
@pytest.mark.parametrize("kind", ["QueryParams", "FormData", "Headers"])
def test_ddtrace_wraps_how_values_are_read(kind, name, calls):
    import starlette.datastructures

    cls = getattr(starlette.datastructures, kind)
    calls.patch(cls, name)
    values = cls({"a": "1"})
    result = {
        "__getitem__": lambda: values["a"],
        "get": lambda: values.get("a"),
        "keys": values.keys,
    }
    assert "".join(result[name]()) in ("1", "a")
    assert calls == [name]


async def test_ddtrace_wraps_how_cookies_are_read_and_set(calls):
    import starlette.requests
    from starlette.datastructures import MutableHeaders
    from starlette.responses import PlainTextResponse, Response

    calls.patch(starlette.requests, "cookie_parser")
    calls.patch(Response, "set_cookie")
    calls.patch(MutableHeaders, "__setitem__")

    async def endpoint(request):
        response = PlainTextResponse(request.cookies["a"])
        response.set_cookie("b", "2")
        response.headers["x-c"] = "3"
        return response

    exchange = await get(make_app(endpoint=endpoint), headers=[("cookie", "a=1")])
    assert exchange.text == "1"
    assert calls == ["cookie_parser", "set_cookie", "__setitem__"]


async def test_ddtrace_wraps_how_requests_and_urls_are_made(calls):
    from starlette.datastructures import URL
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse

    calls.patch(Request, "__init__", "Request")
    calls.patch(Request, "body")
    calls.patch(URL, "__init__", "URL")

    async def endpoint(request):
        return PlainTextResponse(f"{request.url.path} {await request.json()}")

    exchange = await get(make_app(endpoint=endpoint), method="POST", body=[b"1"])
    assert exchange.text == "/ 1"
    assert {"Request", "URL", "body"} <= {*calls}


async def test_ddtrace_replaces_properties(monkeypatch):
    from starlette.datastructures import URL
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse

    monkeypatch.setattr(Request, "receive", property(lambda self: self._receive))
    monkeypatch.setattr(URL, "path", property(lambda self: self.components.path.upper()))

    async def dispatch(request, call_next):
        await request.body()
        return await call_next(request)

    async def endpoint(request):
        return PlainTextResponse(request.url.path.encode() + await request.body())

    app = make_app(Middleware(BaseHTTPMiddleware, dispatch=dispatch), endpoint=endpoint)
    assert (await get(app, method="POST", body=[b"ab", b"cd"])).body == b"/abcd"


def test_ddtrace_marks_the_package():
    import starlette

    assert not getattr(starlette, "_datadog_patch", False)
    starlette._datadog_patch = True
    assert starlette._datadog_patch


# -- newrelic --------------------------------------------------------------------------------------


class Proxy:
    """A transparent proxy around a function, as wrapt makes them."""

    def __init__(self, wrapped):
        self.__wrapped__ = wrapped
        self.__name__ = wrapped.__name__
        self.seen = []

    @property
    def __class__(self):
        return type(self.__wrapped__)

    @property
    def __code__(self):
        return self.__wrapped__.__code__

    def __call__(self, *args, **kwargs):
        self.seen.append("call")
        return self.__wrapped__(*args, **kwargs)


@pytest.mark.parametrize("function", [hello, hello_sync], ids=["async", "sync"])
async def test_newrelic_makes_endpoints_proxies_given_by_position(function):
    from starlette.applications import Starlette
    from starlette.routing import Route

    proxy = Proxy(function)
    app = Starlette(False, [Route("/", proxy)])
    assert (await get(app)).text == "hello"
    assert (await get(app, method="POST")).status == 405
    assert proxy.seen == ["call"]


async def test_newrelic_sets_attributes_on_requests(monkeypatch):
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse

    old = Request.__init__

    def init(self, *args, **kwargs):
        old(self, *args, **kwargs)
        self._nr_trace = "trace"

    async def endpoint(request):
        return PlainTextResponse(request._nr_trace)

    monkeypatch.setattr(Request, "__init__", init)
    assert (await get(make_app(endpoint=endpoint))).text == "trace"


async def test_newrelic_wraps_the_error_layers(calls):
    from starlette.exceptions import HTTPException
    from starlette.middleware.errors import ServerErrorMiddleware
    from starlette.middleware.exceptions import ExceptionMiddleware

    for cls, name in [
        (ServerErrorMiddleware, "__init__"),
        (ServerErrorMiddleware, "__call__"),
        (ServerErrorMiddleware, "error_response"),
        (ServerErrorMiddleware, "debug_response"),
        (ExceptionMiddleware, "__call__"),
        (ExceptionMiddleware, "http_exception"),
        (ExceptionMiddleware, "add_exception_handler"),
    ]:
        calls.patch(cls, name, f"{cls.__name__[:3]}.{name}")

    async def endpoint(request):
        if request.query_params:
            raise HTTPException(404)
        raise RuntimeError("oh")

    app = make_app(endpoint=endpoint, exception_handlers={404: hello_not_found})
    with pytest.raises(RuntimeError, match="oh"):
        await get(app)
    assert calls == [
        "Exc.add_exception_handler",
        "Ser.__init__",
        "Ser.__call__",
        "Exc.__call__",
        "Ser.error_response",
    ]
    calls.clear()
    assert (await get(app, "/?a=1")).text == "not here"
    assert calls == ["Ser.__call__", "Exc.__call__"]
    calls.clear()
    app = make_app(endpoint=endpoint, debug=True)
    with pytest.raises(RuntimeError, match="oh"):
        await get(app)
    assert calls[-1] == "Ser.debug_response"
    assert (await get(app, "/?a=1")).status == 404
    assert calls[-1] == "Exc.http_exception"


async def hello_not_found(request, exc):
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("not here", status_code=404)


async def test_newrelic_rewrites_a_background_task_before_it_runs(monkeypatch):
    from starlette.background import BackgroundTask
    from starlette.responses import PlainTextResponse

    done = []
    old = BackgroundTask.__call__

    async def traced(self):
        func = self.func
        self.func = lambda *args: done.append(("traced", func(*args)))
        await old(self)

    async def endpoint(request):
        return PlainTextResponse("hello", background=BackgroundTask(str.upper, "a"))

    monkeypatch.setattr(BackgroundTask, "__call__", traced)
    await get(make_app(endpoint=endpoint))
    assert done == [("traced", "A")]


async def test_newrelic_replaces_the_functions_that_use_threads(calls):
    import starlette.concurrency
    from starlette.responses import StreamingResponse

    async def endpoint(request):
        return StreamingResponse(iter(["a", "b"]))

    calls.patch(starlette.concurrency, "run_in_threadpool")
    calls.patch(starlette.concurrency, "iterate_in_threadpool")
    assert (await get(make_app(endpoint=hello_sync))).text == "hello"
    assert (await get(make_app(endpoint=endpoint))).text == "ab"
    assert calls == ["run_in_threadpool", "iterate_in_threadpool"]


async def test_newrelic_knows_the_parameter_of_iterate_in_threadpool():
    from starlette.concurrency import iterate_in_threadpool

    assert [each async for each in iterate_in_threadpool(iterator=iter("ab"))] == ["a", "b"]


async def test_newrelic_replaces_the_class_in_a_recipe():
    from starlette.middleware import Middleware

    seen = []
    recipe = Middleware(Tracer, seen=seen)
    cls = recipe.cls

    def make(app, *args, **kwargs):
        seen.append("made")
        return cls(app, *args, **kwargs)

    recipe.cls = make
    assert (await get(make_app(recipe))).text == "hello"
    assert seen == ["made", "http"]


async def test_newrelic_wraps_add_middleware(calls):
    from starlette.applications import Starlette

    calls.patch(Starlette, "add_middleware")
    app = make_app()
    app.add_middleware(Tracer, seen=calls)
    assert (await get(app)).text == "hello"
    assert calls == ["add_middleware", "http"]


# -- elastic-apm -----------------------------------------------------------------------------------


async def test_elastic_adds_middleware_while_the_stack_is_built(monkeypatch):
    from starlette.applications import Starlette

    seen = []
    old = Starlette.build_middleware_stack

    def build(self):
        assert self.middleware_stack is None
        self.add_middleware(Tracer, seen=seen)
        return old(self)

    monkeypatch.setattr(Starlette, "build_middleware_stack", build)
    assert (await get(make_app())).text == "hello"
    assert seen == ["http"]


async def test_elastic_reads_the_body_and_puts_it_back(monkeypatch):
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse

    class Capture:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            request = Request(scope, receive=receive)
            body = await request.body()

            async def replay():
                return {"type": "http.request", "body": body}

            request._receive = replay
            request._stream_consumed = False
            assert b"".join([chunk async for chunk in request.stream()]) == body
            await self.app(scope, replay, send)

    async def endpoint(request):
        return PlainTextResponse(await request.body())

    app = make_app(Middleware(Capture), endpoint=endpoint)
    exchange = await get(app, method="POST", body=[b"ab", b"cd"])
    assert exchange.body == b"abcd"


# -- opentelemetry, apitally, logfire --------------------------------------------------------------


async def test_opentelemetry_replaces_the_application_class(monkeypatch):
    import starlette.applications

    seen = []

    class Instrumented(starlette.applications.Starlette):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.add_middleware(Tracer, seen=seen)
            self._is_instrumented_by_opentelemetry = True

    monkeypatch.setattr(starlette.applications, "Starlette", Instrumented)
    from starlette.applications import Starlette

    from spica.applications import Spica

    assert Starlette is Spica is Instrumented
    assert (await get(Starlette())).status == 404
    assert seen == ["http"]
    monkeypatch.undo()
    assert starlette.applications.Starlette is not Instrumented


async def test_opentelemetry_takes_its_middleware_out_again():
    from starlette.middleware import Middleware

    seen = []
    app = make_app(Middleware(Tracer, seen=seen))
    await get(app)
    app.user_middleware = [each for each in app.user_middleware if each.cls is not Tracer]
    app.middleware_stack = app.build_middleware_stack()
    assert (await get(app)).text == "hello"
    assert seen == ["http"]


async def test_opentelemetry_wraps_the_stack_of_one_application():
    from starlette.middleware.errors import ServerErrorMiddleware

    seen = []
    app = make_app()
    old = app.build_middleware_stack

    def build():
        stack = old()
        assert isinstance(stack, ServerErrorMiddleware)
        assert stack.handler is None
        assert stack.debug is False
        stack.app = Tracer(stack.app, seen)
        return ServerErrorMiddleware(app=Tracer(stack, seen))

    app.build_middleware_stack = build
    assert (await get(app)).text == "hello"
    assert seen == ["http", "http"]


def test_applications_are_kept_in_weak_collections():
    from starlette.applications import Starlette

    app = Starlette()
    assert app in weakref.WeakSet([app])
    table = weakref.WeakKeyDictionary()
    table[app] = 1
    assert table[app] == 1
    assert hash(app) == hash(app)
