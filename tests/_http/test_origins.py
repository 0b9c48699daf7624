"""Origins as browsers write them, and patterns that are wider than they look."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spica._http.origins import find_looseness, serialize_origin

OTHER_LETTER = (
    "has a letter that browsers and Python encode in different ways: write the ASCII form of the name, "
    "which has 'xn--' in it"
)
OTHER_ADDRESS = (
    "has an address that browsers write in another way: write four decimal numbers, such as "
    "'127.0.0.1'"
)


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.org",
        "http://localhost:8000",
        "http://[::1]:8000",
        "http://192.0.2.1",
        "null",
        "file://",
        "chrome-extension://abcdefghijklmnop",
        "capacitor://localhost",
    ],
)
def test_an_origin_as_browsers_write_it_stays(origin: str) -> None:
    assert serialize_origin(origin) == origin


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("HTTPS://Example.ORG", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://example.org:80", "http://example.org"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://example.org:443", "http://example.org:443"),
        ("https://example.org:", "https://example.org"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://[::FFFF:127.0.0.1]", "http://[::ffff:7f00:1]"),  # on every Python
        ("https://BÜCHER.example:8443", "https://xn--bcher-kva.example:8443"),
        ("https://[2001:DB8:0:0::0001]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_an_origin_is_written_in_one_way(text: str, sent: str) -> None:
    """RFC 6454 s.4 and s.6.2."""
    assert serialize_origin(text) == sent


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no scheme"),
        ("example.org", "has no scheme: write 'https://example.org'"),
        ("://example.org", "has no scheme"),
        ("https://example.org/", "has a trailing slash: write 'https://example.org'"),
        ("https://example.org/a/b", "has a path: write 'https://example.org'"),
        ("https://example.org?a", "has a path: write 'https://example.org'"),
        (
            "https://*.example.org",
            "has a '*', which matches only a literal '*' here: use allow_origin_regex",
        ),
        ("https://me@example.org", "has a user name, which an origin can't have"),
        ("https://exa mple.org", "has a blank or control character"),
        ("app://a\nb", "has a blank or control character"),
        ("https://", "has no valid host and port"),
        ("https://example.org:65536", "has no valid host and port"),
        ("https://" + "ü" * 64 + ".org", "has no valid host and port"),
        # Python's codec would trust fass.de, which may belong to a stranger.
        ("https://faß.de", OTHER_LETTER),
        ("https://βόλος.com", OTHER_LETTER),
        ("https://ex%61mple.org", "has a percent-encoded host, which browsers send decoded"),
        ("https://127.1", OTHER_ADDRESS),
        ("https://0x7f.0.0.1:8443", OTHER_ADDRESS),
        ("https://2130706433", OTHER_ADDRESS),
    ],
)
def test_what_is_no_origin_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        serialize_origin(text)
    assert str(caught.value) == reason


@given(st.text(max_size=60) | st.text("htps:/.[]@*ü1 \\", max_size=20))
@settings(max_examples=200)
def test_any_text_is_an_origin_or_refused_as_documented(text: str) -> None:
    try:
        sent = serialize_origin(text)
    except ValueError:
        return
    assert serialize_origin(sent) == sent


@pytest.mark.parametrize(
    "pattern",
    [
        r".*",
        r"https://.*",
        r"https://.*\.example\.org",
        r"https://(.*\.)?example\.org",
        r"https?://localhost(:\d+)?",
        r"http://localhost:.*",
        r"https://[^/.]+\.example\.org",
        r"^https://(a|b)\.example\.(org|com)$",
        r"https://[a-z.]+\.example\.org",
        r"https://.*-preview\.example\.org",
        r"https://.*\.example.org",
        r"https://a\.example.(org|com)",
        r"https://(a|b)\.example.org|https://c\.example\.net",
        r"https://a.example|https://(b|c)\.org",
        r"(?:https|http)://(?P<name>\w+)\.example\.org",
        "",
    ],
)
def test_a_tight_pattern_is_not_complained_of(pattern: str) -> None:
    re.compile(pattern)
    assert find_looseness(pattern) == []


@pytest.mark.parametrize(
    ("pattern", "position", "text", "stranger"),
    [
        (r"https://api.example\.org", 11, "any character", "https://apiXexample.org"),
        (r"https://(www.|)example\.org", 12, "any character", "https://wwwXexample.org"),
        (r"https://example.co[.]uk|null", 15, "any character", "https://exampleXco.uk"),
        (r"https://.*example\.org", 8, "precede", "https://notexample.org"),
        (r"https://[^/]*example\.org", 8, "precede", "https://notexample.org"),
        (r"https://example\.org.*", 20, "follow", "https://example.org.evil.net"),
        (r"^http://localhost.*$", 17, "follow", "http://localhost.evil.net"),
        (r"http://localhost.*|null", 16, "follow", "http://localhost.evil.net"),
        (r"https://example\..+", 17, "follow", "https://example.evil.net"),
    ],
)
def test_a_loose_place_is_found(pattern: str, position: int, text: str, stranger: str) -> None:
    assert re.fullmatch(pattern, stranger)
    (found,) = find_looseness(pattern)
    assert found.position == position
    assert text in found.text


@given(st.text(r".*+?{}[]()^$|\ab:/-", max_size=30))
@settings(max_examples=200)
def test_any_pattern_can_be_looked_at(pattern: str) -> None:
    for found in find_looseness(pattern):
        assert 0 <= found.position < len(pattern)
