"""Edit the status and headers of a response on its way out, whichever way it goes.

A layer that only edits (CORS, sessions, security headers) does not care whether the answer inside it is
a Response or an opaque app. It writes its edit once, as a function of a ``Start``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from spica._asgi.cleanup import nearest_cleanup
from spica._asgi.scope import PENDING_EDITS
from spica._asgi.sending import SendHook, StartMessage
from spica.datastructures import MutableHeaders
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send


class Start(Protocol):
    """What an edit may change: a Response, or the start message of an opaque app."""

    status_code: int

    @property
    def headers(self) -> MutableHeaders:
        """The headers, to be changed in place."""
        ...


Edit = Callable[[Start], None]
"""An edit of a ``Start``. It keeps no state of its own between two responses."""


def edit_answer(answer: ASGIApp, edit: Edit, request: Request[Any] | None = None) -> ASGIApp:
    """Return ``answer`` with ``edit`` applied: at once to a Response, at its start to an opaque app.

    Pass the answer from a variable: a response that anything else holds too is copied first. With
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

    A server closes the connection then. A client that was not told would send its next request on it, and
    lose that (RFC 9112 s.9.6). HTTP/2 forbids the field (RFC 9113 s.8.2.2).
    """
    if scope.get("http_version", "1.1") not in ("1.0", "1.1"):
        return answer
    return edit_answer(answer, _announce_close)


def _announce_close(start: Start) -> None:
    start.headers["connection"] = "close"


def note_edit(request: Request[Any], edit: Edit) -> Any:
    """Note ``edit`` for a response that is sent by hand further in; return what was noted before.

    An endpoint that sends its response itself passes no response to this layer. ``HandSend`` applies the edit
    then. Assign the returned value to ``request._edits`` when the inner layer has answered.
    """
    outer = request._edits
    request._edits = (edit, outer)
    return outer


def leave_edit(request: Request[Any], edit: Edit) -> None:
    """Leave ``edit`` to the layer that will answer the exception now on its way out.

    An error page without the headers of the layers around it, those of CORS for example, could not even
    be read by the page that asked.
    """
    request.scope.setdefault(PENDING_EDITS, []).append(edit)


def take_left_edits(scope: Scope) -> Sequence[Edit]:
    """Return the edits that were left while an exception passed, innermost first; they are left no more."""
    edits: Sequence[Edit] = scope.pop(PENDING_EDITS, ())
    return edits


def apply_left_edits(scope: Scope, answer: ASGIApp) -> ASGIApp:
    """Return ``answer``, that to an exception, with the edits that were left while it passed."""
    for edit in take_left_edits(scope):
        answer = edit_answer(answer, edit)
    return answer


class ResponseEditor:
    """Run an opaque app and edit its response start."""

    __slots__ = ("app", "edit")

    def __init__(self, app: ASGIApp, edit: Edit) -> None:
        self.app = app
        self.edit = edit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; an error before its start leaves the edit to the error page."""
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


def _no_count(value: object) -> int:
    return sys.maxsize


getrefcount: Callable[[Any], int] = getattr(sys, "getrefcount", _no_count)


def _count_in_function(value: object) -> int:
    return getrefcount(value)


def _count_one_holder() -> tuple[int, int]:
    """Count an object that one variable holds: here, and in a function it is passed to."""
    value: object = type("Sample", (), {})()
    return getrefcount(value), _count_in_function(value)


HELD_HERE, HELD_BY_CALLER = _count_one_holder()
"""The count of an object that one variable of this frame, or of the caller's, holds, and nothing else."""


def own(answer: Response) -> Response:
    """Return ``answer`` if one variable of the caller is all that holds it, else a copy."""
    return answer if getrefcount(answer) <= HELD_BY_CALLER else answer._copy()
