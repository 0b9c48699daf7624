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
