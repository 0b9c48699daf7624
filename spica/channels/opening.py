"""Open a backend by its URL."""

from __future__ import annotations

from importlib import import_module
from typing import cast
from urllib.parse import urlsplit

from spica.channels.backend import ChannelBackend
from spica.channels.memory import MemoryBackend

_FORMS = (
    '"memory://", "sqlite:///var/app.db", "redis://localhost:6379/0" or '
    '"postgresql://user@localhost/app"'
)


def open_backend(backend: ChannelBackend | str | None) -> ChannelBackend:
    """Return the backend that a URL names. It connects when the lifespan starts.

    Args:
        backend: ``memory://``, ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db``,
            ``redis://``, ``rediss://``, ``valkey://`` or ``postgresql://``; a backend object; None for
            memory.

    Raises:
        ImportError: The driver is not installed. The message names the extra.
        TypeError: The object is not a backend.
        ValueError: The URL has another form.
    """
    if backend is None:
        backend = "memory://"
    if not isinstance(backend, str):
        if not callable(getattr(backend, "publish", None)) or not hasattr(backend, "listen"):
            raise TypeError(
                f"Channels: backend must be a URL or a backend, not {backend!r:.100}. "
                "For a client of your own write RedisBackend(client) or PostgresBackend(pool)."
            )
        return backend
    scheme = urlsplit(backend).scheme.partition("+")[0]
    if scheme == "memory":
        return MemoryBackend()
    if scheme == "sqlite":
        path = backend.partition("://")[2].removeprefix("/")
        if not path:
            raise ValueError(f"Channels: {backend!r} names no file. Use {_FORMS}.")
        # Lazily: sqlite3 and the drivers take time to import.
        sqlite = import_module("spica.channels.sqlite")
        return cast(ChannelBackend, sqlite.SQLiteBackend(path))
    if scheme in ("redis", "rediss", "valkey", "valkeys"):
        redis = import_module("spica.channels.redis")
        return cast(ChannelBackend, redis.RedisBackend.from_url(backend))
    if scheme in ("postgres", "postgresql"):
        postgres = import_module("spica.channels.postgres")
        return cast(ChannelBackend, postgres.PostgresBackend.from_url(backend))
    raise ValueError(
        f"Channels: the URL with the scheme {scheme!r} names no backend. Use {_FORMS}."
    )
