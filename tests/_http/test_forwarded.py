"""The grammar of X-Forwarded-For and Forwarded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica._http.forwarded import (
    MAX_ENTRIES,
    MAX_FIELD_SIZE,
    MAX_NODE_SIZE,
    MAX_PREFIX_SIZE,
    Node,
    _parse_node,
    last_elements,
    last_members,
    pack_address,
    parse_element,
    parse_node,
    parse_prefix,
)


def test_members_are_in_reverse_order_over_all_lines():
    """RFC 9110 s.5.3 and s.5.6.1.2."""
    assert last_members([b"a, ,b", b"", b" c\t"]) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("count", "kept"),
    [
        (MAX_ENTRIES - 1, MAX_ENTRIES - 1),
        (MAX_ENTRIES, MAX_ENTRIES),
        (MAX_ENTRIES + 1, MAX_ENTRIES),
    ],
)
def test_a_bounded_number_of_members_is_read(count, kept):
    assert last_members([b"a" + b",b" * (count - 1)])[kept - 1 :] == ["a" if kept == count else "b"]


@pytest.mark.parametrize(("excess", "members"), [(0, 2), (1, 1)])
def test_a_member_is_read_only_if_it_is_within_the_size_limit(excess, members):
    first = b"a" * (MAX_FIELD_SIZE - 2 + excess)
    assert len(last_members([first + b",b"])) == members


def test_a_single_member_over_the_limit_is_no_member():
    assert last_members([b"a" * (MAX_FIELD_SIZE + 1)]) == []


def test_a_node_has_an_address_and_a_port():
    """RFC 7239 s.6."""
    assert parse_node("[2001:DB8::1]:80") == Node("2001:db8::1", 80)
    assert parse_node("192.0.2.1") == Node("192.0.2.1", 0)


def test_long_nodes_are_not_remembered():
    _parse_node.cache_clear()
    assert parse_node("1" * (MAX_NODE_SIZE + 1)) is None
    assert _parse_node.cache_info().currsize == 0


@given(st.text(st.characters(max_codepoint=255), max_size=80))
def test_a_node_is_an_address_or_nothing(text):
    node = parse_node(text)
    assert node is None or (pack_address(node.host) is not None and parse_node(node.host))


@given(st.ip_addresses())
def test_every_address_is_a_node(address):
    mapped = getattr(address, "ipv4_mapped", None)
    node = parse_node(f"[{address}]:1" if address.version == 6 else f"{address}:1")
    assert pack_address(node.host) == (mapped or address).packed


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ('for="[::1]:80"; Proto=https ;by=_x', {"for": "[::1]:80", "proto": "https", "by": "_x"}),
        ("for=", {"for": ""}),
        ("for=a;for=b", {}),
        ("for=a;", {"for": "a"}),
        (";;for=a", {"for": "a"}),
        ('for=a;by="b;c\\""', {"for": "a", "by": 'b;c"'}),
        ('for="a"b"', {}),
        ("=a", {}),
        ('for="a', {}),
        ('for=a"', {}),
        ('for="', {}),
    ],
)
def test_an_element_is_parameters_or_nothing(text, parameters):
    """RFC 7239 s.4."""
    assert parse_element(text) == parameters


QUOTED = 'for=192.0.2.1;by="a,\\"b,";x="\\\\"'


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        (f"{QUOTED}, for=a", ["for=a", QUOTED]),
        (f'for="6.6.6.6, {QUOTED}', [QUOTED, 'for="6.6.6.6']),
        (f'\\", {QUOTED}', [QUOTED, '\\"']),
        ('for="a"b, c"', ['for="a"b, c"']),
        ('a, "', ['a, "']),
        (', ,for="a" ,', ['for="a"']),
    ],
)
def test_elements_are_found_from_the_end(value, elements):
    """RFC 7239 s.4: a quoted comma splits nothing, and an open quote of the client swallows nothing."""
    assert last_elements([value.encode()]) == elements


@pytest.mark.parametrize("count", [MAX_ENTRIES - 1, MAX_ENTRIES, MAX_ENTRIES + 1])
def test_a_bounded_number_of_elements_is_read(count):
    assert len(last_elements([b'a="b"'] * count)) == min(count, MAX_ENTRIES)


@given(st.lists(st.text(max_size=20).filter(str.isprintable), min_size=1, max_size=5))
def test_elements_with_quoted_values_are_read_back(values):
    texts = [value.encode().decode("latin-1") for value in values]
    quoted = [text.replace("\\", "\\\\").replace('"', '\\"') for text in texts]
    elements = last_elements([f'x="{text}"'.encode("latin-1") for text in quoted])
    assert [parse_element(element) for element in elements] == [{"x": text} for text in texts[::-1]]


@given(st.text(max_size=60))
def test_no_element_raises(text):
    assert isinstance(parse_element(text), dict)


@pytest.mark.parametrize("size", [MAX_PREFIX_SIZE - 1, MAX_PREFIX_SIZE, MAX_PREFIX_SIZE + 1])
def test_a_prefix_has_a_largest_size(size):
    prefix = "/" + "a" * (size - 1)
    assert parse_prefix(prefix) == (prefix if size <= MAX_PREFIX_SIZE else None)


@given(st.text("/.a%\\ ?", max_size=8))
def test_a_prefix_is_clean(text):
    prefix = parse_prefix(text)
    if prefix:
        assert not {"", ".", ".."} & {*prefix[1:].split("/")}
        assert set(prefix) <= set("/.a")
