"""Run one request through a stack: answering, sending, cleaning up.

The layer that the server calls, nearly always the application, does these three steps for all layers inside::

    answer = await answer_request(layer.respond, request, errors)     # a value; nothing is sent
    await send_answer(answer, request, send, errors)
    await finish_request(request, errors)

Only the second step uses ASGI. Another protocol can take the answer of the first step, send a Response in its
own way, and end with the third step.

``errors`` is the policy for exceptions that no layer has answered: nearly always the server-error layer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from spica._asgi.scope import CLEANUP
from spica._asgi.sending import has_started_by_hand
from spica._layers.answers import answer_after_hand_sent, resolve_outermost
from spica._layers.cleanup import own_cleanup
from spica._layers.editing import announce_close
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica._asgi.body import BodyChannel
    from spica.requests import Request
    from spica.types import ASGIApp, Send


class ErrorPolicy(Protocol):
    """The policy for exceptions that no layer has answered."""

    async def _layer_answer_error(self, request: Request[Any], exc: Exception) -> ASGIApp:
        """Return the answer to an exception, or raise it."""
        ...

    def _layer_guard(self, answer: ASGIApp, request: Request[Any]) -> ASGIApp:
        """Return an opaque answer inside an app that answers its exceptions."""
        ...

    async def _layer_report(self, request: Request[Any], exc: Exception) -> bool:
        """Record an error that came too late for a response; return whether to raise it."""
        ...


async def answer_request(
    respond: Callable[[Request[Any]], Awaitable[ASGIApp]],
    request: Request[Any],
    errors: ErrorPolicy,
) -> ASGIApp:
    """Return the answer to ``request``, or to its exception. Send nothing.

    A Response that does not receive (``_receives``) can be sent as it is. Any other answer is an app to run.
    """
    try:
        answer = await respond(request)
        if isinstance(answer, Response) and not answer._receives:
            return answer
        return await resolve_outermost(answer, request)
    except Exception as exc:
        return await answer_error(request, exc, errors)


async def answer_error(request: Request[Any], exc: Exception, errors: ErrorPolicy) -> ASGIApp:
    """Return the answer to an exception; raise it if user code has started the response by hand."""
    if has_started_by_hand(request):
        raise exc
    return await errors._layer_answer_error(request, exc)


async def resolve_and_send(
    answer: Any, request: Request[Any], send: Send, errors: ErrorPolicy
) -> None:
    """Send an answer that ``answer_request`` has not resolved, or the answer to its exception."""
    try:
        answer = await resolve_outermost(answer, request)
    except Exception as exc:
        answer = await answer_error(request, exc, errors)
    await send_answer(answer, request, send, errors)


async def send_answer(
    answer: ASGIApp, request: Request[Any], send: Send, errors: ErrorPolicy
) -> None:
    """Run an answer against ``send``. Exceptions of an opaque app are answered until it has started.

    After a response that user code has sent by hand, nothing is sent again.
    """
    scope = request.scope
    cleanup = request._cleanup
    is_undisturbed = cleanup is None or cleanup.is_undisturbed
    if is_undisturbed and isinstance(answer, Response) and not answer._receives:
        await answer.__call__(scope, request._receive, send)  # quicker than the slot for calls
        return
    is_guarded = not has_started_by_hand(request)
    if not is_guarded:
        answer = answer_after_hand_sent(answer, request)
    elif cleanup is not None and cleanup.failures:
        # The server closes the connection when the error reaches it.
        answer = announce_close(answer, scope)
    # The body channel owns `receive`: an answer that wants the body, or a disconnect, gets both from it.
    channel = request._channel()
    try:
        app = errors._layer_guard(answer, request) if is_guarded else answer
        await app(scope, channel, send)
    finally:
        register_listener(request, channel)


async def record_error(request: Request[Any], exc: BaseException, errors: ErrorPolicy) -> None:
    """Record an exception that came while the answer was sent; ``finish_request`` raises it.

    Raises:
        BaseException: ``exc`` itself, if the request was cancelled.
    """
    if not isinstance(exc, Exception):  # cancelled, or the end of the program
        await _abandon(request)
        raise exc
    try:
        is_raised = await errors._layer_report(request, exc)
    except BaseException:
        await _abandon(request)
        raise
    if is_raised:
        own_cleanup(request).add_failure(exc)


async def finish_request(request: Request[Any], errors: ErrorPolicy) -> None:
    """Run the cleanup of the request: background tasks, foreign apps, forms. Raise its errors."""
    cleanup = request._cleanup
    if cleanup is None or (cleanup.is_empty and not cleanup.has_unread()):
        return
    late = await cleanup.run()
    # A layer outside must not find the finished cleanup. Foreign apps that ended meanwhile have put it back.
    request.scope.pop(CLEANUP, None)
    for error in late:
        await errors._layer_report(request, error)
    cleanup.raise_failures()


def register_listener(request: Request[Any], channel: BodyChannel) -> None:
    """End the wait for a disconnect with the request, even if a Request further in started it."""
    listener = channel.listener
    if listener is not None and listener not in own_cleanup(request).started:
        own_cleanup(request).add_started(listener)


async def _abandon(request: Request[Any]) -> None:
    if request._cleanup is not None:
        await request._cleanup.abandon()
