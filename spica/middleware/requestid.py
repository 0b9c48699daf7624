"""Give each request an id, for logs and error reports: ``RequestIdMiddleware``.

The id is in the response, in a context variable, in each log record with ``RequestIdFilter``, in the access
log and in problem details. A user who reports the id of an error page lets you find its log.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Awaitable, Sequence
from contextvars import ContextVar
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from spica._asgi.scope import REQUEST_ID
from spica._diagnostics.arguments import check_strings
from spica._diagnostics.middleware_order import IDENTIFIES
from spica._http.fields import is_token
from spica._originals import remember
from spica.layers import Answer, EditableResponse, Layer
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["RequestIdFilter", "RequestIdMiddleware", "request_id"]

request_id: ContextVar[str] = ContextVar("spica_request_id", default="-")
"""The id of the current request; "-" outside a request. It is also set in threads and background tasks."""

LOOPBACK = ("127.0.0.0/8", "::1/128")
"""Proxies on the same machine."""

_VALID = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch

_BLOCK = 64
_ids: list[str] = []


def _new_id() -> str:
    """Return 16 random bytes in hex. A system call makes many of them."""
    try:
        return _ids.pop()
    except IndexError:
        block = os.urandom(16 * _BLOCK).hex()
        _ids.extend(block[at : at + 32] for at in range(32, len(block), 32))
        return block[:32]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.clear)  # two processes must not use the same ids


class RequestIdFilter(logging.Filter):
    """Set ``request_id`` on each log record, so that formats can use ``%(request_id)s``. It drops nothing.

    Add it to a handler, not to a logger: filters of a logger do not see the records of its children.

    Example:
        ``handler.addFilter(RequestIdFilter())``
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the attribute and return True."""
        if not hasattr(record, "request_id"):
            record.request_id = request_id.get()
        return True


class RequestIdMiddleware(Layer):
    """Give each request and WebSocket an id, and send it in the response.

    A proxy that you trust may set the id. Any other client gets a new one, so that it can't make the log of
    one request look like another's. Put this layer first in the list, outside ``ProxyHeadersMiddleware``,
    which replaces the address of the proxy.

    Args:
        app: The inner app.
        field: The name of the header field in requests and responses.
        accept: Addresses and networks of peers whose ids are used, if they have 1 to 128 letters, digits or
            ``._-``. The default is proxies on the same machine. ``"unix"`` accepts peers without an address.

    Raises:
        TypeError: ``accept`` is not a list of strings, or ``field`` is not a string.
        ValueError: ``field`` is not a header name, or ``accept`` has a value that is not a network.

    Example:
        ``Middleware(RequestIdMiddleware, accept=["10.0.0.0/8"])``
    """

    middleware_traits = (IDENTIFIES,)

    def __init__(
        self, app: ASGIApp, *, field: str = "X-Request-ID", accept: Sequence[str] = LOOPBACK
    ) -> None:
        super().__init__(app)
        if not isinstance(field, str):
            raise TypeError(f"RequestIdMiddleware: field must be a string, not {field!r:.80}.")
        if not is_token(field):
            raise ValueError(
                f"RequestIdMiddleware: field must be a header name, not {field!r:.80}."
            )
        self.field = field
        self.accept = _check_networks(accept)
        self._name = field.lower().encode("ascii")
        self._networks = [ip_network(name, strict=False) for name in accept if name != "unix"]
        self._accepts = lru_cache(maxsize=1024)(self._is_accepted)

    def respond(self, request: Request[Any]) -> Awaitable[Answer]:
        """Set the id, and return the inner answer with it."""
        self._begin(request.scope)
        return self._layer_edited(self._layer_inner.respond, request, self._add_id)

    def _add_id(self, request: Request[Any], response: EditableResponse) -> None:
        # The name is encoded once, and no view of the headers is needed.
        name, value = self._name, request.scope[REQUEST_ID]
        fields = response.raw_headers if isinstance(response, Response) else response.headers.raw
        for known, _ in fields:
            if known == name:
                response.headers[self.field] = value
                return
        fields.append((name, value.encode()))

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do the same for a WebSocket: the id is in the response to its handshake."""
        if scope["type"] == "websocket":
            send = _HandshakeSend(send, (self._name, self._begin(scope).encode()))
        await self.inner.connect(scope, receive, send)

    def _begin(self, scope: Scope) -> str:
        """Set the id that a trusted peer has sent, or a new one."""
        name, value = self._name, ""
        for key, field in scope["headers"]:
            if key == name:
                client = scope.get("client")
                if _VALID(field) and self._accepts(client[0] if client else ""):
                    value = field.decode("ascii")
                break
        scope[REQUEST_ID] = value = value or _new_id()
        request_id.set(value)
        return value

    def _is_accepted(self, host: str) -> bool:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return "unix" in self.accept and (not host or host.startswith(("unix:", "/")))
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


remember(RequestIdMiddleware, "respond")


class _HandshakeSend:
    """Add a field to the response to the handshake of a WebSocket."""

    __slots__ = ("field", "send")

    def __init__(self, send: Send, field: tuple[bytes, bytes]) -> None:
        self.send = send
        self.field = field

    async def __call__(self, message: Message) -> None:
        if message["type"] in ("websocket.accept", "websocket.http.response.start"):
            message = {**message, "headers": [*message.get("headers", ()), self.field]}
        await self.send(message)


def _check_networks(accept: Sequence[str]) -> tuple[str, ...]:
    place = "RequestIdMiddleware: accept"
    if isinstance(accept, str):
        raise TypeError(
            f"{place} must be a list of strings, not {accept!r:.80}. Write [{accept!r:.80}]."
        )
    check_strings(accept, place)
    for name in accept:
        try:
            if name != "unix":
                ip_network(name, strict=False)
        except ValueError:
            raise ValueError(
                f"{place} has {name!r:.80}, which is not an address or a network such as '10.0.0.0/8'."
            ) from None
    return tuple(accept)
