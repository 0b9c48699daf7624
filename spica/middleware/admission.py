"""Limit how many requests a process works on at once: ``AdmissionMiddleware``.

A server that accepts more work than it can do answers everybody too late. This layer admits a fixed number of
requests, lets a few more wait for a moment, and answers the others with 503 at once, without reading their
body. The limit applies to each process, and to each application, mount or route that has the layer.

The newest waiting request gets the next free place. The client of the oldest one has probably given up. A
client that leaves while it waits gives up its place in the queue at once.

Standard: RFC 9110 s.15.6.4 (503), s.10.2.3 (Retry-After), s.10.1.1 (Expect).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anyio

from spica._asgi.scope import get_route_path
from spica._diagnostics.arguments import check_flag, check_strings
from spica._diagnostics.middleware_order import ANSWERS
from spica._originals import remember
from spica.layers import Answer, EditableResponse, Layer, call_at_end, deny
from spica.requests import ClientDisconnect
from spica.responses.errors import error_response
from spica.websockets.read_ahead import HandshakeWatch

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.responses.base import Response
    from spica.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["AdmissionGauges", "AdmissionMiddleware"]

RETRY_AFTER_SECONDS = (1, 3)
"""Clients that were refused together should not return together."""


class AdmissionGauges:
    """Numbers to watch. Pass one to `AdmissionMiddleware`, and read it in your metrics.

    Several layers may share one; it then has their sums.
    """

    __slots__ = ("active", "refused", "waiting")

    def __init__(self) -> None:
        self.active = 0
        """Requests and WebSockets that are being served."""
        self.waiting = 0
        """Requests and WebSockets that wait for a free place."""
        self.refused = 0
        """Requests and WebSockets that were refused since the start."""


class AdmissionMiddleware(Layer):
    """Serve at most ``max_active`` requests at once in this process. Refuse others with 503.

    Streams and WebSockets count until they end. A request counts until its background tasks have run.

    Args:
        app: The inner app.
        max_active: The number of requests and WebSockets to serve at once.
        max_waiting: The number of requests that may wait for a free place. 0, the default, lets none wait.
        max_wait_seconds: The longest time to wait. The default is one second.
        exempt: Paths that are always served and never count: health checks.
        streams: Whether streams and WebSockets count until they end. If False, a request counts until its
            response starts, and a WebSocket until its handshake is accepted.
        gauges: An object that shows the numbers. Each layer makes its own by default, as ``gauges``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: A number is out of range, or an exempt path does not begin with "/".

    Example:
        ``Middleware(AdmissionMiddleware, max_active=100, max_waiting=50)``
    """

    middleware_traits = (ANSWERS,)

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_active: int,
        max_waiting: int = 0,
        max_wait_seconds: float = 1.0,
        exempt: Sequence[str] = ("/livez", "/readyz"),
        streams: bool = True,
        gauges: AdmissionGauges | None = None,
    ) -> None:
        super().__init__(app)
        self.max_active = _check_count(max_active, "max_active", 1)
        self.max_waiting = _check_count(max_waiting, "max_waiting", 0)
        self.max_wait_seconds = _check_wait(max_wait_seconds)
        self.exempt = _check_paths(exempt)
        self.streams = bool(check_flag(streams, "AdmissionMiddleware: streams"))
        self.gauges = AdmissionGauges() if gauges is None else _check_gauges(gauges)
        self._active = 0
        self._waiters: list[_Waiter] = []  # the newest is the last one

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the inner answer once there is a free place, or the refusal.

        Raises:
            ClientDisconnect: The client left while it waited.
        """
        scope = request.scope
        if get_route_path(scope) in self.exempt:
            return await self.inner.respond(request)
        if not self._enter() and not (self._has_room() and await self._wait_for(request)):
            return self._refuse(scope)
        place = _Place(self)
        call_at_end(request, place.leave_at_end)
        if self.streams:
            return await self.inner.respond(request)
        return await self._layer_edited(self._layer_inner.respond, request, place.leave_at_start)

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do the same for a WebSocket. Other scopes pass."""
        if scope["type"] != "websocket" or get_route_path(scope) in self.exempt:
            await self.inner.connect(scope, receive, send)
            return
        if self._enter():
            await self._serve(scope, receive, send)
        elif self._has_room():
            await self._wait_and_serve(scope, receive, send)
        else:
            await deny(self._refuse(scope), scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket that has a place."""
        place = _Place(self)
        try:
            if not self.streams:
                send = _UntilAccepted(send, place)
            await self.inner.connect(scope, receive, send)
        finally:
            place.leave()

    async def _wait_and_serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket once it has a place, or refuse it."""
        waiter, watch = _Waiter(), HandshakeWatch(receive)
        try:
            try:
                with watch.cancel_on_disconnect():
                    await self._wait(waiter)
            except ClientDisconnect:
                return
            if waiter.has_place:
                await self._serve(scope, watch.receive, send)
            else:
                await deny(self._refuse(scope), scope, watch.receive, send)
        finally:
            await watch.finish()

    def _enter(self) -> bool:
        """Take a place if one is free, and return whether there was one."""
        if self._active >= self.max_active:
            return False
        self._active += 1
        self.gauges.active += 1
        return True

    def _has_room(self) -> bool:
        """Return whether one more request may wait."""
        return len(self._waiters) < self.max_waiting

    async def _wait_for(self, request: Request[Any]) -> bool:
        """Wait for a place, and return whether there was one in time.

        Raises:
            ClientDisconnect: The client left.
        """
        waiter = _Waiter()
        # RFC 9110 s.10.1.1: reading would ask this client for its body, which a refusal would not read.
        if any(name == b"expect" for name, _ in request.scope["headers"]):
            await self._wait(waiter)
        else:
            with request.cancel_on_disconnect():
                await self._wait(waiter)
        return waiter.has_place

    async def _wait(self, waiter: _Waiter) -> None:
        """Wait until ``waiter`` has a place, or for the longest time."""
        self._waiters.append(waiter)
        self.gauges.waiting += 1
        try:
            with anyio.move_on_after(self.max_wait_seconds):
                await waiter.event.wait()
        except BaseException:
            if waiter.has_place:  # it came together with the cancellation
                self._leave()
            raise
        finally:
            if not waiter.has_place:
                self._waiters.remove(waiter)
                self.gauges.waiting -= 1

    def _leave(self) -> None:
        """Give the place to the newest waiting request, or free it."""
        if self._waiters:
            waiter = self._waiters.pop()
            self.gauges.waiting -= 1
            waiter.has_place = True
            waiter.event.set()
        else:
            self._active -= 1
            self.gauges.active -= 1

    def _refuse(self, scope: Scope) -> Response:
        self.gauges.refused += 1
        # Not secret: the numbers spread the clients over time.
        retry_after = str(random.randint(*RETRY_AFTER_SECONDS))
        return error_response(scope, 503, "Service Unavailable", {"Retry-After": retry_after})


remember(AdmissionMiddleware, "respond")


class _Waiter:
    """A request that waits for a place."""

    __slots__ = ("event", "has_place")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.has_place = False


class _Place:
    """The place of one request, which it leaves once."""

    __slots__ = ("_layer",)

    def __init__(self, layer: AdmissionMiddleware) -> None:
        self._layer: AdmissionMiddleware | None = layer

    def leave(self) -> None:
        """Leave it, if that has not happened yet."""
        layer, self._layer = self._layer, None
        if layer is not None:
            layer._leave()

    async def leave_at_end(self) -> None:
        """Leave it at the end of the request."""
        self.leave()

    def leave_at_start(self, request: Request[Any], response: EditableResponse) -> None:
        """Leave it when the response starts, without editing it."""
        self.leave()


class _UntilAccepted:
    """Send messages, and leave the place when the handshake of a WebSocket is accepted."""

    __slots__ = ("_place", "_send")

    def __init__(self, send: Send, place: _Place) -> None:
        self._send = send
        self._place = place

    async def __call__(self, message: Message) -> None:
        if message["type"] == "websocket.accept":
            self._place.leave()
        await self._send(message)


def _check_count(value: int, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"AdmissionMiddleware: {name} must be an int, not {value!r:.80}.")
    if value < least:
        raise ValueError(f"AdmissionMiddleware: {name} must be at least {least}, not {value}.")
    return value


def _check_gauges(gauges: AdmissionGauges) -> AdmissionGauges:
    if not isinstance(gauges, AdmissionGauges):
        raise TypeError(
            f"AdmissionMiddleware: gauges must be an AdmissionGauges or None, not {gauges!r:.80}."
        )
    return gauges


def _check_wait(seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(
            f"AdmissionMiddleware: max_wait_seconds must be a number of seconds, not {seconds!r:.80}."
        )
    if not 0 < seconds < math.inf:
        raise ValueError(
            f"AdmissionMiddleware: max_wait_seconds must be more than 0 and finite, not {seconds!r}."
        )
    return seconds


def _check_paths(paths: Sequence[str]) -> frozenset[str]:
    check_strings(paths, "AdmissionMiddleware: exempt")
    for path in paths:
        if not path.startswith("/"):
            raise ValueError(
                f'AdmissionMiddleware: exempt paths begin with "/", unlike {path!r:.80}.'
            )
    return frozenset(paths)
