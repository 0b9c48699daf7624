"""Routes to another application for a host name: ``Host``.

The table treats routes that follow each other in its list as one run: it reads the Host header once, and
looks the name up. The time does not grow with the number of names, only with the number of names with
parameters.

Standard: RFC 9110 s.4.2.3 (case), s.7.2 (Host); RFC 9112 s.3.2 (contradicting fields).
"""

from __future__ import annotations

import re
from typing import Any

from spica._diagnostics.arguments import check_flag
from spica._diagnostics.foreign_names import explain_arguments
from spica._http.host import find_host, has_contradicting_hosts, parse_host_name
from spica._layers.answers import refuse
from spica._layers.exception_handlers import deny
from spica._layers.layer import Respond, resolve_respond
from spica.datastructures import URLPath
from spica.exceptions import MisuseError
from spica.responses.base import PlainTextResponse
from spica.routing.base import LINK_KEYS, Entry, Match, NoMatchFound, known_names, url_with_suffix
from spica.routing.mounts import AppRoute
from spica.routing.patterns import compile_path, encode_path, read_params, replace_params
from spica.routing.spelling import check_host_spelling
from spica.routing.validation import check_choice, check_mounted
from spica.types import ASGIApp, Receive, Scope, Send

_PORT = re.compile(r":\d+\Z")
_FINAL_DOT = re.compile(r"(?<=[^.])\.(?=(:\d+)?\Z)")

_CONTRADICTING = "Contradicting Host header fields"


def read_host_name(scope: Scope) -> str | None:
    """Return the host name that ``Host`` compares, or "" if it is missing or malformed.

    Returns None if several Host headers contradict each other.
    """
    headers = scope.get("headers", ())
    field = find_host(headers)
    if field is None:
        return None if has_contradicting_hosts(headers) else ""
    name = parse_host_name(field.decode("latin-1")) or ""
    # RFC 1034 s.3.1: a final dot is the root of the DNS. The name is the same without it.
    return name.removesuffix(".")


async def refuse_hosts(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a connection whose Host headers contradict each other with 400 (RFC 9112 s.3.2)."""
    if scope["type"] == "websocket":
        await deny(PlainTextResponse(_CONTRADICTING, status_code=400), scope, receive, send)
    else:
        await refuse(scope, 400, _CONTRADICTING)(scope, receive, send)


class Host(AppRoute):
    """Serve an application for a host name.

    The comparison ignores the port, upper case (RFC 9110 s.4.2.3) and a final dot. A request with a missing
    or malformed Host header matches no ``Host``. A request with contradicting Host headers gets a 400 (RFC
    9112 s.3.2).

    Example::

        Host("{tenant}.example.org", tenants, name="tenant")

    Args:
        host: The host name, which may have parameters.
        app: The ASGI app to serve.
        name: The first part of the names for ``url_for``.
        lifespan: Whether the application's lifespan runs, as for ``Mount``.
        public: As for ``Mount``.

    Raises:
        ValueError: ``host`` has a scheme, a path or a ``*``, or braces that are not a parameter.
        TypeError: ``app`` is not an ASGI app.
    """

    @explain_arguments({"routes": "Write app=Router(routes=[...])."})
    def __init__(
        self,
        host: str,
        app: ASGIApp,
        name: str | None = None,
        *,
        lifespan: bool | None = None,
        public: bool = False,
    ) -> None:
        self.public = check_flag(public, f"Host({host!r}): public")
        if not isinstance(host, str) or host.startswith("/"):
            raise MisuseError(f"Host({host!r}): Host must not start with '/': give a host name.")
        if "/" in host:
            raise ValueError(
                f"Host({host!r}): a host has neither scheme nor path. "
                f"Write {host.partition('://')[2].partition('/')[0] or host.partition('/')[0]!r}."
            )
        check_host_spelling(host, f"Host({host!r})")
        check_mounted(app, f"Host({host!r})")
        self.host = host
        self.lifespan = check_choice(lifespan, f"Host({host!r}): lifespan")
        self._base_app = self.app = app
        self.name = name
        # `read_host_name` removes the final dot of a request's host.
        pattern = _FINAL_DOT.sub("", host)
        self.host_regex, self.host_format, self.param_convertors = compile_path(pattern)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the Host header matches, and ``path_params`` and ``endpoint``."""
        if scope["type"] not in ("http", "websocket"):
            return Match.NONE, {}
        name = read_host_name(scope)
        params = {} if name is None else self._read_params(name)
        if params is None:
            return Match.NONE, {}
        return Match.FULL, self._child_scope(scope, params)

    def _only_name(self) -> str:
        """Return the only host name that a pattern without parameters matches."""
        return _PORT.sub("", self.host_format).lower()

    def _read_params(self, name: str) -> dict[str, Any] | None:
        """Return the parameters of a host name, or None if it does not match."""
        found = self.host_regex.match(name)
        return None if found is None else read_params(found, self.param_convertors)

    def _child_scope(self, scope: Scope, params: dict[str, Any]) -> Scope:
        outer = scope.get("path_params")
        return {"path_params": {**outer, **params} if outer else params, "endpoint": self.app}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection that matched. Contradicting Host headers get a 400."""
        if has_contradicting_hosts(scope.get("headers", ())):
            await refuse_hosts(scope, receive, send)
        else:
            self._overlay_states(scope)
            await self.app(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the URL of the host (for its name and ``path``), or of a route of its application.

        See ``Router.url_path_for`` for ``_query`` and ``_fragment``.

        Raises:
            NoMatchFound: No route has this name and these parameters.
        """
        if not LINK_KEYS.isdisjoint(path_params):
            return url_with_suffix(self, name, path_params)
        own = {key: value for key, value in path_params.items() if key in self.param_convertors}
        rest = {key: value for key, value in path_params.items() if key not in own}
        is_complete = own.keys() == self.param_convertors.keys()
        if self.name is not None and name == self.name and rest.keys() == {"path"} and is_complete:
            host, _ = replace_params(self.host_format, self.param_convertors, own)
            return URLPath(path=encode_path(str(rest["path"])), host=host)
        if not is_complete:
            raise NoMatchFound(name, path_params, known_names(self.routes or ()))
        url = self._url_of_child(name, rest)
        host, _ = replace_params(self.host_format, self.param_convertors, own)
        return URLPath(path=str(url), protocol=url.protocol, host=host)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Host) and self.host == other.host and self.app == other.app

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(host={self.host!r}, name={self.name or ''!r}, app={self.app!r})"
        )


class HostRun(Entry):
    """``Host`` routes that follow each other in a list. The first one that matches wins."""

    __slots__ = ("_by_name", "_with_params")

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[int, Host]] = {}
        self._with_params: list[tuple[int, Host]] = []

    def add(self, route: Host, order: int) -> None:
        """Add the next route of the run, at position ``order`` of the list."""
        route._prepare_entry()
        if type(route) is Host and not route.param_convertors:
            self._by_name.setdefault(route._only_name(), (order, route))
        else:
            self._with_params.append((order, route))

    def find(self, name: str) -> tuple[Host, dict[str, Any]] | None:
        """Return the first route that matches a host name, and its parameters."""
        named = self._by_name.get(name)
        for order, route in self._with_params:
            if named is not None and named[0] < order:
                break
            params = route._read_params(name)
            if params is not None:
                return route, params
        return None if named is None else (named[1], {})

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether one of the routes matches."""
        name = read_host_name(scope)
        has_match = name is not None and self.find(name) is not None
        return (Match.FULL if has_match else Match.NONE), {}

    def _enter(self, scope: Scope, path: str) -> Respond | None:
        name = read_host_name(scope)
        if name is None:
            return _respond_to_contradiction
        found = self.find(name)
        if found is None:
            return None
        route, params = found
        scope["route"] = route
        scope.update(route._child_scope(scope, params))
        route._overlay_states(scope)
        return route._route_respond

    def _enter_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        respond = self._enter(scope, path)
        if respond is None:
            return None
        app: ASGIApp = (
            refuse_hosts if respond is _respond_to_contradiction else scope["route"]._route_app
        )
        return app


_respond_to_contradiction = resolve_respond(refuse_hosts)
