"""Answer the exceptions of a WebSocket endpoint by the registered handlers.

An application without WebSockets never loads this module.

Standard: RFC 6455 s.7.4.1 (close codes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica._asgi.scope import EXCEPTION_HANDLERS, UNANSWERED
from spica._http.closecodes import fit_reason
from spica._layers.exception_handlers import already_started, call_handler, deny, find_handled
from spica.exceptions import HTTPException
from spica.websockets import (
    WebSocket,
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
)

if TYPE_CHECKING:
    from spica.types import ASGIApp


async def answer_on_socket(websocket: WebSocket[Any], exc: Exception) -> bool:
    """Call the handler registered for ``exc`` with a WebSocket; return whether ``exc`` is answered.

    A handler closes the WebSocket itself, or returns a response, which denies a handshake. If the server has
    no denial responses, the handshake is refused without the response. An `HTTPException` closes a WebSocket
    that is open, with a code for its status and its detail as the reason.

    A WebSocket that is closed takes no answer. A handler that tries to close it has not answered, and the
    caller raises ``exc``, so that the server logs it and not the handler's error.

    Raises:
        RuntimeError: A response can't be sent, since the handshake was already accepted.
    """
    handler, handled = find_handled(exc, websocket.scope.get(EXCEPTION_HANDLERS))
    unanswered = websocket.scope.get(UNANSWERED, [])
    is_ended = websocket.application_state in _ENDED
    if handler is None or (is_ended and any(each is handled for each in unanswered)):
        return False
    try:
        answer = await call_handler(handler, websocket, handled)
        if answer is not None:
            if is_ended and not websocket._was_lost:
                return _leave_unanswered(handled, unanswered)
            await _send_answer(answer, websocket, handled)
    except WebSocketDisconnect:
        pass  # the client has left and receives nothing
    except WebSocketDisconnected as error:
        if websocket.application_state not in _ENDED:
            raise
        return _leave_unanswered(handled, unanswered, f" The handler raised {error!r}.")
    handled.__traceback__ = None
    return True


_ENDED = (WebSocketState.DISCONNECTED, WebSocketState.RESPONSE)
"""The states of the application's side in which no answer to an exception can be sent."""


def _leave_unanswered(exc: Exception, unanswered: list[Exception], detail: str = "") -> bool:
    """Note an exception that the caller raises again, so that no boundary calls its handler twice."""
    unanswered.append(exc)
    note = f"The WebSocket was already closed, so no exception handler could answer.{detail}"
    if note not in getattr(exc, "__notes__", ()):
        exc.add_note(note)
    return False


async def _send_answer(answer: ASGIApp, websocket: WebSocket[Any], exc: Exception) -> None:
    if websocket.application_state is WebSocketState.CONNECTING:
        await deny(answer, websocket.scope, websocket.receive, websocket.send)
    elif isinstance(exc, HTTPException) and exc.status_code >= 400:
        await websocket.close(close_code(exc.status_code), fit_reason(str(exc.detail)))
    else:
        raise already_started(exc) from exc


def close_code(status: int) -> int:
    """Return the close code of a WebSocket for an error status: RFC 6455 s.7.4.1, and IANA's registry."""
    if status in (429, 503):
        return 1013  # try again later
    if status == 413:
        return 1009  # message too big
    return 1008 if status < 500 else 1011  # policy violation; internal error
