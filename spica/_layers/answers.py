"""Check the return value of a user's function, and resolve it to an answer.

An answer is an ASGI app, nearly always a Response. An endpoint, a handler or a dispatch function that returns
anything else is a mistake; the error names the function, the value and the fix.
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
    """Return ``answer`` in the form in which layers pass it on.

    A FileResponse looks up its file here, because its status and headers depend on it. A response with an own
    ``__call__`` becomes opaque. ``source`` is the function that returned the answer.

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
        if type(answer)._is_value:  # a replaced body, whose iterator is now registered
            answer._is_value = True
            return answer
        return answer.__call__
    if answer is None and has_started_by_hand(request):
        return describe_sent(request)
    return check_app(answer, source)


async def resolve_outermost(answer: Any, request: Request[Any]) -> ASGIApp:
    """Return ``answer`` for the layer that sends it. Apps need no check there, and stay as they are."""
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


SENT = AlreadySent()


def describe_sent(request: Request[Any]) -> AlreadySent:
    """Return a response with the status and headers that were sent by hand, so that layers can read them."""
    sent = AlreadySent()
    hand_send = nearest_cleanup(request).hand_send
    if hand_send is not None and hand_send.start is not None:
        sent.status_code = hand_send.start["status"]
        sent.raw_headers = list(hand_send.start.get("headers", ()))
    return sent


def answer_after_hand_sent(answer: Any, request: Request[Any]) -> ASGIApp:
    """Return the app to run instead of ``answer`` after a response was started by hand.

    A Response is not sent, but its background task runs. An app may send the rest of the body.
    """
    response = getattr(answer, "__self__", answer)  # a bound `__call__` of a response
    if not isinstance(response, Response):
        return _Continuation(answer)
    if response.background is not None:
        nearest_cleanup(request).add_task(response.background)
    return SENT


class _Continuation:
    """Run an app that may send the rest of a response, but no second start."""

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
    """Return whether ``answer`` is an ASGI app other than a Response."""
    return callable(answer) and not isinstance(answer, (type, Response))


def check_app(answer: Any, source: Any) -> ASGIApp:
    """Return ``answer`` if it is an ASGI app other than a Response. ``source`` is the function that made it.

    Raises:
        TypeError: ``answer`` is not an app.
    """
    if is_app(answer):
        app: ASGIApp = answer
        return app
    raise TypeError(explain_answer(answer, source))


def explain_answer(answer: Any, source: Any) -> str:
    """Return an error message that names the mistake in ``answer`` and the fix."""
    if answer is None:
        found, remedy = "None", "Is a `return` missing?"
    elif isinstance(answer, type):
        found = f"the class {answer.__name__}"
        remedy = f"Return an instance: {answer.__name__}(...)."
    elif hasattr(answer, "__await__"):
        found = f"an awaitable, {_shorten(answer)}"
        remedy = "Is an `await` missing, or an `async` before `def`?"
        close = getattr(answer, "close", None)
        if close is not None:
            close()  # otherwise Python warns that it was never awaited, without the location
    else:
        found = f"{_shorten(answer)} of type {type(answer).__name__}"
        remedy = "Wrap it in one, for example JSONResponse(...) or PlainTextResponse(...)."
        if isinstance(answer, BaseException):
            remedy = "Raise it."
        elif isinstance(answer, (AsyncGenerator, Generator)):
            remedy = "Wrap it in one: StreamingResponse(...)."
    return f"{describe(source)} returned {found}, but must return a Response. {remedy}"


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
