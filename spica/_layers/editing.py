"""Edit the status and headers of a response, on the value path and on the message path.

A layer that only edits (CORS, sessions, security headers) writes its edit once, as a function of a ``Start``.
The edit works on a Response and on an opaque app.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from spica._asgi.cleanup import nearest_cleanup
from spica._asgi.scope import PENDING_EDITS
from spica._asgi.sending import SendHook, StartMessage
from spica.datastructures import MutableHeaders
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send


class Start(Protocol):
    """The part of a response that an edit may change: of a Response, or of an opaque app's start message."""

    status_code: int

    @property
    def headers(self) -> MutableHeaders:
        """The headers. Change them in place."""
        ...


Edit = Callable[[Start], None]
"""An edit of a ``Start``. It keeps no state of its own between two responses."""

RequestEdit = Callable[["Request[Any]", Any], None]
"""An edit that also gets the request, before the ``Start``: a method of a layer, without a partial."""


def edit_answer(answer: ASGIApp, edit: Edit, request: Request[Any] | None = None) -> ASGIApp:
    """Return ``answer`` with ``edit`` applied: at once to a Response, at its start to an opaque app.

    Pass the answer from a variable: if anything else holds the response too, the edit goes to a copy. With
    ``request``, the background task of a response still runs if the edit fails.
    """
    if isinstance(answer, Response):
        if getrefcount(answer) > HELD_BY_CALLER:
            answer = answer._copy()
        try:
            edit(answer)
        except Exception:
            if request is not None and answer.background is not None:
                nearest_cleanup(request).add_task(answer.background)
            raise
        return answer
    return ResponseEditor(answer, edit)


def announce_close(answer: ASGIApp, scope: Scope) -> ASGIApp:
    """Return ``answer``, after which an error is raised to the server, with ``Connection: close``.

    The server closes the connection then. Without the field, a client could send its next request on the
    connection and lose it (RFC 9112 s.9.6). HTTP/2 forbids the field (RFC 9113 s.8.2.2).
    """
    if scope.get("http_version", "1.1") not in ("1.0", "1.1"):
        return answer
    return edit_answer(answer, _announce_close)


def _announce_close(start: Start) -> None:
    start.headers["connection"] = "close"


def push_edit(request: Request[Any], edit: RequestEdit) -> Any:
    """Register ``edit`` for a response that an endpoint sends by hand. Return the earlier registrations.

    Such an endpoint passes no response to this layer, so ``HandSend`` applies the edit. Assign the returned
    value to ``request._edits`` after the inner layer has answered.
    """
    outer = request._edits
    request._edits = (edit, outer)
    return outer


def add_pending_edit(request: Request[Any], edit: Edit) -> None:
    """Pass ``edit`` on to the layer that answers the current exception.

    Without CORS headers, a page of another origin could not read the error response.
    """
    request.scope.setdefault(PENDING_EDITS, []).append(edit)


def take_pending_edits(scope: Scope) -> Sequence[Edit]:
    """Remove and return the pending edits of an exception, innermost first."""
    edits: Sequence[Edit] = scope.pop(PENDING_EDITS, ())
    return edits


def apply_pending_edits(scope: Scope, answer: ASGIApp) -> ASGIApp:
    """Return the answer to an exception with the edits of the layers that the exception has passed."""
    for edit in take_pending_edits(scope):
        answer = edit_answer(answer, edit)
    return answer


class ResponseEditor:
    """Run an opaque app and edit its response start."""

    __slots__ = ("app", "edit")

    def __init__(self, app: ASGIApp, edit: Edit) -> None:
        self.app = app
        self.edit = edit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app. After an error before its start, the edit is pending for the error page."""
        editing = SendHook(send, self._edit_start)
        try:
            await self.app(scope, receive, editing)
        except Exception:
            if not editing.has_run:
                scope.setdefault(PENDING_EDITS, []).append(self.edit)
            raise

    def _edit_start(self, message: Message) -> Message:
        start = StartMessage(message)
        self.edit(start)
        return start.write(message)


# Copy-on-shared: an endpoint may return the same Response object again and again, so an edit must not change
# an object with other holders. CPython counts references. If the only reference is the variable of the
# layer that edits, the object is ours, and needs no copy (0.5 us). Counts are only used after a self-test.
# Count within a `try` statement or its `else`, not after it: CPython 3.14 counts one more there, and copies.


def _no_count(value: object) -> int:
    return sys.maxsize  # more than any limit: everything is copied


getrefcount: Callable[[Any], int] = getattr(sys, "getrefcount", _no_count)


class _Sample:
    """An object to count references to."""


async def _return_sample(holders: list[Any] | None) -> object:
    sample = _Sample()
    if holders is not None:
        holders.append(sample)
    return sample


def _count_in_function(value: object) -> int:
    return getrefcount(value)


async def _count_awaited(holders: list[Any] | None) -> tuple[int, int]:
    """Count an awaited object as layers do: in this frame, and in a function that it is passed to."""
    answer = await _return_sample(holders)
    return getrefcount(answer), _count_in_function(answer)


def _run(steps: Coroutine[Any, Any, tuple[int, int]]) -> tuple[int, int]:
    try:
        steps.send(None)
    except StopIteration as done:
        counts: tuple[int, int] = done.value
        return counts
    raise RuntimeError("This coroutine does not wait.")


def calibrate() -> tuple[int, int]:
    """Return the counts of an object that one variable holds; (0, 0), never reached, if counts can't be used.

    The counts depend on the version: from 3.14 on, CPython borrows references to local variables, and counts
    1 instead of 2. This is the self-test: an object with a second holder must count one more. Another
    interpreter, and CPython without the GIL, may count references late or not at all, so they always copy.
    """
    is_gil_enabled: Callable[[], bool] | None = getattr(sys, "_is_gil_enabled", None)  # since 3.13
    has_gil = is_gil_enabled is None or is_gil_enabled()
    if sys.implementation.name != "cpython" or not has_gil:
        return 0, 0
    alone, shared = _run(_count_awaited(None)), _run(_count_awaited([]))
    return alone if shared == (alone[0] + 1, alone[1] + 1) else (0, 0)


HELD_HERE, HELD_BY_CALLER = calibrate()
"""The count of an object that only one variable holds: of this frame, or of the caller's frame."""


def own(answer: Response) -> Response:
    """Return ``answer`` if only one variable of the caller holds it, else a copy."""
    return answer if getrefcount(answer) <= HELD_BY_CALLER else answer._copy()
