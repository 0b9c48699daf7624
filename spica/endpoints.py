"""Class endpoints: one method for each HTTP method, one hook for each event of a WebSocket.

Pass the class to a route like a function. Each request creates an instance, which lives as long as the
request. The route decides which requests reach the class (`spica.routing`).

Standards: RFC 9110 s.9 (methods), s.15.5.6 (405); the IANA registry of HTTP methods.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Generator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from spica._asgi import current_codec as codec
from spica._asgi.scope import EXCEPTION_HANDLERS
from spica._diagnostics.foreign_names import FIXES_OF_CLASS_ENDPOINTS, explain_names
from spica._layers.answers import refuse, resolve_answer
from spica._layers.layer import BaseLayer
from spica._originals import is_original, remember
from spica.concurrency import is_async_callable, run_in_threadpool
from spica.exceptions import WebSocketException
from spica.requests import Request, empty_receive
from spica.responses.base import Response
from spica.types import ASGIApp, Message, Receive, Scope, Send
from spica.websockets.state import WebSocketDisconnect, WebSocketDisconnected, WebSocketState

if TYPE_CHECKING:
    from spica.websockets import WebSocket

__all__ = ["HTTPEndpoint", "WebSocketEndpoint"]

STANDARD_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")
"""Methods of general use: RFC 9110 s.9.3, RFC 5789 (PATCH), and QUERY."""

UNMISTAKABLE_METHODS = (
    "BASELINE-CONTROL",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
)
"""Registered methods with names that are unlikely for a helper method.

COPY, LINK, MOVE, SEARCH, UPDATE, CONNECT, TRACE and similar ones are missing, because a class may have an
internal `update()` that clients must not call. List them in `http_methods` to serve them."""

_ATTRIBUTES = {
    method: method.lower().replace("-", "_") for method in STANDARD_METHODS + UNMISTAKABLE_METHODS
}


class HTTPEndpoint:
    """Serve each HTTP method by the method of the same name in lower case, `async def` or `def`.

    ``async def get(self, request)`` serves GET, and also HEAD unless there is a `head`. A `def` method runs
    in a worker thread. The names of common methods and of most WebDAV methods work automatically
    (``propfind``, ``mkcol``, ...; "-" becomes "_"). List any other method in `http_methods`. OPTIONS gets a
    response with Allow, and every method that the class does not define gets a 405. Method names are
    case-sensitive: "get" is not GET.

    Example::

        class User(HTTPEndpoint):
            async def get(self, request): ...

            async def delete(self, request): ...


        Route("/users/{id:int}", User)
    """

    http_methods: ClassVar[Collection[str]] = ()
    """Additional methods to serve, written as in the request: ``{"COPY", "MOVE"}`` serves `copy` and `move`.

    Default: none, because helper methods often have such names."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if isinstance(cls.http_methods, str):
            raise TypeError(
                f"{cls.__name__}.http_methods is the string {cls.http_methods!r}; "
                "it must be a collection of method names, such as {'COPY', 'MOVE'}."
            )
        for method in cls.http_methods:
            name = _attribute_name(method)
            if not callable(getattr(cls, name, None)):
                raise TypeError(
                    f"{cls.__name__}.http_methods names {method!r}, but the class has no "
                    f"method {name!r} to serve it."
                )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Create the endpoint for one request.

        Raises:
            RuntimeError: The type of `scope` is not "http".
        """
        if scope["type"] != "http":
            raise RuntimeError(
                f"{type(self).__name__} needs a scope of type 'http', not {scope['type']!r}."
            )
        self.scope = scope
        self.receive = receive
        self.send = send

    def __await__(self) -> Generator[Any, None, None]:
        return self.dispatch().__await__()

    @property
    def _allowed_methods(self) -> list[str]:
        served = [*_ATTRIBUTES, *self.http_methods]
        allowed = {method for method in served if self._handler(method) is not None}
        return sorted(allowed)

    def _handler(self, method: str) -> Any:
        """Return the method that serves the HTTP method `method`, or None."""
        name = _ATTRIBUTES.get(method)
        if name is None:
            if method not in self.http_methods:
                return None
            name = _attribute_name(method)
        handler = getattr(self, name, None)
        if handler is None and method == "HEAD":
            # RFC 9110 s.9.3.2: HEAD is GET without the content. The server omits the content.
            return getattr(self, "get", None)
        return handler

    async def dispatch(self) -> None:
        """Call the method that serves the request, and send its response."""
        await _Dispatch(self).__call__(self.scope, self.receive, self.send)

    async def _respond(self, request: Request[Any]) -> ASGIApp:
        handler: Any = self._handler(self.scope["method"]) or self.method_not_allowed
        if is_async_callable(handler):
            response = await handler(request)
        else:
            response = await run_in_threadpool(handler, request)
        if isinstance(response, Response) and response._is_value:
            return response
        return await resolve_answer(response, request, handler)

    async def method_not_allowed(self, request: Request[Any]) -> Response:
        """Answer a method that the class does not define with 405. Allow lists the methods that it does.

        OPTIONS gets a response with Allow alone (RFC 9110 s.9.3.7).

        Raises:
            HTTPException: 405, within an application, so that its handlers make the response.
        """
        allowed = self._allowed_methods
        if self.scope["method"] == "OPTIONS":
            return Response(headers={"Allow": ", ".join(sorted({*allowed, "OPTIONS"}))})
        return refuse(self.scope, 405, headers={"Allow": ", ".join(allowed)})


class _Dispatch(BaseLayer):
    """Run an instance of a class endpoint as an ASGI app."""

    __slots__ = ("endpoint",)

    def __init__(self, endpoint: HTTPEndpoint) -> None:
        self.endpoint = endpoint

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the response of the method that serves the request."""
        self.endpoint.send = request._send  # it notes whether the class sends a response itself
        return await self.endpoint._respond(request)


def _attribute_name(method: str) -> str:
    return method.lower().replace("-", "_")


_METHODS = ("__init__", "__await__", "dispatch", "method_not_allowed", "_handler", "_respond")
remember(HTTPEndpoint, *_METHODS)


def answers_by_value(cls: type[HTTPEndpoint]) -> bool:
    """Return whether `answer()` may replace awaiting an instance of `cls`.

    It may not if a subclass or a tracing agent has replaced `dispatch` or `__await__`.
    """
    return is_original(cls, "dispatch", "__await__")


def methods_of(cls: Any) -> frozenset[str] | None:
    """Return the HTTP methods that a class endpoint serves, or None if only an instance could show them."""
    if not (isinstance(cls, type) and issubclass(cls, HTTPEndpoint)):
        return None
    if not is_original(cls, *_METHODS):
        return None
    if hasattr(cls, "__getattr__") or cls.__getattribute__ is not object.__getattribute__:
        return None
    served = [*_ATTRIBUTES, *cls.http_methods]
    # A subclass sets a method to None to remove it.
    found = {name for name in served if getattr(cls, _attribute_name(name), None) is not None}
    if "GET" in found:
        found.add("HEAD")
    return frozenset(found)


def answer(cls: type[HTTPEndpoint], request: Request[Any]) -> Awaitable[ASGIApp]:
    """Respond to `request` by a new instance of `cls`, without sending the response."""
    receive = getattr(request, "_receive", empty_receive)  # a subclass may skip `__init__`
    return cls(request.scope, receive, request._send_by_hand)._respond(request)


class BadMessage(WebSocketException, RuntimeError):
    """The peer sent a message that does not fit the endpoint's `encoding`.

    The connection closes with code 1003 (RFC 6455 s.7.4.1: "a type of data it cannot accept") and an empty
    reason, because the code tells the peer enough.

    Args:
        detail: The problem, for the log.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(code=1003)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class WebSocketEndpoint:
    """Serve a WebSocket by hooks: `on_connect`, `on_receive` for each message, and `on_disconnect`.

    Example::

        class Echo(WebSocketEndpoint):
            encoding = "text"

            async def on_receive(self, websocket, data):
                await websocket.send_text(data)


        WebSocketRoute("/echo", Echo)
    """

    encoding: Literal["text", "bytes", "json"] | None = None
    """The kind of messages: "text", "bytes" or "json". None, the default, accepts text and bytes."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.encoding not in (None, "text", "bytes", "json"):
            raise ValueError(
                f"Unsupported 'encoding' attribute {cls.encoding!r} of {cls.__name__}: "
                "it must be 'text', 'bytes', 'json' or None."
            )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Create the endpoint for one connection.

        Raises:
            RuntimeError: The type of `scope` is not "websocket".
        """
        if scope["type"] != "websocket":
            raise RuntimeError(
                f"{type(self).__name__} needs a scope of type 'websocket', not {scope['type']!r}."
            )
        self.scope = scope
        self.receive = receive
        self.send = send

    def __await__(self) -> Generator[Any, None, None]:
        return self.dispatch().__await__()

    async def dispatch(self) -> None:
        """Call the hooks, from the handshake to the end of the connection."""
        from spica.websockets import WebSocket  # on use: an HTTPEndpoint does not need it

        websocket: WebSocket[Any] = WebSocket(self.scope, self.receive, self.send)
        await self.on_connect(websocket)
        try:
            close_code = await self._receive_messages(websocket)
        except BaseException as exc:
            # RFC 6455 s.7.4.1: 1011, the server could not fulfil the request.
            await self._disconnect(websocket, 1011, exc)
            raise
        await self._disconnect(websocket, close_code)

    async def _receive_messages(self, websocket: WebSocket[Any]) -> int:
        """Pass each message to `on_receive`, and return the peer's close code."""
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                # RFC 6455 s.7.1.5: 1005 if the close frame had no code.
                return message.get("code") or 1005
            if (
                message["type"] == "websocket.connect"
                and websocket.application_state is WebSocketState.CONNECTING
            ):
                # `on_connect` has not answered the handshake. The client would wait forever.
                raise RuntimeError(
                    f"{type(self).__name__}.on_connect() must answer the handshake: "
                    "await websocket.accept(), or websocket.close()."
                )
            if message["type"] == "websocket.receive":
                await self.on_receive(websocket, await self.decode(websocket, message))

    async def _disconnect(
        self, websocket: WebSocket[Any], close_code: int, exc: BaseException | None = None
    ) -> None:
        """Call `on_disconnect` after the exception `exc`, which counts more than a failed farewell."""
        if websocket._patience is not None:
            await websocket._patience.aclose()
        try:
            await self.on_disconnect(websocket, close_code)
        except (WebSocketDisconnect, WebSocketDisconnected) as error:
            if exc is None:
                raise
            exc.add_note(f"{type(self).__name__}.on_disconnect() then raised {error!r}.")

    async def decode(self, websocket: WebSocket[Any], message: Message) -> Any:
        """Return the data of a message according to `encoding`.

        Raises:
            BadMessage: The message is of the other kind, or not JSON. BadMessage is a RuntimeError.
        """
        text: str | None = message.get("text")
        data: bytes | None = message.get("bytes")
        if self.encoding == "text":
            data = None
        elif self.encoding == "bytes":
            text = None
        found = data if text is None else text
        if found is None:
            other = "bytes" if self.encoding == "text" else "text"
            detail = f"Expected {self.encoding} websocket messages, but got {other}"
            raise await self._refuse(websocket, detail)
        if self.encoding != "json":
            return found
        try:
            return codec.decode(found)
        except ValueError:
            raise await self._refuse(websocket, "Malformed JSON data received.") from None

    async def _refuse(self, websocket: WebSocket[Any], detail: str) -> BadMessage:
        """Create the error, and close the connection if no exception layer will."""
        error = BadMessage(detail)
        if EXCEPTION_HANDLERS not in self.scope:
            await websocket.close(error.code, error.reason)
        return error

    async def on_connect(self, websocket: WebSocket[Any]) -> None:
        """Answer the handshake. By default, accept it."""
        await websocket.accept()

    async def on_receive(self, websocket: WebSocket[Any], data: Any) -> None:
        """Handle the data of a message."""

    async def on_disconnect(self, websocket: WebSocket[Any], close_code: int) -> None:
        """Clean up. `close_code` is the code of the peer, or 1011 after an exception."""


explain_names(HTTPEndpoint, FIXES_OF_CLASS_ENDPOINTS)
