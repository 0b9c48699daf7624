"""Tables that map the modules and names of Starlette to those of spica.

The finder reads them. This module imports nothing.
"""

STARLETTE = "starlette"
SPICA = "spica"

STARLETTE_VERSION = "1.10.0"
"""The version of Starlette whose public API this is; dependents compare and parse it."""

_MODULES = """
applications authentication background concurrency config convertors datastructures endpoints exceptions
formparsers middleware requests responses routing schemas staticfiles status templating testclient types
websockets middleware.authentication middleware.base middleware.body_limit middleware.cors
middleware.errors middleware.exceptions middleware.gzip middleware.httpsredirect
middleware.opentelemetry middleware.sessions middleware.trustedhost middleware.wsgi
"""

PUBLIC_MODULES = tuple(f"{SPICA}.{name}" for name in _MODULES.split())
"""Modules that Starlette has too. Each has both names as soon as it is loaded."""

PRIVATE_MODULES = {
    f"{STARLETTE}._utils": f"{SPICA}.compat._utils",
    f"{STARLETTE}._exception_handler": f"{SPICA}.compat._exception_handler",
}
"""Private modules of Starlette that other packages import, and their counterparts here."""

_HOMES = {
    "_utils": (
        "AwaitableOrContextManager AwaitableOrContextManagerWrapper create_collapsing_task_group "
        "get_route_path is_async_callable parse_host_header"
    ),
    "_exception_handler": "wrap_app_handling_exceptions",
    "background": "BackgroundTask",
    "concurrency": "iterate_in_threadpool run_in_threadpool",
    "convertors": "CONVERTOR_TYPES Convertor",
    "datastructures": "FormData Headers MutableHeaders Secret UploadFile URL URLPath",
    "exceptions": "HTTPException StarletteDeprecationWarning",
    "formparsers": "FormParser MultiPartException MultiPartParser",
    "middleware": "Middleware",
    "middleware.body_limit": "RequestBodyLimitMiddleware",
    "requests": "ClientDisconnect HTTPConnection Request",
    "responses": "AsyncContentStream PlainTextResponse RedirectResponse Response",
    "routing": "BaseRoute Mount",
    "types": "ASGIApp AppType ExceptionHandler Lifespan Message Receive Scope Send",
    "websockets": "WebSocket WebSocketClose WebSocketDisconnect",
}

HOMES = {name: f"{STARLETTE}.{home}" for home, names in _HOMES.items() for name in names.split()}
"""The module that defines a name."""

_TYPES = "Message Receive Scope Send"
_APP_TYPES = f"ASGIApp {_TYPES}"

RE_EXPORTS = {
    f"{SPICA}.{module}": frozenset(names.split())
    for module, names in {
        "applications": (
            "AppType ASGIApp BaseRoute ExceptionHandler Lifespan Receive Request "
            "RequestBodyLimitMiddleware Response Scope Send URLPath"
        ),
        "background": "run_in_threadpool",
        "concurrency": "StarletteDeprecationWarning",
        "datastructures": "parse_host_header run_in_threadpool Scope",
        "formparsers": "FormData Headers StarletteDeprecationWarning UploadFile",
        "middleware.authentication": "ASGIApp PlainTextResponse Receive Scope Send",
        "middleware.base": (
            f"{_TYPES} ASGIApp AsyncContentStream ClientDisconnect create_collapsing_task_group"
        ),
        "middleware.body_limit": f"{_APP_TYPES} Headers HTTPException PlainTextResponse",
        "middleware.cors": _APP_TYPES,
        "middleware.errors": f"{_APP_TYPES} ExceptionHandler is_async_callable",
        "middleware.exceptions": (
            "ASGIApp ExceptionHandler HTTPException PlainTextResponse Receive Scope Send "
            "wrap_app_handling_exceptions"
        ),
        "middleware.gzip": f"{_APP_TYPES} Headers MutableHeaders",
        "middleware.httpsredirect": "ASGIApp PlainTextResponse Receive Scope Send",
        "middleware.opentelemetry": f"{_APP_TYPES} Mount",
        "middleware.sessions": f"{_APP_TYPES} HTTPConnection Secret",
        "middleware.trustedhost": (
            "ASGIApp Headers parse_host_header PlainTextResponse Receive Scope Send"
        ),
        "middleware.wsgi": (
            "create_collapsing_task_group Receive Scope Send StarletteDeprecationWarning"
        ),
        "requests": (
            f"{_TYPES} AwaitableOrContextManager AwaitableOrContextManagerWrapper FormParser "
            "HTTPException MultiPartException MultiPartParser"
        ),
        "responses": (
            f"{_TYPES} BackgroundTask ClientDisconnect create_collapsing_task_group Headers "
            "iterate_in_threadpool MutableHeaders URL"
        ),
        "routing": (
            "ASGIApp Convertor CONVERTOR_TYPES get_route_path Headers HTTPException is_async_callable "
            "Lifespan Middleware parse_host_header PlainTextResponse Receive RedirectResponse Request "
            "RequestBodyLimitMiddleware Response run_in_threadpool Scope Send "
            "StarletteDeprecationWarning URL URLPath WebSocket WebSocketClose "
            "wrap_app_handling_exceptions"
        ),
        "staticfiles": "Receive Scope Send URL",
        "status": "StarletteDeprecationWarning",
        "templating": "BackgroundTask Receive Scope Send URL",
        "testclient": (
            f"{_APP_TYPES} is_async_callable StarletteDeprecationWarning WebSocketDisconnect"
        ),
        "websockets": "Response",
    }.items()
}
"""Names that Starlette's module has because it imports them, and that other packages take from there."""

_HANDLER_TYPES = {
    name: f"{SPICA}.compat._exception_handler:{name}"
    for name in ("ExceptionHandlers", "StatusHandlers")
}

PRIVATE_NAMES = {
    f"{SPICA}.applications": {
        "_MiddlewareFactory": f"{SPICA}._asgi.stack:MiddlewareFactory",
    },
    f"{SPICA}.concurrency": {
        "_next": f"{SPICA}.compat._functions:next_in_thread",
        "_StopIteration": f"{SPICA}.compat._functions:IteratorEnd",
    },
    f"{SPICA}.middleware.base": {
        "_CachedRequest": f"{SPICA}.requests:Request",
        "_StreamingResponse": f"{SPICA}.compat._classes:CallNextResponse",
    },
    f"{SPICA}.middleware.exceptions": _HANDLER_TYPES,
    f"{SPICA}.routing": {
        "_AsyncLiftContextManager": f"{SPICA}.compat._classes:LiftedContext",
        "_DefaultLifespan": f"{SPICA}.compat._classes:DefaultLifespan",
        "_wrap_gen_lifespan_context": f"{SPICA}.compat._classes:wrap_generator_lifespan",
    },
    f"{SPICA}.testclient": {
        "_TestClientTransport": f"{SPICA}.testclient.transport:ApplicationTransport",
        "_WrapASGI2": f"{SPICA}.testclient.interface:ASGI2Adapter",
        "_is_asgi3": f"{SPICA}.compat._functions:is_asgi3",
        "_RequestData": f"{SPICA}.compat._classes:RequestData",
    },
    f"{SPICA}.formparsers": {
        "_user_safe_decode": f"{SPICA}.compat._functions:user_safe_decode",
    },
    f"{SPICA}.middleware": {
        "_MiddlewareFactory": f"{SPICA}._asgi.stack:MiddlewareFactory",
    },
    f"{SPICA}.middleware.body_limit": {
        "_RequestBodyTooLarge": f"{SPICA}._asgi.body:BodyTooLarge",
        "_RequestBodyLimitResponseSent": f"{SPICA}.compat._classes:BodyLimitResponseSent",
    },
}
"""Private names of Starlette that other packages import, and their counterparts here."""

PRIVATE_METHODS = {
    f"{SPICA}.websockets": {
        "WebSocket._raise_on_disconnect": f"{SPICA}.compat._functions:raise_on_disconnect",
    },
    f"{SPICA}.responses": {
        "Response._wrap_websocket_denial_send": f"{SPICA}.compat._functions:deny_with",
    },
}
"""Private methods of Starlette that other packages call, and the functions that do the same here."""


def twin_of(name: str) -> str:
    """Return ``name`` with the one brand in place of the other; the same where it has none."""
    if SPICA.title() in name:
        return name.replace(SPICA.title(), STARLETTE.title())
    return name.replace(STARLETTE.title(), SPICA.title())


def our_name(name: str) -> str:
    """Return the name of the module of spica that ``name``, of Starlette, stands for."""
    return PRIVATE_MODULES.get(name) or SPICA + name.removeprefix(STARLETTE)


def their_name(name: str) -> str:
    """Return the name that a public module of spica has in Starlette."""
    return STARLETTE + name.removeprefix(SPICA)
