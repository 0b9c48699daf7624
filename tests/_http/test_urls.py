"""Paths and queries as a URL carries them."""

from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica._http.urls import (
    decode_component,
    encode_leading_slashes,
    encode_path,
    encode_query,
    format_query,
    format_suffix,
    parse_query,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/users/42", "/users/42", id="plain"),
        pytest.param("/a b/é", "/a b/é", id="readable"),
        pytest.param("/a?b", "/a%3Fb", id="question mark"),
        pytest.param("/a#b", "/a%23b", id="number sign"),
        pytest.param("/a\\b", "/a%5Cb", id="backslash"),
        pytest.param("/a%2Fb", "/a%252Fb", id="what looks like an escape"),
        pytest.param("/100%", "/100%", id="percent sign alone"),
        pytest.param("/a\r\nb\tc", "/a%0D%0Ab%09c", id="controls"),
        pytest.param("/a\udcff", "/a%FF", id="byte that could not be decoded"),
        pytest.param("/a\ud800", "/a%ED%A0%80", id="lone surrogate"),
        pytest.param("/\xa0", "/\xa0", id="not printable, but harmless"),
    ],
)
def test_a_path_is_encoded_where_its_meaning_would_change(path: str, expected: str) -> None:
    # RFC 3986 s.3.3
    assert encode_path(path) == expected


class Multi:
    """A dict with several values for a name."""

    def multi_items(self) -> list[tuple[str, str]]:
        return [("a", "1"), ("a", "2")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(None, "", id="none"),
        pytest.param({}, "", id="empty"),
        pytest.param("", "", id="no text"),
        pytest.param({"q": "x y&z", "é": 1}, "?q=x+y%26z&%C3%A9=1", id="mapping"),
        pytest.param({"a": [1, 2], "b": (3,), "c": []}, "?a=1&a=2&b=3", id="lists"),
        pytest.param({"a": None, "b": [None, 1]}, "?b=1", id="left out"),
        pytest.param([("a", 1), ("a", 2)], "?a=1&a=2", id="pairs"),
        pytest.param(Multi(), "?a=1&a=2", id="multidict"),
        pytest.param("a=1&b=%20", "?a=1&b=%20", id="text"),
        pytest.param("?a=1", "?a=1", id="text with its question mark"),
        pytest.param(
            "a=b c#d\r\né", "?a=b%20c%23d%0D%0A%C3%A9", id="text that could not stand there"
        ),
    ],
)
def test_the_query_of_a_link(query: Any, expected: str) -> None:
    # RFC 3986 s.3.4; WHATWG URL s.5.2
    assert format_suffix(query, None) == expected


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [(None, ""), ("", "#"), ("top", "#top"), ("a b#%", "#a%20b%23%25"), ("/a?b", "#/a?b")],
)
def test_the_fragment_of_a_link(fragment: Any, expected: str) -> None:
    # RFC 3986 s.3.5
    assert format_suffix(None, fragment) == expected
    assert format_suffix({"a": 1}, fragment) == f"?a=1{expected}"


@pytest.mark.parametrize("query", [1, [1], ["abc"], b"a=1", object()])
def test_what_is_no_query(query: Any) -> None:
    with pytest.raises(TypeError, match="must be a mapping, a list of pairs or a string, not"):
        format_suffix(query, None)


def test_what_is_no_fragment() -> None:
    with pytest.raises(TypeError, match="fragment of a URL must be a string, not 1"):
        format_suffix(None, 1)  # type: ignore[arg-type]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_encoded_path_decodes_to_itself(path: str) -> None:
    assert unquote(encode_path(path)) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a", "/a"), ("//a", "/%2Fa"), ("///a", "/%2F/a"), ("/a//b", "/a//b"), ("", "")],
)
def test_two_leading_slashes_do_not_name_a_host(path: str, expected: str) -> None:
    # RFC 3986 s.4.2
    assert encode_leading_slashes(path) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(b"a=1&b=%20", "a=1&b=%20", id="plain"),
        pytest.param(b"a b", "a b", id="blank"),
        pytest.param("é=1".encode(), "é=1", id="UTF-8"),
        pytest.param(b"a=\xff&b=%41+ ", "a=%FF&b=%41+ ", id="not UTF-8"),
        pytest.param(b"a#b", "a%23b", id="number sign"),
        pytest.param(b"a#\xff", "a%23%FF", id="number sign, not UTF-8"),
        pytest.param(b"a\x00\t\r\n\x1f\x7fb", "a%00%09%0D%0A%1F%7Fb", id="controls"),
        pytest.param("é\n".encode(), "é%0A", id="control, UTF-8"),
        pytest.param(b"\n\xff", "%0A%FF", id="control, not UTF-8"),
    ],
)
def test_a_query_never_fails_to_be_text(query: bytes, expected: str) -> None:
    assert encode_query(query) == expected


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")], id="repeated"),
        pytest.param("a", [("a", "")], id="name only"),
        pytest.param("a=", [("a", "")], id="empty value"),
        pytest.param("=c", [("", "c")], id="empty name"),
        pytest.param("&&a=1&", [("a", "1")], id="empty fields"),
        pytest.param("a=b=c", [("a", "b=c")], id="second equals sign"),
        pytest.param("a=1;b=2", [("a", "1;b=2")], id="semicolons do not separate"),
        pytest.param("a+b=%2B+%20", [("a b", "+  ")], id="plus and blanks"),
        pytest.param("%61=%C3%A9", [("a", "é")], id="escapes"),
        pytest.param("a=%ff", [("a", "\ufffd")], id="escape that is not UTF-8"),
        pytest.param("a=%zz%4", [("a", "%zz%4")], id="no escapes"),
        pytest.param(b"a=\xff", [("a", "\ufffd")], id="bytes that are not UTF-8"),
        pytest.param("é=1".encode(), [("é", "1")], id="bytes in UTF-8"),
        pytest.param("a=\ud800", [("a", "\ud800")], id="surrogate"),
        pytest.param("a=\ud800%20", [("a", "\ufffd\ufffd\ufffd ")], id="surrogate, escape"),
    ],
)
def test_a_query_is_read_into_pairs(query: str | bytes, pairs: list[tuple[str, str]]) -> None:
    # WHATWG URL s.5.1
    assert parse_query(query) == pairs


@given(st.binary())
def test_any_bytes_are_a_query(query: bytes) -> None:
    for name, value in parse_query(query):
        assert isinstance(name, str)
        assert isinstance(value, str)


@given(st.text(st.sampled_from("ab=&+%20ffé \x00")))
def test_a_query_is_read_as_the_standard_library_does(query: str) -> None:
    assert parse_query(query) == parse_qsl(query, keep_blank_values=True)


@given(st.lists(st.tuples(st.text(min_size=1), st.text())))
def test_what_is_written_is_read_again(pairs: list[tuple[str, str]]) -> None:
    clean = [(k.encode("utf-8", "replace").decode(), v) for k, v in pairs]
    assert parse_query(format_query(clean)) == clean


def test_a_surrogate_can_be_written() -> None:
    assert format_query([("a", "\ud800")]) == "a=%3F"


def test_a_component_without_escapes_is_returned_as_it_is() -> None:
    text = "a+b"
    assert decode_component(text) is text
