"""The lifespans of an application and of what it mounts: their order, their failures, their time."""

import contextlib
import math
import sys
import warnings
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from lifespan_kit import Server

from spica.applications import Spica
from spica.exceptions import SpicaConfigurationWarning
from spica.middleware import Middleware
from spica.middleware.cors import CORSMiddleware
from spica.routing import Host, Mount, Route, Router

pytestmark = pytest.mark.anyio


class Notes(list[str]):
    """Makes lifespans that note their start and their end."""

    def lifespan(self, name: str, state: Any = None) -> Any:
        @contextlib.asynccontextmanager
        async def noted(app: Any) -> AsyncIterator[Any]:
            self.append(name)
            yield state
            self.append(f"-{name}")

        return noted

    def app(self, name: str, **options: Any) -> Spica:
        return Spica(lifespan=self.lifespan(name), **options)


@contextlib.asynccontextmanager
async def failing_start(app: Any) -> AsyncIterator[None]:
    raise ConnectionError("no database")
    yield


@contextlib.asynccontextmanager
async def failing_end(app: Any) -> AsyncIterator[None]:
    yield
    raise ConnectionError("no flush")


@contextlib.asynccontextmanager
async def other_failing_end(app: Any) -> AsyncIterator[None]:
    yield
    raise KeyError("x")


@contextlib.asynccontextmanager
async def hanging_start(app: Any) -> AsyncIterator[None]:
    await anyio.sleep_forever()
    yield


@contextlib.asynccontextmanager
async def hanging_end(app: Any) -> AsyncIterator[None]:
    yield
    await anyio.sleep_forever()


def line_of(function: Any) -> str:
    code = function.__wrapped__.__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


class TestOrder:
    async def test_mounted_ones_come_after_and_end_before(self) -> None:
        notes = Notes()
        deep = notes.app("deep")
        routes = [
            Mount("/a", notes.app("a", routes=[Mount("/deep", deep)])),
            Host("b.example", Router(lifespan=notes.lifespan("b"))),
            Mount("/c", routes=[Mount("/d", notes.app("d"))]),
        ]
        server = await Server().run(notes.app("outer", routes=routes))
        started = ["outer", "a", "deep", "b", "d"]
        assert notes == [*started, *(f"-{name}" for name in reversed(started))]
        assert server.types == ["startup.complete", "shutdown.complete"]

    async def test_a_list_runs_in_order(self) -> None:
        notes = Notes()
        lifespans = [
            notes.lifespan("a", {"a": 1}),
            notes.lifespan("b"),
            notes.lifespan("c", {"c": 3}),
        ]
        server = await Server().run(Spica(lifespan=lifespans))
        assert notes == ["a", "b", "c", "-c", "-b", "-a"]
        assert server.scope["state"] == {"a": 1, "c": 3}

    async def test_a_list_of_a_router(self) -> None:
        notes = Notes()
        await Server().run(Router(lifespan=[notes.lifespan("a"), notes.lifespan("b")]))
        assert notes == ["a", "b", "-b", "-a"]

    async def test_an_application_that_is_mounted_twice_runs_once(self) -> None:
        notes = Notes()
        inner = notes.app("inner")
        await Server().run(Spica(routes=[Mount("/a", inner), Mount("/b", inner)]))
        assert notes == ["inner", "-inner"]

    async def test_an_application_that_is_mounted_in_itself_runs_once(self) -> None:
        notes = Notes()
        app = notes.app("app")
        app.mount("/again", app)
        await Server().run(app)
        assert notes == ["app", "-app"]

    async def test_each_is_given_its_application(self) -> None:
        seen = []

        @contextlib.asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[None]:
            seen.append(app)
            yield

        inner = Spica(lifespan=lifespan)
        routes = [Mount("/a", inner), Mount("/b", Router(lifespan=lifespan))]
        outer = Spica(routes=routes, lifespan=lifespan)
        await Server().run(outer)
        assert seen == [outer, inner, outer]

    async def test_one_inside_layers_of_ours(self) -> None:
        notes = Notes()
        wrapped = CORSMiddleware(notes.app("inner"), allow_origins=["https://a.example"])
        routes = [
            Mount("/a", wrapped),
            Mount("/b", notes.app("b"), middleware=[Middleware(Passing)]),
        ]
        await Server().run(Spica(routes=routes))
        assert notes == ["inner", "b", "-b", "-inner"]

    async def test_what_a_lifespan_mounts_runs_too(self) -> None:
        notes = Notes()

        @contextlib.asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[None]:
            app.mount("/late", notes.app("late"))
            yield

        await Server().run(Spica(lifespan=lifespan))
        assert notes == ["late", "-late"]


class Passing:
    """A middleware that is not ours."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class TestByHand:
    async def test_what_is_entered_by_hand_is_not_entered_again(self) -> None:
        notes = Notes()
        inner = notes.app("inner")

        @contextlib.asynccontextmanager
        async def outer(app: Any) -> AsyncIterator[None]:
            async with inner.router.lifespan_context(inner):
                notes.append("outer")
                yield
                notes.append("-outer")

        await Server().run(Spica(lifespan=outer, routes=[Mount("/a", inner)]))
        assert notes == ["inner", "outer", "-outer", "-inner"]

    async def test_a_lifespan_that_is_borrowed_from_a_mounted_application(self) -> None:
        notes = Notes()
        inner = notes.app("inner")
        app = Spica(lifespan=inner.router.lifespan_context, routes=[Mount("/a", inner)])
        await Server().run(app)
        assert notes == ["inner", "-inner"]

    async def test_a_lifespan_that_is_put_around_the_application_s_own(self) -> None:
        notes = Notes()
        inner, app = notes.app("inner"), notes.app("app")
        before = app.router.lifespan_context

        @contextlib.asynccontextmanager
        async def around(app: Any) -> AsyncIterator[Any]:
            async with before(app) as state, inner.router.lifespan_context(inner):
                yield state

        app.router.lifespan_context = around
        app.mount("/a", inner)
        await Server().run(app)
        assert notes == ["app", "inner", "-inner", "-app"]

    async def test_what_is_mounted_in_it_still_runs(self) -> None:
        notes = Notes()
        inner = notes.app("inner", routes=[Mount("/deep", notes.app("deep"))])
        app = Spica(lifespan=inner.router.lifespan_context, routes=[Mount("/a", inner)])
        await Server().run(app)
        assert notes == ["inner", "deep", "-deep", "-inner"]

    async def test_a_run_of_its_own_does_not_count(self) -> None:
        notes = Notes()
        inner = notes.app("inner")
        async with inner.router.lifespan_context(inner):
            await Server().run(Spica(routes=[Mount("/a", inner)]))
        assert notes == ["inner", "inner", "-inner", "-inner"]

    async def test_a_list_is_entered_in_order_and_undone(self) -> None:
        notes = Notes()
        app = Spica(lifespan=[notes.lifespan("a", {"a": 1}), notes.lifespan("b", {"b": 2})])
        async with app.router.lifespan_context(app) as state:
            assert state == {"a": 1, "b": 2}
        assert notes == ["a", "b", "-b", "-a"]

    async def test_a_list_that_fails_is_undone(self) -> None:
        notes: list[str] = []

        @contextlib.asynccontextmanager
        async def first(app: Any) -> AsyncIterator[None]:
            try:
                yield
            finally:
                notes.append("undone")

        app = Spica(lifespan=[first, failing_start])
        with pytest.raises(ConnectionError):
            await app.router.lifespan_context(app).__aenter__()
        assert notes == ["undone"]


class TestSwitches:
    async def test_off_for_a_router(self) -> None:
        notes = Notes()
        inner = notes.app("a", routes=[Mount("/b", notes.app("b"))])
        app = Spica(routes=[Mount("/a", inner)], mounted_lifespans=False)
        await Server().run(app)
        assert notes == []

    async def test_off_for_a_mount(self) -> None:
        notes = Notes()
        app = Spica()
        app.mount("/a", notes.app("a"), lifespan=False)
        app.host("b.example", notes.app("b"), lifespan=False)
        app.mount("/c", notes.app("c"))
        await Server().run(app)
        assert notes == ["c", "-c"]

    async def test_on_for_a_mount(self) -> None:
        notes = Notes()
        app = Spica(mounted_lifespans=False)
        app.mount("/a", notes.app("a", routes=[Mount("/c", notes.app("c"))]), lifespan=True)
        app.mount("/b", notes.app("b"))
        await Server().run(app)
        assert notes == ["a", "-a"]

    async def test_the_setting_of_an_application_holds_for_those_below(self) -> None:
        notes = Notes()
        routes = [Mount("/b", notes.app("b", routes=[Mount("/c", notes.app("c"))]))]
        inner = Spica(routes=routes, mounted_lifespans=False)
        outer = Spica(
            routes=[Mount("/a", routes=[Mount("/d", inner)]), Mount("/e", notes.app("e"))]
        )
        await Server().run(outer)
        assert notes == ["e", "-e"]

    async def test_below_starlette_s_name_the_default_is_starlette_s(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "starlette.routing", sys.modules["spica.routing"])
        notes = Notes()
        await Server().run(Spica(routes=[Mount("/a", notes.app("a"))]))
        assert notes == []
        await Server().run(Spica(routes=[Mount("/a", notes.app("a"))], mounted_lifespans=True))
        assert notes == ["a", "-a"]

    async def test_an_app_of_another_kind_has_none_unless_it_is_asked_for(self) -> None:
        seen: list[str] = []

        async def foreign(scope: Any, receive: Any, send: Any) -> None:
            for _ in range(2):
                message = await receive()
                seen.append(message["type"])
                await send({"type": message["type"] + ".complete"})

        await Server().run(Spica(routes=[Mount("/a", foreign)]))
        assert seen == []
        await Server().run(Spica(routes=[Mount("/a", foreign, lifespan=True)]))
        assert seen == ["lifespan.startup", "lifespan.shutdown"]


class TestFailures:
    async def test_those_that_have_started_are_ended(self) -> None:
        notes = Notes()
        routes = [
            Mount("/a", notes.app("a")),
            Mount("/b", Spica(lifespan=failing_start)),
            Mount("/c", notes.app("c")),
        ]
        server = Server()
        with pytest.raises(ConnectionError):
            await server.run(notes.app("outer", routes=routes))
        assert notes == ["outer", "a", "-a", "-outer"]
        assert server.types == ["startup.failed"]

    async def test_the_error_says_which(self) -> None:
        server = Server()
        app = Spica(routes=[Mount("/v1", routes=[Mount("/b", Spica(lifespan=failing_start))])])
        with pytest.raises(ConnectionError, match="no database") as caught:
            await server.run(app)
        note = (
            f"This was in the startup of the lifespan failing_start ({line_of(failing_start)}) "
            "of the application mounted at '/v1/b'."
        )
        assert caught.value.__notes__ == [note]
        assert server.sent[0]["message"].endswith(f"ConnectionError: no database\n{note}\n")

    async def test_the_error_of_a_host_and_of_the_application_itself(self) -> None:
        with pytest.raises(ConnectionError) as caught:
            await Server().run(Spica(routes=[Host("b.example", Spica(lifespan=failing_start))]))
        assert caught.value.__notes__[0].endswith(" of the application for host 'b.example'.")
        with pytest.raises(ConnectionError) as caught:
            await Server().run(Spica(lifespan=failing_start))
        assert caught.value.__notes__[0].endswith(f"({line_of(failing_start)}).")

    async def test_a_failing_end_does_not_keep_the_others_from_ending(self) -> None:
        notes = Notes()
        routes = [Mount("/a", notes.app("a")), Mount("/b", Spica(lifespan=failing_end))]
        server = Server()
        with pytest.raises(ConnectionError, match="no flush") as caught:
            await server.run(notes.app("outer", routes=routes))
        assert notes == ["outer", "a", "-a", "-outer"]
        assert server.types == ["startup.complete", "shutdown.failed"]
        assert "the shutdown of the lifespan failing_end" in caught.value.__notes__[0]

    async def test_several_failing_ends_are_raised_together(self) -> None:
        server = Server()
        with pytest.raises(ExceptionGroup, match="Several lifespans failed") as caught:
            await server.run(Spica(lifespan=[failing_end, other_failing_end]))
        assert [type(error) for error in caught.value.exceptions] == [KeyError, ConnectionError]
        assert "no flush" in server.sent[-1]["message"]

    async def test_a_failure_while_it_is_undone_is_not_lost(self) -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await Server().run(Spica(lifespan=[other_failing_end, failing_start]))
        assert [type(error) for error in caught.value.exceptions] == [ConnectionError, KeyError]

    async def test_the_same_key_twice(self) -> None:
        notes = Notes()
        app = Spica(lifespan=[notes.lifespan("a", {"db": 1}), notes.lifespan("b", {"db": 2})])
        with pytest.raises(
            ValueError, match="yielded 'db', as an earlier one of the application did"
        ):
            await Server().run(app)
        assert notes == ["a", "b", "-b", "-a"]

    async def test_state_that_is_none(self) -> None:
        with pytest.raises(TypeError, match=r"yielded list; the state must be a mapping"):
            await Server().run(Spica(lifespan=Notes().lifespan("a", [1])))

    async def test_a_function_that_is_no_context(self) -> None:
        async def lifespan(app: Any) -> None: ...

        with pytest.raises(TypeError, match=r"returned coroutine, not an async context manager"):
            await Server().run(Spica(lifespan=lifespan))  # type: ignore[arg-type]

    @pytest.mark.parametrize("method", ["__aenter__", "__aexit__"])
    async def test_half_a_context(self, method: str) -> None:
        half = type("Half", (), {method: lambda self, *error: None})
        with pytest.raises(TypeError, match=r"returned Half, not an async context manager"):
            await Server().run(Spica(lifespan=lambda app: half()))

    async def test_a_server_that_stops_waiting(self) -> None:
        """A cancellation is thrown into each lifespan."""
        thrown: list[str] = []

        @contextlib.asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[None]:
            try:
                yield
            except BaseException as exc:
                thrown.append(type(exc).__name__)
                raise

        server = Server()
        server.messages = ["lifespan.startup"]
        with anyio.CancelScope() as scope:

            async def receive() -> Any:
                if server.messages:
                    return {"type": server.messages.pop()}
                scope.cancel()
                await anyio.sleep_forever()

            await Spica(lifespan=[lifespan, lifespan])(server.scope, receive, server.send)
        assert thrown in (["CancelledError"] * 2, ["Cancelled"] * 2)

    @pytest.mark.parametrize(
        ("has_started", "types"),
        [(False, ["startup.failed"]), (True, ["startup.complete", "shutdown.complete"])],
    )
    async def test_one_that_takes_a_cancellation_as_its_end(
        self, has_started: bool, types: list[str]
    ) -> None:
        """After the start that is a shutdown; an application that has not started must not look so."""

        class Stop(BaseException):
            pass

        @contextlib.asynccontextmanager
        async def taking(app: Any) -> AsyncIterator[None]:
            with contextlib.suppress(Stop):
                yield

        @contextlib.asynccontextmanager
        async def stopping(app: Any) -> AsyncIterator[None]:
            if not has_started:
                raise Stop
            yield

        server = Server()

        async def receive() -> Any:
            if len(server.messages) == 1:
                raise Stop
            return await server.receive()

        app = Spica(lifespan=[taking, stopping])
        with contextlib.nullcontext() if has_started else pytest.raises(Stop):
            await app(server.scope, receive, server.send)
        assert server.types == types

    async def test_failures_of_one_that_is_cancelled_are_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A cancellation is raised on; what went wrong under it would else be lost."""
        server = Server()

        @contextlib.asynccontextmanager
        async def failing(app: Any) -> AsyncIterator[None]:
            try:
                yield
            finally:
                raise ConnectionError("no flush")

        @contextlib.asynccontextmanager
        async def cancelled_again(app: Any) -> AsyncIterator[None]:
            yield
            await anyio.lowlevel.checkpoint()

        async def receive() -> Any:
            if server.messages:
                return {"type": server.messages.pop()}
            scope.cancel()
            await anyio.sleep_forever()

        server.messages = ["lifespan.startup"]
        app = Spica(lifespan=[cancelled_again, failing])
        with anyio.CancelScope() as scope:
            await app(server.scope, receive, server.send)
        assert scope.cancelled_caught
        [record] = caplog.records
        assert (record.name, record.getMessage()) == ("spica.lifespan", "A lifespan failed")
        assert record.exc_info is not None
        assert repr(record.exc_info[1]) == "ConnectionError('no flush')"

    async def test_a_task_group_that_a_lifespan_leaves_open(self) -> None:
        @contextlib.asynccontextmanager
        async def working(app: Any) -> AsyncIterator[None]:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep_forever)
                yield
                tasks.cancel_scope.cancel()

        routes = [Mount("/a", Spica(lifespan=working)), Mount("/b", Spica(lifespan=working))]
        server = await Server().run(Spica(lifespan=[working, working], routes=routes))
        assert server.types == ["startup.complete", "shutdown.complete"]

    async def test_a_task_of_a_lifespan_that_fails(self) -> None:
        async def fail() -> None:
            raise ConnectionError("lost")

        @contextlib.asynccontextmanager
        async def working(app: Any) -> AsyncIterator[None]:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail)
                yield

        class Waiting(Server):
            async def receive(self) -> Any:
                if len(self.messages) == 1:
                    await anyio.sleep_forever()
                return await super().receive()

        server, notes = Waiting(), Notes()
        with pytest.raises(ExceptionGroup) as caught:
            await server.run(Spica(lifespan=[notes.lifespan("a"), working]))
        assert caught.group_contains(ConnectionError, match="lost")
        assert notes == ["a", "-a"]
        assert server.types == ["startup.complete", "shutdown.failed"]


class TestTime:
    async def test_a_start_that_takes_too_long(self) -> None:
        notes = Notes()
        app = Spica(
            lifespan=[notes.lifespan("a"), hanging_start], max_startup_seconds=0.01, debug=True
        )
        server = Server()
        with pytest.raises(TimeoutError) as caught:
            await server.run(app)
        assert str(caught.value) == (
            f"The startup of the lifespan hanging_start ({line_of(hanging_start)}) took longer than "
            "0.01 seconds. Set max_startup_seconds to allow more."
        )
        assert notes == ["a", "-a"]
        assert server.types == ["startup.failed"]

    async def test_an_end_that_takes_too_long(self) -> None:
        notes = Notes()
        inner = Spica(lifespan=hanging_end)
        app = Spica(
            lifespan=notes.lifespan("a"), routes=[Mount("/b", inner)], max_shutdown_seconds=0.01
        )
        server = Server()
        with pytest.raises(TimeoutError) as caught:
            await server.run(app)
        assert str(caught.value) == (
            f"The shutdown of the lifespan hanging_end ({line_of(hanging_end)}) of the application "
            "mounted at '/b' took longer than 0.01 seconds. Set max_shutdown_seconds to allow more."
        )
        assert notes == ["a", "-a"]
        assert server.types == ["startup.complete", "shutdown.failed"]

    async def test_the_shorter_limit_of_those_around(self) -> None:
        inner = Spica(lifespan=hanging_start, max_startup_seconds=0.01)
        with pytest.raises(TimeoutError, match=r"0\.01 seconds"):
            await Server().run(Spica(routes=[Mount("/a", inner)]))

    async def test_there_need_be_no_limit(self) -> None:
        notes = Notes()
        app = Spica(
            lifespan=notes.lifespan("a"), max_startup_seconds=None, max_shutdown_seconds=None
        )
        await Server().run(app)
        assert notes == ["a", "-a"]

    @pytest.mark.parametrize("outer", [None, 10])
    async def test_there_need_be_none_of_an_application_that_is_mounted(
        self, outer: float | None
    ) -> None:
        notes = Notes()
        inner = notes.app("b", max_startup_seconds=None, max_shutdown_seconds=None)
        app = Spica(
            routes=[Mount("/b", inner)], max_startup_seconds=outer, max_shutdown_seconds=outer
        )
        await Server().run(app)
        assert notes == ["b", "-b"]

    async def test_the_time_between_does_not_count(self) -> None:
        """Once started, nothing runs out: the deadline is gone."""
        deadlines = []

        @contextlib.asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[None]:
            deadlines.append(anyio.current_effective_deadline())
            yield
            deadlines.append(anyio.current_effective_deadline())

        class Looking(Server):
            async def receive(self) -> Any:
                deadlines.append(anyio.current_effective_deadline())
                return await super().receive()

        await Looking().run(Spica(lifespan=lifespan))
        assert [deadline == math.inf for deadline in deadlines] == [True, False, True, False]

    @pytest.mark.parametrize("name", ["max_startup_seconds", "max_shutdown_seconds"])
    def test_what_is_no_limit(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"Router: {name} must be more than 0 seconds"):
            Spica(**{name: 0})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=f"{name} must be a number of seconds or None, not '5'"):
            Router(**{name: "5"})  # type: ignore[arg-type]


class TestWarnings:
    async def test_routes_that_are_not_reached_are_named_at_start_up(self) -> None:
        def page(request: Any) -> Any: ...

        routes = [Route("/{a}", page), Route("/a", page)]
        with pytest.warns(
            SpicaConfigurationWarning, match=r"Route\('/a'.* is never reached"
        ) as caught:
            await Server().run(Spica(debug=True, routes=routes))
        assert [(each.filename, each.lineno) for each in caught] == [
            (__file__, page.__code__.co_firstlineno)
        ]

    async def test_only_while_debugging(self) -> None:
        async def page(request: Any) -> Any: ...

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await Server().run(Spica(routes=[Route("/{a}", page), Route("/a", page)]))
            await Server().run(Spica(debug=True, routes=[Route("/a", page), Route("/b", page)]))

    async def test_a_mount_has_no_line(self) -> None:
        routes = [Mount("/a", Router()), Mount("/a", Router())]
        with pytest.warns(SpicaConfigurationWarning, match="same pattern") as caught:
            await Server().run(Spica(debug=True, routes=routes))
        assert (caught[0].filename, caught[0].lineno) == ("<routes>", 1)
