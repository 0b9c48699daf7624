"""Send to a WebSocket without waiting for a slow peer."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import anyio

from spica._asgi import current_codec as codec
from spica._asgi.listener import Listener
from spica.websockets.state import WebSocketDisconnect, WebSocketDisconnected

if TYPE_CHECKING:
    from spica.websockets.connection import WebSocket

MAX_MESSAGES = 256
"""Default number of messages that wait in an outbox."""

MAX_SIZE = 1024 * 1024
"""Default size of the messages that wait in an outbox, in bytes: 1 MiB."""

FLUSH_SECONDS = 5.0
"""Seconds that the waiting messages have at the end of the block, and the close frame for a slow peer."""

# The registry of close codes that RFC 6455 s.11.7 founds
TRY_AGAIN_LATER = 1013
TOO_SLOW = "The peer is too slow."


class Outbox:
    """A bounded queue of messages to one WebSocket.

    A task sends the messages in order while the block runs. ``put`` never waits, so a slow peer delays no
    other. The messages that wait at the end of the block are still sent, for up to 5 seconds.

    ```python
    async def prices(websocket):
        await websocket.accept()
        async with Outbox(websocket) as outbox:
            listeners.add(outbox)
            try:
                await websocket.run(receive=change_subscription)
            finally:
                listeners.discard(outbox)
    ```

    When the connection breaks while sending, the block is cancelled and ends with ``WebSocketDisconnect``.

    Args:
        websocket: The WebSocket, accepted. If you also send to it directly, messages may change their order.
        max_messages: How many messages may wait.
        max_size: How many bytes may wait.
        on_full: What a message that does not fit does. "disconnect" closes the connection with 1013 (try
            again later), and the block ends with ``WebSocketDisconnect(1013)``. "drop_oldest" drops waiting
            messages, "drop_newest" drops this one.

    Attributes:
        dropped: How many messages were dropped.
        size: How many bytes wait.

    Raises:
        ValueError: A limit is less than 1, or ``on_full`` is another string.
    """

    def __init__(
        self,
        websocket: WebSocket[Any],
        *,
        max_messages: int = MAX_MESSAGES,
        max_size: int = MAX_SIZE,
        on_full: Literal["disconnect", "drop_oldest", "drop_newest"] = "disconnect",
    ) -> None:
        for name, limit in (("max_messages", max_messages), ("max_size", max_size)):
            if isinstance(limit, bool) or not isinstance(limit, int):
                raise TypeError(f"Outbox: {name} must be an int, not {limit!r:.80}.")
            if limit < 1:
                raise ValueError(f"Outbox: {name} must be at least 1, not {limit!r:.80}.")
        if on_full not in ("disconnect", "drop_oldest", "drop_newest"):
            raise ValueError(
                "Outbox: on_full must be 'disconnect', 'drop_oldest' or 'drop_newest', not "
                f"{on_full!r:.80}."
            )
        self._websocket = websocket
        self._max_messages = max_messages
        self._max_size = max_size
        self._on_full = on_full
        self._waiting: deque[tuple[str | bytes, int]] = deque()
        self._has_more: anyio.Event | None = None
        self._is_open = False
        self._is_finishing = False
        self._is_full = False
        self._lost: Exception | None = None
        self.size = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __bool__(self) -> bool:
        return True  # although no message may wait

    def put(self, data: str | bytes) -> bool:
        """Queue a message, a str or bytes, and return whether it will be sent.

        Call it in the thread of the event loop. Any task may call it, also for outboxes of other connections:
        it raises nothing if the peer is slow or has left.

        Raises:
            TypeError: ``data`` is neither str nor bytes.
            ValueError: ``data`` alone is larger than ``max_size``.
        """
        if isinstance(data, str):
            size = len(data) if data.isascii() else len(data.encode("utf-8", "surrogatepass"))
        elif isinstance(data, bytes):
            size = len(data)
        else:
            raise TypeError(f"Outbox.put() takes str or bytes, not {type(data).__name__}.")
        if size > self._max_size:
            raise ValueError(f"A message of {size} bytes exceeds max_size, {self._max_size} bytes.")
        if not self._is_open or self._is_full:
            return False
        if not self._has_room(size) and not self._make_room(size):
            return False
        self._waiting.append((data, size))
        self.size += size
        if self._has_more is not None:
            self._has_more.set()
        return True

    def put_json(self, data: Any) -> bool:
        """Encode ``data`` as JSON in a text message, and queue it as ``put`` does."""
        return self.put(codec.encode(data).decode())

    def _has_room(self, size: int) -> bool:
        return len(self._waiting) < self._max_messages and self.size + size <= self._max_size

    def _make_room(self, size: int) -> bool:
        if self._on_full == "drop_oldest":
            while not self._has_room(size):
                self.size -= self._waiting.popleft()[1]
                self.dropped += 1
            return True
        self.dropped += 1
        if self._on_full == "disconnect":
            self._is_full = True
            self._scope.cancel()
        return False

    async def __aenter__(self) -> Outbox:
        if self._is_open:
            raise RuntimeError("The outbox is open already. Create one for each block.")
        self._is_open = True
        self._scope = anyio.CancelScope()
        self._scope.__enter__()
        self._sender = Listener(self._send_all)
        self._sender.scopes.add(self._scope)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        error = exc
        if exc is None and not self._scope.cancel_called:
            try:
                await self._flush()
            except BaseException as cancellation:
                error = cancellation
        self._is_open = False
        await self._sender.finish()
        kind = None if error is None else type(error)
        is_ours = self._scope.__exit__(kind, error, getattr(error, "__traceback__", None))
        if error is not None and not is_ours:
            if error is not exc:
                raise error
            return False
        if self._is_full:
            await self._close()
            raise WebSocketDisconnect(TRY_AGAIN_LATER, TOO_SLOW) from None
        if self._lost is not None:
            raise self._lost from None
        self._sender.raise_error()
        return is_ours

    async def _send_all(self) -> None:
        """Send the messages, and return when the connection is over or the last one is sent."""
        websocket = self._websocket
        try:
            while True:
                while self._waiting:
                    data, size = self._waiting.popleft()
                    self.size -= size
                    if isinstance(data, str):
                        await websocket.send_text(data)
                    else:
                        await websocket.send_bytes(data)
                if self._is_finishing:
                    return
                self._has_more = anyio.Event()
                await self._has_more.wait()
        except (WebSocketDisconnect, WebSocketDisconnected) as exc:
            self._lost = exc
        finally:
            self._waiting.clear()
            self.size = 0

    async def _flush(self) -> None:
        """Wait until the messages are sent, for a while."""
        self._is_finishing = True
        self._is_open = False
        if self._has_more is not None:
            self._has_more.set()
        with anyio.move_on_after(FLUSH_SECONDS) as waiting:
            self._sender.scopes = {
                waiting
            }  # which the end of the sender cancels, instead of the block
            if not self._sender.is_over:
                await anyio.sleep_forever()

    async def _close(self) -> None:
        with anyio.move_on_after(FLUSH_SECONDS, shield=True):
            try:
                await self._websocket.close(TRY_AGAIN_LATER, TOO_SLOW)
            except (WebSocketDisconnect, WebSocketDisconnected):
                pass
