"""What an endpoint sees of a connection: ``HTTPConnection``, and ``Request`` with the body.

A Request is made of the scope once, by the outermost layer, and stays the same object on the way in.
What it tells is read from the scope when it is asked for. The body belongs to the ``BodyChannel`` before
``receive`` (``spica._asgi.body``), so that several Requests over one connection see the same body.

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
from spica._asgi.disconnect import CancelOnDisconnect, listen
from spica._asgi.scope import BODY_LIMIT, ScopeMapping, make_room
from spica._asgi.sending import HandSend
from spica._http.cookies import parse_cookies
from spica._http.fields import encode_field_value
from spica._http.urls import check_request_path
from spica._originals import is_original, remember
from spica.datastructures import URL, Address, FormData, Headers, QueryParams, State
from spica.jsoncodec import MalformedJSON

if sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    from typing_extensions import TypeVar

from spica._asgi.cleanup import Cleanup
from spica.types import Message, Receive, Scope, Send

if TYPE_CHECKING:
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
"""Request headers that a pushed request inherits (RFC 9113 s.8.4: those the cache selects by)."""


def cookie_parser(cookie_string: str) -> dict[str, str]:
    """Return the cookies of a Cookie header (RFC 6265 s.5.4), leniently: clients send all sorts."""
    return parse_cookies(cookie_string)


async def empty_receive() -> NoReturn:
    """Stand where no ``receive`` was given."""
    raise RuntimeError("Receive channel has not been made available")


async def empty_send(message: Message) -> NoReturn:
    """Stand where no ``send`` was given."""
    raise RuntimeError("Send channel has not been made available")


class HTTPConnection(ScopeMapping, Generic[StateT]):
    """What a Request and a WebSocket share: everything that the scope tells.

    It is also a read-only mapping over the scope, and equal to itself only.

    Raises:
        RuntimeError: the scope is neither of type "http" nor "websocket".
    """

    # Set by `__init__` and only declared here, because a default on the class makes each look slower.
    # A subclass may skip `__init__`: each property below treats a missing attribute as None.
    _url: URL | None
    _base_url: URL | None = None
    _headers: Headers | None
    _query_params: QueryParams | None
    _cookies: dict[str, str] | None
    _state: Any = None  # a State; typed by StateT, which only types the view
    # The part of the scope that a cached value was made of. A layer may edit the scope at any time, also its
    # header list in place. Absent: the value was set by hand.
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
        """The application that serves this connection; a KeyError where there is none."""
        return self.scope["app"]

    @property
    def url(self) -> URL:
        """The whole URL as the client sees it."""
        try:
            url = self._url
        except AttributeError:
            url = None
        if url is None or (type(url) is URL and not url._is_of(self.scope)):
            url = self._url = URL("", self.scope)
        return url

    @property
    def base_url(self) -> URL:
        """The URL below which the application lives, with a trailing slash."""
        scope = self.scope
        # A mount extends root_path; the application's own prefix is kept beside it.
        root_path = scope.get("app_root_path", scope.get("root_path", ""))
        path = root_path if root_path.endswith("/") else root_path + "/"
        base_url = self._base_url
        if base_url is None or (type(base_url) is URL and not base_url._is_of(scope, path, b"")):
            Headers(None, None, scope)  # its headers are a list from here on, in the copy too
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
            # A layer may put another list into the scope. MutableHeaders were assigned by hand.
            type(headers) is Headers and headers._list is not self.scope["headers"]
        ):
            headers = self._headers = Headers(None, None, self.scope)
        return headers

    @property
    def query_params(self) -> QueryParams:
        """The decoded query string."""
        try:
            query_params = self._query_params
        except AttributeError:
            query_params = None
        query = self.scope.get("query_string", b"")  # ASGI: that of a WebSocket may be left out
        if query_params is None or getattr(self, "_query_of", query) != query:
            self._query_of = query
            query_params = self._query_params = QueryParams(query)
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
        """The cookies; those of several Cookie headers together (RFC 9113 s.8.2.3)."""
        try:
            cookies = self._cookies
        except AttributeError:
            cookies = None
        headers = self.scope["headers"]
        if type(headers) is not list:  # ASGI: any iterable; it may be one that ends
            headers = self.scope["headers"] = list(headers)
        # Read each time: the list may have been edited in place.
        fields = [value for name, value in headers if name == b"cookie"]
        if cookies is None or getattr(self, "_cookies_of", fields) != fields:
            self._cookies_of = fields
            field = fields[0] if len(fields) == 1 else b"; ".join(fields)
            cookies = self._cookies = cookie_parser(field.decode("latin-1")) if fields else {}
        return cookies

    @property
    def client(self) -> Address | None:
        """The peer's host and port; None where the server does not tell."""
        client = self.scope.get("client")
        return Address(*client) if client is not None else None

    @property
    def session(self) -> dict[str, Any]:
        """The session; needs SessionMiddleware."""
        session: dict[str, Any] = self._of_layer("session", "SessionMiddleware")
        mark_accessed = getattr(session, "mark_accessed", None)
        if mark_accessed is not None:
            mark_accessed()
        return session

    @property
    def auth(self) -> Any:
        """The credentials; needs AuthenticationMiddleware."""
        return self._of_layer("auth", "AuthenticationMiddleware")

    @property
    def user(self) -> Any:
        """The user; needs AuthenticationMiddleware."""
        return self._of_layer("user", "AuthenticationMiddleware")

    def _of_layer(self, key: str, layer: str) -> Any:
        try:
            return self.scope[key]
        except KeyError:
            raise AssertionError(
                f"{layer} must be installed to access request.{key}: add "
                f"Middleware({layer}, ...) to the application's middleware."
            ) from None

    @property
    def state(self) -> StateT:
        """State of this connection, which begins as the state the lifespan made."""
        if self._state is None:
            # The server gives each request its own dict (ASGI lifespan specification, "State").
            self._state = State(self.scope.setdefault("state", {}))
        state: StateT = self._state
        return state

    def url_for(self, name: str, /, **path_params: Any) -> URL:
        """Return the absolute URL of the route called ``name``.

        Raises:
            NoMatchFound: no route has this name and these parameters.
            RuntimeError: the connection came through no router and no application.
        """
        router = self.scope.get("router") or self.scope.get("app")
        if router is None:
            raise RuntimeError(
                "The `url_for` method can only be used inside a Spica application or with a router."
            )
        url: URL = router.url_path_for(name, **path_params).make_absolute_url(self.base_url)
        return url


def _wrong_type(what: str, allowed: str, kind: object) -> RuntimeError:
    return RuntimeError(f"{what} needs a scope of type {allowed}, not {kind!r}.")


class Request(HTTPConnection[StateT]):
    """An HTTP request.

    ``receive`` and ``send`` are the ASGI channels; without them the scope alone can be read.

    Raises:
        RuntimeError: the scope is not of type "http".
    """

    _body: bytes  # absent until the body was read: subclasses of `body` look whether it is there
    _json: Any  # absent until it was read, too: tracing agents look whether it is there
    _form: FormData | None = None
    _receive: Receive
    _cleanup: Cleanup | None
    _own_send: Send
    _given_send: Send | None = None  # by an assignment to `_send`
    _edits: Any = None
    """Edits of the layers around: ``(innermost, (next, ... None))``. See ``spica._layers.editing``."""

    def __init__(
        self, scope: Scope, receive: Receive = empty_receive, send: Send = empty_send
    ) -> None:
        if scope["type"] != "http":
            raise _wrong_type("Request", "'http'", scope["type"])
        self.scope = scope
        self._receive = receive
        self._own_send = send
        self._cleanup = None
        self._url = self._headers = self._query_params = self._cookies = None

    @property
    def method(self) -> str:
        """The method, as sent: methods are case-sensitive (RFC 9110 s.9.1)."""
        method: str = self.scope["method"]
        return method

    @property
    def receive(self) -> Receive:
        """The ASGI ``receive``, behind which nothing of the body is lost."""
        return self._channel()

    def _channel(self) -> BodyChannel:
        """Return the owner of the body. Tracing agents replace ``_receive``: it is read anew."""
        try:
            receive = self._receive
        except AttributeError:
            receive = empty_receive  # a subclass skipped `__init__`
        if type(receive) is BodyChannel:
            return receive
        self._receive = channel = BodyChannel(receive, self.scope)
        return channel

    def _body_channel(self) -> BodyChannel:
        """Return the owner of the body for a reader, which sees a ``_body`` that was set by hand."""
        channel = self._channel()
        body: bytes | None = getattr(self, "_body", None)
        if body is not None and (channel.state is not _CACHED or channel.body is not body):
            channel.body, channel.state, channel.refused = body, _CACHED, None
        return channel

    # -- state that dependents read and set ------------------------------------------------------------

    @property
    def _send(self) -> Send:
        """The ASGI ``send``. A response that is sent by it passes the edits of the layers around.

        Nothing is wrapped until somebody asks for it, so that a plain request does not pay.
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
        """Send by ``_send``, which is looked up when a message comes."""
        await self._send(message)

    @property
    def _stream_consumed(self) -> bool:
        """Whether the body was read in chunks, to its end or not."""
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
        """Return the body in chunks as they arrive, and an empty one at the end.

        Raises:
            ClientDisconnect: the client left before the end of its body.
            RuntimeError: the chunks were already given to another reader.
        """
        return self._body_channel().stream(ends_empty=True)

    def _chunks(self) -> AsyncGenerator[bytes, None]:
        """Return the body's chunks for a parser: without the empty one, unless ``stream`` is replaced."""
        if is_original(type(self), "stream"):
            return self._body_channel().stream()
        return self.stream()

    async def body(self, *, max_size: int | float | None = None) -> bytes:
        """Return the whole body, any number of times.

        ``max_size`` is a limit in bytes for this call; without it, and without a limit on the route,
        mount or application, it is 16 MiB: a body in memory must be finite. ``math.inf`` lifts that.

        Raises:
            HTTPException: 413, the body is larger than the limit.
            ClientDisconnect: the client left before the end of its body.
        """
        body: bytes | None = getattr(self, "_body", None)
        if body is None or max_size is not None:
            channel = self._channel() if body is None else self._body_channel()
            body = self._body = await channel.read(max_size)
        return body

    async def json(self, *, max_size: int | float | None = None) -> Any:
        """Return the body decoded as JSON.

        ``max_size`` is a limit in bytes for this call. Without it, and without a limit on the route, mount or
        application, the limit is 4 MiB: a value takes up to 40 times the memory of its JSON while it is
        decoded. ``math.inf`` lifts the limit.

        Raises:
            MalformedJSON: the body is not JSON. It is a ``json.JSONDecodeError``, and becomes a 400 response
                unless the endpoint catches it.
            HTTPException: 413, the body is larger than the limit.
            ClientDisconnect: the client left before the end of its body.
        """
        value = getattr(self, "_json", None)
        if value is None:  # a body of `null` is decoded each time
            if max_size is None:  # subclasses have a `body` without parameters
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
        """Return the submitted form; await it, or use it in ``async with`` to close its files.

        Other content types give an empty form. A limit that is None is as ``FormLimits`` set it further out.

        Raises:
            HTTPException: 400 (malformed, over a limit), 413 (memory, the whole), 415 (charset), 503 (disk).
        """
        from spica.formparsers import FormReader  # here, where a form is wanted

        limits = (max_files, max_fields, max_part_size, max_memory_size, max_total_size)
        return FormReader(self, limits)

    def parts(self) -> PartStream:
        """Return the parts of a multipart form one by one, each body streamed as it arrives.

        Nothing is stored. A part has ``name`` and ``filename``; ``async for`` or ``part.read()`` reads it.

        Raises:
            HTTPException: 415, the body is not a multipart form; 400, it is malformed.
        """
        from spica.formparsers import read_parts

        return read_parts(self)

    async def close(self) -> None:
        """Close the files of the form, if it was read."""
        if self._form is not None:
            await self._form.close()

    # -- the connection --------------------------------------------------------------------------------

    async def is_disconnected(self) -> bool:
        """Return whether the client has left, without waiting and without losing a byte of the body."""
        listen(self)
        return await self._channel().poll()

    def cancel_on_disconnect(self) -> CancelOnDisconnect:
        """Return a context manager, for ``with``, whose block is cancelled when the client leaves.

        At its end a ClientDisconnect is raised, which is no error and is not logged: there is no answer, and
        no background task of one. The body may be read inside.

        Raises:
            RuntimeError: it is used in a thread, by a ``def`` endpoint: a thread can't be cancelled.
        """
        return CancelOnDisconnect(listen(self))

    async def send_push_promise(self, path: str) -> None:
        """Respond the server to push ``path``; nothing happens where it can't (ASGI "Server Push").

        Raises:
            ValueError: ``path`` is none, or is not percent-encoded.
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
        """Send a 103 response with Link headers; nothing happens where the server can't (RFC 8297).

        Raises:
            ValueError: a link contains what can't stand in a header.
        """
        links = [encode_field_value(value) for value in (link, *additional_links)]
        if "http.response.early_hint" in (self.scope.get("extensions") or ()):
            await self._send({"type": "http.response.early_hint", "links": links})


_CACHED = BodyState.CACHED  # an attribute of an Enum class costs more
remember(Request, "stream")
make_room(Request({"type": "http"}), HTTPConnection, Request)
