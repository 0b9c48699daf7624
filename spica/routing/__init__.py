"""Routing: find the endpoint for a path, and the path for a route name.

This package only re-exports. Read its modules in this order:

1. ``router``: ``Router`` receives a request and asks its table.
2. ``table``: ``RouteTable.select`` looks the path up and enters the routes that could match.
3. ``routes``, ``mounts``, ``hosts``: ``Route._enter`` compares, sets the keys of the scope, and returns the
function
   that responds.
4. ``endpoint_apps``: the function calls your endpoint, which returns a response.
"""

from spica.routing.base import BaseRoute, Match, NoMatchFound, get_name
from spica.routing.endpoint_apps import request_response, websocket_session
from spica.routing.hosts import Host
from spica.routing.mounts import Mount
from spica.routing.patterns import (
    PARAM_FORMAT_REGEX,
    PARAM_REGEX,
    compile_path,
    replace_params,
)
from spica.routing.router import Router
from spica.routing.routes import Route, WebSocketRoute

__all__ = [
    "PARAM_FORMAT_REGEX",
    "PARAM_REGEX",
    "BaseRoute",
    "Host",
    "Match",
    "Mount",
    "NoMatchFound",
    "Route",
    "Router",
    "WebSocketRoute",
    "compile_path",
    "get_name",
    "replace_params",
    "request_response",
    "websocket_session",
]
