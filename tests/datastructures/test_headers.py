"""Header fields by name."""

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica.datastructures import Headers, MutableHeaders
from spica.datastructures.headers import encode_header

RAW = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]


def many(count: int) -> list[tuple[bytes, bytes]]:
    """Make a list that is long enough to be looked up through an index."""
    return [(b"name%d" % (n % 200), b"%d" % n) for n in range(count)]


def test_they_are_read_whatever_the_case() -> None:
    headers = Headers(raw=[(b"content-type", b"text/html")])
    assert headers["Content-Type"] == headers["content-type"] == "text/html"
    assert "CONTENT-TYPE" in headers
    assert headers.get("Content-type") == "text/html"


def test_the_first_value_of_a_name_is_taken() -> None:
    headers = Headers(raw=RAW)
    assert headers["a"] == "1"
    assert headers.get("a") == "1"
    assert headers.getlist("A") == ["1", "3"]


def test_each_field_is_listed() -> None:
    headers = Headers(raw=RAW)
    assert headers.keys() == list(headers) == ["a", "b", "a"]
    assert headers.values() == ["1", "2", "3"]
    assert headers.items() == [("a", "1"), ("b", "2"), ("a", "3")]
    assert len(headers) == 3
    assert dict(headers) == {"a": "1", "b": "2"}


@pytest.mark.parametrize("key", ["z", "€", b"a", 1, None], ids=repr)
def test_an_unknown_name_and_what_is_no_name(key: Any) -> None:
    headers = MutableHeaders(raw=list(RAW))
    assert key not in headers
    assert headers.get(key) is None
    assert headers.get(key, "default") == "default"
    assert headers.getlist(key) == []
    with pytest.raises(KeyError):
        headers[key]
    del headers[key]
    assert headers.raw == RAW


def test_bytes_are_read_as_latin_1() -> None:
    headers = Headers(raw=[(b"a", b"\xe9")])
    assert headers["a"] == "é"
    assert Headers({"a": "é"}).raw == [(b"a", b"\xe9")]


@pytest.mark.parametrize("kind", [Headers, MutableHeaders])
def test_the_raw_list_is_live(kind: type[Headers]) -> None:
    raw = list(RAW)
    headers = kind(raw=raw)
    raw.append((b"c", b"4"))
    assert headers.raw is raw
    assert headers["c"] == "4"


def test_the_headers_of_a_scope_are_live() -> None:
    scope = {"headers": list(RAW)}
    headers = MutableHeaders(scope=scope)
    headers["b"] = "9"
    assert headers.raw is scope["headers"]
    assert scope["headers"][1] == (b"b", b"9")


@pytest.mark.parametrize("given_as", [tuple, iter], ids=["tuple", "iterator"])
def test_the_headers_of_a_scope_become_a_list(given_as: Any) -> None:
    scope = {"headers": given_as(RAW)}
    headers = Headers(scope=scope)
    assert scope["headers"] == RAW
    assert headers.raw is scope["headers"]


@pytest.mark.parametrize("kind", [Headers, MutableHeaders])
def test_raw_pairs_become_a_list(kind: type[Headers]) -> None:
    assert kind(raw=tuple(RAW)).raw == RAW  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sources",
    [
        {"headers": {}, "raw": []},
        {"headers": {}, "scope": {"headers": []}},
        {"raw": [], "scope": {"headers": []}},
    ],
    ids=lambda sources: " and ".join(sources),
)
def test_there_is_one_source(sources: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"^Headers takes one of headers, raw and scope"):
        Headers(**sources)


@pytest.mark.parametrize("make", [Headers, MutableHeaders])
def test_pairs_are_no_mapping(make: Any) -> None:
    with pytest.raises(TypeError) as caught:
        make([("a", "b")])
    assert str(caught.value) == (
        f"{make.__name__}: headers must be a mapping of names to values, not of type list. Write a dict, or "
        "give pairs of bytes as raw=[...]."
    )


def test_without_a_source_there_are_none() -> None:
    assert len(Headers()) == 0
    assert Headers().raw == []


def test_they_are_equal_whatever_the_order() -> None:
    assert Headers(raw=RAW) == Headers(raw=RAW[::-1])
    assert Headers(raw=RAW) == MutableHeaders(raw=RAW)
    assert MutableHeaders(raw=RAW) == Headers(raw=RAW)
    assert Headers(raw=[[b"a", b"1"]]) == Headers({"a": "1"})  # type: ignore[list-item]


@pytest.mark.parametrize("other", [Headers(raw=RAW[:2]), {"a": "1"}, RAW, None])
def test_they_differ(other: Any) -> None:
    assert Headers(raw=RAW) != other


def test_they_cannot_be_hashed() -> None:
    with pytest.raises(TypeError, match="unhashable type: 'Headers'"):
        hash(Headers())


def test_their_repr_shows_every_field() -> None:
    assert repr(Headers({"A": "1"})) == "Headers({'a': '1'})"
    assert repr(MutableHeaders(raw=RAW)) == f"MutableHeaders(raw={RAW!r})"


def test_they_are_mappings() -> None:
    assert isinstance(Headers(), Mapping)
    assert Headers(Headers({"a": "1"})) == Headers({"a": "1"})


def test_they_can_be_copied() -> None:
    headers = Headers(raw=RAW)
    mutable = headers.mutablecopy()
    mutable["a"] = "9"
    assert headers.raw == RAW
    assert copy.deepcopy(headers) == pickle.loads(pickle.dumps(headers)) == headers


@pytest.mark.parametrize(
    ("call", "result", "left"),
    [
        pytest.param(("__setitem__", "A", "9"), None, [(b"a", b"9"), (b"b", b"2")], id="set"),
        pytest.param(("__setitem__", "Z", "9"), None, [*RAW, (b"z", b"9")], id="set new"),
        pytest.param(("__delitem__", "A"), None, [(b"b", b"2")], id="delete"),
        pytest.param(("__delitem__", "z"), None, RAW, id="delete unknown"),
        pytest.param(("setdefault", "A", "9"), "1", RAW, id="setdefault known"),
        pytest.param(("setdefault", "Z", "9"), "9", [*RAW, (b"z", b"9")], id="setdefault unknown"),
        pytest.param(("append", "A", "9"), None, [*RAW, (b"a", b"9")], id="append"),
        pytest.param(
            ("update", {"B": "8", "z": "9"}),
            None,
            [(b"a", b"1"), (b"b", b"8"), (b"a", b"3"), (b"z", b"9")],
            id="update",
        ),
        pytest.param(
            ("update", Headers(raw=[(b"b", b"8"), (b"b", b"9")])),
            None,
            [(b"a", b"1"), (b"b", b"8"), (b"a", b"3"), (b"b", b"9")],
            id="update with a repeated name",
        ),
    ],
)
def test_they_are_changed_in_the_live_list(
    call: tuple[Any, ...], result: Any, left: list[tuple[bytes, bytes]]
) -> None:
    raw = list(RAW)
    method, *args = call
    assert getattr(MutableHeaders(raw=raw), method)(*args) == result
    assert raw == left


def test_they_are_merged_in_place() -> None:
    raw = list(RAW)
    headers = MutableHeaders(raw=raw)
    headers |= {"b": "9"}
    assert headers.raw is raw
    assert headers["b"] == "9"


def test_they_are_merged_into_new_ones() -> None:
    headers = MutableHeaders(raw=list(RAW))
    merged = headers | {"b": "9"}
    assert type(merged) is MutableHeaders
    assert merged["b"] == "9"
    assert headers["b"] == "2"


def test_only_a_mapping_is_merged() -> None:
    headers: Any = MutableHeaders()
    with pytest.raises(TypeError, match=r"^Expected a mapping but got list$"):
        headers | []
    with pytest.raises(TypeError, match=r"^Expected a mapping but got list$"):
        headers |= []


@pytest.mark.parametrize(
    ("lines", "added", "expected"),
    [
        pytest.param([], "Accept", "Accept", id="first"),
        pytest.param(["Accept"], "Origin", "Accept, Origin", id="another"),
        pytest.param(["Accept"], "accept", "Accept", id="listed already"),
        pytest.param(["Accept, Origin"], "ORIGIN, Cookie", "Accept, Origin, Cookie", id="some new"),
        pytest.param(["Accept", "Origin"], "Cookie", "Accept, Origin, Cookie", id="two lines"),
        pytest.param([""], "Origin", "Origin", id="empty line"),
        pytest.param(["*"], "Origin", "*, Origin", id="star"),
    ],
)
def test_names_are_added_to_vary(lines: list[str], added: str, expected: str) -> None:
    # RFC 9110 s.12.5.5
    headers = MutableHeaders(raw=[(b"vary", line.encode()) for line in lines])
    headers.add_vary_header(added)
    assert headers.getlist("vary") == [expected]


@pytest.mark.parametrize("size", [98, 99, 100, 101], ids=repr)
def test_a_vary_field_of_any_size_is_extended(size: int) -> None:
    for _ in range(2):
        headers = MutableHeaders(raw=[(b"a", b"1"), (b"vary", b"x" * size), (b"b", b"2")])
        headers.add_vary_header("Y")
        assert headers.items() == [("a", "1"), ("vary", "x" * size + ", Y"), ("b", "2")]


def set_in_constructor(name: Any, value: Any) -> None:
    Headers({name: value})


def set_item(name: Any, value: Any) -> None:
    MutableHeaders()[name] = value


def append(name: Any, value: Any) -> None:
    MutableHeaders().append(name, value)


def set_default(name: Any, value: Any) -> None:
    MutableHeaders().setdefault(name, value)


def update(name: Any, value: Any) -> None:
    MutableHeaders().update({name: value})


def merge(name: Any, value: Any) -> None:
    MutableHeaders() | {name: value}


PLACES = [set_in_constructor, set_item, append, set_default, update, merge]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\r\nx: y", "a\0b", "€"], ids=ascii)
def test_a_value_that_would_end_its_line_is_refused(place: Any, value: str) -> None:
    # RFC 9110 s.5.5
    with pytest.raises(ValueError, match="In the header 'X-Name': ") as caught:
        place("X-Name", value)
    assert "x: y" not in str(caught.value)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["", "a b", "a:", "a\n", "é"], ids=ascii)
def test_a_name_that_is_no_token_is_refused(place: Any, name: str) -> None:
    # RFC 9110 s.5.1
    with pytest.raises(ValueError, match="not a valid header name"):
        place(name, "value")


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_string_is_refused(place: Any) -> None:
    with pytest.raises(
        TypeError, match=r"^The value of the header 'a' must be a string, not int\.$"
    ):
        place("a", 1)
    with pytest.raises(TypeError, match=r"^The name of a header must be a string, not 1\.$"):
        place(1, "a")


def test_a_refused_value_changes_nothing() -> None:
    headers = MutableHeaders(raw=list(RAW))
    with pytest.raises(ValueError, match="In the header 'a'"):
        headers["a"] = "\n"
    assert headers.raw == RAW


def test_a_field_is_encoded() -> None:
    assert encode_header("Content-Type", "é") == (b"content-type", b"\xe9")


@pytest.mark.parametrize("count", [63, 64, 65, 1000])
def test_a_long_list_is_read_as_a_short_one(count: int) -> None:
    raw = many(count)
    headers = Headers(raw=raw)
    for name in {name for name, _ in raw}:
        values = [value.decode() for given, value in raw if given == name]
        assert headers[name.decode()] == values[0]
        assert headers.getlist(name.decode()) == values
    assert "unknown" not in headers
    assert headers.getlist("unknown") == []


def test_a_change_of_a_long_list_is_seen() -> None:
    raw = many(100)
    headers = MutableHeaders(raw=raw)
    assert headers["name5"] == "5"
    headers["Name5"] = "changed"
    assert headers["name5"] == "changed"
    headers["new"] = "added"
    assert headers["new"] == "added"
    raw.insert(0, (b"name7", b"inserted"))
    assert headers["name7"] == "inserted"
    del headers["name9"]
    assert "name9" not in headers
    assert headers["name10"] == "10"
    raw.append((b"name10", b"appended"))
    assert headers.getlist("name10") == ["10", "appended"]
    raw.clear()
    assert "name10" not in headers


def test_a_field_that_comes_where_another_went_is_seen() -> None:
    headers = MutableHeaders(raw=many(100))
    assert headers.getlist("name5") == ["5"]
    del headers["name50"]
    headers.append("name5", "again")
    assert headers.getlist("name5") == ["5", "again"]
    del headers["name51"]
    headers.raw.insert(0, (b"name99", b"first"))
    assert headers.getlist("name99") == ["first", "99"]


names = st.text("abAB-", min_size=1, max_size=3)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)).map(str.strip)


@given(st.lists(st.tuples(names, values)))
def test_what_is_appended_is_read(pairs: list[tuple[str, str]]) -> None:
    headers = MutableHeaders()
    for name, value in pairs:
        headers.append(name, value)
    for name, _ in pairs:
        expected = [value for given, value in pairs if given.lower() == name.lower()]
        assert headers.getlist(name) == expected
        assert headers[name] == expected[0]


@given(st.lists(st.tuples(names, values)))
def test_what_is_set_last_stands_once(pairs: list[tuple[str, str]]) -> None:
    headers = MutableHeaders()
    for name, value in pairs:
        headers[name] = value
    assert dict(headers.items()) == {name.lower(): value for name, value in pairs}
    assert len(headers) == len(set(headers.keys()))


@given(st.lists(st.tuples(st.binary(), st.binary())))
def test_any_bytes_of_a_request_can_be_read(raw: list[tuple[bytes, bytes]]) -> None:
    headers = Headers(raw=raw)
    for name, value in headers.items():
        assert isinstance(name, str)
        assert isinstance(value, str)
    assert headers.get("host", "") is not None
    repr(headers)


class TestLongListsEditedInPlace:
    """A long list is looked up through an index, which must see every edit of the list."""

    SIZES = (70, 1500)  # compared as a whole, and in part

    def make(self, size):
        pairs = [(b"x-%d" % number, b"old") for number in range(size)]
        pairs[40] = (b"cookie", b"second")
        headers = Headers(raw=pairs)
        assert headers["cookie"] == "second"  # the index is made
        return pairs, headers

    @pytest.mark.parametrize("size", SIZES)
    def test_append_remove_and_slice(self, size):
        pairs, headers = self.make(size)
        pairs.append((b"new", b"1"))
        assert headers["new"] == "1"
        del pairs[40]
        assert "cookie" not in headers
        pairs[:] = [(b"only", b"1")] * size
        assert headers.getlist("only") == ["1"] * size

    @pytest.mark.parametrize("size", SIZES)
    def test_an_item_that_is_replaced_by_one_of_the_same_name(self, size):
        pairs, headers = self.make(size)
        pairs[40] = (b"cookie", b"changed")
        assert headers["cookie"] == "changed"

    def test_an_item_that_is_replaced_by_an_earlier_one_of_a_name(self):
        pairs, headers = self.make(70)
        pairs[20] = (b"cookie", b"first")
        assert (headers["cookie"], headers.getlist("cookie")) == ("first", ["first", "second"])

    def test_a_name_that_was_not_there(self):
        pairs, headers = self.make(70)
        assert "brand-new" not in headers
        pairs[20] = (b"brand-new", b"1")
        assert headers["brand-new"] == "1"

    def test_an_item_that_is_taken_away(self):
        pairs, headers = self.make(70)
        pairs[40] = (b"other", b"1")
        assert "cookie" not in headers


class Compared(bytes):
    """A name that counts how often it is compared."""

    count = 0

    def __eq__(self, other):
        Compared.count += 1
        return bytes.__eq__(self, other)

    __hash__ = bytes.__hash__


def test_reading_every_name_of_a_very_long_list_takes_linear_steps():
    counts = []
    for size in (2000, 4000):
        name = Compared(b"same")
        headers = Headers(raw=[(name, b"v") for _ in range(size)])
        Compared.count = 0
        assert dict(headers) == {"same": "v"}
        counts.append(Compared.count)
    assert counts[1] <= 2.5 * counts[0]


@pytest.mark.parametrize("value", ["a\nb", "a\x7fb", "snow \u2603", 1, None])
def test_a_name_that_was_set_before_gets_no_wrong_value(value: Any) -> None:
    headers = MutableHeaders()
    headers["x-again"] = "1"
    with pytest.raises((TypeError, ValueError), match="x-again"):
        headers["x-again"] = value
    assert headers.raw == [(b"x-again", b"1")]


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(" a b ", b"a b"), ("a\tb", b"a\tb"), ("caf\xe9", b"caf\xe9"), ("", b""), (b"raw", b"raw")],
)
def test_a_name_that_was_set_before_gets_any_valid_value(value: Any, encoded: bytes) -> None:
    for _ in range(2):
        assert encode_header("X-Again", value) == (b"x-again", encoded)
