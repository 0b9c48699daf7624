"""RFC 9111 s.3: which responses a shared cache stores. s.4.2: for how long."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_kit import http_scope

from spica.middleware.cache.rules import (
    Question,
    fields_to_store,
    read_directives,
    read_terms,
    tags_of,
    vary_of,
)

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def ask(path: str = "/", *headers: tuple[str, str], **scope: Any) -> Question:
    return Question(http_scope("GET", path, headers=headers, **scope))


def terms(
    *fields: tuple[str, str], status: int = 200, asked: Any = None, default: float | None = None
) -> Any:
    raw = [(name.encode(), value.encode()) for name, value in fields]
    return read_terms(status, raw, asked or ask(), default, NOW)


def lifetime(value: str, **more: Any) -> float | None:
    found = terms(("cache-control", value), **more)
    return None if found is None else found.lifetime


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("s-maxage=9", 9),
        ("public, max-age=9", 9),
        ("public, max-age=9, s-maxage=5", 5),
        ("PUBLIC, Max-Age=9", 9),
        ('public, max-age="9"', 9),
        ("public, max-age=9, max-age=5", 9),
        ("no-store, must-understand, public, max-age=9", 9),
        ("max-age=9", None),
        ("public", None),
        ("public, max-age=0", None),
        ("public, max-age=x", None),
        ("public, max-age=-1", None),
        ("private, max-age=9", None),
        ("private, s-maxage=9", None),
        ('private="x-user", s-maxage=9', None),
        ("no-store, s-maxage=9", None),
        ("no-cache, s-maxage=9", None),
        ('no-cache="set-cookie", s-maxage=9', None),
    ],
)
def test_only_a_response_that_permits_it_is_stored(control: str, expected: Any) -> None:
    assert lifetime(control) == expected


@pytest.mark.parametrize(
    ("status", "is_stored"), [(200, True), (404, True), (302, True), (500, True)]
)
def test_a_permission_counts_for_any_status(status: int, is_stored: bool) -> None:
    assert (lifetime("s-maxage=9", status=status) == 9) is is_stored


@pytest.mark.parametrize("status", [100, 103, 206, 304])
def test_a_part_of_a_response_is_not_stored(status: int) -> None:
    assert lifetime("s-maxage=9", status=status, default=5) is None


@pytest.mark.parametrize("control", ["s-maxage=9, must-understand"])
@pytest.mark.parametrize(("status", "expected"), [(200, 9), (302, 9), (299, None), (500, None)])
def test_must_understand_needs_a_known_status(control: str, status: int, expected: Any) -> None:
    assert lifetime(control, status=status) == expected


@pytest.mark.parametrize(
    "field", [("set-cookie", "a=b"), ("vary", "*"), ("vary", "accept, *")], ids=str
)
def test_a_response_for_one_client_is_not_stored(field: Any) -> None:
    assert terms(("cache-control", "public, s-maxage=9"), field) is None


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("public, max-age=9", 9),
        ("s-maxage=9", 9),
        ("s-maxage=9, must-revalidate", 9),
        ("max-age=9", None),
    ],
)
def test_a_response_to_authorization_needs_a_permission(control: str, expected: Any) -> None:
    asked = ask("/", ("authorization", "Bearer x"))
    assert lifetime(control, asked=asked, default=5) == expected


def test_a_request_with_no_store_is_not_stored() -> None:
    assert lifetime("s-maxage=9", asked=ask("/", ("cache-control", "no-store"))) is None


class User:
    def __init__(self, is_authenticated: bool) -> None:
        self.is_authenticated = is_authenticated


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (ask(), 5),
        (ask("/", ("cookie", "a=b")), None),
        (ask("/", ("authorization", "x")), None),
        (ask(user=User(True)), None),
        (ask(user=User(False)), 5),
    ],
)
def test_the_default_is_for_requests_of_nobody(asked: Question, expected: Any) -> None:
    found = terms(asked=asked, default=5)
    assert (found and found.lifetime) == expected


@pytest.mark.parametrize(
    ("status", "expected"), [(200, 5), (404, 5), (410, 5), (302, None), (500, None), (201, None)]
)
def test_the_default_is_for_statuses_that_may_be_kept(status: int, expected: Any) -> None:
    found = terms(status=status, default=5)
    assert (found and found.lifetime) == expected


def test_the_default_does_not_replace_a_time_for_browsers() -> None:
    assert lifetime("max-age=9", default=5) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("expires", "Sun, 06 Nov 1994 08:49:47 GMT")], 10),
        ([("expires", "Sun, 06 Nov 1994 08:49:47 GMT"), ("date", DATE)], 10),
        ([("expires", "0")], None),
        ([("expires", "never")], None),
        ([("expires", DATE)], None),
    ],
)
def test_expires_is_a_time_of_the_response(fields: Any, expected: Any) -> None:
    found = terms(("cache-control", "public"), *fields)
    assert (found and found.lifetime) == expected


@pytest.mark.parametrize(
    ("field", "age"),
    [
        (("age", "4"), 4),
        (("age", "4, 5"), 4),
        (("age", "x"), 0),
        (("date", "Sun, 06 Nov 1994 08:49:32 GMT"), 4),
        (("date", DATE), 0),
        (("date", "Sun, 06 Nov 1994 08:59:32 GMT"), 0),
    ],
)
def test_a_response_may_be_old_already(field: Any, age: int) -> None:
    assert terms(("cache-control", "s-maxage=9"), field).age == age


def test_a_response_that_is_stale_on_arrival_is_not_stored() -> None:
    assert terms(("cache-control", "s-maxage=9"), ("age", "9")) is None


@pytest.mark.parametrize(
    ("more", "expected"),
    [("", (3, 4)), (", must-revalidate", (0, 0)), (", proxy-revalidate", (0, 0))],
)
def test_a_stale_response_needs_a_permission(more: str, expected: Any) -> None:
    control = "s-maxage=9, stale-while-revalidate=3, stale-if-error=4" + more
    found = terms(("cache-control", control))
    assert (found.while_revalidating, found.if_failing) == expected


@pytest.mark.parametrize(
    ("directives", "is_accepted"),
    [
        ("max-age=4", False),
        ("max-age=5", True),
        ("min-fresh=6", True),
        ("min-fresh=7", False),
        ("no-cache", False),
        ("max-stale", True),
        ("", True),
    ],
)
def test_a_request_limits_the_age(directives: str, is_accepted: bool) -> None:
    assert ask("/", ("cache-control", directives)).accepts(4, 10) is is_accepted


@pytest.mark.parametrize(
    "other",
    [
        ask("/?"),
        ask("/", ("host", "a.example")),
        ask("/", scheme="https"),
        ask("/", root_path="/v1"),
        ask("/b"),
        ask("/?a=1"),
        ask("/", ("host", "0 1 /")),
    ],
)
def test_another_uri_is_another_key(other: Question) -> None:
    assert ask("//").key != other.key
    assert (ask().key == other.key) is (other.key == ask("/?").key)


def test_the_case_of_a_host_does_not_matter() -> None:
    assert ask("/", ("host", "A.example")).key == ask("/", ("host", "a.example")).key


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ([("accept", "a")], [("accept", " a ")], True),
        ([("accept", "a"), ("accept", "b")], [("accept", "a, b")], True),
        ([("accept", "a")], [("accept", "b")], False),
        ([("accept", "")], [], False),
        ([("x", "a")], [("x", "b")], True),
    ],
)
def test_varied_fields_are_compared(first: Any, second: Any, is_same: bool) -> None:
    values = [ask("/", *fields).values_of(["accept"]) for fields in (first, second)]
    assert (values[0] == values[1]) is is_same


def test_lists_of_names_are_read_from_all_lines() -> None:
    raw = [(b"vary", b"B, a"), (b"vary", b"a"), (b"cache-tag", b"items, item-7,")]
    assert (vary_of(raw), tags_of(raw)) == (["a", "b"], ["item-7", "items"])


def test_fields_of_the_connection_are_not_stored() -> None:
    raw = [(b"connection", b"X-Hop"), (b"x-hop", b"1"), (b"age", b"1"), (b"x", b"1")]
    assert fields_to_store(raw) == [(b"x", b"1")]


def test_directives_are_read_with_their_numbers() -> None:
    found = read_directives('No-Cache, max-age = "5", min-fresh=x')
    assert found == {"no-cache": None, "max-age": 5, "min-fresh": None}
