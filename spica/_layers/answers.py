"""Check what a user's function returned, and make it an answer.

An endpoint, a handler or a dispatch function returns a response, or any ASGI app. Anything else is a
mistake that is named here, with the place.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any

from spica._asgi.cleanup import nearest_cleanup
from spica._asgi.sending import SendHook, has_started_by_hand
from spica._diagnostics.call_site import describe
from spica.exceptions import HTTPException
from spica.responses.base import PlainTextResponse, Response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send


async def resolve_answer(answer: Any, request: Request[Any], source: Any) -> ASGIApp:
    """Return ``answer`` as it may be passed on by value.

    A response whose status and headers are only known once something was looked up (a file) is resolved
    here; one that brings its own way of sending is opaque. ``source`` made the answer.

    Raises:
        TypeError: ``answer`` is not a response.
    """
    if isinstance(answer, Response):
        if answer._is_value:
            return answer
        if answer._resolve is not None:
            resolved: ASGIApp = await answer._resolve(request)
            return resolved
        answer._register_iterators(request)
        if type(answer)._is_value:  # a body was set that the request did not know of
            answer._is_value = True
            return answer
        return answer.__call__
    if answer is None and has_started_by_hand(request):
        return describe_sent(request)
    return check_app(answer, source)


async def resolve_outermost(answer: Any, request: Request[Any]) -> ASGIApp:
    """Return ``answer`` as the layer that sends it can run it; an app and a stream are run as they are."""
    if is_app(answer):
        app: ASGIApp = answer
        return app
    return await resolve_answer(answer, request, request.scope.get("endpoint"))


class AlreadySent(Response):
    """The answer of an endpoint, a handler or a dispatch function that has sent its response itself."""

    _is_value, _receives = True, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing, and run the background task that a layer has set."""
        if self.background is not None:
            await self.background()


_NOTHING = AlreadySent()


def describe_sent(request: Request[Any]) -> AlreadySent:
    """Return a response with the status and headers that were sent, for the layers around to look at."""
    sent = AlreadySent()
    hand_send = nearest_cleanup(request).hand_send
    if hand_send is not None and hand_send.start is not None:
        sent.status_code = hand_send.start["status"]
        sent.raw_headers = list(hand_send.start.get("headers", ()))
    return sent


def answer_after_hand_sent(answer: Any, request: Request[Any]) -> ASGIApp:
    """Return the app to run in place of ``answer`` when a response was already started by hand.

    A response is not sent, and its background task still runs. An app may send the rest of the body.
    """
    response = getattr(answer, "__self__", answer)  # a response with a `__call__` of its own
    if not isinstance(response, Response):
        return _Continuation(answer)
    if response.background is not None:
        nearest_cleanup(request).add_task(response.background)
    return _NOTHING


class _Continuation:
    """Run an app that may send the rest of a response, and no start."""

    __slots__ = ("app",)

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, SendHook(send, _refuse_second_start))


def _refuse_second_start(message: Message) -> None:
    raise RuntimeError(
        "The endpoint has sent a response by hand, and has returned an app that starts another one."
    )


def is_app(answer: Any) -> bool:
    """Return whether ``answer`` is an app of some kind, and no Response."""
    return callable(answer) and not isinstance(answer, (type, Response))


def check_app(answer: Any, source: Any) -> ASGIApp:
    """Return ``answer``, which is not a Response, if it can be an app. ``source`` made it.

    Raises:
        TypeError: it can't.
    """
    if is_app(answer):
        app: ASGIApp = answer
        return app
    raise TypeError(explain_answer(answer, source))


def explain_answer(answer: Any, source: Any) -> str:
    """Return what is wrong with ``answer`` and what to do about it."""
    if answer is None:
        what, remedy = "None", "Is a `return` missing?"
    elif isinstance(answer, type):
        what = f"the class {answer.__name__}"
        remedy = f"Return an instance: {answer.__name__}(...)."
    elif hasattr(answer, "__await__"):
        what = f"an awaitable, {_shorten(answer)}"
        remedy = "Is an `await` missing, or an `async` before `def`?"
        close = getattr(answer, "close", None)
        if close is not None:
            close()  # or Python warns that it was never awaited, without saying where
    else:
        what = f"{_shorten(answer)} of type {type(answer).__name__}"
        remedy = "Wrap it in one, for example JSONResponse(...) or PlainTextResponse(...)."
        if isinstance(answer, BaseException):
            remedy = "Raise it."
        elif isinstance(answer, (AsyncGenerator, Generator)):
            remedy = "Wrap it in one: StreamingResponse(...)."
    return f"{describe(source)} returned {what}, but must return a Response. {remedy}"


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def refuse(
    scope: Scope, status_code: int, detail: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """Return the response that refuses a request. ``detail`` defaults to the phrase of the status code.

    Raises:
        HTTPException: The request is within an application, so that its handlers make the response.
    """
    error = HTTPException(status_code=status_code, detail=detail, headers=headers)
    if "app" in scope:
        raise error
    return PlainTextResponse(error.detail, status_code=status_code, headers=headers)
