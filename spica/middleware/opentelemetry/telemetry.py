"""Create the span and the metrics of a request.

Only this module imports ``opentelemetry``.

Standards: OpenTelemetry semantic conventions for HTTP spans and HTTP metrics, stable; W3C Trace Context.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from spica._asgi.body import ClientDisconnect
from spica._asgi.sending import SendHook
from spica.exceptions import HTTPException
from spica.middleware.opentelemetry.semantics import (
    Attributes,
    protocol_attributes,
    request_attributes,
    route_template,
)
from spica.websockets.state import WebSocketDisconnect

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.propagators.textmap import Getter
except ImportError as error:
    raise ImportError(
        "OpenTelemetryMiddleware needs the package opentelemetry-api: "
        "pip install 'spica[opentelemetry]'"
    ) from error

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context

    from spica.types import ASGIApp, Message, Receive, Scope, Send

RawHeaders = Iterable[tuple[bytes, bytes]]

DURATION_BOUNDARIES = (
    *(0.005, 0.01, 0.025, 0.05, 0.075),
    *(0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)
"""Boundaries of the histogram in seconds, as the conventions recommend."""


_STARTS = frozenset({"http.response.start", "websocket.http.response.start"})
_BODIES = frozenset({"http.response.body", "websocket.http.response.body"})
_NOTED = _STARTS | _BODIES | {"websocket.accept", "websocket.close"}


class Instruments:
    """The tracer and the instruments of the current providers, created again when a provider changes."""

    tracer: trace.Tracer | None = None
    duration: metrics.Histogram | None = None
    active_requests: metrics.UpDownCounter | None = None
    active_streams: metrics.UpDownCounter | None = None
    body_size: metrics.Histogram | None = None

    def __init__(
        self,
        name: str,
        version: str | None,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
    ) -> None:
        self._name = name
        self._version = version
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._seen_tracer_provider: trace.TracerProvider | None = None
        self._seen_meter_provider: metrics.MeterProvider | None = None

    def are_active(self) -> bool:
        """Return whether a provider records traces or metrics."""
        tracer_provider = self._tracer_provider or trace.get_tracer_provider()
        # Until a provider is set, the API returns a proxy.
        is_proxy = isinstance(tracer_provider, trace.ProxyTracerProvider)
        if is_proxy or tracer_provider is not self._seen_tracer_provider:
            self._seen_tracer_provider = tracer_provider
            tracer = tracer_provider.get_tracer(self._name, self._version)
            is_idle = isinstance(tracer, (trace.ProxyTracer, trace.NoOpTracer))
            self.tracer = None if is_idle else tracer
        meter_provider = self._meter_provider or metrics.get_meter_provider()
        if meter_provider is not self._seen_meter_provider:
            self._seen_meter_provider = meter_provider
            self._make_instruments(meter_provider)
        return self.tracer is not None or self.duration is not None

    def _make_instruments(self, provider: metrics.MeterProvider) -> None:
        self.duration = self.active_requests = self.active_streams = self.body_size = None
        # The providers of the API itself do nothing.
        if not type(provider).__module__.startswith("opentelemetry.metrics"):
            meter = provider.get_meter(self._name, self._version)
            self.duration = meter.create_histogram(
                "http.server.request.duration",
                "s",
                "Duration of HTTP server requests.",
                explicit_bucket_boundaries_advisory=DURATION_BOUNDARIES,
            )
            self.active_requests = meter.create_up_down_counter(
                "http.server.active_requests",
                "{request}",
                "Number of active HTTP server requests.",
            )
            self.active_streams = meter.create_up_down_counter(
                "http.server.active_streams",
                "{stream}",
                "Number of response bodies that are being sent in parts.",
            )
            self.body_size = meter.create_histogram(
                "http.server.response.body.size", "By", "Size of HTTP server response bodies."
            )


class Observation:
    """The span and the metrics of one request, or the span of one WebSocket."""

    __slots__ = (
        "_began",
        "_body_size",
        "_context",
        "_error_type",
        "_instruments",
        "_is_over",
        "_is_stream",
        "_is_websocket",
        "_metric_attributes",
        "_outer_app",
        "_root_path",
        "_scope",
        "_span",
        "_status_code",
        "method",
    )

    def __init__(self, instruments: Instruments, scope: Scope, methods: frozenset[str]) -> None:
        self._instruments = instruments
        self._scope = scope
        self._root_path: str = scope.get("root_path", "")
        # If another framework's mount has parameters, their values are in the prefix.
        self._outer_app = None if scope.get("path_params") else scope.get("app")
        self._status_code: int | None = None
        self._error_type: str | None = None
        self._is_over = self._is_stream = False
        self._is_websocket = scope["type"] == "websocket"
        self._body_size = 0
        self._span: trace.Span | None = None
        self._context: Context | None = None
        sent: str = scope.get("method", "GET")  # RFC 6455 s.4.1: the handshake is a GET
        method = sent if sent in methods else sent.upper()
        # In the name of a span, "HTTP" replaces an unknown method.
        self.method = method if method in methods else "_OTHER"
        scheme: str = scope.get("scheme", "http")
        self._metric_attributes: Attributes = {
            "http.request.method": self.method,
            "url.scheme": scheme,
        }
        if instruments.tracer is not None:
            attributes = {**self._metric_attributes, **request_attributes(scope, scheme)}
            if self._is_websocket:
                attributes["network.protocol.name"] = "websocket"
            if sent != self.method:
                attributes["http.request.method_original"] = sent
            # Ignore the current span as parent: the server itself may have been started inside one.
            here = trace.set_span_in_context(trace.INVALID_SPAN)
            parent = propagate.extract(scope.get("headers", ()), here, _HEADER_GETTER)
            self._span = instruments.tracer.start_span(
                self._name_for(None),
                context=parent,
                kind=trace.SpanKind.SERVER,
                attributes=attributes,
            )
            self._context = trace.set_span_in_context(self._span, parent)
        if instruments.active_requests is not None and not self._is_websocket:
            instruments.active_requests.add(1, self._metric_attributes)
        self._began = time.perf_counter()

    def _name_for(self, route: str | None) -> str:
        method = "HTTP" if self.method == "_OTHER" else self.method
        return method if route is None else f"{method} {route}"

    # -- the current span ------------------------------------------------------------------------------

    def enter(self) -> Token[Context] | None:
        """Make the span current. Return the token for ``leave``."""
        return None if self._context is None else otel_context.attach(self._context)

    def leave(self, token: Token[Context] | None) -> None:
        """Make the span current that was current before ``enter``."""
        if token is not None:
            otel_context.detach(token)

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app that sends the response, and then end the observation."""
        token = self.enter()
        try:
            await app(scope, receive, SendHook(send, self._note_message, _NOTED))
        except BaseException as exc:
            self.fail(exc)
            raise
        finally:
            self.leave(token)
            self.end()

    def _note_message(self, message: Message) -> None:
        kind = message["type"]
        if kind in _STARTS:
            self.answer_with(message["status"])
        elif kind in _BODIES:
            self.count_body(message.get("body", b""), message.get("more_body", False))
        elif kind == "websocket.accept":
            self.answer_with(101)
        elif self._status_code is None:
            self.answer_with(403)  # closed before it was accepted

    # -- the outcome -----------------------------------------------------------------------------------

    def answer_with(self, status_code: int) -> None:
        """Note the status of the response."""
        self._status_code = status_code

    def count_body(self, chunk: bytes | memoryview | str, more_body: bool) -> None:
        """Count the bytes of a part of the body. A body with more parts is a stream."""
        if self._scope.get("method") != "HEAD":  # the server drops the body
            self._body_size += len(chunk.encode() if isinstance(chunk, str) else chunk)
        if more_body and not self._is_stream and not self._is_websocket:
            self._is_stream = True
            if self._instruments.active_streams is not None:
                self._instruments.active_streams.add(1, self._metric_attributes)

    def fail(self, exc: BaseException) -> None:
        """Record an exception that replaced the response or interrupted it."""
        if not isinstance(exc, Exception) or isinstance(
            exc, (ClientDisconnect, WebSocketDisconnect)
        ):
            return  # a cancelled request or a disconnect is not an error
        if isinstance(exc, HTTPException) and exc.status_code < 500:
            if self._status_code is None:
                self._status_code = exc.status_code  # an outer layer turns it into this response
            return
        if self._error_type is None:
            self._error_type = type(exc).__qualname__
        span = self._span
        if span is not None and span.is_recording() and not self._is_over:
            span.record_exception(exc)
            description = f"{type(exc).__name__}: {exc}"
            span.set_status(trace.Status(trace.StatusCode.ERROR, description))

    def end(self) -> None:
        """End the span and record the metrics. A second call does nothing."""
        if self._is_over:
            return
        self._is_over = True
        scope, status_code = self._scope, self._status_code
        outcome: Attributes = {}
        if status_code is not None:
            outcome["http.response.status_code"] = status_code
            if status_code >= 500 and self._error_type is None:
                self._error_type = str(status_code)
        if self._error_type is not None:
            outcome["error.type"] = self._error_type
        route = route_template(scope, self._outer_app, self._root_path)
        if self._span is not None:
            self._end_span(self._span, outcome, route)
        if not self._is_websocket:  # it would spoil the durations of requests
            self._record_metrics(outcome, route)

    def _record_metrics(self, outcome: Attributes, route: str | None) -> None:
        instruments = self._instruments
        if instruments.active_requests is not None:
            instruments.active_requests.add(-1, self._metric_attributes)
        if instruments.active_streams is not None and self._is_stream:
            instruments.active_streams.add(-1, self._metric_attributes)
        if instruments.duration is None or instruments.body_size is None:
            return
        attributes = {**self._metric_attributes, **outcome, **protocol_attributes(self._scope)}
        if route is not None:
            attributes["http.route"] = route
        instruments.duration.record(time.perf_counter() - self._began, attributes)
        if self._status_code is not None:
            instruments.body_size.record(self._body_size, attributes)

    def _end_span(self, span: trace.Span, outcome: Attributes, route: str | None) -> None:
        if span.is_recording():
            for key, value in outcome.items():
                span.set_attribute(key, value)
            if self._status_code is not None and not self._is_websocket:
                span.set_attribute("http.response.body.size", self._body_size)
            if route is not None:
                span.set_attribute("http.route", route)
                span.update_name(self._name_for(route))
            if outcome.get("error.type") == str(self._status_code):
                span.set_status(trace.StatusCode.ERROR)
        span.end()

    # -- as a cleanup ----------------------------------------------------------------------------------

    async def finish(self) -> None:
        """End the observation after the response."""
        self.end()

    async def abandon(self) -> None:
        """End the observation of a cancelled request."""
        self.end()


class _HeaderGetter(Getter[RawHeaders]):
    """Let propagators read the headers of a scope."""

    def get(self, carrier: RawHeaders, key: str) -> list[str] | None:
        wanted = key.lower().encode("latin-1", "replace")
        found = [value.decode("latin-1") for name, value in carrier if name == wanted]
        return found or None

    def keys(self, carrier: RawHeaders) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier]


_HEADER_GETTER = _HeaderGetter()
