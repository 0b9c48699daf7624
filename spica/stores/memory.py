"""The store in the memory of one process.

Other workers do not see it, and it is empty after a restart. Use it for one worker and for tests. It works on
asyncio and trio, and from several threads.

The number and the size of its entries are limited. When it is full, it drops the values and rates that were
not used for the longest time, and only then records and leases: a flood of rate-limit keys ends no session.
"""

import heapq
import math
import time
from collections import OrderedDict
from threading import Lock
from typing import Any, Literal

from spica.stores.base import BaseStore, check_value, short_key, take_error
from spica.stores.values import Allowance, Rate, Record, take

_OVERHEAD = 200
"""An estimate of the bytes that an entry takes, without its key and its data."""
_MAX_EXPIRED = 64
"""How many expired entries one operation drops. It keeps each operation short."""


class _Entry:
    """One value, rate, lease or record. `expires` is a time of the monotonic clock."""

    __slots__ = ("data", "expires", "scheduled", "size")

    def __init__(self, data: Any, expires: float, size: int) -> None:
        self.data = data
        self.expires = expires
        self.size = size
        self.scheduled = False  # whether the heap has an item for this entry


class _Fields:
    """The data of a record."""

    __slots__ = ("created", "ends", "fields", "group", "used")

    def __init__(self, fields: dict[str, bytes], ends: float, group: str | None) -> None:
        self.fields = fields
        self.created = self.used = time.time()
        self.ends = ends
        self.group = group

    def size(self) -> int:
        return sum(len(name) + len(value) for name, value in self.fields.items())


_Table = OrderedDict[str, _Entry]


class _Space:
    """The entries that all views of a store share. Each public method is one operation."""

    def __init__(self, max_entries: int, max_size: int) -> None:
        self.max_entries = max_entries
        self.max_size = max_size
        self.clock = time.monotonic
        self.lock = Lock()
        self.clear()

    def clear(self) -> None:
        self.values: _Table = OrderedDict()
        self.rates: _Table = OrderedDict()
        self.leases: _Table = OrderedDict()
        self.records: _Table = OrderedDict()
        self.groups: dict[str, dict[str, None]] = {}
        self.generations: OrderedDict[str, int] = OrderedDict()
        self.oldest_generation = 0  # the generation of every group that has no entry
        self.size = 0
        self.heap: list[tuple[float, int, _Table, str, _Entry]] = []
        self.pushed = 0  # a tie-breaker for the heap

    def run(self, operation: str, *args: Any) -> Any:
        """Carry out one operation, atomically for all threads."""
        with self.lock:
            return getattr(self, operation)(*args)

    # -- entries -----------------------------------------------------------------------------------

    def _find(self, table: _Table, key: str) -> _Entry | None:
        """Return a live entry, and mark it as used."""
        entry = table.get(key)
        if entry is None:
            return None
        if entry.expires <= self.clock():
            self._drop(table, key)
            return None
        table.move_to_end(key)
        return entry

    def _put(self, table: _Table, key: str, data: Any, expires: float, size: int) -> None:
        if key in table:
            self._drop(table, key)
        entry = table[key] = _Entry(data, expires, len(key) + size + _OVERHEAD)
        self.size += entry.size
        self._schedule(table, key, entry)
        self._make_room()

    def _drop(self, table: _Table, key: str) -> None:
        entry = table.pop(key)
        self.size -= entry.size
        if table is self.records and entry.data.group is not None:
            members = self.groups[entry.data.group]
            del members[key]
            if not members:
                del self.groups[entry.data.group]

    def _schedule(self, table: _Table, key: str, entry: _Entry) -> None:
        if entry.expires < math.inf and not entry.scheduled:
            entry.scheduled = True
            self.pushed += 1
            heapq.heappush(self.heap, (entry.expires, self.pushed, table, key, entry))

    def _count(self) -> int:
        return len(self.values) + len(self.rates) + len(self.leases) + len(self.records)

    def _make_room(self) -> None:
        """Drop expired entries, and the oldest ones of a full store."""
        now = self.clock()
        if self.heap and self.heap[0][0] <= now:
            self._drop_expired(now)
        count = self._count()
        while self.size > self.max_size or count > self.max_entries:
            table = self.rates or self.values or self.records or self.leases
            self._drop(table, next(iter(table)))
            count -= 1
        if len(self.heap) > 2 * count + 1000:  # items of entries that were replaced
            self.heap = [item for item in self.heap if item[2].get(item[3]) is item[4]]
            heapq.heapify(self.heap)

    def _drop_expired(self, now: float) -> None:
        for _ in range(_MAX_EXPIRED):
            if not self.heap or self.heap[0][0] > now:
                return
            _, _, table, key, entry = heapq.heappop(self.heap)
            entry.scheduled = False
            if table.get(key) is not entry:
                continue
            if entry.expires <= now:
                self._drop(table, key)
            else:
                self._schedule(table, key, entry)  # its time was extended

    # -- values, rates, leases ---------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        entry = self._find(self.values, key)
        return None if entry is None else entry.data

    def set(self, key: str, value: bytes, seconds: float | None, only_if: str | None) -> bool:
        if only_if and (self._find(self.values, key) is None) != (only_if == "absent"):
            return False
        expires = math.inf if seconds is None else self.clock() + seconds
        self._put(self.values, key, value, expires, len(value))
        return True

    def delete(self, keys: list[str]) -> int:
        deleted = 0
        for key in keys:
            found = False
            for table in (self.values, self.rates, self.records):
                if self._find(table, key) is not None:
                    self._drop(table, key)
                    found = True
            deleted += found
        return deleted

    def take(self, key: str, rate: Rate, cost: int) -> Allowance:
        now = int(self.clock() * 1_000_000)
        entry = self.rates.get(key)
        answer, tat = take(0 if entry is None else entry.data, now, rate, cost)
        if not answer.allowed or not cost:
            return answer
        if entry is None:
            self._put(self.rates, key, tat, tat / 1e6, 0)
        else:
            entry.data = tat
            entry.expires = tat / 1e6
            self.rates.move_to_end(key)
        return answer

    def acquire(self, key: str, owner: str, seconds: float) -> bool:
        entry = self._find(self.leases, key)
        if entry is not None and entry.data != owner:
            return False
        self._put(self.leases, key, owner, self.clock() + seconds, len(owner))
        return True

    def release(self, key: str, owner: str) -> bool:
        entry = self._find(self.leases, key)
        if entry is None or entry.data != owner:
            return False
        self._drop(self.leases, key)
        return True

    # -- records -----------------------------------------------------------------------------------

    def _record(self, key: str) -> _Entry | None:
        entry = self._find(self.records, key)
        if entry is not None and entry.data.ends <= time.time():
            self._drop(self.records, key)
            return None
        return entry

    def read(self, key: str) -> Record | None:
        entry = self._record(key)
        if entry is None:
            return None
        data: _Fields = entry.data
        return Record(dict(data.fields), data.created, data.used, data.ends)

    def create(
        self,
        key: str,
        fields: dict[str, bytes],
        idle_seconds: float,
        ends_at: float,
        group: str | None,
    ) -> None:
        if key in self.records:
            self._drop(self.records, key)
        if ends_at <= time.time():
            return
        data = _Fields(fields, ends_at, group)
        if group is not None:
            self.groups.setdefault(group, {})[key] = None
        self._put(self.records, key, data, self.clock() + idle_seconds, data.size())

    def merge(self, key: str, changes: dict[str, bytes | None], idle_seconds: float) -> bool:
        entry = self._record(key)
        if entry is None:
            return False
        data: _Fields = entry.data
        for name, value in changes.items():
            if value is None:
                data.fields.pop(name, None)
            else:
                data.fields[name] = value
        data.used = time.time()
        size = len(key) + data.size() + _OVERHEAD
        self.size += size - entry.size
        entry.size = size
        entry.expires = self.clock() + idle_seconds
        self._make_room()
        return True

    def members(self, group: str) -> list[str]:
        found = [key for key in [*self.groups.get(group, ())] if self._record(key) is not None]
        return sorted(found, key=self._created)

    def _created(self, key: str) -> float:
        created: float = self.records[key].data.created
        return created

    def delete_group(self, group: str, keep: str | None) -> int:
        keys = [key for key in self.members(group) if key != keep]
        for key in keys:
            self._drop(self.records, key)
        return len(keys)

    def generation(self, group: str, bump: bool) -> int:
        current = self.generations.get(group, self.oldest_generation)
        if not bump:
            return current
        self.generations[group] = current + 1
        self.generations.move_to_end(group)
        if len(self.generations) > self.max_entries:
            # Groups without an entry get a generation that none of them had when they were dropped.
            _, dropped = self.generations.popitem(last=False)
            self.oldest_generation = max(self.oldest_generation, dropped)
        return current + 1

    def ping(self) -> None:
        """The memory is always available."""


class MemoryStore(BaseStore):
    """A store in the memory of this process.

    Args:
        max_entries: the largest number of entries. The default, 100,000, takes about 30 MB.
        max_size: the largest sum of keys and data, in bytes. The default is 64 MiB.

    Example:
        ``store = MemoryStore()``, or ``open_store("memory://")``
    """

    across = "process"

    def __init__(self, *, max_entries: int = 100_000, max_size: int = 64 * 1024 * 1024) -> None:
        for name, limit in (("max_entries", max_entries), ("max_size", max_size)):
            if isinstance(limit, bool) or not isinstance(limit, int):
                raise TypeError(f"MemoryStore: {name} must be an int, not {limit!r:.80}.")
            if limit < 1:
                raise ValueError(f"MemoryStore: {name} must be 1 or more, not {limit!r}.")
        self._space = _Space(max_entries, max_size)

    async def _run(self, operation: str, *args: Any) -> Any:
        return self._space.run(operation, *args)

    # The methods that run in every request take no detour through `_run`. They do the same as in BaseStore.

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key, or None: see `Store.get`."""
        space = self._space
        with space.lock:
            return space.get(self._prefix + short_key(key))

    async def set(
        self,
        key: str,
        value: bytes,
        *,
        seconds: float | None = None,
        only_if: Literal["absent", "present"] | None = None,
    ) -> bool:
        """Store a value: see `Store.set`."""
        check_value(value, seconds, only_if)
        space = self._space
        with space.lock:
            return space.set(self._prefix + short_key(key), value, seconds, only_if)

    def read_generations(self, first: str, second: str) -> tuple[int, int]:
        """Return the generations of two short groups at once, for a layer that compares them often."""
        prefix, space = self._prefix, self._space
        with space.lock:
            return space.generation(prefix + first, False), space.generation(prefix + second, False)

    async def generation(self, group: str, *, bump: bool = False) -> int:
        """Return the generation of a group: see `Store.generation`."""
        space = self._space
        with space.lock:
            return space.generation(self._prefix + short_key(group), bump)

    async def take(self, key: str, rate: Rate, *, cost: int = 1) -> Allowance:
        """Count a request against a rate limit: see `Store.take`."""
        if type(cost) is not int or not isinstance(rate, Rate) or not 0 <= cost <= rate.burst:
            raise take_error(rate, cost)
        space = self._space
        with space.lock:
            return space.take(self._prefix + short_key(key), rate, cost)

    async def aclose(self) -> None:
        """Keep the entries: a second application of the process may use the same store."""
