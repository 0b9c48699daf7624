"""Check settings: debug mode, and limits that are switched off."""

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
    """Yield the findings for the settings of applications, routers and routes."""
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
                f"Calls wait forever for a free thread of {threads.name!r}. Set max_wait_seconds.",
            )


def _check_application(app: Spica) -> Iterator[Finding]:
    name = type(app).__name__
    if app.debug:
        yield warning(
            "debug",
            f"{name}(debug=True) shows tracebacks with source lines to every client. Read it from a setting "
            'that production does not have: debug=config("DEBUG", cast=bool, default=False).',
        )
    if getattr(app, "max_body_size", None) == math.inf:
        yield _lifted(name, "max_body_size", "")
    yield from _check_form_limits(app.form_limits, name, "")


def check_limit_layers(layers: Any, name: str, place: str) -> Iterator[Finding]:
    """Yield a finding for each layer that switches a limit off. ``name`` and ``place`` locate it."""
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
        f"{name} has no limit for {setting}, so one client can fill memory or disk. Set the largest number "
        "that you need.",
        place,
    )
