"""Sessions in a signed cookie: when it is read, when it is written, and what is never lost."""

from __future__ import annotations

import copy
import json
import pickle
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope
from hostile_json import REFUSED, as_bytes
from itsdangerous import TimestampSigner

from spica._asgi.stack import Middleware
from spica.applications import Spica
from spica.background import BackgroundTask
from spica.exceptions import HTTPException
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.sessions import Session, SessionMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, Response, StreamingResponse
from spica.routing import Route, WebSocketRoute
from spica.websockets import WebSocket

pytestmark = pytest.mark.anyio

KEY = "a key for tests"
STORED = {"user": "me", "cart": [1]}
FLAGS = "httponly; samesite=lax"
Use = Callable[[Request], Any]


def make_cookie(contents: Any = None, name: str = "session") -> str:
    data = json.dumps(STORED if contents is None else contents).encode()
    return f"{name}={TimestampSigner(KEY).sign(b64encode(data)).decode()}"


def read_cookie(set_cookie: str) -> Any:
    value = set_cookie.partition("=")[2].partition(";")[0]
    return json.loads(b64decode(TimestampSigner(KEY).unsign(value)))


class Returning:
    """An endpoint that returns this response."""

    def __init__(self, response: Response) -> None:
        self.response = response

    async def answer(self, request: Request) -> Response:
        return self.response


class OpaqueApp:
    """An app that uses the session when it is run, which is after everybody was asked."""

    def __init__(self, use: Use, headers: Any = ()) -> None:
        self.use = use
        self.start = {"type": "http.response.start", "status": 200}
        if headers is not None:
            self.start["headers"] = headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.use(Request(scope, receive))
        await send(self.start)
        await send({"type": "http.response.body", "body": b""})


def app_with(use: Use, *, opaque: bool = False, **settings: Any) -> Spica:
    async def endpoint(request: Request) -> Any:
        if opaque:
            return OpaqueApp(use)
        use(request)
        return Response()

    layer = Middleware(SessionMiddleware, secret_key=KEY, **settings)
    return Spica(routes=[Route("/", endpoint)], middleware=[layer])


async def use_session(use: Use, cookie: str = "", **settings: Any) -> dict[str, str]:
    """Return what the response says beside its length."""
    headers = [("cookie", cookie)] if cookie else []
    exchange = await call(app_with(use, **settings), headers=headers)
    return {key: value for key, value in exchange.headers.items() if key != "content-length"}


async def written_by(use: Use, contents: Any = None, **settings: Any) -> Any:
    """Return the session that the response's cookie carries; None: it sets none."""
    headers = await use_session(use, make_cookie(contents), **settings)
    return read_cookie(headers["set-cookie"]) if "set-cookie" in headers else None


# -- reading -------------------------------------------------------------------------------------------


async def test_the_answer_of_an_app_without_session_is_passed_on_as_it_is() -> None:
    response = PlainTextResponse("constant")
    inner = SessionMiddleware(Spica(routes=[Route("/", Returning(response).answer)]), KEY)
    answer = await inner._layer_respond(
        Request(http_scope(headers=[("cookie", "session=garbage")]))
    )
    assert answer is response


@pytest.mark.parametrize("opaque", [False, True], ids=["a response", "an opaque app"])
async def test_an_unused_session_leaves_no_trace(opaque: bool) -> None:
    assert await use_session(lambda request: None, make_cookie(), opaque=opaque) == {}


READS: dict[str, Use] = {
    "touched": lambda request: request.session,
    "an item": lambda request: request.session["user"],
    "get": lambda request: request.scope["session"].get("user"),
    "in": lambda request: "user" in request.scope["session"],
    "length": lambda request: len(request.scope["session"]),
    "all": lambda request: dict(request.scope["session"]),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
@pytest.mark.parametrize("opaque", [False, True], ids=["a response", "an opaque app"])
async def test_a_read_session_is_told_to_caches(read: Use, opaque: bool) -> None:
    """RFC 9110 s.12.5.5."""
    assert await use_session(read, make_cookie(), opaque=opaque) == {"vary": "Cookie"}


async def test_vary_is_added_to_what_the_app_says() -> None:
    layer = SessionMiddleware(OpaqueApp(lambda r: r.session, [(b"vary", b"Accept")]), KEY)
    assert (await call(layer)).headers["vary"] == "Accept, Cookie"


@pytest.mark.parametrize(
    "see",
    [
        lambda session: dict(session),
        lambda session: {**session},
        lambda session: dict(session.items()),
        lambda session: {key: session[key] for key in session},
        lambda session: dict(zip(session.keys(), session.values(), strict=True)),
        lambda session: session.copy(),
        lambda session: session | {},
        lambda session: {} | session,
        lambda session: copy.copy(session),
        lambda session: copy.deepcopy(session),
        lambda session: pickle.loads(pickle.dumps(session)),
        lambda session: {key: session[key] for key in reversed(session)},
        lambda session: json.loads(repr(session).replace("'", '"')),
        lambda session: STORED if session == STORED else None,
        lambda session: None if session != STORED else STORED,
    ],
)
async def test_the_cookie_is_read_before_anything_is_seen(see: Any) -> None:
    seen = []
    await use_session(lambda request: seen.append(see(request.scope["session"])), make_cookie())
    assert seen == [STORED]


UNREADABLE = {
    "no cookie": "",
    "another cookie": make_cookie(name="other"),
    "garbage": "session=garbage",
    "cleared": "session=null",
    "empty": "session=",
    "another key": f"session={TimestampSigner('other').sign(b64encode(b'{}')).decode()}",
    "not base64": f"session={TimestampSigner(KEY).sign('%').decode()}",
    "not JSON": f"session={TimestampSigner(KEY).sign(b64encode(b'x')).decode()}",
    "not UTF-8": f"session={TimestampSigner(KEY).sign(b64encode(bytes([255]))).decode()}",
    "a list": make_cookie([["user", "me"]]),
    "null": f"session={TimestampSigner(KEY).sign(b64encode(b'null')).decode()}",
    **{
        name: f"session={TimestampSigner(KEY).sign(b64encode(inside)).decode()}"
        for name, document in REFUSED.items()
        if len(inside := b'{"a": ' + as_bytes(document) + b"}") < 20_000
    },
}


@pytest.mark.parametrize("cookie", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_what_is_not_our_cookie_is_an_empty_session(cookie: str) -> None:
    seen = []
    headers = await use_session(lambda request: seen.append(dict(request.session)), cookie)
    assert seen == [{}]
    assert headers == {"vary": "Cookie"}


async def test_the_session_of_a_scope_is_a_session() -> None:
    seen = []
    await use_session(lambda request: seen.append(request.scope["session"]), make_cookie())
    assert isinstance(seen[0], Session)
    assert not seen[0].accessed
    assert not seen[0].modified


# -- writing -------------------------------------------------------------------------------------------

CHANGES: dict[str, tuple[Use, Any]] = {
    "set": (lambda r: r.session.__setitem__("a", 1), {**STORED, "a": 1}),
    "set without reading": (lambda r: r.scope["session"].__setitem__("a", 1), {**STORED, "a": 1}),
    "delete": (lambda r: r.session.__delitem__("user"), {"cart": [1]}),
    "pop": (lambda r: r.session.pop("user"), {"cart": [1]}),
    "popitem": (lambda r: r.session.popitem(), {"user": "me"}),
    "setdefault": (lambda r: r.session.setdefault("a", 1), {**STORED, "a": 1}),
    "update": (lambda r: r.session.update(a=1), {**STORED, "a": 1}),
    "update in place": (lambda r: r.session.__ior__({"a": 1}), {**STORED, "a": 1}),
    "nested": (lambda r: r.session["cart"].append(2), {"user": "me", "cart": [1, 2]}),
    "marked": (lambda r: r.session.mark_modified(), STORED),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("opaque", [False, True], ids=["a response", "an opaque app"])
async def test_a_change_is_written(change: Use, expected: Any, opaque: bool) -> None:
    assert await written_by(change, opaque=opaque) == expected


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.pop("missing", None),
        lambda session: session.setdefault("user", "you"),
        lambda session: session["cart"].append(2) or session["cart"].pop(),
        lambda session: session.copy().clear(),
        lambda session: session | {"a": 1},
    ],
    ids=["pop nothing", "setdefault", "changed back", "a copy", "a union"],
)
async def test_what_changes_nothing_is_not_written(use: Any) -> None:
    assert await written_by(lambda request: use(request.session)) is None


@pytest.mark.parametrize("spacing", [(",", ":"), (", ", ": "), (" ,\n", " : ")], ids=repr)
async def test_how_the_json_was_written_makes_no_change(spacing: Any) -> None:
    data = json.dumps({"a": {"b": [1, 2.0, "é"]}}, separators=spacing).encode()
    cookie = f"session={TimestampSigner(KEY).sign(b64encode(data)).decode()}"
    assert await use_session(lambda request: request.session, cookie) == {"vary": "Cookie"}


async def test_a_nested_change_between_equal_values_is_found() -> None:
    def use(request: Request) -> None:
        request.session["flags"][0] = True

    assert str(await written_by(use, {"flags": [1]})) == "{'flags': [True]}"


async def test_a_new_session_is_set_with_its_attributes() -> None:
    headers = await use_session(lambda request: request.session.update(a=1))
    value, _, attributes = headers["set-cookie"].partition("; ")
    assert read_cookie(value) == {"a": 1}
    assert attributes == f"path=/; Max-Age=1209600; {FLAGS}"
    assert headers["vary"] == "Cookie"


@pytest.mark.parametrize(
    ("settings", "attributes"),
    [
        ({"max_age": None}, f"path=/; {FLAGS}"),
        ({"max_age": 0}, f"path=/; Max-Age=0; {FLAGS}"),
        ({"max_age": -1}, f"path=/; Max-Age=-1; {FLAGS}"),
        ({"path": "/a", "max_age": 5}, f"path=/a; Max-Age=5; {FLAGS}"),
        (
            {"same_site": "none", "https_only": True, "partitioned": True, "max_age": None},
            "path=/; httponly; samesite=none; secure; partitioned",
        ),
        ({"domain": "example.org", "max_age": None}, f"path=/; {FLAGS}; domain=example.org"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
async def test_the_attributes_follow_the_settings(settings: Any, attributes: str) -> None:
    headers = await use_session(lambda request: request.session.update(a=1), **settings)
    assert headers["set-cookie"].partition("; ")[2] == attributes


async def test_a_cleared_session_removes_the_cookie() -> None:
    headers = await use_session(lambda r: r.session.clear(), make_cookie(), path="/a")
    expected = f"session=null; path=/a; expires=Thu, 01 Jan 1970 00:00:00 GMT; {FLAGS}"
    assert headers == {"vary": "Cookie", "set-cookie": expected}


async def test_a_session_that_never_was_is_not_removed() -> None:
    assert await use_session(lambda r: r.session.clear()) == {"vary": "Cookie"}


async def test_an_empty_cookie_that_is_only_read_stays() -> None:
    assert await use_session(lambda r: r.session.get("a"), make_cookie({})) == {"vary": "Cookie"}


async def test_an_old_session_has_ended() -> None:
    seen: list[Any] = []
    app = app_with(lambda request: seen.append(dict(request.session)), max_age=-1)
    await call(app, headers=[("cookie", make_cookie())])
    assert seen == [{}]


async def test_keys_are_rotated() -> None:
    layer = SessionMiddleware(OpaqueApp(lambda r: r.session.update(a=1)), ["new", KEY])
    exchange = await call(layer, headers=[("cookie", make_cookie({"b": 2}))])
    value = exchange.headers["set-cookie"].partition("=")[2].partition(";")[0]
    assert json.loads(b64decode(TimestampSigner("new").unsign(value))) == {"b": 2, "a": 1}


async def test_a_salted_session_is_good_for_its_purpose_alone() -> None:
    seen: list[Any] = []
    shop = SessionMiddleware(OpaqueApp(lambda r: r.session.update(a=1)), KEY, salt="shop")
    cookie = (await call(shop)).headers["set-cookie"].partition(";")[0]
    for salt in ("shop", "forum", None):
        see = OpaqueApp(lambda request: seen.append(dict(request.session)))
        await call(SessionMiddleware(see, KEY, salt=salt), headers=[("cookie", cookie)])
    assert seen == [{"a": 1}, {}, {}]


async def test_an_app_may_leave_its_headers_out() -> None:
    layer = SessionMiddleware(OpaqueApp(lambda r: r.session.update(a=1), None), KEY)
    exchange = await call(layer)
    assert [name for name, _ in exchange.raw_headers] == [b"vary", b"set-cookie"]


# -- errors --------------------------------------------------------------------------------------------


async def error_of(use: Use) -> Exception:
    exchange = Exchange(http_scope())
    await exchange.run(app_with(use))
    assert exchange.status == 500
    assert "set-cookie" not in exchange.headers
    assert isinstance(exchange.error, Exception)
    return exchange.error


@pytest.mark.parametrize(("extra", "is_kept"), [(-1, True), (0, True), (1, False)])
async def test_a_cookie_has_4096_bytes_at_most(extra: int, is_kept: bool) -> None:
    """RFC 6265 s.6.1."""
    data = json.dumps({"a": "x" * 2900}, separators=(",", ":")).encode()
    size = len(TimestampSigner(KEY).sign(b64encode(data)))

    def use(request: Request) -> None:
        request.session["a"] = "x" * 2900

    # base64 makes 4 bytes of 3, so it is the name that meets the size.
    settings = {"session_cookie": "s" * (4096 + extra - size)}
    exchange = Exchange(http_scope())
    await exchange.run(app_with(use, **settings))
    assert (exchange.status == 200) == is_kept
    assert ("set-cookie" in exchange.headers) == is_kept


async def test_a_session_that_is_too_large_says_so() -> None:
    error = await error_of(lambda r: r.session.update(small=1, large="secret" * 1000))
    assert isinstance(error, ValueError)
    assert "browsers drop cookies over 4096" in str(error)
    assert "'large' (6012), 'small' (11)" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(object(), TypeError), (float("nan"), ValueError), ("\ud800", ValueError)],
    ids=["no JSON", "NaN", "a lone surrogate"],
)
async def test_what_is_no_json_is_named_by_its_key(value: Any, kind: Any) -> None:
    error = await error_of(lambda r: r.session.update(good=1, bad=[value]))
    assert type(error) is kind
    assert "session['bad'] can't be stored" in str(error)


async def test_a_replaced_session_is_written() -> None:
    def use(request: Request) -> None:
        request.scope["session"] = Session(a=1)

    assert await written_by(use) == {"a": 1}


async def test_a_session_replaced_by_an_empty_one_removes_the_cookie() -> None:
    def use(request: Request) -> None:
        request.scope["session"] = Session()

    assert (await use_session(use, make_cookie()))["set-cookie"].startswith("session=null; ")


async def test_a_session_replaced_by_something_else_is_an_error() -> None:
    error = await error_of(lambda request: request.scope.__setitem__("session", {}))
    assert str(error).startswith(
        "scope['session'] was replaced by dict. Change the existing session instead"
    )


async def test_two_layers_keep_to_their_own_cookies() -> None:
    app = OpaqueApp(lambda r: r.session.update(a=1))
    inner = SessionMiddleware(app, KEY, "inner", max_age=None)
    exchange = await call(SessionMiddleware(inner, KEY, "outer"))
    assert exchange.headers["set-cookie"].startswith("inner=")
    assert "outer" not in exchange.headers["set-cookie"]


async def test_what_was_set_before_an_error_is_kept() -> None:
    error = LookupError()

    def use(request: Request) -> None:
        request.session["a"] = 1
        raise error

    exchange = Exchange(http_scope())
    await exchange.run(app_with(use))
    assert (exchange.status, exchange.error) == (500, error)
    assert read_cookie(exchange.headers["set-cookie"]) == {"a": 1}


async def test_an_answered_exception_carries_the_cookie() -> None:
    def use(request: Request) -> None:
        request.session["a"] = 1
        raise HTTPException(403)

    exchange = await call(app_with(use))
    assert exchange.status == 403
    assert read_cookie(exchange.headers["set-cookie"]) == {"a": 1}


# -- too late ------------------------------------------------------------------------------------------


class Late:
    """Change the session when the response was made, in one of the ways there are."""

    def __init__(self, *, is_used: bool) -> None:
        self.is_used = is_used

    async def background(self, request: Request) -> Response:
        return self.answer(request, Response(background=BackgroundTask(self.change, request)))

    async def stream(self, request: Request) -> Response:
        return self.answer(request, StreamingResponse(self.chunks(request)))

    async def outside(self, request: Request) -> Response:
        return self.answer(request, Response())

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        if request.url.path == "/outside":
            await self.change(request)
        return response

    async def chunks(self, request: Request) -> Any:
        await self.change(request)
        yield b""

    def answer(self, request: Request, response: Response) -> Response:
        if self.is_used:
            request.session["before"] = 1
        return response

    async def change(self, request: Request) -> None:
        request.session.pop("user", None)
        request.session["late"] = 1


@pytest.mark.parametrize("is_used", [False, True], ids=["unused before", "written before"])
@pytest.mark.parametrize("way", ["background", "stream", "outside"])
async def test_a_change_that_comes_too_late_is_told(way: str, is_used: bool) -> None:
    late = Late(is_used=is_used)
    middleware: list[Middleware] = [
        Middleware(BaseHTTPMiddleware, dispatch=late.dispatch),
        Middleware(SessionMiddleware, secret_key=KEY),
    ]
    app = Spica(routes=[Route(f"/{way}", getattr(late, way))], middleware=middleware)
    with pytest.warns(RuntimeWarning, match="so the change is lost") as warned:
        exchange = await call(app, path=f"/{way}")
    assert len(warned) == 1
    assert warned[0].filename == __file__
    cookie = exchange.headers.get("set-cookie")
    assert (cookie and read_cookie(cookie)) == ({"before": 1} if is_used else None)


async def test_the_error_about_a_session_passes_the_layers_around_it() -> None:
    app = app_with(lambda r: r.session.update(a="x" * 5000))
    app.user_middleware.insert(0, Middleware(CORSMiddleware, allow_origins=["*"]))
    exchange = Exchange(http_scope(headers=[("origin", "https://example.org")]))
    await exchange.run(app)
    assert exchange.status == 500
    assert exchange.headers["access-control-allow-origin"] == "*"


# -- WebSockets ----------------------------------------------------------------------------------------


async def connect(use: Any, cookie: str = "") -> list[Any]:
    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    sent: list[Any] = []
    app = Spica(
        routes=[WebSocketRoute("/", use)],
        middleware=[Middleware(SessionMiddleware, secret_key=KEY)],
    )
    scope = websocket_scope(
        headers=[("cookie", cookie)] if cookie else [], extensions={"websocket.http.response": {}}
    )
    await app(scope, receive, send)
    return sent


async def test_a_websocket_reads_the_session() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        seen.append(dict(websocket.session))
        await websocket.accept(headers=[(b"a", b"b")])

    seen: list[Any] = []
    (accept,) = await connect(endpoint, make_cookie())
    assert seen == [STORED]
    assert list(accept["headers"]) == [(b"a", b"b")]


async def test_what_is_set_before_accepting_is_kept() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        websocket.session["a"] = 1
        await websocket.accept(headers=[(b"a", b"b")])
        with pytest.warns(RuntimeWarning, match="before a WebSocket is accepted"):
            websocket.session["b"] = 2
        await websocket.send_text("x")

    accept, frame = await connect(endpoint)
    assert frame == {"type": "websocket.send", "text": "x"}
    assert accept["headers"][0] == (b"a", b"b")
    assert accept["headers"][1][0] == b"set-cookie"
    assert read_cookie(accept["headers"][1][1].decode()) == {"a": 1}


async def test_what_is_set_before_denying_is_kept() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        websocket.session["a"] = 1
        await websocket.send_denial_response(PlainTextResponse("no", 403))

    start, _ = await connect(endpoint)
    assert read_cookie(dict(start["headers"])[b"set-cookie"].decode()) == {"a": 1}


async def test_an_unused_session_leaves_no_trace_in_a_handshake() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()

    (accept,) = await connect(endpoint, make_cookie())
    assert not list(accept.get("headers", ()))


async def test_the_lifespan_passes_through() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    seen: list[Any] = []
    await SessionMiddleware(app, KEY)({"type": "lifespan"}, 1, 2)  # type: ignore[arg-type]
    assert seen == [{"type": "lifespan"}]


# -- the dict ------------------------------------------------------------------------------------------

MARKS: dict[str, tuple[Any, tuple[bool, bool]]] = {
    "get": (lambda s: s.get("a"), (False, False)),
    "item": (lambda s: s["a"], (False, False)),
    "set": (lambda s: s.__setitem__("b", 1), (True, True)),
    "delete": (lambda s: s.__delitem__("a"), (True, True)),
    "clear": (lambda s: s.clear(), (True, True)),
    "pop": (lambda s: s.pop("a"), (True, True)),
    "pop nothing": (lambda s: s.pop("z", 0), (False, False)),
    "popitem": (lambda s: s.popitem(), (True, True)),
    "setdefault of a key": (lambda s: s.setdefault("a"), (False, False)),
    "setdefault of a new key": (lambda s: s.setdefault("z"), (True, True)),
    "update": (lambda s: s.update(), (True, True)),
    "in place": (lambda s: s.__ior__({}), (True, True)),
    "union": (lambda s: s | {"b": 1}, (False, False)),
    "accessed": (lambda s: s.mark_accessed(), (True, False)),
    "modified": (lambda s: s.mark_modified(), (True, True)),
}


@pytest.mark.parametrize(("use", "marks"), MARKS.values(), ids=MARKS.keys())
def test_a_session_knows_what_was_done_with_it(use: Any, marks: Any) -> None:
    session = Session({"a": 1})
    use(session)
    assert (session.accessed, session.modified) == marks


def test_taking_from_an_empty_session_changes_nothing() -> None:
    session = Session()
    with pytest.raises(KeyError):
        session.popitem()
    with pytest.raises(KeyError):
        session.pop("a")
    with pytest.raises(KeyError):
        del session["a"]
    assert not session.modified


def test_a_union_in_place_stays_a_session() -> None:
    session = same = Session(a=1)
    session |= {"b": 2}
    assert session is same
    assert session == {"a": 1, "b": 2}


def test_a_copy_has_no_part_in_the_layer() -> None:
    session = Session(a=1)
    session.mark_modified()
    twin = copy.deepcopy(session)
    assert twin == {"a": 1}
    assert type(twin) is Session
    assert not twin.modified


@pytest.mark.parametrize("max_age", ["1", 1.5, True])
def test_max_age_is_a_number_of_seconds(max_age: Any) -> None:
    with pytest.raises(TypeError, match="SessionMiddleware: max_age must be a number of seconds"):
        SessionMiddleware(Response(), KEY, max_age=max_age)


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="SessionMiddleware: secret_key is empty"):
        SessionMiddleware(Response(), "")
