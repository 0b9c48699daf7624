"""Header fields: names, values, lists, weights, parameters."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica._http import fields
from spica._http.fields import (
    MAX_LIST_ITEMS,
    MAX_PARAMETERS,
    encode_field_name,
    encode_field_value,
    is_token,
    parse_media_type,
    parse_parameters,
    parse_quality_list,
    parse_weight,
    split_list,
    unquote_string,
)

# RFC 9110 s.5.6.2
TOKEN = "!#$%&'*+-.^_`|~09AZaz"


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("Content-Type", b"content-type"),
        ("content-type", b"content-type"),
        ("X-Custom", b"x-custom"),
        (b"X-Custom", b"x-custom"),
        (TOKEN, TOKEN.lower().encode()),
    ],
)
def test_a_name_becomes_lower_case_bytes(name: str | bytes, raw: bytes) -> None:
    assert encode_field_name(name) == raw


@pytest.mark.parametrize(
    "name", ["", b"", "a b", "a:", ":status", "a\r\n", "a\0", "é", "\u017f", b"\xe9"]
)
def test_a_name_that_is_no_token_is_refused(name: str | bytes) -> None:
    # RFC 9110 s.5.1
    with pytest.raises(ValueError, match="is not a valid header name: use letters, digits"):
        encode_field_name(name)


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        ("text/html", b"text/html"),
        ("", b""),
        ("a\tb", b"a\tb"),
        ("\xa0\xe9\xff", b"\xa0\xe9\xff"),
        (b"\x80\xff", b"\x80\xff"),
    ],
)
def test_a_value_becomes_latin_1(value: str | bytes, raw: bytes) -> None:
    assert encode_field_value(value) == raw


@pytest.mark.parametrize("value", [" a b\t", b"\ta b ", "a b"])
def test_blanks_around_a_value_are_no_part_of_it(value: str | bytes) -> None:
    """RFC 9110 s.5.5. h11 ends the connection for one. Found by scripts/fuzz."""
    assert encode_field_value(value) == b"a b"


@pytest.mark.parametrize("code", [*range(0x09), *range(0x0A, 0x20), 0x7F])
@pytest.mark.parametrize("kind", [str, bytes])
def test_a_control_character_is_refused_by_name_and_place(kind: type, code: int) -> None:
    # RFC 9110 s.5.5
    value: Any = f"ab{chr(code)}secret"
    if kind is bytes:
        value = value.encode()

    with pytest.raises(ValueError, match=r"control character .* at position 2") as raised:
        encode_field_value(value)

    assert repr(chr(code)) in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_character_outside_latin_1_is_refused_without_the_value() -> None:
    with pytest.raises(ValueError, match="the character '€' at position 6, which is not") as raised:
        encode_field_value("secret€")

    assert "secret" not in str(raised.value)


@given(st.text())
def test_any_text_is_encoded_or_refused(value: str) -> None:
    try:
        raw = encode_field_value(value)
    except ValueError:
        return
    assert raw.decode("latin-1") == value.strip(" \t")
    assert not {0, 10, 13} & set(raw)


@pytest.mark.parametrize(
    ("text", "answer"), [(TOKEN, True), ("", False), ("a b", False), ("é", False)]
)
def test_tokens_are_told_from_other_text(text: str, answer: bool) -> None:
    assert is_token(text) is answer


@pytest.mark.parametrize(
    ("value", "members"),
    [
        ("", []),
        ("a", ["a"]),
        ("a, b ,c", ["a", "b", "c"]),
        (" , ,a,,", ["a"]),  # RFC 9110 s.5.6.1.2
        ('a="x,y", b', ['a="x,y"', "b"]),
        ('a="x\\",y", b', ['a="x\\",y"', "b"]),
        ('a="never closed, b', ['a="never closed, b']),
        ('"a\\', ['"a\\']),
    ],
)
def test_a_list_is_split_into_its_members(value: str, members: list[str]) -> None:
    assert split_list(value) == members


@pytest.mark.parametrize("quote", ["", '"x",'], ids=["plain", "quoted"])
@pytest.mark.parametrize("count", [MAX_LIST_ITEMS - 1, MAX_LIST_ITEMS, MAX_LIST_ITEMS + 1])
def test_a_list_has_no_more_members_than_are_looked_at(count: int, quote: str) -> None:
    value = quote + ",".join(["a"] * (count - bool(quote)))

    assert len(split_list(value)) == min(count, MAX_LIST_ITEMS)


@pytest.mark.parametrize(
    ("value", "members"),
    [
        ("gzip", [("gzip", 1.0)]),
        ("GZip;q=0.5, br", [("gzip", 0.5), ("br", 1.0)]),
        ("gzip ; Q=0", [("gzip", 0.0)]),
        ("a;q=1.000, b;q=0.001", [("a", 1.0), ("b", 0.001)]),
        ("text/html;level=1;q=0.3", [("text/html;level=1", 0.3)]),
        ("text/html; Level=1", [("text/html;level=1", 1.0)]),
        ("a;q=2, b;q=x, c;q=, d;q=0.1234, e;q=1.001, f", [("f", 1.0)]),
        (";q=1, a", [("a", 1.0)]),
        ("a;", [("a", 1.0)]),
    ],
)
def test_a_list_with_weights_is_parsed(value: str, members: list[tuple[str, float]]) -> None:
    assert parse_quality_list(value) == members


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("0", 0.0),
        ("1", 1.0),
        ("0.", 0.0),
        ("1.000", 1.0),
        ("0.999", 0.999),
        ("", None),
        ("1.001", None),
        ("0.9999", None),
        ("-1", None),
        ("0.-1", None),
        ("1e0", None),
        ("0.\u0661", None),
        ("00", None),
        ("nan", None),
    ],
)
def test_a_weight_has_the_form_of_the_standard(text: str, weight: float | None) -> None:
    # RFC 9110 s.12.4.2
    assert parse_weight(text) == weight


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("text/html", ("text/html", {})),
        ("Text/HTML; Charset=UTF-8", ("text/html", {"charset": "UTF-8"})),
        ('a/b;x="1;2";y=3', ("a/b", {"x": "1;2", "y": "3"})),
        ('a/b; x="a\\"b\\\\c"', ("a/b", {"x": 'a"b\\c'})),
        ("a/b; x=1; x=2", ("a/b", {"x": "1"})),
        ("a/b;; x = 1 ;", ("a/b", {"x": "1"})),
        ("a/b; x; y=1", ("a/b", {"y": "1"})),
        ('a/b; x="never closed; y=1', ("a/b", {"x": '"never closed', "y": "1"})),
        ("", ("", {})),
        ("nonsense", ("nonsense", {})),
    ],
)
def test_a_media_type_is_parsed(value: str, parsed: tuple[str, dict[str, str]]) -> None:
    assert parse_media_type(value) == parsed


@pytest.mark.parametrize("count", [MAX_PARAMETERS - 1, MAX_PARAMETERS, MAX_PARAMETERS + 1])
def test_there_are_no_more_parameters_than_are_looked_at(count: int) -> None:
    text = "".join(f";p{number}=1" for number in range(count))

    assert len(parse_parameters(text)) == min(count, MAX_PARAMETERS)


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_a_quoted_string_means_what_was_quoted(value: str) -> None:
    # RFC 9110 s.5.6.4
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert unquote_string(quoted) == value
    assert parse_parameters(f";a={quoted};b=1") == {"a": value, "b": "1"}


@given(st.text(alphabet=';=", \t\\aé'))
def test_any_text_is_parsed_without_an_error(value: str) -> None:
    parse_media_type(value)
    parse_quality_list(value)
    split_list(value)


@pytest.mark.parametrize(
    "piece", [";a", ';a="', ';a="\\', ";", ' ;"', ',"', "\\", '"\\"', ";a=", ";q=1"]
)
def test_the_cost_is_linear(piece: str) -> None:
    value = piece * 200_000  # quadratic cost would not end here

    parse_media_type(value)
    parse_quality_list(value)


def test_checked_names_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, bytes] = {}
    monkeypatch.setattr(fields, "known_names", known)
    monkeypatch.setattr(fields, "_MAX_KNOWN_NAMES", 2)
    names = ["X-" + "a" * 62, "X-" + "a" * 63, "X-1", "X-2"]
    for name in [*names, *names]:
        assert encode_field_name(name) == name.lower().encode()
    assert list(known) == [names[0], "X-1"]


def test_a_name_that_was_refused_is_not_remembered() -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="is not a valid header name"):
            encode_field_name("x y")
