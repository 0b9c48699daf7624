"""Content-Disposition, of the parts of a form and of files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica._http.disposition import format_disposition, parse_disposition


@pytest.mark.parametrize(
    ("value", "parameters"),
    [
        ('form-data; name="a"', {"name": "a"}),
        ('form-data; name="a"; filename="b.txt"', {"name": "a", "filename": "b.txt"}),
        ('form-data; name="a"; filename=""', {"name": "a", "filename": ""}),
        ("form-data; name=a; filename=b.txt", {"name": "a", "filename": "b.txt"}),
        ('Form-Data ;NAME = "a" ', {"name": "a"}),
        ('form-data; filename="b"; name="a;x=1"', {"name": "a;x=1", "filename": "b"}),
        ('form-data; name="a"; name="b"', {"name": "a"}),
        ('form-data; name="a\\"b\\\\c"', {"name": 'a"b\\c'}),
        ('form-data; name="C:\\new.txt"', {"name": "C:\\new.txt"}),
        ('form-data; name="%22"', {"name": "%22"}),
        ('form-data; name="never closed', {"name": "never closed"}),
        ('form-data; name="a"; filename="never closed', {"name": "a", "filename": "never closed"}),
        ("form-data", {}),
        ("form-data; name", {}),
        ("form-data; name=; filename=", {}),
        ("form-data; name=@", {}),
        ("form-data; name=a b; filename=c/d", {"name": "a", "filename": "c"}),
        ('form-data; name="a"b', {"name": "a"}),
        ("form-data; name=a" + "; x=1" * 99 + "; filename=b", {"name": "a", "filename": "b"}),
    ],
)
def test_a_part_of_a_form_is_parsed(value: str, parameters: dict[str, str]) -> None:
    kind, found = parse_disposition(value)
    found.pop("x", None)
    assert (kind, found) == ("form-data", parameters)
    assert parse_disposition(value.encode()) == parse_disposition(value)


@pytest.mark.parametrize(
    ("parameters", "filename"),
    [
        ("filename=x; filename*=utf-8''y", "x"),
        ("filename*=utf-8''y; filename=x", "x"),
        ("filename*=utf-8''%e2%82%ac", "€"),
        ("filename*=iso-8859-1'en'%e9", "é"),
        ("filename*=utf-8''%ff", "\ufffd"),
        ("filename*=utf-8''%2", "%2"),
        ("filename*=xyz", "xyz"),
        ("filename*=foo''%41", "A"),
        ("filename*=\"utf-8''%41\"", "A"),
        ('filename*0="x"; filename*1="y"', "xy"),
        ('filename*1="y"; filename*0="x"', "xy"),
        ('filename*1="y"', "y"),
        ("filename*0*=utf-8''%e2%82; filename*1*=%ac; filename*2=b", "€b"),
        ('filename*0="x"; filename="y"', "y"),
    ],
)
def test_whatever_names_a_file_makes_a_part_a_file(parameters: str, filename: str) -> None:
    """RFC 7578 s.4.2 forbids filename*; the meaning is that of Werkzeug or the email package."""
    _, found = parse_disposition(f"form-data; name=\"a\"; name*=utf-8''b; {parameters}")
    assert found == {"name": "a", "filename": filename}


def test_an_extended_name_counts_where_nothing_else_names_a_part() -> None:
    assert parse_disposition("form-data; name*=utf-8''b") == ("form-data", {"name": "b"})


@pytest.mark.parametrize(
    ("extended", "filename"),
    [
        ("utf-8''%e2%82%ac.txt", "€.txt"),
        ("UTF-8'en'%E2%82%AC", "€"),
        ("iso-8859-1''%e9", "é"),
        ("utf-8''", ""),
    ],
)
def test_an_extended_file_name_is_preferred(extended: str, filename: str) -> None:
    # RFC 6266 s.4.3, RFC 8187 s.3.2
    for value in (
        f'attachment; filename="x"; filename*={extended}',
        f'attachment; filename*={extended}; filename="x"',
    ):
        assert parse_disposition(value) == ("attachment", {"filename": filename})


@pytest.mark.parametrize(
    "extended",
    [
        "utf-8''%ff",
        "utf-8''%2",
        "utf-8''a b",
        "utf-8'x",
        "x",
        "cp1252''a",
        "''a",
        "\"utf-8''a\"",
        "",
    ],
)
def test_a_malformed_extended_file_name_is_passed_over(extended: str) -> None:
    value = f'attachment; filename="x"; filename*={extended}'

    assert parse_disposition(value) == ("attachment", {"filename": "x"})


@pytest.mark.parametrize(
    ("raw", "charset", "name"),
    [
        ("é".encode(), "utf-8", "é"),
        (b"\xe9", "utf-8", "é"),  # no UTF-8, so latin-1
        (b"\x80", "cp1252", "€"),
        (b"\xe9", "no-such-charset", "é"),
    ],
)
def test_bytes_are_decoded_with_the_charset_of_the_form(
    raw: bytes, charset: str, name: str
) -> None:
    value = b'form-data; name="' + raw + b'"'

    assert parse_disposition(value, charset) == ("form-data", {"name": name})


@given(st.binary())
def test_any_bytes_are_parsed_without_an_error(value: bytes) -> None:
    parse_disposition(value)


@given(st.text(alphabet="form-data;=\" \\*'%ename"))
def test_any_text_is_parsed_without_an_error(value: str) -> None:
    parse_disposition(value)


@pytest.mark.parametrize("piece", [";a", ';a="', ";a*=utf-8''%41", '\\"', ';a="\\', ";a=b"])
def test_the_cost_is_linear(piece: str) -> None:
    parse_disposition("x" + piece * 100_000)  # quadratic cost would not end here


@pytest.mark.parametrize(
    ("filename", "written"),
    [
        ("a.txt", 'attachment; filename="a.txt"'),
        ("", 'attachment; filename=""'),
        ("a b.txt", "attachment; filename=\"a b.txt\"; filename*=utf-8''a%20b.txt"),
        (
            "a(1),b;c.txt",
            "attachment; filename=\"a(1),b;c.txt\"; filename*=utf-8''a%281%29%2Cb%3Bc.txt",
        ),
        ("é.txt", "attachment; filename=\"e.txt\"; filename*=utf-8''%C3%A9.txt"),
        ("€ 1", "attachment; filename=\"_ 1\"; filename*=utf-8''%E2%82%AC%201"),
        ("你好.txt", "attachment; filename*=utf-8''%E4%BD%A0%E5%A5%BD.txt"),
        ("你好", "attachment; filename*=utf-8''%E4%BD%A0%E5%A5%BD"),
        ('a"b', "attachment; filename=\"a_b\"; filename*=utf-8''a%22b"),
        ("a\\b", "attachment; filename=\"a_b\"; filename*=utf-8''a%5Cb"),
        ("a%41.txt", "attachment; filename=\"a_41.txt\"; filename*=utf-8''a%2541.txt"),
        ("100%.txt", "attachment; filename=\"100%.txt\"; filename*=utf-8''100%25.txt"),
        ("a\r\nb", "attachment; filename=\"a__b\"; filename*=utf-8''a%0D%0Ab"),
        ("a/b", 'attachment; filename="a/b"'),
        ("a/ b", "attachment; filename=\"a/ b\"; filename*=utf-8''a%2F%20b"),
        ("a\udcff", "attachment; filename=\"a_\"; filename*=utf-8''a%3F"),
    ],
)
def test_a_file_name_is_written(filename: str, written: str) -> None:
    # RFC 6266 s.4.3 and appendix D
    assert format_disposition("attachment", filename) == written


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_file_name_comes_back_as_it_was(filename: str) -> None:
    header = format_disposition("inline", filename)

    assert header.isascii()
    assert header.isprintable()
    assert parse_disposition(header) == ("inline", {"filename": filename})


@pytest.mark.parametrize("disposition", ["", "a b", "a;b", "a\r\n", "é"])
def test_a_disposition_that_is_no_token_is_refused(disposition: str) -> None:
    with pytest.raises(ValueError, match="must be a token such as 'attachment' or 'inline'"):
        format_disposition(disposition, "x")
