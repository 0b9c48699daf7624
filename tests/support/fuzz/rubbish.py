"""Strategies for input that nobody should send: half grammar, half noise.

Pure noise ends at the first rule of a grammar. So most inputs are made of words of that grammar in any
order, with bytes between them that mean something elsewhere.
"""

from __future__ import annotations

from hypothesis import strategies as st

Bytes = st.SearchStrategy[bytes]

NASTY = [
    b"", b" ", b"\t", b"\0", b"\r", b"\n", b"\r\n", b"\x0b", b"\x1b", b"\x7f", b"\x80", b"\xa0", b"\xff",
    b"\xc0\x80", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\xf0\x9f\x98\x80", b"\xef\xbb\xbf", "é".encode(),
    b"\xb2", b"\xd9\xa3", b"%", b"%0", b"%00", b"%ff", b"%C3%A9", b"%2F", b"%u0041", b"\\", b'"', b"'",
    b";", b",", b"=", b"&", b"+", b"/", b"//", b"..", b".", b":", b"@", b"?", b"#", b"[", b"]", b"{", b"}",
    b"*", b"-", b"_", b"~", b"$", b"!", b"<", b">", b"|", b"`", b"^", b"(", b")",
]  # fmt: skip
NUMBERS = [
    b"0", b"1", b"-1", b"007", b"65535", b"65536", b"4294967296", b"9223372036854775807",
    b"9223372036854775808", b"18446744073709551616", b"9" * 30, b"9" * 5000, b"1e9", b"1e999", b"0x10",
    b"1_000", b"+1", b"\xd9\xa3", b"NaN", b"Infinity", b"1.0", b".5", b"0." + b"0" * 400 + b"1",
]  # fmt: skip

noise: Bytes = st.binary(max_size=12)


def words(*vocabulary: bytes, max_size: int = 12) -> Bytes:
    """Words of a grammar in any order, rubbish between them, one of them perhaps very often."""
    word = st.one_of(
        st.sampled_from([*vocabulary, b""]),
        st.sampled_from(vocabulary or [b""]),
        st.sampled_from(NASTY),
        st.sampled_from(NUMBERS),
        noise,
    )
    sequence = st.lists(word, max_size=max_size).map(b"".join)
    flood = st.builds(
        lambda before, often, times, after: before + often * times + after,
        sequence, word, st.sampled_from([2, 100, 300, 1100]), sequence,
    )  # fmt: skip
    return st.one_of(sequence, sequence, sequence, flood)


def as_text(data: bytes) -> str:
    """Bytes as the text of a header, each of them a character."""
    return data.decode("latin-1")


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes at places (modulo their size), empty pieces included."""
    places = sorted(cut % (len(data) + 1) for cut in cuts)
    return [
        data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)
    ]


cuts = st.lists(st.integers(0, 1 << 20), max_size=5)

HEADER_WORDS: dict[bytes, list[bytes]] = {
    b"host": [b"example.org", b"a", b":80", b":", b"[::1]", b"[", b"]", b"user@", b"xn--", b"127.0.0.1"],
    b"range": [b"bytes=", b"items=", b"0-", b"-1", b"0-0", b"5-9", b"9-5", b",", b"-", b" "],
    b"if-range": [b'"abc"', b"W/", b"Thu, 01 Jan 1970 00:00:00 GMT"],
    b"if-match": [b'"abc"', b"W/", b"*", b",", b'"'],
    b"if-none-match": [b'"abc"', b"W/", b"*", b",", b'"'],
    b"if-modified-since": [b"Thu, 01 Jan 1970 00:00:00 GMT", b"Sun, ", b"06-Nov-94 ", b"Nov", b"-1"],
    b"if-unmodified-since": [b"Thu, 01 Jan 2970 00:00:00 GMT", b"Sun Nov  6 08:49:37 1994", b":"],
    b"accept": [b"text/html", b"*/*", b"application/json", b";q=", b"0.5", b"1.001", b",", b";"],
    b"accept-encoding": [b"gzip", b"identity", b"*", b";q=0", b";q=", b"0.5", b",", b"br"],
    b"accept-language": [b"en", b"-", b";q=", b","],
    b"cookie": [b"a=b", b"; ", b"=", b'"', b"\\073", b"session=", b"$Path", b","],
    b"authorization": [b"Basic ", b"Bearer ", b"YTpi", b"===="],
    b"origin": [b"https://", b"http://example.org", b"null", b":443", b"evil."],
    b"access-control-request-method": [b"GET", b"POST", b"PROPFIND", b"get", b","],
    b"access-control-request-headers": [b"x-a", b",", b"content-type", b"*"],
    b"access-control-request-private-network": [b"true", b"false"],
    b"content-type": [
        b"application/json", b"application/x-www-form-urlencoded", b"multipart/form-data", b"; ",
        b"boundary=", b"b", b"charset=", b"utf-8", b"utf-7", b"utf-16", b"idna", b"zip", b'"',
    ],
    b"content-length": [b"0", b"5", b"100", b"-1"],
    b"content-encoding": [b"gzip", b"br"],
    b"content-disposition": [b"form-data", b"; name=", b"; filename=", b"filename*=", b"utf-8''", b'"'],
    b"expect": [b"100-continue"],
    b"upgrade": [b"websocket", b"h2c"],
    b"connection": [b"upgrade", b"close", b","],
    b"forwarded": [b"for=", b"proto=https", b"host="],
    b"x-forwarded-for": [b"192.0.2.1", b","],
    b"x-forwarded-proto": [b"https"],
    b"traceparent": [b"00-", b"0af7651916cd43dd8448eb211c80319c", b"-b7ad6b7169203331", b"-01"],
    b"tracestate": [b"a=1", b","],
    b"baggage": [b"a=1", b",", b";"],
    b"user-agent": [b"Mozilla/5.0"],
    b"referer": [b"http://example.org/"],
    b"sec-websocket-protocol": [b"chat", b","],
    b"transfer-encoding": [b"chunked"],
}  # fmt: skip
"""Fields that somebody reads, and the words their values are made of."""


def values_of(name: bytes) -> Bytes:
    """Values of a header field as a server hands them on: no CR, LF or NUL, no white space around."""
    return words(*HEADER_WORDS.get(name, [])).map(as_received)


def as_received(value: bytes) -> bytes:
    """What is left of a header value when a server has let it pass."""
    return value.translate(None, b"\r\n\0").strip(b" \t")


header = st.one_of(
    st.sampled_from(sorted(HEADER_WORDS)).flatmap(
        lambda name: st.tuples(st.just(name), values_of(name))
    ),
    st.tuples(st.sampled_from([b"x-a", b"x-" + b"a" * 300]), values_of(b"")),
)
headers = st.lists(header, max_size=6)
