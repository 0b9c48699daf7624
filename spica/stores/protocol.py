"""The protocol of stores: what features need, and what each backend guarantees."""

from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable

from spica.stores.values import Allowance, Rate, Record


@runtime_checkable
class Store(Protocol):
    """Shared state under string keys. Each method is atomic across tasks, processes and machines.

    Values, rates, leases and records under the same key are independent of each other. Keys may have any
    characters. A key of more than 512 bytes is replaced by its SHA-256.

    A method that fails raises `StoreUnavailable`, within the timeout of the store (0.25 s by default).
    """

    # -- values ------------------------------------------------------------------------------------

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key, or None if there is none or it has expired."""
        ...

    async def set(
        self,
        key: str,
        value: bytes,
        *,
        seconds: float | None = None,
        only_if: Literal["absent", "present"] | None = None,
    ) -> bool:
        """Store a value. Return False, and change nothing, if `only_if` does not hold.

        Args:
            key: the key.
            value: the value, at most 1 MiB.
            seconds: when the value expires. The default keeps it. A call replaces the time of the last one.
            only_if: ``"absent"`` stores the value only under a new key, ``"present"`` only replaces a value.
        """
        ...

    async def delete(self, *keys: str) -> int:
        """Delete the values, rates and records of some keys. Return how many of the keys had one.

        A lease stays: only its owner can release it.
        """
        ...

    # -- rates -------------------------------------------------------------------------------------

    async def take(self, key: str, rate: Rate, *, cost: int = 1) -> Allowance:
        """Count a request against a rate limit, and return whether it is allowed.

        A request that is not allowed takes nothing.

        Args:
            key: the key, for example the address of a client. Use one key for each rate.
            rate: the rate.
            cost: how many requests this one counts as, at most the burst of the rate. 0 takes nothing: it
                returns whether a request of cost 1 is allowed now.
        """
        ...

    # -- leases ------------------------------------------------------------------------------------

    async def acquire(self, key: str, owner: str, *, seconds: float) -> bool:
        """Acquire or renew a lease. Return False if another owner has it.

        The lease ends after `seconds`, or when its owner releases it. A paused process may still believe that
        it has a lease that another one has acquired since, so a lease alone does not protect data.
        """
        ...

    async def release(self, key: str, owner: str) -> bool:
        """Release a lease. Return False if this owner does not have it."""
        ...

    # -- records -----------------------------------------------------------------------------------

    async def read(self, key: str) -> Record | None:
        """Return a record, or None if it does not exist or has expired. Reading does not extend its time."""
        ...

    async def create(
        self,
        key: str,
        fields: Mapping[str, bytes],
        *,
        idle_seconds: float,
        ends_at: float,
        group: str | None = None,
    ) -> None:
        """Create a record. It replaces an older one with the same key.

        Args:
            key: the key.
            fields: at most 128 fields, together at most 1 MiB.
            idle_seconds: the record expires when no call has merged into it for this time.
            ends_at: the record expires at this time in any case, in seconds since the epoch.
            group: the group of the record, for example the id of its user.
        """
        ...

    async def merge(
        self, key: str, changes: Mapping[str, bytes | None], *, idle_seconds: float
    ) -> bool:
        """Change some fields of a record, and extend its idle time. None deletes a field.

        Other fields keep what other callers wrote. Without changes, the call extends the idle time only.
        Return False if the record no longer exists: this method never revives one.
        """
        ...

    async def members(self, group: str) -> list[str]:
        """Return the keys of the records in a group, the oldest record first."""
        ...

    async def delete_group(self, group: str, *, keep: str | None = None) -> int:
        """Delete all records of a group, except that with the key `keep`. Return how many it deleted."""
        ...

    async def generation(self, group: str, *, bump: bool = False) -> int:
        """Return the generation of a group, a number that only grows. ``bump=True`` increases it first.

        Compare two generations for equality only. A group that was never bumped has one as well.
        """
        ...

    # -- the store itself --------------------------------------------------------------------------

    def prefixed(self, prefix: str) -> "Store":
        """Return a view of this store with keys of its own.

        Views can be nested: the keys of ``store.prefixed("shop").prefixed("session")`` begin with
        ``shop:session:``. A view shares the connections of its store, and closing it closes the store.
        """
        ...

    async def ping(self) -> None:
        """Return if the store works. Use it in a readiness check."""
        ...

    async def aclose(self) -> None:
        """Close connections, files and threads that the store opened. A later call opens them again."""
        ...
