"""Check the state that requests share: is a memory of one process enough for all workers?"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from spica.checks.finding import Finding, warning
from spica.checks.walk import applications_of, layers_of, routes_of
from spica.routing.lifespan.own import describe_lifespan

MAX_DEPTH = 8
"""How many objects to follow from a layer or a lifespan function to its store."""

_WORKERS = (
    ("WEB_CONCURRENCY", r"(\d+)$"),
    ("UVICORN_WORKERS", r"(\d+)$"),
    ("GRANIAN_WORKERS", r"(\d+)$"),
    ("GUNICORN_CMD_ARGS", r"(?:.*\s)?(?:--workers[ =]|-w\s*)(\d+)"),
)
"""Environment variables with the number of worker processes, and how to read it."""


def workers_of(environment: Any) -> tuple[str, int]:
    """Return the variable that asks for the most workers, and their number; 1 without such a variable."""
    found = [("", 1)]
    for variable, pattern in _WORKERS:
        match = re.match(pattern, environment.get(variable, ""))
        if match:
            found.append((variable, int(match[1])))
    return max(found, key=_number)


def _number(found: tuple[str, int]) -> int:
    return found[1]


def check_state(application: Any) -> Iterator[Finding]:
    """Yield a finding for each user of a store or channels in the memory of one of several workers."""
    variable, workers = workers_of(os.environ)
    if workers < 2:
        return
    found: set[tuple[str, str, str]] = set()
    for owner, value, place in _owners_of(application):
        for memory in _reachable(value, MAX_DEPTH, set()):
            if (owner, memory, place) not in found:
                found.add((owner, memory, place))
                yield warning(
                    "memory-of-one-worker",
                    f"{owner} uses {memory}, and {variable} asks for {workers} workers: each of them has its "
                    'own. Open "sqlite:///var/state.db" for the workers of one machine, or "redis://..." for '
                    "several machines.",
                    place,
                )


def _owners_of(application: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield the name, an object with the arguments, and the place of everything that may have a store."""
    for app in applications_of(application):
        for recipe in getattr(app, "user_middleware", ()):
            values = [*recipe.args, *recipe.kwargs.values()]
            place = str(getattr(recipe, "_place", None) or "")
            yield getattr(recipe.cls, "__name__", "A middleware"), values, place
        lifespan = getattr(getattr(app, "router", app), "lifespan_context", None)
        for function in getattr(lifespan, "functions", ()):
            yield f"The lifespan {describe_lifespan(function)}", [function], ""
        yield "app.tasks", getattr(app, "tasks", None), ""
    for entry in routes_of(application):
        route: Any = entry.route
        for layer in layers_of(getattr(route, "app", None), getattr(route, "endpoint", None)):
            yield type(layer).__name__, layer, entry.place


def _reachable(value: Any, depth: int, seen: set[int]) -> Iterator[str]:
    """Yield the classes of in-memory backends that an object of spica refers to."""
    if not depth or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, list | tuple):
        inner = list(value)
    elif hasattr(value, "__self__"):  # a lifespan function such as channels.lifespan
        inner = [value.__self__]
    elif type(value).__module__.startswith("spica.") and not hasattr(value, "middleware_stack"):
        if getattr(value, "across", None) == "process":
            yield type(value).__name__
            return
        inner = _attributes(value)
    else:
        return
    for each in inner:
        yield from _reachable(each, depth - 1, seen)


def _attributes(value: Any) -> list[Any]:
    names = [*getattr(value, "__dict__", ())]
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    return [getattr(value, name, None) for name in names if name not in ("app", "__dict__")]
