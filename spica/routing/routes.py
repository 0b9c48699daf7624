"""Routes that end at an endpoint: ``Route`` for HTTP, ``WebSocketRoute`` for WebSockets.

Standard: RFC 9110 s.9.3.7 (OPTIONS), s.10.2.1 (Allow), s.15.5.6 (405).
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Collection, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal

from spica._asgi.scope import get_route_path, path_below
from spica._asgi.stack import Middleware, build_stack
from spica._diagnostics.arguments import check_flag
from spica._diagnostics.call_site import unwrap_partial
from spica._diagnostics.foreign_names import FIXES_OF_ROUTE_ARGUMENTS, explain_arguments
from spica._http.fields import is_token
from spica._layers.answers import refuse
from spica._layers.layer import Respond
from spica._layers.limits import limit_app
from spica.datastructures import URLPath
from spica.endpoints import methods_of
from spica.responses.base import Response
from spica.routing.base import (
    LINK_KEYS,
    Endpoint,
    Enter,
    Match,
    NoMatchFound,
    OwnRoute,
    SocketEndpoint,
    get_name,
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
    read_params,
    replace_params,
)
from spica.routing.spelling import check_spelling
from spica.routing.validation import check_endpoint, warn_of_path
from spica.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from spica.formparsers import FormLimits
    from spica.requests import Request

NO_MATCH = Match.NONE  # a module global: reading it from the Enum class takes longer


class PatternRoute(OwnRoute):
    """The common part of routes with a path pattern. Subclasses may skip ``__init__``."""

    path: str
    name: str
    path_regex: re.Pattern[str]
    path_format: str
    param_convertors: PathConvertors
    endpoint: Any
    _protocol: Literal["http", "websocket"] = "http"
    # Set by `_prepare_entry`, because a subclass may skip `__init__`.
    _exact_path: str | None  # the only path that matches; None for a pattern with parameters
    _param_conversions: Conversions

    @property
    def _index_pattern(self) -> str:
        return self.path

    def _prepare_entry(self) -> Enter:
        self._exact_path = None if self.param_convertors else self.path
        self._param_conversions = conversions_of(self.param_convertors)
        return self._enter

    def _read_path(self, path: str) -> dict[str, Any] | None:
        """Return the converted parameters of a route path, or None if it does not match."""
        if self._exact_path is not None and self._exact_path == path:
            return {}
        return match_path(self.path_regex, self._param_conversions, path)

    def _child_scope(self, scope: Scope, params: dict[str, Any]) -> Scope:
        outer = scope.get("path_params")
        return {"endpoint": self.endpoint, "path_params": {**outer, **params} if outer else params}

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the path of this route for exactly its own parameters.

        See ``Router.url_path_for`` for ``_query`` and ``_fragment``.

        Raises:
            NoMatchFound: The name is another one, or parameters are missing or unknown.
        """
        if name != self.name or path_params.keys() != self.param_convertors.keys():
            if not LINK_KEYS.isdisjoint(path_params):
                return url_with_suffix(self, name, path_params)
            raise NoMatchFound(
                name,
                path_params,
                (self.name,) if self.name else (),
                tuple(self.param_convertors) if name == self.name else None,
            )
        path, _ = replace_params(self.path_format, self.param_convertors, path_params)
        return URLPath(path=encode_path(path), protocol=self._protocol)


class Route(PatternRoute):
    """Send the requests for a path to an endpoint.

    Example::

        Route("/users/{id:int}", show_user, methods=["GET", "DELETE"])

    Args:
        path: The path pattern. It begins with "/".
        endpoint: A function ``(request) -> response``, plain or async, or an ASGI app or class endpoint.
        methods: The methods to serve, as tokens; they become upper case. By default a function serves GET and
            HEAD, and any other endpoint serves every method.
        name: The name for ``url_for``. Default: the name of the function or class.
        include_in_schema: Whether a schema generator lists the route.
        middleware: Middleware around this endpoint alone, the first one outermost.
        max_body_size: The limit of the request body in bytes. It overrides the limits of outer layers, and so
            do the next three.
        form_limits: The limits of forms.
        body_idle_seconds: The longest pause between two parts of the body, in seconds.
        min_body_rate: The slowest rate of the body, in bytes per second.
        cancel_on_disconnect: Whether spica cancels the endpoint, but not the middleware, when the client
            leaves before there is a response. Off by default, because some work must be finished.
        timeout_seconds: The time after which spica cancels the endpoint, but not the middleware, if it has
            not answered, and answers 504. None, the default: no limit. See ``spica.middleware.timeout``.
        public: Whether everybody may use the route, although the application has ``default_scopes``.

    Raises:
        ValueError: The path does not begin with "/", repeats a parameter, names an unknown convertor, or has
            braces or angle brackets that are not a parameter. Or a method is not a token.
        TypeError: ``endpoint`` can't be called, ``cancel_on_disconnect`` or ``timeout_seconds`` is set for a
            plain function, or ``methods`` is a single string.
    """

    @explain_arguments(FIXES_OF_ROUTE_ARGUMENTS)
    def __init__(
        self,
        path: str,
        endpoint: Endpoint,
        *,
        methods: Collection[str] | None = None,
        name: str | None = None,
        include_in_schema: bool = True,
        middleware: Sequence[Middleware] | None = None,
        max_body_size: int | float | None = None,
        form_limits: FormLimits | None = None,
        body_idle_seconds: float | None = None,
        min_body_rate: float | None = None,
        cancel_on_disconnect: bool = False,
        timeout_seconds: float | None = None,
        public: bool = False,
    ) -> None:
        place = f"Route({path!r})"
        self.public = check_flag(public, f"{place}: public")
        self.path = check_path(path, place)
        check_spelling(path, place)
        warn_of_path(path, place)
        self.endpoint = endpoint
        self.name = get_name(endpoint) if name is None else name
        self.include_in_schema = include_in_schema
        app, is_function = _endpoint_app(endpoint, path, place)
        if cancel_on_disconnect:
            from spica._layers.cancellation import CancelOnDisconnectMiddleware, check_cancellable

            if is_function:
                check_cancellable(endpoint, place)
            app = CancelOnDisconnectMiddleware(app)
        if timeout_seconds is not None:
            app = _limit_time(app, endpoint, is_function, timeout_seconds, place)
        app = build_stack(app, middleware, place)
        self.app = limit_app(
            app, place, max_body_size, form_limits, body_idle_seconds, min_body_rate
        )
        self.methods: set[str] | None = None
        if methods is not None or is_function:
            self.methods = _check_methods(("GET",) if methods is None else methods, place)
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)

    def allowed_methods(self) -> Set[str] | None:
        """Return the methods that the route serves, or None if it serves all or only the endpoint knows.

        A class endpoint serves the methods that it defines. Middleware around it may answer any method.
        """
        is_class = self._route_app is self.endpoint  # faster than the property
        served = methods_of(self.endpoint) if is_class else None
        if served is None:
            return self.methods or None
        return served.intersection(self.methods) if self.methods else served

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return how well the scope matches, and ``endpoint`` and ``path_params``."""
        if scope["type"] != "http":
            return NO_MATCH, {}
        # FastAPI compares its routes one by one, and most do not match: return as early as possible.
        path, root_path = scope["path"], scope.get("root_path")
        found = self.path_regex.match(path_below(root_path, path) if root_path else path)
        if found is None:
            return NO_MATCH, {}
        params = read_params(found, self.param_convertors)
        if params is None:
            return NO_MATCH, {}
        methods = self.allowed_methods()
        is_full = methods is None or scope["method"] in methods
        return Match.FULL if is_full else Match.PARTIAL, self._child_scope(scope, params)

    def _prepare_entry(self) -> Enter:
        super()._prepare_entry()
        app = self.app
        # Assigning `app` resolves it as well, but classes may have been patched since then.
        self._route_respond = resolve_endpoint(app)
        self._endpoint_methods = methods_of(self.endpoint) if app is self.endpoint else None
        return self._enter if self._endpoint_methods is None else self._enter_class

    _endpoint_methods: Set[str] | None
    """The methods that a class endpoint defines. None: the endpoint is another kind of app."""

    def _enter(self, scope: Scope, path: str) -> Respond | None:
        """Compare the path, then the method."""
        # Every request comes through here, so the lines of `_read_path` are repeated without the calls.
        params: dict[str, Any]
        if self._exact_path == path:
            params = {}
        else:
            found = self.path_regex.match(path)
            if found is None:
                return None
            params = found.groupdict()
            try:
                for name, convert in self._param_conversions:
                    params[name] = convert(params[name])
            except ValueError:
                return None
        methods = self.methods  # read for each request: libraries assign it later
        if methods is not None and scope["method"] not in methods and methods:
            return partial_match
        if "path_params" in scope:
            params = {**scope["path_params"], **params}
        scope["route"] = self
        scope["endpoint"] = self.endpoint
        scope["path_params"] = params
        return self._route_respond

    def _enter_class(self, scope: Scope, path: str) -> Respond | None:
        """Compare with a route to a class endpoint, which serves the methods that it defines."""
        if scope["method"] in (self._endpoint_methods or ()):
            return self._enter(scope, path)
        return None if self._read_path(path) is None else partial_match

    def _enter_other_method(self, scope: Scope, path: str, routes: Sequence[Any]) -> Respond:
        scope["route"] = self
        scope.update(self._child_scope(scope, self._read_path(path) or {}))
        return _OtherMethod(routes).respond

    def _enter_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        return None

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that matched. A method that the route does not serve gets a 405 with Allow."""
        methods = self.methods
        if not methods or scope["method"] in methods:
            await self._route_app(scope, receive, send)  # faster than the property
            return
        response = refuse(scope, 405, headers={"Allow": ", ".join(sorted(methods))})
        await response(scope, receive, send)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Route)
            and (self.path, self.methods) == (other.path, other.methods)
            and self.endpoint == other.endpoint
        )

    def __repr__(self) -> str:
        methods = sorted(self.methods or ())
        return f"{type(self).__name__}(path={self.path!r}, name={self.name!r}, methods={methods!r})"


class WebSocketRoute(PatternRoute):
    """Send the WebSocket handshakes for a path to an endpoint.

    Example::

        WebSocketRoute("/chat/{room}", chat)

    Args:
        path: The path pattern. It begins with "/".
        endpoint: An async function ``(websocket)``, or an ASGI app or class endpoint.
        name: The name for ``url_for``. Default: the name of the function or class.
        middleware: Middleware around this endpoint alone, the first one outermost.
        public: Whether everybody may use the route, although the application has ``default_scopes``.

    Raises:
        ValueError: The path does not begin with "/", repeats a parameter, names an unknown convertor, or has
            braces or angle brackets that are not a parameter.
        TypeError: ``endpoint`` can't be called.
    """

    _protocol = "websocket"

    @explain_arguments({"methods": "A WebSocket has no methods."})
    def __init__(
        self,
        path: str,
        endpoint: SocketEndpoint,
        *,
        name: str | None = None,
        middleware: Sequence[Middleware] | None = None,
        public: bool = False,
    ) -> None:
        place = f"WebSocketRoute({path!r})"
        self.public = check_flag(public, f"{place}: public")
        self.path = check_path(path, place)
        check_spelling(path, place)
        warn_of_path(path, place)
        self.endpoint = endpoint
        self.name = get_name(endpoint) if name is None else name
        app, _ = _endpoint_app(endpoint, path, place, "websocket_session")
        self.app = build_stack(app, middleware, place)
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the scope matches, and ``endpoint`` and ``path_params``."""
        if scope["type"] != "websocket":
            return NO_MATCH, {}
        found = self.path_regex.match(get_route_path(scope))
        params = None if found is None else read_params(found, self.param_convertors)
        if params is None:
            return NO_MATCH, {}
        return Match.FULL, self._child_scope(scope, params)

    def _enter(self, scope: Scope, path: str) -> Respond | None:
        return None

    def _enter_socket(self, scope: Scope, path: str) -> ASGIApp | None:
        params = {} if self._exact_path == path else self._read_path(path)
        if params is None:
            return None
        if "path_params" in scope:
            params = {**scope["path_params"], **params}
        scope["route"] = self
        scope["endpoint"] = self.endpoint
        scope["path_params"] = params
        return self._route_app

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket that matched."""
        await self.app(scope, receive, send)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, WebSocketRoute)
            and self.path == other.path
            and self.endpoint == other.endpoint
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(path={self.path!r}, name={self.name!r})"


class _OtherMethod:
    """Respond to a method that no route for the path serves."""

    __slots__ = ("_routes",)

    def __init__(self, routes: Sequence[Any]) -> None:
        self._routes = routes

    async def respond(self, request: Request[Any]) -> ASGIApp:
        """Return the response to OPTIONS, or 405 for any other method. Allow is the union over all routes.

        Raises:
            HTTPException: 405, within an application.
        """
        methods: set[str] = set()
        for route in self._routes:
            # A route that is not a `Route` may have neither.
            allowed = getattr(route, "allowed_methods", None)
            methods.update((allowed() if allowed else getattr(route, "methods", None)) or ())
        if request.scope["method"] == "OPTIONS":
            return Response(headers={"Allow": ", ".join(sorted({*methods, "OPTIONS"}))})
        return refuse(request.scope, 405, headers={"Allow": ", ".join(sorted(methods))})


def _endpoint_app(
    endpoint: Any, path: str, place: str, wrapper: str = "request_response"
) -> tuple[ASGIApp, bool]:
    """Return the app that runs ``endpoint``, and whether it is a function."""
    protocol = "http" if wrapper == "request_response" else "websocket"
    check_endpoint(endpoint, path, place, protocol)
    function = unwrap_partial(endpoint)
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        return endpoint, False
    # Tracing agents replace the function in the package, so look it up there for each route.
    wrap = getattr(sys.modules[__name__.rpartition(".")[0]], wrapper)
    return wrap(endpoint), True


def _limit_time(
    app: ASGIApp, endpoint: Any, is_function: bool, seconds: float, place: str
) -> ASGIApp:
    """Return ``app``, which runs ``endpoint``, with a timeout."""
    # Imported late, so that an application without timeouts starts faster.
    from spica._layers.cancellation import check_cancellable
    from spica._layers.timeout import TimeoutMiddleware, check_timeout

    check_timeout(seconds, f"{place}: timeout_seconds")
    functions = [endpoint] if is_function else []
    for method in methods_of(endpoint) or ():
        functions.append(getattr(endpoint, method.lower(), None))
    for function in functions:
        if function is not None:  # a class with GET serves HEAD without a method for it
            check_cancellable(function, place, "timeout_seconds")
    return TimeoutMiddleware(app, seconds)


def _check_methods(methods: Collection[str], place: str) -> set[str]:
    if isinstance(methods, str):
        raise TypeError(
            f"{place}: methods must be a list of methods, not the string {methods!r}. "
            f"Write methods=[{methods!r}]."
        )
    for method in methods:
        # RFC 9110 s.9.1: a method is a token.
        if not isinstance(method, str) or not is_token(method):
            raise ValueError(f"{place}: {method!r} is not an HTTP method.")
    checked = {sys.intern(method.upper()) for method in methods}
    if "GET" in checked:
        checked.add("HEAD")  # RFC 9110 s.9.3.2: a resource with GET has HEAD
    return checked
