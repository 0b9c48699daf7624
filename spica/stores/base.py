"""The part that all stores share: checks of arguments, prefixes, the life of a store.

A store class implements `BaseStore._run`, which carries out an operation by its name. All checks that need no
I/O have passed by then, so every backend refuses the same arguments with the same messages.
"""

import copy
import hashlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, Self

from spica.stores.protocol import Store
from spica.stores.values import Allowance, Rate, Record

MAX_KEY_SIZE = 512
"""The longest key, in bytes. A longer one is replaced by its SHA-256."""
MAX_VALUE_SIZE = 1024 * 1024
"""The largest value, and the largest sum of a record's fields in one call, in bytes."""
MAX_FIELDS = 128
"""The largest number of fields in one call."""
MAX_PREFIX_SIZE = 128
"""The longest prefix, in bytes."""
MAX_SECONDS = 100 * 365 * 86400
"""The longest time that a value is kept with an expiry: 100 years. It keeps every clock in its range."""


def short_key(key: str) -> str:
    """Return a key that every backend can store: the key itself, or else its SHA-256.

    The digest is used for keys that are too long, and for those with a NUL or a lone surrogate.

    Raises:
        TypeError: The key is not a string.
    """
    try:
        if key.isascii() and len(key) <= MAX_KEY_SIZE and "\0" not in key:
            return key
    except (AttributeError, TypeError):
        raise TypeError(f"A key must be a str, not {key!r:.80}.") from None
    data = key.encode("utf-8", "surrogatepass")
    try:
        key.encode()
    except UnicodeEncodeError:
        pass
    else:
        if len(data) <= MAX_KEY_SIZE and "\0" not in key:
            return key
    return "sha256:" + hashlib.sha256(data).hexdigest()


def check_seconds(name: str, seconds: float) -> None:
    """Check a time: more than 0 seconds.

    Raises:
        TypeError: It is not a number.
        ValueError: It is out of range.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {seconds!r:.40}.")
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"{name} must be above 0 and at most 100 years, not {seconds!r:.40}.")


def take_error(rate: Rate, cost: int) -> Exception:
    """Return the error for a rate or a cost that `Store.take` refuses."""
    if not isinstance(rate, Rate):
        return TypeError(
            f'take: rate must be a Rate, not {rate!r:.80}. Write Rate.parse("100/minute").'
        )
    if type(cost) is not int:
        return TypeError(f"take: cost must be an int, not {cost!r:.80}.")
    return ValueError(
        f"cost must be from 0 to the burst of the rate ({rate.burst}), not {cost!r:.40}. "
        "The rate never allows a larger one."
    )


def _check_bytes(name: str, value: object, size: int = 0) -> int:
    if not isinstance(value, bytes):
        raise TypeError(
            f"{name} must be bytes, not {value!r:.40}. Encode it: value.encode() for a string, "
            "json.dumps(value).encode() for other values."
        )
    size += len(value)
    if size > MAX_VALUE_SIZE:
        raise ValueError(f"{name} exceeds the limit of {MAX_VALUE_SIZE} bytes: {size} bytes.")
    return size


def check_value(value: object, seconds: float | None, only_if: str | None) -> None:
    """Check the arguments of `Store.set`.

    Raises:
        TypeError: The value is not bytes, or ``seconds`` is not a number.
        ValueError: The value is too large, ``seconds`` is out of range, or ``only_if`` is unknown.
    """
    _check_bytes("The value", value)
    if seconds is not None:
        check_seconds("seconds", seconds)
    if only_if not in (None, "absent", "present"):
        raise ValueError(f"only_if must be 'absent', 'present' or None, not {only_if!r:.40}.")


def _check_fields(fields: Mapping[str, bytes | None]) -> None:
    if len(fields) > MAX_FIELDS:
        raise ValueError(f"A record has at most {MAX_FIELDS} fields, not {len(fields)}.")
    size = 0
    for name, value in fields.items():
        if not isinstance(name, str):
            raise TypeError(f"The name of a field must be a str, not {name!r:.40}.")
        if value is not None:
            size = _check_bytes(f"The field {name!r:.80}", value, size)


class BaseStore(Store):
    """The public methods of the stores in this package. `Store` describes them."""

    across: Literal["process", "machine", "machines"]
    """Who shares the store: the tasks of a process, the processes of a machine, or machines."""
    _prefix = ""

    @abstractmethod
    async def _run(self, operation: str, *args: Any) -> Any:
        """Carry out one operation with full keys. Raises StoreUnavailable if that fails."""

    def _key(self, key: str) -> str:
        return self._prefix + short_key(key)

    # -- values, rates, leases ---------------------------------------------------------------------

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key, or None: see `Store.get`."""
        value: bytes | None = await self._run("get", self._key(key))
        return value

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
        return bool(await self._run("set", self._key(key), value, seconds, only_if))

    async def delete(self, *keys: str) -> int:
        """Delete values, rates and records: see `Store.delete`."""
        full = [*dict.fromkeys(map(self._key, keys))]
        return int(await self._run("delete", full)) if full else 0

    async def take(self, key: str, rate: Rate, *, cost: int = 1) -> Allowance:
        """Count a request against a rate limit: see `Store.take`."""
        if type(cost) is not int or not isinstance(rate, Rate) or not 0 <= cost <= rate.burst:
            raise take_error(rate, cost)
        allowed: Allowance = await self._run("take", self._key(key), rate, cost)
        return allowed

    async def acquire(self, key: str, owner: str, *, seconds: float) -> bool:
        """Acquire or renew a lease: see `Store.acquire`."""
        check_seconds("seconds", seconds)
        return bool(await self._run("acquire", self._key(key), short_key(owner), seconds))

    async def release(self, key: str, owner: str) -> bool:
        """Release a lease: see `Store.release`."""
        return bool(await self._run("release", self._key(key), short_key(owner)))

    # -- records -----------------------------------------------------------------------------------

    async def read(self, key: str) -> Record | None:
        """Return a record, or None: see `Store.read`."""
        record: Record | None = await self._run("read", self._key(key))
        return record

    async def create(
        self,
        key: str,
        fields: Mapping[str, bytes],
        *,
        idle_seconds: float,
        ends_at: float,
        group: str | None = None,
    ) -> None:
        """Create a record: see `Store.create`."""
        _check_fields(fields)
        for name, value in fields.items():
            _check_bytes(f"The field {name!r:.80}", value)
        check_seconds("idle_seconds", idle_seconds)
        if not isinstance(ends_at, int | float):
            raise TypeError(f"ends_at must be a number of seconds, not {ends_at!r:.40}.")
        if not 0 <= ends_at <= 2 * MAX_SECONDS:
            raise ValueError(
                f"ends_at must be a time in seconds since the epoch, not {ends_at!r:.40}."
            )
        full = None if group is None else self._key(group)
        await self._run("create", self._key(key), dict(fields), idle_seconds, ends_at, full)

    async def merge(
        self, key: str, changes: Mapping[str, bytes | None], *, idle_seconds: float
    ) -> bool:
        """Change fields of a record: see `Store.merge`."""
        _check_fields(changes)
        check_seconds("idle_seconds", idle_seconds)
        return bool(await self._run("merge", self._key(key), dict(changes), idle_seconds))

    async def members(self, group: str) -> list[str]:
        """Return the keys of a group's records: see `Store.members`."""
        start = len(self._prefix)
        return [key[start:] for key in await self._run("members", self._key(group))]

    async def delete_group(self, group: str, *, keep: str | None = None) -> int:
        """Delete a group's records: see `Store.delete_group`."""
        kept = None if keep is None else self._key(keep)
        return int(await self._run("delete_group", self._key(group), kept))

    async def generation(self, group: str, *, bump: bool = False) -> int:
        """Return the generation of a group: see `Store.generation`."""
        return int(await self._run("generation", self._key(group), bump))

    # -- the store itself --------------------------------------------------------------------------

    def prefixed(self, prefix: str) -> Self:
        """Return a view with keys of its own: see `Store.prefixed`.

        Raises:
            ValueError: The prefix is empty, longer than 128 bytes, or has a colon, a NUL or a lone surrogate.
        """
        if not prefix or ":" in prefix or short_key(prefix) != prefix:
            raise ValueError(
                f"A prefix must be a short string without ':', not {prefix!r:.80}. Nest prefixes instead: "
                'store.prefixed("shop").prefixed("session").'
            )
        full = f"{self._prefix}{prefix}:"
        if len(full.encode()) > MAX_PREFIX_SIZE:
            raise ValueError(
                f"A prefix has at most {MAX_PREFIX_SIZE} bytes with its colons, not {full!r:.200}."
            )
        view = copy.copy(self)
        view._prefix = full
        return view

    @property
    def is_available(self) -> bool:
        """Whether the last operations worked. It sends no request, and is True before the first operation."""
        return True

    async def ping(self) -> None:
        """Return if the store works: see `Store.ping`."""
        await self._run("ping")

    async def aclose(self) -> None:
        """Close what the store opened: see `Store.aclose`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Close the store when the application ends: ``Spica(lifespan=[store.lifespan])``."""
        try:
            yield
        finally:
            await self.aclose()
