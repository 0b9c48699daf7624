"""Responses whose body is in memory.

A response is an ASGI app: ``await response(scope, receive, send)`` sends it. It is also a value: layers pass
it on and edit its status and headers before anybody sends it. Which of its classes may be passed as a
value is decided by ``Response._is_value``; one that overrides ``__call__`` is only known by running it.

Standards: RFC 9110 (fields, status codes without content), ASGI HTTP specification ("Response Start",
"Response Body").
"""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

from spica._asgi import current_codec as codec
from spica._asgi.cleanup import nearest_cleanup
from spica._asgi.sending import DenialSend
from spica._asgi.unread import CloseOnce
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
    send_without_body,
    size_of,
)
from spica.types import Receive, Scope, Send

URL_SAFE = ":/%#?=@[]!$&'()*+,;"
"""Characters of a redirect target that stay as they are: the reserved ones (RFC 3986 s.2.2), and "%"."""


class Response:
    """Answer a request with a body from memory.

    ``content`` is text, encoded with ``charset``, or bytes; None: an empty body. ``headers`` come first;
    Content-Length and Content-Type are added unless they are among them. If you replace ``body`` later,
    Content-Length follows when the response is sent. ``background`` is awaited when the response has been
    sent.

    Raises:
        ValueError: a header's name or value is not one that may be sent (RFC 9110 s.5), or is a
            Content-Length other than that of the body; the status does not have three digits.
        TypeError: the status is no int; ``headers`` are no mapping; ``content`` is of a type that can't be
            encoded.
    """

    media_type: str | None = None
    charset = "utf-8"
    background: BackgroundTask | None
    status_code: int
    raw_headers: RawHeaders

    _is_value: bool = True
    """Whether status, headers and body are all there is, so that instances pass as values as they are."""
    _receives: ClassVar[bool] = False
    """Whether sending makes use of ``receive``."""
    _has_own_headers: bool = False
    """Whether ``init_headers`` is to be called: the class has its own, or the media type is a long one."""
    _resolve: Callable[[Any], Awaitable[Any]] | None = None
    """Look up, for a request, what status and headers depend on, and return the response that has them."""
    _replaced_body: AsyncIterator[Content] | None = None
    _unread: Sequence[CloseOnce] = ()
    """The iterators that the end of the request closes."""
    _headers: MutableHeaders | None = None
    _measured_body: bytes | memoryview | None = None
    """The body that Content-Length was made for. Another one in ``body`` was put in its place later."""
    _whole_headers: list[tuple[bytes, bytes]] | None = None
    """The fields of the 200 that a 304 stands for, if they are known."""

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
        self.body = self._measured_body = body = self.render(content)
        if headers is None and type(body) is bytes and not self._has_own_headers:
            # What init_headers does then, without the step to it.
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
        """Return ``content`` as the bytes of the body."""
        if isinstance(content, str):
            return content.encode(self.charset)
        if content is None:
            return b""
        if isinstance(content, (bytes, memoryview)):
            return content
        try:
            encode = content.encode  # the user's own kind of text
        except AttributeError:
            raise TypeError(
                f"{type(self).__name__}: content must be text or bytes, not {content!r:.80} of type "
                f"{type(content).__name__}. JSONResponse writes values as JSON."
            ) from None
        encoded: bytes = encode(self.charset)
        return encoded

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set ``raw_headers`` from ``headers``, the body and the media type."""
        size: int | None
        try:
            body = self.body
        except AttributeError:
            size = None  # a response that streams has no body yet, and its length is not known
        else:
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
                    f"{type(headers).__name__}. Write a dict; a name that comes more than once is added with "
                    "response.headers.append(name, value)."
                ) from None
            given = [encode_header(name, value) for name, value in items]
            names = {name for name, _ in given}
            if b"content-length" in names:
                check_length(given, size, type(self).__name__)
            self.raw_headers = [*given, *(field for field in fields if field[0] not in names)]
        else:
            self.raw_headers = [*fields]

    @property
    def headers(self) -> MutableHeaders:
        """The headers, as a view that changes ``raw_headers``."""
        view = self._headers
        if view is None or view._list is not self.raw_headers:
            view = self._headers = MutableHeaders(None, self.raw_headers)
        return view

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

        ``max_age`` is in seconds; ``expires`` is a time, or seconds from now, or a text sent as it is.
        ``partitioned`` works on every supported Python.

        Raises:
            ValueError: a part contains what may not stand in it.
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
        """Add a Set-Cookie header that makes the client forget the cookie.

        Path, domain and ``partitioned`` must be those the cookie was set with: they are part of its
        identity (RFC 6265 s.5.3).
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

        On a WebSocket handshake it is sent as a denial response. The task runs also when sending fails:
        what a handler promised does not depend on the client's network.
        """
        if scope["type"] == "websocket":
            send = DenialSend(send, scope)
        status_code = self.status_code
        try:
            if status_code != 200 and status_code in WITHOUT_BODY:
                await send_without_body(send, status_code, self.raw_headers, self._replaced_body)
            else:
                if self._replaced_body is None and self.body is not self._measured_body:
                    correct_length(self, scope)
                await send(
                    {
                        "type": "http.response.start",
                        "status": status_code,
                        # A copy: foreign layers edit the message, and this object may be sent again.
                        "headers": self.raw_headers[:],
                    }
                )
                if self._replaced_body is None:
                    await send(
                        {"type": "http.response.body", "body": self.body, "more_body": False}
                    )
                else:
                    send = keep_length(send, self.raw_headers, scope)
                    await send_chunks(self._replaced_body, send, self.charset)
        except Exception:
            if self.background is not None:
                await self.background()
            raise
        finally:
            if self._unread:
                self._note_sent(self._replaced_body)
        if self.background is not None:
            await self.background()

    # -- as a value ------------------------------------------------------------------------------------

    @property
    def body_iterator(self) -> AsyncIterator[Any]:
        """The body as an async iterator of chunks; set it to send another body.

        It makes every response look alike to a middleware that reads or wraps what is sent.
        """
        return self._body_chunks() if self._replaced_body is None else self._replaced_body

    @body_iterator.setter
    def body_iterator(self, body_iterator: AsyncIterator[Any]) -> None:
        """Send another body."""
        self._replaced_body = body_iterator
        self._is_value = False  # until the request knows of the iterator: see `settle_answer`

    def _body_chunks(self) -> AsyncIterator[Any]:
        """Return the body that was not replaced as an iterator."""
        return one_chunk(self.body)

    def _iterators(self) -> Sequence[Any]:
        """Return the iterators that were handed over; None stands for none."""
        return (self._replaced_body,)

    def _iterators_to_close(self) -> Sequence[CloseOnce]:
        """Return one object for each iterator that is not among ``_unread`` yet, and put it there."""
        known = [each.iterator for each in self._unread]
        new = []
        for iterator in self._iterators():
            if iterator is not None and not any(iterator is each for each in known):
                known.append(iterator)
                new.append(CloseOnce(iterator))
        if new:
            self._unread = (*self._unread, *new)
        return new

    def _note_iterators(self, request: Any) -> None:
        """Have every iterator that was handed over closed at the end of ``request``.

        A layer may drop the response, or give it another body, before the iterator has begun.
        """
        for close in self._iterators_to_close():
            nearest_cleanup(request).add_unread(close)

    def _note_sent(self, iterator: Any) -> None:
        """Note that sending the response has closed ``iterator``."""
        for each in self._unread:
            each.is_closed = each.is_closed or each.iterator is iterator

    def _copy(self) -> Self:
        """Return a copy to be edited for one request (see ``spica._layers.editing``)."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.raw_headers = self.raw_headers[:]
        twin._headers = None
        return twin


def _set_defaults(cls: type[Response]) -> None:
    """Give a class whose constructor need not call that of Response what a response must have."""
    if "background" not in cls.__dict__:
        cls.background = None
    if cls.__module__.startswith("spica."):
        return  # its constructor sets the others; a default on the class would make each look slower
    if not hasattr(cls, "status_code"):
        cls.status_code = 200
    if not hasattr(cls, "raw_headers"):
        setattr(cls, "raw_headers", _NoHeaders())  # noqa: B010  # a list, once an instance has one


class _NoHeaders:
    """Give an empty list of headers to a response whose constructor has set none."""

    def __get__(self, instance: Response | None, owner: type) -> Any:
        if instance is None:
            return self
        headers = instance.raw_headers = []
        return headers


SENDING = frozenset({"__call__", "stream_response", "listen_for_disconnect", "_copy"})
"""Methods that send a response. A subclass that brings its own is only known by running it."""


_REMEMBERED_SIZE = 100
"""The longest media type that is remembered, in characters: it may have come with a request."""


@lru_cache(maxsize=1024)
def _default_fields(
    size: int | None, media_type: str | None, charset: str, status_code: int
) -> tuple[tuple[bytes, bytes], ...]:
    """Return Content-Length and Content-Type; text gets the charset it was encoded with.

    Few combinations make up nearly all responses, so that they are kept. RFC 9110 s.8.3.2, s.8.6.

    Raises:
        TypeError: the status is no int.
        ValueError: it does not have three digits.
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
    """Yield a body that is there as a whole."""
    yield body


class HTMLResponse(Response):
    """Answer with HTML."""

    media_type = "text/html"


class PlainTextResponse(Response):
    """Answer with plain text."""

    media_type = "text/plain"


class JSONResponse(Response):
    """Answer with ``content`` as JSON (RFC 8259), UTF-8 and without insignificant white space.

    Dates, UUIDs, Decimals, enums, dataclasses and attrs classes are encoded too. It is written at once, with
    the codec of the application that is at work; override ``render`` for another encoding.

    Raises:
        ValueError: a float is NaN or infinite, which JSON does not have.
        TypeError: a value has no JSON form.
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
    """Send the client to ``url``.

    The default, 307, keeps the method and the body (RFC 9110 s.15.4.8); use 303 after a form.

    Raises:
        ValueError: ``url`` contains what can't stand in a Location header.
        TypeError: ``url`` is None or a function.
    """

    def __init__(
        self,
        url: str | URL,
        status_code: int = 307,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        if url is None or callable(url):
            raise TypeError(f"RedirectResponse: url must be a text or a URL, not {url!r:.80}.")
        super().__init__(b"", status_code, headers, None, background)
        location = urllib.parse.quote(str(url), safe=URL_SAFE)
        self.headers["location"] = location
