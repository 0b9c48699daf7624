"""Metrics for Prometheus: ``MetricsMiddleware`` and ``metrics_response``.

Routes are labels by their pattern, and unknown methods and unmatched paths share one label each. So a client
can't create new series. Only this module imports ``prometheus_client``.

Standards: Prometheus and OpenMetrics text formats; the names follow the OpenTelemetry semantic conventions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from spica import concurrency
from spica._asgi.scope import get_route_path
from spica._diagnostics.arguments import check_strings
from spica.middleware._observing import KNOWN_METHODS, Observation, ObservingLayer
from spica.responses.base import Response

try:
    from prometheus_client import (
        REGISTRY,
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        multiprocess,
    )
    from prometheus_client.exposition import choose_encoder
except ImportError as error:
    raise ImportError(
        "MetricsMiddleware needs the package prometheus-client: pip install 'spica[prometheus]'"
    ) from error

_multiprocess: Any = multiprocess  # it has no types

if TYPE_CHECKING:
    from spica.channels import Channels
    from spica.datastructures import Headers
    from spica.requests import Request
    from spica.stores.base import BaseStore
    from spica.types import ASGIApp, Scope

__all__ = ["MetricsMiddleware", "metrics_response"]

UNMATCHED = "unmatched"
"""The route of requests without a route. Their paths are chosen by clients, and would be new series."""

OTHER_METHOD = "_OTHER"

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bounds in seconds, as the semantic conventions of OpenTelemetry recommend."""

REFRESH_SECONDS = 1.0
"""Gauges of the process are set at most this often, and when its own metrics are read."""

THREAD_GROUPS = ("endpoint_threads", "file_threads", "background_threads", "wsgi_threads")


_MEASURED = "spica.measured"
"""The scope key of a connection that is measured. Its value are the metrics that count it."""


class MetricsMiddleware(ObservingLayer):
    """Count requests, WebSockets and their times.

    Serve the metrics with ``metrics_response``. Several applications of a process may share a registry.

    ==================================================== =====================================================
    metric                                               meaning
    ==================================================== =====================================================
    ``http_server_request_duration_seconds``             histogram by method, route and status
    ``http_server_response_body_bytes_total``            bytes of bodies by method and route
    ``http_server_incomplete_responses_total``           by route and outcome: client_left, broken, timeout
    ``http_server_active_requests``, ``..._streams``     requests in progress; bodies being sent in parts
    ``websocket_server_duration_seconds``                histogram by route and status
    ``websocket_server_active_connections``              open WebSockets
    ``spica_threads_running``, ``spica_threads_waiting`` calls in threads, by group
    ``spica_tasks_running``                              tasks of ``app.tasks``
    ``spica_store_available``                            0 while the last operations of a store have failed
    ``spica_channels_subscriptions``                     subscriptions of channels
    ==================================================== =====================================================

    Args:
        app: The inner app.
        registry: The registry of prometheus-client. The default is its global one.
        skip: Paths that are not measured.
        buckets: Upper bounds of the histograms in seconds, in ascending order.
        stores, channels: Stores and channels to watch, by the names that become labels.

    Raises:
        ImportError: The package prometheus-client is not installed.
        TypeError: An argument has the wrong type.
        ValueError: The buckets are not in ascending order, or the registry has metrics of these names with
            other buckets.

    Example:
        ``Middleware(MetricsMiddleware)``
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        registry: CollectorRegistry | None = None,
        skip: Sequence[str] = ("/livez", "/readyz", "/metrics"),
        buckets: Sequence[float] = DURATION_BUCKETS,
        stores: Mapping[str, BaseStore] | None = None,
        channels: Mapping[str, Channels] | None = None,
    ) -> None:
        self.app = app
        check_strings(skip, "MetricsMiddleware: skip")
        self.skip = frozenset(skip)
        if registry is not None and not isinstance(registry, CollectorRegistry):
            raise TypeError(
                f"MetricsMiddleware: registry must be a CollectorRegistry, not {registry!r:.80}."
            )
        _check_buckets(buckets)
        _check_named(stores, "stores", "is_available")
        _check_named(channels, "channels", "subscription_count")
        self.metrics = _metrics_of(REGISTRY if registry is None else registry, buckets)
        self.metrics.stores.update(stores or {})
        self.metrics.channels.update(channels or {})

    def _observe(self, scope: Scope) -> Observation | None:
        path = scope["path"]
        if scope.get("root_path"):
            if scope.get(_MEASURED) is self.metrics:
                return None  # by the application around this mounted one
            path = get_route_path(scope)
        if path in self.skip:
            return None
        scope[_MEASURED] = self.metrics
        if scope["type"] == "websocket":
            self.metrics.websockets.inc()
            return _Connection(scope, self)
        self.metrics.requests.inc()
        return _Exchange(scope, self)


def _check_buckets(buckets: Any) -> None:
    place = "MetricsMiddleware: buckets"
    if isinstance(buckets, (str, bytes)) or not isinstance(buckets, Sequence) or not buckets:
        raise TypeError(f"{place} must be a list of seconds, not {buckets!r:.80}.")
    for bound in buckets:
        if isinstance(bound, bool) or not isinstance(bound, (int, float)):
            raise TypeError(f"{place} must be numbers of seconds, not {bound!r:.80}.")
    if not all(first < second for first, second in pairwise([0, *buckets])):
        raise ValueError(f"{place} must be above 0 and in ascending order, not {buckets!r:.80}.")


def _check_named(values: Any, name: str, attribute: str) -> None:
    if values is None:
        return
    is_right = isinstance(values, Mapping) and all(isinstance(key, str) for key in values)
    if not is_right or not all(hasattr(each, attribute) for each in values.values()):
        raise TypeError(
            f'MetricsMiddleware: {name} must map names to {name}, such as {{"main": {name}}}, '
            f"not {values!r:.80}."
        )


class _Exchange(Observation):
    """The measurement of one request."""

    def report(self) -> None:
        """Record the request."""
        metrics: _Metrics = self.layer.metrics
        metrics.requests.dec()
        if self.is_stream:
            metrics.streams.dec()
        method = self.scope["method"]
        if method not in KNOWN_METHODS:
            method = OTHER_METHOD
        key = (method, self.route or UNMATCHED, self.status_code)
        observe, count_bytes = metrics.series.get(key) or metrics.add_series(key)
        observe(self.ended_at - self.began_at)
        if self.size:
            count_bytes(self.size)
        outcome = self.outcome
        if outcome != "done":
            metrics.incomplete.labels(key[1], outcome).inc()
        if self.ended_at >= metrics.refresh_at:
            metrics.refresh(self.scope.get("app"))

    def note_stream(self) -> None:
        """Count an open stream."""
        self.layer.metrics.streams.inc()


class _Connection(Observation):
    """The measurement of one WebSocket."""

    def report(self) -> None:
        """Record the connection."""
        metrics: _Metrics = self.layer.metrics
        metrics.websockets.dec()
        labels = (self.route or UNMATCHED, str(self.status_code))
        metrics.websocket_duration.labels(*labels).observe(self.ended_at - self.began_at)


class _Metrics:
    """The metrics in one registry."""

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        self.buckets = tuple(buckets)
        self.refresh_at = 0.0
        self.series: dict[
            tuple[str, str, int], tuple[Callable[[float], None], Callable[[float], None]]
        ] = {}
        self.duration = Histogram(
            "http_server_request_duration_seconds",
            "Time until the last byte of the response.",
            ["method", "route", "status"],
            buckets=self.buckets,
            registry=registry,
        )
        self.body_bytes = Counter(
            "http_server_response_body_bytes",
            "Bytes of response bodies.",
            ["method", "route"],
            registry=registry,
        )
        self.incomplete = Counter(
            "http_server_incomplete_responses",
            "Responses that did not end well: client_left, broken or timeout.",
            ["route", "outcome"],
            registry=registry,
        )
        self.websocket_duration = Histogram(
            "websocket_server_duration_seconds",
            "Time from the handshake of a WebSocket to its end.",
            ["route", "status"],
            buckets=(*self.buckets, 60, 600, 3600),
            registry=registry,
        )
        gauge = _GaugeFactory(registry)
        self.requests = gauge("http_server_active_requests", "Requests in progress.")
        self.streams = gauge("http_server_active_streams", "Bodies that are being sent in parts.")
        self.websockets = gauge("websocket_server_active_connections", "Open WebSockets.")
        self.running = gauge("spica_threads_running", "Calls that run in threads.", ["group"])
        self.waiting = gauge("spica_threads_waiting", "Calls that wait for a thread.", ["group"])
        self.stores: dict[str, BaseStore] = {}
        self.channels: dict[str, Channels] = {}
        self.available = _store_gauge(registry)
        self.subscriptions = gauge(
            "spica_channels_subscriptions", "Subscriptions of channels.", ["channels"]
        )
        self.tasks = gauge("spica_tasks_running", "Tasks of app.tasks.")

    def add_series(
        self, key: tuple[str, str, int]
    ) -> tuple[Callable[[float], None], Callable[[float], None]]:
        """Return the functions that record a request with these labels, and remember them."""
        method, route, status_code = key
        observe = self.duration.labels(method, route, str(status_code)).observe
        found = self.series[key] = (observe, self.body_bytes.labels(method, route).inc)
        return found

    def refresh(self, app: Any) -> None:
        """Set the gauges of the process. Without an event loop, those of threads stay unchanged."""
        self.refresh_at = perf_counter() + REFRESH_SECONDS
        tasks = getattr(app, "_tasks", None)  # app.tasks would create them
        if tasks is not None:
            self.tasks.set(len(tasks))
        for name, store in self.stores.items():
            self.available.labels(name).set(store.is_available)
        for name, channels in self.channels.items():
            self.subscriptions.labels(name).set(channels.subscription_count)
        try:
            for name in THREAD_GROUPS:
                threads: concurrency.ThreadLimiter = getattr(concurrency, name)
                self.running.labels(threads.name).set(threads.running)
                self.waiting.labels(threads.name).set(threads.waiting)
        except RuntimeError:
            pass  # AnyIO: no event loop runs in this thread


def _store_gauge(registry: CollectorRegistry) -> Gauge:
    # A sum over processes would say nothing: one of them without the store is the news.
    return Gauge(
        "spica_store_available",
        "0 while the last operations of a store have failed.",
        ["store"],
        multiprocess_mode="livemin",
        registry=registry,
    )


class _GaugeFactory:
    """Make gauges whose values are summed over the living worker processes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def __call__(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, text, labels, multiprocess_mode="livesum", registry=self.registry)


_made: WeakKeyDictionary[CollectorRegistry, _Metrics] = WeakKeyDictionary()


def _metrics_of(registry: CollectorRegistry, buckets: Sequence[float]) -> _Metrics:
    """Return the metrics in a registry. A second layer shares those of the first one."""
    metrics = _made.get(registry)
    if metrics is None:
        metrics = _made[registry] = _Metrics(registry, buckets)
    elif metrics.buckets != tuple(buckets):
        raise ValueError(
            f"MetricsMiddleware: buckets are {metrics.buckets!r:.80} in another layer with this registry. "
            "Use the same buckets, or pass another registry."
        )
    return metrics


def metrics_response(
    request: Request[Any] | None = None, *, registry: CollectorRegistry | None = None
) -> Response:
    """Return the metrics in the format that ``request`` accepts: text by default, or OpenMetrics.

    If PROMETHEUS_MULTIPROC_DIR is set, the response has the sums of all worker processes. Files of processes
    that have ended are removed from the sums of gauges. Call it in an ``async def`` endpoint, and do not let
    the internet reach that endpoint.

    Args:
        request: The request, for its Accept header.
        registry: The registry. The default is the global one.

    Example:
        ``async def metrics(request): return metrics_response(request)``
    """
    registry = REGISTRY if registry is None else registry
    metrics = _made.get(registry)
    if metrics is not None:
        metrics.refresh(None if request is None else request.scope.get("app"))
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if directory:
        _forget_dead_processes(directory)
        registry = CollectorRegistry()
        _multiprocess.MultiProcessCollector(registry)
    encode, content_type = choose_encoder("" if request is None else _accepted(request.headers))
    headers = {"Content-Type": content_type, "Cache-Control": "no-store"}
    return Response(encode(registry), headers=headers)


def _accepted(headers: Headers) -> str:
    return ", ".join(headers.getlist("accept"))


def _forget_dead_processes(directory: str) -> None:
    """Remove the gauges of processes that no longer run, which would otherwise count for ever."""
    if os.name == "nt":
        return  # Windows can't ask for a process with a signal
    for name in os.listdir(directory):
        match = re.fullmatch(r"gauge_live\w+_(\d+)\.db", name)
        if match and not _is_running(int(match[1])):
            _multiprocess.mark_process_dead(int(match[1]), directory)


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it belongs to another user
    return True
