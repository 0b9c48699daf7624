"""The routes of an application as a table."""

from __future__ import annotations

from typing import Any

from spica.checks.walk import RouteEntry, routes_of
from spica.routing import Host, Mount, Route, WebSocketRoute
from spica.routing.mounted import mounted_app


def format_routes(application: Any) -> str:
    """Return one line for each route: methods, path, name, and what serves it."""
    rows = [_row(entry) for entry in routes_of(application)]
    if not rows:
        return "There are no routes."
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[3]]).rstrip())
    return "\n".join(lines)


def _row(entry: RouteEntry) -> tuple[str, str, str, str]:
    route: Any = entry.route
    name = getattr(route, "name", "") or ""
    if isinstance(route, (Mount, Host)):
        return type(route).__name__.upper(), entry.path or "/", name, _describe(mounted_app(route))
    if isinstance(route, WebSocketRoute):
        methods = "WEBSOCKET"
    else:
        allowed = route.allowed_methods() if isinstance(route, Route) else None
        methods = ",".join(sorted(allowed or ("*",)))
    return methods, entry.path, name, _describe(getattr(route, "endpoint", route))


def _describe(obj: Any) -> str:
    name = getattr(obj, "__qualname__", None)
    module = getattr(obj, "__module__", None)
    if name and module:
        return f"{module}.{name}"
    return f"{type(obj).__module__}.{type(obj).__qualname__}"
