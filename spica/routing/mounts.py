"""Routes to another application below a path prefix: ``Mount``.

A mount changes the scope for its application: the prefix moves into ``root_path``, and ``path`` stays the
whole path, as ASGI requires.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from spica._asgi.scope import get_route_path, restore_prefix
from spica._asgi.stack import Middleware, build_stack
from spica._diagnostics.arguments import check_flag
from spica._diagnostics.foreign_names import FIXES_OF_MOUNT_ARGUMENTS, explain_arguments
from spica._layers.exception_handlers import Boundary
from spica._layers.layer import Respond
from spica._layers.limits import limit_app
from spica.datastructures import URLPath
from spica.datastructures.url import UnlistedPath
from spica.exceptions import MisuseError
from spica.routing.base import (
    LINK_KEYS,
    BaseRoute,
    Enter,
    Match,
    NoMatchFound,
    OwnRoute,
    known_names,
    partial_match,
    url_with_suffix,
)
from spica.routing.endpoint_apps import resolve_endpoint
from spica.routing.patterns import (
    Conversions,
    PathConvertors,
    check_path,
    compile_path,
    conversions_of,
    encode_path,
    match_path,
    replace_params,
)
from spica.routing.spelling import check_spelling
from spica.routing.validation import check_choice, check_mounted, warn_of_path
from spica.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from spica.formparsers import FormLimits


CHILD_KEYS = ("path_params", "app_root_path", "root_path", "path", "raw_path")
"""The keys of the scope that a mount reads and may change."""


def _unlisted(path: str, name: str, asset: str) -> UnlistedPath:
    """Return the path of a static file that its manifest does not have."""
    url: Any = UnlistedPath(path)  # `URLPath.__new__` declares its own class
    url.error = NoMatchFound(
        name, {"path": asset}, (), ("path",), f"The manifest has no {asset!r}."
    )
    return cast(UnlistedPath, url)


def descend(scope: Scope, prefix: str, app: ASGIApp) -> None:
    """Change ``scope`` into the scope of ``app``, which is mounted below ``prefix``."""
    root_path = scope.get("root_path", "")
    if root_path and root_path[-1] == "/":
        root_path = root_path.rstrip("/")  # some servers pass "/api/"
    if "app_root_path" not in scope:
        # Keep the prefix of the whole application: `url_for` builds absolute URLs from it.
        scope["app_root_path"] = root_path
        if root_path:
            # `root_path` grows with each mount, and foreign apps cut it off `path`. Restore a prefix that the
            # proxy has stripped, so that `path` begins with `root_path`.
            restore_prefix(scope)
    if "path_params" not in scope:
        scope["path_params"] = {}
    scope["root_path"] = root_path + prefix
    scope["endpoint"] = app


class AppRoute(OwnRoute):
    """The common part of routes to another application. Subclasses may skip ``__init__``."""

    name: str | None
    lifespan: bool | None = None
    """Whether the lifespan of the application runs. None: the router decides, for applications of spica."""
    _base_app: ASGIApp
    param_convertors: PathConvertors
    _lifespan_states: tuple[dict[str, Any], ...] = ()
    """The states that the application's lifespan has yielded, one for each run of it that goes on."""

    def _prepare_entry(self) -> Enter:
        # Assigning `app` resolves it as well, but classes may have been patched since then.
        self._route_respond = resolve_endpoint(self.app)
        # Copied from the class to the instance, where each request finds it faster.
        self._lifespan_states = self._lifespan_states
        return self._enter

    def _enter_other_method(self, scope: Scope, path: str, routes: Sequence[Any]) -> Respond:
        raise NotImplementedError  # only mounts match partially, and they define it

    def _overlay_states(self, scope: Scope) -> None:
        """Add the state of the mounted application to the state of the request.

        The dict belongs to this request alone (ASGI lifespan specification, "Lifespan State"). Change it in
        place, so that outer middleware sees the keys, too.
        """
        for state in reversed(self._lifespan_states):  # the run that started first wins
            scope.setdefault("state", {}).update(state)

    @property
    def routes(self) -> list[BaseRoute]:
        """The routes of the application. An empty list if it has none."""
        app = getattr(self, "_base_app", self.app)
        routes: list[BaseRoute] = getattr(app, "routes", [])
        return routes

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection that matched."""
        self._overlay_states(scope)
        await self.app(scope, receive, send)

    def _url_of_child(self, name: str, path_params: dict[str, Any]) -> URLPath:
        """Return the URL of a route of the application, for ``"this-name:its-name"``.

        Raises:
            NoMatchFound: No route has this name and these parameters.
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
        """Return ``name`` without the name of this route, or None if it does not begin with that."""
        if not self.name:
            return name
        prefix = self.name + ":"
        return name[len(prefix) :] if name.startswith(prefix) else None


class Mount(AppRoute):
    """Serve an application below a path prefix.

    The application sees the prefix in ``root_path``; ``path`` stays the whole path.

    Example::

        Mount("/static", StaticFiles(directory="static"), name="static")

    Args:
        path: The prefix: "" or a path that begins with "/". It may have parameters.
        app: The ASGI app to mount. Give ``app`` or ``routes``.
        routes: Routes for a router to mount.
        name: The first part of the names for ``url_for``: "static" in ``url_for("static:file")``.
        middleware: Middleware around the application, the first one outermost.
        max_body_size: The limit of request bodies in bytes. It overrides the limits of outer layers, and so
            do the next three.
        form_limits: The limits of forms.
        body_idle_seconds: The longest pause between two parts of a body, in seconds.
        min_body_rate: The slowest rate of a body, in bytes per second.
        lifespan: Whether the application's lifespan runs. By default it does for applications and routers of
            spica (see ``Router``). True also runs the lifespan of any other ASGI app; False leaves it to you.
        serve_bare_path: How to serve the prefix without a slash, ``/api`` for ``Mount("/api", ...)``. True:
            the application serves it as ``/api/``. False: the router redirects to ``/api/`` (307). None, the
            default: the router redirects GET and HEAD, because relative links in a page depend on the slash.
            The application serves other methods and WebSockets, because many clients do not follow a
            redirect, unless another route matches.
        public: Whether everybody may use everything below, although the outer application has
            ``default_scopes``.

    Raises:
        ValueError: Neither ``app`` nor ``routes`` is given, or the path is not valid for a route.
        TypeError: ``app`` is not an ASGI app.
    """

    @explain_arguments(FIXES_OF_MOUNT_ARGUMENTS)
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
        public: bool = False,
    ) -> None:
        place = f"Mount({path!r})"
        self.public = check_flag(public, f"{place}: public")
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
    """The class that serves ``routes``. ``Router`` sets itself here, because it imports this module."""
    # Set by `_prepare_entry`, because a subclass may skip `__init__`.
    _mount_prefix: str | None  # with a slash at the end; None for a prefix with parameters
    _param_conversions: Conversions

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
        """Return whether the path is below the prefix, and the changes of the scope for the application."""
        if scope["type"] not in ("http", "websocket"):
            return Match.NONE, {}
        child_scope = {key: scope[key] for key in CHILD_KEYS if key in scope}
        conversions = conversions_of(self.param_convertors)
        route_path = get_route_path(scope)
        match = Match.FULL
        if not self._descend(child_scope, route_path, conversions):
            match = self._match_bare(scope, route_path)
            if match is Match.NONE:
                return Match.NONE, {}
            self._descend_bare(child_scope, route_path, conversions)
        for key in ("path", "raw_path"):
            if child_scope.get(key) is scope.get(key):
                child_scope.pop(key, None)  # return only the changes
        return match, child_scope

    def _match_bare(self, scope: Scope, route_path: str) -> Match:
        """Return how well a path matches that is the prefix without its slash.

        On a partial match, the mount serves the path only if no other route fully matches.
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

    def _descend(self, scope: Scope, route_path: str, conversions: Conversions) -> bool:
        """Change ``scope`` for the application if the path is below the prefix, and return whether it is."""
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

    def _descend_bare(self, scope: Scope, route_path: str, conversions: Conversions) -> None:
        """Change ``scope`` for the application, and add the missing slash to the path.

        The routes of the application, and foreign apps, know their root as "/".
        """
        scope["path"] += "/"
        if scope.get("raw_path") is not None:
            scope["raw_path"] += b"/"
        self._descend(scope, route_path + "/", conversions)

    # -- for the route table ---------------------------------------------------------------------------

    @property
    def _index_pattern(self) -> str:
        return f"{self.path}/{{path:path}}"

    def _prepare_entry(self) -> Enter:
        self._mount_prefix = None if len(self.param_convertors) > 1 else self.path + "/"
        self._param_conversions = conversions_of(self.param_convertors)
        return super()._prepare_entry()

    def _enter(self, scope: Scope, path: str) -> Respond | None:
        """Compare the prefix."""
        prefix = self._mount_prefix
        if prefix is None:
            if not self._descend(scope, path, self._param_conversions):
                return self._enter_bare(scope, path)
        elif path.startswith(prefix):
            descend(scope, self.path, self._route_app)
        else:
            return self._enter_bare(scope, path)
        scope["route"] = self
        if self._lifespan_states:
            self._overlay_states(scope)
        return self._route_respond

    def _enter_bare(self, scope: Scope, path: str) -> Respond | None:
        """Compare the prefix without its slash."""
        match = self._match_bare(scope, path)
        if match is Match.FULL:
            return self._enter_other_method(scope, path, ())
        return None if match is Match.NONE else partial_match

    def _enter_other_method(self, scope: Scope, path: str, routes: Sequence[Any]) -> Respond:
        # The prefix without its slash, which no other route serves with this method.
        self._descend_bare(scope, path, self._param_conversions)
        scope["route"] = self
        self._overlay_states(scope)
        return self._route_respond

    def _enter_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        respond = self._enter(scope, path)
        return None if respond is None or respond is partial_match else self._route_app

    def _enter_socket_last(self, scope: Scope, path: str) -> ASGIApp | None:
        if self._match_bare(scope, path) is Match.NONE:
            return None
        self._enter_other_method(scope, path, ())
        return self._route_app

    # -- URLs ------------------------------------------------------------------------------------------

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the path of the mount (for its name and ``path``), or of a route below it.

        See ``Router.url_path_for`` for ``_query`` and ``_fragment``.

        Raises:
            NoMatchFound: No route has this name and these parameters.
        """
        if not LINK_KEYS.isdisjoint(path_params):
            return url_with_suffix(self, name, path_params)
        if self.name is not None and name == self.name and "path" in path_params:
            return self._url_of_path(name, path_params)
        # In `param_convertors`, `path` is the rest below the prefix. A parameter `path` given here belongs to
        # a route below.
        own_names = self.param_convertors.keys() - {"path"}
        own = {key: value for key, value in path_params.items() if key in own_names}
        rest = {key: value for key, value in path_params.items() if key not in own_names}
        url = self._url_of_child(name, rest)
        prefix, _ = replace_params(self.path_format[: -len("/{path}")], self.param_convertors, own)
        if isinstance(url, UnlistedPath):
            return _unlisted(encode_path(prefix) + str(url), name, str(rest.get("path")))
        return URLPath(path=encode_path(prefix) + str(url), protocol=url.protocol)

    def _url_of_path(self, name: str, path_params: dict[str, Any]) -> URLPath:
        """Return the path of the mount and the rest ``path`` below it."""
        given = str(path_params["path"]).lstrip("/")
        # StaticFiles with a manifest knows the file under a hashed name.
        find_asset = getattr(getattr(self, "_base_app", self.app), "asset_path", None)
        asset = given if find_asset is None else find_asset(given)
        path_params = {**path_params, "path": given if asset is None else asset}
        path, rest = replace_params(self.path_format, self.param_convertors, path_params)
        if rest or path_params.keys() != self.param_convertors.keys():
            raise NoMatchFound(name, path_params, (self.name or "",))
        if asset is None:
            return _unlisted(encode_path(path), name, given)
        return URLPath(path=encode_path(path))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mount) and self.path == other.path and self.app == other.app

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(path={self.path!r}, name={self.name or ''!r}, app={self.app!r})"
        )
