"""Find the line at which a coroutine waits, for the message of a timeout."""

from types import FrameType
from typing import Any

_MACHINERY = ("spica", "anyio", "asyncio", "trio", "httpx2", "httpx")


def place_of_wait(awaitable: Any) -> str:
    """Return where a coroutine waits: its innermost line outside of spica and the event loop."""
    frames = list(_frames_of(awaitable))
    if not frames:
        return "in a task that has not begun or has ended"
    outside = [frame for frame in frames if not _is_machinery(frame)]
    frame = (outside or frames)[-1]
    code = frame.f_code
    return f"in {code.co_qualname}, {code.co_filename}:{frame.f_lineno}"


def _frames_of(awaitable: Any) -> Any:
    """Yield the frames of a coroutine and of the coroutines that it awaits, outermost first."""
    while awaitable is not None:
        frame = (
            getattr(awaitable, "cr_frame", None)
            or getattr(awaitable, "gi_frame", None)
            or getattr(awaitable, "ag_frame", None)
        )
        if isinstance(frame, FrameType):
            yield frame
        awaitable = (
            getattr(awaitable, "cr_await", None)
            or getattr(awaitable, "gi_yieldfrom", None)
            or getattr(awaitable, "ag_await", None)
        )


def _is_machinery(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in _MACHINERY
