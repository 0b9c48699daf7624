"""One store for all shared state: sessions, rate limits, caches, leases.

Every feature of spica that keeps state between requests takes a `Store`. Start with
``open_store("memory://")``. Change that one line to share the state of all workers: a SQLite file on one
machine, Redis, Valkey or Postgres across machines. docs/guide/stores.md has the guarantees of each backend.

The drivers are optional packages. spica imports a driver when you create its store.
"""

from spica.stores.memory import MemoryStore
from spica.stores.opening import open_store
from spica.stores.postgres import PostgresStore
from spica.stores.protocol import Store
from spica.stores.redis import RedisStore
from spica.stores.sqlite import SQLiteStore
from spica.stores.values import Allowance, Rate, Record, StoreUnavailable

__all__ = [
    "Allowance",
    "MemoryStore",
    "PostgresStore",
    "Rate",
    "Record",
    "RedisStore",
    "SQLiteStore",
    "Store",
    "StoreUnavailable",
    "open_store",
]
