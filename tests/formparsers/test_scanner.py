"""One body, one meaning: that of Werkzeug and of Python's email package, where the two agree."""

from email import message_from_bytes, policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spica.formparsers import MultiPartException
from spica.formparsers.decoder import MultipartDecoder, PartHead
from spica.formparsers.scanner import MAX_PADDING

CONTENT_TYPE = "multipart/form-data; boundary=limit"
A = b'Content-Disposition: form-data; name="a"\r\n'
B = b'Content-Disposition: form-data; name="b"\r\n'
FILE = b'Content-Disposition: form-data; name="a"; filename="f"\r\n'
OPEN, CLOSE = b"--limit\r\n", b"--limit--\r\n"
ONE = OPEN + A + b"\r\n1\r\n"
TWO = OPEN + B + b"\r\n2\r\n"


def decode(body, size=None):
    """Return (name, filename, content) of each part."""
    size = size or len(body)
    limits = {"max_part_size": 10**6, "max_header_size": 8192, "max_headers": 8}
    decoder = MultipartDecoder(CONTENT_TYPE, max_files=99, max_fields=99, **limits)
    parts = []
    for start in range(0, len(body), size):
        for event in decoder.feed(body[start : start + size]):
            if isinstance(event, PartHead):
                parts.append((event.name, event.filename, b""))
            elif event is not None:
                name, filename, content = parts[-1]
                parts[-1] = (name, filename, content + event)
    decoder.finish()
    return parts


a1, b2 = ("a", None, b"1"), ("b", None, b"2")

# What Werkzeug 3.1 and email make of these bodies, except where a comment says otherwise.
MEANINGS = {
    "a part without a body": (OPEN + A + b"\r\n" + TWO + CLOSE, [("a", None, b""), b2]),
    # email only; Werkzeug loses the first part. RFC 2046 s.5.1.1 is on the side of email.
    "a part that ends in its headers": (OPEN + A + TWO + CLOSE, [("a", None, b""), b2]),
    "the last part without a body": (OPEN + A + b"\r\n" + CLOSE, [("a", None, b"")]),
    "a boundary twice": (OPEN + ONE + CLOSE, [a1]),
    "blanks behind boundaries": (
        b"--limit \t\r\n" + A + b"\r\n1\r\n--limit--  \r\n",
        [a1],
    ),
    "the longest padding": (
        b"--limit" + b" " * MAX_PADDING + b"\r\n" + A + b"\r\n1\r\n--limit--",
        [a1],
    ),
    "a longer word is content": (
        OPEN + A + b"\r\n1\r\n--limitx\r\n2\r\n" + CLOSE,
        [("a", None, b"1\r\n--limitx\r\n2")],
    ),
    "text behind a boundary makes it content": (
        OPEN + A + b"\r\n1\r\n--limit x\r\n2\r\n" + CLOSE,
        [("a", None, b"1\r\n--limit x\r\n2")],
    ),
    "LF only": ((ONE + TWO + CLOSE).replace(b"\r\n", b"\n"), [a1, b2]),
    "CR only": ((ONE + TWO + CLOSE).replace(b"\r\n", b"\r"), [a1, b2]),
    "LF before a boundary": (OPEN + A + b"\r\n1\n" + CLOSE, [a1]),
    "LF and CR in content": (OPEN + A + b"\r\n1\n2\r3\r\n" + CLOSE, [("a", None, b"1\n2\r3")]),
    "a folded header": (OPEN + A.replace(b"; ", b";\r\n ") + b"\r\n1\r\n" + CLOSE, [a1]),
    "a header folded by a tab": (OPEN + A.replace(b"; ", b";\n\t") + b"\r\n1\r\n" + CLOSE, [a1]),
    "a continuation of nothing": (OPEN + b" X: 1\r\n" + A + b"\r\n1\r\n" + CLOSE, [a1]),
    "a name folded": (
        OPEN + A.replace(b'"a"', b'"a\r\n b"') + b"\r\n1\r\n" + CLOSE,
        [("a b", None, b"1")],
    ),
    "a preamble": (b"before\r\n" + ONE + CLOSE, [a1]),
    "a preamble that ends in LF": (b"before\n" + ONE + CLOSE, [a1]),
    "an epilogue": (ONE + CLOSE + TWO + CLOSE, [a1]),
    "two dispositions": (OPEN + A + FILE + b"\r\n1\r\n" + CLOSE, [a1]),
    "two dispositions, a file first": (OPEN + FILE + A + b"\r\n1\r\n" + CLOSE, [("a", "f", b"1")]),
    "an encoding that RFC 7578 s.4.7 deprecates": (
        OPEN + A + b"Content-Transfer-Encoding: base64\r\n\r\nMQ==\r\n" + CLOSE,
        [("a", None, b"MQ==")],
    ),
    "a length that is wrong": (
        OPEN + A + b"Content-Length: 1\r\n\r\n123\r\n" + CLOSE,
        [("a", None, b"123")],
    ),
    "a type without a file name": (
        OPEN + A + b"Content-Type: application/octet-stream\r\n\r\n1\r\n" + CLOSE,
        [a1],
    ),
    # Werkzeug only; email reads the inner parts, too. RFC 7578 s.4.3 deprecates multipart/mixed.
    "a form in a form": (
        OPEN + A + b"Content-Type: multipart/mixed; boundary=in\r\n\r\n--in--\r\n" + CLOSE,
        [("a", None, b"--in--")],
    ),
}


@pytest.mark.parametrize("size", [None, 1, 3])
@pytest.mark.parametrize("case", MEANINGS)
def test_a_body_has_one_meaning(case, size):
    body, meaning = MEANINGS[case]
    assert decode(body, size) == meaning


# Other parsers disagree on these bodies, or none accepts them.
REFUSED = {
    "no headers": (OPEN + b"\r\n1\r\n" + CLOSE, '"name" must be provided'),
    "an open part at the end": (OPEN + CLOSE, "closing boundary follows the beginning of a part"),
    "text behind the closing boundary": (
        ONE + b"--limit--x\r\n",
        "text follows the closing boundary",
    ),
    "text before the first boundary on its line": (b"x" + ONE, "does not contain the boundary"),
    "blanks inside the closing boundary": (ONE + b"--limit --\r\n", "before the closing boundary"),
    "content that runs into the boundary": (
        OPEN + A + b"\r\n1--limit--\r\n",
        "before the closing boundary",
    ),
    "endless padding": (b"--limit" + b" " * (MAX_PADDING + 1) + b"\r\n", "more than 256 blanks"),
    "NUL in a header": (OPEN + A.replace(b'"a"', b'"a\0"') + b"\r\n1\r\n" + CLOSE, "NUL"),
    "NUL in a folded line": (OPEN + A + b" \0\r\n\r\n1\r\n" + CLOSE, "NUL"),
}


@pytest.mark.parametrize("size", [None, 1, 3])
@pytest.mark.parametrize("case", REFUSED)
def test_an_ambiguous_body_is_refused_with_a_reason(case, size):
    body, reason = REFUSED[case]
    with pytest.raises(MultiPartException, match=reason) as caught:
        decode(body, size)
    assert caught.value.status_code == 400


@pytest.mark.parametrize(("size", "is_accepted"), [(99, True), (100, True), (101, False)])
def test_the_lines_of_a_folded_header_count_together(size, is_accepted):
    limits = {"max_part_size": 9, "max_header_size": 100, "max_headers": 8}
    decoder = MultipartDecoder(CONTENT_TYPE, max_files=9, max_fields=9, **limits)
    lines = [b"X:" + b"y" * 40, b" " + b"z" * 30, b" " + b"z" * (size - 74)]
    body = OPEN + A + b"\r\n".join(lines) + b"\r\n\r\n1\r\n" + CLOSE
    if is_accepted:
        assert decoder.feed(body)
    else:
        with pytest.raises(MultiPartException, match="A header of a part exceeded"):
            decoder.feed(body)


def read_with_email(body):
    """Return (name, filename, content) of each part as Python's email package sees them."""
    head = b"Content-Type: " + CONTENT_TYPE.encode() + b"\r\n\r\n"
    message = message_from_bytes(head + body, policy=policy.HTTP)
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_payload().encode(),
        )
        for part in message.get_payload()
    ]


line_ends = st.sampled_from([b"\r\n", b"\n", b"\r"])
padding = st.sampled_from([b"", b" ", b"\t "])


@st.composite
def bodies(draw):
    """Bodies that use what RFC 2046 allows, and what lenient parsers accept."""
    pieces = [draw(st.sampled_from([b"", b"before\r\n", b"--limi\n"]))]
    for _ in range(draw(st.integers(1, 3))):
        fold = draw(st.sampled_from([b" ", b"\r\n ", b"\n\t"]))
        filename = draw(st.sampled_from([b"", b'; filename="f"', b"; filename*=utf-8''f"]))
        content = draw(
            st.sampled_from([b"", b"1", b"\n\n", b"--limitx", b"\r\n--limit x\r\n", b"x\r"])
        )
        head_end = draw(
            st.sampled_from([b"\r\n", b"\n"])
        )  # CR and LF in a row would be one line end
        pieces += [b"--limit", draw(padding), draw(line_ends)]
        pieces += [b"Content-Disposition: form-data;", fold, b'name="a"', filename, head_end]
        pieces += [head_end, content, draw(line_ends)]
    return b"".join([*pieces, b"--limit--", draw(padding), draw(line_ends), b"after"])


@settings(max_examples=300, deadline=None)
@given(bodies(), st.integers(1, 5))
def test_the_email_package_finds_the_same_parts(body, size):
    assert decode(body) == decode(body, size) == read_with_email(body)
