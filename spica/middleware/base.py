"""Middleware written as one function: ``dispatch(request, call_next)``.

The function sees the request on its way in and the response on its way out. It costs a few awaits: what
``call_next`` returns is the endpoint's own response, passed by value. Where an app answers that is only
known by running it, the innermost dispatch middleware starts that app (``spica._layers.foreign``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from spica._asgi.body import BodyChannel
from spica._asgi.cleanup import Cleanup, cleanup_of
from spica._asgi.scope import CLEANUP
from spica._diagnostics.arguments import takes
from spica._layers.answers import settle_answer
from spica._layers.editing import HELD_HERE, getrefcount
from spica._layers.foreign import begin
from spica._layers.handsent import sends_by_hand
from spica._layers.layer import Responder
from spica.requests import Request
from spica.responses.base import Response
from spica.routing.base import is_stand_in
from spica.types import ASGIApp

if TYPE_CHECKING:
    from spica._layers.layer import Respond

RequestResponseEndpoint = Callable[[Request[Any]], Awaitable[Response]]
DispatchFunction = Callable[[Request[Any], RequestResponseEndpoint], Awaitable[Response]]


class BaseHTTPMiddleware(Responder):
    """Stand around an app with a function of a request and of what comes next.

    Override ``dispatch``, or give a function as ``dispatch``. It may look at the request, await
    ``call_next(request)`` for the response, change that, or return another. Context variables set inside are
    seen outside, and the other way round. Only HTTP passes through it.

    What a response carries is not lost when another is returned: its background task runs, and an app
    that streams it is ended in good order.
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
        """Return what the dispatch function returns, as a response that belongs to this request."""
        try:
            is_first = request._cleanup is None
        except AttributeError:
            is_first = True  # a subclass that skips `__init__`
        if is_first:
            # Before the function can make a Request of its own: see spica._layers.cleanup.
            request._cleanup = request.scope.setdefault(CLEANUP, Cleanup())
        answer = await self.dispatch_func(request, self._layer_call_next)
        try:
            if answer._is_value and answer.background is None and getrefcount(answer) <= HELD_HERE:
                return answer
        except AttributeError:
            pass  # not a Response: looked into below
        settled = await settle_answer(answer, request, self.dispatch_func)
        if settled is not answer or not isinstance(answer, Response):
            return await take_over(settled, request)
        del settled  # it counts as a holder of the response
        is_own = answer.background is None and getrefcount(answer) <= HELD_HERE
        return answer if is_own else await take_over(answer, request)

    def _layer_sends_by_hand(self) -> bool:
        """Return whether the dispatch function sends responses by ``request._send``."""
        return sends_by_hand(getattr(self, "dispatch_func", self.dispatch))

    def _layer_has_changed(self) -> None:
        ask = self._layer_inner_respond
        # Of another dispatch middleware the answer is a response already.
        is_owned = getattr(ask, "__func__", None) is BaseHTTPMiddleware._layer_respond
        self._layer_call_next = (
            cast("RequestResponseEndpoint", ask) if is_owned else _CallNext(ask)._layer_respond
        )


def _check_dispatch(function: Any, count: int, name: str) -> None:
    """Refuse a dispatch function of the wrong number of parameters where the program defines it.

    Raises:
        TypeError: it can't be called with the request and ``call_next``.
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
    """What a dispatch function awaits for the response of the app inside."""

    __slots__ = ("_layer_inner_respond",)

    def __init__(self, ask: Respond) -> None:
        self._layer_inner_respond = ask

    async def _layer_respond(self, request: Request[Any]) -> Response:
        if type(getattr(request, "_receive", None)) is BodyChannel:
            request._body_channel().hand_on()
        answer = await self._layer_inner_respond(request)
        if (
            isinstance(answer, Response)
            and answer.background is None
            and getrefcount(answer) <= HELD_HERE
        ):
            return answer
        return await take_over(answer, request)


async def take_over(answer: ASGIApp, request: Request[Any]) -> Response:
    """Return ``answer`` as a response with which a dispatch function may do what it likes."""
    if not isinstance(answer, Response):
        return await begin(answer, request, cleanup_of(request))
    response = answer._copy()
    if response.background is not None:
        # A function that sets another task, or returns another response, must not lose this one.
        cleanup_of(request).add_task(response.background)
        response.background = None
    return response
