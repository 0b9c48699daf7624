"""Requests and WebSockets with sessions in a store: the session is written before anything is sent."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from session_kit import KEY, Browser, CountingStore, app_with

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.sessions import Session, SessionMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route

pytestmark = pytest.mark.anyio


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


async def show(request: Any) -> None:
    """Answer with the session."""


async def contents(store: CountingStore, cookie: str) -> str:
    return (await Browser(app_with(show, store), cookie).get()).text


class Witness:
    """Around an app, it notes what the store has when the response starts."""

    def __init__(self, app: Any, store: CountingStore) -> None:
        self.app = app
        self.store = store
        self.written: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def note(message: Any) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                self.written = [dict(e.data.fields) for e in self.store._space.records.values()]
            await send(message)

        await self.app(scope, receive, note)


async def opaque(scope: Any, receive: Any, send: Any) -> None:
    Request(scope, receive).session["a"] = 1
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"opaque"})


async def sent_by_hand(request: Any) -> None:
    request.session["a"] = 1
    await PlainTextResponse("by hand")(request.scope, request.receive, request._send)


async def value(request: Any) -> Any:
    request.session["a"] = 1
    return PlainTextResponse("value")


async def foreign(request: Any) -> Any:
    return opaque


async def streamed(request: Any) -> Any:
    request.session["a"] = 1
    return StreamingResponse(iter(["a", "b"]))


async def refused(request: Any) -> Any:
    request.session["a"] = 1
    raise HTTPException(403)


@pytest.mark.parametrize("endpoint", [value, foreign, sent_by_hand, streamed, refused])
@pytest.mark.parametrize("inside", ["nothing", "a dispatch function", "a pure ASGI layer"])
async def test_the_session_is_stored_before_the_response_starts(
    store: CountingStore, endpoint: Any, inside: str
) -> None:
    async def dispatch(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    layers = {
        "nothing": [],
        "a dispatch function": [Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
        "a pure ASGI layer": [Middleware(Pure)],
    }
    session = Middleware(SessionMiddleware, secret_key=KEY, store=store)
    app = Spica(routes=[Route("/", endpoint)], middleware=[session, *layers[inside]])
    witness = Witness(app, store)
    browser = Browser(witness)
    response = await browser.get()
    assert witness.written == [{".a": b"1"}]
    assert response.headers["vary"] == "Cookie"
    assert await contents(store, browser.cookie) == "{'a': 1}"


class Pure:
    """A layer that spica knows nothing about."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


async def test_an_unforeseen_response_by_hand_stores_the_session_all_the_same(
    store: CountingStore,
) -> None:
    """Nothing in the code of this endpoint names `_send`."""

    async def hidden(request: Any) -> Any:
        request.session["a"] = 1
        await PlainTextResponse("by hand")(request.scope, request.receive, getattr(request, NAME))

    browser = Browser(app_with(hidden, store))
    await browser.get()
    assert await contents(store, browser.cookie) == "{'a': 1}"


NAME = "_se" + "nd"


async def test_the_error_page_of_an_exception_has_the_session(store: CountingStore) -> None:
    async def fail(request: Any) -> None:
        request.session["a"] = 1
        raise ValueError

    browser = Browser(app_with(fail, store))
    with pytest.raises(ValueError):
        await browser.get()
    assert [e.data.fields for e in store._space.records.values()] == [{".a": b"1"}]


async def test_two_sessions_do_not_disturb_each_other(store: CountingStore) -> None:
    async def inner(request: Any) -> None:
        request.session["inner"] = 1

    mounted = app_with(inner, store.prefixed("inner"), session_cookie="inner")
    app = Spica(
        routes=[Mount("/", mounted)],
        middleware=[Middleware(SessionMiddleware, secret_key=KEY, store=store)],
    )
    response = await Browser(app).get()
    assert response.headers["set-cookie"].startswith("inner=")
    assert len(store._space.records) == 1


async def test_a_session_that_replaces_the_stored_one_is_written(store: CountingStore) -> None:
    async def replace(request: Any) -> None:
        request.scope["session"] = Session(b=2)

    browser = Browser(app_with(value, store))
    await browser.get()
    cookie, browser.app = browser.cookie, app_with(replace, store)
    await browser.get()
    assert browser.cookie == cookie
    assert await contents(store, cookie) == "{'b': 2}"


async def test_another_object_in_place_of_the_session_is_an_error(store: CountingStore) -> None:
    async def replace(request: Any) -> Any:
        request.scope["session"] = {"a": 1}
        return PlainTextResponse("never sent")

    with pytest.raises(TypeError, match=r"scope\['session'\] was replaced by dict"):
        await Browser(app_with(replace, store)).get()


async def test_headers_that_can_be_read_once_are_enough(store: CountingStore) -> None:
    browser = Browser(app_with(value, store))
    await browser.get()
    browser.app = app_with(show, store)
    scope = browser.scope()
    response = await browser.get()

    class Once(Browser):
        def scope(self, path: str = "/", make: Any = None) -> Any:
            return {**scope, "headers": iter(scope["headers"])}

    assert (await Once(browser.app).get()).text == response.text == "{'a': 1}"


# -- changes after the start ---------------------------------------------------------------------------


async def test_a_background_task_can_save(store: CountingStore) -> None:
    results: list[bool] = []

    async def later(session: Session) -> None:
        session["b"] = 2
        results.append(await session.save())

    async def endpoint(request: Any) -> Any:
        request.session["a"] = 1
        return PlainTextResponse("ok", background=BackgroundTask(later, request.session))

    browser = Browser(app_with(endpoint, store))
    await browser.get()
    assert results == [True]
    assert await contents(store, browser.cookie) == "{'a': 1, 'b': 2}"


async def test_a_late_change_that_nobody_saves_is_a_warning_with_its_line(
    store: CountingStore,
) -> None:
    async def later(request: Any) -> None:
        request.session["b"] = 2

    async def endpoint(request: Any) -> Any:
        return PlainTextResponse("ok", background=BackgroundTask(later, request))

    async def run() -> None:
        await Browser(app_with(endpoint, store)).get()
        gc.collect()

    with pytest.warns(RuntimeWarning, match="and then not saved") as caught:
        await run()
    assert caught[0].filename == __file__


async def test_save_returns_false_for_a_session_that_has_ended(store: CountingStore) -> None:
    results: list[bool] = []

    async def later(session: Session) -> None:
        session["b"] = 2
        await store.prefixed("session").delete(session.id_hash or "")
        results.append(await session.save())

    async def endpoint(request: Any) -> Any:
        request.session["a"] = 1
        return PlainTextResponse("ok", background=BackgroundTask(later, request.session))

    await Browser(app_with(endpoint, store)).get()
    assert results == [False]


@pytest.mark.parametrize("method", ["regenerate", "bind", "save"])
async def test_no_new_id_is_possible_after_the_start(store: CountingStore, method: str) -> None:
    errors: list[str] = []

    async def later(session: Session) -> None:
        try:
            if method == "save":
                session["new"] = 1
                await session.save()
            else:
                getattr(session, method)(*["7"] * (method == "bind"))
        except RuntimeError as error:
            errors.append(str(error))
        session.__dict__.pop("_late", None)

    async def endpoint(request: Any) -> Any:
        return PlainTextResponse("ok", background=BackgroundTask(later, request.session))

    await Browser(app_with(endpoint, store)).get()
    assert "response" in errors[0]
    assert not store._space.records


async def test_a_logout_after_the_start_ends_the_session(store: CountingStore) -> None:
    async def later(session: Session) -> None:
        session.clear()
        assert await session.save()

    async def endpoint(request: Any) -> Any:
        request.session["a"] = 1
        return PlainTextResponse("ok", background=BackgroundTask(later, request.session))

    browser = Browser(app_with(endpoint, store))
    await browser.get()
    assert await contents(store, browser.cookie) == "{}"


async def test_an_early_save_keeps_the_cookie_for_the_response(store: CountingStore) -> None:
    async def endpoint(request: Any) -> None:
        request.session["a"] = 1
        await request.session.save()
        assert store._space.records
        request.session["b"] = 2

    browser = Browser(app_with(endpoint, store))
    await browser.get()
    assert await contents(store, browser.cookie) == "{'a': 1, 'b': 2}"


# -- WebSockets ----------------------------------------------------------------------------------------


async def test_a_websocket_stores_its_session_before_it_accepts(store: CountingStore) -> None:
    async def endpoint(websocket: Any) -> None:
        websocket.session["a"] = 1
        await websocket.accept()

    app = app_with(show, store, websocket=endpoint)
    witness = Witness(app, store)
    exchange = await Browser(witness).connect()
    (accept, *_) = exchange.sent
    assert witness.written == [{".a": b"1"}]
    browser = Browser(app)
    browser.keep(dict(accept["headers"])[b"set-cookie"].decode())
    assert (await browser.get()).text == "{'a': 1}"


async def test_a_websocket_saves_what_it_changes_later(store: CountingStore) -> None:
    async def endpoint(websocket: Any) -> None:
        await websocket.accept()
        websocket.session["b"] = websocket.session["a"] + 1
        assert await websocket.session.save()

    browser = Browser(app_with(value, store, websocket=endpoint))
    await browser.get()
    await browser.connect()
    assert await contents(store, browser.cookie) == "{'a': 1, 'b': 2}"


async def test_a_websocket_that_uses_a_session_is_refused_while_the_store_is_down(
    store: CountingStore,
) -> None:
    async def endpoint(websocket: Any) -> None:
        websocket.session["b"] = 1
        await websocket.accept()

    browser = Browser(app_with(value, store, websocket=endpoint))
    await browser.get()
    store.down.add("all")
    exchange = await browser.connect()
    assert exchange.sent[0]["type"] == "websocket.http.response.start"
    assert exchange.sent[0]["status"] == 503


async def test_a_denied_handshake_has_the_cookie(store: CountingStore) -> None:
    async def endpoint(websocket: Any) -> None:
        websocket.session["a"] = 1
        await websocket.send_denial_response(PlainTextResponse("no", status_code=403))

    exchange = await Browser(app_with(show, store, websocket=endpoint)).connect()
    assert b"set-cookie" in dict(exchange.sent[0]["headers"])


async def test_the_lifespan_passes(store: CountingStore) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    layer = SessionMiddleware(app, KEY, store=store)
    await layer({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


async def test_the_layer_works_around_an_app_without_an_application(store: CountingStore) -> None:
    layer = SessionMiddleware(opaque, KEY, store=store)
    browser = Browser(layer)
    await browser.get()
    assert await contents(store, browser.cookie) == "{'a': 1}"
