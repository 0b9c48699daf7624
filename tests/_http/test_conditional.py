"""RFC 9110 sections 5.6.7, 8.8 and 13."""

import email.utils
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spica._http.conditional import (
    MAX_ENTITY_TAGS,
    EntityTag,
    Outcome,
    allows_range,
    evaluate,
    format_http_date,
    is_not_modified,
    is_strong_match,
    is_weak_match,
    parse_entity_tag,
    parse_entity_tags,
    parse_http_date,
    select_fields,
)

NOON = 784_111_777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"


# dates: section 5.6.7


def test_a_date_is_sent_as_imf_fixdate():
    assert format_http_date(NOON) == DATE


@given(st.integers(0, 253_402_300_799))
@settings(max_examples=200)
def test_a_formatted_date_is_that_of_the_standard_library_and_parses_back(seconds):
    text = format_http_date(seconds)
    assert text == email.utils.formatdate(seconds, usegmt=True)
    assert parse_http_date(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(DATE, id="imf-fixdate"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT", id="rfc850"),
        pytest.param("Sun Nov  6 08:49:37 1994", id="asctime"),
        pytest.param("sun, 06 nov 1994 08:49:37 GMT", id="other-case"),
        pytest.param("  " + DATE + " ", id="spaces-around"),
    ],
)
def test_each_spelling_of_a_date_is_understood(text):
    assert parse_http_date(text) == NOON


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "0",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, -6 Nov 1994 08:49:37 GMT",
        "Sun, +6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:3\u0667 GMT",
        "Sunday, 06-Nov-9x 08:49:37 GMT",
        "Sunday, 06-Nov-994 08:49:37 GMT",
        "Sunday, 06Nov94 08:49:37 GMT",
        " " * 100 + DATE,
    ],
)
def test_what_is_no_date_is_none(text):
    assert parse_http_date(text) is None


def test_a_leap_second_is_a_date():
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == 1_483_228_800


@pytest.mark.parametrize("ahead", [0, 49, 50, 51])
def test_a_year_of_two_digits_is_at_most_50_years_ahead(ahead):
    this_year = time.gmtime().tm_year
    year = this_year + ahead
    seconds = parse_http_date(f"Friday, 01-Jan-{year % 100:02} 00:00:00 GMT")
    assert seconds is not None
    assert time.gmtime(seconds).tm_year == (year if ahead <= 50 else year - 100)


@given(st.text(max_size=80))
@settings(max_examples=200)
def test_no_text_makes_the_date_parser_raise(text):
    parse_http_date(text)


# entity tags: section 8.8.3


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ('"a"', EntityTag('"a"')),
        (' "a"\t', EntityTag('"a"')),
        ('W/"a"', EntityTag('"a"', True)),
        ('w/"a"', EntityTag('w/"a"')),
        ("a", EntityTag("a")),
    ],
)
def test_a_tag_is_parsed(text, tag):
    assert parse_entity_tag(text) == tag


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        pytest.param("", [], id="empty"),
        pytest.param(" , ,, ", [], id="separators-only"),
        pytest.param("*", [EntityTag("*")], id="any"),
        pytest.param('"a"', [EntityTag('"a"')], id="one"),
        pytest.param('"a", W/"b"', [EntityTag('"a"'), EntityTag('"b"', True)], id="two"),
        pytest.param('"a""b"', [EntityTag('"a"'), EntityTag('"b"')], id="no-comma"),
        pytest.param('"a,b" ,"c"', [EntityTag('"a,b"'), EntityTag('"c"')], id="comma-inside"),
        pytest.param('"a", "b', [EntityTag('"a"'), EntityTag('"b')], id="never-closed"),
        pytest.param("a, b", [EntityTag("a"), EntityTag("b")], id="without-quotes"),
        pytest.param('W/, "a"', [EntityTag("", True), EntityTag('"a"')], id="weak-nothing"),
    ],
)
def test_a_list_of_tags_is_parsed(text, tags):
    assert parse_entity_tags(text) == tags


@given(st.lists(st.tuples(st.text("abc,/*W", max_size=5), st.booleans()), max_size=5))
@settings(max_examples=200)
def test_a_written_list_of_tags_parses_back(tags):
    text = ", ".join(f'{"W/" if weak else ""}"{opaque}"' for opaque, weak in tags)
    assert parse_entity_tags(text) == [(f'"{opaque}"', weak) for opaque, weak in tags]


@given(st.text('"W/, \ta*', max_size=40))
@settings(max_examples=200)
def test_no_text_makes_the_tag_parser_raise_or_hang(text):
    assert len(parse_entity_tags(text)) <= len(text)


@pytest.mark.parametrize("count", [MAX_ENTITY_TAGS - 1, MAX_ENTITY_TAGS, MAX_ENTITY_TAGS + 1])
def test_a_bounded_number_of_tags_is_read(count):
    assert len(parse_entity_tags('W/"a",' * count)) == min(count, MAX_ENTITY_TAGS)


def test_a_long_list_of_quotes_takes_linear_time():
    started = time.process_time()
    parse_entity_tags('"' * 200_001)
    parse_entity_tags("W/" * 100_000)
    parse_entity_tags('W/",' * 50_001)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("first", "second", "strong", "weak"),
    [
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
    ],
)
def test_tags_compare_as_in_the_table_of_section_8_8_3_2(first, second, strong, weak):
    tags = parse_entity_tag(first), parse_entity_tag(second)
    assert is_strong_match(*tags) is strong
    assert is_weak_match(*tags) is weak


# preconditions: section 13


@pytest.mark.parametrize(
    ("request_fields", "is_good"),
    [
        pytest.param({}, False, id="nothing-asked"),
        pytest.param({"if-none-match": '"a"'}, True, id="same-tag"),
        pytest.param({"if-none-match": 'W/"a"'}, True, id="weak-comparison"),
        pytest.param({"if-none-match": '"b", "a"'}, True, id="in-list"),
        pytest.param({"if-none-match": '"b"'}, False, id="other-tag"),
        pytest.param({"if-none-match": "*"}, True, id="any"),
        pytest.param({"if-none-match": " * "}, True, id="any-with-spaces"),
        pytest.param({"if-none-match": '"*"'}, False, id="a-tag-that-is-a-star"),
        pytest.param({"if-none-match": ""}, False, id="empty"),
        pytest.param({"if-modified-since": DATE}, True, id="same-date"),
        pytest.param({"if-modified-since": "Sunday, 06-Nov-94 08:49:37 GMT"}, True, id="rfc850"),
        pytest.param({"if-modified-since": LATER}, True, id="later"),
        pytest.param({"if-modified-since": EARLIER}, False, id="earlier"),
        pytest.param({"if-modified-since": "yesterday"}, False, id="no-date"),
        pytest.param(
            {"if-none-match": '"b"', "if-modified-since": DATE}, False, id="tag-goes-before-date"
        ),
        pytest.param(
            {"if-none-match": '"a"', "if-modified-since": EARLIER}, True, id="date-does-not-count"
        ),
    ],
)
def test_not_modified(request_fields, is_good):
    assert is_not_modified(request_fields, '"a"', DATE) is is_good


@pytest.mark.parametrize(
    ("request_fields", "is_good"),
    [
        ({"if-none-match": '"a"'}, False),
        ({"if-none-match": "*"}, True),
        ({"if-modified-since": DATE}, False),
    ],
)
def test_without_validators_only_a_star_matches(request_fields, is_good):
    assert is_not_modified(request_fields, None, None) is is_good


def test_a_weak_tag_of_ours_matches_a_strong_one():
    assert is_not_modified({"if-none-match": '"a"'}, 'W/"a"', None)


PROCEED, NOT_MODIFIED, FAILED = Outcome.PROCEED, Outcome.NOT_MODIFIED, Outcome.FAILED


@pytest.mark.parametrize(
    ("method", "request_fields", "outcome"),
    [
        pytest.param("GET", {}, PROCEED, id="nothing"),
        pytest.param("GET", {"if-match": '"a"'}, PROCEED, id="match"),
        pytest.param("GET", {"if-match": "*"}, PROCEED, id="match-any"),
        pytest.param("GET", {"if-match": '"b"'}, FAILED, id="match-other"),
        pytest.param("GET", {"if-match": 'W/"a"'}, FAILED, id="match-is-strong"),
        pytest.param("GET", {"if-match": ""}, FAILED, id="match-nothing"),
        pytest.param("GET", {"if-unmodified-since": DATE}, PROCEED, id="unmodified"),
        pytest.param("GET", {"if-unmodified-since": EARLIER}, FAILED, id="modified"),
        pytest.param("GET", {"if-unmodified-since": "no"}, PROCEED, id="unmodified-no-date"),
        pytest.param(
            "GET", {"if-match": '"a"', "if-unmodified-since": EARLIER}, PROCEED, id="step-1-not-2"
        ),
        pytest.param(
            "GET", {"if-match": '"b"', "if-none-match": '"a"'}, FAILED, id="step-1-before-3"
        ),
        pytest.param(
            "GET", {"if-match": '"a"', "if-none-match": '"a"'}, NOT_MODIFIED, id="steps-1-and-3"
        ),
        pytest.param("GET", {"if-none-match": '"a"'}, NOT_MODIFIED, id="none-match-get"),
        pytest.param("HEAD", {"if-none-match": '"a"'}, NOT_MODIFIED, id="none-match-head"),
        pytest.param("PUT", {"if-none-match": '"a"'}, FAILED, id="none-match-put"),
        pytest.param("PUT", {"if-none-match": '"b"'}, PROCEED, id="none-match-put-other"),
        pytest.param("GET", {"if-modified-since": DATE}, NOT_MODIFIED, id="modified-since-get"),
        pytest.param("PUT", {"if-modified-since": DATE}, PROCEED, id="modified-since-put"),
        pytest.param("GET", {"range": "bytes=0-1"}, PROCEED, id="range"),
    ],
)
def test_preconditions_count_in_the_order_of_section_13_2_2(method, request_fields, outcome):
    assert evaluate(method, request_fields, '"a"', DATE) is outcome


@pytest.mark.parametrize(
    ("if_range", "is_allowed"),
    [
        pytest.param(None, True, id="absent"),
        pytest.param('"a"', True, id="same-tag"),
        pytest.param(' "a" ', True, id="spaces"),
        pytest.param('"b"', False, id="other-tag"),
        pytest.param('W/"a"', False, id="weak"),
        pytest.param(DATE, True, id="same-date"),
        pytest.param("Sun Nov  6 08:49:37 1994", True, id="asctime"),
        pytest.param(LATER, False, id="later"),
        pytest.param(EARLIER, False, id="earlier"),
        pytest.param("", False, id="empty"),
        pytest.param("yesterday", False, id="garbage"),
    ],
)
def test_if_range(if_range, is_allowed):
    assert allows_range(if_range, '"a"', DATE) is is_allowed


@pytest.mark.parametrize("if_range", ['"a"', DATE, "yesterday"])
def test_if_range_without_validators_lets_no_range_count(if_range):
    assert not allows_range(if_range, None, None)


def test_a_weak_tag_of_ours_lets_no_range_count():
    assert not allows_range('"a"', 'W/"a"', None)


def test_only_the_fields_that_matter_are_selected_and_lines_are_joined():
    raw = [
        (b"host", b"a"),
        (b"if-none-match", b'"a"'),
        (b"if-none-match", b'"b"'),
        (b"range", b"bytes=0-1"),
    ]
    assert select_fields(raw) == {"if-none-match": '"a", "b"', "range": "bytes=0-1"}


def test_many_lines_of_one_name_are_joined_in_linear_time() -> None:
    lines = [(b"if-none-match", b'"a"')] * 200_000
    # Quadratic cost would not end here: the lines come to a megabyte.
    assert len(select_fields(lines)["if-none-match"]) == 5 * 200_000 - 2
