"""Who is asking, and what they may do: the words of authentication.

`AuthenticationBackend` finds out the user and the scopes of a connection, `requires()` protects an
endpoint by scopes. How a backend is asked for each connection is the matter of
`spica.middleware.authentication`; how passwords or tokens are checked is the matter of the backend.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

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
    "SimpleUser",
    "UnauthenticatedUser",
    "has_required_scope",
    "requires",
]

P = ParamSpec("P")
EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])

_CONNECTIONS: dict[str, type[HTTPConnection[Any]]] = {"request": Request, "websocket": WebSocket}
"""Names a protected function may give to its connection, and what must be passed under them."""


class AuthenticationError(Exception):
    """Tell that somebody tried to authenticate and failed; its text may reach the client."""


class AuthCredentials:
    """Hold the scopes that a connection was granted."""

    def __init__(self, scopes: Sequence[str] | None = None) -> None:
        """Grant `scopes`; None grants nothing. A TypeError if it is a single string."""
        if isinstance(scopes, str):
            raise TypeError(
                "AuthCredentials takes a list of scopes, and a single string would be read as one "
                "scope for each letter. Put it into brackets."
            )
        self.scopes: list[str] = [] if scopes is None else list(scopes)


class BaseUser:
    """Describe what any user object has; derive from it for users of your own."""

    @property
    def is_authenticated(self) -> bool:
        """Whether this is somebody."""
        raise NotImplementedError(f"{type(self).__name__} must define is_authenticated.")

    @property
    def display_name(self) -> str:
        """The name to show to people."""
        raise NotImplementedError(f"{type(self).__name__} must define display_name.")

    @property
    def identity(self) -> str:
        """The name to tell users apart by."""
        raise NotImplementedError(f"{type(self).__name__} must define identity.")


class SimpleUser(BaseUser):
    """Be an authenticated user who has a name and nothing else."""

    def __init__(self, username: str) -> None:
        """Be the user called `username`."""
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
    """Be nobody: the user of a connection that brought no credentials."""

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
    """Find out who a connection comes from; derive from it and define `authenticate`."""

    async def authenticate(
        self, conn: HTTPConnection[Any]
    ) -> tuple[AuthCredentials, BaseUser] | None:
        """Return the credentials and the user of `conn`, or None if it brings no credentials.

        Raises:
            AuthenticationError: It brings credentials that are wrong.
        """
        raise NotImplementedError(f"{type(self).__name__} must define authenticate().")


def has_required_scope(conn: HTTPConnection[Any], scopes: str | Iterable[str]) -> bool:
    """Tell whether `conn` was granted all of `scopes`; needs AuthenticationMiddleware."""
    granted = conn.auth.scopes
    return all(scope in granted for scope in _list_scopes(scopes))


def requires(
    scopes: str | Sequence[str], status_code: int = 403, redirect: str | None = None
) -> Callable[[EndpointT], EndpointT]:
    """Let only connections pass to the decorated endpoint that were granted all of `scopes`.

    The endpoint is a function or a method, `async def` or `def`, with a parameter called `request`
    or `websocket`. Other requests get `status_code`, or with `redirect`, the name of a route, a 303
    to it with the URL that was asked for in the query parameter `next`. WebSockets are closed.

    Raises:
        TypeError: The function has no parameter of these names (when it is decorated).
        TypeError, ValueError: `status_code` is none that can be sent.
        AssertionError: The endpoint is called with something else than a Request or a WebSocket.
    """
    HTTPException(status_code)  # Refuses what is no status, here and not at the first request.
    guard: Any = _Guard(_list_scopes(scopes), status_code, redirect).protect
    protect: Callable[[EndpointT], EndpointT] = guard
    return protect


class _Guard:
    """Decide what happens to a connection before an endpoint sees it."""

    __slots__ = ("redirect", "scopes", "status_code")

    def __init__(self, scopes: list[str], status_code: int, redirect: str | None) -> None:
        self.scopes = scopes
        self.status_code = status_code
        self.redirect = redirect

    def protect(self, endpoint: Callable[P, Any]) -> Callable[P, Any]:
        """Put the guard before `endpoint`; which kind it is, is found out once."""
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
        """Return None if `request` may pass, else where it is sent instead, or raise."""
        if has_required_scope(request, self.scopes):
            return None
        if self.redirect is None:
            raise HTTPException(status_code=self.status_code)
        url = request.url_for(self.redirect).include_query_params(next=str(request.url))
        # RFC 9110 s.15.4.4: 303, since the other page is asked for with GET whatever came here.
        return RedirectResponse(url, status_code=303)


class _ConnectionFinder:
    """Find the connection among the arguments of one endpoint."""

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
