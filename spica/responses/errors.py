"""Error responses of spica's own layers: plain text, or problem details (RFC 9457).

``Spica(problem_details=True)`` offers problem details. The Accept header of the client then decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spica._asgi.scope import REQUEST_ID
from spica.exceptions import HTTPException
from spica.responses.base import PlainTextResponse, Response
from spica.responses.sending import WITHOUT_CONTENT

if TYPE_CHECKING:
    from spica.types import Scope


MAX_DEPTH = 20
"""The number of nested mounts that the list of routes follows."""


def error_response(
    scope: Scope, status_code: int, detail: Any, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the response for an error with this status. ``detail`` is a message for people.

    Raises:
        TypeError: ``detail`` is not a string, and the application does not send problem details.
    """
    if status_code in WITHOUT_CONTENT:
        return Response(status_code=status_code, headers=headers)
    if not getattr(scope.get("app"), "problem_details", False):
        if not isinstance(detail, str):
            raise TypeError(
                f"HTTPException({status_code}): detail must be a string, not {detail!r:.200} of type "
                f"{type(detail).__name__}. For JSON, write an exception handler for HTTPException that "
                "returns JSONResponse(exc.detail, exc.status_code)."
            )
        return PlainTextResponse(detail, status_code, headers)
    return _negotiate(scope, status_code, detail, headers)


def http_exception_response(scope: Scope, exc: HTTPException) -> Response:
    """Return the response for an HTTPException without a handler: its own, if it has ``to_response()``."""
    to_response = getattr(exc, "to_response", None)
    if to_response is not None:
        invalid: Any = exc
        # An InvalidInput. Classes of a program may have a `request_id` of their own.
        if hasattr(invalid, "_names_request"):
            invalid.request_id = scope.get(REQUEST_ID)
        own: Response = to_response()
        return own
    if exc.status_code == 404 and getattr(scope.get("app"), "debug", False):
        found = _list_routes(scope, exc)
        if found:
            return PlainTextResponse(
                f"{exc.detail}\n\n{found}", status_code=404, headers=exc.headers
            )
    return error_response(scope, exc.status_code, exc.detail, exc.headers)


def _list_routes(scope: Scope, exc: HTTPException) -> str:
    """Return the routes of a debugged application for a browser whose request no route matches, or ""."""
    endpoint = scope.get("endpoint")
    is_unmatched = endpoint is None or hasattr(endpoint, "routes")  # a mounted router, for example
    is_browser = any(
        name == b"accept" and b"text/html" in value for name, value in scope["headers"]
    )
    if not is_unmatched or not is_browser or exc.detail != HTTPException(404).detail:
        return ""
    lines = [
        f"No route matches {scope['method']} {scope['path']}. The application has these routes:",
        "",
    ]
    lines += _lines_of(scope["app"], "", MAX_DEPTH)
    return "\n".join(lines) + "\n\nYou see this list because debug=True.\n"


def _lines_of(app: Any, prefix: str, depth: int) -> list[str]:
    lines = []
    for route in getattr(app, "routes", None) or ():
        path = prefix + str(getattr(route, "path", getattr(route, "host", "")))
        inner = _lines_of(route, path, depth - 1) if depth else []
        methods = ",".join(sorted(getattr(route, "methods", None) or ())) or type(route).__name__
        lines += inner or [f"{methods}  {path or '/'}"]
    return lines


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
        request_id = scope.get(REQUEST_ID)
        extensions = None if request_id is None else {"request_id": request_id}
        response = ProblemDetailsResponse(
            status_code, detail, extensions=extensions, headers=headers
        )
    else:
        response = PlainTextResponse(detail, status_code=status_code, headers=headers)
    response.headers.add_vary_header("Accept")  # RFC 9110 s.12.5.5
    return response
