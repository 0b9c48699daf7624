"""Edit the status and headers of a response on its way out, whichever way it goes.

A layer that only edits (CORS, sessions, security headers) does not care whether the answer inside it is
a Response or an opaque app. It writes its edit once, as a function of a ``Start``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from spica._asgi.scope import PENDING_EDITS
from spica._layers.ownership import HELD_BY_CALLER, getrefcount
from spica.datastructures import MutableHeaders
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


def edit_answer(answer: ASGIApp, edit: Edit) -> ASGIApp:
    """Return ``answer`` with ``edit`` applied: at once to a Response, at its start to an opaque app.

    Pass the answer from a variable: a response that anything else holds too is copied first.
    """
    if isinstance(answer, Response):
        if getrefcount(answer) > HELD_BY_CALLER:
            answer = answer._copy()
        edit(answer)
        return answer
    return ResponseEditor(answer, edit)


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
        editing = _EditingSend(send, self.edit)
        try:
            await self.app(scope, receive, editing)
        except Exception:
            if not editing.has_started:
                scope.setdefault(PENDING_EDITS, []).append(self.edit)
            raise


class _EditingSend:
    """Edit the start message, and let every other one pass as it is."""

    __slots__ = ("edit", "has_started", "send")

    def __init__(self, send: Send, edit: Edit) -> None:
        self.send = send
        self.edit = edit
        self.has_started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            start = _StartMessage(message)
            self.edit(start)
            message = {**message, "status": start.status_code, "headers": start.headers.raw}
        await self.send(message)


class _StartMessage:
    """A ``Start`` over an ASGI message. ASGI lets an app leave the headers out."""

    __slots__ = ("headers", "status_code")

    def __init__(self, message: Message) -> None:
        self.status_code: int = message["status"]
        self.headers = MutableHeaders(raw=list(message.get("headers", ())))
