"""Response classes. This package only re-exports."""

from spica._http.ranges import MalformedRangeHeader, RangeNotSatisfiable
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

__all__ = [
    "AsyncContentStream",
    "Content",
    "ContentStream",
    "FileResponse",
    "HTMLResponse",
    "JSONResponse",
    "MalformedRangeHeader",
    "PlainTextResponse",
    "ProblemDetailsResponse",
    "RangeNotSatisfiable",
    "RedirectResponse",
    "Response",
    "StreamingResponse",
    "SyncContentStream",
    "guess_type",
]
