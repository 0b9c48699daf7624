"""Routing: from a path to an endpoint, and from a name to a path. This package only re-exports."""

from spica.routing.base import BaseRoute, Match, NoMatchFound, get_name
from spica.routing.endpoint_apps import request_response, websocket_session
from spica.routing.mounts import Host, Mount
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
