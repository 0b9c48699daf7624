"""Notes for errors that Python words well and a newcomer still cannot place.

``'coroutine' object is not subscriptable`` means that an ``await`` is missing, and ``'method' object is not
subscriptable`` that a call is. The error layer calls ``add_hint`` with an unhandled exception. It adds a note
(PEP 678) with the fix, which the traceback, the log and the debug page show. The exception stays the same
object with the same message, and a request without an error pays nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import CoroutineType, FunctionType, MethodType, TracebackType
from typing import Any

from spica._diagnostics.foreign_names import FIXES_OF_STORES

_AWAIT = "An `await` is missing: a coroutine has no value before it is awaited."
_ASYNC_FOR = "Iterate over it with `async for`."
_SIGNATURE = "It takes (self, request). Path parameters are in request.path_params."

_LAZY = r"'?(?:coroutine|FormReader)'?"
_STREAM = r"'?(?:async_generator|Frames|PartStream)'?"

_RULES = tuple(
    (re.compile(pattern), hint)
    for pattern, hint in (
        (rf"{_LAZY} object (is not|does not support item)", _AWAIT),
        (rf"non-iterable {_LAZY}|of type {_LAZY} (has no len|is not iterable)", _AWAIT),
        (r"argument of type 'coroutine'|(of|not) coroutine|'coroutine'", _AWAIT),
        (
            r"'(FormReader|_AsyncGeneratorContextManager|AsyncTestClient|_Subscribing|Outbox)' object does "
            r"not support the context|object does not support the context manager protocol.*async with",
            "Write `async with`.",
        ),
        (rf"{_STREAM} object (is not|can't be awaited)|{_STREAM} can't be used", _ASYNC_FOR),
        (
            r"'(builtin_function_or_|function|method).*' object (is not|does not|has no|can't be awaited)"
            r"|object method can't",
            "Parentheses are missing: this is a function. Call it, for example `await request.form()`. "
            "One value of a query is request.query_params['name'].",
        ),
        (
            r"requires an object with __aiter__ method, got WebSocket",
            "Write `async for text in websocket.iter_text()`.",
        ),
        (
            r"object \w+ can't be used in 'await' expression|'\w+' object can't be awaited",
            "The value after `await` is complete already. Remove the `await`, or write `async def` where it "
            "comes from.",
        ),
        (
            r"exceptions must derive from BaseException",
            "Raise an exception, such as HTTPException(404). A response is returned, not raised.",
        ),
        (
            r"url(_path)?_for\(\) takes 2 positional",
            "Path parameters are keyword arguments: url_for('user', id=1).",
        ),
        (r"CallNext\.\w+\(\) missing", "Write `await call_next(request)`."),
        (
            r"'(?:Headers|QueryParams|FormData|ImmutableMultiDict)' object does not support item",
            "You can't change the values of the client. Set response.headers, or keep your own values in "
            "request.state.",
        ),
        (
            r"'(?:Headers|MutableHeaders|QueryParams|FormData|URL|State|Session)' object is not callable",
            "This is a value, not a function. Write request.query_params['name'] or "
            "request.headers.get('name').",
        ),
        (r"\+: 'URL' and|\(not \"URL\"\) to str", "Write str(url)."),
        (r"must be str, bytes or bytearray, not method", "Write `await request.body()`."),
        (
            r"__aiter__ method, got _Subscribing",
            "Write `async with channels.subscribe(name) as subscription`, then `async for event in "
            "subscription`.",
        ),
        (
            r"\.on_(connect|receive|disconnect)\(\) (takes|missing)",
            "spica calls on_connect(self, websocket), on_receive(self, websocket, data) and "
            "on_disconnect(self, websocket, close_code).",
        ),
        (
            r"'generator' object is not an async iterator",
            "@asynccontextmanager needs an `async def` function.",
        ),
        (
            r"TemplateResponse\(\) got an unexpected keyword",
            "Values belong in the context: TemplateResponse(request, name, {'user': user}).",
        ),
        (
            r"Store\.set\(\) got an unexpected keyword argument '(ttl|ex|expire|expires|timeout|max_age)'",
            "Write seconds=60.",
        ),
        (
            r"Store\.get\(\) takes 2 positional",
            "get() returns None for a missing key: `await store.get(key) or default`.",
        ),
        (
            r"(\w+)\.(get|post|put|patch|delete|head|options)\(\) (takes \d|missing)",
            f"This is a method of a class endpoint. {_SIGNATURE}",
        ),
        (
            r"__call__\(\) takes \d+ positional arguments? but 4 were given",
            "An ASGI app or middleware is called with (scope, receive, send). For a function of "
            "(request, call_next), use BaseHTTPMiddleware.",
        ),
        (
            r"lifespan\w*\(\) takes 0 positional",
            "A lifespan takes one argument, the application: async def lifespan(app).",
        ),
    )
)

_FILE_NAMES = ("filename", "safe_filename", "content_type", "read", "seek")
_STRING_NOT_FILE = (
    "A client may send a string where you expect a file. Check isinstance(value, UploadFile), or read the "
    "form with request.read(Model), which answers 422."
)

_LIMIT = "Pass a Limit: Limit(Rate.parse('5/minute'), name='login')."
_STRING_MISTAKES = {
    **dict.fromkeys(_FILE_NAMES, _STRING_NOT_FILE),
    "key": _LIMIT,
    "_prefix": _LIMIT,
}
"""Attributes that code of a program, or of spica, looks for on a string that should be another object."""

_BAD_CALL = "can't be used in 'await'|can't be awaited|not callable"
_RULES_OF_MODULES: tuple[tuple[str | tuple[str, ...], re.Pattern[str], str], ...] = (
    (
        ("spica.responses.", "spica.background", "spica._asgi.cleanup"),
        re.compile(rf"{_BAD_CALL}|BackgroundTask.__init__\(\) missing"),
        "A background task must be a BackgroundTask. Pass the function and its arguments apart: "
        "background=BackgroundTask(send, address).",
    ),
    (
        "spica.websockets",
        re.compile("^string indices"),
        "send() takes an ASGI message. Call send_text(), send_bytes() or send_json().",
    ),
    (
        "spica.websockets",
        re.compile(r"takes 0 positional arguments but 1 was given$"),
        "websocket.run() calls receive(message) for each message.",
    ),
    (
        ("spica.concurrency", "spica._workers", "anyio._backends._asyncio"),
        re.compile("object is not callable$"),
        "Pass the function and its arguments apart: run_in_threadpool(function, argument).",
    ),
    (
        "spica.middleware.authentication",
        re.compile(_BAD_CALL),
        "authenticate() of the backend must be an `async def` method.",
    ),
)
"""Hints for errors that only certain modules raise."""

_KEYWORD = re.compile(
    r"(\w+)\.(?:__init__|set_cookie)\(\) got an unexpected keyword argument '(\w+)'"
)
_KEYWORDS = {
    "body": "content",
    "code": "status_code",
    "content_type": "media_type",
    "data": "content",
    "http_only": "httponly",
    "httpOnly": "httponly",
    "json": "content",
    "maxAge": "max_age",
    "message": "detail",
    "mimetype": "media_type",
    "sameSite": "samesite",
    "same_site": "samesite",
    "status": "status_code",
    "text": "content",
}


_NO_SETTER = re.compile(
    r"property '(\w+)' of '(?:Request|WebSocket|HTTPConnection)' object has no setter"
)


def add_hint(exc: BaseException) -> None:
    """Add a note with the fix to ``exc``, if its mistake is a known one. A second call adds nothing."""
    try:
        hint = _find_hint(exc)
    except Exception:
        return  # an exception class may do anything in __str__; the original error matters more
    if hint and hint not in getattr(exc, "__notes__", ()):
        exc.add_note(hint)


def _find_hint(exc: BaseException) -> str:
    if isinstance(exc, AttributeError):
        no_setter = _NO_SETTER.search(str(exc))
        if no_setter is not None:
            return _explain_setting(no_setter[1])
        return _explain_attribute(exc.obj, exc.name or "")
    if isinstance(exc, RuntimeError) and str(exc).startswith(
        ("asyncio.run() cannot", "Already running")
    ):
        return "Await the coroutine in place of asyncio.run() or anyio.run(), in an `async def` endpoint."
    if type(exc).__name__ == "TemplateSyntaxError":
        return _explain_template(str(exc))
    if isinstance(exc, TypeError):
        return _explain_type_error(str(exc), _last_module(exc.__traceback__))
    if type(exc) is KeyError and _last_module(exc.__traceback__).startswith("spica.datastructures"):
        return f"The client did not send {exc.args[0]!r}. Use .get({exc.args[0]!r}) where it may be missing."
    return ""


def _explain_type_error(text: str, module: str) -> str:
    for modules, pattern, hint in _RULES_OF_MODULES:
        if module.startswith(modules) and pattern.search(text):
            return hint
    found = _KEYWORD.search(text)
    if found is not None:
        is_ours = found[1].endswith(("Response", "HTTPException"))
        return f"Write {_KEYWORDS[found[2]]}=..." if is_ours and found[2] in _KEYWORDS else ""
    for pattern, hint in _RULES:
        if pattern.search(text):
            return hint
    return ""


def _explain_setting(name: str) -> str:
    """Return the fix for a property of a request that can't be set."""
    if name == "session":
        return "Change the dict: request.session['key'] = value, or request.session.clear()."
    if name == "cookies":
        return "Write response.set_cookie(name, value)."
    if name in ("user", "auth"):
        return "AuthenticationMiddleware sets it. Keep an object of your own in request.state."
    return "Keep values of your own in request.state."


_READERS = {
    "ReadsModels.path": "request.path(Model) reads path parameters. The path itself is request.url.path.",
    "ReadsModels.query": "request.query(Model) reads a model. One value is request.query_params.get('name').",
}
"""Methods of a request that have the names of strings and mappings in other frameworks."""


_OPAQUE = (
    "The answer is an app that has not run yet. Write `response = await as_response(answer, request)`, or "
    "override edit_response()."
)
_LAYER_MISTAKES = {
    "_layer_inner": "The layer has no inner app: call super().__init__(app) in its __init__().",
    "respond": "Write `await self.inner.respond(request)`: self.app is the app itself.",
    "headers": _OPAQUE,
    "status_code": _OPAQUE,
}
"""Attributes that a layer of a program looks for on a layer."""


_DJANGO = {
    "csrf_token": "spica refuses forms of other origins without a token: see CrossOriginMiddleware.",
    "load": "Add filters to templates.env.filters.",
    "static": "Write {{ url_for('static', path='style.css') }}.",
    "url": "Write {{ url_for('name', id=1) }}.",
}


def _explain_template(text: str) -> str:
    """Return the fix for a tag of Django in a template of Jinja2."""
    found = re.search(r"unknown tag '(\w+)'", text)
    return _DJANGO.get(found[1], "") if found else ""


def _explain_attribute(obj: Any, name: str) -> str:
    """Return the fix for the attribute ``name``, which ``obj`` has not."""
    if isinstance(obj, CoroutineType):
        call = re.sub(r"^_CallNext\.\w+$", "call_next", obj.__qualname__)
        return f"{call}() returned a coroutine. Await it first: (await ...).{name}"
    if isinstance(obj, (FunctionType, MethodType)):
        call = f"(await ...{obj.__name__}()).{name}"
        general = f"{obj.__qualname__} is a function. Call it before you use its result: {call}"
        return _READERS.get(obj.__qualname__, general)
    if isinstance(obj, Exception) and name in ("url", "headers", "method", "app", "path_params"):
        return "An exception handler takes the request first, then the exception: (request, exc)."
    if hasattr(obj, "_layer_respond") and name in _LAYER_MISTAKES:
        return _LAYER_MISTAKES[name]
    if type(obj).__module__.startswith("spica."):
        return _explain_ours(obj, name)
    if isinstance(obj, str):
        return _STRING_MISTAKES.get(name, "")
    if isinstance(obj, Mapping) and name in obj:
        return f"This is an item, not an attribute. Write [{name!r}]."
    return ""


_ADD_HEADER = "Write headers.append(name, value) for another line, or headers[name] = value."
_OUR_MISTAKES = {
    ("MutableHeaders", "add"): _ADD_HEADER,
    **{("URL", name): "Read request.query_params." for name in ("query_params", "args", "params")},
}
"""Fixes by the class of spica and the attribute that it has not."""


def _explain_ours(obj: Any, name: str) -> str:
    """Return the fix for an attribute that a class of spica has not."""
    kind = type(obj).__name__
    if (kind, name) in _OUR_MISTAKES:
        return _OUR_MISTAKES[kind, name]
    if kind == "State":
        return (
            f"The state holds: {', '.join(sorted(obj)) or 'nothing'}. request.state gets what the lifespan "
            f"yields, as in `yield {{{name!r}: ...}}`, and app.state what you assign to it. In tests, only "
            "`with TestClient(app) as client:` runs the lifespan."
        )
    if kind == "GuardedApp":
        return _OPAQUE
    if kind == "FormReader":
        return f"Await the form first: `form = await request.form()`, then form.{name}"
    if kind in ("Headers", "MutableHeaders"):
        field = name.replace("_", "-")
        return f"Header fields are items. Write headers[{field!r}] or headers.get({field!r})."
    if kind in ("QueryParams", "FormData"):
        return f"Values are items. Write .get({name!r}) or [{name!r}]."
    if type(obj).__module__.startswith("spica.stores."):
        return FIXES_OF_STORES.get(name, "")
    return ""


def _last_module(traceback: TracebackType | None) -> str:
    """Return the name of the module that raised the exception."""
    name = ""
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next
    return name
