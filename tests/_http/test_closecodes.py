"""Tests of spica/_http/closecodes.py."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica._http.closecodes import check_close, describe_excess, fit_reason, may_send_code

SENT = [1000, 1001, 1002, 1003, 1007, 1008, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
NOT_SENT = [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65536]


@pytest.mark.parametrize("code", SENT)
def test_codes_that_may_be_sent(code):
    """RFC 6455 s.7.4.1, s.7.4.2."""
    assert may_send_code(code)
    check_close(code, None)


@pytest.mark.parametrize("code", NOT_SENT)
def test_codes_that_may_not_be_sent(code):
    """RFC 6455 s.7.4.1: 1005, 1006 and 1015 MUST NOT be set as a status code."""
    assert not may_send_code(code)
    with pytest.raises(
        ValueError, match=rf"^Close code {code} may not be sent \(RFC 6455 s\.7\.4\)"
    ):
        check_close(code, None)


def test_a_code_is_a_number():
    with pytest.raises(TypeError, match="A close code must be an int, not '1000'"):
        check_close("1000", None)


def test_a_reason_is_text():
    with pytest.raises(TypeError, match="A close reason must be a str or None, not bytes"):
        check_close(1000, b"bye")


REASONS = {
    "": "",
    "x" * 123: "x" * 123,
    "x" * 124: "x" * 120 + "...",
    "é" * 61: "é" * 61,
    "é" * 62: "é" * 60 + "...",
    "x" + "é" * 61: "x" + "é" * 61,
    "x" * 119 + "😀": "x" * 119 + "😀",
    "x" * 119 + "😀x": "x" * 119 + "...",
    "xx" + "é" * 61: "xx" + "é" * 59 + "...",
    "a\udcffb": "a?b",
}


@pytest.mark.parametrize(("reason", "sent"), REASONS.items(), ids=lambda text: repr(text)[:12])
def test_a_reason_is_cut_at_a_character(reason, sent):
    """RFC 6455 s.5.5: a control frame has 125 bytes at most, and two of them are the code."""
    assert fit_reason(reason) == sent
    assert len(fit_reason(reason).encode()) <= 123


@given(st.text(max_size=200))
def test_every_reason_fits(reason):
    fitting = fit_reason(reason)
    assert len(fitting.encode()) <= 123
    assert (describe_excess(reason) == "") == (fitting == reason)


def test_the_warning_names_limit_size_and_reason():
    expected = r"may have 123 bytes of UTF-8 \(RFC 6455 s.5.5\), and this one has 124: 'xxxx"
    assert re.search(expected, describe_excess("x" * 124))
    assert describe_excess(None) == ""
