"""Error responses of spica's own layers: plain text, or problem details (RFC 9457).

``Spica(problem_details=True)`` offers problem details. The Accept header of the client then decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spica.exceptions import HTTPException
from spica.responses.base import PlainTextResponse, Response
from spica.responses.sending import WITHOUT_CONTENT

if TYPE_CHECKING:
    from spica.types import Scope


def error_response(
    scope: Scope, status_code: int, detail: Any, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the response for an error with this status. ``detail`` is a message for people."""
    if status_code in WITHOUT_CONTENT:
        return Response(status_code=status_code, headers=headers)
    if not getattr(scope.get("app"), "problem_details", False):
        return PlainTextResponse(detail, status_code=status_code, headers=headers)
    return _negotiate(scope, status_code, detail, headers)


def http_exception_response(scope: Scope, exc: HTTPException) -> Response:
    """Return the response for an HTTPException without a handler."""
    return error_response(scope, exc.status_code, exc.detail, exc.headers)


def _negotiate(
    scope: Scope, status_code: int, detail: Any, headers: Mapping[str, str] | None
) -> Response:
    # Imported late: only applications with problem details need these modules.
    from spica._http.mediatypes import prefers_problem_details
    from spica.responses.problem import ProblemDetailsResponse

    fields = [value for name, value in scope["headers"] if name == b"accept"]
    response: Response
    if prefers_problem_details(b",".join(fields).decode("latin-1") if fields else None):
        text = detail if isinstance(detail, str) else str(detail)
        # The title already contains the phrase of the status.
        says_nothing = not text or text == HTTPException(status_code).detail
        detail = None if says_nothing else text
        response = ProblemDetailsResponse(status_code, detail, headers=headers)
    else:
        response = PlainTextResponse(detail, status_code=status_code, headers=headers)
    response.headers.add_vary_header("Accept")  # RFC 9110 s.12.5.5
    return response
