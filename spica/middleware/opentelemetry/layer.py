"""Report each request to OpenTelemetry: one span, and the metrics of an HTTP server.

The span is current while the inner layers answer, while a stream or a foreign app runs, and in background
tasks. It ends when the response is sent. The module ``telemetry`` creates it.

Standards: OpenTelemetry semantic conventions for HTTP spans and HTTP metrics, stable.
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from spica._asgi.cleanup import cleanup_of
from spica._diagnostics.arguments import check_flag
from spica._layers.layer import BaseLayer
from spica.concurrency import close_iterator
from spica.datastructures import URL
from spica.middleware.opentelemetry.semantics import known_methods
from spica.middleware.opentelemetry.telemetry import Instruments, Observation
from spica.responses.base import Response
from spica.responses.streaming import StreamingResponse, is_simple_value

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from spica.background import BackgroundTask
    from spica.requests import Request
    from spica.types import ASGIApp, Receive, Scope, Send

__all__ = ["OpenTelemetryMiddleware"]

OBSERVED = "starlette.opentelemetry"
"""Scope key: an outer layer already observes this request or has excluded it."""


class OpenTelemetryMiddleware(BaseLayer):
    """Create a span and metrics for each HTTP request, and on demand a span for each WebSocket.

    The span continues the trace of the client. Its name is the method and the route. Exceptions and status
    codes from 500 mark it as an error. The metrics are ``http.server.request.duration`` (in seconds),
    ``http.server.response.body.size`` (in bytes), ``http.server.active_requests`` and
    ``http.server.active_streams``. Unknown methods count as ``_OTHER``; the environment variable
    OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS can list the known ones. If several instances wrap a request, only
    the outermost one is active.

    Args:
        app: the inner app.
        excluded_urls: regular expressions, in a sequence or in one string separated by commas. A request is
            not observed if one of them matches anywhere in its URL.
        tracer_provider, meter_provider: the providers of OpenTelemetry. The default is the global provider,
            looked up at each request, so that you can set it later. Without any provider the middleware does
            nothing.
        websocket_spans: Whether WebSockets have spans. Off by default, as in Starlette: the span of a
            connection ends with it, perhaps after hours, and backends often drop such spans.

    Raises:
        TypeError: ``websocket_spans`` is not a bool.
        TypeError: an item of ``excluded_urls`` is not a string.
        ValueError: an item is not a regular expression.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        excluded_urls: str | Sequence[str] = (),
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        websocket_spans: bool = False,
    ) -> None:
        self.app = app
        self._has_websocket_spans = check_flag(
            websocket_spans, "OpenTelemetryMiddleware: websocket_spans"
        )
        self._excluded = _compile_urls(excluded_urls)
        self._methods = known_methods()
        package = sys.modules.get(__name__.partition(".")[0])
        version: str | None = getattr(package, "__version__", None)
        self._instruments = Instruments("spica", version, tracer_provider, meter_provider)

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner response, observed until it is sent."""
        scope = request.scope
        if OBSERVED in scope or not self._instruments.are_active():
            return await self._layer_inner.respond(request)
        scope[OBSERVED] = True
        try:
            if self._is_excluded(scope):
                observation, answer = None, await self._layer_inner.respond(request)
            else:
                observation = Observation(self._instruments, scope, self._methods)
                # The cleanup ends the span even if no layer sends the response, or if the request is
                # cancelled. Inner layers register later, so their cleanups run earlier.
                cleanup_of(request).add_started(observation)
                answer = await self._ask_observed(request, observation)
        except BaseException:
            scope.pop(OBSERVED, None)
            raise
        if isinstance(answer, Response) and is_simple_value(answer):
            scope.pop(OBSERVED, None)
            return answer if observation is None else _observe_value(answer, observation)
        if callable(answer):
            return _ObservedApp(answer, observation)
        scope.pop(OBSERVED, None)
        return answer  # not an app: the layer that sends it raises the error

    async def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket, inside a span if that is set. The lifespan passes."""
        is_observed = (
            self._has_websocket_spans and scope["type"] == "websocket" and OBSERVED not in scope
        )
        if not is_observed or not self._instruments.are_active() or self._is_excluded(scope):
            await self._layer_inner.connect(scope, receive, send)
            return
        scope[OBSERVED] = True
        try:
            observation = Observation(self._instruments, scope, self._methods)
            await observation.run(self._layer_inner.connect, scope, receive, send)
        finally:
            scope.pop(OBSERVED, None)

    async def _ask_observed(self, request: Request[Any], observation: Observation) -> ASGIApp:
        token = observation.enter()
        try:
            return await self._layer_inner.respond(request)
        except BaseException as exc:
            observation.fail(exc)
            observation.end()
            raise
        finally:
            observation.leave(token)

    def _is_excluded(self, scope: Scope) -> bool:
        excluded = self._excluded
        return excluded is not None and excluded.search(str(URL(scope=scope))) is not None


def _compile_urls(patterns: str | Sequence[str]) -> re.Pattern[str] | None:
    if isinstance(patterns, str):
        patterns = [stripped for part in patterns.split(",") if (stripped := part.strip())]
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(
                f"OpenTelemetryMiddleware: excluded_urls must be strings, not {pattern!r:.80}."
            )
        try:
            re.compile(pattern)
        except re.error as exc:
            raise ValueError(
                f"OpenTelemetryMiddleware: excluded_urls has {pattern!r:.80}, which is not a regular "
                f"expression: {exc}."
            ) from exc
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns)) if patterns else None


def _observe_value(response: Response, observation: Observation) -> Response:
    """Return ``response`` with its stream and background task observed. Most responses have neither."""
    observation.answer_with(response.status_code)
    is_stream = isinstance(response, StreamingResponse) or response._replaced_body is not None
    if not is_stream:
        observation.count_body(response.body, False)
    if is_stream or response.background is not None:
        response = response._copy()
        if is_stream:
            response.body_iterator = _ObservedChunks(response.body_iterator, observation)
        if response.background is not None:
            task: Any = _ObservedTask(response.background, observation)
            response.background = task
    return response


class _ObservedApp:
    """Run an app to its end with the span as the current one."""

    __slots__ = ("_app", "_observation")

    def __init__(self, app: ASGIApp, observation: Observation | None) -> None:
        self._app = app
        self._observation = observation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        observation = self._observation
        try:
            if observation is None:
                await self._app(scope, receive, send)
            else:
                await observation.run(self._app, scope, receive, send)
        finally:
            scope.pop(OBSERVED, None)


class _ObservedChunks:
    """The chunks of a stream, each produced with the span as the current one."""

    __slots__ = ("_chunks", "_iterator", "_observation")

    def __init__(self, chunks: Any, observation: Observation) -> None:
        self._chunks = chunks
        self._iterator: Any = None
        self._observation = observation

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._iterator is None:
            self._iterator = aiter(self._chunks)
        token = self._observation.enter()
        try:
            chunk = await anext(self._iterator)
            self._observation.count_body(chunk, True)
            return chunk
        except Exception as exc:
            if not isinstance(exc, StopAsyncIteration):
                self._observation.fail(exc)
            raise
        finally:
            self._observation.leave(token)

    async def aclose(self) -> None:
        """Close the stream, even if it has not started."""
        token = self._observation.enter()
        try:
            await close_iterator(self._chunks if self._iterator is None else self._iterator)
        finally:
            self._observation.leave(token)


class _ObservedTask:
    """A background task, run with the span as the current one."""

    __slots__ = ("_observation", "_task")

    def __init__(self, task: BackgroundTask, observation: Observation) -> None:
        self._task = task
        self._observation = observation

    async def __call__(self) -> None:
        token = self._observation.enter()
        try:
            await self._task()
        except Exception as exc:
            self._observation.fail(exc)
            raise
        finally:
            self._observation.leave(token)
