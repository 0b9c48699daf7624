"""Routes that lead to another application: ``Mount`` by a path prefix, ``Host`` by a host name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from spica._asgi.scope import get_route_path, restore_prefix
from spica._asgi.stack import Middleware, build_stack
from spica._http.host import find_host, has_contradicting_hosts, parse_host_name
from spica._layers.exception_handlers import Boundary, deny
from spica._layers.layer import InnerApp, Respond
from spica._layers.limits import limit_app
from spica.datastructures import URLPath
from spica.exceptions import HTTPException, MisuseError
from spica.responses.base import PlainTextResponse
from spica.routing.base import (
    LINK_KEYS,
    BaseRoute,
    Match,
    NoMatchFound,
    known_names,
    url_with_suffix,
)
from spica.routing.patterns import (
    Conversions,
    PathConvertors,
    check_path,
    compile_path,
    conversions_of,
    encode_path,
    match_path,
    read_params,
    replace_params,
)
from spica.routing.spelling import check_host_spelling, check_spelling
from spica.routing.validation import check_choice, check_mounted, warn_of_path
from spica.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from spica.formparsers import FormLimits


CHILD_KEYS = ("path_params", "app_root_path", "root_path", "path", "raw_path")
"""Keys of the scope that a mount reads and may change."""


def descend(scope: Scope, prefix: str, app: ASGIApp) -> None:
    """Change ``scope`` into that of ``app``, which is mounted below ``prefix``."""
    root_path = scope.get("root_path", "")
    if root_path and root_path[-1] == "/":
        root_path = root_path.rstrip("/")  # some servers have "/api/"
    if "app_root_path" not in scope:
        # The prefix of the whole application stays known to what is mounted.
        scope["app_root_path"] = root_path
        if root_path:
            # From here on `root_path` grows with each mount, and foreign apps cut it off `path`.
            restore_prefix(scope)
    if "path_params" not in scope:
        scope["path_params"] = {}
    scope["root_path"] = root_path + prefix
    scope["endpoint"] = app


class AppRoute(BaseRoute):
    """The common part of routes to another application. Subclasses may skip ``__init__``."""

    name: str | None
    lifespan: bool | None = None
    """Whether the lifespan of the application runs. None: the router decides, for applications of spica."""
    app = InnerApp(connects=False)
    _layer_inner: ASGIApp
    _layer_inner_respond: Respond
    _base_app: ASGIApp
    param_convertors: PathConvertors

    @property
    def routes(self) -> list[BaseRoute]:
        """The routes of the application; an empty list where it has none."""
        app = getattr(self, "_base_app", self.app)
        routes: list[BaseRoute] = getattr(app, "routes", [])
        return routes

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection that matched."""
        await self.app(scope, receive, send)

    def _url_of_child(self, name: str, path_params: dict[str, Any]) -> URLPath:
        """Return the URL of the route of the application that has this name behind the name of this route.

        Raises:
            NoMatchFound: no route has the name and these parameters.
        """
        child_name = self._child_name(name)
        if child_name is not None:
            for route in self.routes or ():
                try:
                    return route.url_path_for(child_name, **path_params)
                except NoMatchFound:
                    pass
        raise NoMatchFound(name, path_params, known_names(self.routes or ()))

    def _child_name(self, name: str) -> str | None:
        """Return ``name`` as the application knows it; None if it does not begin with the name here."""
        if not self.name:
            return name
        prefix = self.name + ":"
        return name[len(prefix) :] if name.startswith(prefix) else None


class Mount(AppRoute):
    """Serve an application below a path prefix.

    Give ``app``, or ``routes`` to mount a router of these. ``path`` is "" or begins with "/"; it may have
    parameters. The application sees the prefix in ``root_path``; ``path`` stays the whole path.
    ``max_body_size``, in bytes, overrides the limits outside, and so do ``form_limits``,
    ``body_idle_seconds`` and ``min_body_rate``. ``lifespan`` says whether the application's lifespan
    runs: by default that of spica's own applications and routers does
    (see ``Router``), True asks for that of any ASGI app, False leaves it to you.

    ``serve_bare_path`` says how the path without its trailing slash is answered, ``/api`` for
    ``Mount("/api", ...)``. With True the application serves it as ``/api/``. With False the router redirects
    it there (307). By default GET and HEAD are redirected, because relative links in a page depend on the
    slash, and the application serves other methods and WebSockets, unless another route does: many clients
    do not follow a redirect.

    Raises:
        ValueError: neither ``app`` nor ``routes`` is given, or the path is not that of a route.
    """

    def __init__(
        self,
        path: str,
        app: ASGIApp | None = None,
        routes: Sequence[BaseRoute] | None = None,
        name: str | None = None,
        *,
        middleware: Sequence[Middleware] | None = None,
        max_body_size: int | float | None = None,
        form_limits: FormLimits | None = None,
        body_idle_seconds: float | None = None,
        min_body_rate: float | None = None,
        lifespan: bool | None = None,
        serve_bare_path: bool | None = None,
    ) -> None:
        place = f"Mount({path!r})"
        self.lifespan = check_choice(lifespan, f"{place}: lifespan")
        self.serve_bare_path = check_choice(serve_bare_path, f"{place}: serve_bare_path")
        if path:
            check_path(path, place)
            check_spelling(path, place)
            warn_of_path(path, place)
        self.path = path.rstrip("/")
        self._base_app = self._find_app(app, routes, place)
        self.name = name
        stack = self._base_app
        if middleware or max_body_size is not None:
            stack = build_stack(Boundary(stack), middleware, place)
        self.app = limit_app(
            stack, place, max_body_size, form_limits, body_idle_seconds, min_body_rate
        )
        self.path_regex, self.path_format, self.param_convertors = compile_path(
            self.path + "/{path:path}"
        )

    path_regex: re.Pattern[str]
    serve_bare_path: bool | None = None
    """Whether the application serves the path without its trailing slash. None: all but GET and HEAD."""
    router_class: ClassVar[Callable[..., ASGIApp]]
    """What ``routes`` are made into: ``Router``, which sets it, since a router in turn makes mounts."""

    def _find_app(
        self, app: ASGIApp | None, routes: Sequence[BaseRoute] | None, place: str
    ) -> ASGIApp:
        if app is None:
            if routes is None:
                raise MisuseError(f"{place}: Either 'app=...', or 'routes=' must be specified")
            return self.router_class(routes=routes)
        check_mounted(app, place)
        return app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the path is below the prefix, and the scope of the application."""
        if scope["type"] not in ("http", "websocket"):
            return Match.NONE, {}
        child_scope = {key: scope[key] for key in CHILD_KEYS if key in scope}
        conversions = conversions_of(self.param_convertors)
        route_path = get_route_path(scope)
        match = Match.FULL
        if not self._enter(child_scope, route_path, conversions):
            match = self._match_bare(scope, route_path)
            if match is Match.NONE:
                return Match.NONE, {}
            self._enter_bare(child_scope, route_path, conversions)
        for key in ("path", "raw_path"):
            if child_scope.get(key) is scope.get(key):
                child_scope.pop(key, None)  # only changes are returned
        return match, child_scope

    def _match_bare(self, scope: Scope, route_path: str) -> Match:
        """Return how well the path matches that is the prefix without its trailing slash.

        A partial match is served only if no other route fully matches.
        """
        serves = self.serve_bare_path
        if serves is None and scope.get("method") not in ("GET", "HEAD"):
            match = Match.PARTIAL
        elif serves:
            match = Match.FULL
        else:
            return Match.NONE
        if len(self.param_convertors) == 1:
            is_bare = route_path == self.path
        else:
            conversions = conversions_of(self.param_convertors)
            is_bare = match_path(self.path_regex, conversions, route_path + "/") is not None
        return match if is_bare else Match.NONE

    def _enter_bare(self, scope: Scope, route_path: str, conversions: Conversions) -> None:
        """Change ``scope`` into that of the application for the bare path, and add a slash to the path.

        The routes of the application, and foreign apps, know their root as "/".
        """
        scope["path"] += "/"
        if scope.get("raw_path") is not None:
            scope["raw_path"] += b"/"
        self._enter(scope, route_path + "/", conversions)

    def _enter(self, scope: Scope, route_path: str, conversions: Conversions) -> bool:
        """Change ``scope`` into that of the application and return True if the path is below the prefix."""
        if len(self.param_convertors) == 1:  # only the rest: the prefix has no parameters
            if not route_path.startswith(self.path + "/"):
                return False
            descend(scope, self.path, self.app)
            return True
        params = match_path(self.path_regex, conversions, route_path)
        if params is None:
            return False
        end = len(route_path) - len(params.pop("path")) - 1
        scope["path_params"] = {**scope.get("path_params", {}), **params}
        descend(scope, route_path[:end], self.app)
        return True

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the path of the mount (its name, with ``path``), or of a route below it.

        ``_query`` and ``_fragment`` are those of ``Router.url_path_for``.

        Raises:
            NoMatchFound: no route has this name and these parameters.
        """
        if not LINK_KEYS.isdisjoint(path_params):
            return url_with_suffix(self, name, path_params)
        if self.name is not None and name == self.name and "path" in path_params:
            path_params = {**path_params, "path": str(path_params["path"]).lstrip("/")}
            path, rest = replace_params(self.path_format, self.param_convertors, path_params)
            if rest or path_params.keys() != self.param_convertors.keys():
                raise NoMatchFound(name, path_params, (self.name,))
            return URLPath(path=encode_path(path))
        # Here `path` is the rest below the prefix. A route below may have a parameter of the same name.
        own_names = self.param_convertors.keys() - {"path"}
        own = {key: value for key, value in path_params.items() if key in own_names}
        rest = {key: value for key, value in path_params.items() if key not in own_names}
        url = self._url_of_child(name, rest)
        prefix, _ = replace_params(self.path_format[: -len("/{path}")], self.param_convertors, own)
        return URLPath(path=encode_path(prefix) + str(url), protocol=url.protocol)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mount) and self.path == other.path and self.app == other.app

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(path={self.path!r}, name={self.name or ''!r}, app={self.app!r})"
        )


_PORT = re.compile(r":\d+\Z")
_FINAL_DOT = re.compile(r"(?<=[^.])\.(?=(:\d+)?\Z)")

_CONTRADICTING = "Contradicting Host header fields"


def read_host_name(scope: Scope) -> str | None:
    """Return the host name that ``Host`` compares; "" if it is missing or malformed.

    None: the Host headers contradict each other.
    """
    headers = scope.get("headers", ())
    field = find_host(headers)
    if field is None:
        return None if has_contradicting_hosts(headers) else ""
    name = parse_host_name(field.decode("latin-1")) or ""
    # RFC 1034 s.3.1: a final dot is the root of the DNS. The name is the same one without it.
    return name.removesuffix(".")


async def refuse_hosts(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a connection whose Host headers contradict each other: 400 (RFC 9112 s.3.2)."""
    if scope["type"] == "websocket":
        await deny(PlainTextResponse(_CONTRADICTING, status_code=400), scope, receive, send)
    elif "app" in scope:
        raise HTTPException(status_code=400, detail=_CONTRADICTING)
    else:
        await PlainTextResponse(_CONTRADICTING, status_code=400)(scope, receive, send)


class Host(AppRoute):
    """Serve an application for a host name, which may have parameters: ``"{tenant}.example.org"``.

    The port, upper case (RFC 9110 s.4.2.3) and a final dot do not count. A malformed Host header, or a
    missing one, matches no ``Host``. A request whose Host headers contradict each other gets a 400 here
    (RFC 9112 s.3.2). ``lifespan`` is that of ``Mount``.

    Raises:
        ValueError: ``host`` has a scheme, a path or a ``*``, or braces that are not a parameter.
        TypeError: ``app`` is not an ASGI app.
    """

    def __init__(
        self, host: str, app: ASGIApp, name: str | None = None, *, lifespan: bool | None = None
    ) -> None:
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
        # A request's host comes without its final dot, too.
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

    def _plain_name(self) -> str:
        """Return the one host name that matches, where there are no parameters."""
        return _PORT.sub("", self.host_format).lower()

    def _read_params(self, name: str) -> dict[str, Any] | None:
        """Return the parameters of a host name if it matches, else None."""
        found = self.host_regex.match(name)
        return None if found is None else read_params(found, self.param_convertors)

    def _child_scope(self, scope: Scope, params: dict[str, Any]) -> Scope:
        outer = scope.get("path_params")
        return {"path_params": {**outer, **params} if outer else params, "endpoint": self.app}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection that matched; 400 if its Host headers contradict each other."""
        if has_contradicting_hosts(scope.get("headers", ())):
            await refuse_hosts(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the path of the host (its name, with ``path``), or of a route of its application.

        ``_query`` and ``_fragment`` are those of ``Router.url_path_for``.

        Raises:
            NoMatchFound: no route has this name and these parameters.
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
