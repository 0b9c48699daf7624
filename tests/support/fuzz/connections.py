"""Targets that send connections to the application: what ASGI allows a server, and clients at their worst.

After each of them nothing may be left: no task, no thread at work, no open file, no generator for the
garbage collector.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

import anyio
from asgi_checker import ProtocolError, checker_for
from hypothesis import strategies as st

import spica.formparsers
from fuzz import application
from fuzz.forms import multipart, urlencoded
from fuzz.parsers import json_words, nested
from fuzz.rubbish import cuts, headers, noise, split, words
from fuzz.targets import demand, target
from spica.concurrency import background_threads, endpoint_threads, file_threads
from spica.websockets import WebSocketDisconnect

HANG_SECONDS = 30
SPEC_VERSIONS = ["2.0", "2.1", "2.3", "2.4", "2.5", None]
EXTENSIONS = [
    "http.response.pathsend", "http.response.early_hint", "http.response.trailers",
    "http.response.push", "websocket.http.response", "tls", "http.response.debug",
]  # fmt: skip


@dataclass
class Connection:
    """A scope, what the server receives from the client, and when its `send` fails."""

    scope: dict[str, Any]
    messages: list[dict[str, Any]]
    layers: frozenset[str]
    is_trio: bool = False
    fails_after: int | None = None
    """Messages after which `send` raises OSError, as ASGI 2.4 has it."""
    stays: bool = True
    """Whether the client waits for the end of the answer, once all it has to say is said."""


class Broken(OSError):
    """What `send` raises once the client has left."""


class Server:
    """The server's side of one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.messages = list(connection.messages)
        self.checker = checker_for(connection.scope)
        self.sent = 0
        self.is_broken = False
        self.answered = anyio.Event()
        self.has_left = False

    async def receive(self) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        if self.messages:
            message = self.messages.pop(0)
            self.has_left = self.has_left or message["type"].endswith(".disconnect")
            return message
        if self.connection.stays and not self.has_left and not self.is_broken:
            await self.answered.wait()
        self.has_left = True
        kind = self.connection.scope["type"]
        return {"type": f"{kind}.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if self.connection.fails_after is not None and self.sent >= self.connection.fails_after:
            self.is_broken = True
            self.answered.set()
            raise Broken("the client is gone")
        self.sent += 1
        self.checker.take(message)
        status = self.checker.status
        demand(status is None or status < 500 or status == 501, "an answer of", status)
        if self.checker.is_complete or getattr(self.checker, "is_closed", False):
            self.answered.set()
        await anyio.lowlevel.checkpoint()


# -- what is left over ---------------------------------------------------------------------------------


class Spools:
    """All temporary files that forms were given since `watch` was called."""

    def __init__(self) -> None:
        self.files: list[Any] = []
        self.is_watching = False

    def open(self, **options: Any) -> Any:
        file = tempfile.SpooledTemporaryFile(**options)  # noqa: SIM115  # the form closes it
        self.files.append(file)
        return file

    def watch(self) -> None:
        self.files = []
        # The package offers this name to be replaced.
        vars(spica.formparsers)["SpooledTemporaryFile"] = self.open

    def unwatch(self) -> None:
        vars(spica.formparsers)["SpooledTemporaryFile"] = tempfile.SpooledTemporaryFile


spools = Spools()


def open_descriptors() -> set[str]:
    """Return what the process has open; nothing where there is no way to know."""
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return set()
    found = set()
    for name in names:
        try:
            found.add(f"{name}: {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            pass
    return {entry for entry in found if "anon_inode" not in entry and "socket:" not in entry}


def running_tasks() -> int:
    """Count the tasks of the loop that runs."""
    if asyncio_runs():
        return len(asyncio.all_tasks())
    import trio

    return trio.lowlevel.current_statistics().tasks_living


def asyncio_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Generators:
    """Asynchronous generators that nobody has closed: the garbage collector finds them."""

    def __init__(self) -> None:
        self.left: list[str] = []

    def __enter__(self) -> Generators:
        self.hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self.note)
        return self

    def note(self, generator: Any) -> None:
        self.left.append(generator.__qualname__)
        if self.hooks.finalizer is not None:
            self.hooks.finalizer(generator)

    def __exit__(self, *exc_info: object) -> None:
        sys.set_asyncgen_hooks(*self.hooks)


async def run(connection: Connection) -> Server:
    """Run one connection, and look at what it leaves behind."""
    app: Any = application.build(connection.layers)
    app.build_middleware_stack()
    server = Server(connection)
    before, tasks = open_descriptors(), running_tasks()
    accounts = application.accounts
    accounts.promised = accounts.kept = accounts.streams = 0
    error: BaseException | None = None
    spools.watch()
    try:
        with Generators() as generators, anyio.fail_after(HANG_SECONDS):
            try:
                await app(dict(connection.scope), server.receive, server.send)
            except Exception as exc:
                error = exc
                error.__traceback__ = None if isinstance(exc, OSError) else exc.__traceback__
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
    finally:
        spools.unwatch()
    if error is not None and not is_of_the_client(error):
        raise error
    demand(running_tasks() <= tasks, "tasks are left over")
    demand(all(file.closed for file in spools.files), "files of a form are open")
    demand(open_descriptors() <= before, "files are open", open_descriptors() - before)
    demand(generators.left == [], "generators were not closed", generators.left)
    demand(accounts.streams == 0, "streams were not closed", accounts.streams)
    demand(accounts.kept == accounts.promised, "background tasks", accounts.__dict__)
    for limiter in (endpoint_threads, file_threads, background_threads):
        demand(limiter.running == 0, "threads at work", limiter.name)
    if error is None and not server.is_broken and not server.has_left:
        server.checker.finish()
    return server


def is_of_the_client(error: BaseException) -> bool:
    """Tell whether all there is to an error is that the client has left."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_of_the_client, error.exceptions))
    # An endpoint that has not asked whether its peer has left may let that pass.
    return isinstance(error, Broken | WebSocketDisconnect)


def check(connection: Connection) -> None:
    """Run one connection on its event loop."""
    backend = "trio" if connection.is_trio else "asyncio"
    anyio.run(run, connection, backend=backend)


# -- scopes and messages -------------------------------------------------------------------------------

PATHS = [
    "/", "/echo", "/json", "/form", "/forget", "/parts", "/stream", "/poll", "/download", "/blocking",
    "/reflect", "/reflect/a-b.c", "/item/1/2.5/x/y", "/uuid/0", "/to", "/file", "/teapot", "/thing",
    "/small", "/foreign/x", "/static/a.txt", "/static/", "/static", "/plain/a.txt", "/plain/.hidden",
    "/deep/er/x", "/deep/er", "/deep", "/sub", "/visits", "/secret", "/nowhere",
]  # fmt: skip
SOCKET_PATHS = [
    "/talk", "/talk/json", "/talk/json", "/talk/deny", "/talk/close", "/talk/bytes", "/talk/values/a",
    "/foreign/x", "/nowhere", "/", "/static/a.txt",
]  # fmt: skip
METHODS = [
    "GET",
    "POST",
    "HEAD",
    "OPTIONS",
    "PUT",
    "PROPFIND",
    "DELETE",
    "get",
    "BREW",
    "M-SEARCH",
    "CONNECT",
]

path_words = words(b"/", b"a", b"..", b"%2F", b"static", b"item", b"1", b".", b"-", max_size=6)
query_words = words(
    b"to=", b"mode=binary", b"&", b"=", b"name=", b"%0d%0a", b"http://a", b"a=1", max_size=6
)
raw_paths = path_words.map(lambda raw: raw.decode("utf-8", "surrogateescape"))


def paths(known: list[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.sampled_from(known),
        st.sampled_from(known),
        raw_paths.map(lambda text: "/" + text),
        st.builds(lambda path, rest: path + rest, st.sampled_from(known), raw_paths),
    )


asgi = st.sampled_from(SPEC_VERSIONS).map(
    lambda spec: {"version": "3.0"} if spec is None else {"version": "3.0", "spec_version": spec}
)
header_lists = st.one_of(
    headers,
    headers.map(lambda pairs: [list(pair) for pair in pairs]),
    headers.map(lambda pairs: [(b"host", b"example.org"), *pairs]),
)
addresses = st.sampled_from([None, ("192.0.2.1", 4000), ("::1", 4000), ("", 0), ["unix:", None]])
optional_keys: dict[str, Any] = {
    "root_path": st.sampled_from(["", "/root", "/static", "/"]),
    "client": addresses,
    "server": st.sampled_from([None, ("example.org", 80), ("::1", 443), ("/run/socket", None)]),
    "raw_path": st.one_of(st.none(), path_words.map(lambda raw: b"/" + raw)),
    "extensions": st.lists(st.sampled_from(EXTENSIONS), unique=True)
    .map(dict.fromkeys)
    .map(lambda names: {name: {} for name in names}),
    "state": st.builds(dict),
}
http_scopes = st.builds(
    lambda required, optional: {**required, **optional},
    st.fixed_dictionaries(
        {
            "type": st.just("http"),
            "asgi": asgi,
            "http_version": st.sampled_from(["1.0", "1.1", "2", "3"]),
            "method": st.one_of(st.sampled_from(["GET", "POST"]), st.sampled_from(METHODS)),
            "path": paths(PATHS),
            "query_string": query_words,
            "headers": header_lists,
        }
    ),
    st.fixed_dictionaries(
        {}, optional={**optional_keys, "scheme": st.sampled_from(["http", "https"])}
    ),
)  # fmt: skip
socket_scopes = st.builds(
    lambda required, optional: {**required, **optional},
    st.fixed_dictionaries(
        {
            "type": st.just("websocket"),
            "asgi": asgi,
            "path": paths(SOCKET_PATHS),
            "headers": header_lists,
        }
    ),
    st.fixed_dictionaries(
        {},
        optional={
            **optional_keys,
            "query_string": query_words,
            "http_version": st.sampled_from(["1.1", "2"]),
            "scheme": st.sampled_from(["ws", "wss"]),
            "subprotocols": st.lists(st.sampled_from(["chat", "x"]), max_size=2),
        },
    ),
)

NOT_TOGETHER = {"https", "reading", "opencors"}
common_layers = st.frozensets(
    st.sampled_from(sorted(set(application.LAYERS) - NOT_TOGETHER)), max_size=5
)
layers = st.one_of(
    common_layers,
    common_layers,
    common_layers.map(lambda names: names | {"reading"}),
    common_layers.map(lambda names: names - {"cors"} | {"opencors"}),
    st.just(frozenset({"https"})),
)

FORM = (b"content-type", b"multipart/form-data; boundary=b")
BODIES: dict[str, Any] = {
    "/json": (st.one_of(json_words, nested), (b"content-type", b"application/json")),
    "/form": (multipart, FORM),
    "/forget": (multipart, FORM),
    "/parts": (multipart, FORM),
}
LEFT_OUT = st.sampled_from(["", "body", "more_body"])


def body_messages(data: bytes, places: list[int], omissions: list[str], cut_off: bool) -> list[Any]:
    """Cut a body into messages; each may leave out what the specification lets it."""
    pieces = split(data, places)
    messages: list[Any] = []
    for index, piece in enumerate(pieces):
        message: Any = {"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1}
        omitted = omissions[index % len(omissions)] if omissions else ""
        if (omitted == "body" and not piece) or (
            omitted == "more_body" and not message["more_body"]
        ):
            del message[omitted]
        messages.append(message)
    if cut_off:
        messages[-1] = {"type": "http.disconnect"}
    return messages


AFTER_END = st.lists(
    st.sampled_from([{"type": "http.disconnect"}, {"type": "http.disconnect"}]), max_size=2
)


@st.composite
def requests(draw: Any) -> Connection:
    scope = draw(http_scopes)
    body: Any = st.one_of(
        st.just(b""), noise, urlencoded, st.sampled_from([b"a" * 100, b"a" * 6000])
    )
    special = BODIES.get(scope["path"])
    if special is not None and draw(st.booleans()):
        body, content_type = special
        scope = {**scope, "method": "POST", "headers": [*scope["headers"], content_type]}
    data = draw(body)
    if draw(st.booleans()):
        length = (b"content-length", b"%d" % len(data))
        scope = {**scope, "headers": [*scope["headers"], length]}
    messages = body_messages(
        data, draw(cuts), draw(st.lists(LEFT_OUT, max_size=3)), draw(st.integers(0, 4)) == 0
    )
    return Connection(
        scope=scope,
        messages=[*messages, *draw(AFTER_END)],
        layers=draw(layers),
        is_trio=draw(st.booleans()),
        fails_after=draw(st.one_of(st.none(), st.none(), st.integers(0, 4))),
        stays=draw(st.booleans()),
    )


@target("requests", requests(), is_slow=True)
def check_request(connection: Connection) -> None:
    """Requests of all kinds to an application that has one of everything."""
    check(connection)


contents: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda data: {"bytes": data}, noise),
    st.builds(
        lambda data: {"text": data.decode("utf-8", "replace")}, st.one_of(json_words, nested)
    ),
    st.builds(lambda data: {"bytes": data, "text": None}, json_words),
    st.builds(lambda text: {"bytes": None, "text": text}, st.text(max_size=8)),
)
frames = contents.map(lambda content: {"type": "websocket.receive", **content})
farewells: list[dict[str, Any]] = [
        {}, {"code": 1000}, {"code": 1001, "reason": ""}, {"code": 1006, "reason": None},
        {"code": 1005}, {"code": 4999, "reason": "é" * 100},
    ]  # fmt: skip
goodbyes = st.sampled_from(farewells).map(
    lambda content: {"type": "websocket.disconnect", **content}
)


@st.composite
def sockets(draw: Any) -> Connection:
    messages = [{"type": "websocket.connect"}, *draw(st.lists(frames, max_size=5))]
    if draw(st.booleans()):
        messages.append(draw(goodbyes))
    elif draw(st.integers(0, 5)) == 0:
        messages[1:] = [draw(goodbyes)]
    return Connection(
        scope=draw(socket_scopes),
        messages=messages,
        layers=draw(layers),
        is_trio=draw(st.booleans()),
        fails_after=draw(st.one_of(st.none(), st.none(), st.integers(0, 4))),
        # A conversation goes on until one side leaves.
        stays=False,
    )


@target("websockets", sockets(), is_slow=True)
def check_socket(connection: Connection) -> None:
    """WebSockets with any frames, which leave when they like."""
    check(connection)


@st.composite
def lifespans(draw: Any) -> Connection:
    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}}
    if draw(st.booleans()):
        scope["state"] = {}
    if draw(st.booleans()):
        scope["asgi"] = {"version": "3.0", "spec_version": "2.0"}
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    return Connection(scope, messages, draw(layers), is_trio=draw(st.booleans()))


@target("lifespan", lifespans(), is_slow=True)
def check_lifespan(connection: Connection) -> None:
    """The lifespan, with and without state."""
    server_scope = dict(connection.scope)
    if "state" in server_scope:
        connection.scope = {**server_scope, "state": {}}
        check(connection)
        demand(connection.scope["state"] == {"is_up": True}, "the state", connection.scope["state"])
    else:
        check_refused(connection)


def check_refused(connection: Connection) -> None:
    """A lifespan that has state to hand on cannot start on a server that takes none."""
    try:
        check(connection)
    except RuntimeError as error:
        demand("state" in str(error), "a reason", error)
    except ProtocolError as error:
        raise AssertionError(error) from error
