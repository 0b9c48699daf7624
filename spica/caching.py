"""Let clients keep responses: Cache-Control, entity tags and 304.

Standards: RFC 9110 s.8.8.3 (ETag), s.13 (conditional requests), s.15.4.5 (304).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from spica._http.conditional import Outcome, evaluate, select_fields
from spica.datastructures.cachecontrol import CacheControl
from spica.responses.base import Response
from spica.responses.errors import error_response

if TYPE_CHECKING:
    from spica.requests import Request

__all__ = ["CacheControl", "conditional"]

_OF_CONTENT = frozenset(
    (b"content-length", b"content-type", b"content-encoding", b"content-language", b"content-range")
)
"""Fields that describe the content, which a 304 does not have."""


def conditional(
    request: Request[Any], response: Response, *, max_body_size: int = 1024 * 1024
) -> Response:
    """Return ``response``, or a 304 or 412 if the conditions of the request say so.

    The conditions are compared with ETag and Last-Modified of the response. If it has neither, it gets a
    weak tag from its body. In an endpoint that changes something, call this with a response for the present
    state before the change: a 412 means that the client has seen an older one.

    Args:
        request: the request.
        response: a response with status 200. Any other one is returned as it is.
        max_body_size: the largest body in bytes from which a tag is made. The default is 1 MiB.

    Example:
        ``return conditional(request, JSONResponse(items))``
    """
    if not isinstance(response, Response):
        raise TypeError(
            f"conditional: response must be a Response, not {response!r:.80}. The request comes first: "
            "conditional(request, JSONResponse(items))."
        )
    if response.status_code != 200:
        return response
    headers = response.headers
    etag, last_modified = headers.get("etag"), headers.get("last-modified")
    if etag is None and last_modified is None:
        etag = _make_tag(response, max_body_size)
        if etag is None:
            return response
        headers["etag"] = etag
    outcome = evaluate(request.method, select_fields(request.headers.raw), etag, last_modified)
    if outcome is Outcome.PROCEED:
        return response
    if outcome is Outcome.FAILED:
        answer = error_response(request.scope, 412, "Precondition Failed")
    else:
        answer = Response(status_code=304)
        answer.raw_headers = [pair for pair in response.raw_headers if pair[0] not in _OF_CONTENT]
    answer.background = response.background
    return answer


def _make_tag(response: Response, max_body_size: int) -> str | None:
    """Return a weak tag for the body, or None for a stream, a large body, and what no cache keeps."""
    body = getattr(response, "body", None)
    if response._replaced_body is not None or not isinstance(body, bytes):
        return None
    if not body or len(body) > max_body_size:
        return None
    if "no-store" in response.headers.get("cache-control", "").lower():
        return None
    return f'W/"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
