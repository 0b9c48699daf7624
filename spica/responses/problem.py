"""Errors as documents that programs can read: problem details (RFC 9457)."""

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

# RFC 3986 s.2: what a URI reference is made of
_URI_CHARACTERS = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&'()*+,;=%"
)


class ProblemDetailsResponse(JSONResponse):
    """Answer an error with problem details, as ``application/problem+json`` (RFC 9457).

    ``detail`` explains this occurrence to people. ``type`` is a URI reference that names the kind of
    problem, and ``title`` its short name, the same for every occurrence: by default the type is
    "about:blank", "no more than the status says", and the title is the phrase of the status (s.4.2.1).
    ``instance`` is a URI reference for this occurrence. ``extensions`` are further members.

    Raises:
        TypeError: a member is of the wrong type.
        ValueError: the status is none with content, ``type`` or ``instance`` is no URI reference, or an
            extension has the name of a member.
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
            f"ProblemDetailsResponse: {status_code} is not the status of an answer with content. "
            "Use that of an error, 400 to 599."
        )


def _check_text(name: str, value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise TypeError(
            f"ProblemDetailsResponse: {name} must be a text (RFC 9457 s.3.1), not {value!r:.80}. "
            "Put other values into extensions."
        )
    return value


def _check_uri(name: str, value: Any) -> Any:
    # RFC 9457 s.3.1.1, s.3.1.5: URI references
    if _check_text(name, value) is not None and not _URI_CHARACTERS.issuperset(value):
        raise ValueError(
            f"ProblemDetailsResponse: {name} must be a URI reference, and {value!r:.80} has characters "
            "that none may have. Percent-encode them."
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
                f"ProblemDetailsResponse: an extension is named by a text, not by {name!r:.80}."
            )
        if name in MEMBERS:
            raise ValueError(
                f"ProblemDetailsResponse: {name!r} is a member of its own and can't be an extension."
            )
    return extensions
