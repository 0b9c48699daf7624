"""What is answered when something went wrong: a page for people, problem details for programs."""

from notes.pages import templates
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses import ProblemDetailsResponse, Response

TITLES = {404: "Not here", 413: "Too large", 500: "Our fault"}


def answer(
    request: Request, status_code: int, detail: str, headers: dict[str, str] | None = None
) -> Response:
    if request.url.path.startswith("/api/"):
        return ProblemDetailsResponse(status_code, detail, headers=headers)
    context = {"title": TITLES.get(status_code, "That did not work"), "detail": detail}
    return templates.TemplateResponse(
        request, "error.html", context, status_code=status_code, headers=headers
    )


async def http_error(request: Request, error: Exception) -> Response:
    """Show an HTTPException, whoever has raised it."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    return answer(request, error.status_code, error.detail, headers)


async def note_not_found(request: Request, error: Exception) -> Response:
    return answer(request, 404, str(error))


async def server_error(request: Request, error: Exception) -> Response:
    """Show that we have failed, and nothing of how: that is in the log."""
    return answer(request, 500, "Something has broken. It has been written down.")
