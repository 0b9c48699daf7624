"""The part that the backends on servers share: a time limit and a circuit breaker for each operation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from spica.channels.backend import TIMEOUT_SECONDS
from spica.channels.messages import ChannelsUnavailable
from spica.stores.breaker import describe_error, is_lost_connection, is_refusal
from spica.stores.waiting import AnswerTimeout, Busy

T = TypeVar("T")

MAX_FAILURES = 5
"""The number of failures in a row that opens the breaker."""
OPEN_SECONDS = 1.0
"""The time between two attempts while the breaker is open. The attempt of one task tests the server for
all."""


class Failures:
    """The failures of a backend in a row: a circuit breaker. Five open it.

    While it is open, operations fail at once, but for one in each second, which tests the backend.
    """

    def __init__(self) -> None:
        self.count = 0
        self.open_until = 0.0

    def check(self, operation: str) -> None:
        """Let an operation begin.

        Raises:
            ChannelsUnavailable: The breaker is open.
        """
        if self.count >= MAX_FAILURES:
            now = time.monotonic()
            if now < self.open_until:
                raise ChannelsUnavailable(operation, "the last operations failed")
            self.open_until = now + OPEN_SECONDS

    def note(self) -> None:
        """Note a failure."""
        self.count += 1
        self.open_until = time.monotonic() + OPEN_SECONDS


class Guard:
    """Run operations on a server, and raise `ChannelsUnavailable` if they fail.

    Args:
        errors: The exceptions that mean an outage.
    """

    def __init__(self, errors: tuple[type[BaseException], ...]) -> None:
        self.errors = errors
        self.failures = Failures()

    async def run(self, operation: str, call: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await ``call(*args)`` for at most 1 second. An open breaker does not call it.

        Args:
            operation: The name of the operation, for the log.
            call: An async function, or one that returns an awaitable. It may raise at once.
            args: The arguments of the call.

        Raises:
            ChannelsUnavailable: It failed, took too long, or the breaker is open.
        """
        failures = self.failures
        if failures.count:
            failures.check(operation)
        try:
            async with AnswerTimeout(TIMEOUT_SECONDS):
                result = await call(*args)
        except Busy as exc:
            raise ChannelsUnavailable(operation, str(exc)) from None
        except TimeoutError:
            failures.note()
            raise ChannelsUnavailable(operation, f"no answer in {TIMEOUT_SECONDS:g} s") from None
        except Exception as exc:
            if not self.is_outage(exc):
                raise
            if self.is_refusal(exc):
                failures.count = 0
            else:
                failures.note()
            raise ChannelsUnavailable(operation, describe_error(exc)) from exc
        failures.count = 0
        return result

    def is_outage(self, error: Exception) -> bool:
        """Whether an error of the driver means that the server is away."""
        return isinstance(error, self.errors) or is_lost_connection(error)

    def is_refusal(self, error: Exception) -> bool:
        """Whether the server has answered, so that other operations may work."""
        return is_refusal(error)


def require_asyncio(backend: str) -> None:
    """Check that asyncio runs.

    Raises:
        TypeError: trio runs.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise TypeError(
            f"{backend} works on asyncio only, because its driver does. On trio use MemoryBackend or "
            "SQLiteBackend."
        ) from None
