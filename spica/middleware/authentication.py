"""Identify the user of each connection with an authentication backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spica._diagnostics.middleware_order import ANSWERS
from spica._layers.answers import resolve_answer
from spica._layers.layer import BaseLayer
from spica.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    UnauthenticatedUser,
)
from spica.requests import HTTPConnection
from spica.responses.base import Response
from spica.responses.errors import error_response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Receive, Scope, Send


class AuthenticationMiddleware(BaseLayer):
    """Set ``request.user`` and ``request.auth`` to the result of ``backend``.

    A connection without credentials gets an ``UnauthenticatedUser`` and no scopes. If the backend raises an
    AuthenticationError, the client gets the response of ``on_error``. A WebSocket is closed with code 1000
    instead, without a call of ``on_error``.

    Args:
        app: The app inside.
        backend: An instance of a class with ``async def authenticate(self, conn)``.
        on_error: A function ``(conn, exc) -> response``, sync or async. The default answers 400 with the text
            of the error.

    Raises:
        TypeError: ``backend`` has no ``authenticate`` or is a class, or ``on_error`` can't be called.

    Example:
        ``Middleware(AuthenticationMiddleware, backend=TokenBackend())``
    """

    middleware_traits = (ANSWERS,)

    def __init__(
        self,
        app: ASGIApp,
        backend: AuthenticationBackend,
        on_error: Callable[[HTTPConnection[Any], AuthenticationError], Any] | None = None,
    ) -> None:
        if isinstance(backend, type) or not callable(getattr(backend, "authenticate", None)):
            found = f"the class {backend.__name__}" if isinstance(backend, type) else repr(backend)
            raise TypeError(
                "AuthenticationMiddleware: backend must be an instance of a class with "
                f"an authenticate() method, not {found:.80}."
            )
        if on_error is not None and not callable(on_error):
            raise TypeError(
                "AuthenticationMiddleware: on_error must be a function (conn, exc) that returns "
                f"a response, not {on_error!r:.80}."
            )
        self.app = app
        self.backend = backend
        self.on_error: Callable[[HTTPConnection[Any], AuthenticationError], Any] = (
            on_error or self.default_on_error
        )

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer, or the response of ``on_error``."""
        try:
            await self._identify(request)
        except AuthenticationError as error:
            answer = self.on_error(request, error)
            if not isinstance(answer, Response) and hasattr(answer, "__await__"):
                answer = await answer
            return await resolve_answer(answer, request, self.on_error)
        return await self._layer_inner.respond(request)

    async def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify the user of a WebSocket, or close it. Other scopes pass."""
        if scope["type"] == "websocket":
            try:
                await self._identify(HTTPConnection(scope, receive))
            except AuthenticationError:
                await send({"type": "websocket.close", "code": 1000})
                return
        await self.app(scope, receive, send)

    async def _identify(self, conn: HTTPConnection[Any]) -> None:
        found = await self.backend.authenticate(conn)
        scope = conn.scope
        if found is None:
            scope["auth"], scope["user"] = AuthCredentials(), UnauthenticatedUser()
        elif isinstance(found, tuple) and len(found) == 2:
            scope["auth"], scope["user"] = found
            if isinstance(found[1], AuthCredentials):
                raise self._wrong("(user, credentials)")
        else:
            raise self._wrong(type(found).__name__)  # the value may be a secret

    def _wrong(self, found: str) -> TypeError:
        name = type(self.backend).__name__
        return TypeError(
            f"{name}.authenticate() must return (credentials, user) or None, not {found}."
        )

    @staticmethod
    def default_on_error(conn: HTTPConnection[Any], exc: Exception) -> Response:
        """Answer 400 with the text of the error."""
        return error_response(conn.scope, 400, str(exc))
