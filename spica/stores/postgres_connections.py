"""Connections to Postgres, for the store and the channels that spica opens from a URL.

A pool of asyncpg fails when the server has no connection to spare, although its other connections are free a
millisecond later. A few workers can reach that limit: see the guide, stores.md. This pool then makes do with
the connections that it has.
"""

import asyncio
from collections import deque
from typing import Any

from spica.stores.waiting import LATE_PART, WAIT_PART, Busy

CONNECT_SECONDS = 5.0
"""How long a connection may take to open, with TLS and the password: several round trips."""
IDLE_SECONDS = 60.0
"""How long an idle connection stays open. Others may need it when the server is at its limit."""
FULL_SECONDS = 1.0
"""The time before the next attempt to connect after the server had no connection to spare."""
TOO_MANY_CONNECTIONS = "53300"
"""Code of an error: see appendix A of the manual of Postgres."""


def is_full(error: BaseException) -> bool:
    """Whether the server, or the role, may have no more connections."""
    return getattr(error, "sqlstate", None) == TOO_MANY_CONNECTIONS


def split_options(url: str) -> tuple[str, dict[str, int]]:
    """Return a URL without the options that the driver takes as arguments only, and those options.

    Raises:
        ValueError: ``statement_cache_size`` is not a number.
    """
    address, _, query = url.partition("?")
    kept: list[str] = []
    options: dict[str, int] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name != "statement_cache_size":
            kept.append(part)
        elif value.isdecimal():
            options[name] = int(value)
        else:
            raise ValueError(f"{name} in the URL must be a number, such as 0, not {value!r:.80}.")
    return f"{address}?{'&'.join(kept)}".removesuffix("?"), options


class Connections:
    """Connections of one event loop, opened when needed. It has the methods of a pool that spica uses.

    An operation takes the connection that was used last. Opening one goes on after the time limit of the
    operation, and a later operation uses it.

    Args:
        asyncpg: The module.
        url: The address.
        max_connections: The largest number of connections.
        timeout_seconds: The time limit of an operation. The caller enforces it.
    """

    def __init__(
        self, asyncpg: Any, url: str, *, max_connections: int, timeout_seconds: float
    ) -> None:
        self._asyncpg = asyncpg
        self._url, self._options = split_options(url)
        self._max_connections = max_connections
        self._wait_seconds = timeout_seconds * WAIT_PART
        self._late_seconds = timeout_seconds * LATE_PART
        self._is_late = False
        """Whether an operation on a new connection has run out of time: see `LATE_PART`."""
        self._new: set[Any] = set()
        """The connections that their first operation uses."""
        self._loop = asyncio.get_running_loop()
        self._all: set[Any] = set()
        self._expired: set[Any] = set()
        self._free: deque[tuple[Any, float]] = deque()
        """The idle connections and the times since when, the newest last."""
        self._opening: set[asyncio.Task[Any]] = set()
        self._waiters: deque[asyncio.Future[Any]] = deque()
        self._full_until = 0.0
        self._full_reason = ""
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def get_size(self) -> int:
        """Return the number of open connections."""
        return len(self._all)

    def get_max_size(self) -> int:
        """Return the largest number of connections."""
        return self._max_connections

    async def acquire(self) -> Any:
        """Return a connection. Give it back with `release`.

        Raises:
            Busy: All connections were in use for too long.
            Exception: The server refused to connect: an error of the driver, or an OSError.
        """
        deadline = self._loop.time() + self._wait_seconds
        while True:
            while self._free:
                connection, _ = self._free.pop()
                if not connection.is_closed():
                    return connection
                self._all.discard(connection)
            if self._may_connect():
                try:
                    return await self._connect()
                except Exception as exc:
                    if not is_full(exc) or not self._all:
                        raise
            connection = await self._wait(deadline)
            if connection is not None:
                return connection

    def _may_connect(self) -> bool:
        is_full = self._all and self._loop.time() < self._full_until
        return not is_full and len(self._all) + len(self._opening) < self._max_connections

    async def _connect(self) -> Any:
        opening = self._loop.create_task(self._open())
        self._opening.add(opening)
        opening.add_done_callback(self._end_opening)
        started_at = self._loop.time()
        try:
            connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._keep)
            raise
        if self._is_late and self._loop.time() - started_at > self._late_seconds:
            self._put(connection)
            raise Busy("the connection opened late: the next operation uses it")
        self._new.add(connection)
        return connection

    async def _open(self) -> Any:
        try:
            connection = await self._asyncpg.connect(
                self._url, timeout=CONNECT_SECONDS, **self._options
            )
        except Exception as exc:
            if is_full(exc) and self._all:
                self._full_until = self._loop.time() + FULL_SECONDS
                self._full_reason = f": the server allows no more than {len(self._all)} ({exc})"
            raise
        self._all.add(connection)
        self._full_reason = ""
        return connection

    def _end_opening(self, opening: "asyncio.Task[Any]") -> None:
        self._opening.discard(opening)
        has_failed = opening.cancelled() or opening.exception() is not None
        if has_failed and self._may_connect():
            self._pass_on(None)  # a waiter opens another one, or learns why that fails

    def _keep(self, opening: "asyncio.Task[Any]") -> None:
        """Keep a connection whose operation has timed out meanwhile."""
        if not opening.cancelled() and opening.exception() is None:
            self._put(opening.result())

    async def _wait(self, deadline: float) -> Any:
        """Return the next connection that is given back, or None if there is room for another one."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except BaseException as exc:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif not waiter.cancelled():  # it came too late
                self._pass_on(None) if waiter.result() is None else self._put(waiter.result())
            if isinstance(exc, TimeoutError):
                seconds = f"{self._wait_seconds:g} s"
                raise Busy(f"no connection was free for {seconds}{self._full_reason}") from None
            raise

    async def release(self, connection: Any, timeout: float | None = None) -> None:
        """Take a connection back. Nothing is reset: no operation changes a setting."""
        self._put(connection)

    def _put(self, connection: Any) -> None:
        if connection in self._new:
            self._new.discard(connection)
            self._is_late |= connection.is_closed()
        if self._is_closed or connection in self._expired:
            connection.terminate()
        if connection.is_closed():
            self._all.discard(connection)
            self._expired.discard(connection)
            self._pass_on(None)  # a waiter may open another one
        elif not self._pass_on(connection):
            self._free.append((connection, self._loop.time()))
            if self._timer is None:
                self._timer = self._loop.call_later(IDLE_SECONDS, self._close_idle)

    def _pass_on(self, connection: Any) -> bool:
        """Give a connection to the operation that has waited longest, and return whether there is one."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _close_idle(self) -> None:
        oldest = self._loop.time() - IDLE_SECONDS
        while self._free and self._free[0][1] <= oldest:
            connection, _ = self._free.popleft()
            self._all.discard(connection)
            connection.terminate()
        self._timer = None
        if self._free:
            self._timer = self._loop.call_at(self._free[0][1] + IDLE_SECONDS, self._close_idle)

    def expire(self) -> None:
        """Close all connections, those in use as soon as they are given back: see `take_connection`."""
        self._expired = set(self._all)
        while self._free:
            connection, _ = self._free.pop()
            self._put(connection)

    async def close(self) -> None:
        """Close the connections. Those that are in use break."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        idle = [connection for connection, _ in self._free]
        self._free.clear()
        for connection in self._all.difference(idle):
            connection.terminate()
        for connection in idle:
            try:
                await connection.close()
            except Exception:  # it broke meanwhile: close the others, too
                connection.terminate()
        self._all.clear()

    def terminate(self) -> None:
        """Close the connections without waiting for the server."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for connection in self._all:
            connection.terminate()
        self._free.clear()
        self._all.clear()
