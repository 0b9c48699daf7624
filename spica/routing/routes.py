"""Routes that end at an endpoint: ``Route`` for HTTP, ``WebSocketRoute`` for WebSockets."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Collection, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal

from spica._asgi.scope import get_route_path, path_below
from spica._asgi.stack import Middleware, build_stack
from spica._diagnostics.call_site import unwrap_partial
from spica._http.fields import is_token
from spica._layers.cancellation import CancelOnDisconnectMiddleware, check_cancellable
from spica._layers.layer import InnerApp, Respond
from spica._layers.limits import limit_app
from spica.datastructures import URLPath
from spica.endpoints import methods_of
from spica.exceptions import HTTPException
from spica.responses.base import PlainTextResponse
from spica.routing.base import (
    LINK_KEYS,
    BaseRoute,
    Endpoint,
    Match,
    NoMatchFound,
    SocketEndpoint,
    get_name,
    url_with_suffix,
)
from spica.routing.patterns import (
    PathConvertors,
    check_path,
    compile_path,
    encode_path,
    read_params,
    replace_params,
)
from spica.routing.spelling import check_spelling
from spica.routing.validation import check_endpoint, warn_of_path
from spica.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from spica.formparsers import FormLimits

NO_MATCH = Match.NONE  # an attribute of an Enum class costs more


class PatternRoute(BaseRoute):
    """The common part of routes with a path pattern. Subclasses may skip ``__init__``."""

    path: str
    name: str
    path_regex: re.Pattern[str]
    path_format: str
    param_convertors: PathConvertors
    endpoint: Any
    app = InnerApp(connects=False)
    _layer_inner: ASGIApp
    _layer_inner_respond: Respond
    _protocol: Literal["http", "websocket"] = "http"

    def _child_scope(self, scope: Scope, params: dict[str, Any]) -> Scope:
        outer = scope.get("path_params")
        return {"endpoint": self.endpoint, "path_params": {**outer, **params} if outer else params}

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the path of this route; exactly its own parameters must be given.

        ``_query`` and ``_fragment`` are those of ``Router.url_path_for``.

        Raises:
            NoMatchFound: the name or the parameters are others.
        """
        if name != self.name or path_params.keys() != self.param_convertors.keys():
            if not LINK_KEYS.isdisjoint(path_params):
                return url_with_suffix(self, name, path_params)
            raise NoMatchFound(name, path_params, (self.name,) if self.name else ())
        path, _ = replace_params(self.path_format, self.param_convertors, path_params)
        return URLPath(path=encode_path(path), protocol=self._protocol)


class Route(PatternRoute):
    """Send the requests for a path to an endpoint.

    ``endpoint`` is a function ``(request) -> response``, plain or async, which serves GET and HEAD unless you
    give ``methods``; or an ASGI app or class endpoint, which serves every method unless you give
    ``methods``. Methods are tokens and become upper case. ``middleware`` wraps this endpoint alone, the first
    one outermost. ``max_body_size``, in bytes, overrides the limits of outer layers, and so do
    ``form_limits``, ``body_idle_seconds`` and ``min_body_rate``. ``cancel_on_disconnect`` cancels the
    endpoint, but not the middleware, when the client leaves before there is a response. It is off by default,
    because some work must be finished.

    Raises:
        ValueError: the path does not begin with "/", repeats a parameter, names an unknown convertor, or has
            braces or angle brackets that are not a parameter; a method is not a token.
        TypeError: ``endpoint`` can't be called, or ``cancel_on_disconnect`` is set for a plain function, or
            ``methods`` is a single string.
    """

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
    ) -> None:
        place = f"Route({path!r})"
        self.path = check_path(path, place)
        check_spelling(path, place)
        warn_of_path(path, place)
        self.endpoint = endpoint
        self.name = get_name(endpoint) if name is None else name
        self.include_in_schema = include_in_schema
        app, is_function = _endpoint_app(endpoint, place)
        if cancel_on_disconnect:
            if is_function:
                check_cancellable(endpoint, place)
            app = CancelOnDisconnectMiddleware(app)
        app = build_stack(app, middleware, place)
        self.app = limit_app(
            app, place, max_body_size, form_limits, body_idle_seconds, min_body_rate
        )
        self.methods: set[str] | None = None
        if methods is not None or is_function:
            self.methods = _check_methods(("GET",) if methods is None else methods, place)
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)

    def allowed_methods(self) -> Set[str] | None:
        """Return the methods that are served; None: all, or only the endpoint could tell.

        Those of a class endpoint are the ones it defines. Around one with middleware any method may be
        answered.
        """
        is_class = self._layer_inner is self.endpoint  # the app, not through its descriptor
        served = methods_of(self.endpoint) if is_class else None
        if served is None:
            return self.methods or None
        return served.intersection(self.methods) if self.methods else served

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return how well the scope matches, and ``endpoint`` and ``path_params``."""
        if scope["type"] != "http":
            return NO_MATCH, {}
        # FastAPI asks its routes one by one, and most do not match: few steps until that is known.
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

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that matched; 405 with Allow where its method is not served."""
        methods = self.methods
        if not methods or scope["method"] in methods:
            await self._layer_inner(scope, receive, send)  # the app, not through its descriptor
            return
        headers = {"Allow": ", ".join(sorted(methods))}
        if "app" in scope:
            raise HTTPException(status_code=405, headers=headers)
        response = PlainTextResponse("Method Not Allowed", status_code=405, headers=headers)
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

    ``endpoint`` is an async function ``(websocket)``, or an ASGI app or class endpoint.

    Raises:
        ValueError: the path does not begin with "/", repeats a parameter, names an unknown convertor, or has
            braces or angle brackets that are not a parameter.
        TypeError: ``endpoint`` can't be called.
    """

    _protocol = "websocket"

    def __init__(
        self,
        path: str,
        endpoint: SocketEndpoint,
        *,
        name: str | None = None,
        middleware: Sequence[Middleware] | None = None,
    ) -> None:
        place = f"WebSocketRoute({path!r})"
        self.path = check_path(path, place)
        check_spelling(path, place)
        warn_of_path(path, place)
        self.endpoint = endpoint
        self.name = get_name(endpoint) if name is None else name
        app, _ = _endpoint_app(endpoint, place, "websocket_session")
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


def _endpoint_app(
    endpoint: Any, place: str, wrapper: str = "request_response"
) -> tuple[ASGIApp, bool]:
    """Return the app that runs ``endpoint``, and whether it is a function."""
    check_endpoint(endpoint, place, "http" if wrapper == "request_response" else "websocket")
    function = unwrap_partial(endpoint)
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        return endpoint, False
    # Looked up in the package when a route is made: tracing agents replace it there.
    wrap = getattr(sys.modules[__name__.rpartition(".")[0]], wrapper)
    return wrap(endpoint), True


def _check_methods(methods: Collection[str], place: str) -> set[str]:
    if isinstance(methods, str):
        raise TypeError(
            f"{place}: methods must be a list of methods, not the text {methods!r}. "
            f"Write methods=[{methods!r}]."
        )
    for method in methods:
        # RFC 9110 s.9.1: a method is a token.
        if not isinstance(method, str) or not is_token(method):
            raise ValueError(f"{place}: {method!r} is not an HTTP method.")
    checked = {sys.intern(method.upper()) for method in methods}
    if "GET" in checked:
        checked.add("HEAD")  # RFC 9110 s.9.3.2: a resource that has GET has HEAD
    return checked
