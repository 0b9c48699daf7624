"""The grammar of the Host field."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica._http.host import (
    MAX_HOST_SIZE,
    _parse,
    _to_url_host,
    find_host,
    format_host,
    has_contradicting_hosts,
    parse_host,
    parse_host_name,
    read_host,
)


@pytest.mark.parametrize(
    ("header", "host", "port"),
    [
        pytest.param("example.org", "example.org", None, id="name"),
        pytest.param("example.org:8000", "example.org", 8000, id="name and port"),
        pytest.param("EXAMPLE.org", "example.org", None, id="case has no meaning"),
        pytest.param("example.org.", "example.org.", None, id="trailing dot"),
        pytest.param("a_b", "a_b", None, id="underscore"),
        pytest.param("a%20b", "a%20b", None, id="escape"),
        pytest.param("a!$&'()*+,;=b", "a!$&'()*+,;=b", None, id="sub-delims"),
        pytest.param("127.0.0.1:80", "127.0.0.1", 80, id="IPv4"),
        pytest.param("999.1.1.1", "999.1.1.1", None, id="no IPv4 address, but a name"),
        pytest.param("[::1]", "[::1]", None, id="IPv6"),
        pytest.param("[2001:DB8::1]:443", "[2001:db8::1]", 443, id="IPv6 and port"),
        pytest.param("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", None, id="IPv6 with IPv4"),
        pytest.param("[v1.fe:80]:1", "[v1.fe:80]", 1, id="IPvFuture"),
        pytest.param("a:", "a", None, id="empty port"),
        pytest.param("a:0", "a", 0, id="lowest port"),
        pytest.param("a:65535", "a", 65535, id="highest port"),
        pytest.param("a:00000080", "a", 80, id="port with leading zeros"),
    ],
)
def test_a_host_is_split_from_its_port(header: str, host: str, port: int | None) -> None:
    # RFC 3986 s.3.2.2, s.3.2.3
    assert parse_host(header) == (host, port)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="empty"),
        pytest.param(":80", id="port only"),
        pytest.param("a b", id="blank"),
        pytest.param("a/b", id="slash"),
        pytest.param("a?b", id="question mark"),
        pytest.param("a#b", id="number sign"),
        pytest.param("a\\b", id="backslash"),
        pytest.param("user@a", id="userinfo"),
        pytest.param('a"b', id="quote"),
        pytest.param("a<b", id="angle bracket"),
        pytest.param("a\r\nb", id="line break"),
        pytest.param("a\n", id="line break at the end"),
        pytest.param("a\0", id="NUL"),
        pytest.param("é", id="beyond ASCII"),
        pytest.param("a%zz", id="no escape"),
        pytest.param("a%2", id="cut escape"),
        pytest.param("a:65536", id="port too high"),
        pytest.param("a:" + "9" * 200, id="port of many digits"),
        pytest.param("a:+1", id="signed port"),
        pytest.param("a:1_0", id="port as Python writes it"),
        pytest.param("a:٣", id="digit beyond ASCII"),
        pytest.param("a:b", id="port of letters"),
        pytest.param("a:1:2", id="two ports"),
        pytest.param("::1", id="IPv6 without brackets"),
        pytest.param("[::1", id="bracket not closed"),
        pytest.param("[::1]x", id="text behind the bracket"),
        pytest.param("[::g]", id="no hexadecimal digit"),
        pytest.param("[1:2:3]", id="IPv6 too short"),
        pytest.param("[1.2.3.4]", id="IPv4 in brackets"),
        pytest.param("[fe80::1%25eth0]", id="zone"),
        pytest.param("[]", id="empty brackets"),
    ],
)
def test_what_is_no_host_gives_none(header: str) -> None:
    assert parse_host(header) is None


@pytest.mark.parametrize(
    ("header", "name"),
    [
        pytest.param("Example.org", "example.org", id="no port"),
        pytest.param("example.org:65535", "example.org", id="highest port"),
        pytest.param("example.org:65536", "example.org", id="port too high"),
        pytest.param("example.org:" + "9" * 200, "example.org", id="port of many digits"),
        pytest.param("[::1]:65536", "[::1]", id="IPv6"),
        pytest.param("a:", "a", id="empty port"),
        pytest.param("a:x", None, id="port of letters"),
        pytest.param("a b", None, id="blank"),
        pytest.param("[:::]", None, id="no address"),
        pytest.param("", None, id="empty"),
        pytest.param("a" * (MAX_HOST_SIZE + 1), None, id="too long"),
    ],
)
def test_a_name_is_known_whatever_the_port(header: str, name: str | None) -> None:
    # RFC 3986 s.3.2.3: port = *DIGIT
    assert parse_host_name(header) == name


def test_a_host_may_be_as_long_as_the_limit_and_no_longer() -> None:
    assert parse_host("a" * (MAX_HOST_SIZE - 1)) is not None
    assert parse_host("a" * MAX_HOST_SIZE) is not None
    assert parse_host("a" * (MAX_HOST_SIZE + 1)) is None


def test_hosts_of_requests_do_not_fill_the_memory() -> None:
    for number in range(200):
        parse_host(f"host{number}")
        read_host([(b"host", b"host%d" % number)])
    assert _parse.cache_info().currsize <= 64
    assert _to_url_host.cache_info().currsize <= 64


def test_a_host_too_long_is_not_remembered() -> None:
    before = _to_url_host.cache_info().misses
    assert read_host([(b"host", b"a" * (MAX_HOST_SIZE + 1))]) is None
    assert _to_url_host.cache_info().misses == before


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param([(b"accept", b"*/*")], None, id="no Host"),
        pytest.param([(b"accept", b"*/*"), (b"host", b"A:80")], b"A:80", id="one"),
        pytest.param([(b"host", b"a b\xff")], b"a b\xff", id="malformed"),
        pytest.param([(b"host", b"a"), (b"host", b"a")], b"a", id="repeated"),
        pytest.param([(b"host", b"a"), (b"host", b"b")], None, id="contradictory"),
    ],
)
def test_the_value_is_found_as_it_is(
    headers: list[tuple[bytes, bytes]], expected: bytes | None
) -> None:
    # RFC 9112 s.3.2
    assert find_host(headers) == expected


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([], False),
        ([b"a"], False),
        ([b"a", b"a"], False),
        ([b"a", b"b"], True),
        ([b"", b"a"], True),
    ],
)
def test_fields_with_different_values_contradict_each_other(
    hosts: list[bytes], expected: bool
) -> None:
    # RFC 9112 s.3.2
    assert has_contradicting_hosts([(b"host", host) for host in hosts]) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param([], None, id="no header"),
        pytest.param([(b"accept", b"*/*")], None, id="no Host"),
        pytest.param([(b"accept", b"*/*"), (b"host", b"a:80")], "a:80", id="one"),
        pytest.param([(b"host", b"EXAMPLE.org")], "EXAMPLE.org", id="case is kept"),
        pytest.param([(b"host", b"a:")], "a", id="colon of an empty port"),
        pytest.param([(b"host", b"a"), (b"host", b"a")], "a", id="repeated"),
        pytest.param([(b"host", b"a"), (b"host", b"b")], None, id="contradictory"),
        pytest.param([(b"host", b"")], None, id="empty"),
        pytest.param([(b"host", b"\xff")], None, id="beyond ASCII"),
        pytest.param([(b"host", b"a:65535")], "a:65535", id="highest port"),
        pytest.param([(b"host", b"a:65536")], None, id="port that no URL can carry"),
    ],
)
def test_the_host_is_found_among_headers(
    headers: list[tuple[bytes, bytes]], expected: str | None
) -> None:
    # RFC 9112 s.3.2
    assert read_host(headers) == expected


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("a", None, "a"),
        ("a", 80, "a:80"),
        ("::1", None, "[::1]"),
        ("::1", 80, "[::1]:80"),
        ("[::1]", 80, "[::1]:80"),
    ],
)
def test_a_host_is_written_as_a_url_carries_it(host: str, port: int | None, expected: str) -> None:
    assert format_host(host, port) == expected


@given(st.text())
def test_any_text_is_a_host_or_none(text: str) -> None:
    parsed = parse_host(text)
    if parsed is not None:
        host, port = parsed
        assert host.isascii()
        assert port is None or 0 <= port <= 65535


@given(
    st.text(string.ascii_lowercase + string.digits + "-._~", min_size=1, max_size=50),
    st.none() | st.integers(0, 65535),
)
def test_what_is_written_is_read_again(host: str, port: int | None) -> None:
    assert parse_host(format_host(host, port)) == (host, port)
