"""Stores by URL."""

import pytest

from spica.stores import MemoryStore, open_store


def test_memory():
    assert isinstance(open_store("memory://"), MemoryStore)


@pytest.mark.parametrize("url", ["", "memory", "mysql://host/db", "http://x:secret@host/"])
def test_another_url_is_refused_with_the_forms(url):
    with pytest.raises(ValueError, match=r'Use "memory://", "sqlite:///') as raised:
        open_store(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/a.db"]
)
def test_a_sqlite_url_without_a_file_is_refused(url):
    with pytest.raises(ValueError, match="names no file"):
        open_store(url)


def test_three_slashes_are_a_relative_path_and_four_an_absolute_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_store("sqlite:///a%20b.db")._file.path == tmp_path.resolve() / "a b.db"
    assert open_store(f"sqlite:///{tmp_path}/a.db")._file.path == tmp_path.resolve() / "a.db"


@pytest.mark.parametrize("url", [None, 5, b"memory://", MemoryStore()])
def test_a_url_is_a_string(url):
    with pytest.raises(TypeError, match="open_store: the URL must be a str"):
        open_store(url)
