import codecs

import pytest

from spica.formparsers import charsets
from spica.formparsers.charsets import decode_text, find_charset, is_ascii_based


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
        pytest.param("undefined", "latin-1", id="undefined"),
    ],
)
def test_a_charset_is_found_by_the_name_a_client_gives(name, charset):
    assert find_charset(name) == charset


def test_unknown_names_never_reach_the_registry_of_codecs():
    asked = []

    def search(name):
        asked.append(name)

    codecs.register(search)
    try:
        find_charset("x-never-heard-of")
    finally:
        codecs.unregister(search)
    assert asked == []


def test_text_that_is_invalid_in_its_charset_is_latin_1():
    assert decode_text(b"caf\xe9", "utf-8") == "café"
    assert decode_text(b"\x00\x00\xff\xff", "utf-32") == "\x00\x00ÿÿ"


def test_utf_16_and_utf_32_are_not_based_on_ascii():
    assert not is_ascii_based("utf-16le")
    assert not is_ascii_based("utf-32")
    assert is_ascii_based("utf-8")
