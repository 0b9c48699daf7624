"""Write middleware that passes responses as values: ``Layer``.

A layer gets a request, and returns the answer instead of sending it. It needs no wrapped ``send``, task or
stream. A layer that sets one header costs about 1 microsecond per request, most of it for the assignment to
``response.headers``. This one adds a header to every response, also to error pages and to the responses of
mounted foreign apps::

    from spica.layers import EditableResponse, Layer
    from spica.requests import Request

    class PoweredBy(Layer):
        def edit_response(self, request: Request, response: EditableResponse) -> None:
            response.headers["x-powered-by"] = "spica"

This one answers some requests itself::

    from spica.layers import Answer, Layer
    from spica.requests import Request
    from spica.responses import PlainTextResponse
    from spica.types import ASGIApp

    class Maintenance(Layer):
        def __init__(self, app: ASGIApp, until: str) -> None:
            super().__init__(app)
            self.until = until

        async def respond(self, request: Request) -> Answer:
            if request.url.path != "/health":
                return PlainTextResponse("Back at " + self.until, status_code=503)
            return await self.inner.respond(request)

Use them like any middleware: ``Middleware(Maintenance, until="noon")``. A layer is also an ASGI app, so it
works below another framework, and around any app.

An *answer* is an ASGI app, nearly always a ``Response``. It is *opaque* if you must run it to see its
response: a mounted foreign app, a pure ASGI middleware, a layer with its own ``__call__``. Return an opaque
answer as it is; ``edit_response`` edits it too. If you must see a response, for its body for example, await
``as_response(answer, request)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from spica._diagnostics.arguments import takes
from spica._layers.answers import resolve_answer
from spica._layers.cleanup import call_at_end
from spica._layers.editing import HELD_HERE, add_pending_edit, edit_answer, getrefcount
from spica._layers.editing import Start as EditableResponse
from spica._layers.exception_handlers import deny
from spica._layers.foreign import as_response
from spica._layers.layer import BaseLayer, Inner
from spica._originals import is_original, remember
from spica.responses.base import Response
from spica.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from spica._layers.editing import Edit, RequestEdit
    from spica._layers.layer import Respond
    from spica.requests import Request

__all__ = [
    "Answer",
    "EditableResponse",
    "Inner",
    "Layer",
    "as_response",
    "call_at_end",
    "deny",
    "replace_receive",
]

_PARAMETERS = {
    "respond": "self, request",
    "edit_response": "self, request, response",
    "connect": "self, scope, receive, send",
}
"""The parameters of the methods that a layer overrides."""

Answer: TypeAlias = ASGIApp
"""An answer to a request: nearly always a Response, else an ASGI app that has not run yet."""


class Layer(BaseLayer):
    """A middleware that passes answers as values.

    Override ``respond`` to inspect requests and to answer them, ``edit_response`` to change status and
    headers, ``connect`` for WebSockets. A method that you do not override costs nothing per request. Set
    ``middleware_traits`` to a tuple of strings to have the order of middleware checked, for example
    ``("answers",)`` for a layer that answers requests itself: it must be inside ``CORSMiddleware``.

    Args:
        app: The app inside. It may be any ASGI app.

    Raises:
        TypeError: ``edit_response`` is an ``async def``, ``respond`` is a generator, or a method has other
            parameters. The error comes when the class is defined.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if inspect.iscoroutinefunction(cls.edit_response):
            raise TypeError(
                f"{cls.__qualname__}.edit_response() must be a `def` function, not `async def`. Await in "
                "respond() instead."
            )
        respond = vars(cls).get("respond")
        if inspect.isasyncgenfunction(respond) or inspect.isgeneratorfunction(respond):
            raise TypeError(f"{cls.__qualname__}.respond() must return an answer, not yield.")
        for name, parameters in _PARAMETERS.items():
            method = vars(cls).get(name)
            if not takes(method, parameters.count(",") + 1):
                raise TypeError(
                    f"{cls.__qualname__}.{name}() has other parameters than spica passes. Write "
                    f"{name}({parameters})."
                )

    @property
    def inner(self) -> Inner:
        """The app inside: ``await self.inner.respond(request)`` returns its answer."""
        return self._layer_inner

    def respond(self, request: Request[Any]) -> Awaitable[Answer]:
        """Return the answer to ``request``: a response of your own, or that of the app inside.

        Override it with an ``async def``.

        An exception of the app inside passes here on its way to the exception handlers. You may catch it, and
        you may raise one. The response that a handler makes passes ``edit_response``, too.
        """
        return self._layer_inner.respond(request)

    def edit_response(self, request: Request[Any], response: EditableResponse) -> None:
        """Change ``status_code`` and ``headers`` of the response, before it is sent.

        It is called once for each response: the answer of ``respond``, the error page for an exception, and a
        response that the endpoint sends by hand. An opaque answer is edited when it starts.
        """

    def respond_edited(
        self, request: Request[Any], edit: Callable[[EditableResponse], None]
    ) -> Awaitable[Answer]:
        """Return, once awaited, the answer of the app inside with ``edit`` applied.

        Use it in ``respond`` for an edit that depends on the request. Like ``edit_response``, the edit also
        reaches error pages and responses that the endpoint sends by hand.
        """
        return self._layer_edited(self._layer_inner.respond, request, _WithoutRequest(edit))

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket or the lifespan, according to ``scope["type"]``. By default, the app inside does.

        To refuse a WebSocket, await ``deny(response, scope, receive, send)``.
        """
        await self._layer_inner.connect(scope, receive, send)

    # -- for the layers around -------------------------------------------------------------------------

    def _layer_resolve(self) -> Respond:
        """Skip the steps of methods that are not overridden."""
        cls = type(self)
        if not is_original(cls, "edit_response"):
            return self._layer_edit_inner if cls.respond is Layer.respond else self._layer_edit_own
        if not is_original(cls, "respond"):
            return self._layer_respond_checked
        # Layer itself passes requests on, and our own middleware returns answers that need no check.
        return self._layer_pass if cls.respond is Layer.respond else self.respond

    def _layer_pass(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        return self._layer_inner.respond(request)

    async def _layer_respond_checked(self, request: Request[Any]) -> ASGIApp:
        answer = await self.respond(request)
        if not isinstance(answer, Response) or not answer._is_value:
            return await resolve_answer(answer, request, self.respond)
        return answer

    def _layer_respond(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the answer of the outermost layer, which no stack has resolved."""
        return self._layer_resolve()(request)

    def _layer_edit_inner(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        return self._layer_edited(self._layer_inner.respond, request, self.edit_response)

    def _layer_edit_own(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        return self._layer_edited(self.respond, request, self.edit_response)

    async def _layer_edited(
        self, respond: Respond, request: Request[Any], edit: RequestEdit
    ) -> ASGIApp:
        """Apply an edit to the answer of ``respond``. An exception takes the edit to the error page."""
        outer = request._edits
        request._edits = (edit, outer)  # for an endpoint that sends its response by hand
        try:
            answer = await respond(request)
            if isinstance(answer, Response) and answer._is_value:
                # Nearly always this frame holds the only reference, so it needs no copy.
                is_alone = getrefcount(answer) <= HELD_HERE and not answer.background
            else:
                answer = await resolve_answer(answer, request, respond)
                is_alone = False
        except Exception:
            add_pending_edit(request, partial(edit, request))
            raise
        else:
            if is_alone:
                edit(request, answer)
                return answer
            return edit_answer(answer, partial(edit, request), request)
        finally:
            request._edits = outer

    def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self.connect(scope, receive, send)


remember(Layer, "respond", "edit_response")


class _WithoutRequest:
    """Call an edit of ``respond_edited``, which does not get the request."""

    __slots__ = ("edit",)

    def __init__(self, edit: Edit) -> None:
        self.edit = edit

    def __call__(self, request: Request[Any], response: EditableResponse) -> None:
        self.edit(response)


def replace_receive(request: Request[Any], receive: Receive) -> None:
    """Let the layers inside, and the endpoint, read the body of ``request`` from ``receive``.

    Wrap the present one, ``request.receive``, for example to decode the body. A body that a layer outside has
    read is read again through ``receive``.
    """
    request._receive = receive
    for name in ("_body", "_json", "_form"):
        vars(request).pop(name, None)
