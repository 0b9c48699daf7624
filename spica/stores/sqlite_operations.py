"""The statements of the SQLite store. They run in its thread, within a transaction.

Times are integers in microseconds of the file's clock (see `read_clock_offset`), except for `ends`, a date
of the wall clock.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spica.stores.values import Allowance, Rate, Record, take

# Statements name the columns: a later version may add some while processes of this one still run.

READS = frozenset({"get", "read", "members", "ping"})
"""The operations that need no lock for writing."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spica_value (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires INTEGER);
CREATE TABLE IF NOT EXISTS spica_rate (key TEXT PRIMARY KEY, tat INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spica_lease
    (key TEXT PRIMARY KEY, owner TEXT NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spica_record (key TEXT PRIMARY KEY, created REAL NOT NULL, used REAL NOT NULL,
    expires INTEGER NOT NULL, ends REAL NOT NULL, grp TEXT);
CREATE INDEX IF NOT EXISTS spica_record_grp ON spica_record (grp) WHERE grp IS NOT NULL;
CREATE TABLE IF NOT EXISTS spica_field
    (key TEXT NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (key, name));
CREATE TABLE IF NOT EXISTS spica_generation (grp TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
"""
_CLOCK = "CREATE TABLE IF NOT EXISTS spica_clock (boot TEXT PRIMARY KEY, offset INTEGER NOT NULL)"

# Table, condition of a row that has expired. `:now` is the store's clock, `:date` the wall clock.
_EXPIRY = {
    "spica_value": "expires <= :now",
    "spica_rate": "tat <= :now",
    "spica_lease": "expires <= :now",
    "spica_record": "(expires <= :now OR ends <= :date)",
}
_LIVE_RECORD = "key = ? AND expires > ? AND ends > ?"


def _boot_clock() -> tuple[str, int]:
    """Return the name of this boot and the time since, or an empty name where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    except (OSError, AttributeError):
        return "", 0


def read_clock_offset(execute: Callable[..., Any]) -> int | None:
    """Return the difference of the clocks that the first process since the boot has written to the file.

    Between two boots of the machine, a change of the wall clock does not change the clock of the file, which
    is the time since the boot and this difference. On systems other than Linux it is the wall clock, and
    this is None.
    """
    boot, since = _boot_clock()
    if not boot:
        return None
    execute(_CLOCK)
    execute("DELETE FROM spica_clock WHERE boot <> ?", (boot,))
    offset = time.time_ns() // 1000 - since
    execute("INSERT OR IGNORE INTO spica_clock (boot, offset) VALUES (?, ?)", (boot, offset))
    found: int = execute("SELECT offset FROM spica_clock").fetchone()[0]
    return found


def read_clock(offset: int | None) -> int:
    """Return the time of a file's clock in microseconds."""
    if offset is None:
        return time.time_ns() // 1000
    return offset + time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class Operations:
    """The operations on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute
        self._cursors = dict.fromkeys(_EXPIRY, "")

    def create_schema(self) -> None:
        """Create the tables that are missing."""
        for statement in _SCHEMA.split(";"):
            self.execute(statement)

    def open_clock(self) -> None:
        """Read the clock of the file."""
        self._offset = read_clock_offset(self.execute)

    def now(self) -> int:
        """Return the store's time in microseconds."""
        return read_clock(self._offset)

    def _after(self, seconds: float) -> int:
        return self.now() + int(seconds * 1_000_000)

    def _one(self, statement: str, *values: Any) -> Any:
        row = self.execute(statement, values).fetchone()
        return None if row is None else row[0]

    def ping(self) -> None:
        """Read from the file."""
        self.execute("SELECT 1 FROM spica_value LIMIT 1").fetchone()

    # -- values, rates, leases ---------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        """Return a live value."""
        condition = "key = ? AND (expires IS NULL OR expires > ?)"
        value: bytes | None = self._one(
            f"SELECT value FROM spica_value WHERE {condition}", key, self.now()
        )
        return value

    def set(self, key: str, value: bytes, seconds: float | None, only_if: str | None) -> bool:
        """Store a value."""
        if only_if and (self.get(key) is None) != (only_if == "absent"):
            return False
        expires = None if seconds is None else self._after(seconds)
        self.execute(
            "REPLACE INTO spica_value (key, value, expires) VALUES (?, ?, ?)", (key, value, expires)
        )
        return True

    def delete(self, keys: list[str]) -> int:
        """Delete values, rates and records."""
        deleted, now, date = 0, self.now(), time.time()
        for key in keys:
            found: bool = self.get(key) is not None
            found |= self._one("SELECT 1 FROM spica_rate WHERE key = ? AND tat > ?", key, now) == 1
            found |= self._delete_record(key, now, date)
            self.execute("DELETE FROM spica_value WHERE key = ?", (key,))
            self.execute("DELETE FROM spica_rate WHERE key = ?", (key,))
            deleted += found
        return deleted

    def take(self, key: str, rate: Rate, cost: int) -> Allowance:
        """Count a request against a rate limit."""
        tat = self._one("SELECT tat FROM spica_rate WHERE key = ?", key) or 0
        answer, new = take(tat, self.now(), rate, cost)
        if answer.allowed and cost:
            self.execute("REPLACE INTO spica_rate (key, tat) VALUES (?, ?)", (key, new))
        return answer

    def acquire(self, key: str, owner: str, seconds: float) -> bool:
        """Acquire or renew a lease."""
        changed = self.execute(
            "INSERT INTO spica_lease (key, owner, expires) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
            "owner = excluded.owner, expires = excluded.expires "
            "WHERE owner = excluded.owner OR expires <= ?",
            (key, owner, self._after(seconds), self.now()),
        )
        return changed.rowcount == 1

    def release(self, key: str, owner: str) -> bool:
        """Release a lease."""
        statement = "DELETE FROM spica_lease WHERE key = ? AND owner = ? AND expires > ?"
        return self.execute(statement, (key, owner, self.now())).rowcount == 1

    # -- records -----------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        """Return a live record."""
        row = self.execute(
            f"SELECT created, used, ends FROM spica_record WHERE {_LIVE_RECORD}",
            (key, self.now(), time.time()),
        ).fetchone()
        if row is None:
            return None
        fields = self.execute("SELECT name, value FROM spica_field WHERE key = ?", (key,))
        names = {name.decode("utf-8", "surrogatepass"): value for name, value in fields}
        return Record(names, *row)

    def create(
        self,
        key: str,
        fields: Mapping[str, bytes],
        idle_seconds: float,
        ends_at: float,
        group: str | None,
    ) -> None:
        """Create a record in place of an older one."""
        now = time.time()
        self._delete_record(key, 0, 0)
        if ends_at > now:
            values = (key, now, now, self._after(idle_seconds), ends_at, group)
            columns = "key, created, used, expires, ends, grp"
            self.execute(f"INSERT INTO spica_record ({columns}) VALUES (?, ?, ?, ?, ?, ?)", values)
            self._write_fields(key, fields)

    def merge(self, key: str, changes: Mapping[str, bytes | None], idle_seconds: float) -> bool:
        """Change fields of a live record."""
        now = time.time()
        updated = self.execute(
            f"UPDATE spica_record SET used = ?, expires = ? WHERE {_LIVE_RECORD}",
            (now, self._after(idle_seconds), key, self.now(), now),
        )
        if updated.rowcount == 1:
            self._write_fields(key, changes)
        return bool(updated.rowcount == 1)

    def _write_fields(self, key: str, changes: Mapping[str, bytes | None]) -> None:
        for name, value in changes.items():
            data = name.encode("utf-8", "surrogatepass")
            if value is None:
                self.execute("DELETE FROM spica_field WHERE key = ? AND name = ?", (key, data))
            else:
                self.execute(
                    "REPLACE INTO spica_field (key, name, value) VALUES (?, ?, ?)",
                    (key, data, value),
                )

    def _delete_record(self, key: str, now: int, date: float) -> bool:
        """Delete a record, also an expired one. Return whether it was alive."""
        alive = self._one(f"SELECT 1 FROM spica_record WHERE {_LIVE_RECORD}", key, now, date)
        self.execute("DELETE FROM spica_record WHERE key = ?", (key,))
        self.execute("DELETE FROM spica_field WHERE key = ?", (key,))
        return alive is not None

    def members(self, group: str) -> list[str]:
        """Return the keys of a group's live records."""
        rows = self.execute(
            "SELECT key FROM spica_record WHERE grp = ? AND expires > ? AND ends > ? "
            "ORDER BY created, key",
            (group, self.now(), time.time()),
        )
        return [key for (key,) in rows]

    def delete_group(self, group: str, keep: str | None) -> int:
        """Delete the records of a group."""
        now, date = self.now(), time.time()
        return sum(self._delete_record(k, now, date) for k in self.members(group) if k != keep)

    def generation(self, group: str, bump: bool) -> int:
        """Return the generation of a group."""
        if bump:
            self.execute(
                "INSERT INTO spica_generation (grp, number) VALUES (?, 1) "
                "ON CONFLICT (grp) DO UPDATE SET number = number + 1",
                (group,),
            )
        return self._one("SELECT number FROM spica_generation WHERE grp = ?", group) or 0

    # -- expired rows ------------------------------------------------------------------------------

    def prune(self, limit: int) -> None:
        """Look at the next rows of each table, and delete those that have expired.

        An index on the expiry would make every `take` slower. A pass over the keys costs the same in total.
        """
        times = {"now": self.now(), "date": time.time(), "limit": limit}
        for table, condition in _EXPIRY.items():
            start = self._cursors[table]
            page = f"SELECT key FROM {table} WHERE key > :start ORDER BY key LIMIT :limit"
            keys = [key for (key,) in self.execute(page, {**times, "start": start})]
            self._cursors[table] = keys[-1] if len(keys) == limit else ""
            if keys:
                bounds = {**times, "start": keys[0], "end": keys[-1]}
                expired = f"key BETWEEN :start AND :end AND {condition}"
                if table == "spica_record":
                    page = f"SELECT key FROM spica_record WHERE {expired}"
                    self.execute(f"DELETE FROM spica_field WHERE key IN ({page})", bounds)
                self.execute(f"DELETE FROM {table} WHERE {expired}", bounds)
