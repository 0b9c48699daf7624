"""Whatever a client may send much of costs steps in proportion to it, not to its square."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from asgi_kit import http_scope
from steps import CountedName, count_steps

from spica._http.conditional import evaluate, select_fields
from spica._http.fields import parse_media_type, parse_quality_list, split_list
from spica._http.mediatypes import prefers_problem_details
from spica._http.ranges import MalformedRangeHeader, RangeNotSatisfiable, plan_ranges
from spica.datastructures import Headers, QueryParams
from spica.middleware.cors import CORSMiddleware
from spica.requests import Request, cookie_parser

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from spica.middleware.wsgi import build_environ

RAW_NAMES = (
    b"range",
    b"if-match",
    b"if-none-match",
    b"cookie",
    b"accept",
    b"host",
    b"x-forwarded-for",
    b"x",
)


def lines(name: bytes, number: int) -> list[tuple[bytes, bytes]]:
    return [(CountedName(name), b'"a", ')] * number


def use_headers(raw: Any) -> None:
    headers = Headers(raw=raw)
    dict(headers)
    for name, _ in headers.items():
        assert name in headers
        headers[name]
    headers.getlist("x")
    headers.keys()
    headers.values()


def use_request(raw: Any) -> None:
    request = Request(http_scope(headers=[]) | {"headers": raw})
    assert (len(request.cookies), len(request.headers), len(str(request.url))) != ()


def use_preconditions(raw: Any) -> None:
    fields = select_fields(raw)
    evaluate("GET", fields, '"b"', None)
    try:
        plan_ranges(fields.get("range", "bytes=0-1"), 100, 100)
    except (MalformedRangeHeader, RangeNotSatisfiable):
        pass


def use_environ(raw: Any) -> None:
    build_environ(http_scope(headers=[]) | {"headers": raw}, b"")


def use_preflight(raw: Any) -> None:
    layer = CORSMiddleware(lambda *args: None, allow_origins=["*"])  # type: ignore[arg-type]  # never run
    layer.preflight_response(Headers(raw=raw))


@pytest.mark.parametrize("name", RAW_NAMES)
@pytest.mark.parametrize(
    "use", [use_headers, use_request, use_preconditions, use_environ, use_preflight]
)
def test_header_lines(use: Callable[[Any], None], name: bytes) -> None:
    costs = []
    for number in (1000, 2000):
        raw = lines(name, number)
        CountedName.compared = 0
        steps = count_steps(lambda raw=raw: use(raw))
        costs.append(steps + CountedName.compared)
    assert costs[1] <= 2.2 * costs[0] + 100


VALUES: dict[str, Callable[[str], Any]] = {
    "list": split_list,
    "weights": parse_quality_list,
    "media type": parse_media_type,
    "accept": prefers_problem_details,
    "cookie": cookie_parser,
    "query": QueryParams,
    "tags": lambda text: evaluate("GET", {"if-none-match": text}, '"x"', None),
    "strong tags": lambda text: evaluate("GET", {"if-match": text}, '"x"', None),
}
PIECES = [
    "a",
    ",",
    ";",
    '"',
    "\\",
    '"a',
    '",',
    "a=b;",
    ';a="',
    "&",
    "a&",
    "=",
    "%",
    "W/",
    " ",
    ";q=",
    "0-1,",
]


@pytest.mark.parametrize("read", VALUES.values(), ids=list(VALUES))
@pytest.mark.parametrize("piece", PIECES)
def test_values_of_fields(read: Callable[[str], Any], piece: str) -> None:
    once, twice = (count_steps(lambda text=piece * size: read(text)) for size in (1000, 2000))
    assert twice <= 2.2 * once + 100


@pytest.mark.parametrize("name", [b"if-match", b"if-none-match", b"range"])
def test_lines_of_one_name_are_joined_once(name: bytes) -> None:
    assert select_fields([(name, b"a"), (b"x", b"y"), (name, b"b")]) == {name.decode(): "a, b"}
