"""``starlette._utils`` as other packages import it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import anyio
import anyio.abc

from spica._asgi.scope import get_route_path
from spica._http.host import parse_host
from spica.concurrency import is_async_callable

__all__ = [
    "AwaitableOrContextManager",
    "AwaitableOrContextManagerWrapper",
    "ParsedHost",
    "create_collapsing_task_group",
    "get_route_path",
    "is_async_callable",
    "parse_host_header",
]

T_co = TypeVar("T_co", covariant=True)


class AwaitableOrContextManager(Protocol[T_co]):
    """A value that you can await, or use in ``async with``."""

    def __await__(self) -> Generator[Any, None, T_co]:
        """Wait for the value."""
        ...

    async def __aenter__(self) -> T_co:
        """Wait for the value, to be closed at the end of the block."""
        ...

    async def __aexit__(self, *exc_info: object) -> bool | None:
        """Close the value."""
        ...


class Closable(Protocol):
    """A value with an ``async close()``."""

    async def close(self) -> None:
        """Close it."""
        ...


ClosableT = TypeVar("ClosableT", bound=Closable)


class AwaitableOrContextManagerWrapper(Generic[ClosableT]):
    """Make an awaitable usable in ``async with``, which closes the awaited value at its end."""

    __slots__ = ("_source", "_stack")

    def __init__(self, aw: Awaitable[ClosableT]) -> None:
        self._source = aw
        self._stack = AsyncExitStack()

    def __await__(self) -> Generator[Any, None, ClosableT]:
        return self._source.__await__()

    async def __aenter__(self) -> ClosableT:
        value = await self
        self._stack.push_async_callback(value.close)
        return value

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def create_collapsing_task_group() -> AsyncIterator[anyio.abc.TaskGroup]:
    """Open a task group that raises a single error as it is, not as a group of one."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from error.__cause__


class ParsedHost(NamedTuple):
    """The parts of a Host header; the port is a string, as the client sent it."""

    host: str
    port: str | None


def parse_host_header(host_header: str | None) -> ParsedHost | None:
    """Return the host and the port of a Host header; None if it is malformed."""
    parsed = parse_host(host_header) if host_header else None
    if parsed is None:
        return None
    host, port = parsed
    return ParsedHost(host, None if port is None else str(port))
