"""What a request for a file is answered with."""

import pytest

from spica._http.fileplan import FileFacts, FilePlan, plan_file
from spica._http.ranges import format_closing_delimiter, format_part_header

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
HEADERS = [
    (b"content-type", b"text/plain"),
    (b"accept-ranges", b"bytes"),
    (b"content-length", b"100"),
    (b"last-modified", DATE),
    (b"etag", b'"a"'),
    (b"x-other", b"kept"),
]


def generate_multipart(ranges, boundary, size, content_type):
    return 42, lambda start, stop: format_part_header(boundary, content_type, start, stop, size)


def plan(method="GET", status_code=200, is_conditional=False, **request):
    facts = FileFacts(status_code, HEADERS, 100, 100, is_conditional, generate_multipart)
    fields = {name.replace("_", "-"): value for name, value in request.items()}
    return plan_file(method, fields, facts)


WHOLE = FilePlan(200, HEADERS, [(b"", 0, 100)])


@pytest.mark.parametrize(
    "request_fields",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"range": "items=0-4"}, id="unknown-unit"),
        pytest.param({"range": "bytes=0-4", "method": "POST"}, id="range-of-post"),
        pytest.param({"range": "bytes=oops", "method": "POST"}, id="malformed-range-of-post"),
        pytest.param({"range": "bytes=0-4", "method": "HEAD"}, id="range-of-head"),
        pytest.param({"range": "bytes=900-", "method": "HEAD"}, id="range-outside-of-head"),
        pytest.param({"range": "bytes=oops", "method": "HEAD"}, id="malformed-range-of-head"),
        pytest.param({"range": "bytes=0-4", "if_range": '"b"'}, id="if-range-differs"),
        pytest.param({"range": "bytes=oops", "if_range": '"b"'}, id="if-range-before-grammar"),
        pytest.param({"if_none_match": '"a"'}, id="precondition-unasked"),
        pytest.param({"if_none_match": '"b"', "is_conditional": True}, id="precondition-holds"),
    ],
)
def test_the_whole_file(request_fields):
    assert plan(**request_fields) == WHOLE


def test_ranges_and_preconditions_count_for_the_status_200_only():
    answer = plan(status_code=404, is_conditional=True, range="bytes=0-1", if_none_match="*")
    assert answer == FilePlan(404, HEADERS, [(b"", 0, 100)])


@pytest.mark.parametrize("if_range", ['"a"', DATE.decode()])
def test_one_range(if_range):
    answer = plan(range="bytes=10-14", if_range=if_range)
    assert answer.status_code == 206
    assert answer.segments == [(b"", 10, 15)]
    headers = dict(answer.raw_headers)
    assert headers == {
        **dict(HEADERS),
        b"content-length": b"5",
        b"content-range": b"bytes 10-14/100",
    }


def test_several_ranges():
    answer = plan(range="bytes=0-1,10-11")
    headers = dict(answer.raw_headers)
    kind, _, boundary = headers[b"content-type"].decode().partition("; boundary=")
    assert answer.status_code == 206
    assert kind == "multipart/byteranges"
    assert headers[b"content-length"] == b"42"
    assert b"content-range" not in headers  # RFC 9110 s.15.3.7.2
    first, line_end, second, _, end = answer.segments
    assert first == (format_part_header(boundary, "text/plain", 0, 2, 100), 0, 2)
    assert second == (format_part_header(boundary, "text/plain", 10, 12, 100), 10, 12)
    assert line_end == (b"\r\n", 0, 0)
    assert end == (format_closing_delimiter(boundary), 0, 0)
    assert answer.body_size == len(first[0] + second[0] + end[0]) + 2 * len("ab\r\n")


def test_the_boundary_is_another_each_time():
    first, second = (dict(plan(range="bytes=0-1,10-11").raw_headers) for _ in range(2))
    assert first[b"content-type"] != second[b"content-type"]


def test_a_malformed_range_is_a_400_with_the_reason():
    answer = plan(range="bytes=5-2")
    assert answer == FilePlan(400, [], None, "Range header: start must be less than end")


def test_a_range_outside_is_a_416_with_the_length():
    assert plan(range="bytes=100-") == FilePlan(416, [(b"content-range", b"bytes */100")])


@pytest.mark.parametrize("request_fields", [{"if_none_match": '"a"'}, {"if_none_match": "*"}])
def test_a_304_leaves_out_what_the_client_has(request_fields):
    answer = plan(is_conditional=True, **request_fields)
    assert answer == FilePlan(304, [(b"etag", b'"a"'), (b"x-other", b"kept")])


def test_a_304_goes_before_a_range():
    answer = plan(is_conditional=True, if_none_match='"a"', range="bytes=0-1")
    assert answer.status_code == 304


def test_a_precondition_that_failed_is_a_412():
    answer = plan(is_conditional=True, if_match='"b"')
    assert answer == FilePlan(412, [], None, "Precondition Failed")


def test_the_headers_given_are_not_changed():
    before = HEADERS[:]
    plan(range="bytes=0-1,10-11")
    plan(range="bytes=0-1")
    assert before == HEADERS


def test_a_part_has_a_type_even_if_the_file_has_none():
    facts = FileFacts(200, [], 100, 100, False, generate_multipart)
    answer = plan_file("GET", {"range": "bytes=0-1,10-11"}, facts)
    assert b"Content-Type: application/octet-stream\r\n" in answer.segments[0][0]
