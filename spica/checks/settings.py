"""Check settings: debug mode, and limits that are switched off."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterator
from typing import Any

from spica._layers.body_limit import RequestBodyLimitMiddleware
from spica._layers.limits import FormLimitMiddleware
from spica.applications import Spica
from spica.checks.finding import Finding, info, warning
from spica.checks.walk import applications_of, layers_of, routes_of
from spica.concurrency import endpoint_threads, file_threads
from spica.formparsers import FormLimits

DOCKER_SECONDS = 10.0
"""The time that ``docker stop`` gives a process before it kills it, unless ``--timeout`` names another."""

_SERVER_PERIODS = (
    ("UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN", r"([\d.]+)$", "uvicorn cancels open connections"),
    ("GRANIAN_WORKERS_KILL_TIMEOUT", r"([\d.]+)$", "granian kills its workers"),
    ("GUNICORN_CMD_ARGS", r".*--graceful-timeout[ =]([\d.]+)", "gunicorn kills its workers"),
)
"""Environment variables that set the time of a server to stop: the pattern of the seconds, and the effect."""


def check_settings(application: Any) -> Iterator[Finding]:
    """Yield the findings for the settings of applications, routers and routes."""
    for index, app in enumerate(applications_of(application)):
        if isinstance(app, Spica):
            yield from _check_application(app)
            if not index:  # the settings of the outermost application count
                yield from _check_drain(app, type(app).__name__)
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


def _check_drain(app: Spica, name: str) -> Iterator[Finding]:
    """Compare the time of a shutdown with the time that the server or supervisor gives."""
    total = app.readiness_delay_seconds + app.drain_seconds
    sum_of = "drain_seconds"
    if app.readiness_delay_seconds:
        sum_of = "readiness_delay_seconds + drain_seconds"
    for variable, pattern, effect in _SERVER_PERIODS:
        found = re.match(pattern, os.environ.get(variable, ""))
        if found and float(found[1]) < total:
            yield warning(
                "drain-cut",
                f"{name} needs {total:g} seconds to drain ({sum_of}), but {variable} is set: {effect} after "
                f"{found[1]} seconds. Set a longer time there, or a shorter one in {name}.",
            )
    if total > DOCKER_SECONDS:
        yield info(
            "drain-long",
            f"{name} needs {total:g} seconds to drain ({sum_of}). Check that your supervisor waits so long: "
            "docker kills after 10 seconds (docker stop --timeout), Kubernetes after 30.",
        )


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
