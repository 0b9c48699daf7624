"""Machine-readable error responses: problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spica.exceptions import HTTPException
from spica.responses.base import JSONResponse
from spica.responses.sending import WITHOUT_CONTENT

if TYPE_CHECKING:
    from spica.background import BackgroundTask

MEMBERS = ("type", "title", "status", "detail", "instance")
"""The members that RFC 9457 s.3.1 defines."""

# RFC 3986 s.2: the characters of a URI reference
_URI_CHARACTERS = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&'()*+,;=%"
)


class ProblemDetailsResponse(JSONResponse):
    """An error response with problem details, as ``application/problem+json`` (RFC 9457).

    Args:
        status_code: The HTTP status.
        detail: An explanation of this occurrence, for people.
        type: A URI reference that identifies the kind of problem. Default "about:blank", which means that
            the status says everything (s.4.2.1).
        title: A short name for the kind of problem, the same for each occurrence. By default, the phrase of
            the status.
        instance: A URI reference that identifies this occurrence.
        extensions: Further members of the document.
        headers, background: As for ``Response``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The status allows no content, ``type`` or ``instance`` is not a URI reference, or an
            extension has the name of a standard member.

    >>> ProblemDetailsResponse(404, "No user 7").body
    b'{"type":"about:blank","title":"Not Found","status":404,"detail":"No user 7"}'
    """

    media_type = "application/problem+json"

    def __init__(
        self,
        status_code: int,
        detail: str | None = None,
        *,
        type: str = "about:blank",
        title: str | None = None,
        instance: str | None = None,
        extensions: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        _check_status(status_code)
        if title is None and type == "about:blank":
            title = HTTPException(status_code).detail or None
        problem = {
            "type": _check_uri("type", type),
            "title": _check_text("title", title),
            "status": status_code,
            "detail": _check_text("detail", detail),
            "instance": _check_uri("instance", instance),
        }
        content = {name: value for name, value in problem.items() if value is not None}
        content.update(_check_extensions(extensions or {}))
        super().__init__(content, status_code, headers, None, background)


def _check_status(status_code: int) -> None:
    if not isinstance(status_code, int) or isinstance(status_code, bool):
        raise TypeError(
            f"ProblemDetailsResponse: status_code must be an int, not {status_code!r:.80}."
        )
    if not 100 <= status_code <= 999 or status_code in WITHOUT_CONTENT:
        raise ValueError(
            f"ProblemDetailsResponse: {status_code} is not the status of a response with content. "
            "Use the status of an error, 400 to 599."
        )


def _check_text(name: str, value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise TypeError(
            f"ProblemDetailsResponse: {name} must be a string (RFC 9457 s.3.1), not {value!r:.80}. "
            "Put other values into extensions."
        )
    return value


def _check_uri(name: str, value: Any) -> Any:
    # RFC 9457 s.3.1.1, s.3.1.5: URI references
    if _check_text(name, value) is not None and not _URI_CHARACTERS.issuperset(value):
        raise ValueError(
            f"ProblemDetailsResponse: {name} must be a URI reference, and {value!r:.80} contains invalid "
            "characters. Percent-encode them."
        )
    return value


def _check_extensions(extensions: Any) -> Mapping[str, Any]:
    if not isinstance(extensions, Mapping):
        raise TypeError(
            f"ProblemDetailsResponse: extensions must be a mapping, not {extensions!r:.80}."
        )
    for name in extensions:
        if not isinstance(name, str):
            raise TypeError(
                f"ProblemDetailsResponse: the name of an extension must be a string, not {name!r:.80}."
            )
        if name in MEMBERS:
            raise ValueError(
                f"ProblemDetailsResponse: {name!r} is a standard member and can't be an extension."
            )
    return extensions
