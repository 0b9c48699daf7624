"""The base of all layers: answers travel as values, and every layer is still an ASGI app.

``await app(scope, receive, send)`` always works: that is the message path. A ``BaseLayer`` can also return
its answer without sending it, which is the value path::

    answer = await layer._layer_respond(request)     # an ASGI app, nearly always a Response

A Response is a value that the layers outside can look at and edit. A foreign app is an *opaque* answer:
its response is unknown until it runs. A stack of layers is therefore a chain of awaits, without a wrapped
``send``, a task or a memory stream. The outermost layer sends the answer
(``spica._layers.runner``).

Each layer is written once, as ``_layer_respond``; all of them share one ``__call__``. Whether a layer is
called by value is decided when the stack or the route index is built: not if a subclass has
overridden its ``__call__``, or a tracing agent has patched it. Such a layer is opaque, like any foreign app.

Users derive from these classes. The names of internal methods begin with ``_layer_``, so that no subclass
redefines one by accident. ``spica.layers.Layer`` is the public base class.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar

from spica._asgi.scope import CLEANUP
from spica._layers.answers import resolve_outermost
from spica._layers.cleanup import own_cleanup
from spica._layers.runner import answer_error, finish_request, record_error, send_answer
from spica._originals import is_original, remember
from spica.requests import Request
from spica.responses.base import Response
from spica.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from spica._layers.runner import ErrorPolicy

Respond = Callable[[Request[Any]], Awaitable["ASGIApp"]]
"""A function that returns the answer to a request."""

F = TypeVar("F", bound=Callable[..., Any])


class Inner:
    """The app inside a layer, with the fastest functions to call it.

    They are resolved once, when the app is assigned, and not for each request.

    Args:
        app: Any ASGI app.
    """

    __slots__ = ("app", "connect", "respond")

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.respond: Respond = resolve_respond(app)
        """Return the answer of the app to a request, without sending it."""
        self.connect: ASGIApp = resolve_connect(app)
        """Serve a WebSocket or the lifespan."""


class BaseLayer:
    """A layer, written as ``_layer_respond`` and callable as an ASGI app.

    A layer around another app assigns ``self.app`` and awaits ``self._layer_inner.respond(request)``.
    """

    __slots__ = ()  # so that a layer that is made for each route can be small

    _layer_inner: Inner

    @property
    def app(self) -> ASGIApp:
        """The app inside. You may replace it at any time."""
        try:
            return self._layer_inner.app
        except AttributeError:
            name = type(self).__name__
            raise AttributeError(f"{name!r} object has no attribute 'app'") from None

    @app.setter
    def app(self, app: ASGIApp) -> None:
        """Replace it."""
        # Not `self._layer_inner =`: this class has no slot for it, each layer around an app has a `__dict__`.
        object.__setattr__(self, "_layer_inner", Inner(app))

    def _layer_respond(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return, once awaited, the ASGI app that answers ``request``. Send nothing.

        Write it as ``async def``. If nothing remains to do after the inner answer, a ``def`` function that
        returns the inner awaitable saves a frame.
        """
        raise NotImplementedError(f"{type(self).__name__} must define _layer_respond(request).")

    def _layer_resolve(self) -> Respond:
        """Return the function by which other layers call this one; called when a stack is built."""
        return self._layer_respond

    def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a WebSocket or the lifespan, which stay on the message path."""
        return self._layer_inner.connect(scope, receive, send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection as the outermost layer, or as the app of a foreign layer."""
        if scope["type"] != "http":
            await self._layer_connect(scope, receive, send)
            return
        if CLEANUP in scope:
            await run_inside(_ORIGINAL_CALL, self, scope, receive, send)
            return
        request: Request[Any] = Request(scope, receive, send)
        try:
            # The lines of `answer_request`, without its coroutine.
            try:
                answer: Any = await self._layer_respond_outermost(request)
                is_simple = isinstance(answer, Response) and not answer._receives
                if not is_simple:
                    answer = await resolve_outermost(answer, request)
            except Exception as exc:
                answer = await answer_error(request, exc, self._layer_errors())
                is_simple = False
            if is_simple and request._cleanup is None:
                await answer.__call__(scope, receive, send)  # saves a frame in the usual case
            else:
                await send_answer(answer, request, send, self._layer_errors())
        except BaseException as exc:
            await record_error(request, exc, self._layer_errors())
        if request._cleanup is not None:
            await finish_request(request, self._layer_errors())

    # -- the policy for errors, where this layer is the outermost one ------------------------------------

    def _layer_errors(self) -> ErrorPolicy:
        """Return the policy for exceptions that no layer has answered."""
        return self

    def _layer_respond_outermost(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the answer without handling exceptions that ``_layer_errors`` handles anyway."""
        return self._layer_respond(request)

    async def _layer_answer_error(self, request: Request[Any], exc: Exception) -> ASGIApp:
        """Raise the exception: without a server-error layer, the server answers."""
        own_cleanup(request).add_failure(exc)  # unchanged: a layer outside may answer it
        raise exc

    def _layer_guard(self, answer: ASGIApp, request: Request[Any]) -> ASGIApp:
        """Return the opaque answer as it is."""
        return answer

    async def _layer_report(self, request: Request[Any], exc: Exception) -> bool:
        """Raise every late error."""
        return True


_ORIGINAL_CALL = BaseLayer.__call__
remember(BaseLayer, "__call__")


async def run_inside(
    call: Callable[..., Awaitable[None]], layer: Any, scope: Scope, receive: Receive, send: Send
) -> None:
    """Run ``layer`` inside an app that a dispatch middleware has started, whose cleanup is in the scope.

    The layer does its own cleanup. If the outer layer did it, the outer layer would wait for the app and the
    app for the outer layer. ``call`` is the original ``__call__``: a patched one has called us.
    """
    outer = scope.pop(CLEANUP)
    try:
        await call(layer, scope, receive, send)
    finally:
        scope[CLEANUP] = outer


def responds_by(name: str) -> Callable[[F], F]:
    """Declare, as a decorator of an ASGI method, that the method ``name`` returns its answer by value.

    A method that overrides the decorated one has no mark, and is called with messages. So is a wrapper: the
    mark contains the function that it belongs to, since ``functools.wraps`` copies attributes.
    """

    def mark(method: F) -> F:
        setattr(method, "_by_value", (method, name))  # noqa: B010  # mypy knows no such attribute
        return method

    return mark


def resolve_respond(app: ASGIApp) -> Respond:
    """Return the function that returns the answer of ``app``. A foreign app is its own answer."""
    if isinstance(app, BaseLayer) and is_original(type(app), "__call__"):
        return app._layer_resolve()
    if isinstance(app, MethodType):
        method, name = getattr(app.__func__, "_by_value", (None, ""))
        if method is app.__func__:
            respond: Respond = getattr(app.__self__, name)
            return respond
    if isinstance(app, type):
        # As an answer, the class itself would look like a response without its parentheses.
        app = partial(_run_instance, app)
    return Opaque(app).respond


async def _run_instance(cls: Any, scope: Scope, receive: Receive, send: Send) -> None:
    await cls(scope, receive, send)


def resolve_connect(app: Any) -> Any:
    """Return the app for WebSockets and the lifespan: of a ``BaseLayer``, the part behind ``__call__``."""
    is_by_value = isinstance(app, BaseLayer) and is_original(type(app), "__call__")
    return app._layer_connect if is_by_value else app


class Opaque:
    """A foreign app as the answer to every request."""

    __slots__ = ("app",)

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def respond(self, request: Request[Any]) -> ASGIApp:
        """Return the app, not yet run."""
        return self.app
