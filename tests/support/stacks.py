"""Random stacks of layers around random endpoints, for the tests of the value path.

A stack is described by plain data (so that hypothesis can shrink it), built into an application that
notes what happens in it, and can be made opaque: every layer then runs by messages alone.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
from dataclasses import dataclass, field
from typing import Any

import anyio
from asgi_kit import Exchange, body_messages, http_scope
from hypothesis import strategies as st

from spica._layers.editing import add_pending_edit, edit_answer
from spica._layers.exception_handlers import ALREADY_STARTED
from spica._layers.layer import BaseLayer
from spica.applications import Spica
from spica.background import BackgroundTask
from spica.endpoints import HTTPEndpoint
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.body_limit import RequestBodyLimitMiddleware
from spica.requests import Request
from spica.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from spica.routing import Mount, Route, Router

# A task of asyncio lets its context be shared since Python 3.12.
CONTEXT_IS_SHARED = sys.version_info >= (3, 12)

seen_by: contextvars.ContextVar[str] = contextvars.ContextVar("seen_by", default="nobody")

SHARED = PlainTextResponse("one object for every request", headers={"x-shared": "1"})


class HandledError(Exception):
    """An exception with a handler of its own."""


async def handle_error(request: Request, exc: HandledError) -> Response:
    return PlainTextResponse(f"handled {exc.args[0]}", status_code=418)


ERRORS = {
    "http": lambda place: HTTPException(403, f"no {place}", {"x-error": place}),
    "handled": lambda place: HandledError(place),
    "value": lambda place: ValueError(place),
}


@dataclass
class Log:
    """What happened in one run."""

    tasks: list[str] = field(default_factory=list)
    context: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    shared_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    handed_over: int = 0  # iterators that responses were given
    closed: int = 0  # those whose `finally` has run
    request_headers: list[str] = field(default_factory=list)

    def task(self, name: str) -> BackgroundTask:
        return BackgroundTask(self._run, name)

    async def _run(self, name: str) -> None:
        self.tasks.append(name)


# -- layers of ours ------------------------------------------------------------------------------------


class Dispatch(BaseHTTPMiddleware):
    """A dispatch middleware that does one thing."""

    def __init__(self, app: Any, action: str, name: str, log: Log) -> None:
        super().__init__(app)
        self.action = action
        self.name = name
        self.log = log

    async def dispatch(self, request: Request, call_next: Any) -> Any:
        kind, _, option = self.action.partition(":")
        seen_by.set(f"{self.name} on the way in")
        if kind == "short":
            return PlainTextResponse("short", headers={"x-short": self.name})
        if kind == "raise_before":
            raise ERRORS[option](self.name)
        if kind == "read_request":
            self.log.bodies.append((self.name, await request.body()))
        if kind == "own_request":
            request = Request(request.scope, request.receive)
        if kind == "edit_scope":
            edit_in_place(request, self.name)
        try:
            response = await call_next(request)
        except (HandledError, ValueError) as exc:
            if kind != "catch":
                raise
            return PlainTextResponse(f"caught {exc.args}", status_code=503)
        if CONTEXT_IS_SHARED:
            self.log.context.append((self.name, seen_by.get()))
            seen_by.set(f"{self.name} on the way out")
        if kind == "raise_after":
            raise ERRORS[option](self.name)
        return await self.change(kind, response)

    async def change(self, kind: str, response: Any) -> Any:
        if kind == "edit":
            response.headers["x-edited"] = self.name
            response.headers.append("x-all", self.name)
            del response.headers["x-shared"]
        elif kind == "status":
            response.status_code = 299
        elif kind == "replace":
            return PlainTextResponse("replaced", background=self.log.task(f"own of {self.name}"))
        elif kind == "read":
            body = b"".join([_as_bytes(chunk) async for chunk in response.body_iterator])
            headers = dict(response.headers.items())
            return Response(body.swapcase(), response.status_code, headers)
        elif kind == "wrap":
            response.body_iterator = _reversed_case(response.body_iterator)
        elif kind == "restream":
            return StreamingResponse(response.body_iterator, response.status_code)
        elif kind == "task":
            response.background = self.log.task(f"set by {self.name}")
        elif kind == "opaque_answer":
            return ForeignPass(response)
        return response


def edit_in_place(request: Request, name: str) -> None:
    """Edit the header list of the scope in place, after each value that is made of it was read."""
    assert str(request.url)
    assert request.cookies is not None
    headers = request.scope["headers"]
    headers[:] = [field for field in headers if field[0] not in (b"cookie", b"host")]
    headers += [(b"cookie", b"seen=" + name.encode()), (b"host", name.encode() + b".example")]


DISPATCH_ACTIONS = [
    "edit_scope",
    "pass", "edit", "status", "replace", "read", "wrap", "restream", "task", "short", "catch",
    "read_request", "own_request", "opaque_answer",
    *(f"raise_before:{error}" for error in ERRORS),
    *(f"raise_after:{error}" for error in ERRORS),
]  # fmt: skip


async def _reversed_case(chunks: Any) -> Any:
    async with contextlib.aclosing(chunks):  # or trio warns of a generator that is left
        async for chunk in chunks:
            yield _as_bytes(chunk).swapcase()


def _as_bytes(chunk: Any) -> bytes:
    return chunk.encode() if isinstance(chunk, str) else bytes(chunk)


class Stamp(BaseLayer):
    """A layer that edits each response, also the error page made outside it."""

    def __init__(self, app: Any, name: str) -> None:
        self.app = app
        self.name = name

    async def _layer_respond(self, request: Request) -> Any:
        try:
            answer = await self._layer_inner.respond(request)
        except Exception:
            add_pending_edit(request, self.edit)
            raise
        return edit_answer(answer, self.edit)

    def edit(self, start: Any) -> None:
        start.headers.append("x-stamp", self.name)


# -- layers of others ----------------------------------------------------------------------------------


class ForeignPass:
    """A pure ASGI layer that changes nothing."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class ForeignEdit(ForeignPass):
    """A pure ASGI layer that adds a header."""

    def __init__(self, app: Any, name: str) -> None:
        super().__init__(app)
        self.name = name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def edit(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (b"x-foreign", self.name.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, edit)


class ForeignReceive(ForeignPass):
    """A pure ASGI layer that changes the body on its way in."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def upper() -> Any:
            message = await receive()
            if "body" in message:
                message = {**message, "body": message["body"].upper()}
            return message

        await self.app(scope, upper, send)


class ForeignRaise(ForeignPass):
    """A pure ASGI layer that fails before it runs its app, or after that has answered."""

    def __init__(self, app: Any, when: str, error: str) -> None:
        super().__init__(app)
        self.when = when
        self.error = error

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.when == "after":
            await self.app(scope, receive, send)
        raise ERRORS[self.error]("foreign")


class ForeignApp:
    """A foreign app that answers in two chunks, and may fail on the way."""

    def __init__(self, fails: str = "never", trailers: bool = False) -> None:
        self.fails = fails

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.fails == "before":
            raise ValueError("foreign app")
        seen_by.set("foreign app")
        headers = [(b"content-type", b"text/plain"), (b"x-all", b"foreign app")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"foreign ", "more_body": True})
        if self.fails == "midway":
            raise ValueError("foreign app")
        await send({"type": "http.response.body", "body": b"app"})


LAYERS = st.one_of(
    st.sampled_from(DISPATCH_ACTIONS).map(lambda action: ("dispatch", action)),
    st.sampled_from(
        [
            ("stamp", ""), ("limit", 5), ("limit", None),
            ("foreign", "pass"), ("foreign", "edit"), ("foreign", "receive"),
            ("raise", "before:value"), ("raise", "before:http"),
        ]
    ),
)  # fmt: skip


def make_recipe(spec: tuple[str, Any], name: str, log: Log) -> Middleware:
    kind, option = spec
    if kind == "dispatch":
        return Middleware(Dispatch, option, name, log)
    if kind == "stamp":
        return Middleware(Stamp, name)
    if kind == "limit":
        return Middleware(RequestBodyLimitMiddleware, option)
    if kind == "raise":
        return Middleware(ForeignRaise, *option.split(":"))
    if option == "edit":
        return Middleware(ForeignEdit, name)
    return Middleware(ForeignReceive if option == "receive" else ForeignPass)


# -- endpoints -----------------------------------------------------------------------------------------


class SelfSending(Response):
    """A response that brings its own way of sending."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.headers["x-sent-by"] = "itself"
        await super().__call__(scope, receive, send)


class FailingSelfSending(Response):
    """A response that fails instead of being sent."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise HandledError("while it is sent")


class Endpoint:
    """Make endpoints that answer in one of many ways."""

    def __init__(self, answer: str, reads: str, has_task: bool, log: Log) -> None:
        self.answer = answer
        self.reads = reads
        self.log = log
        self.task = log.task("of the endpoint") if has_task else None

    async def serve(self, request: Request) -> Any:
        self.log.context.append(("endpoint", seen_by.get()))
        self.log.request_headers += [str(request.url), str(request.base_url), str(request.cookies)]
        seen_by.set("endpoint")
        if self.reads == "body":
            self.log.bodies.append(("endpoint", await request.body()))
        elif self.reads == "stream":
            async for chunk in request.stream():
                self.log.bodies.append(("endpoint", chunk))
        elif self.reads == "poll":
            gone = await request.is_disconnected()
            self.log.bodies.append(("endpoint", await request.body() + b"-gone" * gone))
        return self.make_answer()

    def serve_in_thread(self, request: Request) -> Any:
        self.log.context.append(("endpoint", seen_by.get()))
        seen_by.set("thread")
        return PlainTextResponse("from a thread", background=self.task)

    def make_answer(self) -> Any:
        kind, _, option = self.answer.partition(":")
        if kind == "raise":
            raise ERRORS[option]("endpoint")
        make = {
            "plain": lambda: PlainTextResponse("plain", background=self.task),
            "json": lambda: JSONResponse({"a": [1, "é"]}, 201, background=self.task),
            "empty": lambda: Response(status_code=204, background=self.task),
            "shared": lambda: SHARED,
            "stream": lambda: StreamingResponse(self.chunks(option), 200, background=self.task),
            "unread": lambda: StreamingResponse(self.chunks(option), 304, background=self.task),
            "sync_stream": lambda: StreamingResponse(iter(["a", b"b"]), background=self.task),
            "self_sending": lambda: SelfSending("itself", background=self.task),
            "failing_self_sending": lambda: FailingSelfSending("itself"),
            "app": lambda: ForeignApp(option),
            "none": lambda: None,
        }
        return make[kind]()

    def chunks(self, fails: str) -> Any:
        self.log.handed_over += 1
        return self._chunks(fails)

    async def _chunks(self, fails: str) -> Any:
        try:
            yield "a stream "
            if fails:
                raise ERRORS[fails]("stream")
            yield b"of two"
        finally:
            self.log.closed += 1


ANSWERS = [
    "plain", "json", "empty", "shared", "stream", "stream:value", "unread", "sync_stream",
    "self_sending", "failing_self_sending", "app:never", "app:before", "app:midway",
    "none", "raise:http", "raise:value", "raise:handled",
]  # fmt: skip


class ByHand:
    """Send a response by ``request._send``, to its end or not, and then end in one of several ways."""

    def __init__(self, what: str, where: str, has_task: bool, log: Log) -> None:
        self.extent, self.end = what.split(":")
        self.where = where
        self.task = log.task("of the endpoint") if has_task else None

    async def serve(self, request: Request) -> Any:
        seen_by.set("endpoint")
        await self.send_in_place(request._send)
        return self.finish()

    async def send_in_place(self, send: Any) -> None:
        if self.where == "here":
            await self.send_response(send)
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.send_response, send)

    async def send_response(self, send: Any) -> None:
        headers = [(b"content-type", b"text/plain"), (b"x-all", b"by hand")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"by ", "more_body": True})
        if self.extent == "whole":
            await send({"type": "http.response.body", "body": b"hand"})

    def finish(self) -> Any:
        if self.end in ERRORS:
            raise ERRORS[self.end]("by hand")
        return PlainTextResponse("second", background=self.task) if self.end == "response" else None


PRIVATE_SEND = "_send"  # not a name in the code of a function


def _hide_sending(sender: ByHand) -> Any:
    """Return an endpoint of which nothing tells in advance that it sends by itself."""

    async def serve(request: Request) -> Any:
        await sender.send_in_place(getattr(request, PRIVATE_SEND))
        return sender.finish()

    return serve


BY_HAND = [
    f"{extent}:{end}"
    for extent in ("whole", "part")
    for end in ("nothing", "response", "http", "handled", "value")
]

ENDPOINTS = st.one_of(
    st.tuples(
        st.sampled_from(["function", "class", "callable"]),
        st.sampled_from(ANSWERS),
        st.sampled_from(["nothing", "body", "stream", "poll"]),
        st.booleans(),
    ),
    st.tuples(st.just("thread"), st.just("plain"), st.just("nothing"), st.booleans()),
    st.tuples(
        st.just("foreign"), st.sampled_from(["never", "before", "midway"]), st.just(""), st.just(0)
    ),
    st.tuples(
        st.just("by_hand"),
        st.sampled_from(BY_HAND),
        st.sampled_from(["here", "child"]),
        st.booleans(),
    ),
    st.just(("nowhere", "", "", False)),
)


def make_endpoint(spec: Any, log: Log) -> Any:
    kind, answer, reads, has_task = spec
    if kind == "foreign":
        return ForeignApp(answer)
    if kind == "escaped":
        return _hide_sending(ByHand(answer, reads, bool(has_task), log))
    if kind == "by_hand":
        return ByHand(answer, reads, bool(has_task), log).serve
    endpoint = Endpoint(answer, reads, bool(has_task), log)
    if kind == "thread":
        return endpoint.serve_in_thread
    if kind == "class":

        async def post(self: Any, request: Request) -> Any:
            return await endpoint.serve(request)

        return type("Class", (HTTPEndpoint,), {"post": post})
    if kind == "callable":
        return ForeignPass(Route("/", endpoint.serve, methods=["POST"]).app)
    return endpoint.serve


# -- stacks --------------------------------------------------------------------------------------------


@dataclass
class Stack:
    """Layers at each place that has some, an endpoint, and the request's body."""

    around_app: list[Any]
    around_mount: list[Any]
    around_router: list[Any]
    around_route: list[Any]
    endpoint: Any
    chunks: list[bytes]

    @property
    def specs(self) -> list[Any]:
        return [*self.around_app, *self.around_mount, *self.around_router, *self.around_route]

    def build(self, log: Log) -> Spica:
        places: dict[str, list[Middleware]] = {}
        was_read = False
        for place in ("app", "mount", "router", "route"):
            places[place] = []
            for index, spec in enumerate(getattr(self, f"around_{place}")):
                was_read = was_read or spec == ("dispatch", "read_request")
                if was_read and spec[0] == "limit":
                    # What was read under a larger limit is refused at once on the value path, and when
                    # it is read again on the message path.
                    spec = ("limit", None)
                places[place].append(make_recipe(spec, f"{place}{index}", log))
        if any("raise_after" in spec[1] for spec in self.specs if spec[0] == "dispatch"):
            # An app that fails while it is ended, because a middleware has failed before, makes two
            # errors of one on the message path alone.
            self.endpoint = (
                self.endpoint[0],
                _without_failure(self.endpoint[1]),
                *self.endpoint[2:],
            )
        path = "/there" if self.endpoint[0] != "nowhere" else "/elsewhere"
        endpoint = make_endpoint(self.endpoint, log)
        route = Route(path, endpoint, methods=["POST"], middleware=places["route"])
        inner = Router([route], middleware=places["router"])
        return Spica(
            routes=[Mount("/mount", inner, middleware=places["mount"])],
            middleware=places["app"],
            exception_handlers={HandledError: handle_error},
        )


STACKS = st.builds(
    Stack,
    around_app=st.lists(LAYERS, max_size=4),
    around_mount=st.lists(LAYERS, max_size=1),
    around_router=st.lists(LAYERS, max_size=2),
    around_route=st.lists(LAYERS, max_size=2),
    endpoint=ENDPOINTS,
    chunks=st.lists(st.binary(max_size=4), min_size=1, max_size=3),
)


ESCAPED_STACKS = st.builds(
    Stack,
    around_app=st.lists(LAYERS, max_size=3),
    around_mount=st.lists(LAYERS, max_size=1),
    around_router=st.lists(LAYERS, max_size=1),
    around_route=st.lists(LAYERS, max_size=2),
    endpoint=st.tuples(
        st.just("escaped"),
        st.sampled_from(BY_HAND),
        st.sampled_from(["here", "child"]),
        st.just(True),
    ),
    chunks=st.just([b""]),
)
"""Stacks around an endpoint that sends by hand and that nothing gives away."""


# -- making a stack opaque -----------------------------------------------------------------------------


def make_opaque(app: Any, hide: Any) -> None:
    """Let every layer inside ``app`` run by messages: ``hide(layer)`` is put in its place."""
    if isinstance(app, Spica):
        app.middleware_stack = app.build_middleware_stack()
        _hide_inner(app, "middleware_stack", hide)
    elif isinstance(app, Router):
        for route in app.routes:
            make_opaque(route, hide)
            _hide_inner(route, "app", hide)
        _hide_inner(app, "middleware_stack", hide)
    elif "app" in getattr(app, "__dict__", ()):
        _hide_inner(app, "app", hide)


def _hide_inner(owner: Any, name: str, hide: Any) -> None:
    inner = getattr(owner, name)
    if not _is_bound_method(inner):
        make_opaque(inner, hide)
    setattr(owner, name, hide(inner))


def _is_bound_method(app: Any) -> bool:
    return hasattr(app, "__self__")


def hide_behind_foreign(layer: Any) -> Any:
    """Stand a foreign layer before ``layer``."""
    return ForeignPass(layer)


def hide_by_subclass(layer: Any) -> Any:
    """Make ``layer`` one of a subclass with a ``__call__`` of its own."""
    if not isinstance(layer, BaseLayer):
        return ForeignPass(layer)
    layer.__class__ = type(type(layer).__name__, (type(layer),), {"__call__": _run})
    return layer


async def _run(self: Any, scope: Any, receive: Any, send: Any) -> None:
    await BaseLayer.__call__(self, scope, receive, send)


# -- running one ---------------------------------------------------------------------------------------


async def observe(stack: Stack, hide: Any = None) -> dict[str, Any]:
    """Run one request through the stack and return all that can be seen of it."""
    seen_by.set("nobody")
    log = Log()
    app = stack.build(log)
    if hide is not None:
        make_opaque(app, hide)
    scope = http_scope("POST", "/mount/there")
    exchange = await Exchange(scope, body_messages(*stack.chunks)).run(app)
    return {
        "status": exchange.status,
        "headers": sorted(exchange.raw_headers),
        "body": exchange.body,
        "is_complete": exchange.is_complete,
        "errors": describe_errors(exchange.error, is_replaced(exchange.body)),
        "tasks": sorted(log.tasks),
        "context": log.context,
        "bodies": [entry for entry in log.bodies if entry[1]],
        "shared": list(SHARED.raw_headers),
        "left open": log.handed_over - log.closed,
        "request headers": log.request_headers,
    }


def describe_errors(error: BaseException | None, is_replaced: bool) -> list[tuple[str, str]]:
    """Return the errors the server saw as something that can be compared."""
    if error is None:
        return []
    if isinstance(error, BaseExceptionGroup):
        found = [describe_errors(inner, is_replaced) for inner in error.exceptions]
        return sorted(entry for entries in found for entry in entries)
    if isinstance(error, RuntimeError) and str(error).startswith(ALREADY_STARTED):
        cause = describe_errors(error.__cause__, is_replaced)
        return [("too late", text) for _, text in cause]
    if is_replaced and str(error) in ("stream", "foreign app"):
        # A stream nobody wants is not begun on the value path. On the message path it has begun, and its
        # first chunk may be on its way when its end is decided.
        return []
    return [(type(error).__name__, str(error))]


def is_replaced(body: bytes) -> bool:
    return b"stream" not in body.lower() and b"foreign" not in body.lower()


def _without_failure(answer: str) -> str:
    return answer.replace("midway", "never").replace("stream:value", "stream")
