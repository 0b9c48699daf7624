"""Private state of requests, and scope keys, that other packages read and write."""

import pytest
from asgi_kit import Exchange, call, websocket_scope

pytestmark = pytest.mark.anyio


def app_of(endpoint, *middleware, path="/"):
    from starlette.applications import Starlette
    from starlette.routing import Route

    methods = ["GET", "POST"]
    return Starlette(routes=[Route(path, endpoint, methods=methods)], middleware=middleware)


async def test_a_response_is_sent_by_the_private_send():  # mcp, gradio
    from starlette.responses import PlainTextResponse, Response

    class Sent(Response):
        """A response that was sent already."""

        def __init__(self):
            pass

        async def __call__(self, scope, receive, send):
            pass

    async def endpoint(request):
        await PlainTextResponse("by hand")(request.scope, request._receive, request._send)
        return Sent()

    exchange = await call(app_of(endpoint))
    assert exchange.text == "by hand"
    assert len(exchange.starts) == 1


async def test_a_class_endpoint_sends_by_the_private_send():  # mcp
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route, request_response

    async def endpoint(request):
        async def inner(scope, receive, send):
            await PlainTextResponse(await request.body())(scope, receive, send)

        return inner

    app = app_of(endpoint)
    app.routes.append(Route("/b", request_response(endpoint)))
    assert (await call(app, "POST", "/", body=b"abc")).text == "abc"
    assert (await call(app, "POST", "/b", body=b"abc")).text == "abc"


async def test_the_body_is_replaced_by_a_receive_of_ones_own():  # elastic-apm
    from starlette.responses import PlainTextResponse

    async def endpoint(request):
        first = await request.body()

        async def receive():
            return {"type": "http.request", "body": first, "more_body": False}

        request._receive = receive
        request._stream_consumed = False
        chunks = [chunk async for chunk in request.stream()]
        return PlainTextResponse(b"".join(chunks))

    assert (await call(app_of(endpoint), "POST", body=[b"ab", b"cd"])).text == "abcd"


FORM = [("content-type", "application/x-www-form-urlencoded")]


async def test_the_form_and_the_json_are_read_after_they_were_parsed():  # sentry-sdk
    from starlette.responses import JSONResponse

    async def endpoint(request):
        before = [getattr(request, "_form", None), hasattr(request, "_json")]
        if request.headers["content-type"] == "application/json":
            await request.json()
            return JSONResponse([*before, request._json])
        await request.form()
        return JSONResponse([*before, dict(request._form)])

    app = app_of(endpoint)
    exchange = await call(app, "POST", headers=FORM, body=b"a=1")
    assert exchange.json == [None, False, {"a": "1"}]
    headers = [("content-type", "application/json")]
    exchange = await call(app, "POST", headers=headers, body=b"[1]")
    assert exchange.json == [None, False, [1]]


async def test_the_form_is_written():  # fastmcp
    from starlette.datastructures import FormData
    from starlette.responses import JSONResponse

    async def endpoint(request):
        request._form = FormData({"a": "another"})
        return JSONResponse(dict(await request.form()))

    exchange = await call(app_of(endpoint), "POST", headers=FORM, body=b"a=1")
    assert exchange.json == {"a": "another"}


async def test_the_scope_says_what_was_found():  # sentry-sdk, logfire
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Mount, Route

    seen = {}

    class Look:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)
            seen.update(scope)

    async def user(request):
        return JSONResponse(request.path_params)

    app = Starlette(routes=[Mount("/m", routes=[Route("/u/{id:int}", user)])])
    app.add_middleware(Look)
    assert (await call(app, "GET", "/m/u/1")).json == {"id": 1}
    assert seen["endpoint"] is user
    assert seen["route"].path == "/u/{id:int}"
    assert seen["router"].routes == app.routes
    assert seen["app"] is app


async def test_the_session_is_an_object_of_another_package():  # starsessions
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse

    class NotLoaded(Exception):
        pass

    class Session(dict):
        def __getattribute__(self, name):
            if name == "mark_accessed":
                raise AttributeError(name)
            return super().__getattribute__(name)

        def __getitem__(self, key):
            raise NotLoaded

        def __bool__(self):
            raise NotLoaded

    class Sessions:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            scope["session"] = Session()
            await self.app(scope, receive, send)

    async def endpoint(request):
        session = request.session
        try:
            session["a"]
        except NotLoaded:
            return PlainTextResponse("not loaded")

    assert (await call(app_of(endpoint, Middleware(Sessions)))).text == "not loaded"


async def test_the_states_of_a_websocket_are_read():  # ariadne, strawberry, shiny, fasthtml
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocketState

    seen = []

    async def endpoint(websocket):
        def look():
            seen.append((websocket.client_state.name, websocket.application_state.name))

        look()
        await websocket.accept()
        look()
        await websocket.close()
        look()
        assert websocket.application_state == WebSocketState.DISCONNECTED

    app = Starlette(routes=[WebSocketRoute("/", endpoint)])
    exchange = Exchange(websocket_scope(), [{"type": "websocket.connect"}])
    await exchange.run(app)
    assert exchange.error is None
    assert seen == [
        ("CONNECTING", "CONNECTING"),
        ("CONNECTED", "CONNECTED"),
        ("CONNECTED", "DISCONNECTED"),
    ]


async def test_attributes_are_set_on_requests():  # fasthtml
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse

    async def endpoint(request):
        request.injects = ["a"]
        request.body_wrap = str.upper
        assert isinstance(request, Request)
        return PlainTextResponse(request.body_wrap(request.injects[0]))

    assert (await call(app_of(endpoint))).text == "A"


async def test_one_response_answers_many_requests():  # starlette-context
    from starlette.responses import Response

    async def endpoint(request, response=Response(status_code=400)):  # noqa: B008
        return response

    app = app_of(endpoint)
    first, second = await call(app), await call(app)
    assert (first.status, first.raw_headers) == (second.status, second.raw_headers)
    assert first.status == 400


async def test_one_response_answers_many_requests_below_a_middleware_that_edits():
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import Response

    async def count(request, call_next):
        response = await call_next(request)
        response.headers.append("x-count", "1")
        return response

    async def endpoint(request, response=Response(status_code=400)):  # noqa: B008
        return response

    app = app_of(endpoint, Middleware(BaseHTTPMiddleware, dispatch=count))
    await call(app)
    assert (await call(app)).raw_headers.count((b"x-count", b"1")) == 1
