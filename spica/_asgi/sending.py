"""Wrappers around the server's ``send``: ``SendHook``, ``StartedSend``, ``HandSend`` and ``DenialSend``.

Standards: ASGI HTTP specification ("Response Start"), ASGI "WebSocket Denial Response".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol

from spica._asgi.cleanup import HasCleanup, nearest_cleanup
from spica._asgi.scope import CLEANUP, SENT_BY_HAND
from spica.datastructures import MutableHeaders
from spica.exceptions import HTTPException

if TYPE_CHECKING:
    from spica.types import Message, Scope, Send

DENIAL_TYPES = {
    "http.response.start": "websocket.http.response.start",
    "http.response.body": "websocket.http.response.body",
}
"""ASGI "WebSocket Denial Response" extension: an HTTP response to a WebSocket handshake."""


class StartedSend:
    """Remember whether the response has started, after which an error can't be answered any more.

    With ``hand_scope``, the scope of the request, a second response is dropped if the first one was sent by
    hand. A foreign app, for example FastAPI, sends the response that an endpoint returns even if the endpoint
    has already sent one.
    """

    __slots__ = ("hand_scope", "has_started", "send")

    def __init__(self, send: Send, hand_scope: Scope | None = None) -> None:
        self.send = send
        self.hand_scope = hand_scope
        self.has_started = False

    def __call__(self, message: Message) -> Awaitable[None]:
        """Send ``message``, once awaited, unless it belongs to a second response."""
        if message["type"] == "http.response.start":
            return self._send_start(message)
        return self.send(message)  # a coroutine less for each message

    async def _send_start(self, message: Message) -> None:
        if self.has_started and self.hand_scope is not None and SENT_BY_HAND in self.hand_scope:
            self.send = _drop
            return
        self.has_started = True
        try:
            await self.send(message)
        except HTTPException:
            self.has_started = False  # a layer outside has refused it: nothing was sent
            raise


async def _drop(message: Message) -> None:
    """Ignore a message of a response that is not sent."""


class SendHook:
    """Pass each message to ``send``, and messages of some types to a hook first.

    Every layer that watches or edits the messages of a foreign app wraps ``send`` in one of these.

    Args:
        send: The ``send`` of the server or of the layer outside.
        hook: Called with a message of one of ``types``. Returns the message to send instead, or None to send
            the message as it is. An exception that it raises reaches the app.
        types: The message types that the hook gets. By default only the start of an HTTP response.
    """

    __slots__ = ("has_run", "hook", "send", "types")

    def __init__(
        self,
        send: Send,
        hook: Callable[[Message], Message | None],
        types: Collection[str] = ("http.response.start",),
    ) -> None:
        self.send = send
        self.hook = hook
        self.types = types
        self.has_run = False
        """Whether the hook has been called: by default, whether the response has started."""

    def __call__(self, message: Message) -> Awaitable[None]:
        """Send ``message``, once awaited, or the replacement that the hook returns."""
        if message["type"] in self.types:
            self.has_run = True
            message = self.hook(message) or message
        return self.send(message)  # a coroutine less for each message


class StartMessage:
    """The status and headers of a start message, as an edit may change them.

    ASGI lets an app leave out the headers.
    """

    __slots__ = ("headers", "status_code")

    def __init__(self, message: Message) -> None:
        self.status_code: int = message["status"]
        self.headers = MutableHeaders(raw=list(message.get("headers", ())))

    def write(self, message: Message) -> Message:
        """Return a copy of ``message`` with this status and these headers."""
        return {**message, "status": self.status_code, "headers": self.headers.raw}


class SendsByHand(HasCleanup, Protocol):
    """A request whose ``_send`` user code uses."""

    _edits: Any


class HandSend(StartedSend):
    """The ``send`` that user code gets as ``request._send`` and as ``self.send`` of a class endpoint.

    It applies the edits that the layers have registered for the request, and records the start, so that no
    layer sends the returned response as well.
    """

    __slots__ = ("request", "start")

    on_start: Callable[[Any], None] | None = None
    """Called with the request at each start. The layers set it, to remember the endpoint."""

    def __init__(self, send: Send, request: SendsByHand) -> None:
        super().__init__(send)
        self.request = request
        self.start: Message | None = None  # the message that was sent

    def __call__(self, message: Message) -> Awaitable[None]:
        """Send ``message``, once awaited; edit it first if it starts the response."""
        if message["type"] == "http.response.start":
            if self.has_started:
                raise RuntimeError("request._send: the response has already started.")
            request = self.request
            request.scope[SENT_BY_HAND] = True
            nearest_cleanup(request).record_hand_send(self)
            edits = request._edits
            if edits:
                start = StartMessage(message)
                while edits:
                    edit, edits = edits  # the innermost first
                    edit(request, start)
                message = start.write(message)
            self.start = message
            on_start = HandSend.on_start
            if on_start is not None:
                on_start(request)
        return super().__call__(message)


def has_started_by_hand(request: HasCleanup) -> bool:
    """Return whether user code has started the response to ``request`` itself."""
    try:
        cleanup = request._cleanup
    except AttributeError:
        cleanup = None  # a subclass skipped `__init__`
    if cleanup is None:
        cleanup = request.scope.get(CLEANUP)
    if cleanup is None or cleanup.hand_send is None:
        return False
    return cleanup.hand_send.has_started


class DenialSend:
    """Send an HTTP response to a WebSocket handshake.

    If the server does not offer the extension, the handshake is refused, and the response is dropped.
    """

    __slots__ = ("is_offered", "send")

    def __init__(self, send: Send, scope: Scope) -> None:
        self.send = send
        extensions = scope.get("extensions")
        if extensions is None:
            # ASGI: no extensions. A scope without "asgi" comes from a test, because every server sets it.
            self.is_offered = "asgi" not in scope
        else:
            self.is_offered = "websocket.http.response" in extensions

    async def __call__(self, message: Message) -> None:
        """Send ``message`` under its name in the denial response extension, if it has one."""
        kind = DENIAL_TYPES.get(message["type"])
        if kind is None:
            await self.send(message)
        elif self.is_offered:
            await self.send({**message, "type": kind})
        elif message["type"] == "http.response.start":
            # RFC 6455 s.7.4.1: 1008, "violates its policy". No peer sees it: the server answers 403.
            await self.send({"type": "websocket.close", "code": 1008, "reason": ""})
