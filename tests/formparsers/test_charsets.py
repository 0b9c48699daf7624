import codecs
import encodings

import pytest

from spica.formparsers import charsets
from spica.formparsers.charsets import (
    MAX_NAME_SIZE,
    decode_text,
    find_charset,
    find_charset_of_form,
    is_ascii_based,
    look_up_charset,
)


def test_every_known_name_is_a_text_encoding_of_python():
    for name in charsets._KNOWN:
        assert "é".encode(find_charset(name), "replace").decode(find_charset(name))


@pytest.mark.parametrize(
    ("name", "charset"),
    [
        pytest.param(None, "utf-8", id="none"),
        pytest.param("", "utf-8", id="empty"),
        pytest.param("UTF-8", "utf-8", id="upper-case"),
        pytest.param(" Shift_JIS ", "shift_jis", id="spaces"),
        pytest.param("windows-874", "cp874", id="other-name-in-python"),
        pytest.param("klingon", "latin-1", id="unknown"),
        pytest.param("base64", "latin-1", id="no-text-encoding"),
        pytest.param("utf-7", "latin-1", id="utf-7"),
        pytest.param("idna", "latin-1", id="idna"),
        pytest.param("unicode_escape", "latin-1", id="escapes"),
        pytest.param("a\0b", "latin-1", id="nul"),
        pytest.param("undefined", "latin-1", id="undefined"),
    ],
)
def test_a_charset_is_found_by_the_name_a_client_gives(name, charset):
    assert find_charset(name) == charset


@pytest.mark.parametrize(
    ("name", "charset"),
    [
        ("IBM855", "cp855"),
        ("windows_1251", "cp1251"),
        ("csKOI8R", "koi8_r"),
        ("cp737", "cp737"),
        ("hz", "hz"),
        ("x" * (MAX_NAME_SIZE + 1), None),
        ("кои-8", None),
        ("", None),
        ("os.path", None),
        ("aliases", None),
    ],
)
def test_the_names_that_python_knows_are_known(name, charset):
    assert look_up_charset(name) == charset


@pytest.fixture
def searches():
    """The names that Python's registry of codecs asks for; x-own is a codec of it."""
    asked = []

    def search(name):
        asked.append(name)
        return codecs.lookup("cp1250") if name.replace("-", "_") == "x_own" else None

    codecs.register(search)
    yield asked
    codecs.unregister(search)


def test_unknown_names_change_nothing_for_other_clients(searches):
    """After 256 unknown names, spica read the forms of other clients as latin-1."""
    before = dict(encodings._cache)
    for number in range(2000):
        assert find_charset(f"x-unknown-{number}") == "latin-1"
    assert find_charset("ibm857") == "cp857"
    assert searches == []
    assert set(encodings._cache) - set(before) <= {"cp857"}


def test_a_form_may_name_a_codec_that_the_application_registered(searches):
    assert find_charset_of_form("X-Own") == "x-own"
    assert find_charset("X-Own") == "latin-1"  # a part may not: a form has many


@pytest.mark.parametrize("name", ["x-never-{}", "x.never.{}", "never {}", "X__never{}"])
def test_the_charset_of_a_form_is_looked_up_once_and_leaves_no_trace(searches, name):
    before = set(encodings._cache)
    for number in range(300):
        assert find_charset_of_form(name.format(number)) is None
    assert len(searches) == 300
    assert set(encodings._cache) == before
    assert find_charset_of_form("windows-1251") == "windows-1251"


@pytest.mark.parametrize("name", ["x" * (MAX_NAME_SIZE + 1), "a\0b", "кои", "base64", "idna"])
def test_no_other_name_of_a_form_is_looked_up(searches, name):
    assert find_charset_of_form(name) is None
    assert searches == []


def test_text_that_is_invalid_in_its_charset_is_latin_1():
    assert decode_text(b"caf\xe9", "utf-8") == "café"
    assert decode_text(b"\x00\x00\xff\xff", "utf-32") == "\x00\x00ÿÿ"


def test_utf_16_and_utf_32_are_not_based_on_ascii():
    assert not is_ascii_based("utf-16le")
    assert not is_ascii_based("utf-32")
    assert not is_ascii_based("cp037")  # EBCDIC
    assert is_ascii_based("utf-8")
    assert is_ascii_based("shift_jis")
