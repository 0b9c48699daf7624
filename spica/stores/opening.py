"""Open a store by its URL."""

from urllib.parse import unquote, urlsplit

from spica.stores.base import BaseStore
from spica.stores.memory import MemoryStore
from spica.stores.postgres import PostgresStore
from spica.stores.redis import RedisStore
from spica.stores.sqlite import SQLiteStore

_FORMS = (
    '"memory://", "sqlite:///var/state.db", "redis://localhost:6379/0" or '
    '"postgresql://user@localhost/app"'
)


def open_store(url: str, *, timeout_seconds: float = 0.25) -> BaseStore:
    """Return the store that a URL names. It connects when it is first used.

    Args:
        url: ``memory://``, ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db``, ``redis://``,
            ``rediss://``, ``valkey://``, ``valkeys://``, ``unix://`` (Redis), ``postgresql://`` or
            ``postgres://``.
        timeout_seconds: the timeout of an operation, 0.25 s by default. The memory needs none.

    Raises:
        ImportError: The driver is not installed. The message names the extra.
        TypeError: It is not a string.
        ValueError: The URL has another form.
    """
    if not isinstance(url, str):
        raise TypeError(f"open_store: the URL must be a str, not {url!r:.80}. Use {_FORMS}.")
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        return MemoryStore()
    if scheme == "sqlite":
        return SQLiteStore(sqlite_path("open_store", url), timeout_seconds=timeout_seconds)
    if scheme in ("redis", "rediss", "valkey", "valkeys", "unix"):
        return RedisStore.from_url(url, timeout_seconds=timeout_seconds)
    if scheme in ("postgresql", "postgres"):
        return PostgresStore.from_url(url, timeout_seconds=timeout_seconds)
    raise ValueError(f"open_store: no store has the scheme {scheme!r:.80}. Use {_FORMS}.")


def sqlite_path(owner: str, url: str) -> str:
    """Return the path of the file that a SQLite URL names.

    Raises:
        ValueError: It names none. The message begins with ``owner``.
    """
    parts = urlsplit(url)
    # As in SQLAlchemy: three slashes begin a relative path, four an absolute one.
    path = unquote(parts.path[1:])
    if parts.netloc or parts.query or parts.fragment or path in ("", ":memory:"):
        raise ValueError(
            f'{owner}: {url!r:.200} names no file. Write "sqlite:///var/state.db" for a relative path, '
            'four slashes for an absolute one, and "memory://" for the memory.'
        )
    return path
