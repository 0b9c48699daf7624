"""Settings of the application: what it shows, and limits that were taken away."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from spica._layers.body_limit import RequestBodyLimitMiddleware
from spica._layers.limits import FormLimitMiddleware
from spica.applications import Spica
from spica.checks.finding import Finding, info, warning
from spica.checks.walk import applications_of, layers_of, routes_of
from spica.concurrency import endpoint_threads, file_threads
from spica.formparsers import FormLimits


def check_settings(application: Any) -> Iterator[Finding]:
    """Yield what the settings open."""
    for app in applications_of(application):
        if isinstance(app, Spica):
            yield from _check_application(app)
        elif getattr(app, "middleware_stack", None) is not None:
            yield from check_limit_layers(layers_of(app.middleware_stack), "A router", "")
    for entry in routes_of(application):
        route: Any = entry.route
        name = f"{type(route).__name__} {entry.path!r}"
        layers = layers_of(getattr(route, "app", None), getattr(route, "endpoint", None))
        yield from check_limit_layers(layers, name, entry.place)
    for threads in (endpoint_threads, file_threads):
        if threads.max_wait_seconds is None:
            yield info(
                "unbounded-wait",
                f"Calls wait for one of the threads of {threads.name!r} without end: set max_wait_seconds.",
            )


def _check_application(app: Spica) -> Iterator[Finding]:
    name = type(app).__name__
    if app.debug:
        yield warning(
            "debug",
            f"{name}(debug=True) shows tracebacks, with source lines, to every client. Turn it on by a "
            'setting that production does not have: debug=config("DEBUG", cast=bool, default=False).',
        )
    if getattr(app, "max_body_size", None) == math.inf:
        yield _lifted(name, "max_body_size", "")
    yield from _check_form_limits(app.form_limits, name, "")


def check_limit_layers(layers: Any, name: str, place: str) -> Iterator[Finding]:
    """Yield which layers of ``name`` lift a limit."""
    for layer in layers:
        if isinstance(layer, RequestBodyLimitMiddleware) and layer.max_body_size is None:
            yield _lifted(name, "max_body_size", place)
        elif isinstance(layer, FormLimitMiddleware):
            yield from _check_form_limits(layer.limits, name, place)


def _check_form_limits(limits: FormLimits | None, name: str, place: str) -> Iterator[Finding]:
    for field in dataclasses.fields(limits) if limits is not None else ():
        if getattr(limits, field.name) == math.inf:
            yield _lifted(name, field.name, place)


def _lifted(name: str, setting: str, place: str) -> Finding:
    return warning(
        "limit-lifted",
        f"{name} has no limit for {setting}: one client can fill memory or disk. Give it the largest number "
        "that is needed.",
        place,
    )
