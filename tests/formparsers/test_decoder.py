import re
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spica.formparsers import MultiPartException
from spica.formparsers.decoder import MAX_BOUNDARY_SIZE, MultipartDecoder, PartHead

CONTENT_TYPE = "multipart/form-data; boundary=limit"


def make(content_type=CONTENT_TYPE, **limits):
    defaults = {
        "max_files": 1000,
        "max_fields": 1000,
        "max_part_size": 1024 * 1024,
        "max_headers": 16,
        "max_header_size": 8192,
    }
    return MultipartDecoder(content_type, **(defaults | limits))


def decode(pieces, content_type=CONTENT_TYPE, **limits):
    """Return (name, filename, headers, data) of each part; its events are in order."""
    decoder = make(content_type, **limits)
    parts = []
    is_open = False
    for piece in pieces:
        for event in decoder.feed(piece):
            if isinstance(event, PartHead):
                assert not is_open
                is_open = True
                parts.append([event.name, event.filename, event.raw_headers(), b""])
            elif event is None:
                assert is_open
                is_open = False
            else:
                assert is_open
                assert type(event) is bytes
                parts[-1][3] += event
    decoder.finish()
    assert not is_open
    return [tuple(part) for part in parts]


def head_of(bodies, disposition, *headers, content_type=CONTENT_TYPE):
    [head, *_] = make(content_type).feed(bodies.body(bodies.part(disposition, b"", *headers)))
    return head


def test_a_body_becomes_parts(bodies):
    body = bodies.body(
        bodies.field(b"a", b"one"),
        bodies.file(b"b", b"two.txt", b"2\r\n2", b"Content-Type: text/plain "),
        bodies.field(b"c", b""),
    )
    assert decode([body]) == [
        ("a", None, [(b"content-disposition", b'form-data; name="a"')], b"one"),
        (
            "b",
            "two.txt",
            [
                (b"content-disposition", b'form-data; name="b"; filename="two.txt"'),
                (b"content-type", b"text/plain"),
            ],
            b"2\r\n2",
        ),
        ("c", None, [(b"content-disposition", b'form-data; name="c"')], b""),
    ]


def test_a_body_may_have_no_parts(bodies):
    assert decode([bodies.body()]) == []


def test_what_follows_the_closing_boundary_is_ignored(bodies):
    """RFC 2046 s.5.1.1: the epilogue is to be ignored."""
    body = bodies.body(bodies.field(b"a", b"1"))
    assert decode([body, b"anything", b"--limit\r\n"]) == decode([body])


def test_what_precedes_the_first_boundary_is_ignored(bodies):
    """RFC 2046 s.5.1.1: the preamble is to be ignored."""
    body = bodies.body(bodies.field(b"a", b"1"))
    assert decode([b"preamble\r\n" + body]) == decode([body])


def test_chunks_of_other_types_than_bytes_are_taken(bodies):
    body = bodies.body(bodies.field(b"a", b"1"))
    assert decode([bytearray(body)]) == decode([memoryview(body)]) == decode([body])


# Boundaries


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        pytest.param("multipart/form-data", "Missing boundary in multipart.", id="none"),
        pytest.param("", "Missing boundary in multipart.", id="no-content-type"),
        pytest.param(
            "multipart/form-data; boundary=",
            "Invalid multipart data. The boundary must have 1 to 256 characters.",
            id="empty",
        ),
        pytest.param(
            "multipart/form-data; boundary=" + "x" * (MAX_BOUNDARY_SIZE + 1),
            "Invalid multipart data. The boundary must have 1 to 256 characters.",
            id="too-long",
        ),
        pytest.param(
            "multipart/form-data; boundary=\xe9",
            "Invalid multipart data: the boundary may have printable ASCII characters only.",
            id="not-ascii",
        ),
        pytest.param(
            'multipart/form-data; boundary="a\tb"',
            "Invalid multipart data: the boundary may have printable ASCII characters only.",
            id="control",
        ),
    ],
)
def test_a_boundary_that_is_none_is_refused(content_type, message):
    with pytest.raises(MultiPartException) as caught:
        make(content_type)
    assert (str(caught.value), caught.value.status_code) == (message, 400)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain; boundary=limit", "x"])
def test_another_media_type_is_a_415(content_type):
    """RFC 9110 s.15.5.16."""
    with pytest.raises(MultiPartException, match="The Content-Type of the body is not") as caught:
        make(content_type)
    assert caught.value.status_code == 415


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/form-data; boundary="limit"',
        "Multipart/Form-Data; charset=utf-8; BOUNDARY=limit",
        "multipart/mixed;boundary=limit",
    ],
)
def test_a_boundary_is_found_however_it_is_written(bodies, content_type):
    assert len(decode([bodies.body(bodies.field(b"a", b""))], content_type)) == 1


def test_the_longest_boundary_works():
    boundary = "x" * MAX_BOUNDARY_SIZE
    body = f"--{boundary}--".encode()
    assert decode([body], f"multipart/form-data; boundary={boundary}") == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\r\n", "the body does not contain the boundary from Content-Type"),
        (b"junk", "the body does not contain the boundary from Content-Type"),
        (b"--other--\r\n", "the body does not contain the boundary from Content-Type"),
        (b"--limit\r\n", "the body ended before the closing boundary"),
        (b"--limit\r\nContent-Dis", "the body ended before the closing boundary"),
        (
            b'--limit\r\nContent-Disposition: form-data; name="a"\r\n\r\ntext',
            "the body ended before the closing boundary",
        ),
        (
            b'--limit\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n--limit-',
            "the body ended before the closing boundary",
        ),
    ],
    ids=["blank", "junk", "other-boundary", "no-part", "in-a-head", "in-a-part", "almost"],
)
def test_a_body_without_its_closing_boundary_is_refused(body, reason):
    with pytest.raises(MultiPartException) as caught:
        decode([body])
    assert caught.value.message == f"Invalid multipart data: {reason}."
    assert caught.value.status_code == 400


@pytest.mark.parametrize("chunks", [[], [b""], [b"", b""]])
def test_a_body_of_no_bytes_is_a_form_without_parts(chunks):
    assert decode(chunks) == []


def test_every_body_that_is_cut_is_refused(bodies):
    body = bodies.body(bodies.field(b"a", b"1"), bodies.file(b"b", b"f", b"--limit"))[:-2]
    for end in range(1, len(body)):
        with pytest.raises(MultiPartException):
            decode([body[:end]])


# Headers of a part


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        pytest.param(b'form-data; name="a"', "a", None, id="field"),
        pytest.param(b"form-data; name=a", "a", None, id="token"),
        pytest.param(b'form-data; name=""', "", None, id="empty-name"),
        pytest.param(b'FORM-DATA; NAME="a"', "a", None, id="upper-case"),
        pytest.param(b'form-data;name="a";filename="b"', "a", "b", id="no-spaces"),
        pytest.param(b'form-data; filename="b"; name="a"', "a", "b", id="filename-first"),
        pytest.param(b'form-data; name="a"; filename=""', "a", "", id="empty-filename"),
        pytest.param(b'form-data; name="a;b"; filename="c;d=e"', "a;b", "c;d=e", id="semicolons"),
        pytest.param(b'form-data; name="a\\"b"', 'a"b', None, id="escaped-quote"),
        pytest.param(b'form-data; name="a%22b"', "a%22b", None, id="percent-as-sent"),
        pytest.param(b'form-data; name="\xc3\xa9"', "é", None, id="utf-8"),
        pytest.param(b'form-data; name="\xe9"', "é", None, id="not-utf-8"),
        pytest.param(
            b'form-data; name="a"; filename="C:\\dir\\new.txt"',
            "a",
            "C:\\dir\\new.txt",
            id="a-path-as-sent",
        ),
        pytest.param(b'form-data; name="a"; filename="../b"', "a", "../b", id="dots-as-sent"),
        pytest.param(
            b"form-data; name=\"a\"; filename*=UTF-8''%e2%82%ac.txt", "a", "€.txt", id="extended"
        ),
        pytest.param(
            b"form-data; name=\"a\"; filename*=UTF-8''%e2%82%ac; filename=EUR",
            "a",
            "EUR",
            id="plain-is-preferred-to-extended",
        ),
    ],
)
def test_name_and_filename_are_read(bodies, disposition, name, filename):
    head = head_of(bodies, disposition)
    assert (head.name, head.filename) == (name, filename)


@pytest.mark.parametrize("disposition", [None, b"form-data", b"form-data; filename=a"])
def test_a_part_without_a_name_is_refused(bodies, disposition):
    """RFC 7578 s.4.2: each part must have a name."""
    with pytest.raises(MultiPartException) as caught:
        head_of(bodies, disposition, b"X-Other: 1")
    assert caught.value.message == 'The Content-Disposition header field "name" must be provided.'


def test_a_part_of_another_disposition_is_refused(bodies):
    """RFC 7578 s.4.2: the disposition must be form-data."""
    with pytest.raises(MultiPartException, match="Invalid multipart data: invalid Content-Disp"):
        head_of(bodies, b'attachment; name="a"')


@pytest.mark.parametrize("header", [b"no colon", b"b\xe9d: 1", b"a b: 1", b": 1"])
def test_a_malformed_header_is_refused(bodies, header):
    with pytest.raises(MultiPartException, match=r"^Invalid multipart data: ") as caught:
        head_of(bodies, b'form-data; name="a"', header)
    assert caught.value.status_code == 400


@pytest.mark.parametrize("character", [b"\r", b"\n", b"\0"])
@pytest.mark.parametrize(
    "disposition",
    [b'form-data; name="a%s"', b'form-data; name="a"; filename="b%s"'],
    ids=["name", "filename"],
)
def test_breaks_in_a_header_are_refused(bodies, disposition, character):
    with pytest.raises(MultiPartException, match=r"^Invalid multipart data: "):
        head_of(bodies, disposition % character)


@pytest.mark.parametrize("escape", [b"%0A", b"%0d", b"%00"])
def test_breaks_in_an_extended_filename_are_refused(bodies, escape):
    with pytest.raises(MultiPartException) as caught:
        head_of(bodies, b"form-data; name=\"a\"; filename*=utf-8''x" + escape)
    assert (
        caught.value.message
        == "Invalid multipart data: the filename of a part contains CR, LF or NUL."
    )


# Charsets


@pytest.mark.parametrize(
    ("form_charset", "encoding"),
    [
        ("", "utf-8"),
        ("; charset=ISO-8859-1", "latin-1"),
        ("; charset=windows-1251", "cp1251"),
        ('; charset="shift_jis"', "shift_jis"),
        ("; charset=iso-2022-jp", "iso-2022-jp"),
        ("; charset=utf-16", "utf-8"),
    ],
)
def test_the_charset_of_the_form_is_that_of_its_names(bodies, form_charset, encoding):
    text = "é" if encoding in ("utf-8", "latin-1") else "я"
    disposition = b'form-data; name="' + text.encode(encoding) + b'"'
    head = head_of(bodies, disposition, content_type=CONTENT_TYPE + form_charset)
    assert head.name == text


@pytest.mark.parametrize(
    ("form_charset", "header", "charset"),
    [
        ("", b"Content-Type: text/plain", "utf-8"),
        ("", b"Content-Type: text/plain; charset=ISO-8859-1", "iso-8859-1"),
        ("; charset=koi8-r", b"Content-Type: text/plain; charset=UTF-16", "utf-16"),
        ("; charset=koi8-r", b"Content-Type: text/plain", "koi8-r"),
        ("", b"content-type: text/plain; charset=rot13", "latin-1"),
        ("; charset=zip", b"X: 1", "latin-1"),
    ],
)
def test_a_part_has_the_charset_it_names_or_that_of_the_form(bodies, form_charset, header, charset):
    head = head_of(bodies, b'form-data; name="a"', header, content_type=CONTENT_TYPE + form_charset)
    assert head.charset == charset


# Limits


@pytest.mark.parametrize("what", ["fields", "files"])
@pytest.mark.parametrize(("limit", "passes"), [(1, False), (2, True), (3, True)])
def test_the_number_of_parts_is_limited(bodies, what, limit, passes):
    field, file = bodies.field(b"a", b"1"), bodies.file(b"b", b"f", b"1")
    many, one = (field, file) if what == "fields" else (file, field)
    limits = {f"max_{what}": limit}
    if passes:
        assert len(decode([bodies.body(many, one, many)], **limits)) == 3
    else:
        with pytest.raises(MultiPartException) as caught:
            decode([bodies.body(many, one, many)], **limits)
        assert caught.value.message == f"Too many {what}. Maximum number of {what} is 1."
        assert caught.value.status_code == 400


def test_the_number_of_parts_may_be_unlimited(bodies):
    body = bodies.body(bodies.field(b"a", b"1") * 1500)
    assert len(decode([body], max_fields=float("inf"))) == 1500


@pytest.mark.parametrize("size", [9, 10, 11])
def test_the_size_of_a_field_is_limited(bodies, size):
    pieces = [
        bodies.field(b"before", b"x" * 10) + b"--limit\r\n",
        b'Content-Disposition: form-data; name="a"\r\n\r\n12345',
        b"x" * (size - 5),
        b"\r\n" + bodies.body(),
    ]
    if size <= 10:
        assert len(decode(pieces, max_part_size=10)) == 2
    else:
        with pytest.raises(MultiPartException) as caught:
            decode(pieces, max_part_size=10)
        assert caught.value.message == "Part exceeded maximum size of 10 bytes."


def test_the_size_of_a_file_is_not_limited_here(bodies):
    body = bodies.body(bodies.file(b"a", b"f", b"x" * 100))
    assert len(decode([body], max_part_size=10)) == 1


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_number_of_headers_is_limited(bodies, count):
    headers = [b"X-%d: 1" % i for i in range(count - 1)]
    body = bodies.body(bodies.part(b'form-data; name="a"', b"", *headers))
    if count <= 3:
        assert len(decode([body], max_headers=3)[0][2]) == count
    else:
        with pytest.raises(MultiPartException) as caught:
            decode([body], max_headers=3)
        assert caught.value.message == "Invalid multipart data."
        assert caught.value.reason == "Too many headers in a part. Maximum number of headers is 3."


@pytest.mark.parametrize("size", [99, 100, 101])
def test_the_size_of_a_header_is_limited(bodies, size):
    body = bodies.body(bodies.part(b'form-data; name="a"', b"", b"X: " + b"y" * (size - 3)))
    if size <= 100:
        assert len(decode([body], max_header_size=100)) == 1
    else:
        with pytest.raises(MultiPartException) as caught:
            decode([body], max_header_size=100)
        assert caught.value.message == "Invalid multipart data."
        assert caught.value.reason == "A header of a part exceeded maximum size of 100 bytes."


def test_a_header_without_an_end_is_cut_off(bodies):
    decoder = make(max_header_size=100)
    decoder.feed(b"--limit\r\nX: ")
    with pytest.raises(MultiPartException, match="header of a part exceeded"):
        decoder.feed(b"y" * 101)


# Any input


@st.composite
def cuts_of(draw, data):
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=8))
    return [data[a:b] for a, b in pairwise(sorted({0, len(data), *cuts})) if a < b]


tricky = st.lists(
    st.sampled_from([b"\r\n--limit", b"\r", b"\n", b"--", b"limit", b"\r\n", b"x", b"\r\n--lim"])
).map(b"".join)
contents = st.one_of(st.binary(max_size=40), tricky).filter(
    lambda data: re.search(rb"(^|[\r\n])--limit", data) is None
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_split_gives_the_same_parts(bodies, data):
    fields = data.draw(st.lists(contents, max_size=3))
    files = data.draw(st.lists(contents, max_size=3))
    body = bodies.body(
        *(bodies.field(b"f", content) for content in fields),
        *(bodies.file(b"g", "ü.txt".encode(), content, b"X: 1") for content in files),
    )
    parts = decode(data.draw(cuts_of(body)))
    assert [part[3] for part in parts] == fields + files
    assert parts == decode([body])


pieces_of_bodies = st.sampled_from(
    [
        b"--limit",
        b"--limit--",
        b"\r\n",
        b"\r\n\r\n",
        b"Content-Disposition: form-data; name=",
        b'"a"',
        b"; filename*=utf-8''%",
        b"; filename=",
        b"Content-Type: text/plain; charset=",
        b"utf-16",
        b"Content-Length: 5",
        b":",
        b"\xff",
        b"\0",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(pieces_of_bodies, st.binary(max_size=10)), max_size=20), st.data())
def test_garbage_raises_the_documented_exception_only(garbage, data):
    body = b"".join(garbage)
    for start in (b"", b'--limit\r\nContent-Disposition: form-data; name="a"'):
        with suppress(MultiPartException):
            decode(data.draw(cuts_of(start + body)), max_part_size=20)


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_any_content_type_is_read_or_refused(parameters):
    with suppress(MultiPartException):
        make("multipart/form-data; boundary=" + parameters)


# Text before the first boundary

FIELD = b'--limit\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--limit--\r\n'


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    "preamble",
    [
        b"",
        b"\r\n",
        b"some text\r\n",
        b"x--limit\r\n",
        b"--limi\r\n",
        b"\r" * 20 + b"\r\n",
        b"x" * 99 + b"\r\n",
    ],
    ids=ascii,
)
def test_it_is_passed_over_however_it_is_split(preamble, size):
    body = preamble + FIELD
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert [(part[0], part[3]) for part in decode(pieces)] == [("a", b"b")]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("before", [b"x", b"--", b"\xed\xa0\x80", b"x" * 99])
def test_a_boundary_within_a_line_is_none_however_it_is_split(before, size):
    """RFC 2046 s.5.1.1: a delimiter begins a line."""
    body = before + FIELD.removesuffix(b"\r\n--limit--\r\n")
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    with pytest.raises(MultiPartException, match="does not contain the boundary from Content-Type"):
        decode(pieces)


# The field that names the encoding


@pytest.mark.parametrize(
    ("value", "charset"),
    [
        (b"windows-1251", "windows-1251"),
        (b"", "utf-8"),
        (b"klingon", "utf-8"),
        (b"utf-16", "utf-8"),
        (b"koi8-r" + b" " * 50, "utf-8"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_the_charset_field_names_the_encoding_of_what_follows(bodies, value, charset, size):
    """RFC 7578 s.4.6."""
    body = bodies.body(
        bodies.field(b"first", b""),
        bodies.field(b"_charset_", value),
        bodies.field(b"a", b""),
        bodies.part(b'form-data; name="b"', b"", b"Content-Type: text/plain; charset=koi8-r"),
        bodies.part(b'form-data; name="c"', b"", b"Content-Type: text/plain; x=charset"),
    )
    decoder = make()
    events = [
        event for at in range(0, len(body), size) for event in decoder.feed(body[at : at + size])
    ]
    charsets = [event.charset for event in events if isinstance(event, PartHead)]
    assert charsets == ["utf-8", "utf-8", charset, "koi8-r", charset]


def test_a_file_of_that_name_names_no_encoding(bodies):
    body = bodies.body(bodies.file(b"_charset_", b"f", b"koi8-r"), bodies.field(b"a", b""))
    heads = [event for event in make().feed(body) if isinstance(event, PartHead)]
    assert heads[1].charset == "utf-8"
