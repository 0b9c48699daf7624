"""Give each client a session: a dict that is stored in a signed cookie, or on the server.

The cookie is signed but not encrypted, so the client can read it but can't change it. The layer reads it on
the first use of the session and writes it after a change. With a store, the cookie has only a signed id. A
request that does not use the session costs almost nothing.

Standards: RFC 6265 (cookies), RFC 9110 s.12.5.5 (Vary).
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from spica._asgi import current_codec as codec
from spica._asgi.sending import SendHook
from spica._diagnostics.arguments import check_flag, check_seconds
from spica._diagnostics.middleware_order import SESSION
from spica._http.cookies import parse_cookies
from spica._layers.editing import add_pending_edit, edit_answer, push_edit
from spica._layers.layer import BaseLayer
from spica.datastructures import MutableHeaders
from spica.datastructures.headers import add_vary, encode_header
from spica.datastructures.session import Session, UnreadSession
from spica.middleware.sessions.cookie import (
    CLEARED,
    MAX_COOKIE_SIZE,
    SecretKeys,
    check_cookie,
    explain_size,
    format_flags,
    make_keyring,
    make_signer,
    sign,
    unsign,
)
from spica.middleware.sessions.settings import (
    ABSOLUTE_SECONDS,
    MAX_SIZE,
    StoreSettings,
    check_store,
    check_without_store,
)
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica._layers.layer import Respond
    from spica.requests import Request
    from spica.signing import Keyring
    from spica.stores import Store
    from spica.types import ASGIApp, Message, Receive, Scope, Send

RawHeaders = Iterable[tuple[bytes, bytes]]


class SessionMiddleware(BaseLayer):
    """Keep ``request.session`` in a signed cookie that scripts can't read, or in a store.

    WebSockets have the session too. Changes before the handshake response are kept. Later changes to a
    session in a cookie are lost, because no further header can be sent; with a store, ``await
    websocket.session.save()``.

    Args:
        app: the inner app.
        secret_key: the secret that signs the cookie, or a `Keyring`. A list is a rotation: the first secret
            signs, and all of them verify.
        session_cookie: the name of the cookie. With a store, the default becomes ``__Host-session`` if the
            cookie is secure, for all paths, and without a domain: browsers then refuse one that a subdomain
            sets.
        max_age: the lifetime of a session after its last change in seconds. The default is 14 days. None
            keeps it until the browser is closed, and 0 or less expires it at once. With a store, this is
            the idle time, which any use renews, and it must be above 0.
        path: the path to which browsers send the cookie.
        same_site: "lax", "strict" or "none". "none" needs `https_only`.
        https_only: whether browsers send the cookie only over TLS.
        domain: the domain to which browsers send the cookie, by default only this host.
        partitioned: whether each embedding site gets its own cookie. It needs `https_only`.
        salt: the purpose of the signature. Applications that share a secret should each have their own,
            otherwise a cookie of one is valid for the other under any name. The default is None, which gives
            the cookie that ``TimestampSigner(secret_key)`` of itsdangerous reads and writes.
        store: where to keep the sessions, for example ``open_store("sqlite:///var/app.db")``. The default is
            the cookie itself. The other settings below need a store.
        absolute_seconds: when a session ends in any case, after its creation or its last `Session.bind`. The
            default is 30 days.
        touch_seconds: how long a session may be used without a write that renews its idle time. The default
            is a tenth of ``max_age``.
        max_size: the largest size of a session in bytes.
        on_unavailable: when the store is down, ``"refuse"`` answers requests that use a session with a 503.
            ``"empty"`` gives them an empty session and drops its changes, so users seem to be logged out.

    Example:
        ``Middleware(SessionMiddleware, secret_key=config("SECRET_KEY", cast=Secret))``
    """

    middleware_traits = (SESSION,)

    store: Any = None
    on_unavailable = "refuse"
    _stored: Any = None
    """The `StoredSessions` that serve requests if there is a store. A subclass may skip `__init__`."""

    def __init__(
        self,
        app: ASGIApp,
        secret_key: SecretKeys | Keyring,
        session_cookie: str = "session",
        max_age: int | None = 14 * 24 * 60 * 60,
        path: str = "/",
        same_site: Literal["lax", "strict", "none"] = "lax",
        https_only: bool = False,
        domain: str | None = None,
        partitioned: bool = False,
        *,
        salt: str | None = None,
        store: Store | None = None,
        absolute_seconds: float = ABSOLUTE_SECONDS,
        touch_seconds: float | None = None,
        max_size: int = MAX_SIZE,
        on_unavailable: Literal["refuse", "empty"] = "refuse",
    ) -> None:
        """Check the settings.

        Raises:
            TypeError: a setting has the wrong type.
            ValueError: a secret is empty, browsers would drop the cookie, or a setting needs a store.
            ImportError: itsdangerous is not installed.
        """
        check_seconds(max_age, "SessionMiddleware: max_age")
        check_flag(https_only, "SessionMiddleware: https_only")
        check_flag(partitioned, "SessionMiddleware: partitioned")
        check_cookie(session_cookie, path, domain, same_site, https_only)
        self.app = app
        self.session_cookie = session_cookie
        self.max_age = max_age
        self.store = store
        self.on_unavailable = on_unavailable
        self.path = path
        self.security_flags = format_flags(same_site, https_only, domain, partitioned)
        self.signer = make_signer(secret_key, salt)
        if store is None:
            check_without_store(absolute_seconds, touch_seconds, max_size, on_unavailable)
            return
        if session_cookie == "session" and https_only and path == "/" and not domain:
            # draft-ietf-httpbis-rfc6265bis s.4.1.3.2: no other host and no plain HTTP can set this cookie.
            self.session_cookie = "__Host-session"
        idle_seconds = absolute_seconds if max_age is None else max_age
        settings = StoreSettings(
            idle_seconds=idle_seconds,
            absolute_seconds=absolute_seconds,
            touch_seconds=idle_seconds / 10 if touch_seconds is None else touch_seconds,
            max_size=max_size,
            on_unavailable=on_unavailable,
            is_persistent=max_age is not None,
        )
        self._use_store(store, settings, secret_key, salt)

    def _use_store(
        self,
        store: Store,
        settings: StoreSettings,
        secret_key: SecretKeys | Keyring,
        salt: str | None,
    ) -> None:
        """Keep the sessions in ``store``. These modules are only imported for it."""
        check_store(store)
        from spica.middleware.sessions.saving import StoredSessions
        from spica.middleware.sessions.storage import SessionStorage

        purpose = "spica.session" if salt is None else f"spica.session:{salt}"
        keyring = make_keyring(secret_key, salt)
        storage = SessionStorage(
            store, keyring, purpose, settings, self._format_cookie, _encode_fields, codec.decode
        )
        self._stored = StoredSessions(self, storage, self.session_cookie)

    def _layer_resolve(self) -> Respond:
        if self._stored is None:
            return self._layer_respond
        respond: Respond = self._stored.respond
        return respond

    def _layer_respond_outermost(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        return self._layer_resolve()(request)

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner response, with the cookie if the session has changed."""
        scope = request.scope
        session = scope["session"] = UnreadSession(self, scope["headers"])
        edit = _SaveSession(self, scope, session)
        outer = push_edit(request, edit)
        try:
            answer = await self._layer_inner.respond(request)
        except Exception:
            add_pending_edit(request, partial(edit, request))
            raise
        else:
            # The first use of a session changes its class. Without any use, there is nothing to write.
            if (
                session.__class__ is UnreadSession
                and scope.get("session") is session
                and isinstance(answer, Response)
            ):
                session._is_sent = True
                return answer
            return edit_answer(answer, partial(edit, request), request)
        finally:
            request._edits = outer

    async def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket with a session. Other scopes pass through."""
        if scope["type"] == "websocket":
            if self._stored is not None:
                await self._stored.connect(scope, receive, send)
                return
            session = scope["session"] = UnreadSession(self, scope["headers"])
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
        return self._format_cookie(value, lifetime)

    def _format_cookie(self, value: str, lifetime: str) -> str:
        return f"{self.session_cookie}={value}; path={self.path}; {lifetime}{self.security_flags}"


class _SaveSession:
    """The edit of the response: add Vary if the session was used, and Set-Cookie if it has changed."""

    __slots__ = ("layer", "scope", "session")

    def __init__(self, layer: SessionMiddleware, scope: Scope, session: Session) -> None:
        self.layer = layer
        self.scope = scope
        self.session = session

    def __call__(self, request: Request[Any], start: Any) -> None:
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


def _encode_fields(contents: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the JSON of each entry of a session by the name of its field. Errors name the key."""
    encode = codec.encode
    try:
        return {"." + key: encode(value) for key, value in contents.items()}
    except (TypeError, ValueError, RecursionError):
        for key in contents:
            if not isinstance(key, str):
                raise TypeError(
                    f"SessionMiddleware: the keys of a session must be strings, not {key!r:.80}."
                ) from None
        _encode(contents)
        raise


def _encode(contents: Mapping[str, Any]) -> bytes:
    """Return the contents of a session as JSON. Errors name the key."""
    try:
        return codec.encode(dict(contents))
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"SessionMiddleware: session[{_find_culprit(contents)!r:.80}] can't be stored, "
            f"because a session holds only JSON values: {error}"
        ) from error


def _find_culprit(contents: Mapping[str, Any]) -> Any:
    for key, value in contents.items():
        try:
            codec.encode({key: value})
        except (TypeError, ValueError, RecursionError):
            return key
    return None
