"""Responses with their body in memory.

A response is an ASGI app: ``await response(scope, receive, send)`` sends it. It is also a value: layers
pass it along and edit its status and headers before it is sent. ``Response._is_value`` says whether a class
supports this. A class that overrides ``__call__`` does not, because only running it reveals its status and
headers.

Standards: RFC 9110 (fields, status codes without content), ASGI HTTP specification ("Response Start",
"Response Body").
"""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from spica._asgi import current_codec as codec
from spica._asgi.cleanup import nearest_cleanup
from spica._asgi.sending import DenialSend
from spica._asgi.unread import CloseOnce
from spica._diagnostics.foreign_names import (
    ASSIGNMENTS_OF_RESPONSES,
    FIXES_OF_RESPONSES,
    explain_names,
)
from spica._http.cookies import format_set_cookie
from spica._http.fields import encode_field_value
from spica.background import BackgroundTask
from spica.datastructures import URL, MutableHeaders
from spica.datastructures.headers import encode_header
from spica.responses.sending import (
    WITHOUT_BODY,
    WITHOUT_CONTENT,
    Content,
    RawHeaders,
    check_length,
    check_status,
    correct_length,
    keep_length,
    send_chunks,
    send_start,
    send_without_body,
    size_of,
)
from spica.types import Receive, Scope, Send

if TYPE_CHECKING:
    from spica.datastructures.cachecontrol import CacheControl

URL_SAFE = ":/%#?=@[]!$&'()*+,;"
"""Characters that stay unescaped in a redirect target: the reserved ones (RFC 3986 s.2.2) and "%"."""


class Response:
    """A response with its body in memory.

    Content-Length and Content-Type are added unless ``headers`` contain them. If you replace ``body``
    later, Content-Length is updated when the response is sent.

    Args:
        content: The body: bytes, a string that is encoded with ``charset``, or None for an empty body.
        status_code: The HTTP status, three digits. Default 200.
        headers: A mapping of names to values. They precede the automatic headers.
        media_type: The Content-Type. ``text/*`` gets the charset. By default, that of the class.
        background: A task that runs after the response has been sent.

    Raises:
        ValueError: A header name or value is invalid (RFC 9110 s.5), Content-Length is not the size of the
            body, or the status does not have three digits.
        TypeError: The status is not an int, ``headers`` is not a mapping, or ``content`` can't be encoded.

    >>> response = Response("Hello", media_type="text/plain")
    >>> response.body, response.headers["content-type"]
    (b'Hello', 'text/plain; charset=utf-8')
    """

    media_type: str | None = None
    charset = "utf-8"
    background: BackgroundTask | None
    status_code: int
    raw_headers: RawHeaders
    """The headers as they are sent, in lower case. Nothing checks what you add here: use ``headers`` for
    input of a client."""

    _is_value: bool = True
    """Whether status, headers and body describe the response completely, so that layers can pass it along."""
    _receives: ClassVar[bool] = False
    """Whether sending the response uses ``receive``."""
    _has_own_headers: bool = False
    """Whether the constructor must call ``init_headers``: the class overrides it, or the media type is
    long."""
    _resolve: Callable[[Any], Awaitable[Any]] | None = None
    """An async method that returns the final response to a request, or None if this is already final."""
    _replaced_body: AsyncIterator[Content] | None = None
    _unread: Sequence[CloseOnce] = ()
    """The iterators to close at the end of the request."""
    _headers: MutableHeaders | None
    """The view that ``headers`` has returned. It has no default here, for the same reason as below."""
    _measured_body: bytes | memoryview | None
    """The body that Content-Length was computed from. A different ``body`` was assigned later.

    It has no default here: CPython reads an attribute ten times slower if the class has one too."""
    _whole_headers: list[tuple[bytes, bytes]] | None = None
    """The headers of the 200 response that a 304 response replaces, if they are known."""

    def __init__(
        self,
        content: Any = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        self.status_code = status_code
        if media_type is not None:
            self.media_type = media_type
            if len(media_type) > _REMEMBERED_SIZE:
                self._has_own_headers = True
        self.background = background
        self._headers = None
        self.body = self._measured_body = body = self.render(content)
        if headers is None and type(body) is bytes and not self._has_own_headers:
            # The fast path of init_headers, inlined to save a call.
            fields = _default_fields(len(body), self.media_type, self.charset, status_code)
            self.raw_headers = [*fields]
        else:
            self.init_headers(headers)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__
        if "__init__" in own:
            _set_defaults(cls)
        if "init_headers" in own:
            cls._has_own_headers = True
        if "_is_value" not in own and any(name in own for name in SENDING):
            cls._is_value, cls._receives = False, True
            if "_resolve" not in own:
                cls._resolve = None

    def render(self, content: Any) -> bytes | memoryview:
        """Return ``content`` as the bytes of the body. Override this for another encoding."""
        if isinstance(content, str):
            return content.encode(self.charset)
        if content is None:
            return b""
        if isinstance(content, (bytes, memoryview)):
            return content
        try:
            encode = content.encode  # an object with the interface of a string
        except AttributeError:
            fix = "Use JSONResponse to send a value as JSON."
            if isinstance(content, CoroutineType):
                fix = "Is an `await` missing?"
            raise TypeError(
                f"{type(self).__name__}: content must be str or bytes, not {content!r:.80} of type "
                f"{type(content).__name__}. {fix}"
            ) from None
        encoded: bytes = encode(self.charset)
        return encoded

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set ``raw_headers`` from ``headers``, the body and the media type."""
        self._headers = None
        size: int | None = None
        body = getattr(self, "body", None)
        if body is not None:  # a streaming response has no body yet, so its length is unknown
            size = size_of(body)
            self._measured_body = body
        media_type = self.media_type
        is_short = media_type is None or len(media_type) <= _REMEMBERED_SIZE
        make = _default_fields if is_short else _default_fields.__wrapped__
        fields = make(size, media_type, self.charset, self.status_code)
        if headers:
            try:
                items = headers.items()
            except AttributeError:
                raise TypeError(
                    f"{type(self).__name__}: headers must be a mapping of names to values, not of type "
                    f"{type(headers).__name__}. Write a dict. To repeat a name, use "
                    "response.headers.append(name, value)."
                ) from None
            given = [encode_header(name, value) for name, value in items]
            names = dict(given)
            if _AUTOMATIC_NAMES.isdisjoint(names):  # nearly always
                self.raw_headers = [*given, *fields]
                return
            check_length(given, size, type(self).__name__)
            self.raw_headers = given + [field for field in fields if field[0] not in names]
        else:
            self.raw_headers = [*fields]

    @property
    def headers(self) -> MutableHeaders:
        """The headers, as a view that changes ``raw_headers``."""
        try:
            view = self._headers
        except AttributeError:
            view = None  # the constructor of a subclass did not call ours
        if view is None or view._list is not self.raw_headers:
            view = self._headers = MutableHeaders(None, self.raw_headers)
        return view

    @property
    def cache_control(self) -> CacheControl:
        """The Cache-Control field. Assign a ``CacheControl`` to set it: ``CacheControl(max_age=60)``.

        A string is the value of the field. An empty value and None remove the field.

        Raises:
            TypeError: The value is something else.
        """
        from spica.datastructures.cachecontrol import CacheControl

        return CacheControl.from_header(", ".join(self.headers.getlist("cache-control")))

    @cache_control.setter
    def cache_control(self, value: CacheControl | str | None) -> None:
        """Set the field."""
        from spica.datastructures.cachecontrol import CacheControl

        if not isinstance(value, CacheControl | str | None):
            raise TypeError(
                "response.cache_control must be a CacheControl or a string, not "
                f"{value!r:.80}. Write CacheControl(max_age=60)."
            )
        if value is None or not str(value):
            if "cache-control" in self.headers:
                del self.headers["cache-control"]
        else:
            self.headers["cache-control"] = str(value)

    def set_cookie(
        self,
        key: str,
        value: str = "",
        max_age: int | None = None,
        expires: datetime | str | int | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Add a Set-Cookie header (RFC 6265 s.4.1).

        Args:
            key: The name of the cookie.
            value: The value. Special characters are quoted.
            max_age: Lifetime in seconds. Without it and ``expires``, the cookie lasts until the browser
                closes.
            expires: When the cookie expires: an aware datetime, a number of seconds from now, or a
                formatted date.
            path: The path prefix that the cookie is for.
            domain: The domain that the cookie is for. By default, only the host that set it.
            secure: Whether browsers send it over HTTPS only.
            httponly: Whether it is hidden from JavaScript.
            samesite: Whether browsers send it with requests from other sites.
            partitioned: Whether each top-level site gets its own cookie. Works on every supported Python.

        Raises:
            ValueError: An argument contains invalid characters.
        """
        cookie = format_set_cookie(
            key,
            value,
            max_age=max_age,
            expires=expires,
            path=path,
            domain=domain,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
            partitioned=partitioned,
        )
        self.raw_headers.append((b"set-cookie", cookie.encode("latin-1")))

    def delete_cookie(
        self,
        key: str,
        path: str = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Add a Set-Cookie header that deletes a cookie.

        ``path``, ``domain`` and ``partitioned`` must be the same as when the cookie was set, because they
        belong to its identity (RFC 6265 s.5.3).
        """
        self.set_cookie(
            key,
            max_age=0,
            expires=0,
            path=path,
            domain=domain,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
            partitioned=partitioned,
        )

    # -- as an ASGI app --------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, then run its background task.

        On a WebSocket handshake, send it as a denial response. The task also runs if sending fails, because
        it must not depend on the client's network.
        """
        if scope["type"] == "websocket":
            send = DenialSend(send, scope)
        status_code = self.status_code
        try:
            if self._replaced_body is not None:
                await self._send_replaced(self._replaced_body, scope, send)
            elif status_code != 200 and status_code in WITHOUT_BODY:
                await send_without_body(send, status_code, self.raw_headers)
            else:
                body = self.body
                if body is not self._measured_body:
                    correct_length(self, scope)
                # A copy of the headers: foreign layers may edit the message, and this object may be sent
                # again.
                headers = [*self.raw_headers]
                await send(
                    {"type": "http.response.start", "status": status_code, "headers": headers}
                )
                await send({"type": "http.response.body", "body": body, "more_body": False})
        except Exception:
            if self.background is not None:
                await self.background()
            raise
        if self.background is not None:
            await self.background()

    async def _send_replaced(
        self, chunks: AsyncIterator[Content], scope: Scope, send: Send
    ) -> None:
        """Send the body that was set as ``body_iterator``."""
        status_code = self.status_code
        try:
            if status_code in WITHOUT_BODY:
                await send_without_body(send, status_code, self.raw_headers, chunks)
                return
            headers = self.raw_headers[:]
            start = {"type": "http.response.start", "status": status_code, "headers": headers}
            await send_start(start, send, chunks)
            await send_chunks(chunks, keep_length(send, self.raw_headers, scope), self.charset)
        finally:
            self._note_sent(chunks)

    # -- as a value ------------------------------------------------------------------------------------

    @property
    def body_iterator(self) -> AsyncIterator[Any]:
        """The body as an async iterator of chunks. Set it to send another body.

        This gives every response the same interface for middleware that reads or wraps the body.
        """
        return self._body_chunks() if self._replaced_body is None else self._replaced_body

    @body_iterator.setter
    def body_iterator(self, body_iterator: AsyncIterator[Any]) -> None:
        """Replace the body."""
        self._replaced_body = body_iterator
        self._is_value = (
            False  # until the iterator is registered with the request: see `_layers.answers`
        )

    def _body_chunks(self) -> AsyncIterator[Any]:
        """Return the original body as an iterator."""
        return one_chunk(self.body)

    def _iterators(self) -> Sequence[Any]:
        """Return the iterators of the body. None means no iterator."""
        return (self._replaced_body,)

    def _iterators_to_close(self) -> Sequence[CloseOnce]:
        """Register the iterators that are not in ``_unread`` yet, and return their closers."""
        known = [each.iterator for each in self._unread]
        new = []
        for iterator in self._iterators():
            if iterator is not None and not any(iterator is each for each in known):
                known.append(iterator)
                new.append(CloseOnce(iterator))
        if new:
            self._unread = (*self._unread, *new)
        return new

    def _register_iterators(self, request: Any) -> None:
        """Register all iterators of the body, so that the end of ``request`` closes them.

        A layer may drop the response, or replace its body, before the iterator starts.
        """
        for close in self._iterators_to_close():
            nearest_cleanup(request).add_unread(close)

    def _note_sent(self, iterator: Any) -> None:
        """Mark ``iterator`` as closed, because sending the response has closed it."""
        for each in self._unread:
            each.is_closed = each.is_closed or each.iterator is iterator

    def _copy(self) -> Self:
        """Return a copy that layers can edit for one request (see ``spica._layers.editing``)."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.raw_headers = self.raw_headers[:]
        twin._headers = None
        return twin


def _set_defaults(cls: type[Response]) -> None:
    """Set class defaults for a subclass whose constructor may not call ``Response.__init__``."""
    if cls.__module__.startswith("spica."):
        return  # its constructor sets them, and class attributes would slow down each access
    if "background" not in cls.__dict__:
        cls.background = None
    if not hasattr(cls, "_measured_body"):
        cls._measured_body = None
    if not hasattr(cls, "status_code"):
        cls.status_code = 200
    if not hasattr(cls, "raw_headers"):
        setattr(cls, "raw_headers", _NoHeaders())  # noqa: B010  # a list, once an instance has one


class _NoHeaders:
    """Give a response whose constructor sets no headers an empty list of them."""

    def __get__(self, instance: Response | None, owner: type) -> Any:
        if instance is None:
            return self
        headers = instance.raw_headers = []
        return headers


SENDING = frozenset({"__call__", "stream_response", "listen_for_disconnect", "_copy"})
"""Methods that send a response. A subclass that overrides one is only known by running it."""


_REMEMBERED_SIZE = 100
"""Longest media type that is cached, in characters, because clients may choose the media type."""


_AUTOMATIC_NAMES = frozenset((b"content-length", b"content-type"))


@lru_cache(maxsize=1024)
def _default_fields(
    size: int | None, media_type: str | None, charset: str, status_code: int
) -> tuple[tuple[bytes, bytes], ...]:
    """Return Content-Length and Content-Type. Text gets its charset (RFC 9110 s.8.3.2, s.8.6).

    The result is cached, because a few combinations make up nearly all responses.

    Raises:
        TypeError: The status is not an int.
        ValueError: The status does not have three digits.
    """
    check_status(status_code)
    fields = []
    if size is not None and status_code not in WITHOUT_CONTENT:
        fields.append((b"content-length", b"%d" % size))
    if media_type is not None:
        if media_type.startswith("text/") and "charset=" not in media_type.lower():
            media_type += "; charset=" + charset
        fields.append((b"content-type", encode_field_value(media_type)))
    return tuple(fields)


async def one_chunk(body: Content) -> AsyncIterator[Content]:
    """Yield a complete body as one chunk."""
    yield body


class HTMLResponse(Response):
    """A response with HTML.

    Args: as for ``Response``.
    """

    media_type = "text/html"


class PlainTextResponse(Response):
    """A response with plain text.

    Args: as for ``Response``.
    """

    media_type = "text/plain"


class JSONResponse(Response):
    """A response with ``content`` as JSON (RFC 8259), in UTF-8 and without insignificant white space.

    Dates, UUIDs, Decimals, enums, dataclasses and attrs classes are encoded as well. The constructor
    encodes the value with the codec of the running application. Override ``render`` for another encoding.

    Args:
        content: The value to encode.
        status_code, headers, media_type, background: As for ``Response``.

    Raises:
        ValueError: A float is NaN or infinite, which JSON can't express.
        TypeError: A value has no form in JSON.

    >>> JSONResponse({"a": [1, None]}).body
    b'{"a":[1,null]}'
    """

    media_type = "application/json"

    def __init__(
        self,
        content: Any,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        super().__init__(content, status_code, headers, media_type, background)

    def render(self, content: Any) -> bytes:
        """Return ``content`` as JSON."""
        return codec.encode(content)


class RedirectResponse(Response):
    """A response that redirects the client to ``url``.

    Args:
        url: The target, absolute or relative.
        status_code: Default 307, which keeps the method and the body (RFC 9110 s.15.4.8). Use 303 after a
            form.
        headers, background: As for ``Response``.

    Raises:
        ValueError: ``url`` contains characters that a Location header may not contain.
        TypeError: ``url`` is None or a function.

    >>> RedirectResponse("/users?page=2", status_code=303).headers["location"]
    '/users?page=2'
    """

    def __init__(
        self,
        url: str | URL,
        status_code: int = 307,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        if url is None or callable(url):
            raise TypeError(f"RedirectResponse: url must be a str or a URL, not {url!r:.80}.")
        super().__init__(b"", status_code, headers, None, background)
        location = urllib.parse.quote(str(url), safe=URL_SAFE)
        self.headers["location"] = location


explain_names(Response, FIXES_OF_RESPONSES, ASSIGNMENTS_OF_RESPONSES)
