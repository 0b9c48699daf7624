"""Compute a response in the background: the request, and the ``send`` that keeps the response."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import anyio

from spica._asgi.scope import CLEANUP, CSP_NONCE, PENDING_EDITS, RESPONSE_STARTED, SENT_BY_HAND

if TYPE_CHECKING:
    from spica.types import Message, Scope

_OF_REQUEST = (CLEANUP, CSP_NONCE, PENDING_EDITS, RESPONSE_STARTED, SENT_BY_HAND)
_CONDITIONS = (b"if-", b"range", b"cache-control")


def add_tag(start: Any, body: bytes) -> None:
    """Give a response without a validator a weak entity tag, so that clients can revalidate it."""
    if start.status_code != 200:
        return
    if not any(name in (b"etag", b"last-modified") for name, _ in start.raw_headers):
        digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        start.raw_headers.append((b"etag", f'W/"{digest}"'.encode()))


def copy_scope(scope: Scope) -> Scope:
    """Return the scope of a GET like this one, without its conditions and what belongs to one request."""
    copy = {key: value for key, value in scope.items() if key not in _OF_REQUEST}
    if CSP_NONCE in scope:
        copy[CSP_NONCE] = []
    headers = [pair for pair in scope["headers"] if not pair[0].startswith(_CONDITIONS)]
    copy.update(method="GET", headers=headers, extensions={})
    if "state" in copy:
        copy["state"] = copy["state"].copy()
    return copy


class Start:
    """Status and headers of a response, as they are stored."""

    __slots__ = ("raw_headers", "status_code")

    def __init__(self, status_code: int, raw_headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code = status_code
        self.raw_headers = raw_headers


class Recorder:
    """The ``send`` of a computation in the background, which keeps the response."""

    __slots__ = ("body", "is_complete", "is_too_large", "max_size", "raw_headers", "status_code")

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.status_code = 0
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.is_too_large = False
        self.is_complete = False

    async def __call__(self, message: Message) -> None:
        """Keep the message."""
        if message["type"] == "http.response.start":
            self.status_code = message["status"]
            self.raw_headers = [*message.get("headers", ())]
        elif message["type"] == "http.response.body":
            if not self.is_too_large:
                self.body += message.get("body", b"")
                self.is_too_large = len(self.body) > self.max_size
            self.is_complete = not message.get("more_body", False)

    @property
    def is_whole(self) -> bool:
        """Whether the response has come to its end, and is not too large."""
        return self.is_complete and not self.is_too_large


class EmptyBody:
    """The ``receive`` of a request without a body, whose client stays."""

    __slots__ = ("is_read",)

    def __init__(self) -> None:
        self.is_read = False

    async def __call__(self) -> Message:
        """Return the empty body once, and then wait."""
        if self.is_read:
            await anyio.sleep_forever()
        self.is_read = True
        return {"type": "http.request", "body": b"", "more_body": False}
