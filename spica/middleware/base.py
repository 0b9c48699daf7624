"""Middleware written as one function: ``dispatch(request, call_next)``.

It costs a few awaits, because ``call_next`` returns the response object of the endpoint. If a foreign app
answers, the innermost dispatch middleware starts that app (``spica._layers.foreign``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from spica._asgi.body import BodyChannel
from spica._asgi.cleanup import Cleanup
from spica._asgi.scope import CLEANUP
from spica._diagnostics.arguments import takes
from spica._layers.answers import resolve_answer
from spica._layers.editing import HELD_HERE, getrefcount
from spica._layers.foreign import as_response
from spica._layers.handsent import sends_by_hand
from spica._layers.layer import BaseLayer, Inner, Opaque
from spica.requests import Request
from spica.responses.base import Response
from spica.routing.base import is_stand_in
from spica.types import ASGIApp

if TYPE_CHECKING:
    from spica._layers.layer import Respond

RequestResponseEndpoint = Callable[[Request[Any]], Awaitable[Response]]
DispatchFunction = Callable[[Request[Any], RequestResponseEndpoint], Awaitable[Response]]


class BaseHTTPMiddleware(BaseLayer):
    """A middleware written as one function of a request and of ``call_next``.

    Override ``dispatch``, or pass a function as ``dispatch``. It may read the request, await
    ``call_next(request)`` for the response, change the response, or return another one. The endpoint and the
    function see each other's context variables. WebSockets and the lifespan pass unchanged.

    If you return another response, the background task of the first one still runs, and a foreign app that
    streams it ends normally.

    Args:
        app: The app inside.
        dispatch: The function, instead of a method of a subclass.

    Raises:
        TypeError: The function can't be called with the request and ``call_next``.

    Example:
        ``Middleware(BaseHTTPMiddleware, dispatch=add_timing)``
    """

    _layer_call_next: RequestResponseEndpoint

    def __init__(self, app: ASGIApp, dispatch: DispatchFunction | None = None) -> None:
        self.app = app
        self.dispatch_func = self.dispatch if dispatch is None else dispatch
        _check_dispatch(self.dispatch_func, 2, type(self).__name__)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "dispatch" in vars(cls):
            _check_dispatch(vars(cls)["dispatch"], 3, cls.__name__)

    async def dispatch(self, request: Request[Any], call_next: RequestResponseEndpoint) -> Response:
        """Return the response to ``request``; ``await call_next(request)`` gives the inner one."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `async def dispatch(self, request, call_next)`, "
            "or be given a function as `dispatch`."
        )

    async def _layer_respond(self, request: Request[Any]) -> Response:
        """Return the response of the dispatch function, or a copy if it has other holders."""
        try:
            is_first = request._cleanup is None
        except AttributeError:
            is_first = True  # a subclass that skips `__init__`
        if is_first:
            # Before the function can make a Request of its own: see spica._layers.cleanup.
            request._cleanup = request.scope.setdefault(CLEANUP, Cleanup())
        answer = await self.dispatch_func(request, self._layer_call_next)
        # The layers outside may edit a response that only this variable holds. One with other holders, such
        # as a constant of a module, must be copied first (see `calibrate` in spica._layers.editing).
        try:
            if answer._is_value and answer.background is None and getrefcount(answer) <= HELD_HERE:
                return answer
        except AttributeError:
            pass  # not a Response: `resolve_answer` examines it
        resolved = await resolve_answer(answer, request, self.dispatch_func)
        if resolved is not answer or not isinstance(answer, Response):
            return await as_response(resolved, request)
        del resolved  # it counts as a holder of the response
        is_own = answer.background is None and getrefcount(answer) <= HELD_HERE
        return answer if is_own else await as_response(answer, request)

    def _layer_resolve(self) -> Respond:
        """Run the layer as an app if its dispatch function sends responses by ``request._send``."""
        function = getattr(self, "dispatch_func", self.dispatch)
        return Opaque(self).respond if sends_by_hand(function) else self._layer_respond

    @property
    def app(self) -> ASGIApp:
        """The app inside. You may replace it at any time."""
        return self._layer_inner.app

    @app.setter
    def app(self, app: ASGIApp) -> None:
        """Replace it."""
        inner = self._layer_inner = Inner(app)
        # Another dispatch middleware returns a response that is ready to be changed.
        is_dispatch = getattr(inner.respond, "__func__", None) is BaseHTTPMiddleware._layer_respond
        self._layer_call_next = (
            cast("RequestResponseEndpoint", inner.respond)
            if is_dispatch
            else _CallNext(inner.respond).respond
        )


def _check_dispatch(function: Any, count: int, name: str) -> None:
    """Refuse a dispatch function with the wrong number of parameters, when it is defined or passed.

    Raises:
        TypeError: ``function`` can't be called with the request and ``call_next``.
    """
    if not callable(function) and count == 2:
        raise TypeError(f"{name}: dispatch must be a function, not {function!r:.200}.")
    if not takes(function, count) and not is_stand_in():
        first = "self, " if count == 3 else ""
        raise TypeError(
            f"{name}: {function.__qualname__}() is called with the request and call_next, which it does not "
            f"take. Write async def {function.__name__}({first}request, call_next)."
        )


class _CallNext:
    """The ``call_next`` of a dispatch function around any other app."""

    __slots__ = ("_respond",)

    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    async def respond(self, request: Request[Any]) -> Response:
        """Return the response of the app inside, which the dispatch function may change."""
        if type(getattr(request, "_receive", None)) is BodyChannel:
            request._body_channel().hand_on()
        answer = await self._respond(request)
        if (
            isinstance(answer, Response)
            and answer.background is None
            and getrefcount(answer) <= HELD_HERE
        ):
            return answer
        return await as_response(answer, request)
