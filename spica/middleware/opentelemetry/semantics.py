"""Names and values of the semantic conventions of OpenTelemetry, for a request and its route.

Pure functions of a scope. They do not need the package opentelemetry.

Standards: OpenTelemetry semantic conventions for HTTP spans and HTTP metrics, stable.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from spica._http.host import parse_host
from spica.middleware._observing import KNOWN_METHODS
from spica.routing.route_pattern import route_template, strip_convertors

if TYPE_CHECKING:
    from spica.types import Scope

__all__ = [
    "KNOWN_METHODS",
    "known_methods",
    "redact_query",
    "request_attributes",
    "route_template",
    "strip_convertors",
]

Attributes = dict[str, str | int]

# Semantic conventions, `url.query`: the values of these keys are credentials of cloud storage.
_SECRET_KEYS = frozenset({"AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"})

_DEFAULT_PORTS = {"http": 80, "https": 443}


def known_methods() -> frozenset[str]:
    """Return the methods to report by name. An environment variable can replace the default list."""
    listed = os.environ.get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "")
    methods = frozenset(stripped for part in listed.split(",") if (stripped := part.strip()))
    return methods or KNOWN_METHODS


def request_attributes(scope: Scope, scheme: str) -> Attributes:
    """Return the attributes of a request that are known before its response, without method and scheme."""
    attributes: Attributes = {"url.path": scope["path"]}
    query: bytes = scope.get("query_string", b"")
    if query:
        attributes["url.query"] = redact_query(query.decode("latin-1"))
    host = user_agent = b""
    for name, value in scope.get("headers", ()):
        if name == b"host":
            host = value
        elif name == b"user-agent":
            user_agent = value
    _add_server(attributes, parse_host(host.decode("latin-1")), scope, scheme)
    attributes.update(protocol_attributes(scope))
    client = scope.get("client")
    if client and client[0]:
        attributes["client.address"] = client[0]
    if user_agent:
        attributes["user_agent.original"] = user_agent.decode("latin-1")
    return attributes


def _add_server(
    attributes: Attributes, named: tuple[str, int | None] | None, scope: Scope, scheme: str
) -> None:
    """Add the address and port that the client requested, or else those of the server."""
    server = scope.get("server")
    port: int | None = None
    if named is not None:
        address, port = named
        if port is None:
            port = _DEFAULT_PORTS.get(scheme)
    elif server and server[1] is not None:
        address, port = server
    else:
        return
    attributes["server.address"] = address.removeprefix("[").removesuffix("]")
    if port is not None:
        attributes["server.port"] = port


def protocol_attributes(scope: Scope) -> Attributes:
    """Return the version of HTTP if the server reports it."""
    version = scope.get("http_version")
    return {"network.protocol.version": version} if version else {}


def redact_query(query: str) -> str:
    """Return a query string without the values of keys that are known as credentials."""
    if not any(key in query for key in _SECRET_KEYS):
        return query
    pairs = [pair.partition("=") for pair in query.split("&")]
    return "&".join(
        f"{key}=REDACTED" if equals and key in _SECRET_KEYS else f"{key}{equals}{value}"
        for key, equals, value in pairs
    )
