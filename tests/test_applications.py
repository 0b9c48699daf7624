"""The application: its layers, and what may be changed from outside."""

import weakref
from typing import Any

import pytest
from asgi_kit import Exchange, call, websocket_scope
from stable_ids import stable_id
from stacks import ForeignPass

from spica.applications import Spica
from spica.datastructures import State
from spica.exceptions import SpicaConfigurationWarning
from spica.middleware import Middleware
from spica.middleware.body_limit import RequestBodyLimitMiddleware
from spica.middleware.errors import ServerErrorMiddleware
from spica.middleware.exceptions import ExceptionMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse
from spica.routing import Host, Mount, Route, Router, WebSocketRoute

pytestmark = pytest.mark.anyio


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("foreign")(scope, receive, send)


class Note(ForeignPass):
    """A layer that notes that it was passed."""

    def __init__(self, app: Any, name: str = "note") -> None:
        super().__init__(app)
        self.name = name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("notes", []).append(self.name)
        await self.app(scope, receive, send)


class TestServing:
    async def test_a_request(self) -> None:
        app = Spica(routes=[Route("/", hello)])
        exchange = await call(app)
        assert (exchange.text, exchange.scope["app"]) == ("hello", app)

    async def test_a_websocket(self) -> None:
        seen = []

        async def endpoint(websocket: Any) -> None:
            seen.append(websocket.app)
            await websocket.close()

        app = Spica(routes=[WebSocketRoute("/", endpoint)])
        await Exchange(websocket_scope()).run(app)
        assert seen == [app]

    async def test_inside_another_it_is_the_app(self) -> None:
        async def which(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str(request.app is inner))

        inner = Spica(routes=[Route("/b", which)])
        outer = Spica(routes=[Mount("/a", app=inner)])
        assert (await call(outer, path="/a/b")).text == "True"

    async def test_behind_a_foreign_layer(self) -> None:
        assert (await call(ForeignPass(Spica(routes=[Route("/", hello)])))).text == "hello"


class TestStack:
    def layers(self, app: Spica) -> list[type]:
        layer: Any = app.build_middleware_stack()
        found = []
        while layer is not app.router:
            found.append(type(layer))
            layer = layer.app
        return found

    def test_the_order_of_the_layers(self) -> None:
        middleware = [Middleware(Note), Middleware(ForeignPass)]
        assert self.layers(Spica(middleware=middleware, max_body_size=1)) == [
            ServerErrorMiddleware,
            RequestBodyLimitMiddleware,
            Note,
            ForeignPass,
            ExceptionMiddleware,
        ]

    def test_without_middleware_and_limit(self) -> None:
        assert self.layers(Spica()) == [ServerErrorMiddleware, ExceptionMiddleware]

    async def test_it_is_built_at_the_first_connection_of_any_kind(self) -> None:
        for scope in ({"type": "lifespan"}, websocket_scope(), None):
            app = Spica(routes=[Route("/", hello)])
            assert app.middleware_stack is None
            exchange = Exchange(scope, [{"type": "lifespan.shutdown"}] * 2 if scope else None)
            await exchange.run(app)
            assert isinstance(app.middleware_stack, ServerErrorMiddleware)

    async def test_none_lets_it_be_built_anew(self) -> None:
        app = Spica(routes=[Route("/", hello)])
        await call(app)
        app.user_middleware.append(Middleware(Note))
        assert "notes" not in (await call(app)).scope
        app.middleware_stack = None
        assert (await call(app)).scope["notes"] == ["note"]

    async def test_another_stack_put_in(self) -> None:
        app = Spica(routes=[Route("/", hello)])
        app.middleware_stack = foreign
        assert (await call(app)).text == "foreign"

    async def test_a_layer_put_around_the_stack(self) -> None:
        app = Spica(routes=[Route("/", hello)])
        await call(app)
        stack: Any = app.middleware_stack
        stack.app = Note(stack.app)
        assert (await call(app)).scope["notes"] == ["note"]

    async def test_a_way_of_building_put_on_the_application(self) -> None:
        app = Spica(routes=[Route("/", hello)])
        born = app.build_middleware_stack

        def build() -> Any:
            stack = born()
            stack.app = Note(stack.app)  # type: ignore[attr-defined]
            return stack

        app.build_middleware_stack = build  # type: ignore[method-assign]
        assert (await call(app)).scope["notes"] == ["note"]

    async def test_a_subclass_s_way_of_building(self) -> None:
        class Own(Spica):
            def build_middleware_stack(self) -> Any:
                self.add_middleware(Note)
                return super().build_middleware_stack()

        assert (await call(Own(routes=[Route("/", hello)]))).scope["notes"] == ["note"]

    async def test_one_that_returns_nothing(self) -> None:
        class Own(Spica):
            def build_middleware_stack(self) -> Any:
                return None

        with pytest.raises(TypeError, match=r"Own\.build_middleware_stack\(\) must return an ASGI"):
            await call(Own())

    async def test_a_subclass_that_skips_init(self) -> None:
        class Own(Spica):
            def __init__(self) -> None:
                self.debug = False
                self.state = State()
                self.router = Router([Route("/", hello)])
                self.exception_handlers = {}
                self.user_middleware = []
                self.middleware_stack = None

        assert (await call(Own())).text == "hello"


class TestMiddleware:
    def test_every_layer_is_made_of_a_recipe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = []
        born = Middleware.__init__

        def tell(self: Any, cls: Any, *args: Any, **kwargs: Any) -> None:
            made.append(cls)
            born(self, cls, *args, **kwargs)

        monkeypatch.setattr(Middleware, "__init__", tell)
        Spica(middleware=[Middleware(Note)]).build_middleware_stack()
        assert sorted(cls.__name__ for cls in made) == [
            "ExceptionMiddleware",
            "Note",
            "ServerErrorMiddleware",
        ]

    async def test_the_first_is_the_outermost(self) -> None:
        app = Spica(middleware=[Middleware(Note, "a"), Middleware(Note, name="b")])
        assert (await call(app)).scope["notes"] == ["a", "b"]

    async def test_one_that_is_added_is_outside_all_others(self) -> None:
        app = Spica(middleware=[Middleware(Note, "a")])
        app.add_middleware(Note, "b")
        app.add_middleware(Note, name="c")
        assert (await call(app)).scope["notes"] == ["c", "b", "a"]

    async def test_none_is_added_while_serving(self) -> None:
        app = Spica()
        await call(app)
        with pytest.raises(RuntimeError, match="Cannot add middleware after an application has"):
            app.add_middleware(Note)

    def test_the_list_given_is_copied(self) -> None:
        middleware = [Middleware(Note)]
        app = Spica(middleware=middleware)
        app.add_middleware(Note)
        assert (len(middleware), len(app.user_middleware)) == (1, 2)

    async def test_a_function_may_make_the_layer(self) -> None:
        app = Spica(routes=[Route("/", hello)], middleware=[Middleware(lambda app: Note(app, "f"))])
        assert (await call(app)).scope["notes"] == ["f"]


class TestAttributes:
    def test_they_are_as_documented(self) -> None:
        handlers = {404: lambda request, exc: PlainTextResponse("no")}
        app = Spica(True, [Route("/", hello)], exception_handlers=handlers, max_body_size=5)
        assert (app.debug, app.max_body_size) == (True, 5)
        assert isinstance(app.state, State)
        assert isinstance(app.router, Router)
        assert app.routes is app.router.routes
        assert app.exception_handlers == handlers
        assert app.exception_handlers is not handlers

    def test_it_is_hashable_and_weakly_referenced(self) -> None:
        app = Spica()
        assert app in weakref.WeakSet([app])
        assert {app: 1}[app] == 1

    def test_attributes_can_be_set(self) -> None:
        app = Spica()
        app._is_instrumented = True  # type: ignore[attr-defined]
        assert app._is_instrumented  # type: ignore[attr-defined]

    @pytest.mark.parametrize(("limit", "error"), [(-1, ValueError), ("5", TypeError)])
    def test_a_limit_is_checked(self, limit: Any, error: Any) -> None:
        with pytest.raises(error, match="Spica: max_body_size must"):
            Spica(max_body_size=limit)


class TestAdding:
    async def test_routes_of_each_kind(self) -> None:
        app = Spica()
        app.add_route("/a", hello, methods=["POST"], name="n", include_in_schema=False)
        app.mount("/m", foreign, name="m")
        app.host("h.example.org", foreign, name="h")
        kinds = [type(route) for route in app.routes]
        assert kinds == [Route, Mount, Host]
        assert (await call(app, "POST", "/a")).text == "hello"
        assert (await call(app, path="/m/x")).text == "foreign"
        assert app.url_path_for("n") == "/a"

    async def test_handlers(self) -> None:
        async def handler(request: Request, exc: Exception) -> PlainTextResponse:
            return PlainTextResponse("handled")

        app = Spica()
        app.add_exception_handler(404, handler)
        assert (await call(app)).text == "handled"

        with pytest.warns(SpicaConfigurationWarning) as caught:
            app.add_exception_handler(405, handler)
        assert [str(found.message) for found in caught] == [
            "The application has started: a handler for 405 comes too late."
        ]
        assert caught[0].filename == __file__

    @pytest.mark.parametrize(
        ("key", "handler", "text"),
        [
            ("404", print, "is registered for a status code or an Exception class, not for '404'."),
            (print, KeyError, "is registered for a status code or an Exception class, not for "),
            (BaseException, print, "or an Exception class, not for <class 'BaseException'>."),
            (KeyError, None, "for <class 'KeyError'> must be a function, not None."),
        ],
        ids=["text", "swapped", "BaseException", "no handler"],
    )
    def test_handlers_that_are_none(self, key: Any, handler: Any, text: str) -> None:
        with pytest.raises(TypeError) as info:
            Spica(exception_handlers={key: handler})
        assert text in str(info.value)
        with pytest.raises(TypeError):
            Spica().add_exception_handler(key, handler)

    @pytest.mark.parametrize("handlers", [[hello], hello, 404], ids=stable_id)
    def test_handlers_that_are_no_mapping(self, handlers: Any) -> None:
        with pytest.raises(TypeError) as info:
            Spica(exception_handlers=handlers)
        assert str(info.value) == (
            "Spica: exception_handlers must map status codes and exception classes to functions, "
            f"not {handlers!r}. Write {{404: not_found}}."
        )

    def test_a_route_in_the_place_of_debug(self) -> None:
        with pytest.raises(
            TypeError, match=r"^Spica: debug must be True or False, not Route\(path='/'"
        ):
            Spica(Route("/", hello))  # type: ignore[arg-type]

    def test_a_list_of_routes_in_the_place_of_debug_names_the_fix(self) -> None:
        with pytest.raises(TypeError, match=r"Pass routes by name: Spica\(routes=\[\.\.\.\]\)\.$"):
            Spica([Route("/", hello)])  # type: ignore[arg-type]
