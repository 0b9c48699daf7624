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
        pytest.param("unicode_escape", "latin-1", id="escapes"),
        pytest.param("a\0b", "latin-1", id="nul"),
        pytest.param("undefined", "latin-1", id="undefined"),
    ],
)
def test_a_charset_is_found_by_the_name_a_client_gives(name, charset):
    assert find_charset(name) == charset


@pytest.fixture
def searches(monkeypatch):
    """The names that Python's registry of codecs is asked for; x-own is a codec of it."""
    asked = []

    def search(name):
        asked.append(name)
        return codecs.lookup("cp1250") if name == "x_own" else None

    monkeypatch.setattr(charsets, "_looked_up", set())
    codecs.register(search)
    yield asked
    codecs.unregister(search)


def test_a_codec_that_the_application_registered_is_found(searches):
    assert find_charset("X-Own") == "x-own"


def test_an_unknown_name_is_looked_up_once_for_each_form(searches):
    find_charset("x-never-heard-of")
    assert len(searches) == 1


def test_names_from_clients_are_looked_up_in_bounded_number(searches):
    for number in range(charsets.MAX_LOOKED_UP + 10):
        assert find_charset(f"x-unknown-{number}") == "latin-1"
    assert len(searches) == charsets.MAX_LOOKED_UP
    find_charset("x-unknown-0")
    assert len(searches) == charsets.MAX_LOOKED_UP + 1


@pytest.mark.parametrize(("size", "count"), [(39, 1), (40, 1), (41, 0)])
def test_long_names_are_not_looked_up(searches, size, count):
    assert find_charset("x" * size) == "latin-1"
    assert len(searches) == count


def test_text_that_is_invalid_in_its_charset_is_latin_1():
    assert decode_text(b"caf\xe9", "utf-8") == "café"
    assert decode_text(b"\x00\x00\xff\xff", "utf-32") == "\x00\x00ÿÿ"


def test_utf_16_and_utf_32_are_not_based_on_ascii():
    assert not is_ascii_based("utf-16le")
    assert not is_ascii_based("utf-32")
    assert is_ascii_based("utf-8")
