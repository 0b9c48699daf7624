"""Names of other frameworks, and how to write the same with spica.

A newcomer writes ``request.args`` or ``app.on_event`` by habit. Python then says only that there is no such
attribute. ``explain_names`` adds the fix to that message. It puts descriptors on the class that raise
AttributeError, so ``hasattr`` stays false, a subclass or an instance can define the name, type checkers do
not see it, and a program without the mistake pays nothing. Assigning some of the names shows a warning.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from spica.exceptions import warn_configuration

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


class ForeignName:
    """Raise an AttributeError with the fix. As a non-data descriptor, it lets an instance set the name."""

    __slots__ = ("fix", "name")

    def __init__(self, name: str, fix: str) -> None:
        self.name = name
        self.fix = fix

    def __get__(self, instance: object, owner: type) -> Any:
        kind = "type object" if instance is None else "object"
        name = f"{kind} {owner.__name__!r}" if instance is None else f"{owner.__name__!r} {kind}"
        raise AttributeError(f"{name} has no attribute {self.name!r}. {self.fix}")


class IgnoredName(ForeignName):
    """A name that spica ignores: an assignment has no effect, so it shows a warning with ``instead``.

    A subclass of another package may use the name. Its assignments show no warning.
    """

    __slots__ = ("instead",)

    def __init__(self, name: str, fix: str, instead: str) -> None:
        super().__init__(name, fix)
        self.instead = instead

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is not None and self.name in vars(instance):
            return vars(instance)[self.name]
        super().__get__(instance, owner)

    def __set__(self, instance: object, value: object) -> None:
        cls = type(instance)
        if cls.__module__.partition(".")[0] == "spica":
            warn_configuration(
                f"{cls.__name__}.{self.name} = ... has no effect: spica has no such attribute. {self.instead}"
            )
        vars(instance)[self.name] = value


def explain_names(
    cls: type, fixes: Mapping[str, str], assignments: Mapping[str, str] | None = None
) -> None:
    """Add ``fixes``, from a name of another framework to the spica way, to the errors of ``cls``.

    ``assignments`` has the fixes for names that programs set by habit. A name that the class or one of its
    bases has already is left alone.
    """
    instead = assignments or {}
    defined = {name for base in cls.__mro__ for name in vars(base)}
    for name in (fixes.keys() | instead.keys()) - defined:
        fix = fixes.get(name, "")
        is_set = name in instead
        setattr(
            cls, name, IgnoredName(name, fix, instead[name]) if is_set else ForeignName(name, fix)
        )
    if "__dir__" not in vars(cls):
        setattr(cls, "__dir__", _list_names)  # noqa: B010  # mypy refuses to assign a method


def _list_names(self: object) -> list[str]:
    """List the attributes for ``dir()`` and completion, without the names of other frameworks."""
    import inspect  # on use: applications start faster

    cls = type(self)
    return [
        name
        for name in object.__dir__(self)
        if not isinstance(inspect.getattr_static(cls, name, None), ForeignName)
    ]


def explain_arguments(
    fixes: Mapping[str, str], positional: str = ""
) -> Callable[[FunctionT], FunctionT]:
    """Decorate an ``__init__`` so that an unknown keyword names the fix or the nearest parameter.

    ``fixes`` maps keywords of other frameworks to the spica way. ``positional`` is the fix for too many
    positional arguments. Use it for objects that a program makes once, not for every request.
    """

    def decorate(init: FunctionT) -> FunctionT:
        code = init.__code__
        count = code.co_argcount
        parameters = code.co_varnames[1 : count + code.co_kwonlyargcount]

        @functools.wraps(init)
        def checked(self: Any, *args: Any, **kwargs: Any) -> None:
            for name in kwargs:
                if name not in parameters:
                    fix = fixes.get(name) or _suggest(name, parameters)
                    raise TypeError(
                        f"{type(self).__name__}() got an unexpected keyword argument {name!r}. {fix}"
                    )
            if positional and len(args) >= count:
                raise TypeError(
                    f"{type(self).__name__}() got an unexpected positional argument "
                    f"{args[count - 1]!r:.80}. {positional}"
                )
            init(self, *args, **kwargs)

        return cast("FunctionT", checked)  # the same signature

    return decorate


def _suggest(name: str, parameters: tuple[str, ...]) -> str:
    from difflib import get_close_matches  # for messages alone

    close = get_close_matches(name, parameters, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Its parameters are {', '.join(parameters)}."


_LIFESPAN = (
    "Write an async generator function with @contextlib.asynccontextmanager and pass it as lifespan=...: "
    "startup is before its `yield`, shutdown after it."
)
_MIDDLEWARE = (
    "Write `async def dispatch(request, call_next)` and call "
    "app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)."
)
_ROUTER = "Mount the router: app.mount('/prefix', router), or put Mount('/prefix', app=router) into routes."
_RUN = "Run `spica run module:app` in the shell, or `spica dev module:app` while you write the application."
_ROUTE = "Write @app.get('/path') above the function, or app.add_route('/path', function, methods=[...])."
_HANDLER = "Write @app.exception_handler(404), or pass exception_handlers={404: handler}."
_STATIC = "Write app.mount('/static', StaticFiles(directory='static'), name='static')."
_TEMPLATES = (
    "Create templates = Jinja2Templates('templates') and return templates.TemplateResponse(...)."
)
_NO_DEPENDENCIES = (
    "spica has no dependency injection: call the function in the endpoint, or yield the object in the "
    "lifespan and read it from request.state."
)
_NO_OPENAPI = (
    "spica documents routes with spica.schemas.SchemaGenerator, from the docstrings of endpoints."
)

FIXES_OF_APPLICATIONS = {
    "add_api_route": _ROUTE,
    "add_event_handler": _LIFESPAN,
    "add_url_rule": _ROUTE,
    "after_request": _MIDDLEWARE,
    "all": "Write @app.route('/path', methods=[...]).",
    "api_route": _ROUTE,
    "before_request": _MIDDLEWARE,
    "before_serving": _LIFESPAN,
    "after_serving": _LIFESPAN,
    "blueprint": _ROUTER,
    "cli": _RUN,
    "config": "Read settings with spica.config.Config(), and keep objects in app.state.",
    "dependency_overrides": _NO_DEPENDENCIES,
    "errorhandler": _HANDLER,
    "error_handler": _HANDLER,
    "include_router": _ROUTER,
    "jinja_env": _TEMPLATES,
    "listen": _RUN,
    "logger": "Use the logging module: logging.getLogger(__name__).",
    "middleware": _MIDDLEWARE,
    "on_event": _LIFESPAN,
    "on_shutdown": _LIFESPAN,
    "on_startup": _LIFESPAN,
    "openapi": _NO_OPENAPI,
    "register": _ROUTER,
    "register_blueprint": _ROUTER,
    "register_error_handler": "Call app.add_exception_handler(404, handler).",
    "run": _RUN,
    "scheduler": "Call app.tasks.every(seconds, function).",
    "secret_key": "Pass it to the middleware: app.add_middleware(SessionMiddleware, secret_key=...).",
    "serve": _RUN,
    "static": _STATIC,
    "teardown_appcontext": _LIFESPAN,
    "teardown_request": _MIDDLEWARE,
    "template_folder": _TEMPLATES,
    "test_client": "Write `from spica.testclient import TestClient`, and TestClient(app).",
    "url_for": "Call request.url_for(name, ...) in an endpoint, or app.url_path_for(name, ...) outside.",
    "use": "Call app.add_middleware(SomeMiddleware, option=value).",
}

ASSIGNMENTS_OF_APPLICATIONS = {
    "lifespan": "Pass it: Spica(lifespan=...).",
    "middleware": "Pass middleware=[Middleware(SomeMiddleware)], or call app.add_middleware(SomeMiddleware).",
    "on_shutdown": _LIFESPAN,
    "on_startup": _LIFESPAN,
}
"""Names that programs set on an application by habit, without an effect."""

FIXES_OF_APPLICATION_ARGUMENTS = {
    "dependencies": _NO_DEPENDENCIES,
    "description": _NO_OPENAPI,
    "docs_url": _NO_OPENAPI,
    "error_handlers": "Write exception_handlers={404: handler}.",
    "on_shutdown": _LIFESPAN,
    "on_startup": _LIFESPAN,
    "openapi_url": _NO_OPENAPI,
    "prefix": "Put the routes into Mount('/prefix', routes=[...]).",
    "redirect_slashes": "Set app.router.redirect_slashes = False.",
    "root_path": "Pass it to the server: uvicorn --root-path /prefix module:app",
    "secret_key": "Pass it to the middleware: Middleware(SessionMiddleware, secret_key=...).",
    "static_folder": _STATIC,
    "template_folder": _TEMPLATES,
    "title": _NO_OPENAPI,
    "version": _NO_OPENAPI,
}

FIXES_OF_ROUTE_ARGUMENTS = {
    "dependencies": _NO_DEPENDENCIES,
    "deprecated": _NO_OPENAPI,
    "description": _NO_OPENAPI,
    "method": "Write methods=['POST'].",
    "operation_id": _NO_OPENAPI,
    "response_class": "The endpoint returns the response: JSONResponse(value).",
    "response_model": "The endpoint returns the response: JSONResponse(value).",
    "responses": _NO_OPENAPI,
    "status_code": "The endpoint sets it: JSONResponse(value, status_code=201).",
    "strict_slashes": "A path without its slash is redirected. Set app.router.redirect_slashes = False.",
    "summary": _NO_OPENAPI,
    "tags": _NO_OPENAPI,
    "view_func": "Write endpoint=function.",
}

FIXES_OF_ROUTER_ARGUMENTS = {
    "dependencies": _NO_DEPENDENCIES,
    "on_shutdown": _LIFESPAN,
    "on_startup": _LIFESPAN,
    "prefix": "Give the prefix where you mount the router: app.mount('/prefix', router).",
    "tags": _NO_OPENAPI,
    "url_prefix": "Give the prefix where you mount the router: app.mount('/prefix', router).",
}

FIXES_OF_MOUNT_ARGUMENTS = {
    "directory": "Write Mount('/static', app=StaticFiles(directory='...'), name='static').",
    "endpoint": "Write app=... for an ASGI app. A function belongs in a Route.",
    "prefix": "The path comes first: Mount('/prefix', ...).",
    "router": "Write app=router.",
}

_JSON = "Write `data = await request.json()`."
_FORM = "Write `form = await request.form()`, then form['name'] or form.get('name')."
_BODY = "Write `body = await request.body()`."
_QUERY = "Read request.query_params, for example request.query_params.get('name')."

FIXES_OF_CONNECTIONS = {
    "GET": _QUERY,
    "META": "Read request.headers, request.client and request.scope.",
    "args": _QUERY,
    "content_type": "Read request.headers.get('content-type').",
    "environ": "Read request.scope.",
    "full_path": "Read request.url.path and request.url.query.",
    "host": "Read request.url.hostname, or request.headers['host'].",
    "ip": "Read request.client.host. Behind a proxy, start the server with --proxy-headers.",
    "match_info": "Read request.path_params['name'].",
    "params": "Read request.path_params or request.query_params.",
    "query_args": _QUERY,
    "query_string": "Read request.url.query, or request.query_params for the decoded values.",
    "remote_addr": "Read request.client.host. Behind a proxy, start the server with --proxy-headers.",
    "route": "Read request.scope['endpoint'] and request.path_params.",
    "scheme": "Read request.url.scheme.",
    "url_path_for": "Call request.url_for(name, ...). The path alone is request.app.url_path_for(name, ...).",
    "user_agent": "Read request.headers.get('user-agent').",
    "view_args": "Read request.path_params['name'].",
}

_SOCKET = (
    "This is the Request of an HTTP route. Register the endpoint for WebSockets: "
    "WebSocketRoute('/path', endpoint) or @app.websocket('/path')."
)

FIXES_OF_REQUESTS = {
    "FILES": _FORM,
    "POST": _FORM,
    "accept": _SOCKET,
    "data": f"{_BODY} For a form: `form = await request.form()`.",
    "files": _FORM,
    "get_data": _BODY,
    "get_json": _JSON,
    "is_json": "Read request.headers.get('content-type').",
    "iter_text": _SOCKET,
    "post": _FORM,
    "receive_json": _SOCKET,
    "receive_text": _SOCKET,
    "send_json": _SOCKET,
    "send_text": _SOCKET,
    "text": "Write `text = (await request.body()).decode()`.",
}

FIXES_OF_CLASS_ENDPOINTS = {
    "as_view": "Pass the class itself: Route('/path', ClassName).",
}

FIXES_OF_KEYRINGS = {
    "dumps": "Call keyring.sign(json.dumps(value), purpose).",
    "loads": "Write json.loads(keyring.verify(signed, purpose)).",
    "unsign": "Call keyring.verify(signed, purpose).",
    "validate": "Call keyring.verify(signed, purpose), which raises InvalidSignature.",
}

FIXES_OF_UPLOADS = {
    "chunks": "Write `while chunk := await upload.read(65536)`.",
    "mimetype": "Read upload.content_type, which is a claim of the client.",
    "name": "Read upload.filename. It is a claim of the client: do not use it as a path.",
    "save": "Write `shutil.copyfileobj(upload.file, target)` in a `def` endpoint, or read it in chunks with "
    "`await upload.read(65536)`.",
    "stream": "Read upload.file, or `await upload.read(65536)` in chunks.",
}

FIXES_OF_STORES = {
    "add": "Call `await store.set(key, value, only_if='absent')`.",
    "decr": "Use a rate (`store.take`) for limits, and a database for numbers.",
    "expire": "Pass the seconds to set(): `await store.set(key, value, seconds=60)`.",
    "exists": "Call `await store.get(key)`, which returns None for a missing key.",
    "has": "Call `await store.get(key)`, which returns None for a missing key.",
    "incr": "Use a rate (`store.take`) for limits, and a database for numbers.",
    "lock": "Call `await store.acquire(key, owner, seconds=10)`.",
    "pop": "Call `await store.get(key)`, then `await store.delete(key)`.",
    "remove": "Call `await store.delete(key)`.",
    "setex": "Call `await store.set(key, value, seconds=60)`.",
    "setnx": "Call `await store.set(key, value, only_if='absent')`.",
}

FIXES_OF_TEMPLATES = {
    "render": "Return templates.TemplateResponse(request, name, context). For the text alone, write "
    "templates.get_template(name).render(context).",
    "render_template": "Return templates.TemplateResponse(request, name, context).",
    "render_to_string": "Write templates.get_template(name).render(context).",
    "template": "Return templates.TemplateResponse(request, name, context).",
}

_NO_HTTP_BODY = "A WebSocket has messages instead of a body: call receive_text() or receive_json()."

FIXES_OF_SOCKETS = {
    "path": "Read websocket.url.path.",
    "query": _QUERY,
    "body": _NO_HTTP_BODY,
    "broadcast": "Keep the open WebSockets in a set, and call send_text() on each.",
    "disconnect": "Call `await websocket.close()`.",
    "emit": "Call `await websocket.send_json(value)`.",
    "form": _NO_HTTP_BODY,
    "json": _NO_HTTP_BODY,
    "method": "A WebSocket has no method.",
    "receive_str": "Call `await websocket.receive_text()`.",
    "recv": "Call `await websocket.receive_text()`.",
    "send_str": "Call `await websocket.send_text(text)`.",
    "stream": _NO_HTTP_BODY,
    "write_message": "Call `await websocket.send_text(text)`.",
}

_SET_BODY = "Write response.body = b'...', or return another response."
_SET_TYPE = "Write response.headers['content-type'] = ..., or pass media_type=... to the response."

ASSIGNMENTS_OF_RESPONSES = {
    "content": _SET_BODY,
    "content_type": _SET_TYPE,
    "data": _SET_BODY,
    "mimetype": _SET_TYPE,
    "status": "Write response.status_code = 404.",
    "text": _SET_BODY,
}
"""Names that programs set on a response by habit, without an effect."""

_HEADER = "Write response.headers['name'] = 'value'."
_READ_BODY = (
    "response.body has the bytes of a response that is complete. A response of `call_next` may be a stream: "
    "read it with `async for chunk in response.body_iterator`."
)

FIXES_OF_RESPONSES = {
    "add_header": _HEADER,
    "content": _READ_BODY,
    "content_type": "Read response.headers['content-type'], or pass media_type=... to the response.",
    "cookies": "Call response.set_cookie(name, value).",
    "data": _READ_BODY,
    "delete_header": "Write del response.headers['name'].",
    "json": "Return JSONResponse(value). In tests, call json() on the response of the client.",
    "mimetype": "Read response.media_type.",
    "set_cookies": "Call response.set_cookie(name, value) for each cookie.",
    "set_data": "Make a new response with the content.",
    "set_header": _HEADER,
    "set_status": "Write response.status_code = 404.",
    "set_status_code": "Write response.status_code = 404.",
    "status": "Read response.status_code.",
    "text": _READ_BODY,
    "write": "Return a StreamingResponse of an async generator that yields the chunks.",
}
