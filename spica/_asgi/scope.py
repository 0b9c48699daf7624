"""Names of the scope keys that spica writes, and functions that read them.

The scope is the ASGI connection dict (ASGI HTTP & WebSocket specification, "Connection Scope"). spica
writes to the one dict the server made, so that the layers outside see the results of the layers inside
afterwards: the route, its parameters, the prefix of a mount. Keys that other packages read keep the name
that they know. ``path`` and ``raw_path`` are rewritten in one case only: the first mount puts back a prefix
that a proxy has stripped, since the application below needs a path that includes ``root_path``.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from spica.exceptions import HTTPException
from spica.types import Scope

EXCEPTION_HANDLERS = "starlette.exception_handlers"
"""Handlers published by the exception layer: ``(by exception class, by status code)``."""

UNANSWERED = "spica.unanswered"
"""A list of the exceptions of a WebSocket that no handler could answer, because it was closed."""

MAX_BODY_SIZE = "starlette.max_body_size"
"""The body limit in force, in bytes; None: no limit. Absent: the default of ``spica._asgi.body``."""

BODY_LIMIT = "spica.body_limit"
"""The ``BodyLimit`` that all channels over one connection obey, also below a copy of the scope."""

BODY_DEADLINE = "spica.body_deadline"
"""The ``BodyDeadline`` that the layers have set. Absent: the default of ``spica._asgi.deadline``."""

DEADLINE = "spica.deadline"
"""The ``Deadline`` of the request that a timeout layer has set, or None."""

RESPONSE_STARTED = "spica.response_started"
"""Set when a streamed response starts. Then the limits of time for the request body end."""

FORM_LIMITS = "spica.form_limits"
"""The ``FormLimits`` that the layers have set. Absent, or None in it: the default."""

CLEANUP = "spica.cleanup"
"""The ``Cleanup`` of the connection: see ``spica._asgi.cleanup``."""

SENT_BY_HAND = "spica.sent_by_hand"
"""Present once user code has started the response with ``request._send``."""

CSP_NONCE = "spica.csp_nonce"
"""A list with the nonce of the response: see ``read_nonce``. ``SecurityHeadersMiddleware`` sets it."""

REQUEST_ID = "spica.request_id"
"""The id of the request, which `RequestIdMiddleware` sets."""

API_KEY = "spica.api_key"
"""The name of the header from which the endpoint or a layer has read an API key: see `api_key`."""

IDENTITY_FIELDS = frozenset(
    (
        b"api-key cf-access-authenticated-user-email remote-user tailscale-user-login "
        b"x-access-token x-amz-security-token x-amzn-oidc-identity x-api-key x-auth-request-email "
        b"x-auth-request-user x-auth-token x-forwarded-client-cert x-forwarded-email "
        b"x-forwarded-user x-goog-authenticated-user-id x-ms-client-principal-id x-remote-user "
        b"x-ssl-client-cert"
    ).split()
)
"""Usual fields, besides Authorization and Cookie, that name the user: API keys, and fields of proxies that
authenticate users. A layer must not take such a request for anonymous. The list can't be complete."""

PENDING_EDITS = "spica.pending_edits"
"""Edits of the layers an exception passed, innermost first; the error page receives them too."""

OUTER_APP = "_outer_app"
"""The attribute of a mounted application that holds the application around it."""

IN_LIFESPAN: ContextVar[bool] = ContextVar("spica_in_lifespan", default=False)
"""Whether a lifespan function starts, or a task runs that it has started."""

SHUTDOWN = "_shutdown"
"""The attribute of the outermost application that holds its ``Shutdown``, once it was needed."""


def find_shutdown(scope: Scope) -> Any:
    """Return the ``Shutdown`` of the outermost application of a connection; None if there is none yet."""
    # The dict of the object: an app of another kind may invent any attribute.
    attributes = getattr(scope.get("app"), "__dict__", None)
    if not attributes:
        return None
    while OUTER_APP in attributes:
        attributes = attributes[OUTER_APP].__dict__
    return attributes.get(SHUTDOWN)


def read_nonce(holder: list[str]) -> str:
    """Return the nonce of a response: 16 random bytes in base64 (CSP Level 3 s.2.3.1, s.7.1).

    ``holder`` is the list in the scope. It is empty until the nonce is first read. An empty string in it
    means that the headers are written.

    Raises:
        RuntimeError: The headers have been written without a nonce.
    """
    if not holder:
        import base64  # imported late: few applications need it

        holder.append(base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("="))
    elif not holder[0]:
        raise RuntimeError(
            "request.csp_nonce was first read after the headers of the response were sent, so the browser "
            "does not know it. Read it before you return the response."
        )
    return holder[0]


def check_header_size(scope: Scope) -> None:
    """Refuse request headers that are larger than the application allows.

    Called when the headers are first read, since a request whose headers are never read costs nothing.

    Raises:
        HTTPException: 431, the names and values have more than ``max_header_size`` bytes (RFC 6585 s.5).
    """
    limit = getattr(scope.get("app"), "max_header_size", None)
    if limit is None:
        return
    size = 0
    for name, value in scope["headers"]:
        size += len(name) + len(value)
    if size > limit:
        raise HTTPException(431, f"The request headers are larger than {limit} bytes.")


def get_route_path(scope: Scope) -> str:
    """Return the part of the path that patterns match: ``path`` without ``root_path``.

    The prefix is only taken off at a segment boundary: below ``/api`` the path ``/apis`` is itself.
    """
    root_path: str = scope.get("root_path", "")
    path: str = scope["path"]
    return path_below(root_path, path) if root_path else path


def path_below(root_path: str, path: str) -> str:
    """Return ``path`` without ``root_path`` (not empty), or ``path`` itself if it is not below."""
    if root_path[-1] == "/":
        root_path = root_path.rstrip("/")
    if path.startswith(root_path):
        rest = path[len(root_path) :]
        if not rest or rest[0] == "/":
            return rest
    return path


def public_path(scope: Scope) -> str:
    """Return the path as the client requested it, with the prefix that a proxy has stripped.

    The ASGI specification has ``path`` include ``root_path``. Some servers and frameworks set ``root_path``
    and leave ``path`` as the proxy sent it, so a path that is not below ``root_path`` gets the prefix here.
    """
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "").rstrip("/")
    # A path without a slash in front is not a path: "*" of OPTIONS, or a whole URL (RFC 9112 s.3.2).
    if not prefix or path[:1] != "/" or path == prefix or path.startswith(prefix + "/"):
        return path
    return prefix + path


def restore_prefix(scope: Scope) -> None:
    """Put the prefix that a proxy has stripped back into ``path`` and ``raw_path``."""
    path = public_path(scope)
    if path is scope["path"]:
        return
    prefix = path[: len(path) - len(scope["path"])]
    scope["path"] = path
    if scope.get("raw_path") is not None:
        scope["raw_path"] = (
            urllib.parse.quote(prefix, safe="/%:@!$&'()*+,;=~").encode() + scope["raw_path"]
        )


MAX_LENGTH_DIGITS = 20
"""Limit of digits of a Content-Length to compare. With more digits, the bytes count as they arrive."""


def declared_size(scope: Scope) -> int:
    """Return the Content-Length of a request in bytes; 0 if it is missing or invalid."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and len(value) < MAX_LENGTH_DIGITS:
            return int(value)
    return 0


def send_raises_on_disconnect(scope: Scope) -> bool:
    """Return whether ``send`` raises OSError once the client has left (ASGI spec version 2.4)."""
    version: str = scope.get("asgi", {}).get("spec_version", "2.0")
    major, _, minor = version.partition(".")
    return (major, minor.zfill(3)) >= ("2", "004")


if TYPE_CHECKING:
    _Base = Mapping[str, Any]
else:
    _Base = object


def make_room(first: object, *classes: type) -> None:
    """Set every attribute that the classes declare on ``first``, the first object of its class.

    CPython reserves room in each object for the attributes of the first objects of its class, and for one
    more. Further attributes move to a dict, which takes 0.2 us per object.
    """
    for cls in classes:
        for name in cls.__annotations__:
            setattr(first, name, None)


class ScopeMapping(_Base):
    """A read-only mapping over a scope. Each connection is equal only to itself.

    It has the methods of ``collections.abc.Mapping`` but not its metaclass, which makes the creation of
    objects slower.
    """

    scope: Scope

    if not TYPE_CHECKING:
        __contains__, get, keys = Mapping.__contains__, Mapping.get, Mapping.keys
        items, values = Mapping.items, Mapping.values
    __eq__, __hash__ = object.__eq__, object.__hash__  # pyright: ignore[reportAssignmentType]

    def __len__(self) -> int:
        return len(self.scope)

    def __iter__(self) -> Iterator[str]:
        yield from self.scope

    def __getitem__(self, key: str) -> Any:
        return self.scope[key]


if not TYPE_CHECKING:
    Mapping.register(ScopeMapping)
