"""Response classes. This package only re-exports."""

from typing import TYPE_CHECKING

from spica._http.ranges import MalformedRangeHeader, RangeNotSatisfiable
from spica._lazy import LazyNames
from spica.responses.base import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from spica.responses.file import FileResponse, guess_type
from spica.responses.problem import ProblemDetailsResponse
from spica.responses.sending import Content
from spica.responses.streaming import (
    AsyncContentStream,
    ContentStream,
    StreamingResponse,
    SyncContentStream,
)

if TYPE_CHECKING:
    from spica.responses.events import EventSourceResponse, ServerSentEvent, last_event_id
else:
    __getattr__ = LazyNames(
        __name__,
        dict.fromkeys(
            ("EventSourceResponse", "ServerSentEvent", "last_event_id"), "spica.responses.events"
        ),
    )

__all__ = [
    "AsyncContentStream",
    "Content",
    "ContentStream",
    "EventSourceResponse",
    "FileResponse",
    "HTMLResponse",
    "JSONResponse",
    "MalformedRangeHeader",
    "PlainTextResponse",
    "ProblemDetailsResponse",
    "RangeNotSatisfiable",
    "RedirectResponse",
    "Response",
    "ServerSentEvent",
    "StreamingResponse",
    "SyncContentStream",
    "guess_type",
    "last_event_id",
]
