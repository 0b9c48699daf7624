"""The WebSocket session of `TestClient`, and the exception for a denied handshake."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Literal, NoReturn, Self

from anyio.from_thread import BlockingPortal

from spica.testclient.exchange import Signal
from spica.testclient.interface import ASGI3App, codec_of, httpx
from spica.testclient.websocket_exchange import CLOSE, DENIAL_START, WebSocketExchange
from spica.types import Message, Scope
from spica.websockets import WebSocketDisconnect


class WebSocketDenialResponse(httpx.Response, WebSocketDisconnect):
    """The application answered the handshake with an HTTP response.

    The exception is this response, read to its end. It is also a `WebSocketDisconnect` with code 1006,
    because there was no connection.

    Args:
        status_code: the status of the response.
        **options: the options of ``httpx2.Response``.
    """

    def __init__(self, status_code: int, **options: Any) -> None:
        """Create the response."""
        WebSocketDisconnect.__init__(self, 1006)
        httpx.Response.__init__(self, status_code, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).__new__, (type(self),), self.__getstate__()

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        httpx.Response.__setstate__(self, state or {})


class WebSocketTestSession:
    """A WebSocket connection to an application, from `TestClient.websocket_connect`.

    Entering it opens the connection. Leaving it closes the connection with code 1000. An exception of the
    application is raised at the next ``receive``, on entering or on leaving.

    Args:
        app: the application, in the form of ASGI 3.
        scope: the scope of the handshake.
        portal_factory: returns a context manager for the portal of the event loop.

    Attributes:
        accepted_subprotocol: the subprotocol that the application chose, or None.
        extra_headers: the headers of the accept message, or None before it.
        scope: the scope of the connection.
        portal: the portal of the event loop that runs the application, while the session is open.
    """

    def __init__(
        self,
        app: ASGI3App,
        scope: Scope,
        portal_factory: Callable[[], AbstractContextManager[BlockingPortal]],
    ) -> None:
        """Prepare a session. The application runs once you enter it."""
        self.app = app
        self.scope = scope
        self.accepted_subprotocol: str | None = None
        self.extra_headers: list[tuple[bytes, bytes]] | None = None
        self.portal_factory = portal_factory
        self._exchange: WebSocketExchange | None = None
        self._closed_with: Message | None = None

    def __enter__(self) -> Self:
        """Open the connection.

        Raises:
            WebSocketDisconnect: the application closed instead of accepting.
            WebSocketDenialResponse: it answered with an HTTP response.
            AssertionError: it returned without an answer, or broke a rule of ASGI.
        """
        self._closed_with = None
        self._exchange = WebSocketExchange()
        self._resources = ExitStack()
        self.portal = self._resources.enter_context(self.portal_factory())
        try:
            self._exchange.start(self.portal, self.app, self.scope)
            message = self.receive()
            raise_on_close(message)
            if message["type"] == DENIAL_START:
                raise self._read_denial(message)
        except BaseException:
            self._leave()
            raise
        self.accepted_subprotocol = message.get("subprotocol")
        self.extra_headers = list(message.get("headers", ()))
        return self

    def _read_denial(self, start: Message) -> WebSocketDenialResponse:
        pieces = []
        more = True
        while more:
            message = self.receive()
            pieces.append(bytes(message.get("body", b"")))
            more = message.get("more_body", False)
        return make_denial(start, pieces)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection, wait for the application, and raise its exception."""
        failure = self._leave()
        if failure is not None:
            raise failure

    def _leave(self) -> BaseException | None:
        exchange, self._exchange = self._live_exchange(), None
        with self._resources:
            self.portal.call(exchange.leave)
        return exchange.take_failure()

    def _live_exchange(self) -> WebSocketExchange:
        if self._exchange is None:
            raise RuntimeError(
                "The WebSocket session is not connected: "
                "use it as a context manager, `with client.websocket_connect(...) as session:`."
            )
        return self._exchange

    # Sending

    def send(self, message: Message) -> None:
        """Send an ASGI message to the application unchanged."""
        exchange = self._live_exchange()
        self.portal.call(exchange.feed, message)

    def send_text(self, data: str) -> None:
        """Send a text frame."""
        self.send({"type": "websocket.receive", "text": data})

    def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        self.send({"type": "websocket.receive", "bytes": data})

    def send_json(self, data: Any, mode: Literal["text", "binary"] = "text") -> None:
        """Send a value as JSON, in a frame of the kind `mode`.

        Raises:
            RuntimeError: `mode` is another word.
        """
        encoded = codec_of(self.app).encode(data)
        if checked_mode(mode) == "text":
            self.send_text(encoded.decode())
        else:
            self.send_bytes(encoded)

    def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection from this side."""
        self.send({"type": "websocket.disconnect", "code": code, "reason": reason})

    # Receiving

    def receive(self) -> Message:
        """Wait for the application's next message, and return it unchanged.

        Raises:
            WebSocketDisconnect: the application has closed, and the test has received its close message.
            AssertionError: the application returned, so that no message can come any more.
        """
        exchange = self._live_exchange()
        if self._closed_with is not None:
            raise_on_close(self._closed_with)
        message = exchange.outbox.get()
        if message is Signal.ENDED:
            exchange.outbox.put(message)
            self._raise_end(exchange)
        if message["type"] == CLOSE:
            self._closed_with = message
        return dict(message)

    def _raise_end(self, exchange: WebSocketExchange) -> NoReturn:
        failure = exchange.take_failure()
        raise failure or no_message_error()

    def _receive_frame(self, key: str) -> Any:
        return frame_data(self.receive(), key)

    def receive_text(self) -> str:
        """Wait for a text frame.

        Raises:
            WebSocketDisconnect: the application closed the connection.
            AssertionError: it sent a binary frame, or returned.
        """
        text: str = self._receive_frame("text")
        return text

    def receive_bytes(self) -> bytes:
        """Wait for a binary frame.

        Raises:
            WebSocketDisconnect: the application closed the connection.
            AssertionError: it sent a text frame, or returned.
        """
        data: bytes = self._receive_frame("bytes")
        return data

    def receive_json(self, mode: Literal["text", "binary"] = "text") -> Any:
        """Wait for a frame of the kind `mode`, and decode its JSON.

        Raises:
            WebSocketDisconnect: the application closed the connection.
            AssertionError: it sent a frame of the other kind, or returned.
            json.JSONDecodeError: the frame is not JSON.
            RuntimeError: `mode` is another word.
        """
        return codec_of(self.app).decode(
            self.receive_text() if checked_mode(mode) == "text" else self.receive_bytes()
        )


def raise_on_close(message: Message) -> None:
    """Raise a `WebSocketDisconnect` for a close message."""
    if message["type"] == CLOSE:
        raise WebSocketDisconnect(message.get("code", 1000), message.get("reason"))


def frame_data(message: Message, key: str) -> Any:
    """Return the data of a frame of the kind `key`, "text" or "bytes".

    Raises:
        WebSocketDisconnect: the message closes the connection.
        AssertionError: it is a frame of the other kind.
    """
    raise_on_close(message)
    data = message.get(key)
    if data is None:
        raise AssertionError(
            f"The test waits for a frame of {key}, but the application sent {message!r:.200}."
        )
    return data


def make_denial(start: Message, pieces: list[bytes]) -> WebSocketDenialResponse:
    """Return the exception for the messages of a denial response."""
    return WebSocketDenialResponse(
        start["status"], headers=list(start.get("headers", ())), content=b"".join(pieces)
    )


def no_message_error() -> AssertionError:
    """Return the error for a test that waits for a message after the application has returned."""
    return AssertionError(
        "The test waits for a message, but the application has returned "
        "without sending another one, and without closing the connection."
    )


def checked_mode(mode: str) -> str:
    """Return the mode of a JSON frame.

    Raises:
        RuntimeError: it is neither "text" nor "binary".
    """
    if mode not in ("text", "binary"):
        raise RuntimeError(f'The "mode" argument should be "text" or "binary", not {mode!r}.')
    return mode
