"""The run of an application's lifespans, from the server's start to its end.

The lifespans of an application come first, then those of what it mounts, in the order of the routes and
further in last; they end in reverse. Where one fails to start, those that have started are ended. Where one
fails to end, the others are ended nevertheless.

Standard: ASGI lifespan specification 2.0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn

import anyio

from spica.routing.base import is_stand_in
from spica.routing.lifespan.foreign import ForeignLifespan
from spica.routing.lifespan.mounted import (
    build_applications_below,
    locate,
    mounted_app,
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

    from spica.types import Receive, Scope, Send

MAX_STARTUP_SECONDS = 3600.0
"""How long one lifespan may take to start, by default. Long, since databases are migrated and models loaded
there, and a start that is cut short is an application that never serves; but a start that hangs does end."""

MAX_SHUTDOWN_SECONDS = 300.0
"""How long one lifespan may take to end, by default. Whoever stops a server (a supervisor, a container's
host) kills it after less; here the others are still ended, and the one that hangs is named."""


def check_seconds(seconds: float | None, place: str) -> float | None:
    """Return a time limit, in seconds; None: no limit.

    Raises:
        ValueError: it is not more than 0.
        TypeError: it is no number.
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

    What the lifespans of the router itself yield becomes the state of each request. When all have started,
    the layers of mounted applications are made. A failure is told to the server with its traceback, and
    raised.

    Raises:
        RuntimeError: a lifespan yields state, and the server has no place for it.
        TimeoutError: a lifespan takes longer than its limit.
    """
    has_started = False
    await receive()
    app = scope.get("app")
    run = LifespanRun(router, app)
    try:
        try:
            if getattr(app, "debug", False):
                from spica.routing.reachability import warn_of_routes

                warn_of_routes(router.routes)
            state = await run.start()
            build_applications_below(router)  # now: a lifespan may have added middleware to them
            if state is not None:
                _share_state(state, scope)
            await send({"type": "lifespan.startup.complete"})
            has_started = True
            await receive()
        except BaseException as exc:
            await run.end(exc)
            if not has_started:
                raise
        else:
            await run.end(None)
    except BaseException:
        import traceback

        kind = "shutdown" if has_started else "startup"
        await send({"type": f"lifespan.{kind}.failed", "message": traceback.format_exc()})
        raise
    await send({"type": "lifespan.shutdown.complete"})


def _share_state(state: dict[str, Any], scope: Scope) -> None:
    if "state" not in scope:
        raise RuntimeError('The server does not support "state" in the lifespan scope.')
    scope["state"].update(state)


class _Surroundings:
    """What holds for the lifespans at one place: its name, whether they run, and for how long."""

    __slots__ = ("place", "prefix", "runs_mounted", "shutdown_seconds", "startup_seconds")

    def __init__(self, router: Any) -> None:
        self.place = ""
        self.prefix = ""
        own: bool | None = getattr(router, "mounted_lifespans", None)
        # Where spica stands in for Starlette, packages start by hand what they mount: it never did.
        self.runs_mounted = not is_stand_in() if own is None else own
        self.startup_seconds: float | None = getattr(router, "max_startup_seconds", None)
        self.shutdown_seconds: float | None = getattr(router, "max_shutdown_seconds", None)

    def below(self, route: AppRoute, router: Any) -> _Surroundings:
        """Return what holds for an application that is mounted here."""
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
    """The lifespans of a router and of all that is mounted below it, started once and ended once."""

    def __init__(self, router: Any, app: Any) -> None:
        self._router = router
        self._app = app
        self._steps: list[_Step] = []
        self._by_hand: set[int] = set()
        self._states: dict[int, dict[str, Any] | None] = {}  # by id of what has been started
        self._overlays: list[tuple[AppRoute, dict[str, Any]]] = []

    async def start(self) -> dict[str, Any] | None:
        """Start all lifespans; return the state of the router's own.

        What fails is raised, with a note that says which it was. ``end`` must be called with it.
        """
        token = entered_by_hand.set(self._by_hand)
        try:
            here = _Surroundings(self._router)
            return await self._start_router(self._router, self._app, here)
        finally:
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
                # A router that is mounted as it is belongs to the application around it.
                await self._start_router(router, app if owner is router else owner, here)
        state = self._states[key]
        if state:
            route._states = (*route._states, state)
            self._overlays.append((route, state))

    async def end(self, error: BaseException | None) -> None:
        """End what was started, in reverse; ``error`` is why it ends, None at an ordinary shutdown.

        Each lifespan is ended as at a shutdown, whatever has failed before; only a cancellation is thrown
        into them. Returns if one of them takes that as its end.

        Raises:
            Exception: ``error``, or what failed; several together as an ExceptionGroup.
        """
        while self._overlays:
            route, state = self._overlays.pop()
            route._states = tuple([other for other in route._states if other is not state])
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
    # A subclass may have one of its own.
    own = isinstance(context, OwnLifespan) and context.router is router
    return context.functions if own else (context,)


class _Step:
    """One lifespan, with its time limits, from its start to its end.

    Its cancel scope stands around all of its life, since scopes are left in the reverse order of their
    entering, and a lifespan may leave a task group open. Only the deadline is there when it is needed.
    """

    def __init__(self, function: LifespanContext, here: _Surroundings, source: Any) -> None:
        self._function = function
        self._here = here
        self._source = source  # what messages name
        self._context: AbstractAsyncContextManager[Any]
        self._scope: anyio.CancelScope | None = None

    async def start(self, app: Any) -> Any:
        """Enter the lifespan; return what it yields."""
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
        """Leave the lifespan; return whether it took what was thrown into it as its end."""
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
        """Raise ``error`` with a note of where it comes from, or as a TimeoutError if that is what it is."""
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
