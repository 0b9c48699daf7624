"""The application: the object that you give to a server.

A request goes through the layers from the outside in: the server-error layer, the body limit if there is one,
your middleware, the exception layer, the router. The stack is built at the first connection, nearly always
the lifespan, together with the stacks of mounted applications. It is built again whenever
``middleware_stack`` is set to None.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ParamSpec, Unpack, overload

from spica._asgi.current_codec import check_codec
from spica._asgi.scope import CLEANUP, OUTER_APP
from spica._asgi.stack import Middleware, MiddlewareFactory, build_layer, build_stack, check_recipes
from spica._diagnostics.arguments import check_duration, check_flag, check_scopes
from spica._diagnostics.foreign_names import FIXES_OF_APPLICATION_ARGUMENTS, explain_arguments
from spica._diagnostics.middleware_order import check_order, refuse_misplaced
from spica._layers.body_limit import check_body_size
from spica._layers.header_limits import (
    DEFAULT_MAX_HEADER_SIZE,
    DEFAULT_MAX_HEADERS,
    UNMEASURED_LINES,
    Refusing,
    check_header_limit,
    describe_excess,
    refuse_request,
    refuse_websocket,
)
from spica._layers.json_codec import JSONCodecLayer
from spica._layers.layer import BaseLayer, Inner, run_inside
from spica._layers.limits import check_body_rate, check_idle_seconds, limit_app
from spica._layers.runner import answer_error, finish_request, record_error, resolve_and_send
from spica._originals import remember
from spica.datastructures import State
from spica.datastructures.url import UnlistedPath
from spica.exceptions import warn_configuration
from spica.jsoncodec import JSONCodec
from spica.middleware.errors import Outermost, ServerErrorMiddleware, outermost_of
from spica.middleware.exceptions import ExceptionMiddleware, check_handler, check_handlers
from spica.requests import Request
from spica.responses.base import Response
from spica.routing import Router
from spica.routing.base import Endpoint, SocketEndpoint
from spica.routing.decorators import HandlerDecorators, RouteDecorators
from spica.routing.lifespan.mounted import link_applications_below
from spica.routing.lifespan.run import (
    MAX_SHUTDOWN_SECONDS,
    MAX_STARTUP_SECONDS,
    StartupGuard,
)
from spica.servers.hook import ServesRSGI
from spica.types import ASGIApp, ExceptionHandler, Lifespan, Receive, Scope, Send

if TYPE_CHECKING:
    from spica.datastructures import URLPath
    from spica.formparsers import FormLimits
    from spica.routing import BaseRoute
    from spica.routing.base import RouteOptions
    from spica.shutdown import Shutdown
    from spica.tasks import Tasks


P = ParamSpec("P")


class _ShutdownAttribute:
    """The attribute ``app.shutdown``. You may assign another value on a subclass or an application."""

    @overload
    def __get__(self, app: None, owner: type) -> _ShutdownAttribute: ...
    @overload
    def __get__(self, app: Spica, owner: type) -> Shutdown: ...
    def __get__(self, app: Spica | None, owner: type) -> _ShutdownAttribute | Shutdown:
        if app is None:
            return self
        from spica.shutdown import shutdown_of

        return shutdown_of(app)


class BuiltStack(Inner):
    """The layers of an application, and everything else that each request needs of it.

    Args:
        app: The outermost layer, nearly always the server-error layer.
        max_headers: The limit of header lines.
        max_header_size: The limit of the names and values of all headers in bytes.
    """

    __slots__ = ("max_line_size", "max_unmeasured_lines", "outermost")

    def __init__(
        self, app: ASGIApp, max_headers: int | float, max_header_size: int | float
    ) -> None:
        super().__init__(app)
        self.outermost = outermost_of(app)
        """The layer that answers errors. ``Spica.__call__`` does its work."""
        self.max_unmeasured_lines = min(max_headers, UNMEASURED_LINES)
        self.max_line_size = max_header_size
        """A request with more lines, or a longer last line, is measured before the layers see it."""


class _Inside:
    """Take the place of the outermost layer inside an app that a dispatch middleware has started."""

    __slots__ = ("app",)

    def __init__(self, app: Spica) -> None:
        self.app = app

    async def _layer_serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await run_inside(_ORIGINAL_CALL, self.app, scope, receive, send)


class Spica(RouteDecorators, HandlerDecorators, ServesRSGI, BaseLayer):
    """An application: routes, middleware, exception handlers and a lifespan.

    ```python
    app = Spica(routes=[Route("/", homepage)], middleware=[Middleware(GZipMiddleware)])
    ```

    Args:
        debug: Whether clients get tracebacks of errors. Never use it in production.
        routes: The routes, tried in order.
        middleware: The middleware around the routes, the first one outermost.
        exception_handlers: Functions ``(request, exc) -> response`` by status code or exception class. The
            one for 500 or Exception answers all other exceptions.
        lifespan: A function of the application that returns an async context manager, or a list of such
            functions, entered in order. The state of each request contains the values that they yield.
        max_body_size: Limit of request bodies in bytes. By default, 16 MiB for bodies kept in memory.
        form_limits: Limits of forms.
        body_idle_seconds: Seconds that a client may send nothing of a body (30). Then it gets a 408.
        min_body_rate: Bytes per second that a client must send on average after 10 seconds (256).
        max_headers: Limit of header lines of a request (256). A client that exceeds it gets a 431.
        max_header_size: Limit of the names and values of all headers in bytes (64 KiB).
        mounted_lifespans: Whether the lifespans of mounted applications run; see ``Router``.
        max_startup_seconds: Seconds that each lifespan may take to start (an hour); see ``Router``.
        max_shutdown_seconds: Seconds that each lifespan may take to end (five minutes); see ``Router``.
        json_codec: Reads and writes JSON instead of ``spica.jsoncodec``, also for mounted applications
            without a codec.
        problem_details: Whether clients that accept JSON get errors as problem details (RFC 9457), unless a
            handler answers. Off by default, since clients may depend on the plain-text messages.
        drain_seconds: Seconds that open streams have to end at a shutdown (8, since ``docker stop`` kills a
            process after 10). See ``spica.shutdown``.
        default_scopes: The scopes that each request and WebSocket needs, for example ``["authenticated"]``,
            unless its route has ``public=True``. Needs AuthenticationMiddleware. By default, none.
        readiness_delay_seconds: Seconds between SIGTERM and the moment that the server stops to accept
            connections (0). Load balancers see a 503 of the readiness check in the meantime.

    ``math.inf`` removes a limit.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: ``max_body_size`` is negative, or a time limit is not more than 0. At start-up:
            ``middleware`` contains a layer that every application already has.
    """

    # Missing if a subclass does not call __init__. It has no default here, because CPython reads an attribute
    # ten times slower if the class has one too.
    _stack: BuiltStack | None

    # Here for subclasses that do not call __init__.
    max_body_size: int | float | None = None
    form_limits: Any = None  # a FormLimits; its import would cost every application
    body_idle_seconds: float | None = None
    min_body_rate: float | None = None
    max_headers: int | float = DEFAULT_MAX_HEADERS
    max_header_size: int | float = DEFAULT_MAX_HEADER_SIZE
    json_codec: JSONCodec | None = None
    problem_details: bool = False
    _tasks: Any = None  # a Tasks; the class is imported when it is first used
    drain_seconds: float = 8.0
    readiness_delay_seconds: float = 0.0
    default_scopes: Sequence[str] | None = None

    shutdown = _ShutdownAttribute()
    """The shutdown of the outermost application around this one: see ``spica.shutdown.Shutdown``."""

    @explain_arguments(FIXES_OF_APPLICATION_ARGUMENTS)
    def __init__(
        self,
        debug: bool = False,
        routes: Sequence[BaseRoute] | None = None,
        middleware: Sequence[Middleware] | None = None,
        exception_handlers: Mapping[Any, ExceptionHandler] | None = None,
        lifespan: Lifespan[Any] | Sequence[Lifespan[Any]] | None = None,
        *,
        max_body_size: int | float | None = None,
        form_limits: FormLimits | None = None,
        body_idle_seconds: float | None = None,
        min_body_rate: float | None = None,
        max_headers: int | float | None = None,
        max_header_size: int | float | None = None,
        mounted_lifespans: bool | None = None,
        max_startup_seconds: float | None = MAX_STARTUP_SECONDS,
        max_shutdown_seconds: float | None = MAX_SHUTDOWN_SECONDS,
        json_codec: JSONCodec | None = None,
        problem_details: bool = False,
        drain_seconds: float = 8.0,
        readiness_delay_seconds: float = 0.0,
        default_scopes: Sequence[str] | None = None,
    ) -> None:
        name = type(self).__name__
        self.debug = check_flag(
            debug, f"{name}: debug", f"Pass routes by name: {name}(routes=[...])."
        )
        self.state = State()
        self.router = Router(
            routes,
            lifespan=lifespan,
            mounted_lifespans=mounted_lifespans,
            max_startup_seconds=max_startup_seconds,
            max_shutdown_seconds=max_shutdown_seconds,
        )
        self.exception_handlers = check_handlers(exception_handlers, type(self).__name__)
        self.user_middleware = check_recipes(middleware, type(self).__name__)
        self.max_body_size = check_body_size(max_body_size, type(self).__name__)
        self.form_limits = form_limits
        self.body_idle_seconds = check_idle_seconds(body_idle_seconds, type(self).__name__)
        self.min_body_rate = check_body_rate(min_body_rate, type(self).__name__)
        self.max_headers = check_header_limit(
            max_headers, DEFAULT_MAX_HEADERS, "max_headers", type(self).__name__
        )
        self.max_header_size = check_header_limit(
            max_header_size, DEFAULT_MAX_HEADER_SIZE, "max_header_size", type(self).__name__
        )
        self.json_codec = check_codec(json_codec, type(self).__name__)
        self.problem_details = check_flag(
            problem_details, f"{type(self).__name__}: problem_details"
        )
        self.drain_seconds = check_duration(drain_seconds, f"{name}: drain_seconds")
        self.readiness_delay_seconds = check_duration(
            readiness_delay_seconds, f"{name}: readiness_delay_seconds"
        )
        self.default_scopes = check_scopes(default_scopes, f"{name}: default_scopes")
        self.middleware_stack = None

    def build_middleware_stack(self) -> ASGIApp:
        """Return the layers around the router, the outermost first."""
        error_handler: Any = None
        handlers: dict[Any, Any] = {}
        for key, handler in self.exception_handlers.items():
            if key in (500, Exception):
                error_handler = handler
            if key is not Exception:
                # Also the handler for 500, which answers an HTTPException(500).
                handlers[key] = handler
        # Middleware objects, because tracing agents patch Middleware.__init__ to find every layer.
        innermost = Middleware(ExceptionMiddleware, handlers=handlers, debug=self.debug)
        outermost = Middleware(ServerErrorMiddleware, handler=error_handler, debug=self.debug)
        app = build_layer(self.router, innermost)
        refuse_misplaced(self.user_middleware, type(self).__name__)
        app = build_stack(app, self.user_middleware, type(self).__name__)
        app = limit_app(
            app,
            type(self).__name__,
            self.max_body_size,
            self.form_limits,
            self.body_idle_seconds,
            self.min_body_rate,
        )
        return build_layer(app, outermost)

    @cached_property  # a subclass may set an attribute of this name, which a property would forbid
    def tasks(self) -> Tasks:
        """Start work that outlives a request, and work that repeats; see ``spica.tasks.Tasks``."""
        from spica.tasks.registry import tasks_of  # on use: most applications have no tasks

        return tasks_of(self)

    @property
    def routes(self) -> list[BaseRoute]:
        """The router's list of routes, which may be changed."""
        return self.router.routes

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the path of the route called ``name``.

        Raises:
            NoMatchFound: no route has this name and these parameters.
        """
        path = self.router.url_path_for(name, **path_params)
        if type(path) is UnlistedPath and self.debug:
            raise path.error
        return path

    # -- serving ---------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection: let the layers answer, send the answer, then clean up.

        These are the steps of ``spica._layers.runner``. The usual case, a Response without cleanup, is
        written out here, because each function call takes a few percent of the whole request.
        """
        if scope["type"] != "http":
            await self._layer_connect(scope, receive, send)
            return
        outermost = self._enter(scope)
        if outermost._layer_serve is not None:  # no layer inside returns a response by value
            await outermost._layer_serve(scope, receive, send)
            return
        request: Request[Any] = Request(scope, receive, send)
        try:
            try:
                answer: Any = await outermost._layer_answer_outermost(request)
            except Exception as exc:
                answer = await answer_error(request, exc, self._layer_errors())
            cleanup = request._cleanup
            # Undisturbed: nothing has failed, and no user code has sent a response by hand.
            if (
                (cleanup is None or cleanup.is_undisturbed)
                and isinstance(answer, Response)
                and not answer._receives
            ):
                # Faster than `answer(...)`: a method found by name needs no slot of the type.
                await answer.__call__(scope, receive, send)
            else:
                await resolve_and_send(answer, request, send, self._layer_errors())
        except BaseException as exc:
            await record_error(request, exc, self._layer_errors())
        # Not the cleanup in the scope, which may belong to a foreign app outside.
        cleanup = request._cleanup
        if cleanup is not None and cleanup.has_work:
            await finish_request(request, self._layer_errors())

    def _layer_respond_outermost(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the answer of the layers inside the server-error layer, whose work the caller does."""
        outermost: Any = self._enter(request.scope)
        answer: Awaitable[ASGIApp] = outermost._layer_answer_outermost(request)
        return answer

    def _enter(self, scope: Scope) -> Outermost | Refusing | _Inside:
        """Return the layer that serves an HTTP request: the outermost one, or an object in its place."""
        if CLEANUP in scope:  # it runs inside a foreign app that a dispatch middleware has started
            return _Inside(self)
        scope["app"] = self
        try:
            stack = self._stack or self._build()
            headers = scope["headers"]
        except (AttributeError, KeyError):
            stack = self._built_stack() or self._build()
            headers = scope.get("headers", ())
        if type(headers) is not list:
            headers = scope["headers"] = list(headers)
        # A loop over the lines takes as long as the rest of a layer. So a few lines are measured where they
        # are first read (`check_header_size`). One huge line is nearly always the last: clients add their own
        # headers after the usual ones.
        lines = len(headers)
        if lines and (
            lines > stack.max_unmeasured_lines or len(headers[lines - 1][1]) > stack.max_line_size
        ):
            reason = self._header_excess(scope)
            if reason is not None:
                return Refusing(reason)
        return stack.outermost

    def _layer_errors(self) -> BaseLayer:
        """Return the server-error layer, which answers exceptions; a ``BaseLayer`` before it is built."""
        stack = getattr(self, "_stack", None)
        return BaseLayer() if stack is None else stack.outermost

    def _layer_respond(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the answer to ``request``; called where this application is mounted in another one."""
        scope = request.scope
        scope["app"] = self
        if len(scope["headers"]) > self.max_headers:
            reason = self._header_excess(scope)
            if reason is not None:
                return refuse_request(scope, reason)
        stack = self._built_stack() or self._build()
        return stack.respond(request)

    def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a WebSocket or the lifespan, through the layers."""
        scope["app"] = self
        if scope["type"] == "lifespan":
            return StartupGuard(receive, send).run(self._run_lifespan, scope)
        reason = self._header_excess(scope)
        if reason is not None:
            return refuse_websocket(scope, receive, send, reason)
        stack = self._built_stack() or self._build()
        return stack.connect(scope, receive, send)

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        stack = self._built_stack() or self._build()
        await stack.connect(scope, receive, send)

    def _header_excess(self, scope: Scope) -> str | None:
        """Return the reason to refuse the headers of a connection; None if they are within the limits."""
        headers = scope.get("headers", ())  # ASGI: a server may leave them out
        if type(headers) is not list:
            headers = scope["headers"] = list(headers)  # any iterable
        return describe_excess(headers, self.max_headers, self.max_header_size)

    # -- the stack -------------------------------------------------------------------------------------

    @property
    def middleware_stack(self) -> ASGIApp | None:
        """The outermost layer; None until the first connection. Set it to None to have it built again."""
        stack = self._built_stack()
        return None if stack is None else stack.app

    @middleware_stack.setter
    def middleware_stack(self, stack: ASGIApp | None) -> None:
        """Replace the stack."""
        limits = self.max_headers, self.max_header_size
        self._stack = None if stack is None else BuiltStack(stack, *limits)

    def _built_stack(self) -> BuiltStack | None:
        """Return the stack, or None until it is built."""
        return getattr(self, "_stack", None)

    def _build_once(self) -> None:
        """Build the stack if there is none. An application around this one calls it at start-up."""
        if self._built_stack() is None:
            self._build()

    def _build(self) -> BuiltStack:
        if type(self).build_middleware_stack is not Spica.build_middleware_stack:
            check_order(self.user_middleware)  # a subclass folds its stack by itself
        if self.default_scopes is not None:  # may be set later, as an attribute
            from spica._diagnostics.users import check_users
            from spica.auth.default import protect_router

            protect_router(self.router, self.default_scopes)
            if OUTER_APP not in vars(self):  # else the outer application may identify the users
                check_users(self.user_middleware)
        stack = self.build_middleware_stack()
        if self.json_codec is not None and stack is not None:
            stack = JSONCodecLayer(stack, self.json_codec)
        self.middleware_stack = stack
        if self._stack is None:
            raise TypeError(
                f"{type(self).__name__}.build_middleware_stack() must return an ASGI app, not None."
            )
        link_applications_below(self)
        return self._stack

    # -- adding routes, handlers and middleware ---------------------------------------------------------

    def add_route(
        self,
        path: str,
        route: Endpoint,
        methods: Collection[str] | None = None,
        name: str | None = None,
        include_in_schema: bool = True,
        **options: Unpack[RouteOptions],
    ) -> None:
        """Add a route to the router. ``options`` are further arguments of ``Route``."""
        self.router.add_route(path, route, methods, name, include_in_schema, **options)

    def add_websocket_route(
        self, path: str, route: SocketEndpoint, name: str | None = None, *, public: bool = False
    ) -> None:
        """Add a WebSocket route to the router."""
        if public:
            self.router.add_websocket_route(path, route, name, public=True)
        else:  # a subclass of Router may override the method without `public`
            self.router.add_websocket_route(path, route, name)

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
        """Serve ``app`` below a path prefix. The further arguments are those of ``Mount``."""
        self.router.mount(
            path,
            app,
            name,
            lifespan=lifespan,
            serve_bare_path=serve_bare_path,
            public=public,
        )

    def host(
        self, host: str, app: ASGIApp, name: str | None = None, *, lifespan: bool | None = None
    ) -> None:
        """Serve ``app`` for a host name; ``lifespan`` as for ``Mount``."""
        self.router.host(host, app, name, lifespan=lifespan)

    def add_exception_handler(
        self, exc_class_or_status_code: int | type[Exception], handler: ExceptionHandler
    ) -> None:
        """Register a handler for a status code or an exception class, before the application starts.

        Later, it has no effect and triggers a warning.

        Raises:
            TypeError: the key is not a status code or exception class, or the handler is not callable.
        """
        check_handler(exc_class_or_status_code, handler)
        if self.middleware_stack is not None:
            text = f"The application has started: a handler for {exc_class_or_status_code!r} comes too late."
            warn_configuration(text)
        self.exception_handlers.update({exc_class_or_status_code: handler})

    def add_middleware(
        self, middleware_class: MiddlewareFactory[P], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Put a middleware around all earlier ones.

        Raises:
            RuntimeError: the application has started.
        """
        recipe = Middleware(middleware_class, *args, **kwargs)
        if self.middleware_stack is not None:
            raise RuntimeError("Cannot add middleware after an application has started")
        self.user_middleware[:0] = [recipe]


_ORIGINAL_CALL = Spica.__call__
remember(Spica, "__call__")
