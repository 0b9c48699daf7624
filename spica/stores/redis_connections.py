"""Connections to Redis or Valkey, for the store and the channels that spica opens from a URL.

A command takes the connection that was used last, writes, and reads the answer. The client of the driver
takes another 40 us for each command, for its pool, its retries and its metrics. The driver still makes the
connections, so passwords, TLS, sockets and databases of a URL work as its documentation says.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from spica.stores.breaker import is_read_only
from spica.stores.waiting import LATE_PART, Busy, Slots

Execute = Callable[..., Awaitable[Any]]

CONNECT_SECONDS = 5.0
"""How long a connection may take to open, with TLS and the password: several round trips."""


class Connections:
    """Connections of one event loop, opened when needed. A command waits while all are in use.

    A command is never sent twice. A connection whose command failed, timed out or was cancelled is closed,
    because its answer may still come. A connection that the server has closed is replaced before it is used.
    When a server refuses a write because it is a replica, all idle connections are closed: after a failover,
    new ones may lead to the primary.

    Opening a connection goes on after the time limit of the command, and a later command uses it. Otherwise a
    server with a latency of some 50 ms could never be reached.

    Args:
        module: ``redis.asyncio`` or ``valkey.asyncio``.
        url: The address.
        max_connections: The largest number of connections.
        timeout_seconds: The time limit of an operation. The caller enforces it.
    """

    def __init__(
        self, module: Any, url: str, *, max_connections: int, timeout_seconds: float
    ) -> None:
        package = module.__name__.partition(".")[0]
        driver = __import__(package, fromlist=["exceptions", "backoff"])
        self._refused = driver.exceptions.ResponseError
        self._pool = module.ConnectionPool.from_url(
            url,
            max_connections=max_connections,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_SECONDS,
            protocol=2,
            # Without a retry: a second try could count twice, and would take longer than the time limit.
            retry=module.retry.Retry(driver.backoff.NoBackoff(), 0),
        )
        kind = self._pool.connection_class
        self._has_data = getattr(kind, "can_read", None) or kind.can_read_destructive
        self._slots = Slots(max_connections, timeout_seconds)
        self._max_connections = max_connections
        self._timeout_seconds = timeout_seconds
        self._is_late = False
        """Whether an operation on a new connection has run out of time: see `LATE_PART`."""
        self._all: set[Any] = set()
        """The connections, also those that are being opened."""
        self._free: list[Any] = []

    async def execute(self, *command: Any) -> Any:
        """Send a command, and return its answer as bytes, integers, None and lists of them.

        Raises:
            Busy: All connections were in use for too long.
            Exception: The server or the connection failed: an error of the driver, or an OSError.
        """
        async with self._slots:
            is_new = not self._free
            connection = await self._connect() if is_new else self._free.pop()
            if not is_new and await self._is_closed(connection):
                is_new = True
                connection = await self._connect()
            try:
                await connection.send_packed_command(connection.pack_command(*command))
                answer = await connection.read_response(disable_decoding=True)
            except self._refused as error:
                if is_read_only(error):
                    await self._drop(connection, *self._free)
                else:
                    await self._give_back(connection)  # the answer, an error, has been read
                raise
            except BaseException:
                self._is_late |= is_new
                await self._drop(connection)
                raise
            await self._give_back(connection)
            return answer

    async def _is_closed(self, connection: Any) -> bool:
        """Close a connection that the server has closed, and return whether it has."""
        if connection.is_connected and not await self._has_data(connection):
            return False
        await self._drop(connection)
        return True

    async def _connect(self) -> Any:
        if len(self._all) >= self._max_connections:
            raise Busy("all connections are still being opened")
        connection = self._pool.make_connection()
        self._all.add(connection)
        opening = asyncio.get_running_loop().create_task(self._open(connection))
        started_at = time.monotonic()
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._keep)  # it may be done already, too
            raise
        if self._is_late and time.monotonic() - started_at > LATE_PART * self._timeout_seconds:
            self._keep(opening)
            raise Busy("the connection opened late: the next operation uses it")
        return connection

    async def _open(self, connection: Any) -> Any:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()
        except BaseException:
            await self._drop(connection)
            raise
        return connection

    def _keep(self, opening: "asyncio.Task[Any]") -> None:
        """Keep a connection whose command has timed out meanwhile."""
        if not opening.cancelled() and opening.exception() is None:
            connection = opening.result()
            if connection in self._all:
                self._free.append(connection)

    async def _drop(self, *connections: Any) -> None:
        for connection in connections:
            self._all.discard(connection)
            if connection in self._free:
                self._free.remove(connection)
            await connection.disconnect(nowait=True)

    async def _give_back(self, connection: Any) -> None:
        if connection in self._all:
            self._free.append(connection)
        else:  # closed in the meantime
            await connection.disconnect(nowait=True)

    async def aclose(self) -> None:
        """Close the connections. The commands that still run fail."""
        everything, self._all, self._free = self._all, set(), []
        for connection in everything:
            await connection.disconnect()


class GivenClient:
    """Send commands through a client that you made. A command waits while all of its connections are in use.

    The pool of the driver raises an error instead of waiting, so a burst of requests would look like an
    outage.

    Args:
        client: The client.
        timeout_seconds: The time limit of an operation. The caller enforces it.
        reserved: The number of its connections that other tasks keep.
    """

    def __init__(self, client: Any, *, timeout_seconds: float, reserved: int = 0) -> None:
        self._send: Execute = client.execute_command
        self._pool = client.connection_pool
        self._slots = Slots(client.connection_pool.max_connections - reserved, timeout_seconds)

    async def execute(self, *command: Any) -> Any:
        """Send a command, and return its answer as the client decodes it.

        Raises:
            Busy: All connections were in use, by these commands or others of your application.
            Exception: The server or the connection failed: an error of the driver, or an OSError.
        """
        async with self._slots:
            try:
                return await self._send(*command)
            except Exception as error:
                if _is_pool_empty(error):
                    raise Busy("all connections of the client are in use") from None
                if is_read_only(error):
                    # The server is a replica by now. New connections may lead to the primary.
                    await self._pool.disconnect(inuse_connections=False)
                raise


def _is_pool_empty(error: Exception) -> bool:
    # Older drivers have no class for it.
    return type(error).__name__ == "MaxConnectionsError" or str(error) == "Too many connections"


class Script:
    """A Lua script, sent by its digest. The server gets the source when it does not know it."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def run(self, execute: Execute, keys: list[bytes], *args: object) -> Any:
        """Run the script: one round trip if the server knows it."""
        try:
            return await execute("EVALSHA", self.digest, len(keys), *keys, *args)
        except Exception as error:
            if type(error).__name__ != "NoScriptError":
                raise
        return await execute("EVAL", self.source, len(keys), *keys, *args)
