"""Give each client a session: a dict that is stored in a signed cookie.

The session is signed but not encrypted, so the client can read it but can't change it. The layer reads the
cookie on the first use of the session and writes it after a change. A request that does not use the session
costs almost nothing.

Standards: RFC 6265 (cookies), RFC 9110 s.12.5.5 (Vary).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from spica._asgi import current_codec as codec
from spica._asgi.sending import SendHook
from spica._diagnostics.arguments import check_flag, check_seconds
from spica._diagnostics.call_site import user_line, warn_at
from spica._diagnostics.middleware_order import SESSION
from spica._http.cookies import parse_cookies
from spica._layers.editing import add_pending_edit, edit_answer, push_edit
from spica._layers.layer import BaseLayer
from spica.datastructures import MutableHeaders
from spica.datastructures.headers import add_vary, encode_header
from spica.middleware.sessions.cookie import (
    CLEARED,
    MAX_COOKIE_SIZE,
    SecretKeys,
    check_cookie,
    explain_size,
    format_flags,
    make_signer,
    sign,
    unsign,
)
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send

RawHeaders = Iterable[tuple[bytes, bytes]]


class Session(dict[str, Any]):
    """A dict of JSON values that records its use and its changes.

    The layer also finds changes inside a value, for example of a list: it compares the JSON.

    Attributes:
        accessed: whether it was used. The response then depends on the cookie (Vary).
        modified: whether the dict itself was changed. The layer then writes the cookie again.
    """

    accessed: bool = False
    modified: bool = False

    _owner: SessionMiddleware | None = None
    """The layer that created it, or None if a user did."""
    _headers: RawHeaders = ()
    _stored: bytes = b""
    """The JSON from the cookie."""
    _is_sent: bool = False
    """Whether the response with its cookie has started. Later changes are lost."""

    def mark_accessed(self) -> None:
        """Note that the response depends on the session."""
        self.accessed = True

    def mark_modified(self) -> None:
        """Note that the session has changed. Show a RuntimeWarning if its cookie was already sent."""
        self.accessed = self.modified = True
        if self._is_sent:
            warn_at(
                user_line(),
                "The session was changed after its cookie was written, so the change is lost. Change it "
                "before the response begins, and before a WebSocket is accepted: not in a background task, "
                "in a body that streams, or in a middleware outside SessionMiddleware after call_next().",
                RuntimeWarning,
            )

    # Each method notes its change after the fact. A call that raises, or that leaves the size as it was, has
    # changed nothing.

    def _note_change(self, size_before: int) -> None:
        if len(self) != size_before:
            self.mark_modified()

    def clear(self) -> None:
        """Remove all keys. The response then deletes the client's cookie."""
        dict.clear(self)
        self.mark_modified()

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key and return its value, or the default if the key is missing."""
        size = len(self)
        value = dict.pop(self, key, *default)
        self._note_change(size)
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the last key and return it with its value."""
        size = len(self)
        key, value = dict.popitem(self)
        self._note_change(size)
        return key, value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of a key. If the key is missing, set it to the default first."""
        size = len(self)
        value = dict.setdefault(self, key, default)
        self._note_change(size)
        return value

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set the keys of a mapping or of (key, value) pairs."""
        dict.update(self, *args, **kwargs)
        self.mark_modified()

    def __delitem__(self, key: str) -> None:
        dict.__delitem__(self, key)
        self.mark_modified()

    def __setitem__(self, key: str, value: Any) -> None:
        dict.__setitem__(self, key, value)
        self.mark_modified()

    if not TYPE_CHECKING:  # type checkers use the overloads of dict

        def __ior__(self, other: Any) -> Self:
            self.update(other)
            return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is an independent session that no layer writes.
        return Session, (dict(self),)


class _UnreadSession(Session):
    """A session whose cookie was not read yet. Any method that needs the contents reads it first."""

    def __init__(self, owner: SessionMiddleware, headers: RawHeaders) -> None:
        self._owner = owner
        self._headers = headers

    def mark_accessed(self) -> None:
        """Note that the response depends on the session. Each ``request.session`` calls this."""
        self._read()

    def _read(self) -> None:
        """Become a Session with the contents of the cookie."""
        owner, headers = self._owner, self._headers
        object.__setattr__(self, "__class__", Session)  # from now on, calls go to Session directly
        self.accessed = True
        self._headers = ()
        if owner is not None:
            self._stored, contents = owner._read_cookie(headers)
            dict.update(self, contents)


class _ReadFirst:
    """A method of Session that reads the cookie first."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: _UnreadSession | None, owner: type | None = None) -> Any:
        if instance is None:
            return getattr(Session, self.name)
        instance._read()
        return getattr(instance, self.name)


_READERS = """
    mark_modified get keys values items copy clear pop popitem setdefault update
    __getitem__ __setitem__ __delitem__ __contains__ __iter__ __reversed__ __len__ __eq__ __ne__
    __or__ __ror__ __ior__ __repr__ __reduce__ __reduce_ex__
"""
for _name in _READERS.split():
    setattr(_UnreadSession, _name, _ReadFirst(_name))


class SessionMiddleware(BaseLayer):
    """Keep ``request.session`` in a signed cookie that scripts can't read.

    WebSockets have the session too. Changes before the handshake response are kept. Later changes are lost,
    because no further header can be sent.

    Args:
        app: the inner app.
        secret_key: the secret that signs the cookie. A list is a rotation: the first secret signs, and all
            of them verify.
        session_cookie: the name of the cookie.
        max_age: the lifetime of a session after its last change in seconds. The default is 14 days. None
            keeps it until the browser is closed, and 0 or less expires it at once.
        path: the path to which browsers send the cookie.
        same_site: "lax", "strict" or "none". "none" needs `https_only`.
        https_only: whether browsers send the cookie only over TLS.
        domain: the domain to which browsers send the cookie, by default only this host.
        partitioned: whether each embedding site gets its own cookie. It needs `https_only`.
        salt: the purpose of the signature. Applications that share a secret should each have their own,
            otherwise a cookie of one is valid for the other under any name. The default is None, which gives
            the cookie that ``TimestampSigner(secret_key)`` of itsdangerous reads and writes.

    Example:
        ``Middleware(SessionMiddleware, secret_key=config("SECRET_KEY", cast=Secret))``
    """

    middleware_traits = (SESSION,)

    def __init__(
        self,
        app: ASGIApp,
        secret_key: SecretKeys,
        session_cookie: str = "session",
        max_age: int | None = 14 * 24 * 60 * 60,
        path: str = "/",
        same_site: Literal["lax", "strict", "none"] = "lax",
        https_only: bool = False,
        domain: str | None = None,
        partitioned: bool = False,
        *,
        salt: str | None = None,
    ) -> None:
        """Check the settings.

        Raises:
            TypeError: a setting has the wrong type.
            ValueError: a secret is empty, or browsers would drop the cookie.
            ImportError: itsdangerous is not installed.
        """
        check_seconds(max_age, "SessionMiddleware: max_age")
        check_flag(https_only, "SessionMiddleware: https_only")
        check_flag(partitioned, "SessionMiddleware: partitioned")
        check_cookie(session_cookie, path, domain, same_site, https_only)
        self.app = app
        self.signer = make_signer(secret_key, salt)
        self.session_cookie = session_cookie
        self.max_age = max_age
        self.path = path
        self.security_flags = format_flags(same_site, https_only, domain, partitioned)

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner response, with the cookie if the session has changed."""
        scope = request.scope
        session = scope["session"] = _UnreadSession(self, scope["headers"])
        edit = _SaveSession(self, scope, session)
        outer = push_edit(request, edit)
        try:
            answer = await self._layer_inner.respond(request)
        except Exception:
            add_pending_edit(request, edit)
            raise
        finally:
            request._edits = outer
        if (
            session.__class__ is _UnreadSession
            and scope.get("session") is session
            and isinstance(answer, Response)
        ):
            session._is_sent = True
            return answer
        return edit_answer(answer, edit, request)

    async def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket with a session. Other scopes pass through."""
        if scope["type"] == "websocket":
            session = scope["session"] = _UnreadSession(self, scope["headers"])
            send = SendHook(
                send, _SaveSession(self, scope, session).edit_handshake, _HANDSHAKE_TYPES
            )
        await self.app(scope, receive, send)

    # -- the cookie ------------------------------------------------------------------------------------

    def _read_cookie(self, headers: RawHeaders) -> tuple[bytes, dict[str, Any]]:
        """Return the JSON of the client's cookie, and its decoded contents."""
        # RFC 9113 s.8.2.3: HTTP/2 may send cookies in several fields.
        fields = [value for name, value in headers if name == b"cookie"]
        if not fields:
            return b"", {}
        value = parse_cookies(b"; ".join(fields).decode("latin-1")).get(self.session_cookie)
        data = unsign(self.signer, value, self.max_age) if value else b""
        if data:
            try:
                contents = codec.decode(data)
            except ValueError:
                contents = None
            # The secret may have signed other values than sessions.
            if isinstance(contents, dict):
                return data, contents
        return b"", {}

    def _write_cookie(self, session: Session) -> str | None:
        """Return the Set-Cookie value for a session that was used, or None if it has not changed.

        Raises:
            TypeError: a value has a type that JSON lacks.
            ValueError: the session is too large for a cookie, or can't be encoded as JSON.
        """
        if not session:
            if not session.modified or not session._stored:
                return None
            return f"{self.session_cookie}=" + CLEARED.format(
                path=self.path, flags=self.security_flags
            )
        if not session.modified and _has_only_scalars(session._stored):
            return None
        data = _encode(session)
        if not session.modified and _is_same(data, session._stored):
            return None
        value = sign(self.signer, data)
        size = len(self.session_cookie) + len(value)
        if size > MAX_COOKIE_SIZE:
            sizes = {str(key): len(_encode({key: entry})) for key, entry in session.items()}
            raise ValueError(explain_size(self.session_cookie, size, sizes))
        lifetime = "" if self.max_age is None else f"Max-Age={self.max_age}; "
        return f"{self.session_cookie}={value}; path={self.path}; {lifetime}{self.security_flags}"


class _SaveSession:
    """The edit of the response: add Vary if the session was used, and Set-Cookie if it has changed."""

    __slots__ = ("layer", "scope", "session")

    def __init__(self, layer: SessionMiddleware, scope: Scope, session: Session) -> None:
        self.layer = layer
        self.scope = scope
        self.session = session

    def __call__(self, start: Any) -> None:
        session = self.find_session()
        if session.accessed:
            # This may raise, so do it before changing a header.
            cookie = self.layer._write_cookie(session)
            raw = start.raw_headers if isinstance(start, Response) else start.headers.raw
            add_vary(raw, "Cookie")
            if cookie is not None:
                raw.append(encode_header("set-cookie", cookie))
        session._is_sent = True

    def edit_handshake(self, message: Message) -> Message | None:
        """Add the cookie to the response to a WebSocket handshake; the hook of a ``SendHook``."""
        session = self.find_session()
        cookie = self.layer._write_cookie(session) if session.accessed else None
        session._is_sent = True
        if cookie is None:
            return None
        headers = MutableHeaders(raw=list(message.get("headers", ())))
        headers.append("set-cookie", cookie)
        return {**message, "headers": headers.raw}

    def find_session(self) -> Session:
        """Return the layer's session, or a Session by which the user has replaced it.

        Raises:
            TypeError: the user has replaced it by another object.
        """
        given, found = self.session, self.scope.get("session")
        if found is given or found is None:
            return given
        if not isinstance(found, Session):
            raise TypeError(
                f"scope['session'] was replaced by {type(found).__name__}. Change the existing "
                "session instead: request.session.clear(), request.session.update(...)."
            )
        if found._owner is not None:
            return given  # the session of another, inner layer
        given.mark_accessed()  # reads the cookie, to learn whether the client has one
        found._stored = given._stored
        found.mark_modified()
        return found


# ASGI "WebSocket Accept" and the extension "WebSocket Denial Response".
_HANDSHAKE_TYPES = frozenset(("websocket.accept", "websocket.http.response.start"))


def _has_only_scalars(stored: bytes) -> bool:
    """Return whether a JSON object has only scalars, whose changes the session always records."""
    return stored.find(b"{", 1) < 0 and stored.find(b"[") < 0 and stored != b""


def _is_same(data: bytes, stored: bytes) -> bool:
    """Return whether two JSON documents are equal. Other programs may use different white space."""
    return data == stored or (bool(stored) and data == codec.encode(codec.decode(stored)))


def _encode(contents: Mapping[str, Any]) -> bytes:
    """Return the contents of a session as JSON. Errors name the key."""
    try:
        return codec.encode(dict(contents))
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"SessionMiddleware: session[{_find_culprit(contents)!r:.80}] can't be stored in a cookie, "
            f"which holds only JSON values: {error}"
        ) from error


def _find_culprit(contents: Mapping[str, Any]) -> Any:
    for key, value in contents.items():
        try:
            codec.encode({key: value})
        except (TypeError, ValueError, RecursionError):
            return key
    return None
