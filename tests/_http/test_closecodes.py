"""Tests of spica/_http/closecodes.py."""

import pytest

from spica._http.closecodes import check_close, may_send_code

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


@pytest.mark.parametrize(
    "reason", [None, "", "x" * 122, "x" * 123, "é" * 61], ids=lambda r: repr(r)[:8]
)
def test_reasons_that_fit(reason):
    check_close(1000, reason)


@pytest.mark.parametrize("reason", ["x" * 124, "é" * 62], ids=["ascii", "two bytes each"])
def test_a_reason_that_does_not_fit_is_refused(reason):
    """RFC 6455 s.5.5: a control frame has 125 bytes at most."""
    with pytest.raises(ValueError, match=r"123 bytes of UTF-8 .*, this one has 124: "):
        check_close(1000, reason)
