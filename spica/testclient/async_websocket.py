"""The WebSocket session of `AsyncTestClient`."""

from types import TracebackType
from typing import Any, Literal, NoReturn, Self

import anyio
import anyio.lowlevel

from spica.testclient.async_exchange import AsyncWebSocketExchange, BrokenOff
from spica.testclient.connections import Connections
from spica.testclient.exchange import Signal
from spica.testclient.interface import codec_of
from spica.testclient.tasks import place_of_wait
from spica.testclient.websocket import (
    WebSocketDenialResponse,
    checked_mode,
    frame_data,
    make_denial,
    no_message_error,
    raise_on_close,
)
from spica.testclient.websocket_exchange import CLOSE, DENIAL_START
from spica.types import Message, Scope
from spica.websockets import WebSocketDisconnect


class AsyncWebSocketSession:
    """A WebSocket connection to an application, from `AsyncTestClient.websocket`.

    Entering it makes the connection. Leaving it closes the connection with code 1000 and waits for
    the application. An exception of the application is raised at the next ``receive``, on entering
    or on leaving.

    Attributes:
        accepted_subprotocol: the subprotocol that the application chose, or None.
        extra_headers: the headers of the accept message, or None before it.
        scope: the scope of the connection.
    """

    def __init__(self, scope: Scope, connections: Connections) -> None:
        """Prepare a session. The application runs once you enter it."""
        self.name = f"WebSocket {scope['path']}"
        self.scope = scope
        self.accepted_subprotocol: str | None = None
        self.extra_headers: list[tuple[bytes, bytes]] | None = None
        self._connections = connections
        self._exchange: AsyncWebSocketExchange | None = None
        self._closed_with: Message | None = None

    async def __aenter__(self) -> Self:
        """Open the connection.

        Raises:
            WebSocketDisconnect: the application closed instead of accepting.
            WebSocketDenialResponse: the application sent a response of its own.
            AssertionError: it returned without an answer, or broke a rule of ASGI.
            TimeoutError: it did not answer in time.
        """
        connections = self._connections
        exchange = AsyncWebSocketExchange(connections.outbox(connections.timeout_seconds))
        app = connections.prepare(exchange)
        self._closed_with = None
        self._exchange = exchange
        connections.open.add(self)
        exchange.start_with(connections.runner, app, self.scope, self.name)
        try:
            message = await self.receive()
            raise_on_close(message)
            if message["type"] == DENIAL_START:
                raise await self._read_denial(message)
        except BaseException:
            await self.abandon()
            raise
        self.accepted_subprotocol = message.get("subprotocol")
        self.extra_headers = list(message.get("headers", ()))
        return self

    async def _read_denial(self, start: Message) -> WebSocketDenialResponse:
        pieces = []
        more = True
        while more:
            message = await self.receive()
            pieces.append(bytes(message.get("body", b"")))
            more = message.get("more_body", False)
        return make_denial(start, pieces)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection, wait for the application, and raise its exception."""
        if self._exchange is None:
            return
        exchange = self._exchange
        await self.abandon()
        failure = exchange.take_failure()
        if failure is not None and self._is_for_test(failure):
            raise failure

    def _is_for_test(self, failure: BaseException) -> bool:
        return self._connections.raise_app_exceptions or not isinstance(failure, Exception)

    async def abandon(self) -> None:
        """Disconnect, and wait for the end of the application, without raising its exception."""
        exchange, self._exchange = self._exchange, None
        self._connections.open.discard(self)
        if exchange is not None:
            await exchange.leave()

    def _live_exchange(self) -> AsyncWebSocketExchange:
        if self._exchange is None:
            raise RuntimeError(
                "The WebSocket session is not connected: use it as a context manager, "
                "`async with client.websocket(...) as session:`."
            )
        return self._exchange

    # Sending

    async def send(self, message: Message) -> None:
        """Send an ASGI message to the application unchanged.

        The session does not wait for the application: messages queue until it receives them.
        """
        self._live_exchange().feed(message)
        await anyio.lowlevel.checkpoint()  # a test that only sends must not stop the event loop

    async def send_text(self, data: str) -> None:
        """Send a text frame."""
        await self.send({"type": "websocket.receive", "text": data})

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        await self.send({"type": "websocket.receive", "bytes": data})

    async def send_json(self, data: Any, mode: Literal["text", "binary"] = "text") -> None:
        """Send a value as JSON, in a frame of the kind `mode`.

        Raises:
            RuntimeError: `mode` is neither "text" nor "binary".
        """
        encoded = codec_of(self._connections.app).encode(data)
        if checked_mode(mode) == "text":
            await self.send_text(encoded.decode())
        else:
            await self.send_bytes(encoded)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection from this side (RFC 6455 s.7.4 for the codes)."""
        self._live_exchange().disconnect(code, reason)

    # Receiving

    async def receive(self, timeout_seconds: float | None = None) -> Message:
        """Wait for the application's next message and return it as it is.

        Args:
            timeout_seconds: the time to wait; by default, that of the client.

        Raises:
            WebSocketDisconnect: the application has closed, and the test has received its close
                message; or a fault of `AsyncTestClient.faults` broke the connection (1006).
            AssertionError: the application returned, so that no message can come any more.
            TimeoutError: no message came in time.
        """
        exchange = self._live_exchange()
        if self._closed_with is not None:
            raise_on_close(self._closed_with)
        try:
            item = await exchange.outbox.get(timeout_seconds)
        except TimeoutError as error:
            place = place_of_wait(exchange.running)
            raise TimeoutError(f"{self.name}: {error} It waits {place}.") from None
        if item is Signal.ENDED:
            exchange.outbox.put(item)
            self._raise_end(exchange)
        if isinstance(item, BrokenOff):
            self._closed_with = {"type": CLOSE, "code": 1006, "reason": f"broke {item.reason}"}
            raise_on_close(self._closed_with)
        message: Message = item  # pyright: ignore[reportAssignmentType]
        if message["type"] == CLOSE:
            self._closed_with = message
        return dict(message)

    def _raise_end(self, exchange: AsyncWebSocketExchange) -> NoReturn:
        failure = exchange.take_failure()
        if failure is not None and self._is_for_test(failure):
            raise failure
        if failure is not None:
            # RFC 6455 s.7.4.1: a server that fails closes with 1011
            raise WebSocketDisconnect(1011)
        raise no_message_error()

    async def receive_text(self, timeout_seconds: float | None = None) -> str:
        """Wait for a text frame; the errors are those of `receive`.

        Raises:
            WebSocketDisconnect: the application closed the connection.
            AssertionError: it sent a binary frame, or returned.
        """
        text: str = frame_data(await self.receive(timeout_seconds), "text")
        return text

    async def receive_bytes(self, timeout_seconds: float | None = None) -> bytes:
        """Wait for a binary frame; the errors are those of `receive`.

        Raises:
            WebSocketDisconnect: the application closed the connection.
            AssertionError: it sent a text frame, or returned.
        """
        data: bytes = frame_data(await self.receive(timeout_seconds), "bytes")
        return data

    async def receive_json(
        self, mode: Literal["text", "binary"] = "text", timeout_seconds: float | None = None
    ) -> Any:
        """Wait for a frame of the kind `mode` and decode its JSON; see `receive` for the errors.

        Raises:
            WebSocketDisconnect: the application closed the connection.
            AssertionError: it sent a frame of the other kind, or returned.
            json.JSONDecodeError: the frame is not JSON.
            RuntimeError: `mode` is neither "text" nor "binary".
        """
        key = "text" if checked_mode(mode) == "text" else "bytes"
        data = frame_data(await self.receive(timeout_seconds), key)
        return codec_of(self._connections.app).decode(data)
