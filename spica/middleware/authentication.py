"""Identify the user of each connection with an authentication backend.

Standard: RFC 9110 s.11.6.1 (WWW-Authenticate), s.15.5.2 (401).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spica._diagnostics.middleware_order import ANSWERS, AUTHENTICATES
from spica._http.fields import encode_field_value
from spica._layers.answers import resolve_answer
from spica._layers.exception_handlers import deny
from spica._layers.layer import BaseLayer
from spica.authentication import (
    CHALLENGE,
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    UnauthenticatedUser,
    extend_challenge,
    is_bearer,
)
from spica.exceptions import HTTPException
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

    With ``challenge``, the client gets a 401 with this challenge: for an AuthenticationError, and where
    ``requires()`` refuses a connection without a user. A WebSocket gets the same response, if the server
    supports that.

    Args:
        app: The app inside.
        backend: An instance of a class with ``async def authenticate(self, conn)``.
        on_error: A function ``(conn, exc) -> response``, sync or async. The default answers with the text of
            the error.
        status_code: The status of the default answer. By default 401 with a challenge, and 400 without one.
        challenge: The value of ``WWW-Authenticate``, for example ``'Bearer'`` or ``'Basic realm="stars"'``.
            By default that of the backend's attribute ``challenge``, if it has one.

    Raises:
        TypeError: ``backend`` has no ``authenticate`` or is a class, or ``on_error`` can't be called.
        ValueError: ``status_code`` is not that of a client's error, or is 401 without a challenge.

    Example:
        ``Middleware(AuthenticationMiddleware, backend=TokenBackend(), challenge="Bearer")``
    """

    middleware_traits = (ANSWERS, AUTHENTICATES)

    def __init__(
        self,
        app: ASGIApp,
        backend: AuthenticationBackend,
        on_error: Callable[[HTTPConnection[Any], AuthenticationError], Any] | None = None,
        *,
        status_code: int | None = None,
        challenge: str | None = None,
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
        self.challenge = _check_challenge(
            getattr(backend, "challenge", None) if challenge is None else challenge
        )
        self.status_code = _check_status(status_code, self.challenge)
        is_replaced = type(self).default_on_error is not AuthenticationMiddleware.default_on_error
        is_plain = is_replaced or (self.status_code == 400 and self.challenge is None)
        own_answer = self.default_on_error if is_plain else self._refuse
        self.on_error: Callable[[HTTPConnection[Any], AuthenticationError], Any] = (
            on_error or own_answer
        )

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer, or the response of ``on_error``."""
        try:
            await self._identify(request)
        except AuthenticationError as error:
            return await resolve_answer(
                await self._call_on_error(request, error), request, self.on_error
            )
        return await self._layer_inner.respond(request)

    async def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify the user of a WebSocket, or close it. Other scopes pass."""
        if scope["type"] == "websocket":
            conn: HTTPConnection[Any] = HTTPConnection(scope, receive)
            try:
                await self._identify(conn)
            except AuthenticationError as error:
                if self.status_code == 400:
                    await send({"type": "websocket.close", "code": 1000})
                else:
                    await deny(await self._call_on_error(conn, error), scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _call_on_error(self, conn: HTTPConnection[Any], error: AuthenticationError) -> Any:
        answer = self.on_error(conn, error)
        if not isinstance(answer, Response) and hasattr(answer, "__await__"):
            answer = await answer
        return answer

    async def _identify(self, conn: HTTPConnection[Any]) -> None:
        scope = conn.scope
        if self.challenge is not None:
            scope[CHALLENGE] = self.challenge
        found = await self.backend.authenticate(conn)
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

    def _refuse(self, conn: HTTPConnection[Any], exc: Exception) -> Response:
        """Answer with ``status_code``, the text of the error and the challenge."""
        challenge = self.challenge
        if challenge is None:
            return error_response(conn.scope, self.status_code, str(exc))
        if is_bearer(challenge):
            challenge = extend_challenge(challenge, "invalid_token")
        headers = {"WWW-Authenticate": challenge}
        return error_response(conn.scope, self.status_code, str(exc), headers)

    @staticmethod
    def default_on_error(conn: HTTPConnection[Any], exc: Exception) -> Response:
        """Answer 400 with the text of the error."""
        return error_response(conn.scope, 400, str(exc))


def _check_challenge(challenge: Any) -> str | None:
    if challenge is None:
        return None
    if not isinstance(challenge, str) or not challenge.strip():
        raise TypeError(
            "AuthenticationMiddleware: challenge must be a string such as 'Bearer' or "
            f"'Basic realm=\"stars\"', not {challenge!r:.80}."
        )
    encode_field_value(challenge)
    return challenge.strip()


def _check_status(status_code: int | None, challenge: str | None) -> int:
    if status_code is None:
        return 400 if challenge is None else 401
    HTTPException(status_code)  # refuse a value that is not a status
    if not 400 <= status_code <= 499:
        raise ValueError(
            f"AuthenticationMiddleware: status_code must be that of a client's error, 400 to 499, "
            f"not {status_code}."
        )
    if status_code == 401 and challenge is None:
        # RFC 9110 s.15.5.2: a 401 has a WWW-Authenticate header.
        raise ValueError(
            "AuthenticationMiddleware: status_code=401 needs a challenge. Write challenge='Bearer', or "
            "'Basic realm=\"...\"' for passwords."
        )
    return status_code
