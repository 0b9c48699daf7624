"""Observe requests until their last byte: the base of the access log and of the metrics.

A response in memory is sent by one call, so its background task ends the observation. Nothing is wrapped, and
the response stays a value. Any other answer is run with a ``send`` that counts.
"""

from __future__ import annotations

import logging
import os
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from spica._asgi.body import ClientDisconnect
from spica._layers.answers import AlreadySent, resolve_answer
from spica._layers.cleanup import call_at_end
from spica._layers.editing import HELD_HERE, add_pending_edit, getrefcount
from spica._layers.layer import BaseLayer
from spica.responses.base import Response
from spica.routing.route_pattern import route_ahead, route_template

if TYPE_CHECKING:
    from spica._layers.editing import Start
    from spica.background import BackgroundTask
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("spica.observability")

KNOWN_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
"""Methods that are reported by name. Each further method would create another series of metrics."""

Outcome = Literal["done", "client_left", "broken", "timeout"]
"""The end of a connection: complete, the client left, an error, or a timeout."""


class Observation:
    """One request or WebSocket. A subclass defines ``report``, which runs once, at the end."""

    # Defaults of the class, since most requests change few of them.
    ended_at = 0.0
    error: BaseException | None = None
    first_byte_at = 0.0
    has_left = False
    is_complete = False
    is_over = False
    is_stream = False
    response: Response | None = None
    size = 0
    status_code = 0

    def __init__(self, scope: Scope, layer: Any) -> None:
        self.scope = scope
        self.layer = layer
        # If another framework's mount has parameters, their values are in the prefix.
        self.outer_app = None if scope.get("path_params") else scope.get("app")
        self.root_path: str = scope.get("root_path", "")
        self.began_at = perf_counter()

    def report(self) -> None:
        """Use the values of the observation."""
        raise NotImplementedError

    def note_stream(self) -> None:
        """Note that the body is sent in parts. A subclass may override this."""

    @property
    def route(self) -> str | None:
        """The path pattern of the matched route, with those of its mounts."""
        scope, app = self.scope, self.outer_app
        route = route_template(scope, app, self.root_path)
        if route is not None or app is None:
            return route
        # A layer has answered. That of `default_scopes` is inside the router.
        has_answered = "router" not in scope or self.status_code in (401, 403)
        # The router of FastAPI does not note its mounts.
        has_answered = has_answered or scope.get("root_path", "") != self.root_path
        return route_ahead(scope, app, self.root_path) if has_answered else None

    @property
    def outcome(self) -> Outcome:
        """How the connection ended."""
        error = self.error
        if self.has_left or (error is not None and isinstance(error, ClientDisconnect)):
            return "client_left"
        # The server or a layer outside answers an exception before the response with a whole 500.
        is_answered = isinstance(error, Exception) and not self.first_byte_at
        if self.is_complete or is_answered:
            return "timeout" if self.status_code == 504 else "done"  # TimeoutMiddleware answers 504
        return "timeout" if isinstance(error, TimeoutError) else "broken"

    def end(self, error: BaseException | None = None) -> None:
        """Report the end. A second call does nothing."""
        if self.is_over:
            return
        self.is_over = True
        self.ended_at = perf_counter()
        response = self.response
        if response is not None:
            self.response = None
            self.status_code = response.status_code
            self.is_complete = error is None
            self.has_left = isinstance(error, OSError)  # raised by the server's send
            if error is None and self.scope["method"] != "HEAD":
                self.size = len(response.body)
        elif not self.status_code:
            # The server answers with 500, if the client is still there to read it.
            self.status_code = 400 if self.has_left else 500
        if error is not None and not self.is_complete:
            self.error = error
        try:
            self.report()
        except Exception as failure:  # of a filter of logging, for example: the response goes on
            logger.error("A request could not be reported.", exc_info=failure)

    async def finish(self) -> None:
        """End as the background task of a response. It runs after the response, also if that failed."""
        self.end(sys.exception())

    def note_error_page(self, start: Start) -> None:
        """Note the response to an exception, which a layer outside sends."""
        self.status_code = start.status_code
        self.first_byte_at = perf_counter()
        self.is_complete = True
        if self.scope["method"] != "HEAD":
            self.size = len(getattr(start, "body", b""))

    def fail(self, exc: Exception, request: Request[Any]) -> None:
        """Note an exception before the response. A layer outside answers it, or else the server."""
        self.error = exc
        add_pending_edit(request, self.note_error_page)
        call_at_end(request, self.finish)

    def note(self, message: Message) -> None:
        """Note an HTTP message that was sent."""
        kind = message["type"]
        if kind == "http.response.body":
            if self.scope["method"] != "HEAD":  # the server drops the body
                self.size += len(message.get("body", b""))
            if not message.get("more_body", False):
                self.is_complete = True
                self.end()  # background tasks do not count
            elif not self.is_stream and not self.is_over:
                self.is_stream = True
                self.note_stream()
        elif kind == "http.response.start":
            self.status_code = message["status"]
            self.first_byte_at = perf_counter()
        elif kind == "http.response.pathsend":
            self.size += _size_of_file(message["path"])
            self.is_complete = True
            self.end()

    def note_websocket(self, message: Message) -> None:
        """Note a message of a WebSocket that was sent."""
        kind = message["type"]
        if kind == "websocket.send":
            self.size += len(message.get("bytes") or (message.get("text") or "").encode())
        elif kind == "websocket.accept":
            self.status_code = 101
            self.first_byte_at = perf_counter()
        elif kind == "websocket.close":
            self.is_complete = True
            self.status_code = self.status_code or 403
        elif kind == "websocket.http.response.start":
            self.status_code = message["status"]
            self.first_byte_at = perf_counter()
        elif kind == "websocket.http.response.body":
            self.size += len(message.get("body", b""))
            self.is_complete = not message.get("more_body", False)

    def note_disconnect(self, message: Message) -> None:
        """Note the end of a WebSocket by its client."""
        # RFC 6455 s.7.1.5: 1006 is a connection that broke off without a closing handshake.
        self.has_left = message.get("code") == 1006
        self.is_complete = not self.has_left


def _size_of_file(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0  # it was deleted meanwhile


class ObservingLayer(BaseLayer):
    """Observe each request and WebSocket. A subclass defines ``_observe``."""

    def _observe(self, scope: Scope) -> Observation | None:
        """Return the observation of a connection; None for one that is not observed."""
        raise NotImplementedError

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer, observed until it is sent."""
        observation = self._observe(request.scope)
        if observation is None:
            return await self._layer_inner.respond(request)
        try:
            answer = await self._layer_inner.respond(request)
            if not isinstance(answer, Response) or not answer._is_value:
                answer = await resolve_answer(answer, request, request.scope.get("endpoint"))
        except Exception as exc:
            observation.fail(exc, request)
            raise
        except BaseException as exc:
            observation.end(exc)
            raise
        else:
            if (
                not isinstance(answer, Response)
                or type(answer).__call__ is not Response.__call__
                or answer._replaced_body is not None
            ):
                return _Observed(answer, observation, request)
            # Nearly always this frame holds the only reference, and no copy is needed.
            if getrefcount(answer) > HELD_HERE:
                answer = answer._copy()
            background = answer.background
            task: Any = observation.finish if background is None else _Then(observation, background)
            answer.background = task
            observation.first_byte_at = perf_counter()
            observation.response = answer
            return answer

    async def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Observe a WebSocket. The lifespan passes."""
        observation = self._observe(scope) if scope["type"] == "websocket" else None
        if observation is None:
            await self._layer_inner.connect(scope, receive, send)
            return
        socket = _Socket(observation, receive, send)
        try:
            await self._layer_inner.connect(scope, socket.receive, socket.send)
        except BaseException as exc:
            observation.end(exc)
            raise
        if observation.is_complete and not observation.status_code:
            observation.has_left = True  # before the handshake was answered
        observation.is_complete = bool(observation.status_code) and not observation.has_left
        observation.end()


class _Then:
    """End an observation, then run the background task of the response."""

    __slots__ = ("background", "observation")

    def __init__(self, observation: Observation, background: BackgroundTask) -> None:
        self.observation = observation
        self.background = background

    async def __call__(self) -> None:
        self.observation.end(sys.exception())
        await self.background()


class _Observed:
    """Run an answer with a ``send`` that an observation sees."""

    __slots__ = ("answer", "observation", "request", "send")

    def __init__(self, answer: ASGIApp, observation: Observation, request: Request[Any]) -> None:
        self.answer = answer
        self.observation = observation
        self.request = request
        if isinstance(answer, AlreadySent):
            observation.status_code = answer.status_code
            observation.is_complete = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.send = send
        observation = self.observation
        try:
            await self.answer(scope, receive, self._send)
        except Exception as exc:
            if observation.first_byte_at:
                observation.end(exc)
            else:
                observation.fail(exc, self.request)
            raise
        except BaseException as exc:
            observation.end(exc)
            raise
        if not observation.is_complete:
            # A stream ends early if its client leaves. Otherwise the app has forgotten its response.
            observation.has_left = await self._has_left()
        observation.end()

    async def _has_left(self) -> bool:
        try:
            return await self.request.is_disconnected()
        except Exception:  # a body that is too large, for example
            return False

    async def _send(self, message: Message) -> None:
        try:
            await self.send(message)
        except OSError:
            self.observation.has_left = True
            raise
        self.observation.note(message)


class _Socket:
    """The functions of a WebSocket that an observation sees."""

    __slots__ = ("_observation", "_receive", "_send")

    def __init__(self, observation: Observation, receive: Receive, send: Send) -> None:
        self._observation = observation
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._observation.note_disconnect(message)
        return message

    async def send(self, message: Message) -> None:
        await self._send(message)
        self._observation.note_websocket(message)
