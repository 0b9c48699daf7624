"""The user and the scopes of a connection, and the protection of endpoints by scopes.

`AuthenticationBackend` returns the user and the scopes of a connection, and `requires()` protects an
endpoint. `spica.middleware.authentication` calls the backend for each connection. The backend itself checks
passwords or tokens. `bearer_token`, `basic_credentials` and `api_key` read them from the headers, and
`same` compares them. `spica.auth` has the same names.

Standards: RFC 9110 s.11 (HTTP authentication), RFC 6750 (bearer tokens), RFC 7617 (the Basic scheme).
"""

from __future__ import annotations

import binascii
import functools
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

from spica._asgi.scope import API_KEY
from spica._diagnostics.users import check_unrouted
from spica.concurrency import is_async_callable
from spica.exceptions import HTTPException
from spica.requests import HTTPConnection, Request
from spica.responses.base import RedirectResponse
from spica.websockets import WebSocket

__all__ = [
    "AuthCredentials",
    "AuthenticationBackend",
    "AuthenticationError",
    "BaseUser",
    "BasicCredentials",
    "SimpleUser",
    "UnauthenticatedUser",
    "api_key",
    "basic_credentials",
    "bearer_token",
    "has_required_scope",
    "requires",
    "same",
]

P = ParamSpec("P")
EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])

_CONNECTIONS: dict[str, type[HTTPConnection[Any]]] = {"request": Request, "websocket": WebSocket}
"""The parameter names for the connection of a protected function, with their types."""

CHALLENGE = "spica.challenge"
"""The scope key of the challenge that AuthenticationMiddleware answers with."""

# RFC 9110 s.11.2: token68. RFC 6750 s.2.1 calls it b64token.
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
# RFC 7617 s.2: the name and the password contain no control characters.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class AuthenticationError(Exception):
    """The client sent wrong credentials. The message may reach the client."""


class AuthCredentials:
    """The scopes that a connection has.

    Args:
        scopes: The scopes, for example ``["authenticated", "admin"]``. None means none.

    Raises:
        TypeError: ``scopes`` is a single string.
    """

    def __init__(self, scopes: Sequence[str] | None = None) -> None:
        """Copy the scopes into a list."""
        if isinstance(scopes, str):
            raise TypeError(
                "AuthCredentials takes a list of scopes. A single string would mean one scope per letter. "
                "Put it into a list."
            )
        self.scopes: list[str] = [] if scopes is None else list(scopes)


class BaseUser:
    """The attributes of every user object. Derive your own user class from it."""

    @property
    def is_authenticated(self) -> bool:
        """Whether the user is known."""
        raise NotImplementedError(f"{type(self).__name__} must define is_authenticated.")

    @property
    def display_name(self) -> str:
        """The name to show in pages and messages."""
        raise NotImplementedError(f"{type(self).__name__} must define display_name.")

    @property
    def identity(self) -> str:
        """The unique name or ID of the user."""
        raise NotImplementedError(f"{type(self).__name__} must define identity.")


class SimpleUser(BaseUser):
    """An authenticated user with a name.

    Args:
        username: The name, which is also the identity.
    """

    def __init__(self, username: str) -> None:
        """Set the name."""
        self.username = username

    @property
    def is_authenticated(self) -> bool:
        """Always true."""
        return True

    @property
    def display_name(self) -> str:
        """The user's name."""
        return self.username

    @property
    def identity(self) -> str:
        """The user's name."""
        return self.username


class UnauthenticatedUser(BaseUser):
    """The user of a connection without credentials."""

    @property
    def is_authenticated(self) -> bool:
        """Always false."""
        return False

    @property
    def display_name(self) -> str:
        """The empty string."""
        return ""

    @property
    def identity(self) -> str:
        """The empty string."""
        return ""


class AuthenticationBackend:
    """The base class of backends, which identify the user of a connection. Define `authenticate`."""

    async def authenticate(
        self, conn: HTTPConnection[Any]
    ) -> tuple[AuthCredentials, BaseUser] | None:
        """Return the scopes and the user of `conn`, or None if the client sends no credentials.

        Raises:
            AuthenticationError: The credentials are wrong.
        """
        raise NotImplementedError(f"{type(self).__name__} must define authenticate().")


class BasicCredentials(NamedTuple):
    """A name and a password, as the client sent them."""

    username: str
    password: str


def bearer_token(conn: HTTPConnection[Any]) -> str | None:
    """Return the token of ``Authorization: Bearer ...``, or None if the client sends none (RFC 6750 s.2.1).

    Raises:
        AuthenticationError: The token is missing or has invalid characters, or there are several
            Authorization headers.
    """
    return _token_of(conn, "bearer")


def basic_credentials(conn: HTTPConnection[Any]) -> BasicCredentials | None:
    """Return the name and the password of ``Authorization: Basic ...``, or None if the client sends none.

    They are UTF-8 (RFC 7617 s.2.1). The name contains no colon, the password may.

    Raises:
        AuthenticationError: The header is not base64 of UTF-8 with a colon, or contains control characters,
            or there are several Authorization headers.
    """
    token = _token_of(conn, "basic")
    if token is None:
        return None
    try:
        if len(token) % 4:  # Python 3.11 accepts too much padding
            raise ValueError
        text = binascii.a2b_base64(token, strict_mode=True).decode()
    except ValueError:
        raise AuthenticationError("The Basic credentials are not base64 of UTF-8.") from None
    name, colon, password = text.partition(":")
    if not colon or _CONTROL.search(text):
        raise AuthenticationError("The Basic credentials are not a name, a colon and a password.")
    return BasicCredentials(name, password)


def api_key(conn: HTTPConnection[Any], header: str = "X-API-Key") -> str | None:
    """Return the API key in a header, or None if the client does not send the header.

    For a key that you do not know, raise an AuthenticationError in your backend. A backend that returns None
    says that the client has sent no credentials: routes without ``@requires`` would answer it.

    Args:
        conn: The connection.
        header: The name of the header.

    Raises:
        AuthenticationError: The key is empty, or contains characters other than visible ASCII, or there are
            several such headers.
    """
    values = conn.headers.getlist(header)
    if not values:
        return None
    # A layer that knows no such header must not take the request for anonymous.
    conn.scope[API_KEY] = header
    if len(values) > 1 or not _VISIBLE.fullmatch(values[0]):
        raise AuthenticationError(f"Send one {header} header, with a key of visible ASCII.")
    return values[0]


def same(a: str | bytes, b: str | bytes) -> bool:
    """Return whether two secrets are equal, in a time that does not depend on where they differ.

    Strings are compared as UTF-8, also with bytes. The time may reveal the length of a secret.

    Raises:
        TypeError: An argument is neither a string nor bytes. A missing secret must equal nothing.
    """
    return hmac.compare_digest(_secret_bytes(a), _secret_bytes(b))


def _secret_bytes(value: str | bytes) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return value
    # The value may be a secret, so the message has only its type.
    raise TypeError(f"same() compares strings or bytes, not {type(value).__name__}.")


def _token_of(conn: HTTPConnection[Any], scheme: str) -> str | None:
    """Return the token68 of the Authorization header, or None if it has another scheme.

    Raises:
        AuthenticationError: The token is malformed, or there are several headers.
    """
    values = conn.headers.getlist("authorization")
    if not values:
        return None
    if len(values) > 1:
        # Another reader could take another one of them.
        raise AuthenticationError("Send one Authorization header.")
    found, _, token = values[0].strip(" \t").partition(" ")
    # RFC 9110 s.11.1: the name of a scheme is not case-sensitive.
    if found.lower() != scheme:
        return None
    token = token.lstrip(" ")
    if not _TOKEN68.fullmatch(token):
        raise AuthenticationError(f"The {scheme.title()} credentials are missing or malformed.")
    return token


def has_required_scope(conn: HTTPConnection[Any], scopes: str | Iterable[str]) -> bool:
    """Return whether `conn` has all of `scopes`. This needs AuthenticationMiddleware."""
    granted = conn.auth.scopes
    return all(scope in granted for scope in _list_scopes(scopes))


def requires(
    scopes: str | Sequence[str], status_code: int = 403, redirect: str | None = None
) -> Callable[[EndpointT], EndpointT]:
    """Decorate an endpoint so that only connections with all of `scopes` reach it.

    The endpoint is a function or a method, `async def` or `def`, with a parameter called `request`
    or `websocket`. A WebSocket without the scopes is closed. If AuthenticationMiddleware has a `challenge`, a
    request without a user gets a 401 with that challenge instead of a 403.

    Args:
        scopes: One scope, or several.
        status_code: The status for requests without the scopes, 403 by default.
        redirect: The name of a route. Requests without the scopes then get a 303 to it instead, with their
            URL in the query parameter `next`.

    Raises:
        TypeError: The function has no parameter with one of these names (raised by the decorator).
        TypeError, ValueError: `status_code` is not a valid status.
        AssertionError: A call of the endpoint does not pass a Request or a WebSocket.
    """
    HTTPException(status_code)  # Refuse a wrong status here, not at the first request.
    guard: Any = _Guard(_list_scopes(scopes), status_code, redirect).protect
    protect: Callable[[EndpointT], EndpointT] = guard
    return protect


class _Guard:
    """Let a connection pass to an endpoint, or refuse it."""

    __slots__ = ("redirect", "scopes", "status_code")

    def __init__(self, scopes: list[str], status_code: int, redirect: str | None) -> None:
        self.scopes = scopes
        self.status_code = status_code
        self.redirect = redirect

    def protect(self, endpoint: Callable[P, Any]) -> Callable[P, Any]:
        """Wrap `endpoint` with the guard for its type."""
        check_unrouted(endpoint)
        find = _ConnectionFinder(endpoint)
        if find.name == "websocket":
            return self._protect_websocket(endpoint, find)
        if is_async_callable(endpoint):
            return self._protect_async(endpoint, find)

        @functools.wraps(endpoint)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            refusal = self.refuse(find(args, kwargs))
            return endpoint(*args, **kwargs) if refusal is None else refusal

        return guarded

    def _protect_async(
        self, endpoint: Callable[P, Any], find: _ConnectionFinder
    ) -> Callable[P, Any]:
        @functools.wraps(endpoint)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            refusal = self.refuse(find(args, kwargs))
            return await endpoint(*args, **kwargs) if refusal is None else refusal

        return guarded

    def _protect_websocket(
        self, endpoint: Callable[P, Any], find: _ConnectionFinder
    ) -> Callable[P, Any]:
        @functools.wraps(endpoint)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
            websocket = find(args, kwargs)
            if has_required_scope(websocket, self.scopes):
                await endpoint(*args, **kwargs)
            else:
                await websocket.close()

        return guarded

    def refuse(self, request: Request[Any]) -> RedirectResponse | None:
        """Return None if `request` may pass. Otherwise return a redirect or raise an HTTPException."""
        if has_required_scope(request, self.scopes):
            return None
        if self.redirect is None:
            raise refusal(request, self.scopes, self.status_code)
        url = request.url_for(self.redirect).include_query_params(next=str(request.url))
        # RFC 9110 s.15.4.4: 303 makes the client use GET for the other page, after any method.
        return RedirectResponse(url, status_code=303)


def refusal(
    conn: HTTPConnection[Any], scopes: Sequence[str], status_code: int = 403
) -> HTTPException:
    """Return the exception for a connection that lacks one of ``scopes``.

    With a challenge of AuthenticationMiddleware, a 403 becomes a 401 for a connection without a user.
    """
    challenge = conn.scope.get(CHALLENGE)
    if challenge is None or status_code != 403:
        return HTTPException(status_code)
    if not getattr(conn.scope.get("user"), "is_authenticated", True):
        return HTTPException(401, headers={"WWW-Authenticate": challenge})
    if not is_bearer(challenge):
        return HTTPException(403)
    # RFC 6750 s.3.1: name the scopes that are needed. RFC 6749 s.3.3: a scope has no quotes or backslashes.
    needed = [scope for scope in scopes if _VISIBLE.fullmatch(scope) and not {*scope} & {*'"\\'}]
    error = extend_challenge(challenge, "insufficient_scope", " ".join(needed))
    return HTTPException(403, headers={"WWW-Authenticate": error})


def is_bearer(challenge: str) -> bool:
    """Return whether a challenge is one for bearer tokens."""
    return challenge.partition(" ")[0].lower() == "bearer"


def extend_challenge(challenge: str, error: str, scope: str = "") -> str:
    """Return a Bearer challenge with the parameters ``error`` and ``scope`` (RFC 6750 s.3)."""
    parameters = f'error="{error}"' + (f', scope="{scope}"' if scope else "")
    return f"{challenge}{',' if ' ' in challenge else ''} {parameters}"


class _ConnectionFinder:
    """Find the connection among the arguments of a call of one endpoint."""

    __slots__ = ("index", "name")

    def __init__(self, endpoint: Callable[..., Any]) -> None:
        import inspect

        for index, name in enumerate(inspect.signature(endpoint).parameters):
            if name in _CONNECTIONS:
                self.name = name
                self.index = index
                return
        raise TypeError(
            f'No "request" or "websocket" argument on function "{endpoint}": '
            "requires() needs one of them to find the connection."
        )

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        position = self.index
        found = args[position] if position < len(args) else kwargs.get(self.name)
        expected = _CONNECTIONS[self.name]
        if not isinstance(found, expected):
            raise AssertionError(
                f"Parameter with name '{self.name}' is required to be of type "
                f"'{expected.__name__}' not '{type(found).__name__}'"
            )
        return found


def _list_scopes(scopes: str | Iterable[str]) -> list[str]:
    if callable(scopes):
        raise TypeError("requires() needs the scopes first: write @requires('authenticated').")
    return [scopes] if isinstance(scopes, str) else list(scopes)
