"""RFC 9110 section 14."""

import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spica._http.ranges import (
    MalformedRangeHeader,
    RangeNotSatisfiable,
    format_closing_delimiter,
    format_content_range,
    format_part_header,
    lay_out_multipart,
    plan_ranges,
)


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        pytest.param("bytes=0-4", [(0, 5)], id="first-and-last"),
        pytest.param("bytes=0-0", [(0, 1)], id="one-byte"),
        pytest.param("bytes=99-99", [(99, 100)], id="last-byte"),
        pytest.param("bytes=95-", [(95, 100)], id="open"),
        pytest.param("bytes=-5", [(95, 100)], id="suffix"),
        pytest.param("bytes=-100", [(0, 100)], id="suffix-of-all"),
        pytest.param("bytes=-500", [(0, 100)], id="suffix-of-more"),
        pytest.param("bytes=90-500", [(90, 100)], id="end-beyond"),
        pytest.param("BYTES=0-4", [(0, 5)], id="unit-has-no-case"),
        pytest.param(" bytes =0-4", [(0, 5)], id="spaces-around-unit"),
        pytest.param("bytes= 0 - 4 ,\t10-14 ", [(0, 5), (10, 15)], id="spaces"),
        pytest.param("bytes=,0-4,,", [(0, 5)], id="empty-elements"),
        pytest.param("bytes=0-4,10-14", [(0, 5), (10, 15)], id="two"),
        pytest.param("bytes=50-60,0-10", [(0, 11), (50, 61)], id="sorted"),
        pytest.param("bytes=0-4,3-9", [(0, 10)], id="overlapping"),
        pytest.param("bytes=0-4,5-9", [(0, 10)], id="adjoining"),
        pytest.param("bytes=0-4,6-9", [(0, 5), (6, 10)], id="a-byte-between"),
        pytest.param("bytes=0-9,2-3", [(0, 10)], id="contained"),
        pytest.param("bytes=0-0,0-0", [(0, 1)], id="same"),
        pytest.param("bytes=0-4,200-300", [(0, 5)], id="one-outside-s.14.1.1"),
        pytest.param("bytes=-0,0-4", [(0, 5)], id="one-empty"),
        pytest.param("bytes=5,0-4,abc,-,+1-2,1_0-20", [(0, 5)], id="one-that-is-one"),
        pytest.param("bytes=0-" + "9" * 5000, [(0, 100)], id="5000-digits"),
        pytest.param("bytes=" + "0" * 5000 + "1-2", [(1, 3)], id="5000-zeros"),
        pytest.param("bytes=-" + "9" * 5000, [(0, 100)], id="suffix-of-5000-digits"),
    ],
)
def test_ranges_of_a_hundred_bytes(value, ranges):
    assert plan_ranges(value, 100, 100) == ranges


@pytest.mark.parametrize("value", ["items=0-4", "seconds=1-2", "=0-4", "byte=0-4", "none=abc"])
def test_a_unit_that_is_not_understood_is_ignored(value):
    assert plan_ranges(value, 100, 100) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("bytes", "Malformed range header."),
        ("bytes 0-4", "Malformed range header."),
        ("", "Malformed range header."),
        ("bytes=", "Range header: range must be requested"),
        ("bytes=,", "Range header: range must be requested"),
        ("bytes=-", "Range header: range must be requested"),
        ("bytes=abc", "Range header: range must be requested"),
        ("bytes=5", "Range header: range must be requested"),
        ("bytes=abc,,5", "Range header: range must be requested"),
        ("bytes=--5", "Range header: range must be requested"),
        ("bytes=1-2-3", "Range header: range must be requested"),
        ("bytes=+1-4", "Range header: range must be requested"),
        ("bytes=1_0-20", "Range header: range must be requested"),
        ("bytes=\u0663-4", "Range header: range must be requested"),
        ("bytes=0x1-4", "Range header: range must be requested"),
        ("bytes=5-4", "Range header: start must be less than end"),
        ("bytes=5-4,0-1", "Range header: start must be less than end"),
        ("bytes=500-400", "Range header: start must be less than end"),
    ],
)
def test_a_malformed_field_says_what_is_wrong(value, text):
    with pytest.raises(MalformedRangeHeader) as caught:
        plan_ranges(value, 100, 100)
    assert caught.value.content == text
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "value", ["bytes=100-", "bytes=100-100", "bytes=-0", "bytes=200-300,400-", "bytes=100-,-0"]
)
def test_ranges_outside_are_not_satisfiable(value):
    with pytest.raises(RangeNotSatisfiable) as caught:
        plan_ranges(value, 100, 100)
    assert caught.value.max_size == 100
    assert str(caught.value) == "No requested range lies inside the 100 bytes there are."


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_nothing_in_an_empty_file_is_satisfiable(value):
    with pytest.raises(RangeNotSatisfiable):
        plan_ranges(value, 0, 100)


@pytest.mark.parametrize(("count", "is_ignored"), [(99, False), (100, False), (101, True)])
def test_too_many_ranges_are_ignored(count, is_ignored):
    value = "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(count))
    ranges = plan_ranges(value, 1000, 100)
    assert (ranges is None) is is_ignored
    assert is_ignored or len(ranges) == count


def test_empty_elements_do_not_count_as_ranges():
    assert plan_ranges("bytes=" + "," * 1000 + "0-0", 100, 1) == [(0, 1)]


@pytest.mark.parametrize("error", [MalformedRangeHeader("why"), RangeNotSatisfiable(7)])
def test_the_errors_pickle(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)


@given(st.text("0123456789-, ", max_size=60).map("bytes=".__add__), st.integers(0, 50))
@example("bytes=1-0", 10)
@example("bytes=5-6,0-1,-1", 10)
@settings(max_examples=200)
def test_a_plan_is_inside_sorted_and_apart_or_a_documented_error(value, size):
    try:
        ranges = plan_ranges(value, size, 10)
    except (MalformedRangeHeader, RangeNotSatisfiable):
        return
    if ranges is None:
        return
    assert 1 <= len(ranges) <= 10
    edge = -1
    for start, stop in ranges:
        assert edge < start < stop <= size
        edge = stop


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=8))
@settings(max_examples=200)
def test_a_plan_has_just_the_bytes_that_were_asked_for(pairs):
    pairs = [(min(pair), max(pair)) for pair in pairs]
    wanted = {n for first, last in pairs for n in range(first, last + 1) if n < 30}
    value = "bytes=" + ",".join(f"{first}-{last}" for first, last in pairs)
    try:
        ranges = plan_ranges(value, 30, 100) or []
    except RangeNotSatisfiable:
        ranges = []
    assert {n for start, stop in ranges for n in range(start, stop)} == wanted


def test_content_range_names_the_last_byte():
    assert format_content_range(0, 5, 100) == "bytes 0-4/100"


def test_the_header_of_a_part():
    assert format_part_header("x", "text/plain", 0, 5, 100) == (
        b"--x\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-4/100\r\n\r\n"
    )


def test_the_closing_delimiter():
    assert format_closing_delimiter("x") == b"--x--"


def test_the_layout_of_a_multipart_body():
    segments = lay_out_multipart([(0, 2), (5, 6)], "x", lambda start, stop: b"[%d]" % start)
    assert segments == [
        (b"[0]", 0, 2),
        (b"\r\n", 0, 0),
        (b"[5]", 5, 6),
        (b"\r\n", 0, 0),
        (b"--x--", 0, 0),
    ]
