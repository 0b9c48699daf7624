"""``HTTPConnection``, the view of a connection, and ``Request``, which adds the body.

The outermost layer makes one Request per scope, and inner layers get the same object. Its properties read
the scope. The ``BodyChannel`` (``spica._asgi.body``) owns the body: all Requests over it see the same one.

Standards: ASGI HTTP specification ("HTTP Connection Scope"); RFC 8297 (103 Early Hints).
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn

from spica._asgi import current_codec as codec
from spica._asgi.body import (
    DEFAULT_MAX_JSON_SIZE,
    BodyChannel,
    BodyState,
    BodyTooLarge,
    ClientDisconnect,
)
from spica._asgi.scope import (
    BODY_LIMIT,
    CSP_NONCE,
    DEADLINE,
    ScopeMapping,
    check_header_size,
    make_room,
    read_nonce,
)
from spica._asgi.sending import HandSend
from spica._diagnostics.foreign_names import FIXES_OF_CONNECTIONS, FIXES_OF_REQUESTS, explain_names
from spica._http import cookies as cookie_rules
from spica._http.fields import encode_field_value
from spica._http.urls import check_request_path
from spica._originals import remember
from spica._typed import ReadsModels
from spica.datastructures import URL, Address, FormData, Headers, QueryParams, State
from spica.datastructures.url import UnlistedPath
from spica.jsoncodec import MalformedJSON

if sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    from typing_extensions import TypeVar

from spica._asgi.cleanup import Cleanup
from spica.types import Message, Receive, Scope, Send

if TYPE_CHECKING:
    from spica._asgi.deadline import Deadline
    from spica._asgi.disconnect import CancelOnDisconnect
    from spica.datastructures.session import Session
    from spica.formparsers import FormReader, PartStream

StateT = TypeVar("StateT", bound="Mapping[str, Any] | State", default=State)

__all__ = [
    "ClientDisconnect",
    "HTTPConnection",
    "MalformedJSON",
    "Request",
    "cookie_parser",
    "empty_receive",
    "empty_send",
]

SERVER_PUSH_HEADERS_TO_COPY = frozenset(
    ("accept", "accept-encoding", "accept-language", "cache-control", "user-agent")
)
"""Request headers that a pushed request inherits (RFC 9113 s.8.4), because caches select by them."""


def cookie_parser(cookie_string: str) -> dict[str, str]:
    """Return the cookies of a Cookie header (RFC 6265 s.5.4). Every header is accepted."""
    return cookie_rules.parse_cookies(cookie_string)


async def empty_receive() -> NoReturn:
    """Raise RuntimeError: the connection was created without ``receive``."""
    raise RuntimeError("Receive channel has not been made available")


async def empty_send(message: Message) -> NoReturn:
    """Raise RuntimeError: the connection was created without ``send``."""
    raise RuntimeError("Send channel has not been made available")


class HTTPConnection(ScopeMapping, Generic[StateT]):
    """The common part of Request and WebSocket: everything in the scope.

    It is also a read-only mapping over the scope. It equals only itself.

    Args:
        scope: The ASGI scope, of type "http" or "websocket". It is shared, not copied.
        receive: Unused here. Subclasses need it.

    Raises:
        RuntimeError: The scope has another type.

    >>> headers = [(b"host", b"example.org")]
    >>> scope = {"type": "http", "path": "/", "query_string": b"page=2", "headers": headers}
    >>> connection = HTTPConnection(scope)
    >>> connection.query_params["page"], connection.headers["Host"], str(connection.url)
    ('2', 'example.org', 'http://example.org/?page=2')
    """

    # `__init__` sets these. They have no defaults on the class, because a class attribute slows down each
    # access. Subclasses may skip `__init__`, so the properties below treat a missing attribute as None.
    _url: URL | None
    _base_url: URL | None = None
    _headers: Headers | None
    _query_params: QueryParams | None
    _cookies: dict[str, str] | None
    _state: Any = None  # a State; typed by StateT, which only types the view
    # The part of the scope that a cached value depends on. A layer may edit the scope at any time, and even
    # its header list in place. A missing attribute means that other code assigned the value.
    _query_of: Any
    _cookies_of: Any

    def __init__(self, scope: Scope, receive: Receive | None = None) -> None:
        kind = scope["type"]
        if kind != "http" and kind != "websocket":
            raise _wrong_type("HTTPConnection", "'http' or 'websocket'", kind)
        self.scope = scope
        self._url = self._headers = self._query_params = self._cookies = None

    @property
    def app(self) -> Any:
        """The application that serves this connection. Raises KeyError if there is none."""
        return self.scope["app"]

    @property
    def url(self) -> URL:
        """The full URL as the client sees it."""
        try:
            url = self._url
        except AttributeError:
            url = None
        if url is None or (type(url) is URL and not url._is_of(self.scope)):
            url = self._url = URL("", self.scope)
        return url

    @property
    def base_url(self) -> URL:
        """The URL under which the application is served, with a trailing slash."""
        scope = self.scope
        # A mount extends root_path. app_root_path keeps the prefix of the application.
        root_path = scope.get("app_root_path", scope.get("root_path", ""))
        path = root_path if root_path.endswith("/") else root_path + "/"
        base_url = self._base_url
        if base_url is None or (type(base_url) is URL and not base_url._is_of(scope, path, b"")):
            Headers(None, None, scope)  # turns the headers into a list, which the copy below shares
            of_base = {"path": path, "query_string": b"", "root_path": root_path}
            base_url = self._base_url = URL(scope={**scope, **of_base})
        return base_url

    @property
    def headers(self) -> Headers:
        """The request headers."""
        try:
            headers = self._headers
        except AttributeError:
            headers = None
        if headers is None or (
            # A layer may have replaced the list in the scope. Other code has assigned any MutableHeaders.
            type(headers) is Headers and headers._list is not self.scope["headers"]
        ):
            headers = Headers(None, None, self.scope)
            check_header_size(self.scope)
            self._headers = headers
        return headers

    @property
    def query_params(self) -> QueryParams:
        """The decoded parameters of the query."""
        try:
            query_params = self._query_params
        except AttributeError:
            query_params = None
        query = self.scope.get("query_string", b"")  # ASGI: optional for a WebSocket
        if query_params is None or getattr(self, "_query_of", query) != query:
            self._query_of = query
            query_params = self._query_params = QueryParams._of_query(query)
        return query_params

    @property
    def path_params(self) -> dict[str, Any]:
        """The converted path parameters of the route."""
        try:
            path_params: dict[str, Any] = self.scope["path_params"]
        except KeyError:
            return {}
        return path_params

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of all Cookie headers (RFC 9113 s.8.2.3). To set one, use ``response.set_cookie``."""
        try:
            cookies = self._cookies
        except AttributeError:
            cookies = None
        headers = self.scope["headers"]
        if type(headers) is not list:  # ASGI allows any iterable, even an iterator
            headers = self.scope["headers"] = list(headers)
        # Read the fields each time, because other code may edit the list in place.
        fields = [value for name, value in headers if name == b"cookie"]
        if cookies is None or getattr(self, "_cookies_of", fields) != fields:
            self.headers  # noqa: B018  # measures them, at the first time
            self._cookies_of = fields
            field = fields[0] if len(fields) == 1 else b"; ".join(fields)
            cookies = cookie_parser(field.decode("latin-1")) if fields else {}
            if cookie_rules.are_changes_shown:
                cookies = cookie_rules.WatchedCookies(cookies)
            self._cookies = cookies
        return cookies

    @property
    def client(self) -> Address | None:
        """The host and port of the peer, or None if the server does not provide them."""
        client = self.scope.get("client")
        return Address(*client) if client is not None else None

    @property
    def session(self) -> Session:
        """The session, a dict. Requires SessionMiddleware."""
        session: Session = self._of_layer("session", "SessionMiddleware")
        mark_accessed = getattr(session, "mark_accessed", None)
        if mark_accessed is not None:
            mark_accessed()
        return session

    @property
    def auth(self) -> Any:
        """The credentials. Requires AuthenticationMiddleware."""
        return self._of_layer("auth", "AuthenticationMiddleware")

    @property
    def user(self) -> Any:
        """The user. Requires AuthenticationMiddleware."""
        return self._of_layer("user", "AuthenticationMiddleware")

    @property
    def csp_nonce(self) -> str:
        """The nonce for inline scripts and styles. Requires SecurityHeadersMiddleware.

        It is made when you first read it, and the content security policy then allows it.

        Raises:
            RuntimeError: You read it for the first time after the headers were sent.
        """
        layer = "SecurityHeadersMiddleware"
        return read_nonce(self._of_layer(CSP_NONCE, layer, "csp_nonce"))

    def _of_layer(self, key: str, layer: str, name: str = "") -> Any:
        try:
            return self.scope[key]
        except KeyError:
            raise AssertionError(_explain_missing(self.scope, name or key, layer)) from None

    @property
    def state(self) -> StateT:
        """The state of this connection. It starts as a copy of the state that the lifespan yielded."""
        if self._state is None:
            # The server gives each request its own dict (ASGI lifespan specification, "State").
            self._state = State(self.scope.setdefault("state", {}))
        state: StateT = self._state
        return state

    @property
    def deadline(self) -> Deadline | None:
        """The time by which the response must start, or None: see ``spica.middleware.timeout``."""
        deadline: Deadline | None = self.scope.get(DEADLINE)
        return deadline

    def url_for(self, name: str, /, **path_params: Any) -> URL:
        """Return the absolute URL of the route called ``name``.

        Args:
            name: The name of the route. In a mount it is ``"mount:route"``.
            **path_params: The path parameters of the route.

        Raises:
            NoMatchFound: No route has this name and these parameters.
            RuntimeError: Neither a router nor an application handled the connection.
        """
        router = self.scope.get("router") or self.scope.get("app")
        if router is None:
            raise RuntimeError(
                "The `url_for` method can only be used inside a Spica application or with a router."
            )
        path = router.url_path_for(name, **path_params)
        if type(path) is UnlistedPath and getattr(self.scope.get("app"), "debug", False):
            raise path.error
        url: URL = path.make_absolute_url(self.base_url)
        return url


def _explain_missing(scope: Scope, name: str, layer: str) -> str:
    text = f"{layer} must be installed to access request.{name}: "
    for recipe in getattr(scope.get("app"), "user_middleware", None) or ():
        if getattr(getattr(recipe, "cls", None), "__name__", "") == layer:
            return (
                f"{text}it is, but inside the middleware that reads request.{name}. Put {layer} before "
                "that one in the list (add_middleware: add it after)."
            )
    return f"{text}add Middleware({layer}, ...) to the application's middleware."


def _wrong_type(what: str, allowed: str, kind: object) -> RuntimeError:
    return RuntimeError(f"{what} needs a scope of type {allowed}, not {kind!r}.")


class Request(ReadsModels, HTTPConnection[StateT]):
    """An HTTP request: the data of ``HTTPConnection``, the body, and control of the connection.

    Args:
        scope: The ASGI scope of type "http".
        receive: The ASGI ``receive``. Without it, you can't read the body.
        send: The ASGI ``send``. Without it, you can't send early hints.

    Raises:
        RuntimeError: The scope has another type.

    >>> import anyio
    >>> async def receive():
    ...     return {"type": "http.request", "body": b'{"a": 1}'}
    >>> request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    >>> anyio.run(request.json)
    {'a': 1}
    """

    _body: bytes  # missing until the body is read: subclasses check for it
    _json: Any  # missing until the JSON is read: tracing agents check for it
    _form: FormData | None = None
    _receive: Receive
    _cleanup: Cleanup | None
    _own_send: Send
    _given_send: Send | None = None  # set by an assignment to `_send`
    _edits: Any  # edits of the outer layers, ``(innermost, (next, ... None))``: see `push_edit`

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls._edits = None  # its constructor may not call ours

    def __init__(
        self, scope: Scope, receive: Receive = empty_receive, send: Send = empty_send
    ) -> None:
        if scope["type"] != "http":
            raise _wrong_type("Request", "'http'", scope["type"])
        self.scope = scope
        self._receive = receive
        self._own_send = send
        self._cleanup = self._edits = None
        self._url = self._headers = self._query_params = self._cookies = None

    @property
    def method(self) -> str:
        """The method as the client sent it, since methods are case-sensitive (RFC 9110 s.9.1)."""
        method: str = self.scope["method"]
        return method

    @property
    def receive(self) -> Receive:
        """The ASGI ``receive``. Reading from it does not hide the body from other readers."""
        return self._channel()

    def _channel(self) -> BodyChannel:
        """Return the owner of the body. Tracing agents replace ``_receive``, so it is read each time."""
        try:
            receive = self._receive
        except AttributeError:
            receive = empty_receive  # a subclass skipped `__init__`
        if type(receive) is BodyChannel:
            return receive  # pyright: ignore[reportReturnType]
        self._receive = channel = BodyChannel(receive, self.scope)
        return channel

    def _body_channel(self) -> BodyChannel:
        """Return the owner of the body for a reader, updated from a ``_body`` that other code has set."""
        channel = self._channel()
        body: bytes | None = getattr(self, "_body", None)
        if body is not None and (channel.state is not _CACHED or channel.body is not body):
            channel.body, channel.state, channel.refused = body, _CACHED, None
        return channel

    # -- private state that other packages read and set ------------------------------------------------

    @property
    def _send(self) -> Send:
        """The ASGI ``send``. A response sent through it gets the edits of the outer layers.

        The wrapper is made on first use, so requests that do not need it pay nothing.
        """
        send = self._given_send
        if send is not None:
            return send
        try:
            send = self._own_send
        except AttributeError:
            return empty_send
        is_guarded = isinstance(send, HandSend) and (send.request is self or self._edits is None)
        if not is_guarded and send is not empty_send:
            send = self._own_send = HandSend(send, self)
        return send

    @_send.setter
    def _send(self, send: Send) -> None:
        self._given_send = send

    async def _send_by_hand(self, message: Message) -> None:
        """Send through ``_send``, which is looked up for each message."""
        await self._send(message)

    @property
    def _stream_consumed(self) -> bool:
        """Whether the body was read in chunks, fully or partly."""
        return self._channel().state in (BodyState.DRAINED, BodyState.STREAMING)

    @_stream_consumed.setter
    def _stream_consumed(self, is_consumed: bool) -> None:
        self._channel().state = BodyState.DRAINED if is_consumed else BodyState.UNREAD

    @property
    def _is_disconnected(self) -> bool:
        """Whether an ``http.disconnect`` was received."""
        return self._channel().has_left

    @_is_disconnected.setter
    def _is_disconnected(self, is_disconnected: bool) -> None:
        self._channel().has_left = is_disconnected

    # -- the body --------------------------------------------------------------------------------------

    def stream(self) -> AsyncGenerator[bytes, None]:
        """Iterate over the body in chunks as they arrive. The last chunk is empty.

        Raises:
            ClientDisconnect: The client disconnected before the end of the body.
            RuntimeError: Another reader has already received chunks.
        """
        return self._body_channel().stream(ends_empty=True)

    async def body(self, *, max_size: int | float | None = None) -> bytes:
        """Return the whole body. You can call this any number of times.

        Args:
            max_size: Limit in bytes for this call. The default is the limit of the route, mount or
                application, and otherwise 16 MiB, because the body is kept in memory. ``math.inf`` removes
                the limit.

        Raises:
            HTTPException: 413, the body is larger than the limit.
            ClientDisconnect: The client disconnected before the end of the body.
        """
        body: bytes | None = getattr(self, "_body", None)
        if body is None or max_size is not None:
            channel = self._channel() if body is None else self._body_channel()
            body = self._body = await channel.read(max_size)
        return body

    async def json(self, *, max_size: int | float | None = None) -> Any:
        """Return the body decoded as JSON.

        Args:
            max_size: Limit in bytes for this call. The default is the limit of the route, mount or
                application, and otherwise 4 MiB: while it is decoded, JSON takes up to 40 times its size in
                memory. ``math.inf`` removes the limit.

        Raises:
            MalformedJSON: The body is not JSON. This is a ``json.JSONDecodeError``, and becomes a 400
                response unless the endpoint catches it.
            HTTPException: 413, the body is larger than the limit.
            ClientDisconnect: The client disconnected before the end of the body.
        """
        value = getattr(self, "_json", None)
        if value is None:  # a `null` body is decoded each time
            if max_size is None:  # a subclass may override `body` without parameters
                body = await self.body()
                if len(body) > DEFAULT_MAX_JSON_SIZE and BODY_LIMIT not in self.scope:
                    raise BodyTooLarge(DEFAULT_MAX_JSON_SIZE)
            else:
                body = await self.body(max_size=max_size)
            try:
                value = self._json = codec.decode(body)
            except json.JSONDecodeError as exc:
                raise MalformedJSON(exc.msg, exc.doc, exc.pos) from None
        return value

    def form(
        self,
        *,
        max_files: int | float | None = None,
        max_fields: int | float | None = None,
        max_part_size: int | float | None = None,
        max_memory_size: int | float | None = None,
        max_total_size: int | float | None = None,
    ) -> FormReader:
        """Return the submitted form. Await it, or use it in ``async with``, which closes its files.

        A body of another content type gives an empty form. A limit of None means that of the enclosing
        ``FormLimits``, which also documents the defaults.

        Args:
            max_files: Number of files.
            max_fields: Number of fields that are not files.
            max_part_size: Bytes of one field that is not a file.
            max_memory_size: Bytes that the form may keep in memory.
            max_total_size: Bytes of the whole form, files included.

        Raises:
            HTTPException: 400 (malformed, or over a limit), 413 (memory or total size), 415 (unknown
                charset), 503 (the server can't store the files).
        """
        # Imported late, since most requests have no form. Importing from a package is slower.
        from spica.formparsers.reading import FormReader

        limits = (max_files, max_fields, max_part_size, max_memory_size, max_total_size)
        return FormReader(self, limits)

    def parts(self) -> PartStream:
        """Return an iterator over the parts of a multipart form. Each body streams as it arrives.

        Nothing is stored. A part has a ``name`` and a ``filename``. Read its body with ``async for`` or
        ``part.read()``.

        Raises:
            HTTPException: 415, the body is not a multipart form. 400, it is malformed.
        """
        from spica.formparsers.reading import read_parts

        return read_parts(self)

    async def close(self) -> None:
        """Close the files of the form, if the form was read."""
        if self._form is not None:
            await self._form.close()

    # -- the connection --------------------------------------------------------------------------------

    async def is_disconnected(self) -> bool:
        """Return whether the client has disconnected. This does not wait and loses no part of the body."""
        from spica._asgi.disconnect import listen  # on use: few applications need it

        listen(self)
        return await self._channel().poll()

    def cancel_on_disconnect(self) -> CancelOnDisconnect:
        """Return a context manager for ``with`` that cancels its block when the client disconnects.

        The end of a cancelled block raises ClientDisconnect, which is not logged as an error. No response
        is sent, and no background task of a response runs. You may read the body inside the block.

        Raises:
            RuntimeError: A ``def`` endpoint used it in its thread. Threads can't be cancelled.
        """
        from spica._asgi.disconnect import CancelOnDisconnect, listen

        return CancelOnDisconnect(listen(self))

    async def send_push_promise(self, path: str) -> None:
        """Ask the server to push ``path``, if the server supports it (ASGI "Server Push").

        Raises:
            ValueError: ``path`` is not a path, or is not percent-encoded.
        """
        check_request_path(path)
        if "http.response.push" not in (self.scope.get("extensions") or ()):
            return
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name in sorted(SERVER_PUSH_HEADERS_TO_COPY)
            for value in self.headers.getlist(name)
        ]
        await self._send({"type": "http.response.push", "path": path, "headers": headers})

    async def send_early_hints(self, link: str, /, *additional_links: str) -> None:
        """Send a 103 response with Link headers, if the server supports it (RFC 8297).

        Raises:
            ValueError: A link contains characters that headers may not contain.
        """
        links = [encode_field_value(value) for value in (link, *additional_links)]
        if "http.response.early_hint" in (self.scope.get("extensions") or ()):
            await self._send({"type": "http.response.early_hint", "links": links})


_CACHED = BodyState.CACHED  # a global is faster than an attribute of an Enum class
remember(Request, "stream")
make_room(Request({"type": "http"}), HTTPConnection, Request)
explain_names(HTTPConnection, FIXES_OF_CONNECTIONS)
explain_names(Request, FIXES_OF_REQUESTS)
