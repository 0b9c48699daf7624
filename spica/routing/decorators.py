"""Decorators that add routes: ``@app.get("/")`` on applications and routers.

Each decorator calls the method that does the same, for example ``add_route``. A subclass that overrides this
method therefore sees every route. A subclass may define decorators of the same names with other parameters,
as FastAPI does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, TypeVar, Unpack

from spica._diagnostics.foreign_names import (
    ASSIGNMENTS_OF_APPLICATIONS,
    FIXES_OF_APPLICATIONS,
    explain_names,
)
from spica._diagnostics.users import note_route
from spica.exceptions import MisuseError
from spica.routing.base import Endpoint, SocketEndpoint
from spica.types import ExceptionHandler

if TYPE_CHECKING:
    from spica.routing.base import RouteOptions

EndpointT = TypeVar("EndpointT", bound=Endpoint)
SocketEndpointT = TypeVar("SocketEndpointT", bound=SocketEndpoint)
HandlerT = TypeVar("HandlerT", bound=ExceptionHandler)


class RouteDecorators:
    """The decorators of applications and routers. Each returns the function or class unchanged."""

    __slots__ = ()

    if TYPE_CHECKING:

        def add_route(
            self,
            path: str,
            endpoint: Endpoint,
            /,
            methods: Collection[str] | None = None,
            name: str | None = None,
            include_in_schema: bool = True,
            **options: Unpack[RouteOptions],
        ) -> None:
            """Add a route."""

        def add_websocket_route(
            self,
            path: str,
            endpoint: SocketEndpoint,
            /,
            name: str | None = None,
            *,
            public: bool = False,
        ) -> None:
            """Add a WebSocket route."""

    def route(
        self,
        path: str,
        methods: Collection[str] | None = None,
        name: str | None = None,
        include_in_schema: bool = True,
        **options: Unpack[RouteOptions],
    ) -> Callable[[EndpointT], EndpointT]:
        """Add a ``Route`` to the function or class endpoint below.

        ``methods`` has the default of ``Route``: GET and HEAD for a function, and the defined ones for a
        class. ``options`` are the other arguments of ``Route``, for example ``max_body_size``.

        Raises:
            TypeError: ``path`` is not a string, because the decorator has no parentheses.
            TypeError, ValueError: The arguments are not valid for ``Route``.
        """
        _check_path(path, "route")
        return self._add_below(path, methods, name, include_in_schema, options)

    def get(
        self,
        path: str,
        *,
        name: str | None = None,
        include_in_schema: bool = True,
        **options: Unpack[RouteOptions],
    ) -> Callable[[EndpointT], EndpointT]:
        """Add a route for GET and HEAD; see ``route``."""
        _check_path(path, "get")
        return self._add_below(path, ("GET",), name, include_in_schema, options)

    def post(
        self,
        path: str,
        *,
        name: str | None = None,
        include_in_schema: bool = True,
        **options: Unpack[RouteOptions],
    ) -> Callable[[EndpointT], EndpointT]:
        """Add a route for POST; see ``route``."""
        _check_path(path, "post")
        return self._add_below(path, ("POST",), name, include_in_schema, options)

    def put(
        self,
        path: str,
        *,
        name: str | None = None,
        include_in_schema: bool = True,
        **options: Unpack[RouteOptions],
    ) -> Callable[[EndpointT], EndpointT]:
        """Add a route for PUT; see ``route``."""
        _check_path(path, "put")
        return self._add_below(path, ("PUT",), name, include_in_schema, options)

    def patch(
        self,
        path: str,
        *,
        name: str | None = None,
        include_in_schema: bool = True,
        **options: Unpack[RouteOptions],
    ) -> Callable[[EndpointT], EndpointT]:
        """Add a route for PATCH; see ``route``."""
        _check_path(path, "patch")
        return self._add_below(path, ("PATCH",), name, include_in_schema, options)

    def delete(
        self,
        path: str,
        *,
        name: str | None = None,
        include_in_schema: bool = True,
        **options: Unpack[RouteOptions],
    ) -> Callable[[EndpointT], EndpointT]:
        """Add a route for DELETE; see ``route``."""
        _check_path(path, "delete")
        return self._add_below(path, ("DELETE",), name, include_in_schema, options)

    def head(
        self,
        path: str,
        *,
        name: str | None = None,
        include_in_schema: bool = True,
        **options: Unpack[RouteOptions],
    ) -> Callable[[EndpointT], EndpointT]:
        """Add a route for HEAD alone, if it needs less work than GET; see ``route``."""
        _check_path(path, "head")
        return self._add_below(path, ("HEAD",), name, include_in_schema, options)

    def options(
        self,
        path: str,
        *,
        name: str | None = None,
        include_in_schema: bool = True,
        **options: Unpack[RouteOptions],
    ) -> Callable[[EndpointT], EndpointT]:
        """Add a route for OPTIONS, in place of the default response with ``Allow``; see ``route``."""
        _check_path(path, "options")
        return self._add_below(path, ("OPTIONS",), name, include_in_schema, options)

    def query(
        self,
        path: str,
        *,
        name: str | None = None,
        include_in_schema: bool = True,
        **options: Unpack[RouteOptions],
    ) -> Callable[[EndpointT], EndpointT]:
        """Add a route for QUERY, a GET with a body (IETF HTTPBIS draft); see ``route``."""
        _check_path(path, "query")
        return self._add_below(path, ("QUERY",), name, include_in_schema, options)

    def websocket_route(
        self, path: str, name: str | None = None, *, public: bool = False
    ) -> Callable[[SocketEndpointT], SocketEndpointT]:
        """Add a ``WebSocketRoute`` to the function or class endpoint below; see ``route``."""
        _check_path(path, "websocket_route")

        def add(endpoint: SocketEndpointT) -> SocketEndpointT:
            if public:
                self.add_websocket_route(path, endpoint, name=name, public=True)
            else:  # a subclass may override the method without `public`
                self.add_websocket_route(path, endpoint, name=name)
            note_route(endpoint)
            return endpoint

        return add

    def websocket(
        self, path: str, name: str | None = None, *, public: bool = False
    ) -> Callable[[SocketEndpointT], SocketEndpointT]:
        """Add a ``WebSocketRoute``: another name of ``websocket_route``."""
        _check_path(path, "websocket")
        return RouteDecorators.websocket_route(self, path, name, public=public)

    def _add_below(
        self,
        path: str,
        methods: Collection[str] | None,
        name: str | None,
        include_in_schema: bool,
        options: RouteOptions,
    ) -> Callable[[EndpointT], EndpointT]:
        if "methods" in options:  # a type checker refuses it
            raise TypeError(
                f"@app.{next(iter(methods or ())).lower()}({path!r}) serves one method. For several, write "
                f"@app.route({path!r}, methods=[...])."
            )

        def add(endpoint: EndpointT) -> EndpointT:
            self.add_route(
                path,
                endpoint,
                methods=methods,
                name=name,
                include_in_schema=include_in_schema,
                **options,
            )
            note_route(endpoint)
            return endpoint

        return add


explain_names(RouteDecorators, FIXES_OF_APPLICATIONS, ASSIGNMENTS_OF_APPLICATIONS)


class HandlerDecorators:
    """The decorator of applications for exception handlers."""

    __slots__ = ()

    if TYPE_CHECKING:

        def add_exception_handler(
            self, exc_class_or_status_code: int | type[Exception], handler: ExceptionHandler
        ) -> None:
            """Register a handler."""

    def exception_handler(
        self, exc_class_or_status_code: int | type[Exception]
    ) -> Callable[[HandlerT], HandlerT]:
        """Register the function below for a status code or an exception class.

        It is ``add_exception_handler`` as a decorator, and returns the function unchanged.

        Raises:
            TypeError: The argument is neither, because the decorator has no parentheses.
        """
        key: object = exc_class_or_status_code
        if not isinstance(key, (int, type)):
            raise TypeError(
                f"exception_handler needs a status code or an exception class, not {key!r:.200}. "
                "Write @app.exception_handler(404)."
            )

        def add(handler: HandlerT) -> HandlerT:
            self.add_exception_handler(exc_class_or_status_code, handler)
            return handler

        return add


def _check_path(path: object, name: str) -> None:
    """Refuse a decorator without parentheses, which would never add its route."""
    if not isinstance(path, str):
        raise TypeError(
            f"{name} needs a path, not {path!r:.200}. Write @app.{name}('/path') above the function."
        )
    if not path.startswith("/"):
        raise MisuseError(f"{name}({path!r}): a path begins with '/'. Write {'/' + path!r}.")
