"""Limit the time of an endpoint: ``TimeoutMiddleware``, and ``timeout_seconds`` of routes.

On asyncio, the first step of the endpoint runs before any timer exists. A request that never waits costs no
timer. A cancel scope can't be opened after that step, because the endpoint may have opened one of its own. So
the task is cancelled as ``asyncio.timeout()`` does it: once. A ``finally`` may await, for example to return a
connection to its pool. On trio, a cancel scope surrounds the endpoint, and a ``finally`` that awaits needs a
shield. Decision 24 gives the reasons.

The layer is in this package, below the routes, because a route has it as a setting. Import it from
``spica.middleware.timeout``.

Standard: RFC 9110 s.15.6.5 (504).
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from spica._asgi.alarms import Alarm, Alarms
from spica._asgi.deadline import Deadline, current_deadline, resume, trio_clock, wait_in_time
from spica._asgi.scope import DEADLINE
from spica._asgi.sending import SendHook, has_started_by_hand
from spica._asgi.side_task import running_asyncio_loop
from spica._diagnostics.arguments import check_flag
from spica._diagnostics.middleware_order import ANSWERS
from spica._layers.answers import refuse
from spica._layers.layer import BaseLayer
from spica.responses.base import Response

if TYPE_CHECKING:
    import asyncio

    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send

DEFAULT_SECONDS = 30.0
"""Most proxies and clients give up after 30 to 60 seconds."""


class TimeoutMiddleware(BaseLayer):
    """Cancel the endpoint when it has not answered in time, and answer 504.

    The time ends when the response starts. ``request.deadline`` has the time that is left. Of several
    timeouts around an endpoint, the shortest applies. WebSockets have no timeout.

    A ``def`` endpoint runs in a thread, which can't be cancelled: its client waits until it returns. A route
    refuses ``timeout_seconds`` for such an endpoint.

    Args:
        app: The app inside.
        seconds: The time until the response must start. The default is 30.
        status_code: The status of the response, from 500 to 599.
        streams: Whether the time also limits the body of a streamed response. The connection is then broken
            off at the deadline. Off by default: a download may take long.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``seconds`` is not more than 0, or ``status_code`` is out of range.

    Example:
        ``Middleware(TimeoutMiddleware, seconds=10)``
    """

    middleware_traits = (ANSWERS,)

    _alarms: Alarms | None = None
    """The deadlines on asyncio, for the event loop that was used last."""

    def __init__(
        self,
        app: ASGIApp,
        seconds: float = DEFAULT_SECONDS,
        status_code: int = 504,
        *,
        streams: bool = False,
    ) -> None:
        self.app = app
        self.seconds = check_timeout(seconds, "TimeoutMiddleware: seconds")
        if isinstance(status_code, bool) or not isinstance(status_code, int):
            raise TypeError(
                f"TimeoutMiddleware: status_code must be an int, not {status_code!r:.80}."
            )
        if not 500 <= status_code <= 599:
            raise ValueError(
                f"TimeoutMiddleware: status_code must be from 500 to 599, not {status_code}."
            )
        self.status_code = status_code
        self.streams = bool(check_flag(streams, "TimeoutMiddleware: streams"))

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer, or the answer to the timeout."""
        scope = request.scope
        loop = running_asyncio_loop()
        clock = trio_clock() if loop is None else loop.time
        deadline = Deadline(clock() + self.seconds, clock)
        outer: Deadline | None = scope.get(DEADLINE)
        is_shorter = outer is None or deadline.at < outer.at
        if outer is not None and not is_shorter:
            deadline = outer  # its layer cancels
        scope[DEADLINE] = deadline
        token = current_deadline.set(deadline)
        try:
            if not is_shorter:
                answer = await self._layer_inner.respond(request)
            elif loop is None:
                inner = partial(self._layer_inner.respond, request)
                answer = await wait_in_time(_Timer(deadline), inner)
            else:
                answer = await self._respond_in_time(request, deadline.at, loop)
        except _Expired:
            return self._answer_timeout(request)
        finally:
            current_deadline.reset(token)
            scope[DEADLINE] = outer
        if isinstance(answer, Response) and not (self.streams and answer._receives):
            return answer
        return _Timed(answer, deadline, self)

    async def _respond_in_time(
        self, request: Request[Any], at: float, loop: asyncio.AbstractEventLoop
    ) -> ASGIApp:
        # The first step needs no timer. Requests that are answered at once end in it.
        steps = self._layer_inner.respond(request).__await__()
        try:
            pause = next(steps)
        except StopIteration as done:
            answer: ASGIApp = done.value
            return answer
        alarms = self._alarms
        if alarms is None or alarms.loop is not loop:
            alarms = self._alarms = Alarms(loop)
        return await resume(Alarm(alarms, at, _Expired), steps, pause)

    def _answer_timeout(self, request: Request[Any]) -> ASGIApp:
        if has_started_by_hand(request):
            raise TimeoutError(f"The response did not end within {self.seconds:g} seconds.")
        return refuse(request.scope, self.status_code)


class _Expired(Exception):
    """The time of a layer is over."""


class _Timer:
    """The limit for one wait, see ``spica._asgi.deadline.Clock``."""

    __slots__ = ("deadline", "has_started", "streams", "waited")

    def __init__(self, deadline: Deadline, streams: bool = False) -> None:
        self.deadline = deadline
        self.streams = streams
        self.has_started = False
        self.waited = 0.0

    def idle_limit(self) -> float:
        """Return the seconds that are left."""
        return self.deadline.remaining_seconds

    def give_up(self) -> Exception | None:
        """Return the error that ends the wait; None if the response has started, and may take longer."""
        return None if self.has_started and not self.streams else _Expired()

    def start(self, message: Message) -> None:
        """Note that the response starts."""
        self.has_started = True


class _Timed:
    """Run an app, cancelled at the deadline if its response has not started."""

    __slots__ = ("app", "deadline", "layer")

    def __init__(self, app: ASGIApp, deadline: Deadline, layer: TimeoutMiddleware) -> None:
        self.app = app
        self.deadline = deadline
        self.layer = layer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer of the app, or the answer to the timeout."""
        timer = _Timer(self.deadline, self.layer.streams)
        outer = scope.get(DEADLINE)
        scope[DEADLINE] = self.deadline
        token = current_deadline.set(self.deadline)
        has_expired = False
        try:
            await self._run(timer, scope, receive, send)
        except _Expired:
            has_expired = True
        finally:
            current_deadline.reset(token)
            scope[DEADLINE] = outer
        if has_expired and timer.has_started:
            raise TimeoutError(f"The response did not end within {self.layer.seconds:g} seconds.")
        if has_expired:
            await refuse(scope, self.layer.status_code)(scope, receive, send)

    async def _run(self, timer: _Timer, scope: Scope, receive: Receive, send: Send) -> None:
        if running_asyncio_loop() is not None:
            run = partial(self.app, scope, receive, SendHook(send, timer.start))
            await wait_in_time(timer, run)
            return
        with anyio.CancelScope(deadline=self.deadline.at) as cancel_scope:
            hook = partial(_start_on_trio, timer, cancel_scope)
            await self.app(scope, receive, SendHook(send, hook))
        if cancel_scope.cancelled_caught:
            raise _Expired


def _start_on_trio(timer: _Timer, cancel_scope: anyio.CancelScope, message: Message) -> None:
    timer.start(message)
    if not timer.streams:
        cancel_scope.deadline = math.inf


def check_timeout(seconds: float, place: str) -> float:
    """Return ``seconds`` if they are a valid timeout. Errors begin with ``place``."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{place} must be a number of seconds, not {seconds!r:.80}.")
    if not seconds > 0:
        raise ValueError(f"{place} must be more than 0, not {seconds!r}.")
    return seconds
