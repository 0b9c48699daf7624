"""Response classes. This package only re-exports.

The classes for files, streams, events and problem details load their modules when you first use them, so that
an application without them starts faster.
"""

from typing import TYPE_CHECKING

from spica._lazy import LazyNames
from spica.responses.base import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from spica.responses.sending import Content

if TYPE_CHECKING:
    from spica._http.ranges import MalformedRangeHeader, RangeNotSatisfiable
    from spica.responses.events import EventSourceResponse, ServerSentEvent, last_event_id
    from spica.responses.file import FileResponse, guess_type
    from spica.responses.problem import ProblemDetailsResponse
    from spica.responses.streaming import (
        AsyncContentStream,
        ContentStream,
        StreamingResponse,
        SyncContentStream,
    )
else:
    __getattr__ = LazyNames(
        __name__,
        {
            "spica._http.ranges": "MalformedRangeHeader RangeNotSatisfiable",
            "spica.responses.events": "EventSourceResponse ServerSentEvent last_event_id",
            "spica.responses.file": "FileResponse guess_type",
            "spica.responses.problem": "ProblemDetailsResponse",
            "spica.responses.streaming": "AsyncContentStream ContentStream StreamingResponse "
            "SyncContentStream",
        },
    )
    __dir__ = __getattr__.list_names

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
