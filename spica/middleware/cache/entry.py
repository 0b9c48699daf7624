"""Stored responses: their form in the store, and the answers that are made from them.

Standards: RFC 9111 s.4.2 (freshness), s.4.3.2 (conditional requests), s.5.1 (Age), RFC 9110 s.14 (ranges).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from spica._http.conditional import allows_range
from spica._http.ranges import (
    MalformedRangeHeader,
    RangeNotSatisfiable,
    format_content_range,
    plan_ranges,
)
from spica.caching import conditional
from spica.middleware.cache.rules import (
    Fields,
    Question,
    Terms,
    fields_to_store,
    note_status,
    vary_of,
)
from spica.responses.base import Response
from spica.responses.errors import error_response
from spica.stores.base import MAX_SECONDS

if TYPE_CHECKING:
    from spica.requests import Request

_MARK = b"E1"
_VARY_MARK = b"V1"


class Entry:
    """A stored response."""

    __slots__ = ("body", "headers", "status_code", "stored_at", "tags", "terms")

    def __init__(
        self,
        status_code: int,
        headers: Fields,
        body: bytes,
        stored_at: float,
        terms: Terms,
        tags: dict[str, int],
    ) -> None:
        self.status_code = status_code
        self.headers = headers
        self.body = body
        self.stored_at = stored_at
        self.terms = terms
        self.tags = tags

    @classmethod
    def of(cls, start: Any, body: bytes, now: float, terms: Terms, tags: dict[str, int]) -> Entry:
        """Make the entry of a response. ``start`` has its status and headers."""
        headers = fields_to_store(start.raw_headers)
        if start.status_code != 204:
            headers.append((b"content-length", b"%d" % len(body)))
        return cls(start.status_code, headers, body, now, terms, tags)

    def pack(self) -> bytes:
        """Return the value for the store."""
        headers = [[n.decode("latin-1"), v.decode("latin-1")] for n, v in self.headers]
        head = [self.status_code, headers, self.stored_at, [*self.terms], self.tags]
        return b"%b%b\n%b" % (_MARK, orjson.dumps(head), self.body)

    @classmethod
    def unpack(cls, value: bytes) -> Entry | None:
        """Read a value of the store. Return None for that of another version."""
        if not value.startswith(_MARK):
            return None
        head, _, body = value[len(_MARK) :].partition(b"\n")
        status_code, headers, stored_at, terms, tags = orjson.loads(head)
        raw = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers]
        return cls(status_code, raw, body, stored_at, Terms(*terms), tags)

    @property
    def keep_seconds(self) -> float:
        """How long the store keeps it, fresh and stale."""
        terms = self.terms
        seconds = terms.lifetime - terms.age + max(terms.while_revalidating, terms.if_failing)
        return min(seconds, MAX_SECONDS)

    def age_at(self, now: float) -> float:
        """Return its age in seconds (s.4.2.3). A clock that was set back does not make it younger."""
        return self.terms.age + max(0.0, now - self.stored_at)

    def is_fresh(self, question: Question, now: float) -> bool:
        """Return whether it may answer the request without a new computation (s.4)."""
        age, lifetime = self.age_at(now), self.terms.lifetime
        if age >= lifetime:
            return False
        return not question.directives or question.accepts(age, lifetime)

    def allows_stale(self, question: Question, now: float, seconds: int) -> bool:
        """Return whether it may be used ``seconds`` after its lifetime, and not fresh."""
        age = self.age_at(now)
        lifetime = self.terms.lifetime
        return age < lifetime + seconds and question.accepts(age, lifetime + seconds)

    def is_for(self, question: Question) -> bool:
        """Return whether it may answer this sender.

        An entry that is stored by ``default_seconds`` is for requests without a user.
        """
        return not (self.terms.is_default and question.has_credentials)

    def answer(
        self, request: Request[Any], question: Question, now: float, status: str
    ) -> Response:
        """Return the response to a GET or HEAD: all, a part, a 304 or a 412."""
        response = Response.__new__(Response)
        response.status_code = self.status_code
        response.background = None
        body = self.body if request.scope["method"] == "GET" else b""
        response.body = response._measured_body = body
        age = self.age_at(now)
        if not status:
            status = f"hit;ttl={int(self.terms.lifetime) - int(age)}"
        response.raw_headers = raw = [*self.headers, (b"age", b"%d" % age)]
        note_status(raw, status)
        if not question.has_conditions:
            return response
        response = conditional(request, response)
        if response.status_code == 200 and question.has_range and request.method == "GET":
            return _part_of(request, response)
        return response


def _part_of(request: Request[Any], response: Response) -> Response:
    """Return the range that the request asks for. Several ranges get the whole body."""
    given, headers = request.headers, response.headers
    if not allows_range(given.get("if-range"), headers.get("etag"), headers.get("last-modified")):
        return response
    size = len(response.body)
    try:
        ranges = plan_ranges(", ".join(given.getlist("range")), size, 1)
    except MalformedRangeHeader:
        return response  # RFC 9110 s.14.2: an invalid field is ignored
    except RangeNotSatisfiable:
        fields = {"content-range": f"bytes */{size}"}
        return error_response(request.scope, 416, "Range Not Satisfiable", fields)
    if ranges is None:
        return response
    start, stop = ranges[0]
    response.status_code = 206
    response.body = response._measured_body = response.body[start:stop]
    headers["content-length"] = str(stop - start)
    headers["content-range"] = format_content_range(start, stop, size)
    return response


def pack_varied(variant_id: str, names: list[str]) -> bytes:
    """Return the value that is stored under a URI whose responses vary."""
    return _VARY_MARK + orjson.dumps([variant_id, names])


def unpack_varied(value: bytes) -> tuple[str, list[str]] | None:
    """Read the value of a URI whose responses vary, or return None for an entry."""
    if not value.startswith(_VARY_MARK):
        return None
    variant_id, names = orjson.loads(value[len(_VARY_MARK) :])
    return variant_id, names


def union_of(question: Question, raw_headers: Fields) -> list[str]:
    """Return the fields that the responses of a URI vary by, with those of a new response."""
    names = vary_of(raw_headers)
    return sorted({*question.varied, *names}) if names or question.varied else names
