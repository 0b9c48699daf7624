from http import HTTPStatus
from typing import Any

import pytest

from spica.testclient.messages import (
    message_body,
    message_headers,
    message_status,
    message_text,
    message_type,
    misplaced,
)


@pytest.mark.parametrize(
    "message", [None, "http.response.start", {}, {"type": 1}, [("type", "x")]], ids=repr
)
def test_a_message_without_a_type_is_refused(message: Any) -> None:
    with pytest.raises(AssertionError, match="must be a dict with a 'type' that is a str"):
        message_type(message)


@pytest.mark.parametrize("status", [100, 200, 599, 999, HTTPStatus.OK])
def test_a_status_has_three_digits(status: int) -> None:
    assert message_status({"type": "t", "status": status}) == status


@pytest.mark.parametrize("status", [99, 1000, "200", 200.0, None], ids=repr)
def test_another_status_is_refused(status: Any) -> None:
    with pytest.raises(AssertionError) as caught:
        message_status({"type": "t", "status": status})
    assert str(caught.value) == (
        f"The application sent 't' with the status {status!r}: it must be an int from 100 to 999."
    )


def test_a_missing_status_is_refused() -> None:
    with pytest.raises(AssertionError, match="the status None"):
        message_status({"type": "t"})


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(b"a", b"b")], id="list of tuples"),
        pytest.param(([b"a", b"b"],), id="tuple of lists"),
        pytest.param(iter([(b"a", b"b")]), id="iterator"),
    ],
)
def test_headers_are_any_iterable_of_pairs(headers: Any) -> None:
    assert message_headers({"type": "t", "headers": headers}) == [(b"a", b"b")]


def test_headers_may_be_absent() -> None:
    assert message_headers({"type": "t"}) == []


def test_an_upper_case_name_is_let_through_as_it_is() -> None:
    assert message_headers({"type": "t", "headers": [(b"X-A", b"")]}) == [(b"X-A", b"")]


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        pytest.param(None, "the headers None", id="None"),
        pytest.param({b"a": b"b"}, "iterable of (bytes, bytes) pairs", id="dict"),
        pytest.param(b"ab", "iterable of (bytes, bytes) pairs", id="bytes"),
        pytest.param([1], "the header of type <class 'int'>", id="no pair"),
        pytest.param([(b"a",)], "the header of type <class 'tuple'>", id="one"),
        pytest.param([("a", b"b")], "the header name 'a': it must be bytes", id="name of str"),
        pytest.param([(b"a", "b")], "header b'a' of type <class 'str'>", id="value of str"),
        pytest.param([(b"", b"b")], "malformed header b''", id="empty name"),
        pytest.param([(b"a b", b"c")], "malformed header b'a b'", id="space in the name"),
        pytest.param([(b"a", b"b\r\nc: d")], "malformed header b'a'", id="CR LF"),
        pytest.param([(b"a", b"\0")], "malformed header b'a'", id="NUL"),
    ],
)
def test_other_headers_are_refused(headers: Any, text: str) -> None:
    with pytest.raises(AssertionError) as caught:
        message_headers({"type": "t", "headers": headers})
    assert text in str(caught.value)


@pytest.mark.parametrize("value", ["secret", b"secret\n"], ids=["str", "line feed"])
def test_errors_do_not_show_the_value_of_a_header(value: Any) -> None:
    with pytest.raises(AssertionError) as caught:
        message_headers({"type": "t", "headers": [(b"authorization", value)]})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"x", bytearray(b"x"), memoryview(b"x")], ids=lambda body: type(body).__name__
)
def test_a_body_is_bytes(body: Any) -> None:
    assert message_body({"type": "t", "body": body}) == b"x"


def test_a_body_may_be_absent() -> None:
    assert message_body({"type": "t"}) == b""


@pytest.mark.parametrize("body", ["x", None, 1], ids=repr)
def test_another_body_is_refused(body: Any) -> None:
    with pytest.raises(AssertionError, match="it must be bytes"):
        message_body({"type": "t", "body": body})


def test_a_text_is_optional() -> None:
    assert message_text({"type": "t", "a": "b"}, "a") == "b"
    assert message_text({"type": "t"}, "a") is None
    with pytest.raises(AssertionError, match="the a b'x': it must be a str or None"):
        message_text({"type": "t", "a": b"x"}, "a")


def test_the_error_for_a_misplaced_message_tells_what_is_allowed() -> None:
    assert str(misplaced("a", "too early", ["b", "c"])) == (
        "The application sent 'a' too early. Allowed here: 'b', 'c'."
    )
    assert str(misplaced("a", "too late", [])) == (
        "The application sent 'a' too late. Nothing may be sent here."
    )
