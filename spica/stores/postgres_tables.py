"""The part that the store and the channels in Postgres share: how they create tables and take connections.

Both work with any settings of the role and the database, or report the setting that they cannot work with.
"""

import asyncio
from contextlib import nullcontext
from typing import Any

from spica.stores.postgres_connections import Connections, is_full
from spica.stores.waiting import Busy

EXPIRE_SECONDS = 1.0
"""The least time between two attempts to find the primary after a failover."""
ENCODINGS = ("UTF8", "SQL_ASCII")
"""The encodings of a database that store any string."""


class UnusableDatabase(Exception):
    """The database has a property that the store or the channels cannot work with."""


class Tables:
    """The tables of the store, or of the channels.

    Args:
        schema: The statements that create them.
        last: The name of the table that is created last.
        lock: The number of the advisory lock for their creation.
    """

    def __init__(self, schema: str, last: str, lock: int) -> None:
        self.schema = schema
        # The query names a catalog: to_regclass() alone would not see a table of a transaction that has just
        # ended.
        self._exist = f"SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('{last}'))"
        self._lock = f"SELECT pg_advisory_xact_lock(7163, {lock})"

    async def prepare_on(self, pool: Any) -> bool:
        """Create the tables on a connection of a pool: see `prepare`."""
        connection = await pool.acquire()
        try:
            return await self.prepare(connection)
        finally:
            await pool.release(connection)

    async def prepare(self, connection: Any) -> bool:
        """Create the tables if necessary. Return whether each statement needs a transaction of its own.

        It does if transactions begin in another isolation level than READ COMMITTED. In the levels above,
        statements that change the same row at once fail instead of waiting for each other.

        Raises:
            UnusableDatabase: The encoding of the database cannot store all characters.
        """
        isolation, encoding = await connection.fetchrow(
            "SELECT current_setting('transaction_isolation'), current_setting('server_encoding')"
        )
        if encoding not in ENCODINGS:
            raise UnusableDatabase(
                f"the database has the encoding {encoding}, which lacks most characters: use a database "
                "with ENCODING 'UTF8'"
            )
        if not await connection.fetchval(self._exist):
            async with connection.transaction(isolation="read_committed"):
                # Of workers that start at once, the first creates the tables. The others must not try: even
                # an index that exists locks its table, which another transaction may be writing to by then.
                await connection.execute(self._lock)
                if not await connection.fetchval(self._exist):
                    await connection.execute(self.schema)
        return bool(isolation != "read committed")


def begin(connection: Any, needs_transaction: bool) -> Any:
    """Return the transaction of an operation as a context manager, or one that does nothing."""
    return (
        connection.transaction(isolation="read_committed") if needs_transaction else nullcontext()
    )


def is_open(opening: "asyncio.Future[Any] | None") -> bool:
    """Whether the tables and the connections are ready. Until then, any error is an outage."""
    return (
        opening is not None
        and opening.done()
        and not opening.cancelled()
        and opening.exception() is None
    )


async def take_connection(pool: Any) -> Any:
    """Return a connection of your pool, or of that of spica.

    Raises:
        Busy: The server has no connection to spare, but the pool has some.
    """
    try:
        return await pool.acquire()
    except Exception as error:
        if is_full(error) and pool.get_size():
            raise Busy(
                f"the server allows no more than the {pool.get_size()} connections of this pool: raise its "
                f"max_connections or the limit of the role ({error})"
            ) from None
        raise


async def expire_connections(pool: Any) -> None:
    """Replace the connections to a server that is a replica by now. New ones may lead to the primary."""
    if isinstance(pool, Connections):
        pool.expire()
    else:
        await pool.expire_connections()
