"""The `WebSocket` class that endpoints use.

A `WebSocket` is the two-way counterpart of a request. It tracks the state of both sides, converts frames to
`str`, `bytes` or JSON values, and refuses messages that are not allowed in the current state. It does not
route (see `spica.routing`), and it does not frame or mask data: the server implements RFC 6455, and this
module implements the WebSocket messages of the ASGI specification.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, Literal

from spica._asgi import current_codec as codec
from spica._diagnostics.foreign_names import FIXES_OF_SOCKETS, explain_names
from spica.requests import HTTPConnection, StateT
from spica.types import ASGIApp, Message, Receive, Scope, Send
from spica.websockets.frames import (
    Frames,
    HandshakeHeaders,
    MalformedJSON,
    UnexpectedFrame,
    check_accept,
    check_close_message,
    encode_headers,
    prepare_reason,
)
from spica.websockets.handshake import past_handshake
from spica.websockets.read_ahead import ReadAhead, Switch
from spica.websockets.state import WebSocketDisconnect, WebSocketDisconnected, WebSocketState

if TYPE_CHECKING:
    from spica.websockets.patience import PatientReceive

__all__ = [
    "MalformedJSON",
    "UnexpectedFrame",
    "WebSocket",
    "WebSocketClose",
    "WebSocketDisconnect",
    "WebSocketDisconnected",
    "WebSocketState",
]


_CONNECTING, _CONNECTED = WebSocketState.CONNECTING, WebSocketState.CONNECTED
_DISCONNECTED, _RESPONSE = WebSocketState.DISCONNECTED, WebSocketState.RESPONSE

# ASGI "WebSocket Connection": the messages that each state allows, and the state that follows. Any other
# message is a mistake of the server (first table) or of the application (second table).
_AFTER_RECEIVE: dict[WebSocketState, dict[str, WebSocketState]] = {
    _CONNECTING: {"websocket.connect": _CONNECTED},
    _CONNECTED: {"websocket.receive": _CONNECTED, "websocket.disconnect": _DISCONNECTED},
}
_AFTER_SEND: dict[WebSocketState, dict[str, WebSocketState]] = {
    _CONNECTING: {
        "websocket.accept": _CONNECTED,
        "websocket.close": _DISCONNECTED,
        "websocket.http.response.start": _RESPONSE,
    },
    _CONNECTED: {"websocket.send": _CONNECTED, "websocket.close": _DISCONNECTED},
    _RESPONSE: {"websocket.http.response.body": _DISCONNECTED},
}


class WebSocket(HTTPConnection[StateT]):
    """One WebSocket connection on the server's side.

    It has all members of `HTTPConnection` (`url`, `headers`, `query_params`, `session`, ...). All other
    methods call `receive` and `send`, so override these in a subclass to see or change every message. You can
    also replace them on one object until `accept()`.

    Args:
        scope: the ASGI scope, whose type must be "websocket".
        receive, send: the ASGI callables of the connection.

    Attributes:
        client_state: the state of the peer's side.
        application_state: the state of your side.

    Example:
        ``await websocket.accept()``, then ``async for text in websocket.iter_text(): ...``
    """

    client_state: WebSocketState
    application_state: WebSocketState
    # Whether methods may skip `self.receive` and `self.send`: the connection is open, and both are original.
    _is_plain: bool

    _was_lost = False  # the connection broke, or spica has closed it: tasks that still send are not at fault
    _patience: Any = None  # a PatientReceive, which must be closed when the endpoint has ended

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wrap the connection.

        Raises:
            RuntimeError: the scope has another type than "websocket".
        """
        if scope["type"] != "websocket":
            raise RuntimeError(
                f"WebSocket needs a scope of type 'websocket', not {scope['type']!r}."
            )
        self.scope = scope
        self._receive = receive
        self._send = send
        self.client_state = self.application_state = _CONNECTING
        self._is_plain = False
        self._url = self._headers = self._query_params = self._cookies = None

    # The raw messages

    async def receive(self) -> Message:
        """Receive the next ASGI message and update `client_state`.

        Raises:
            WebSocketDisconnected: A disconnect message has already arrived.
            RuntimeError: The server sent a message that the state does not allow.
        """
        allowed = _AFTER_RECEIVE.get(self.client_state)
        if allowed is None:
            raise WebSocketDisconnected(
                'Cannot call "receive" once a disconnect message has been received.'
            )
        message = await self._receive()
        state = allowed.get(message["type"])
        if state is None:
            raise _out_of_place(allowed, message["type"])
        if state is _DISCONNECTED:
            self._is_plain = False
        self.client_state = state
        return message

    async def send(self, message: Message) -> None:
        """Send an ASGI message and update `application_state`.

        Raises:
            WebSocketDisconnected: You have already closed or denied the connection.
            RuntimeError: The state does not allow the message.
            TypeError, ValueError: A close code, a subprotocol or a header is not allowed.
            WebSocketDisconnect: The connection broke (code 1006).
        """
        allowed = _AFTER_SEND.get(self.application_state)
        if allowed is None:
            raise self._is_over('Cannot call "send" once a close message has been sent.')
        kind = message["type"]
        state = allowed.get(kind)
        if state is None:
            raise _out_of_place(allowed, kind)
        # ASGI "Close": code and reason of a refused handshake are never sent.
        if kind == "websocket.close" and self.application_state is _CONNECTED:
            message = check_close_message(message)
        elif kind == "websocket.accept":
            check_accept(message, self.scope)
        elif state is _DISCONNECTED and message.get("more_body", False):
            state = _RESPONSE
        self.application_state = state
        if state is not _CONNECTED:
            self._is_plain = False
        try:
            await self._send(message)
        except OSError as error:
            raise self._lost() from error
        if kind == "websocket.accept":
            self._is_plain = _has_original_methods(self)
            self._send = past_handshake(self._send, self)

    def _lost(self) -> WebSocketDisconnect:
        # ASGI "Disconnected client": a server's `send` raises OSError. The connection is over.
        self.application_state = _DISCONNECTED
        self._is_plain = False
        self._was_lost = True
        return WebSocketDisconnect(code=1006)

    def _is_over(self, mistake: str) -> Exception:
        # One task may send while another receives, so a broken connection is reported to both.
        return WebSocketDisconnect(code=1006) if self._was_lost else WebSocketDisconnected(mistake)

    # Opening and closing

    async def accept(
        self, subprotocol: str | None = None, headers: HandshakeHeaders | None = None
    ) -> None:
        """Wait for the peer's handshake request and accept it.

        Args:
            subprotocol: One of `scope["subprotocols"]`, which the peer offered, or None for no subprotocol.
            headers: Header lines for the response to the handshake.

        Raises:
            ValueError: The peer did not offer the subprotocol, so it would have to fail the connection
                (RFC 6455 s.4.1). Or a header has characters that are not allowed, or only the server may
                write it.
            RuntimeError: The connection is already accepted.
        """
        lines = encode_headers(headers) if headers else []
        if self.client_state is _CONNECTING:
            await self.receive()
        await self.send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": lines})
        if Switch.is_on:
            # A task of a channel may wait for the disconnect while the endpoint receives.
            self._receive = ReadAhead(self._receive)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection. Before `accept()`, this refuses the handshake with a 403.

        A refusal carries neither code nor reason, so it does not check them.

        Args:
            code: The close code (RFC 6455 s.7.4): 1000 to 1003, 1007 to 1014, or 3000 to 4999.
            reason: A string for the peer's log. A reason over 123 bytes of UTF-8 (RFC 6455 s.5.5) is cut
                between characters and ends with "...", and you get a `SpicaConfigurationWarning`.

        Raises:
            ValueError: `code` is not allowed in a close frame.
            TypeError: `code` is not an int, or `reason` is neither str nor None.
            WebSocketDisconnected: You have already closed the connection.
        """
        await self.send({"type": "websocket.close", "code": code, "reason": reason or ""})

    async def send_denial_response(self, response: ASGIApp) -> None:
        """Refuse the handshake with an HTTP response instead of a bare 403.

        Raises:
            RuntimeError: The server does not offer the extension `websocket.http.response`, or the
                handshake is over.
        """
        if "websocket.http.response" not in (self.scope.get("extensions") or ()):
            raise RuntimeError(
                "The server doesn't support the Websocket Denial Response extension."
            )
        await response(self.scope, self.receive, self.send)

    # Receiving

    def _next_frame(self) -> Awaitable[Message]:
        """Return the next message through `receive()`."""
        if self.application_state is not _CONNECTED:
            raise self._is_over('WebSocket is not connected. Need to call "accept" first.')
        return self.receive()

    def _why_not(self, expected: str, message: Message) -> Exception:
        """Return the error for a message without the expected data, and record a disconnect."""
        kind = message["type"]
        if kind == "websocket.disconnect":
            self.client_state = _DISCONNECTED
            self._is_plain = False
            # RFC 6455 s.7.1.5: a close frame without a code counts as 1005.
            return WebSocketDisconnect(message.get("code") or 1005, message.get("reason"))
        if kind != "websocket.receive":
            return _out_of_place(_AFTER_RECEIVE[_CONNECTED], kind)
        return UnexpectedFrame(expected, "binary" if expected == "text" else "text")

    async def receive_text(self, timeout_seconds: float | None = None) -> str:
        """Receive the next text frame.

        Args:
            timeout_seconds: Seconds that the peer may send nothing. 0 returns only a message that has
                arrived. No limit by default.

        Raises:
            ReceiveTimeout: `timeout_seconds` are over: a TimeoutError, which closes the connection with 1001
                if you do not handle it. No message is lost.
            WebSocketDisconnect: The peer has left.
            UnexpectedFrame: The peer sent a binary frame.
            WebSocketDisconnected: The connection is not accepted yet, or closed.
        """
        if timeout_seconds is not None:
            return await self._patient().within(timeout_seconds, self.receive_text)
        if self._is_plain:
            message = await self._receive()
        else:
            message = await self._next_frame()
        try:
            text: str | None = message["text"]  # faster than `get`
        except KeyError:
            text = None
        if text is None:
            raise self._why_not("text", message)
        return text

    async def receive_bytes(self, timeout_seconds: float | None = None) -> bytes:
        """Receive the next binary frame.

        Args:
            timeout_seconds: As in `receive_text()`.

        Raises:
            UnexpectedFrame: The peer sent a text frame.
            ReceiveTimeout, WebSocketDisconnect, WebSocketDisconnected: As in `receive_text()`.
        """
        if timeout_seconds is not None:
            return await self._patient().within(timeout_seconds, self.receive_bytes)
        message = await self._next_frame()
        data: bytes | None = message.get("bytes")
        if data is None:
            raise self._why_not("binary", message)
        return data

    async def receive_json(
        self, mode: str = "text", *, timeout_seconds: float | None = None
    ) -> Any:
        """Receive the next frame of the kind `mode` ("text" or "binary") and decode its JSON.

        Args:
            mode: The kind of frame.
            timeout_seconds: As in `receive_text()`.

        Raises:
            MalformedJSON: The frame is not JSON, or not UTF-8.
            RuntimeError: `mode` is neither "text" nor "binary".
            ReceiveTimeout, WebSocketDisconnect, UnexpectedFrame, WebSocketDisconnected: As in
                `receive_text()`.
        """
        _check_mode(mode)
        if timeout_seconds is not None:
            return await self._patient().within(timeout_seconds, partial(self.receive_json, mode))
        data = await (self.receive_text() if mode == "text" else self.receive_bytes())
        try:
            return codec.decode(data)
        except JSONDecodeError as error:
            raise MalformedJSON(error.msg, error.doc, error.pos) from None

    async def wait_for_disconnect(self) -> None:
        """Wait until the peer has left, also while another task receives messages.

        Up to 16 messages are read ahead, and the other task gets them later. Call this only after `accept()`,
        and before the other task first receives, unless `Channels` has started.
        """
        if not isinstance(self._receive, ReadAhead):
            self._receive = ReadAhead(self._receive)
        await self._receive.wait_for_disconnect()

    def _patient(self) -> PatientReceive:
        """Return a `receive` with time limits, which replaces that of the server."""
        patient: PatientReceive | None = self._patience
        if patient is None or self._receive is not patient:
            from spica.websockets.patience import PatientReceive  # on use: few connections need it

            patient = self._receive = self._patience = PatientReceive(self._receive)
        return patient

    def iter_text(self) -> AsyncIterator[str]:
        """Iterate over the text frames until the peer leaves (see `receive_text()`)."""
        return Frames(self.receive_text, WebSocketDisconnect)

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """Iterate over the binary frames until the peer leaves (see `receive_bytes()`)."""
        return Frames(self.receive_bytes, WebSocketDisconnect)

    def iter_json(self) -> AsyncIterator[Any]:
        """Iterate over the JSON in text frames until the peer leaves (see `receive_json()`)."""
        return Frames(self.receive_json, WebSocketDisconnect)

    async def run(
        self,
        receive: Callable[[Any], Awaitable[object]],
        *,
        mode: Literal["text", "binary"] | None = None,
        subprotocol: str | None = None,
        heartbeat_seconds: float | None = None,
        max_message_size: float = 1024 * 1024,
        max_messages_per_second: float | None = 100.0,
        origins: Sequence[str] | None = (),
        at_shutdown: Literal["close", "leave"] = "close",
    ) -> None:
        """Accept the connection, and await ``receive(message)`` for each message until it ends.

        Messages are handled one after the other. While a call runs, the peer's next messages wait in the
        server, and a peer that sends faster is slowed down. An error of ``receive`` that no exception handler
        handles closes the connection with 1011, and is raised.

        Args:
            receive: An async function of one message, a str or bytes.
            mode: The kind of message that ``receive`` takes. One of the other kind closes the connection with
                1003. By default, it gets both.
            subprotocol: As for `accept()`. A connection that you have accepted already stays so.
            heartbeat_seconds: Send the text "ping" to a peer that was silent for so many seconds, and close
                with 1001 if it sends nothing for so many more. The answer "pong" does not reach ``receive``.
                Servers send ping frames by themselves (uvicorn every 20 seconds), and browsers answer them:
                use this only with a server that does not.
            max_message_size: Limit of a message in bytes, 1 MiB by default. A larger one closes the
                connection with 1009. The server has a limit as well, which saves it from reading the message.
            max_messages_per_second: Limit of messages per second, 100 by default; twice the number may come
                at once. More close the connection with 1008. None removes the limit.
            origins: Origins whose pages may connect, besides pages of your own host, such as
                ``https://admin.example.org`` (RFC 6455 s.10.2). Others get a 403. Clients other than
                browsers send no origin, and pass. None lets every page connect.
            at_shutdown: "close" closes the connection with 1001 at a shutdown, after the current call of
                ``receive``. "leave" leaves that to you.

        Raises:
            HTTPException: 403, the page has another origin.
            TypeError, ValueError: An argument is wrong.
            Exception: ``receive`` raised it.
        """
        from spica.websockets.session import Session  # on use: few connections need it

        await Session(
            self,
            receive,
            mode=mode,
            subprotocol=subprotocol,
            heartbeat_seconds=heartbeat_seconds,
            max_message_size=max_message_size,
            max_messages_per_second=max_messages_per_second,
            origins=origins,
            at_shutdown=at_shutdown,
        ).run()

    # Sending

    async def send_text(self, data: str) -> None:
        """Send a text frame.

        Raises:
            TypeError: `data` is not a str.
            RuntimeError: The connection is not accepted yet.
            WebSocketDisconnected: You have already closed the connection.
            WebSocketDisconnect: The connection broke (code 1006).
        """
        if not isinstance(data, str):
            raise TypeError(
                f"send_text() takes a str, not {type(data).__name__}. {_other_method(data)}"
            )
        message = {"type": "websocket.send", "text": data}
        if self._is_plain:
            try:
                await self._send(message)
            except OSError as error:
                raise self._lost() from error
        else:
            await self.send(message)

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame. It raises the errors of `send_text()`, and TypeError for a str."""
        if isinstance(data, str):
            raise TypeError("send_bytes() takes bytes, not str. Use send_text(), or encode it.")
        await self.send({"type": "websocket.send", "bytes": data})

    async def send_json(self, data: Any, mode: str = "text") -> None:
        """Send a value as JSON in a frame of the kind `mode` ("text" or "binary").

        Raises:
            ValueError: `data` contains NaN or an infinity, which JSON can't express.
            RuntimeError: `mode` is another word, or the connection is not accepted yet.
            WebSocketDisconnected, WebSocketDisconnect: As in `send_text()`.
        """
        _check_mode(mode)
        encoded = codec.encode(data)
        if mode == "text":
            await self.send_text(encoded.decode())
        else:
            await self.send_bytes(encoded)


_RECEIVE, _SEND = WebSocket.receive, WebSocket.send


def _has_original_methods(websocket: WebSocket[Any]) -> bool:
    """Return whether no code has overridden or patched ``receive`` and ``send``.

    Each connection asks once, so this does not call ``is_original``, which takes three times as long.
    """
    receive: Any = websocket.receive
    send: Any = websocket.send
    return (
        getattr(receive, "__func__", None) is _RECEIVE
        and getattr(send, "__func__", None) is _SEND
        and receive.__self__ is websocket
        and send.__self__ is websocket
    )


class WebSocketClose:
    """An ASGI app that closes a WebSocket or refuses its handshake. Use it instead of an endpoint.

    Args:
        code, reason: as for `WebSocket.close()`.
    """

    def __init__(self, code: int = 1000, reason: str | None = None) -> None:
        """Check the close code and the reason.

        Raises:
            ValueError, TypeError: As in `WebSocket.close()`.
        """
        self.code = code
        self.reason = prepare_reason(code, reason)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the close message without receiving any message."""
        await send({"type": "websocket.close", "code": self.code, "reason": self.reason})


def _out_of_place(allowed: Iterable[str], kind: object) -> RuntimeError:
    *first, last = [f'"{name}"' for name in allowed]
    names = f"{', '.join(first)} or {last}" if first else last
    hint = ""
    if kind == "websocket.send" and '"websocket.accept"' in names:
        hint = ". Call `await websocket.accept()` first."
    elif kind == "websocket.accept" and '"websocket.send"' in names:
        hint = ". The WebSocket is accepted already."
    # A denial response has begun: the application has answered the handshake.
    is_answered = "websocket.http.response.body" in names
    error = WebSocketDisconnected if is_answered else RuntimeError
    return error(f"Expected ASGI message {names}, but got {kind!r}{hint}")


def _check_mode(mode: str) -> None:
    if mode not in ("text", "binary"):
        raise RuntimeError('The "mode" argument should be "text" or "binary".')


def _other_method(data: Any) -> str:
    """Return the fix for data that is not a string."""
    if isinstance(data, (bytes, bytearray)):
        return "Call send_bytes()."
    if isinstance(data, dict) and "type" in data:
        return (
            "This looks like an ASGI message, which receive() returns. Call receive_text() instead."
        )
    return "Call send_json()."


explain_names(WebSocket, FIXES_OF_SOCKETS)
