"""Edits of what is on its way out."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from asgi_kit import Exchange, call, http_scope
from stacks import ForeignPass, Stamp

from spica._asgi.scope import PENDING_EDITS
from spica._layers import editing
from spica._layers.editing import ResponseEditor, add_pending_edit, apply_pending_edits, edit_answer
from spica._layers.layer import BaseLayer
from spica.applications import Spica
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, Response
from spica.routing import Mount, Route

pytestmark = pytest.mark.anyio

SHARED = PlainTextResponse("shared")
CACHE = {"page": PlainTextResponse("cached")}


def stamp(start: Any) -> None:
    start.headers["x-edit"] = "1"
    start.status_code = 299


async def test_a_response_is_edited_at_once() -> None:
    answer = edit_answer(Response("ok"), stamp)
    assert isinstance(answer, Response)
    assert (answer.status_code, answer.headers["x-edit"]) == (299, "1")


async def test_an_opaque_app_is_edited_at_its_start() -> None:
    exchange = await call(edit_answer(ForeignPass(Response("ok")), stamp))
    assert (exchange.status, exchange.headers["x-edit"], exchange.text) == (299, "1", "ok")


async def test_a_start_without_headers_can_be_edited() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body"})

    exchange = await call(ResponseEditor(app, stamp))
    assert exchange.raw_headers == [(b"x-edit", b"1")]
    assert exchange.starts[0]["trailers"] is True


async def test_the_app_s_own_list_of_headers_is_not_changed() -> None:
    headers: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    await call(ResponseEditor(app, stamp))
    assert headers == []


@pytest.mark.parametrize("has_started", [False, True])
async def test_an_error_leaves_its_edit_only_before_the_start(has_started: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if has_started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("broken")

    scope = http_scope()
    exchange = await Exchange(scope).run(ResponseEditor(app, stamp))
    assert repr(exchange.error) == "ValueError('broken')"
    assert scope.get(PENDING_EDITS, []) == ([] if has_started else [stamp])


class TestSharedResponses:
    """What a layer adds for one client must not reach the next."""

    async def count_stamps(self, endpoint: Any, *layers: Any) -> list[int]:
        app = Spica(routes=[Route("/", endpoint)], middleware=list(layers))
        counts = []
        for _ in range(3):
            exchange = await call(app)
            counts.append(sum(name.startswith(b"x-") for name, _ in exchange.raw_headers))
        return counts

    async def module_constant(self, request: Request) -> Response:
        return SHARED

    async def entry_of_a_cache(self, request: Request) -> Response:
        return CACHE["page"]

    async def local_of_a_closure(self, request: Request) -> Response:
        return self.kept

    def in_a_thread(self, request: Request) -> Response:
        return SHARED

    kept = PlainTextResponse("kept")
    endpoints = ("module_constant", "entry_of_a_cache", "local_of_a_closure", "in_a_thread")

    @pytest.mark.parametrize("name", endpoints)
    async def test_edits_of_a_layer_stay_with_one_request(self, name: str) -> None:
        layers = [Middleware(Stamp, "one"), Middleware(Stamp, "two")]
        assert await self.count_stamps(getattr(self, name), *layers) == [2, 2, 2]

    @pytest.mark.parametrize("name", endpoints)
    async def test_edits_of_a_dispatch_function_stay_with_one_request(self, name: str) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers.append("x-dispatch", "1")
            return response

        layer = Middleware(BaseHTTPMiddleware, dispatch=dispatch)
        assert await self.count_stamps(getattr(self, name), layer, layer) == [2, 2, 2]

    async def test_a_response_kept_by_a_dispatch_function_stays_as_it_was(self) -> None:
        kept: list[Any] = []

        async def cache(request: Request, call_next: Any) -> Any:
            if not kept:
                kept.append(await call_next(request))
            return kept[0]

        async def endpoint(request: Request) -> Response:
            return PlainTextResponse("new")

        layers = [Middleware(Stamp, "one"), Middleware(BaseHTTPMiddleware, dispatch=cache)]
        assert await self.count_stamps(endpoint, *layers) == [1, 1, 1]

    async def test_a_response_of_a_handler_stays_as_it_was(self) -> None:
        async def handler(request: Request, exc: Exception) -> Response:
            return SHARED

        async def endpoint(request: Request) -> Response:
            raise HTTPException(404)

        app = Spica(
            routes=[Route("/", endpoint)],
            middleware=[Middleware(Stamp, "one")],
            exception_handlers={404: handler},
        )
        for _ in range(2):
            assert (await call(app)).headers["x-stamp"] == "one"

    async def test_a_mounted_response_stays_as_it_was(self) -> None:
        app = Spica(routes=[Mount("/", app=SHARED)], middleware=[Middleware(Stamp, "one")])
        for _ in range(2):
            assert (await call(app)).headers["x-stamp"] == "one"

    async def test_a_default_of_a_subclass_with_slots_of_its_own_is_copied_whole(self) -> None:
        class Mine(PlainTextResponse):
            __slots__ = ("extra",)

        mine = Mine("mine")
        mine.extra = 1

        async def endpoint(request: Request) -> Response:
            return mine

        app = Spica(routes=[Route("/", endpoint)], middleware=[Middleware(Stamp, "one")])
        assert (await call(app)).text == "mine"
        assert "x-stamp" not in mine.headers


class TestErrorPages:
    """An error page without the headers of the layers around it could not even be read."""

    async def fail(self, request: Request) -> Response:
        raise ValueError("endpoint")

    async def test_the_500_gets_the_edits_of_the_layers_it_passed(self) -> None:
        app = Spica(
            routes=[Route("/", self.fail)],
            middleware=[Middleware(Stamp, "outer"), Middleware(Stamp, "inner")],
        )
        exchange = await Exchange().run(app)
        assert (exchange.status, exchange.headers["x-stamp"]) == (500, "inner, outer")
        assert repr(exchange.error) == "ValueError('endpoint')"

    async def test_also_through_layers_of_others(self) -> None:
        app = Spica(
            routes=[Route("/", self.fail)],
            middleware=[
                Middleware(Stamp, "outer"),
                Middleware(ForeignPass),
                Middleware(Stamp, "inner"),
            ],
        )
        exchange = await Exchange().run(app)
        assert exchange.headers["x-stamp"] == "inner, outer"

    async def test_also_where_a_middleware_inside_has_failed(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            raise HTTPException(403)

        app = Spica(
            middleware=[
                Middleware(Stamp, "outer"),
                Middleware(BaseHTTPMiddleware, dispatch=dispatch),
            ],
        )
        exchange = await Exchange().run(app)
        assert (exchange.status, exchange.headers["x-stamp"]) == (403, "outer")
        assert exchange.error is None

    @pytest.mark.parametrize("foreign", [False, True], ids=["by value", "by messages"])
    @pytest.mark.parametrize("place", ["route", "mount"])
    async def test_also_below_a_route_where_the_exception_layer_answers(
        self, place: str, foreign: bool
    ) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            raise HTTPException(403)

        layers: list[Any] = [
            Middleware(Stamp, "outer"),
            *([Middleware(ForeignPass)] if foreign else []),
            Middleware(BaseHTTPMiddleware, dispatch=dispatch),
        ]
        route: Any = Route("/", self.fail, middleware=layers)
        if place == "mount":
            route = Mount("/", routes=[Route("/", self.fail)], middleware=layers)
        app = Spica(routes=[route], middleware=[Middleware(Stamp, "application")])
        exchange = await Exchange().run(app)
        assert (exchange.status, exchange.headers["x-stamp"]) == (403, "outer, application")
        assert exchange.error is None

    async def test_what_a_handler_keeps_for_all_is_not_edited(self) -> None:
        async def dispatch(request: Request, call_next: Any) -> Any:
            raise HTTPException(403)

        async def handler(request: Request, exc: Exception) -> Response:
            return SHARED

        layers: list[Any] = [
            Middleware(Stamp, "one"),
            Middleware(BaseHTTPMiddleware, dispatch=dispatch),
        ]
        app = Spica(
            routes=[Route("/", self.fail, middleware=layers)], exception_handlers={403: handler}
        )
        for _ in range(2):
            assert (await call(app)).headers["x-stamp"] == "one"
        assert "x-stamp" not in SHARED.headers

    async def test_an_answer_of_a_handler_is_edited_once(self) -> None:
        async def handler(request: Request, exc: Exception) -> Response:
            return PlainTextResponse("handled")

        app = Spica(
            routes=[Route("/", self.fail)],
            middleware=[Middleware(Stamp, "one")],
            exception_handlers={ValueError: handler},
        )
        assert (await call(app)).headers["x-stamp"] == "one"

    async def test_an_exception_that_is_caught_leaves_no_edits_behind(self) -> None:
        async def catch(request: Request, call_next: Any) -> Any:
            try:
                return await call_next(request)
            except ValueError:
                return PlainTextResponse("caught")

        app = Spica(
            routes=[Route("/", self.fail)],
            middleware=[
                Middleware(Stamp, "outer"),
                Middleware(BaseHTTPMiddleware, dispatch=catch),
                Middleware(Stamp, "inner"),
            ],
        )
        exchange = await call(app)
        assert (exchange.text, exchange.headers["x-stamp"]) == ("caught", "outer")

    async def test_edits_are_applied_once(self) -> None:
        request = Request(http_scope())
        add_pending_edit(request, stamp)
        first = apply_pending_edits(request.scope, Response())
        second = apply_pending_edits(request.scope, Response())
        assert isinstance(first, Response)
        assert isinstance(second, Response)
        assert (first.status_code, second.status_code) == (299, 200)

    async def test_an_opaque_answer_of_the_handler_for_500_is_edited_too(self) -> None:
        async def handler(request: Request, exc: Exception) -> Any:
            return ForeignPass(PlainTextResponse("handled", status_code=500))

        app = Spica(
            routes=[Route("/", self.fail)],
            middleware=[Middleware(Stamp, "one")],
            exception_handlers={500: handler},
        )
        exchange = await Exchange().run(app)
        assert (exchange.text, exchange.headers["x-stamp"]) == ("handled", "one")

    async def test_an_edit_that_fails_does_not_take_the_page_away(self) -> None:
        def fail(start: Any) -> None:
            raise KeyError("edit")

        class Leave(BaseLayer):
            def __init__(self, app: Any) -> None:
                self.app = app

            async def _layer_respond(self, request: Request) -> Any:
                add_pending_edit(request, fail)
                return await self._layer_inner.respond(request)

        layers: list[Any] = [
            Middleware(Stamp, "outer"),
            Middleware(Leave),
            Middleware(Stamp, "inner"),
        ]
        app = Spica(routes=[Route("/", self.fail)], middleware=layers)
        exchange = await Exchange().run(app)
        assert (exchange.status, exchange.text) == (500, "Internal Server Error")
        assert exchange.headers["x-stamp"] == "inner, outer"
        assert isinstance(exchange.error, ExceptionGroup)
        assert [repr(error) for error in exchange.error.exceptions] == [
            "ValueError('endpoint')",
            "KeyError('edit')",
        ]


def test_the_counts_of_this_interpreter_pass_the_self_test() -> None:
    here, in_function = editing.calibrate()
    assert 0 < here <= in_function < 5


def test_an_interpreter_that_counts_no_holders_always_copies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(editing, "getrefcount", lambda value: 2)
    assert editing.calibrate() == (0, 0)


def test_an_unknown_interpreter_always_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "implementation", SimpleNamespace(name="unknown"))
    assert editing.calibrate() == (0, 0)


def test_cpython_without_the_gil_always_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert editing.calibrate() == (0, 0)
