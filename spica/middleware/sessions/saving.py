"""Serve requests and WebSockets with sessions from a store.

The session is loaded before the endpoint runs, and written after it, before the response starts. A response
that is a value waits in its layer for that. An opaque app waits in its ``send``.

Standards: RFC 9110 s.12.5.5 (Vary), RFC 9113 s.8.2.3 (Cookie in several fields).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from spica._asgi.sending import SendHook
from spica._http.cookies import parse_cookies
from spica._layers.editing import add_pending_edit, edit_answer
from spica.datastructures import MutableHeaders
from spica.datastructures.session import Session
from spica.middleware.sessions.stored import StoredSession
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica._layers.layer import BaseLayer
    from spica.middleware.sessions.storage import SessionStorage
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send

# ASGI "WebSocket Accept" and the extension "WebSocket Denial Response".
_HANDSHAKE_TYPES = frozenset(("websocket.accept", "websocket.http.response.start"))
_START_TYPES = frozenset(("http.response.start",))


class StoredSessions:
    """The part of `SessionMiddleware` that works with a store.

    Args:
        layer: the middleware, which knows the app inside.
        storage: loads and writes sessions.
        cookie_name: the name of the cookie.
    """

    def __init__(self, layer: BaseLayer, storage: SessionStorage, cookie_name: str) -> None:
        self.storage = storage
        self._layer = layer
        self._cookie_name = cookie_name
        self._raw_cookie_name = cookie_name.encode("latin-1")
        # A session that has no cookie is nearly free: it finds its storage on its class.
        self._new_session: type[StoredSession] = type(
            "StoredSession", (StoredSession,), {"_owner": storage}
        )

    async def respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner response, after the session was written."""
        scope = request.scope
        session = scope["session"] = self._new_session()
        headers = scope["headers"]
        if type(headers) is not list:  # ASGI allows any iterable, even an iterator
            headers = scope["headers"] = list(headers)
        # Inline, because nearly nothing else happens to a request without a cookie.
        for name, _ in headers:
            if name == b"cookie":
                await self._load(session, headers)
                break
        edit = session._edit_response
        outer = request._edits
        request._edits = (edit, outer)  # for an endpoint that sends its response by hand
        try:
            answer = await self._layer._layer_inner.respond(request)
        except Exception:
            await self._save(scope, session)
            add_pending_edit(request, partial(edit, request))
            raise
        else:
            if not isinstance(answer, Response):
                answer = SavingApp(answer, partial(self._save, scope, session))
            elif (
                not session.accessed and session._record is None and scope.get("session") is session
            ):
                session._is_sent = True
                return answer
            else:
                await self._save(scope, session)
            return edit_answer(answer, partial(edit, request), request)
        finally:
            request._edits = outer

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket with a session. It is written when the handshake is answered."""
        session = scope["session"] = self._new_session()
        headers = scope["headers"] = list(scope["headers"])
        await self._load(session, headers)
        send = SendHook(send, partial(_edit_handshake, session), _HANDSHAKE_TYPES)
        send = SavingSend(send, partial(self._save, scope, session), _HANDSHAKE_TYPES)
        await self._layer._layer_inner.app(scope, receive, send)

    async def _load(self, session: StoredSession, headers: list[tuple[bytes, bytes]]) -> None:
        """Load the session that the cookie names, if there is one."""
        field = b"; ".join([value for name, value in headers if name == b"cookie"])
        if field.find(self._raw_cookie_name) >= 0:  # `in` takes 250 ns more
            cookie = parse_cookies(field.decode("latin-1")).get(self._cookie_name)
            if cookie:
                await self.storage.load(session, cookie)

    async def _save(self, scope: Scope, session: StoredSession) -> None:
        """Write the session, once. The edit raises an error of this."""
        if not session._is_saved:
            session._is_saved = True
            _adopt_replacement(scope, session)
            await self.storage.finish(session)


def _edit_handshake(session: StoredSession, message: Message) -> Message | None:
    """Add the cookie to the response to a WebSocket handshake; the hook of a ``SendHook``."""
    cookie = session._start()
    if cookie is None:
        return None
    headers = MutableHeaders(raw=list(message.get("headers", ())))
    headers.append("set-cookie", cookie)
    return {**message, "headers": headers.raw}


def _adopt_replacement(scope: Scope, given: StoredSession) -> None:
    """Take over the contents of a session by which the user has replaced the layer's.

    Raises:
        TypeError: the user has replaced it by another object.
    """
    found = scope.get("session")
    if found is given or found is None:
        return
    if not isinstance(found, Session):
        raise TypeError(
            f"scope['session'] was replaced by {type(found).__name__}. Change the existing "
            "session instead: request.session.clear(), request.session.update(...)."
        )
    if found._owner is None:  # else it is the session of another, inner layer
        given.mark_accessed()
        dict.clear(given)
        dict.update(given, found)


Save = Callable[[], Awaitable[None]]


class SavingApp:
    """Run an opaque app, and write the session before its response starts."""

    __slots__ = ("app", "save")

    def __init__(self, app: ASGIApp, save: Save) -> None:
        self.app = app
        self.save = save

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app. After an error before its start, the session is written for the error page."""
        try:
            await self.app(scope, receive, SavingSend(send, self.save, _START_TYPES))
        except Exception:
            await self.save()
            raise


class SavingSend:
    """Write the session before a message of one of ``types`` is sent."""

    __slots__ = ("save", "send", "types")

    def __init__(self, send: Send, save: Save, types: Collection[str]) -> None:
        self.send = send
        self.save = save
        self.types = types

    async def __call__(self, message: Message) -> None:
        """Send ``message``."""
        if message["type"] in self.types:
            await self.save()
        await self.send(message)
