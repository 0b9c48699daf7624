from itertools import pairwise
from urllib.parse import parse_qsl, urlencode

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spica.datastructures import Headers
from spica.formparsers import FormParser, MultiPartException
from spica.formparsers.urlencoded_parser import _Decoder

pytestmark = pytest.mark.anyio


def decode(pieces, max_fields=1000, max_part_size=1024 * 1024):
    decoder = _Decoder(max_fields, max_part_size)
    for piece in pieces:
        decoder.feed(piece)
    return decoder.finish()


@pytest.mark.parametrize(
    ("body", "items"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b"a=1&b=2", [("a", "1"), ("b", "2")], id="two"),
        pytest.param(b"a=1&a=2", [("a", "1"), ("a", "2")], id="same-name"),
        pytest.param(b"a=&b&=c&=", [("a", ""), ("b", ""), ("", "c"), ("", "")], id="blank"),
        pytest.param(b"&&a=1&&", [("a", "1")], id="empty-fields-are-none"),
        pytest.param(b"a=b=c", [("a", "b=c")], id="equals-in-value"),
        pytest.param(b"a=1+2%2B", [("a", "1 2+")], id="plus"),
        pytest.param(b"a%26b=%3D%26", [("a&b", "=&")], id="quoted-separators"),
        pytest.param(b"%61=b=%3D=", [("a", "b===")], id="equals-quoted-and-not"),
        pytest.param(b"a=%C3%A9", [("a", "é")], id="utf-8"),
        pytest.param(b"a=\xc3\xa9", [("a", "é")], id="utf-8-not-quoted"),
        pytest.param(b"%41=\xc3%A9", [("A", "é")], id="utf-8-half-quoted"),
        pytest.param(b"a=%FF", [("a", "�")], id="not-utf-8"),
        pytest.param(b"a=\xff", [("a", "�")], id="not-utf-8-not-quoted"),
        pytest.param(b"a=%zz%4%", [("a", "%zz%4%")], id="lone-percent"),
        pytest.param(b"%5C=\\x41\\u0041\\", [("\\", "\\x41\\u0041\\")], id="backslashes"),
        pytest.param(b"a=1;b=2", [("a", "1;b=2")], id="semicolon-does-not-separate"),
        pytest.param("a=Ā%C4%80".encode(), [("a", "ĀĀ")], id="the-characters-used-inside"),
    ],
)
async def test_a_body_is_parsed(urlencoded, body, items):
    assert await urlencoded(body) == items


async def test_chunks_may_end_anywhere(urlencoded):
    assert await urlencoded([b"na", b"me=v%2", b"", b"6&", b"b", b"=2"]) == [
        ("name", "v&"),
        ("b", "2"),
    ]


async def test_the_last_field_needs_no_empty_chunk(urlencoded):
    assert await urlencoded([b"a=1"]) == [("a", "1")]


@pytest.mark.parametrize("body", [b"a=1&b=2&c=3", b"&a=1&&&&&b=2&c=3&", b"a=1&b=%32&&c"])
@pytest.mark.parametrize(("limit", "passes"), [(2, False), (3, True), (4, True)])
async def test_the_number_of_fields_is_limited(urlencoded, body, limit, passes):
    if passes:
        assert len(await urlencoded(body, max_fields=limit)) == 3
    else:
        with pytest.raises(MultiPartException) as caught:
            await urlencoded(body, max_fields=limit)
        assert caught.value.message == "Too many fields. Maximum number of fields is 2."


async def test_the_number_of_fields_may_be_unlimited(urlencoded):
    assert len(await urlencoded(b"a=1&" * 2000, max_fields=float("inf"))) == 2000


async def test_the_default_allows_1000_fields(urlencoded):
    assert len(await urlencoded(b"a&" * 1000)) == 1000
    with pytest.raises(MultiPartException, match="Maximum number of fields is 1000"):
        await urlencoded(b"a&" * 1001)


async def test_separators_without_fields_are_ignored_however_many(urlencoded):
    assert await urlencoded(b"&" * 300_000 + b"a=1") == [("a", "1")]


@pytest.mark.parametrize("size", [9, 10, 11])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda n: b"name=" + b"x" * (n - 4), id="name-and-value"),
        pytest.param(lambda n: b"x" * n, id="name-only"),
        pytest.param(lambda n: b"a=1&bc=" + b"x" * (n - 2) + b"&d=1", id="in-the-middle"),
        pytest.param(lambda n: b"=" + b"%" * n, id="as-it-was-sent"),
    ],
)
@pytest.mark.parametrize("cut", [1, 11, 100])
async def test_the_size_of_a_field_is_limited(urlencoded, split, make, size, cut):
    body = make(size)
    if size <= 10:
        assert await urlencoded(split(body, cut), max_part_size=10) == parse_qsl(
            body.decode(), keep_blank_values=True
        )
    else:
        with pytest.raises(MultiPartException) as caught:
            await urlencoded(split(body, cut), max_part_size=10)
        assert caught.value.message == "Field exceeded maximum size of 10 bytes."


async def test_a_field_that_is_too_large_is_not_read_to_its_end(chunks, urlencoded):
    stream = chunks([b"a=" + b"x" * 100] * 50)
    with pytest.raises(MultiPartException):
        await urlencoded(stream, max_part_size=1000)
    assert len(stream.chunks) == 39
    assert stream.is_closed


@pytest.mark.parametrize(("size", "is_kept"), [(9, True), (10, True), (11, False)])
@pytest.mark.parametrize("cut", [1, 9])
async def test_the_memory_of_a_body_is_limited(chunks, size, is_kept, cut):
    body = b"a=" + b"x" * (size - 2)
    parser = FormParser(Headers(), chunks([body[:cut], body[cut:]]))
    parser.max_memory_size = 10
    if is_kept:
        assert (await parser.parse())["a"] == "x" * (size - 2)
    else:
        with pytest.raises(MultiPartException, match=r"exceeded 10 bytes \(max_memory_size\)"):
            await parser.parse()


async def test_a_large_body_lets_other_tasks_run():
    turns = []
    is_done = anyio.Event()

    async def other():
        while not is_done.is_set():
            turns.append(None)
            await anyio.lowlevel.checkpoint()

    async def stream():
        yield b"a=%41%42&" * 100_000

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        form = await FormParser(Headers(), stream(), max_fields=100_000).parse()
        is_done.set()
    assert len(form.multi_items()) == 100_000
    assert len(turns) >= 2


async def test_an_error_of_the_stream_goes_through(chunks, urlencoded):
    with pytest.raises(OSError, match="gone"):
        await urlencoded(chunks([b"a=1"], error=OSError("gone")))


field_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(field_text, field_text), max_size=6))
def test_what_a_form_encodes_is_what_comes_out(pairs):
    assert decode([urlencode(pairs).encode()]) == pairs


@settings(max_examples=200, deadline=None)
@given(st.text("a1&=%+fF\\xué;", max_size=60))
def test_any_ascii_body_means_what_the_standard_library_says(text):
    body = text.replace("é", "").encode()
    assert decode([body]) == parse_qsl(body.decode(), keep_blank_values=True)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.binary(max_size=60), st.text("a&=%4+é", max_size=60).map(str.encode)),
    st.lists(st.integers(0, 60)),
)
def test_any_split_gives_the_same_fields(body, cuts):
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[a:b] for a, b in pairwise(edges)]
    assert decode(pieces) == decode([body])


# Other encodings than UTF-8


@pytest.fixture
def in_charset(chunks):
    """Parse a body whose Content-Type names a charset, in chunks of one size."""

    async def parse(charset, body, size=1000):
        kind = f"application/x-www-form-urlencoded; charset={charset}"
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        parser = FormParser(Headers({"content-type": kind}), chunks(pieces))
        return (await parser.parse()).multi_items()

    return parse


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize(
    ("charset", "body"),
    [
        ("windows-1251", b"%EF=%E6+%E6&b=1"),
        ("windows-1251", b"\xef=\xe6 \xe6&&b=1"),
        ('"Windows-1251"', b"%ef=%e6%20%e6&b=1"),
        ("koi8-r", b"%D0=%D6+%D6&b=1"),
        ("UTF-8", b"%D0%BF=%D0%B6+%D0%B6&b=1"),
        ("iso-8859-5", b"%DF=%D6+%D6&b=1"),
    ],
)
async def test_a_form_is_decoded_in_the_charset_it_names(in_charset, charset, body, size):
    assert await in_charset(charset, body, size) == [("п", "ж ж"), ("b", "1")]


async def test_bytes_outside_the_charset_are_replaced(in_charset):
    assert await in_charset("shift_jis", b"a=%83%65%83&b=%26%3D") == [
        ("a", "テ\ufffd"),
        ("b", "&="),
    ]


@pytest.mark.parametrize("charset", ["klingon", "utf-16", "base64", "unicode_escape", "x" * 99])
async def test_a_charset_that_is_unknown_or_not_based_on_ascii_is_a_415(in_charset, charset):
    with pytest.raises(MultiPartException, match="is not supported") as caught:
        await in_charset(charset, b"a=1")
    assert caught.value.status_code == 415


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("name", "text"),
    [(b"windows-1251", "ж"), (b"utf-8", "\ufffd"), (b"", "\ufffd"), (b"no", "\ufffd")],
)
async def test_the_charset_field_names_the_encoding_of_what_follows(
    urlencoded, split, name, text, size
):
    """HTML s.4.10.5.1.1: browsers fill in a hidden field of that name."""
    body = b"x_charset_=1&a=%E6&_charset_=" + name + b"&b=%E6"
    assert await urlencoded(split(body, size)) == [
        ("x_charset_", "1"),
        ("a", "\ufffd"),
        ("_charset_", name.decode()),
        ("b", text),
    ]
