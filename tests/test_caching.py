"""Conditional requests in an endpoint."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_kit import http_scope

from spica.background import BackgroundTask
from spica.caching import conditional
from spica.requests import Request
from spica.responses import JSONResponse, Response, StreamingResponse

DATE = "Sat, 28 Nov 2026 12:00:00 GMT"
LATER = "Sat, 28 Nov 2026 12:00:01 GMT"


def request(method: str = "GET", **headers: str) -> Request:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Request(http_scope(method, headers=fields))


def with_fields(**headers: str) -> Response:
    return Response(b"body", headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize(
    ("method", "conditions", "fields", "status"),
    [
        ("GET", {}, {"etag": '"a"'}, 200),
        ("GET", {"if_none_match": '"a"'}, {"etag": '"a"'}, 304),
        ("HEAD", {"if_none_match": 'W/"a"'}, {"etag": '"a"'}, 304),
        ("GET", {"if_none_match": '"b", "a"'}, {"etag": '"a"'}, 304),
        ("GET", {"if_none_match": '"b"'}, {"etag": '"a"'}, 200),
        ("GET", {"if_none_match": "*"}, {"etag": '"a"'}, 304),
        ("PUT", {"if_none_match": "*"}, {"etag": '"a"'}, 412),
        ("PUT", {"if_match": '"a"'}, {"etag": '"a"'}, 200),
        ("PUT", {"if_match": '"b"'}, {"etag": '"a"'}, 412),
        ("PUT", {"if_match": 'W/"a"'}, {"etag": 'W/"a"'}, 412),
        ("GET", {"if_modified_since": DATE}, {"last_modified": DATE}, 304),
        ("GET", {"if_modified_since": DATE}, {"last_modified": LATER}, 200),
        ("GET", {"if_modified_since": "junk"}, {"last_modified": DATE}, 200),
        ("PUT", {"if_unmodified_since": DATE}, {"last_modified": LATER}, 412),
        ("GET", {"if_none_match": '"b"', "if_modified_since": DATE}, {"etag": '"a"'}, 200),
    ],
)
def test_the_conditions_decide(method: str, conditions: Any, fields: Any, status: int) -> None:
    answer = conditional(request(method, **conditions), with_fields(**fields))
    assert answer.status_code == status


def test_a_304_keeps_the_fields_that_are_not_about_its_content() -> None:
    """RFC 9110 s.15.4.5."""
    response = with_fields(
        etag='"a"', vary="Cookie", cache_control="no-cache", content_language="en"
    )
    response.background = BackgroundTask(print)
    answer = conditional(request(if_none_match='"a"'), response)
    assert answer.body == b""
    assert dict(answer.headers) == {"etag": '"a"', "vary": "Cookie", "cache-control": "no-cache"}
    assert answer.background is response.background


def test_a_body_without_a_tag_gets_one() -> None:
    first = conditional(request(), JSONResponse([1]))
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    assert conditional(request(if_none_match=tag), JSONResponse([1])).status_code == 304
    assert conditional(request(if_none_match=tag), JSONResponse([2])).status_code == 200


@pytest.mark.parametrize(
    "response",
    [
        Response(b""),
        Response(b"x" * 1001),
        Response(b"x", 201),
        Response(b"x", headers={"cache-control": "No-Store"}),
        StreamingResponse(iter(["x"])),
    ],
    ids=["empty", "large", "not 200", "no-store", "stream"],
)
def test_other_responses_get_no_tag(response: Response) -> None:
    answer = conditional(request(if_none_match="*"), response, max_body_size=1000)
    assert answer is response
    assert "etag" not in response.headers


def test_the_largest_body_gets_a_tag() -> None:
    assert "etag" in conditional(request(), Response(b"x" * 10), max_body_size=10).headers


@pytest.mark.parametrize("response", [{"a": 1}, None])
def test_anything_but_a_response_is_refused(response: Any) -> None:
    with pytest.raises(TypeError, match=r"The request comes first: conditional\(request, "):
        conditional(response, response)
