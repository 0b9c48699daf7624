"""The layer that tells browsers which pages of other origins may read a response (CORS).

It does not keep a request out: a browser that is not told so keeps the page from reading the answer.
Only preflights are answered here. WebSocket handshakes are not subject to CORS and pass through.

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
"""What ``*`` stands for among methods."""

SAFELISTED_HEADERS = {"Accept", "Accept-Language", "Content-Language", "Content-Type"}
"""Request headers that every page may send (WHATWG Fetch s.2.2.2)."""

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
# A subclass may override these to write its own headers, message by message.
_MESSAGE_METHODS = ("simple_response", "send", "allow_explicit_origin")


class CORSMiddleware(Layer):
    """Let pages of other origins read responses, and answer the preflights of browsers.

    By default nothing is allowed; `allow_origins` and the other settings open what they name, and
    ``*`` opens all of a kind. `allow_origin_regex` is matched against the whole origin. With
    `allow_credentials` the origin is always named, since browsers refuse ``*`` then: together with
    ``allow_origins=["*"]`` every page on the web can act as the visitor it was opened by.

    `max_age` is how long a browser may keep the answer to a preflight, in seconds. The default of
    600 is what all of them accept: Chromium keeps it for 7200 at most, Firefox for 86400. 0 forbids
    keeping it; None says nothing, and browsers take 5 seconds.

    An error page for an exception that passes here gets the headers too: the page that asked could
    not read it otherwise.
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
        """Check the settings, and prepare what is written.

        Raises:
            TypeError: a setting is of the wrong type, a string for a list above all.
            ValueError: an origin, method or header can never match, the pattern is none, or `max_age`
                is negative.
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
        # Made at the first request, and anew if a subclass has changed `simple_headers` since.
        self._encoded: dict[str, str] | None = None
        # Of origins that the settings name, so that there is an end to it.
        self._explicit: dict[str, _SetFields] = {}

    def _list_simple_headers(self, expose_headers: Collection[str]) -> dict[str, str]:
        """Return what a response to any other origin says."""
        headers = {}
        if self.allow_all_origins and not self.allow_credentials:
            headers["Access-Control-Allow-Origin"] = "*"
        if self.allow_credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        if expose_headers:
            headers["Access-Control-Expose-Headers"] = _list(expose_headers)
        return headers

    def _list_preflight_headers(self, header_names: list[str]) -> dict[str, str]:
        """Return what the answer to any preflight says."""
        headers = {"Vary": _PREFLIGHT_VARY, **self._list_simple_headers(())}
        headers["Access-Control-Allow-Methods"] = _list(self.allow_methods)
        if self.max_age is not None:
            headers["Access-Control-Max-Age"] = str(self.max_age)
        if not self.allow_all_headers:
            headers["Access-Control-Allow-Headers"] = ", ".join(header_names)
        return headers

    # -- the way of a request --------------------------------------------------------------------------

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the inner answer with CORS headers, or the answer to a preflight."""
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
        return await self.respond_edited(request, edit)

    def is_allowed_origin(self, origin: str) -> bool:
        """Tell whether pages of `origin` may read responses. Override it to decide otherwise."""
        if self.allow_all_origins or origin in self.allow_origins:
            return True
        pattern = self.allow_origin_regex
        if pattern is None or len(origin) > MAX_ORIGIN_SIZE:
            return False
        return pattern.fullmatch(origin) is not None

    def _choose_edit(self, origin: str) -> _SetFields:
        """Return what is written into a response for a page of this origin."""
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
        # RFC 6454 s.6.2: an origin is printable ASCII, without blanks and commas. Settings that allow all
        # origins allow other texts too, but a response must not repeat them.
        if not (origin and origin.isprintable() and origin.isascii()):
            return False
        return " " not in origin and "," not in origin and self.is_allowed_origin(origin)

    # -- preflights ------------------------------------------------------------------------------------

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a preflight: 200, or 400 with the names of what is not allowed."""
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
                # The field itself: with credentials, "*" is just a name (WHATWG Fetch s.3.2.3).
                headers["Access-Control-Allow-Headers"] = requested
        if request_headers.get("access-control-request-private-network") == "true":
            if self.allow_private_network:
                headers["Access-Control-Allow-Private-Network"] = "true"
            else:
                failures.append("private-network")
        if failures:
            # With what is allowed: so that the browser's console can say more than "failed".
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
        """Run the app, with each message of its response given to ``self.send``."""
        send = functools.partial(self.send, send=send, request_headers=request_headers)
        await self.app(scope, receive, send)

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """Send `message` on, with CORS headers if it starts the response."""
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
        """Write into `headers` that pages of this origin may read the response."""
        headers["Access-Control-Allow-Origin"] = origin
        headers.add_vary_header("Origin")


remember(CORSMiddleware, *_MESSAGE_METHODS)


_NO_ORIGIN = "\n"
"""Stands for several Origin headers that contradict each other: no setting allows it by name."""


def _only(headers: Headers, name: str) -> str:
    """Return the value of a header that may come once; "" if it is missing, or its lines contradict."""
    values = set(headers.getlist(name))
    return values.pop() if len(values) == 1 else ""


class _SetFields:
    """The edit: set fields, and say that the response depends on the origin."""

    __slots__ = ("fields", "origin")

    def __init__(self, fields: tuple[tuple[bytes, bytes], ...], origin: str | None) -> None:
        # RFC 9110 s.12.5.5: a cache must not give the answer for one origin to another one.
        self.fields = (*fields, (b"vary", b"Origin"))
        self.origin = origin

    def __call__(self, start: EditableResponse) -> None:
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
        """Set the fields where some of them may stand already."""
        for name, value in self.fields[:-1]:
            headers[name.decode()] = value.decode("latin-1")
        headers.add_vary_header("Origin")


class _MessageWriter:
    """The answer of a subclass that writes its headers message by message: an opaque app."""

    __slots__ = ("layer",)

    def __init__(self, layer: CORSMiddleware) -> None:
        self.layer = layer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_headers = Headers(scope=scope)
        await self.layer.simple_response(scope, receive, send, request_headers=request_headers)


def _encode(field: tuple[str, str]) -> tuple[bytes, bytes]:
    return encode_field_name(field[0]), encode_field_value(field[1])


def _list(names: Collection[str]) -> str:
    """Write names as the value of a header, in their order if they have one."""
    return ", ".join(sorted(names) if isinstance(names, (set, frozenset)) else names)


def _without_repeats(names: Collection[str]) -> Collection[str]:
    """Return each name, and the safelisted ones, in one spelling; that of the standard wins."""
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
            # WHATWG Fetch s.2.2.1: methods are case-sensitive, and browsers write these in capitals.
            _warn(f"allow_methods has {method!r}, which is not {method.upper()!r}.")


def _compile(pattern: str | re.Pattern[str] | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    place = "CORSMiddleware: allow_origin_regex"
    text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    if not isinstance(text, str):
        raise TypeError(f"{place} must be a string, not {pattern!r:.80}.")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        where = "" if error.pos is None else f" at position {error.pos}"
        raise ValueError(
            f"{place} is {pattern!r:.300}, which is no regular expression: {error.msg}{where}."
        ) from error
    places = [
        f"at position {found.position} {found.text}" for found in find_looseness(compiled.pattern)
    ]
    if places:
        _warn(
            f"allow_origin_regex is {compiled.pattern!r:.300}, which matches more origins than it "
            f"seems to: {'; '.join(places)}."
        )
    return compiled


def _warn(text: str) -> None:
    warn_configuration(f"CORSMiddleware: {text}")
