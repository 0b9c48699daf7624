"""Plan the response to a request for a file: the whole file, parts of it, or an error.

The plan is a pure decision from the method, the request fields, the headers and the size.
``spica.responses.file`` carries it out.

Standards: RFC 9110 section 13.2.2 (order of preconditions), section 14.2 (Range), section 15.3.7 (206),
section 15.4.5 (304), section 15.5.13 (412), section 15.5.17 (416).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from spica._http.conditional import Outcome, allows_range, evaluate
from spica._http.ranges import (
    MalformedRangeHeader,
    RangeNotSatisfiable,
    Segment,
    format_content_range,
    lay_out_multipart,
    plan_ranges,
)

RawHeaders = list[tuple[bytes, bytes]]

MultipartLayout = Callable[
    [Sequence[tuple[int, int]], str, int, str], tuple[int, Callable[[int, int], bytes]]
]
"""The type of ``FileResponse.generate_multipart``."""

# RFC 9110 s.15.4.5: a 304 need not repeat fields that the client has.
_KNOWN_TO_CLIENT = frozenset(
    (
        b"accept-ranges",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-range",
        b"content-type",
        b"last-modified",
    )
)


class FilePlan(NamedTuple):
    """A planned response: ``segments`` of the file, or None and the body of an error response."""

    status_code: int
    raw_headers: RawHeaders
    segments: list[Segment] | None = None
    refusal: str = ""

    @property
    def body_size(self) -> int:
        """The length of the body in bytes."""
        return sum(len(text) + stop - start for text, start, stop in self.segments or ())


class FileFacts(NamedTuple):
    """The facts about a file, and the response that would send all of it.

    ``size`` is in bytes. ``raw_headers`` are the headers of the complete response.
    """

    status_code: int
    raw_headers: RawHeaders
    size: int
    max_ranges: int
    is_conditional: bool
    generate_multipart: MultipartLayout


def plan_file(method: str, request: Mapping[str, str], facts: FileFacts) -> FilePlan:
    """Return the plan for a request.

    ``request`` maps lower-case field names to values: see ``conditional.select_fields``.
    """
    whole = FilePlan(facts.status_code, facts.raw_headers, [(b"", 0, facts.size)])
    # RFC 9110 s.13.2.1, s.14.2: preconditions and ranges only apply to a response that would be a 200.
    if not request or facts.status_code != 200:
        return whole
    fields = dict(facts.raw_headers)
    etag, last_modified = _text(fields, b"etag"), _text(fields, b"last-modified")
    if facts.is_conditional:
        outcome = evaluate(method, request, etag, last_modified)
        if outcome is not Outcome.PROCEED:
            return _plan_unsent(outcome, facts)
    range_field = request.get("range")
    # RFC 9110 s.14.2: Range is defined for GET only, and must be ignored with HEAD.
    if range_field is None or method != "GET":
        return whole
    if not allows_range(request.get("if-range"), etag, last_modified):
        return whole
    try:
        ranges = plan_ranges(range_field, facts.size, facts.max_ranges)
    except MalformedRangeHeader as exc:
        return FilePlan(400, [], refusal=exc.content)
    except RangeNotSatisfiable as exc:
        # RFC 9110 s.15.5.17: the response gives the current length.
        return FilePlan(416, [(b"content-range", b"bytes */%d" % exc.max_size)])
    return whole if ranges is None else _plan_partial(ranges, facts)


def _plan_unsent(outcome: Outcome, facts: FileFacts) -> FilePlan:
    """Plan the response to a request whose preconditions prevent sending the file."""
    if outcome is Outcome.NOT_MODIFIED:
        return FilePlan(304, _without(facts.raw_headers, _KNOWN_TO_CLIENT))
    return FilePlan(412, [], refusal="Precondition Failed")


def _plan_partial(ranges: list[tuple[int, int]], facts: FileFacts) -> FilePlan:
    """Plan a 206 response with one part or several (RFC 9110 s.15.3.7)."""
    if len(ranges) == 1:
        ((start, stop),) = ranges
        raw_headers = _without(facts.raw_headers, (b"content-length", b"content-range"))
        raw_headers.append((b"content-length", b"%d" % (stop - start)))
        content_range = format_content_range(start, stop, facts.size)
        raw_headers.append((b"content-range", content_range.encode("ascii")))
        return FilePlan(206, raw_headers, [(b"", start, stop)])
    # RFC 2046 s.5.1.1: the boundary must not occur in a part, so it must be unpredictable.
    boundary = os.urandom(13).hex()
    content_type = _text(dict(facts.raw_headers), b"content-type") or "application/octet-stream"
    length, part_header = facts.generate_multipart(ranges, boundary, facts.size, content_type)
    # RFC 9110 s.15.3.7.2: only the parts have a Content-Range.
    replaced = (b"content-length", b"content-type", b"content-range")
    raw_headers = _without(facts.raw_headers, replaced)
    multipart_type = f"multipart/byteranges; boundary={boundary}"
    raw_headers.append((b"content-type", multipart_type.encode("ascii")))
    raw_headers.append((b"content-length", b"%d" % length))
    return FilePlan(206, raw_headers, lay_out_multipart(ranges, boundary, part_header))


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = fields.get(name)
    return None if value is None else value.decode("latin-1")


def _without(raw_headers: RawHeaders, names: frozenset[bytes] | tuple[bytes, ...]) -> RawHeaders:
    return [field for field in raw_headers if field[0] not in names]
