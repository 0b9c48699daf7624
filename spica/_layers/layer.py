"""The value path: ask a layer for its answer instead of letting it send.

Everything is an ASGI app, and ``await app(scope, receive, send)`` always works: that is the message path.
A layer of ours is a ``Responder``. It can also be asked *who answers this request*::

    answer = await layer._layer_respond(request)     # an ASGI app, nearly always a Response

without anything being sent. A Response is a value that layers outside can look at and edit; the answer
of a mounted foreign app is that app itself, not yet run ("opaque"). So a stack of our layers is a chain of
plain awaits: no wrapped ``send``, no task, no stream. The outermost layer runs what came out.

A layer is written once, as ``_layer_respond``; its ``__call__`` is the one below. Whether a layer may be
asked by value is decided when the stack or the route index is built: nobody may have overridden or patched
its ``__call__``, as tracing agents and subclasses do, and it must not send responses by hand. Otherwise the
layer is opaque like any foreign app. Users write subclasses of layers, so all names here begin with
``_layer_``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any

from spica._asgi.scope import CLEANUP
from spica._asgi.sending import has_started_by_hand
from spica._layers.answers import answer_after_hand_sent, settle_outermost
from spica._layers.cleanup import own_cleanup
from spica._layers.editing import announce_close
from spica._originals import is_original, remember
from spica.requests import Request
from spica.responses.base import Response
from spica.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from spica._asgi.body import BodyChannel
    from spica._asgi.cleanup import Cleanup

Respond = Callable[[Request[Any]], Awaitable["ASGIApp"]]
"""How a layer asks the one inside it."""


class InnerApp:
    """Hold the app a layer stands around, and resolve once how that app is asked.

    The app itself is kept as ``_layer_inner``. Assigning it also sets ``_layer_inner_respond`` and, where
    scopes that are not HTTP are handed on too, ``_layer_inner_connect``, so that a stack changed from
    outside stays right. All three have the suffix. They are set as attributes, not in ``__dict__``: an object
    whose ``__dict__`` was asked for is larger, and below Python 3.13 slower, ever after.
    """

    def __init__(self, suffix: str = "", *, connects: bool = True) -> None:
        self._inner_name = "_layer_inner" + suffix
        self._ask_name = "_layer_inner_respond" + suffix
        self._connect_name = "_layer_inner_connect" + suffix if connects else None

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        try:
            return getattr(instance, self._inner_name)
        except AttributeError:
            raise AttributeError(
                f"{type(instance).__name__!r} object has no attribute {self._name!r}"
            ) from None

    def __set__(self, instance: Any, app: Any) -> None:
        set_attribute = object.__setattr__
        set_attribute(instance, self._inner_name, app)
        set_attribute(instance, self._ask_name, None if app is None else resolve_respond(app))
        if self._connect_name is not None:
            set_attribute(instance, self._connect_name, connector(app))
        after_change = getattr(instance, "_layer_has_changed", None)
        if after_change is not None:
            after_change()


class Responder:
    """Base of every layer of ours: written as ``_layer_respond``, run as an ASGI app.

    A layer around another sets ``self.app`` and awaits ``self._layer_inner_respond(request)`` for the
    inner answer.
    """

    __slots__ = ()  # so that one that is made for each route can be small

    app = InnerApp()
    _layer_inner_respond: Respond
    _layer_inner_connect: ASGIApp

    def _layer_respond(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the ASGI app that answers ``request``, once awaited; send nothing.

        Written as ``async def``, or as a plain function where there is nothing to do after the inner
        answer, and the inner awaitable can be handed on.
        """
        raise NotImplementedError(f"{type(self).__name__} must define _layer_respond(request).")

    def _layer_sends_by_hand(self) -> bool:
        """Return whether the layer sends responses itself, so that it can only be known by running it."""
        return False

    def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a scope that is not HTTP: WebSockets and lifespan stay on the message path.

        Written as ``async def``, or as a plain function that hands on the inner awaitable.
        """
        return self._layer_inner_connect(scope, receive, send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make the request, ask for its answer, and run that."""
        if scope["type"] != "http":
            await self._layer_connect(scope, receive, send)
            return
        if CLEANUP in scope:
            await self._layer_call_inside(scope, receive, send)
            return
        request: Request[Any] = Request(scope, receive, send)
        try:
            try:
                answer: Any = await self._layer_inner_respond_outermost(request)
                is_simple = isinstance(answer, Response) and not answer._receives
                if not is_simple:
                    answer = await settle_outermost(answer, request)
            except Exception as exc:
                answer = await self._layer_answer_early(request, exc)
                is_simple = False
            cleanup = request._cleanup
            if is_simple and (cleanup is None or cleanup.is_undisturbed):
                # Looking up the method by name is quicker than the slot for calls.
                await answer.__call__(scope, receive, send)
            else:
                await self._layer_run(answer, request, send)
        except BaseException as exc:
            await self._layer_note(request, exc)
        # That of the request: the scope may have one again that an app further in has put back.
        if request._cleanup is not None:
            await self._layer_settle(request, request._cleanup)

    async def _layer_answer_early(self, request: Request[Any], exc: Exception) -> ASGIApp:
        """Return the answer to an exception; raise it if the response was started by hand."""
        if has_started_by_hand(request):
            raise exc
        return await self._layer_answer_error(request, exc)

    async def _layer_run(self, answer: ASGIApp, request: Request[Any], send: Send) -> None:
        """Run an answer that is not a plain response, or that an error or a response by hand has preceded."""
        scope = request.scope
        guard = self._layer_guard
        if has_started_by_hand(request):
            answer, guard = answer_after_hand_sent(answer, request), _unguarded
        elif request._cleanup is not None and request._cleanup.failures:
            # The server closes the connection when the error reaches it.
            answer = announce_close(answer, scope)
        # An answer that may ask for the body, or for a disconnect, asks the owner of both.
        channel = request._channel()
        try:
            await guard(answer, request)(scope, channel, send)
        finally:
            _note_listener(request, channel)

    async def _layer_note(self, request: Request[Any], exc: BaseException) -> None:
        if not isinstance(exc, Exception):  # cancelled, or the end of the program
            await _abandon(request)
            raise exc
        try:
            is_raised = await self._layer_report(request, exc)
        except BaseException:
            await _abandon(request)
            raise
        if is_raised:
            own_cleanup(request).add_failure(exc)

    async def _layer_settle(self, request: Request[Any], cleanup: Cleanup) -> None:
        """Run the cleanup of the request, and raise its errors."""
        if cleanup.is_empty and not (cleanup.unread and cleanup.has_unread()):
            return
        late = await cleanup.settle()
        # It is settled: no layer outside may find it. Apps that ended meanwhile have put it back.
        request.scope.pop(CLEANUP, None)
        for error in late:
            await self._layer_report(request, error)
        cleanup.raise_failures()

    async def _layer_call_inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run inside an app that a dispatch middleware has started, whose cleanup the scope has.

        This layer does its own cleanup: waiting for the outer layer would be waiting for ourselves.
        """
        outer = scope.pop(CLEANUP)
        try:
            await _ORIGINAL_CALL(self, scope, receive, send)  # what replaces it was called already
        finally:
            scope[CLEANUP] = outer

    # The server-error layer, and an application with one, are often the very layer that runs the answer.
    # What they do about errors is then done by the `try` that is there anyway.

    def _layer_inner_respond_outermost(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        return self._layer_respond(request)

    async def _layer_answer_error(self, request: Request[Any], exc: Exception) -> ASGIApp:
        """Return the answer to an exception that nobody further in has answered, or raise it."""
        own_cleanup(request).add_failure(exc)  # as it is: a layer outside may answer it
        raise exc

    def _layer_guard(self, answer: ASGIApp, request: Request[Any]) -> ASGIApp:
        """Return an opaque answer in what answers its exceptions."""
        return answer

    async def _layer_report(self, request: Request[Any], exc: Exception) -> bool:
        """Hear of an error that came too late to be answered; return whether it is to be raised."""
        return True


def _note_listener(request: Request[Any], channel: BodyChannel) -> None:
    """Let who waits for the client's leaving end with the request, also if a Request further in began it."""
    listener = channel.listener
    if listener is not None and listener not in own_cleanup(request).begun:
        own_cleanup(request).add_started(listener)


def _unguarded(answer: ASGIApp, request: Request[Any]) -> ASGIApp:
    """Return an answer whose errors can't be answered any more."""
    return answer


async def _abandon(request: Request[Any]) -> None:
    if request._cleanup is not None:
        await request._cleanup.abandon()


_ORIGINAL_CALL = Responder.__call__
remember(Responder, "__call__")
_ASKED_AS: dict[Any, str] = {}


def responds_as(method: Any, name: str) -> None:
    """Declare that the bound method ``method``, used as an app, may be asked as method ``name``."""
    _ASKED_AS[method] = name


def resolve_respond(app: ASGIApp) -> Respond:
    """Return how ``app`` is asked for its answer; one that can't be asked answers with itself."""
    if isinstance(app, Responder) and is_original(type(app), "__call__"):
        return _Opaque(app)._layer_respond if app._layer_sends_by_hand() else app._layer_respond
    if isinstance(app, MethodType) and app.__func__ in _ASKED_AS:
        ask: Respond = getattr(app.__self__, _ASKED_AS[app.__func__])
        return ask
    if isinstance(app, type):
        # A class is an app too, but as an answer it would look like a forgotten pair of brackets.
        app = partial(_run_instance, app)
    return _Opaque(app)._layer_respond


async def _run_instance(cls: Any, scope: Scope, receive: Receive, send: Send) -> None:
    await cls(scope, receive, send)


def connector(app: Any) -> Any:
    """Return what serves a scope that is not HTTP: the app, without the steps that are for HTTP."""
    is_by_value = isinstance(app, Responder) and is_original(type(app), "__call__")
    return app._layer_connect if is_by_value else app


class _Opaque:
    """An app that is only known by running it."""

    __slots__ = ("app",)

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the app itself, not yet run."""
        return self.app
