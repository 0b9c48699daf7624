"""Run the lifespans of an application, from the server's startup to its shutdown.

The lifespans of an application start first, then those of its mounted applications, in the order of the
routes and from the outside in. They end in reverse. If one fails to start, the run ends those that have
started. If one fails to end, the run still ends the others.

Standard: ASGI lifespan specification 2.0.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

import anyio

from spica._asgi.scope import IN_LIFESPAN
from spica.routing.base import is_stand_in
from spica.routing.lifespan.foreign import ForeignLifespan
from spica.routing.lifespan.mounted import (
    build_applications_below,
    link_applications_below,
    locate,
    mounted_app,
    open_tasks,
    router_of,
)
from spica.routing.lifespan.own import (
    LifespanContext,
    OwnLifespan,
    describe_lifespan,
    entered_by_hand,
    merge_state,
    open_context,
)
from spica.routing.mounts import AppRoute

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from spica.shutdown import Shutdown
    from spica.tasks import Tasks
    from spica.types import ASGIApp, Message, Receive, Scope, Send

MAX_STARTUP_SECONDS = 3600.0
"""The default time limit for one lifespan to start, in seconds: an hour.

It is long, because lifespans migrate databases and load models, and an application whose start is cut short
never serves. A start that hangs still ends."""

MAX_SHUTDOWN_SECONDS = 300.0
"""The default time limit for one lifespan to end, in seconds: five minutes.

Supervisors and container hosts kill a server earlier. The limit lets the other lifespans end, and the error
names the one that hangs."""


def check_seconds(seconds: float | None, place: str) -> float | None:
    """Return a time limit in seconds, or None for no limit.

    Raises:
        ValueError: The limit is 0 or negative.
        TypeError: The limit is not a number.
    """
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{place} must be a number of seconds or None, not {seconds!r:.80}.")
    if not seconds > 0:
        raise ValueError(f"{place} must be more than 0 seconds, or None for no limit: {seconds!r}.")
    return seconds


async def run_lifespan(router: Any, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the lifespan messages: start at startup, end at shutdown.

    The state that the router's own lifespans yield becomes the state of each request. When all lifespans have
    started, the layers of mounted applications are built. The server gets a failure with its traceback, and
    the error is raised.

    Raises:
        RuntimeError: A lifespan yields state, but the server does not support it.
        TimeoutError: A lifespan takes longer than its limit.
    """
    app = scope.get("app")
    if not hasattr(type(app), "readiness_delay_seconds"):  # a router that is served by itself
        await _run_lifespan(router, app, scope, receive, send, None)
        return
    from spica.shutdown import shutdown_of  # now, so that a program without a server never loads it

    shutdown = shutdown_of(app)
    chain = shutdown._open()
    try:
        await _run_lifespan(router, app, scope, receive, send, shutdown)
    finally:
        shutdown._close(chain)


async def _run_lifespan(
    router: Any, app: Any, scope: Scope, receive: Receive, send: Send, shutdown: Shutdown | None
) -> None:
    has_started = False
    await receive()
    run = LifespanRun(router, app)
    tasks = open_tasks(router, app)
    try:
        try:
            if getattr(app, "debug", False):
                from spica.routing.reachability import warn_of_routes

                warn_of_routes(router.routes)
            state = await run.start()
            build_applications_below(router)  # only now: a lifespan may have added middleware
            if tasks is not None:
                open_tasks(router, app)  # a lifespan may have mounted applications
                tasks.begin()
            if shutdown is not None:
                link_applications_below(app)
            if state is not None:
                _share_state(state, scope)
            await send({"type": "lifespan.startup.complete"})
            has_started = True
            await receive()
        except BaseException as exc:
            await _end(run, tasks, exc, 0)
            if not has_started:
                raise
        else:
            error = None if shutdown is None else await _drain(shutdown)
            seconds = None if shutdown is None else shutdown.deadline()
            await _end(run, tasks, error, seconds, shutdown)
    except BaseException:
        import traceback

        kind = "shutdown" if has_started else "startup"
        await send({"type": f"lifespan.{kind}.failed", "message": traceback.format_exc()})
        raise
    await send({"type": "lifespan.shutdown.complete"})


async def _drain(shutdown: Shutdown) -> BaseException | None:
    """End the streams, and return the error of a function that runs after them, or a cancellation."""
    try:
        await shutdown.finish()
    except BaseException as exc:
        return exc
    return None


async def _end(
    run: LifespanRun,
    tasks: Tasks | None,
    error: BaseException | None,
    seconds: float | None,
    shutdown: Shutdown | None = None,
) -> None:
    """End the tasks within ``seconds``, then the lifespans, which the tasks may use."""
    try:
        if tasks is not None:
            # A cancel scope loads the backend of AnyIO, so open none if no task delays the end.
            with nullcontext() if shutdown is None or not len(tasks) else shutdown._waiting():
                await (tasks.aclose() if seconds is None else tasks.aclose(seconds))
    finally:
        await run.end(error)


def _share_state(state: dict[str, Any], scope: Scope) -> None:
    if "state" not in scope:
        raise RuntimeError('The server does not support "state" in the lifespan scope.')
    scope["state"].update(state)


class _Surroundings:
    """The settings for the lifespans of one application: its location, whether they run, and for how long."""

    __slots__ = ("place", "prefix", "runs_mounted", "shutdown_seconds", "startup_seconds")

    def __init__(self, router: Any) -> None:
        self.place = ""
        self.prefix = ""
        own: bool | None = getattr(router, "mounted_lifespans", None)
        # Starlette does not run mounted lifespans, so packages for Starlette start them by hand.
        self.runs_mounted = not is_stand_in() if own is None else own
        self.startup_seconds: float | None = getattr(router, "max_startup_seconds", None)
        self.shutdown_seconds: float | None = getattr(router, "max_shutdown_seconds", None)

    def below(self, route: AppRoute, router: Any) -> _Surroundings:
        """Return the settings for an application that is mounted here."""
        inner = _Surroundings(router)
        inner.startup_seconds = _shorter(inner.startup_seconds, self.startup_seconds)
        inner.shutdown_seconds = _shorter(inner.shutdown_seconds, self.shutdown_seconds)
        if getattr(router, "mounted_lifespans", None) is None:
            inner.runs_mounted = self.runs_mounted
        inner.prefix, place = locate(route, self.prefix)
        inner.place = f" of the application {place}"
        return inner


def _shorter(own: float | None, outer: float | None) -> float | None:
    return min((limit for limit in (own, outer) if limit is not None), default=None)


class LifespanRun:
    """One run of the lifespans of a router and of all applications below it."""

    def __init__(self, router: Any, app: Any) -> None:
        self._router = router
        self._app = app
        self._steps: list[_Step] = []
        self._by_hand: set[int] = set()
        self._states: dict[
            int, dict[str, Any] | None
        ] = {}  # by the id of a started router or foreign app
        self._overlays: list[tuple[AppRoute, dict[str, Any]]] = []

    async def start(self) -> dict[str, Any] | None:
        """Start all lifespans, and return the state of the router's own.

        If one fails, its error is raised with a note that names it. Call ``end`` with this error.
        """
        token = entered_by_hand.set(self._by_hand)
        in_lifespan = IN_LIFESPAN.set(True)
        try:
            here = _Surroundings(self._router)
            return await self._start_router(self._router, self._app, here)
        finally:
            IN_LIFESPAN.reset(in_lifespan)
            entered_by_hand.reset(token)

    async def _start_router(
        self, router: Any, app: Any, here: _Surroundings
    ) -> dict[str, Any] | None:
        state: dict[str, Any] | None = None
        self._states[id(router)] = None
        if id(router) not in self._by_hand:
            for function in _functions_of(router):
                state = merge_state(state, await self._start_one(function, app, here), function)
            self._states[id(router)] = state
        for route in list(getattr(router, "routes", ())):
            if isinstance(route, AppRoute):
                await self._start_mounted(route, app, here)
        return state

    async def _start_one(self, function: LifespanContext, app: Any, here: _Surroundings) -> Any:
        step = _Step(function, here, app if function is ForeignLifespan else function)
        state = await step.start(app)
        self._steps.append(step)
        return state

    async def _start_mounted(self, route: AppRoute, app: Any, outer: _Surroundings) -> None:
        mounted = mounted_app(route)
        router, owner = router_of(mounted)
        is_wanted = route.lifespan
        if is_wanted is None:
            is_wanted = outer.runs_mounted and router is not None
        if not is_wanted:
            return
        key = id(mounted if router is None else router)
        if key not in self._states:
            here = outer.below(route, router)
            if router is None:
                self._states[key] = await self._start_one(ForeignLifespan, mounted, here)
            else:
                # A router without its own application belongs to the outer application.
                await self._start_router(router, app if owner is router else owner, here)
        state = self._states[key]
        if state:
            route._lifespan_states = (*route._lifespan_states, state)
            self._overlays.append((route, state))

    async def end(self, error: BaseException | None) -> None:
        """End the started lifespans, in reverse.

        Each lifespan ends as at a shutdown, even if another one has failed. Only a cancellation is thrown
        into them; if one suppresses it, the others end normally.

        Args:
            error: The reason to end, or None at an ordinary shutdown.

        Raises:
            Exception: ``error`` or the error of a lifespan. Several errors form an ExceptionGroup.
        """
        while self._overlays:
            route, state = self._overlays.pop()
            route._lifespan_states = tuple(
                [other for other in route._lifespan_states if other is not state]
            )
        failures = [error] if isinstance(error, Exception) else []
        thrown = None if failures else error
        while self._steps:
            try:
                if await self._steps.pop().end(thrown):
                    thrown = None
            except Exception as exc:
                failures.append(exc)
                thrown = None
            except BaseException as exc:
                thrown = exc
        _raise(thrown, failures)


def _raise(cancellation: BaseException | None, failures: list[Exception]) -> None:
    if cancellation is not None:
        if failures:
            import logging

            for failure in failures:
                logging.getLogger("spica.lifespan").error("A lifespan failed", exc_info=failure)
        raise cancellation
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ExceptionGroup("Several lifespans failed", failures)


def _functions_of(router: Any) -> tuple[LifespanContext, ...]:
    context = router.lifespan_context
    # A subclass of Router may define `lifespan_context` itself.
    own = isinstance(context, OwnLifespan) and context.router is router
    return context.functions if own else (context,)


class _Step:
    """One lifespan with its time limits, from its start to its end.

    The cancel scope stays open all this time, because scopes must be left in reverse order, and a lifespan
    may keep a task group open. Only while the lifespan starts or ends does the scope have a deadline.
    """

    def __init__(self, function: LifespanContext, here: _Surroundings, source: Any) -> None:
        self._function = function
        self._here = here
        self._source = source  # named in error messages
        self._context: AbstractAsyncContextManager[Any]
        self._scope: anyio.CancelScope | None = None

    async def start(self, app: Any) -> Any:
        """Enter the lifespan, and return the value that it yields."""
        here = self._here
        if here.startup_seconds is not None or here.shutdown_seconds is not None:
            self._scope = anyio.CancelScope()
            self._scope.__enter__()
        self._set_deadline(here.startup_seconds)
        try:
            self._context = open_context(self._function, app)
            state = await self._context.__aenter__()
        except BaseException as exc:
            self._fail(exc, "startup", here.startup_seconds)
        self._set_deadline(None)
        return state

    async def end(self, thrown: BaseException | None) -> bool:
        """Leave the lifespan, and return whether it suppressed ``thrown``."""
        seconds = self._here.shutdown_seconds
        self._set_deadline(seconds)
        try:
            is_taken = await self._context.__aexit__(
                None if thrown is None else type(thrown),
                thrown,
                None if thrown is None else thrown.__traceback__,
            )
            if thrown is not None and not is_taken:
                raise thrown
        except BaseException as exc:
            self._fail(exc, "shutdown", seconds)
        if self._scope is not None:
            self._scope.__exit__(None, None, None)
        return thrown is not None

    def _set_deadline(self, seconds: float | None) -> None:
        if self._scope is not None:
            self._scope.deadline = math.inf if seconds is None else anyio.current_time() + seconds

    def _fail(self, error: BaseException, phase: str, seconds: float | None) -> NoReturn:
        """Raise ``error`` with a note that names the lifespan, or a TimeoutError after the time limit."""
        where = f"the {phase} of the lifespan {describe_lifespan(self._source)}{self._here.place}"
        is_late = self._scope is not None and self._scope.__exit__(
            type(error), error, error.__traceback__
        )
        if is_late:
            raise TimeoutError(
                f"{where[0].upper()}{where[1:]} took longer than {seconds:g} seconds. "
                f"Set max_{phase}_seconds to allow more."
            ) from error
        if isinstance(error, Exception):
            error.add_note(f"This was in {where}.")
        raise error


class StartupGuard:
    """Report a failed startup to the server if the app raises before it has answered.

    A server takes an app that raises before it answers ``lifespan.startup`` for an app without a lifespan,
    and serves it (ASGI lifespan specification 2.0, "Startup Failed"). An application of spica always has one,
    and would be served half-built.

    Args:
        receive: The server's ``receive``.
        send: The server's ``send``.
    """

    __slots__ = ("_has_answered", "_has_received", "_receive", "_send")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._has_received = False
        self._has_answered = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run the app."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            if not self._has_answered:
                await self._report_failure()
            raise

    async def receive(self) -> Message:
        """Return the server's next message."""
        self._has_received = True
        return await self._receive()

    async def send(self, message: Message) -> None:
        """Send ``message`` to the server."""
        self._has_answered = True
        await self._send(message)

    async def _report_failure(self) -> None:
        import traceback

        text = traceback.format_exc()
        if not self._has_received:
            await self.receive()  # the server expects an answer only after it has sent the message
        await self.send({"type": "lifespan.startup.failed", "message": text})
