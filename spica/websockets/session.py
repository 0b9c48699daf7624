"""``websocket.run()``: serve a WebSocket message by message, with limits.

Standard: RFC 6455 s.7.4.1 (close codes), s.10.2 (the Origin of a handshake).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio

from spica._asgi.listener import Listener
from spica._asgi.scope import EXCEPTION_HANDLERS
from spica._diagnostics.arguments import check_strings
from spica._http.origins import find_cross_origin, parse_trusted_origins
from spica.concurrency import is_async_callable
from spica.exceptions import HTTPException, WebSocketException
from spica.shutdown import shutdown_of_scope
from spica.websockets.state import (
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
    is_disconnect,
)

if TYPE_CHECKING:
    from spica.types import Message

Handler: TypeAlias = Callable[[Any], Awaitable[object]]

MAX_MESSAGE_SIZE = 1024 * 1024
"""Default limit of a message, in bytes: 1 MiB."""

MAX_MESSAGES_PER_SECOND = 100.0
"""Default limit of messages per second, averaged over two seconds."""

BURST_SECONDS = 2.0
"""A peer may send the messages of so many seconds at once. Networks deliver them in bursts."""

HEARTBEAT = "ping"
HEARTBEAT_ANSWER = "pong"

CLOSE_SECONDS = 5.0
"""Seconds that the close frame may take to a peer that reads nothing."""

# RFC 6455 s.7.4.1, and the registry of IANA that it founds
GOING_AWAY, UNSUPPORTED_DATA, POLICY_VIOLATION = 1001, 1003, 1008
MESSAGE_TOO_BIG, INTERNAL_ERROR = 1009, 1011


class Session:
    """One call of ``websocket.run()``, which describes the arguments."""

    def __init__(
        self,
        websocket: Any,  # a WebSocket, whose module imports this one
        receive: Handler,
        *,
        mode: Literal["text", "binary"] | None,
        subprotocol: str | None,
        heartbeat_seconds: float | None,
        max_message_size: float,
        max_messages_per_second: float | None,
        origins: Sequence[str] | None,
        at_shutdown: Literal["close", "leave"],
    ) -> None:
        if not is_async_callable(receive):
            raise TypeError(
                f"WebSocket.run: receive must be an `async def` function, not {receive!r:.80}."
            )
        for name, limit in (
            ("heartbeat_seconds", heartbeat_seconds),
            ("max_message_size", max_message_size),
            ("max_messages_per_second", max_messages_per_second),
        ):
            _check_limit(name, limit)
        if mode not in ("text", "binary", None):
            raise ValueError(f"WebSocket.run: mode must be 'text' or 'binary', not {mode!r:.80}.")
        if at_shutdown not in ("close", "leave"):
            raise ValueError(f"at_shutdown must be 'close' or 'leave', not {at_shutdown!r:.80}.")
        self._websocket = websocket
        self._handle = receive
        self._mode = mode
        self._subprotocol = subprotocol
        self._heartbeat_seconds = heartbeat_seconds
        self._max_size = max_message_size
        self._rate = None if max_messages_per_second is None else _Rate(max_messages_per_second)
        self._trusted = None if origins is None else _parse_origins(origins)
        self._received_at = 0.0
        self._scope = anyio.CancelScope()
        self._waiting: anyio.CancelScope | None = None
        self._closing: tuple[int, str] | None = None
        self.end_after_seconds: float | None = None
        self._ends_at_shutdown = at_shutdown == "close"

    async def run(self) -> None:
        """Serve the connection until it ends.

        Raises:
            HTTPException: 403, the handshake comes from a page of another origin.
            Exception: The handler raised it.
        """
        await self._open()
        shutdown = shutdown_of_scope(self._websocket.scope) if self._ends_at_shutdown else None
        heartbeat = None if self._heartbeat_seconds is None else Listener(self._beat)
        if shutdown is not None:
            shutdown.add_stream(self)
        try:
            with self._scope:
                await self._serve()
        finally:
            if shutdown is not None:
                shutdown.remove_stream(self)
            if heartbeat is not None:
                await heartbeat.finish()
        if self._closing is not None:
            await self._close(*self._closing)

    async def _open(self) -> None:
        websocket = self._websocket
        if self._trusted is not None:
            scope = websocket.scope
            reason = find_cross_origin(scope.get("scheme", "ws"), scope["headers"], self._trusted)
            if reason is not None:
                if websocket.application_state is WebSocketState.CONNECTING:
                    raise HTTPException(403, reason)
                raise WebSocketException(POLICY_VIOLATION, "Cross-origin request refused.")
        if websocket.application_state is WebSocketState.CONNECTING:
            await websocket.accept(self._subprotocol)
        self._received_at = anyio.current_time()

    async def _serve(self) -> None:
        """Pass each message to the handler, until the connection ends or ``_closing`` is set."""
        try:
            while self._closing is None:
                data = await self._next()
                if data is None:
                    return
                await self._handle(data)
        except Exception as exc:
            if is_disconnect(exc) and self._is_over():
                return  # the peer has left while the handler sent something
            if not self._is_handled(exc):
                await self._close(INTERNAL_ERROR, "")
            raise

    def _is_over(self) -> bool:
        left = WebSocketState.DISCONNECTED
        return self._websocket.client_state is left or self._websocket.application_state is left

    def _is_handled(self, exc: Exception) -> bool:
        """Return whether an exception handler closes the connection."""
        handlers = self._websocket.scope.get(EXCEPTION_HANDLERS)
        if handlers is None:
            return False
        return any(cls in handlers[0] for cls in type(exc).__mro__)

    async def _next(self) -> str | bytes | None:
        """Return the next message for the handler; None when the connection ends."""
        websocket = self._websocket
        while websocket.application_state is WebSocketState.CONNECTED:
            message: Message = {"type": ""}
            with anyio.CancelScope() as self._waiting:
                message = await websocket.receive()
            if self._waiting.cancelled_caught or message["type"] != "websocket.receive":
                return None
            self._waiting = None
            self._received_at = anyio.current_time()
            data = self._check(message)
            if self._closing is not None:
                return None
            if self._heartbeat_seconds is None or data != HEARTBEAT_ANSWER:
                return data
        return None

    def _check(self, message: Message) -> str | bytes:
        """Return the data of a message, and begin to close the connection if it exceeds a limit."""
        text: str | None = message.get("text")
        data: str | bytes = message["bytes"] if text is None else text
        size = len(data)
        if isinstance(data, str) and not data.isascii():
            size = len(data.encode("utf-8", "surrogatepass"))
        if size > self._max_size:
            self._closing = (MESSAGE_TOO_BIG, f"A message has at most {self._max_size} bytes.")
        elif self._is_of_other_mode(data):
            self._closing = (UNSUPPORTED_DATA, f"Send {self._mode} messages only.")
        elif self._rate is not None and not self._rate.allows(self._received_at):
            self._closing = (POLICY_VIOLATION, "Too many messages.")
        return data

    def _is_of_other_mode(self, data: str | bytes) -> bool:
        if self._mode is None or isinstance(data, str) is (self._mode == "text"):
            return False
        return self._heartbeat_seconds is None or data != HEARTBEAT_ANSWER

    async def _beat(self) -> None:
        """Send a heartbeat after each interval without a message, and end without an answer to it."""
        assert self._heartbeat_seconds is not None
        sent_at: float | None = None
        while True:
            silent_since = max(self._received_at, sent_at or 0.0)
            seconds = silent_since + self._heartbeat_seconds - anyio.current_time()
            if seconds > 0:
                await anyio.sleep(seconds)
            elif sent_at is not None and self._received_at <= sent_at:
                self.end("No answer to the heartbeat.")
                return
            else:
                sent_at = anyio.current_time()
                try:
                    await self._websocket.send_text(HEARTBEAT)
                except (WebSocketDisconnect, WebSocketDisconnected):
                    self.end()  # the connection is broken, or the handler has closed it
                    return

    def end(self, reason: str = "The server is shutting down.") -> None:
        """Close the connection with 1001 when the current call of the handler has ended."""
        self._closing = (GOING_AWAY, reason)
        if self._waiting is not None:
            self._waiting.cancel()

    def cancel(self) -> None:
        """Close the connection at once."""
        self.end()
        self._scope.cancel()

    async def _close(self, code: int, reason: str) -> None:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            try:
                await self._websocket.close(code, reason)
            except (WebSocketDisconnect, WebSocketDisconnected):
                pass  # the peer or the handler was faster
            else:
                self._websocket._was_lost = True


class _Rate:
    """A token bucket: how many messages a peer may still send."""

    __slots__ = ("_at", "_burst", "_left", "_per_second")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._burst = self._left = max(1.0, per_second * BURST_SECONDS)
        self._at = 0.0

    def allows(self, now: float) -> bool:
        """Count a message, and return whether it is allowed."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second) - 1
        self._at = now
        return self._left >= 0


def _check_limit(name: str, limit: float | None) -> None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, (int, float))):
        raise TypeError(f"WebSocket.run: {name} must be a number, not {limit!r:.80}.")
    if limit is not None and not limit > 0:
        raise ValueError(f"WebSocket.run: {name} must be more than 0, not {limit!r:.80}.")


def _parse_origins(origins: Sequence[str]) -> frozenset[bytes]:
    location = "WebSocket.run: origins"
    check_strings(["*"] if origins == "*" else origins, location)
    return frozenset(origin.encode() for origin in parse_trusted_origins(origins, location))
