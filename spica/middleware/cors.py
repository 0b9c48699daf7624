"""Let browsers know which pages of other origins may read a response (CORS).

CORS does not block requests: without the headers, the browser keeps the page from reading the response. The
layer answers only preflights itself. WebSocket handshakes are not subject to CORS and pass through.

Standards: WHATWG Fetch s.3.2 (the CORS protocol), RFC 6454 s.7 (Origin), RFC 9110 s.12.5.5 (Vary),
Private Network Access (WICG).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from spica._diagnostics.arguments import check_flag, check_seconds, check_strings, check_tokens
from spica._diagnostics.middleware_order import CORS
from spica._http.fields import encode_field_name, encode_field_value
from spica._http.origins import MAX_ORIGIN_SIZE, find_looseness, serialize_origin
from spica._originals import is_original, remember
from spica.datastructures import Headers, MutableHeaders
from spica.datastructures.headers import add_vary
from spica.exceptions import warn_configuration
from spica.layers import Answer, EditableResponse, Layer
from spica.responses.base import PlainTextResponse, Response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send

ALL_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY")
"""The methods that ``*`` allows."""

SAFELISTED_HEADERS = {"Accept", "Accept-Language", "Content-Language", "Content-Type"}
"""Request headers that every page may send without permission (WHATWG Fetch s.2.2.2)."""

_PREFLIGHT_VARY = (
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, "
    "Access-Control-Request-Private-Network"
)
_OWN_NAMES = frozenset(
    {
        b"vary",
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-expose-headers",
    }
)
# Methods that a subclass may override to write its own headers for each message.
_MESSAGE_METHODS = ("simple_response", "send", "allow_explicit_origin")


class CORSMiddleware(Layer):
    """Let pages of other origins read responses, and answer the preflights of browsers.

    By default, no other origin is allowed. An error response to an exception that passes through the layer
    gets the headers too, because the page could not read it otherwise.

    Args:
        app: the inner app.
        allow_origins: the allowed origins, such as ``https://example.org``. ``*`` allows all.
        allow_methods: the allowed methods. ``*`` allows all common methods.
        allow_headers: the allowed request headers, besides those that every page may send. ``*`` allows all.
        allow_credentials: whether pages may send cookies and read the responses. The response then names the
            origin, because browsers refuse ``*``. With ``allow_origins=["*"]``, every page on the web can act
            as the visitor who opened it.
        allow_origin_regex: a regular expression of allowed origins. It must match the whole origin.
        allow_private_network: whether public pages may send requests to a private network.
        expose_headers: the response headers that pages may read.
        max_age: the seconds that a browser may cache a preflight response. All browsers accept the default of
            600; Chromium caches for at most 7200, Firefox for 86400. 0 forbids caching. With None, the header
            is omitted, and browsers cache for 5 seconds.

    Example:
        ``Middleware(CORSMiddleware, allow_origins=["https://example.org"])``
    """

    middleware_traits = (CORS,)

    def __init__(
        self,
        app: ASGIApp,
        allow_origins: Collection[str] = (),
        allow_methods: Collection[str] = ("GET",),
        allow_headers: Collection[str] = (),
        allow_credentials: bool = False,
        allow_origin_regex: str | re.Pattern[str] | None = None,
        allow_private_network: bool = False,
        expose_headers: Collection[str] = (),
        max_age: int | None = 600,
    ) -> None:
        """Check the settings and prepare the headers.

        Raises:
            TypeError: a setting has the wrong type, for example a string instead of a list.
            ValueError: an origin, method or header can never match, `allow_origin_regex` is not a regular
                expression, or `max_age` is negative.
        """
        check_strings(allow_origins, "CORSMiddleware: allow_origins")
        _check_origins(allow_origins)
        check_tokens(allow_methods, "CORSMiddleware: allow_methods")
        _check_case(allow_methods)
        check_tokens(allow_headers, "CORSMiddleware: allow_headers")
        check_tokens(expose_headers, "CORSMiddleware: expose_headers")
        check_seconds(max_age, "CORSMiddleware: max_age")
        if max_age is not None and max_age < 0:
            raise ValueError(f"CORSMiddleware: max_age must not be negative, but is {max_age}.")

        self.app = app
        self.allow_origins = allow_origins
        self.allow_methods = ALL_METHODS if "*" in allow_methods else allow_methods
        header_names = sorted(_without_repeats(allow_headers))
        self.allow_headers = [name.lower() for name in header_names]
        self.allow_all_origins = "*" in allow_origins
        self.allow_all_headers = "*" in allow_headers
        self.allow_credentials = check_flag(allow_credentials, "CORSMiddleware: allow_credentials")
        self.allow_origin_regex = _compile(allow_origin_regex)
        self.allow_private_network = check_flag(
            allow_private_network, "CORSMiddleware: allow_private_network"
        )
        self.max_age = max_age

        self.simple_headers = self._list_simple_headers(expose_headers)
        self.preflight_headers = self._list_preflight_headers(header_names)
        self._writes_messages = not is_original(type(self), *_MESSAGE_METHODS)
        self._unasked = _SetFields((), None)
        self._simple = self._unasked
        # Created at the first request, and again if a subclass has changed `simple_headers` since.
        self._encoded: dict[str, str] | None = None
        # Cache only origins that the settings name, so that clients can't fill the memory.
        self._explicit: dict[str, _SetFields] = {}

    def _list_simple_headers(self, expose_headers: Collection[str]) -> dict[str, str]:
        """Return the headers of every response to another origin."""
        headers = {}
        if self.allow_all_origins and not self.allow_credentials:
            headers["Access-Control-Allow-Origin"] = "*"
        if self.allow_credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        if expose_headers:
            headers["Access-Control-Expose-Headers"] = _list(expose_headers)
        return headers

    def _list_preflight_headers(self, header_names: list[str]) -> dict[str, str]:
        """Return the headers of every preflight response."""
        headers = {"Vary": _PREFLIGHT_VARY, **self._list_simple_headers(())}
        headers["Access-Control-Allow-Methods"] = _list(self.allow_methods)
        if self.max_age is not None:
            headers["Access-Control-Max-Age"] = str(self.max_age)
        if not self.allow_all_headers:
            headers["Access-Control-Allow-Headers"] = ", ".join(header_names)
        return headers

    # -- requests --------------------------------------------------------------------------------------

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the inner response with CORS headers, or the response to a preflight."""
        scope = request.scope
        origin = None
        for name, value in scope["headers"]:
            if name == b"origin":
                text = value.decode("latin-1")
                origin = text if origin is None or origin == text else _NO_ORIGIN
        if origin is not None and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if "access-control-request-method" in headers:
                return self.preflight_response(headers)
        if self._writes_messages:
            return _MessageWriter(self)
        edit = self._unasked if origin is None else self._choose_edit(origin)
        return await self._layer_edited(self._layer_inner.respond, request, edit)

    def is_allowed_origin(self, origin: str) -> bool:
        """Return whether pages of `origin` may read responses. Override it for your own rule."""
        if self.allow_all_origins or origin in self.allow_origins:
            return True
        pattern = self.allow_origin_regex
        if pattern is None or len(origin) > MAX_ORIGIN_SIZE:
            return False
        return pattern.fullmatch(origin) is not None

    def _choose_edit(self, origin: str) -> _SetFields:
        """Return the edit of a response for a page of this origin."""
        if self._encoded != self.simple_headers:
            self._encoded = self.simple_headers.copy()
            self._simple = _SetFields(tuple(map(_encode, self._encoded.items())), None)
            self._explicit.clear()
        if self.allow_all_origins and not self.allow_credentials:
            return self._simple
        edit = self._explicit.get(origin)
        if edit is not None and self.is_allowed_origin(origin):
            return edit
        if not self._may_name(origin):
            return self._simple
        name_it = (b"access-control-allow-origin", origin.encode("latin-1"))
        edit = _SetFields((*self._simple.fields[:-1], name_it), origin)
        if origin in self.allow_origins:
            self._explicit[origin] = edit
        return edit

    def _may_name(self, origin: str) -> bool:
        # RFC 6454 s.6.2: an origin is printable ASCII without spaces and commas. Settings that allow all
        # origins also allow malformed ones, but a response must not repeat these.
        if not (origin and origin.isprintable() and origin.isascii()):
            return False
        return " " not in origin and "," not in origin and self.is_allowed_origin(origin)

    # -- preflights ------------------------------------------------------------------------------------

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the preflight response: 200, or 400 with the list of the parts that are not allowed."""
        headers = dict(self.preflight_headers)
        failures = []
        origin = _only(request_headers, "origin")
        if not self._may_name(origin):
            failures.append("origin")
        elif not self.allow_all_origins or self.allow_credentials:
            headers["Access-Control-Allow-Origin"] = origin
        if _only(request_headers, "access-control-request-method") not in self.allow_methods:
            failures.append("method")
        lines = request_headers.getlist("access-control-request-headers")
        if lines:
            requested = ", ".join(lines)  # RFC 9110 s.5.3
            if not self._allows_headers(requested):
                failures.append("headers")
            elif self.allow_all_headers:
                # Repeat the requested headers: with credentials, "*" is a literal name (Fetch s.3.2.3).
                headers["Access-Control-Allow-Headers"] = requested
        if request_headers.get("access-control-request-private-network") == "true":
            if self.allow_private_network:
                headers["Access-Control-Allow-Private-Network"] = "true"
            else:
                failures.append("private-network")
        if failures:
            # Keep the allowed headers, so that the browser's console can show the exact reason.
            text = "Disallowed CORS " + ", ".join(failures)
            return PlainTextResponse(text, status_code=400, headers=headers)
        return PlainTextResponse("OK", headers=headers)

    def _allows_headers(self, requested: str) -> bool:
        if self.allow_all_headers:
            return requested.isprintable()
        # RFC 9110 s.5.6.1.2: empty members of a list are ignored.
        names = {name.strip(" \t").lower() for name in requested.split(",")}
        return names.issubset({*self.allow_headers, ""})

    # -- message by message, for subclasses that override it ---------------------------------------------

    async def simple_response(
        self, scope: Scope, receive: Receive, send: Send, request_headers: Headers
    ) -> None:
        """Run the app and pass each message of its response to ``self.send``."""
        send = functools.partial(self.send, send=send, request_headers=request_headers)
        await self.app(scope, receive, send)

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """Send `message`, with CORS headers if it starts the response."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            has_origin = "origin" in request_headers
            origin = _only(request_headers, "origin") or _NO_ORIGIN
            edit = self._choose_edit(origin) if has_origin else self._unasked
            edit.merge(headers)
            if edit.origin is not None:
                self.allow_explicit_origin(headers, edit.origin)
            message = {**message, "headers": headers.raw}
        await send(message)

    @staticmethod
    def allow_explicit_origin(headers: MutableHeaders, origin: str) -> None:
        """Set the headers that let pages of `origin` read the response."""
        headers["Access-Control-Allow-Origin"] = origin
        headers.add_vary_header("Origin")


remember(CORSMiddleware, *_MESSAGE_METHODS)


_NO_ORIGIN = "\n"
"""The origin of a request with several different Origin headers. No setting can name it."""


def _only(headers: Headers, name: str) -> str:
    """Return the value of a header, or "" if it is missing or has lines with different values."""
    values = set(headers.getlist(name))
    return values.pop() if len(values) == 1 else ""


class _SetFields:
    """The edit of a response: set the headers, and add Vary if it depends on the origin."""

    __slots__ = ("fields", "origin")

    def __init__(self, fields: tuple[tuple[bytes, bytes], ...], origin: str | None) -> None:
        # RFC 9110 s.12.5.5: a cache must not reuse the response to one origin for another one.
        self.fields = (*fields, (b"vary", b"Origin"))
        self.origin = origin

    def __call__(self, request: Request[Any], start: EditableResponse) -> None:
        raw = start.raw_headers if isinstance(start, Response) else start.headers.raw
        has_vary = False
        for name, _ in raw:
            if name in _OWN_NAMES:
                if name != b"vary":
                    self.merge(start.headers)
                    return
                has_vary = True
        if has_vary:
            raw.extend(self.fields[:-1])
            add_vary(raw, "Origin")
        else:
            raw.extend(self.fields)

    def merge(self, headers: MutableHeaders) -> None:
        """Set the headers in a response that may already have some of them."""
        for name, value in self.fields[:-1]:
            headers[name.decode()] = value.decode("latin-1")
        headers.add_vary_header("Origin")


class _MessageWriter:
    """The answer of a subclass that edits messages: an opaque app that calls its ``send``."""

    __slots__ = ("layer",)

    def __init__(self, layer: CORSMiddleware) -> None:
        self.layer = layer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_headers = Headers(scope=scope)
        await self.layer.simple_response(scope, receive, send, request_headers=request_headers)


def _encode(field: tuple[str, str]) -> tuple[bytes, bytes]:
    return encode_field_name(field[0]), encode_field_value(field[1])


def _list(names: Collection[str]) -> str:
    """Return names as the value of a header, sorted if the collection has no order."""
    return ", ".join(sorted(names) if isinstance(names, (set, frozenset)) else names)


def _without_repeats(names: Collection[str]) -> Collection[str]:
    """Return each name once, including the safelisted ones. The spelling of the standard wins."""
    spellings = {name.lower(): name for name in [*sorted(names), *SAFELISTED_HEADERS]}
    return spellings.values()


def _check_origins(origins: Collection[str]) -> None:
    for origin in origins:
        if origin == "*":
            continue
        try:
            sent = serialize_origin(origin)
        except ValueError as error:
            raise ValueError(
                f"CORSMiddleware: allow_origins has {origin!r:.300}, which can never match: it {error}."
            ) from None
        if sent != origin:
            _warn(
                f"allow_origins has {origin!r:.300}, which no browser sends: "
                f"it writes this origin as {sent!r:.300}."
            )


def _check_case(methods: Collection[str]) -> None:
    for method in methods:
        if method not in ALL_METHODS and method.upper() in ALL_METHODS:
            # WHATWG Fetch s.2.2.1: methods are case-sensitive, and browsers send these in upper case.
            _warn(f"allow_methods has {method!r}, which is not {method.upper()!r}.")


def _compile(pattern: str | re.Pattern[str] | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    location = "CORSMiddleware: allow_origin_regex"
    text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    if not isinstance(text, str):
        raise TypeError(f"{location} must be a string, not {pattern!r:.80}.")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        where = "" if error.pos is None else f" at position {error.pos}"
        raise ValueError(
            f"{location} is {pattern!r:.300}, which is not a regular expression: {error.msg}{where}."
        ) from error
    loose_parts = [
        f"at position {found.position} {found.text}" for found in find_looseness(compiled.pattern)
    ]
    if loose_parts:
        _warn(
            f"allow_origin_regex is {compiled.pattern!r:.300}, which matches more origins than it "
            f"seems to: {'; '.join(loose_parts)}."
        )
    return compiled


def _warn(text: str) -> None:
    warn_configuration(f"CORSMiddleware: {text}")
