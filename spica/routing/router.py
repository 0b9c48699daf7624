"""The router: a list of routes, and the dispatch of connections to them.

A request takes these steps: ``Router`` passes it through its own middleware, the table selects the route
(`spica.routing.table`), and the function that the table returns makes the response.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any, Unpack

from spica._asgi.scope import get_route_path, path_below, public_path
from spica._asgi.stack import Middleware, build_stack
from spica._diagnostics.foreign_names import FIXES_OF_ROUTER_ARGUMENTS, explain_arguments
from spica._layers.exception_handlers import Boundary
from spica._layers.layer import BaseLayer, Inner, Respond, responds_by
from spica._layers.limits import limit_app
from spica._originals import is_original, remember
from spica.exceptions import HTTPException
from spica.responses.base import PlainTextResponse, RedirectResponse
from spica.routing.base import (
    LINK_KEYS,
    BaseRoute,
    Endpoint,
    NoMatchFound,
    SocketEndpoint,
    known_names,
    params_of,
    url_with_suffix,
)
from spica.routing.decorators import RouteDecorators
from spica.routing.hosts import Host
from spica.routing.lifespan.own import OwnLifespan, make_lifespans
from spica.routing.lifespan.run import (
    MAX_SHUTDOWN_SECONDS,
    MAX_STARTUP_SECONDS,
    check_seconds,
    run_lifespan,
)
from spica.routing.mounts import Mount
from spica.routing.patterns import encode_path
from spica.routing.routes import Route, WebSocketRoute
from spica.routing.table import RouteTable
from spica.routing.validation import check_choice
from spica.types import ASGIApp, Lifespan, Receive, Scope, Send

if TYPE_CHECKING:
    from typing import Self

    from spica.datastructures import URLPath
    from spica.formparsers import FormLimits
    from spica.requests import Request
    from spica.routing.base import RouteOptions
    from spica.routing.lifespan.own import LifespanContext


class Router(RouteDecorators, BaseLayer):
    """Serve the first of ``routes`` that matches.

    Args:
        routes: The routes, in order. The router copies the list. You may change ``router.routes`` at any
            time.
        redirect_slashes: Whether a path that matches only with its trailing slash added or removed is
            redirected there (307). Default: True.
        default: The ASGI app for requests that no route matches. Default: ``not_found``.
        lifespan: A lifespan or a list of them, entered in order. The lifespans of mounted applications
            follow.
        middleware: Middleware around the routes, the first one outermost.
        max_body_size: The limit of request bodies in bytes. It overrides the limits of outer layers, and so
            do the next three.
        form_limits: The limits of forms.
        body_idle_seconds: The longest pause between two parts of a body, in seconds.
        min_body_rate: The slowest rate of a body, in bytes per second.
        mounted_lifespans: Whether the lifespans of mounted applications run. Default: True, but False under
            Starlette's name (``spica.compat``), where packages start them by hand.
        max_startup_seconds: The time limit for each lifespan to start. Default: an hour. A shorter limit of
            an outer application applies as well. None: no limit.
        max_shutdown_seconds: The time limit for each lifespan to end. Default: five minutes.

    Raises:
        TypeError: An item of ``routes`` is not a route, or ``lifespan`` can't be called.
        ValueError: A time limit is 0 or negative.
    """

    _default: Inner
    mounted_lifespans: bool | None = None
    max_startup_seconds: float | None = MAX_STARTUP_SECONDS
    max_shutdown_seconds: float | None = MAX_SHUTDOWN_SECONDS

    @explain_arguments(FIXES_OF_ROUTER_ARGUMENTS)
    def __init__(
        self,
        routes: Sequence[BaseRoute] | None = None,
        redirect_slashes: bool = True,
        default: ASGIApp | None = None,
        lifespan: Lifespan[Any] | Sequence[Lifespan[Any]] | None = None,
        *,
        middleware: Sequence[Middleware] | None = None,
        max_body_size: int | float | None = None,
        form_limits: FormLimits | None = None,
        body_idle_seconds: float | None = None,
        min_body_rate: float | None = None,
        mounted_lifespans: bool | None = None,
        max_startup_seconds: float | None = MAX_STARTUP_SECONDS,
        max_shutdown_seconds: float | None = MAX_SHUTDOWN_SECONDS,
    ) -> None:
        self._table = RouteTable(_check_routes(routes or (), type(self).__name__))
        self.redirect_slashes = redirect_slashes
        if default is not None and not callable(default):
            raise TypeError(
                f"{type(self).__name__}: default must be an ASGI app, not {default!r:.200}."
            )
        self.default = self.not_found if default is None else default
        place = type(self).__name__
        self.lifespan_context = OwnLifespan(self, make_lifespans(lifespan))
        self.mounted_lifespans = check_choice(mounted_lifespans, "Router: mounted_lifespans")
        self.max_startup_seconds = check_seconds(
            max_startup_seconds, f"{place}: max_startup_seconds"
        )
        self.max_shutdown_seconds = check_seconds(
            max_shutdown_seconds, f"{place}: max_shutdown_seconds"
        )
        stack: ASGIApp = self.app
        if middleware or max_body_size is not None:
            stack = build_stack(Boundary(stack), middleware, type(self).__name__)
        self.middleware_stack = limit_app(
            stack, place, max_body_size, form_limits, body_idle_seconds, min_body_rate
        )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "app" in vars(cls) and is_original(cls, "__call__"):
            type.__setattr__(cls, "__call__", _run_own_app)

    def __copy__(self) -> Self:
        """Copy the router for ``copy.copy``. The copy starts with the same list of routes.

        Assign another list to ``routes`` of the copy, and each router serves its own. cadwyn creates a router
        for each version of an API this way.
        """
        copied = type(self).__new__(type(self))
        for name, value in vars(self).items():
            app = value.app if isinstance(value, Inner) else value
            if isinstance(app, MethodType) and app.__self__ is self:
                app = MethodType(app.__func__, copied)
                value = Inner(app) if isinstance(value, Inner) else app
            object.__setattr__(copied, name, value)
        copied._table = RouteTable(())
        copied._table.routes = self._table.routes
        context = self._lifespan_context
        if isinstance(context, OwnLifespan):
            copied._lifespan_context = OwnLifespan(copied, context.functions)
        return copied

    @property
    def lifespan_context(self) -> LifespanContext:
        """The router's own lifespans as one function, from the application to an async context manager.

        You may replace it, for example by a function that wraps it.
        """
        return self._lifespan_context

    @lifespan_context.setter
    def lifespan_context(self, context: LifespanContext) -> None:
        """Replace it."""
        is_own = isinstance(context, OwnLifespan) and context.router is self
        self._lifespan_context = context if is_own else OwnLifespan(self, [context])

    @property
    def routes(self) -> list[BaseRoute]:
        """The routes, in order. The list is live: change it in place, or replace it."""
        return self._table.routes

    @routes.setter
    def routes(self, routes: list[BaseRoute]) -> None:
        """Replace the list. The router uses the list itself, not a copy."""
        self._table.routes = routes

    # -- serving ---------------------------------------------------------------------------------------

    def _layer_respond(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the answer of the route that matches, through the router's middleware."""
        request.scope.setdefault("router", self)
        return self._layer_inner.respond(request)

    def _layer_resolve(self) -> Respond:
        """Skip the step through ``_layer_respond`` where the router has no middleware."""
        respond = self._layer_inner.respond
        return respond if respond == self._layer_dispatch else self._layer_respond

    def _layer_dispatch(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the answer of the route that matches.

        It has nothing to do after that answer, so it hands on what is to be awaited.
        """
        scope = request.scope
        if "router" not in scope:
            scope["router"] = self
        path = scope["path"]
        try:
            root_path = scope["root_path"]
        except KeyError:  # ASGI: optional
            root_path = ""
        if root_path:
            path = path_below(root_path, path)
        respond = self._table.select(scope, path)
        if respond is not None:
            return respond(request)
        if self.redirect_slashes and (location := self._other_slash(scope, path)) is not None:
            return _Answer(RedirectResponse(location))._layer_respond(request)
        return self._default.respond(request)

    @property
    def middleware_stack(self) -> ASGIApp:
        """The router's middleware around its routes. You may replace it at any time."""
        return self._layer_inner.app

    @middleware_stack.setter
    def middleware_stack(self, app: ASGIApp) -> None:
        """Replace it."""
        self._layer_inner = Inner(app)

    @property
    def default(self) -> ASGIApp:
        """The ASGI app for requests that no route matches. You may replace it at any time."""
        return self._default.app

    @default.setter
    def default(self, app: ASGIApp) -> None:
        """Replace it."""
        self._default = Inner(app)

    @responds_by("_layer_dispatch")
    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Serve a connection by the routes, inside the router's middleware. Subclasses override this."""
        if scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            app = self._table.select_socket(scope, get_route_path(scope)) or self.default
            await app(scope, receive, send)
        else:
            await _Dispatch(self)(scope, receive, send)

    def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a WebSocket or the lifespan, through the router's middleware."""
        if scope["type"] not in ("websocket", "lifespan"):
            raise RuntimeError(
                f"{type(self).__name__} serves scopes of type 'http', 'websocket' and 'lifespan', "
                f"not {scope['type']!r}."
            )
        scope.setdefault("router", self)
        return self._layer_inner.connect(scope, receive, send)

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the lifespan context from startup to shutdown."""
        await run_lifespan(self, scope, receive, send)

    @responds_by("_answer_not_found")
    async def not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that no route matches with 404, and close a WebSocket."""
        if scope["type"] == "websocket":
            from spica.websockets import WebSocketClose  # on use: see spica.websockets

            await WebSocketClose()(scope, receive, send)
        elif "app" in scope:
            raise HTTPException(status_code=404)
        else:
            await PlainTextResponse("Not Found", status_code=404)(scope, receive, send)

    async def _answer_not_found(self, request: Request[Any]) -> ASGIApp:
        if "app" in request.scope:
            raise HTTPException(status_code=404)
        return PlainTextResponse("Not Found", status_code=404)

    def _other_slash(self, scope: Scope, path: str) -> str | None:
        """Return the URL of the path with its trailing slash added or removed, if a route serves it."""
        if path == "/" or not path:
            return None
        other = path.rstrip("/") if path.endswith("/") else path + "/"
        whole: str = scope["path"]
        whole = whole[: len(whole) - len(path)] + other
        if not other or not self._table.has_match(scope, other, whole):
            return None
        # Leave out scheme and host (RFC 9110 s.10.2.2), so that no Host header can lead to another site.
        # Include a prefix that the proxy has stripped, because the client's next request passes the proxy.
        location = encode_path("/" + public_path({**scope, "path": whole}).lstrip("/"))
        query = scope.get("query_string", b"")
        return f"{location}?{query.decode('latin-1')}" if query else location

    # -- URLs ------------------------------------------------------------------------------------------

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the path of the route called ``name``.

        Args:
            name: The name of the route; ``"mount:route"`` for a route below a mount.
            path_params: The path parameters. Two more are appended to the path, encoded: ``_query``, a
                mapping or a list of pairs, where a list as a value repeats the name and None omits it, or an
                encoded string; and ``_fragment``, a string.

        Raises:
            NoMatchFound: No route has this name and these parameters.
        """
        if not LINK_KEYS.isdisjoint(path_params):
            return url_with_suffix(self, name, path_params)
        for route in self.routes:
            try:
                return route.url_path_for(name, **path_params)
            except NoMatchFound:
                pass
        raise NoMatchFound(
            name, path_params, known_names(self.routes), params_of(self.routes, name)
        )

    # -- adding routes ---------------------------------------------------------------------------------

    def mount(
        self,
        path: str,
        app: ASGIApp,
        name: str | None = None,
        *,
        lifespan: bool | None = None,
        serve_bare_path: bool | None = None,
        public: bool = False,
    ) -> None:
        """Add a ``Mount``."""
        mount = Mount(
            path,
            app=app,
            name=name,
            lifespan=lifespan,
            serve_bare_path=serve_bare_path,
            public=public,
        )
        self.routes.append(mount)

    def host(
        self, host: str, app: ASGIApp, name: str | None = None, *, lifespan: bool | None = None
    ) -> None:
        """Add a ``Host``."""
        self.routes.append(Host(host, app=app, name=name, lifespan=lifespan))

    def add_route(
        self,
        path: str,
        endpoint: Endpoint,
        methods: Collection[str] | None = None,
        name: str | None = None,
        include_in_schema: bool = True,
        **options: Unpack[RouteOptions],
    ) -> None:
        """Add a ``Route``. ``options`` are its other arguments, for example ``max_body_size``."""
        self.routes.append(
            Route(
                path,
                endpoint,
                methods=methods,
                name=name,
                include_in_schema=include_in_schema,
                **options,
            )
        )

    def add_websocket_route(
        self, path: str, endpoint: SocketEndpoint, name: str | None = None, *, public: bool = False
    ) -> None:
        """Add a ``WebSocketRoute``."""
        self.routes.append(WebSocketRoute(path, endpoint, name=name, public=public))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Router) and self.routes == other.routes


Mount.router_class = Router


remember(Router, "__call__")


async def _run_own_app(self: Router, scope: Scope, receive: Receive, send: Send) -> None:
    """Run a router whose class has an ``app`` of its own, as FastAPI's has: it only knows messages.

    So the value path is skipped. A patched ``Router.__call__`` is still called.
    """
    if not is_original(Router, "__call__"):
        await Router.__call__(self, scope, receive, send)
        return
    scope.setdefault("router", self)
    await self._layer_inner.app(scope, receive, send)


class _Dispatch(BaseLayer):
    """The routes of a router alone, without its middleware."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def _layer_respond(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the answer of the route that matches."""
        return self._router._layer_dispatch(request)


class _Answer:
    """Respond with an answer that exists already."""

    __slots__ = ("answer",)

    def __init__(self, answer: ASGIApp) -> None:
        self.answer = answer

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the answer."""
        return self.answer


def _suggest_route(item: Any) -> str:
    if isinstance(item, Router):
        return " Write Mount('/prefix', app=router)."
    if isinstance(item, tuple) and item and isinstance(item[0], str):
        return f" Write Route({item[0]!r}, function)."
    if isinstance(item, str):
        return f" Write [Route({item!r}, function), ...]."
    return " Write Route('/path', function)." if callable(item) else ""


def _check_routes(routes: Sequence[BaseRoute], place: str) -> Sequence[BaseRoute]:
    if not isinstance(routes, Iterable):
        raise TypeError(
            f"{place}: routes must be a list of routes, not {routes!r:.200}. Write [...]."
        )
    routes = list(routes)
    for route in routes:
        if not callable(getattr(route, "matches", None)):
            hint = _suggest_route(route)
            raise TypeError(
                f"{place}: routes must be Route, Mount and the like, not {route!r:.200}.{hint}"
            )
    return routes
