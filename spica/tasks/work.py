"""The calls of a task: once, with restarts, or again and again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anyio

from spica.concurrency import background_threads, is_async_callable
from spica.tasks.lease import Lease
from spica.tasks.running import Execution

FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0
"""The waits before a failed task restarts: 1, 2, 4 ... 60 seconds. A run of a minute resets them."""

POLL_INTERVALS = 0.25
"""How often a worker tries to get the lease of a periodic task, as a part of the interval."""


class Call:
    """A function with its arguments and time limit."""

    __slots__ = ("_args", "_func", "_is_async", "_max_seconds")

    def __init__(
        self, func: Callable[..., Any], args: tuple[Any, ...], max_seconds: float | None
    ) -> None:
        if not callable(func):
            if hasattr(func, "close") and hasattr(func, "cr_frame"):
                func.close()  # a coroutine that is never awaited
            raise TypeError(
                f"func must be callable, not {func!r:.80}. Pass the function and its arguments separately: "
                "start(send, address), not start(send(address))."
            )
        if max_seconds is not None:
            check_positive("max_seconds", max_seconds)
        self._func = func
        self._args = args
        self._max_seconds = max_seconds
        self._is_async = is_async_callable(func)

    async def __call__(self) -> None:
        with anyio.fail_after(self._max_seconds):
            if self._is_async:
                await self._func(*self._args)
            else:
                await background_threads.run(self._func, *self._args)


class Once:
    """Call a function once, or until it succeeds."""

    __slots__ = ("_call", "_restarts", "ends_at_once")
    counts = 1

    def __init__(self, call: Call, restarts: bool, ends_at_once: bool) -> None:
        self._call = call
        self._restarts = restarts
        self.ends_at_once = ends_at_once

    async def run(self, execution: Execution) -> None:
        """Make the calls."""
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            started = anyio.current_time()
            if await execution.call(self._call) or not self._restarts:
                return
            if anyio.current_time() - started >= MAX_BACKOFF_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            if not await execution.pause(backoff):
                return
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)


class Periodic:
    """Call a function again and again."""

    __slots__ = ("_at_start", "_call", "_jitter", "_seconds", "lease")
    counts = 0
    ends_at_once = False

    def __init__(
        self, call: Call, seconds: float, jitter: float, at_start: bool, lease: Lease | None
    ) -> None:
        self._call = call
        self._seconds = seconds
        self._jitter = jitter
        self._at_start = at_start
        self.lease = lease

    async def run(self, execution: Execution) -> None:
        """Make the calls."""
        if self.lease is not None:
            await self._run_leased(execution, self.lease)
            return
        wait = 0.0 if self._at_start else self._vary(self._seconds)
        while await execution.pause(wait):
            wait = await self._call_once(execution)

    async def _call_once(self, execution: Execution) -> float:
        """Call the function, and return the seconds until the next call."""
        started = anyio.current_time()
        await execution.call(self._call)
        return max(0.0, started + self._vary(self._seconds) - anyio.current_time())

    async def _run_leased(self, execution: Execution, lease: Lease) -> None:
        try:
            if not self._at_start:
                await lease.mark_first()
            wait = 0.0
            while await execution.pause(wait):
                wait = self._vary(self._seconds * POLL_INTERVALS)
                if await lease.acquire() and await lease.mark():
                    await lease.remember()
                    wait = await self._call_with(execution, lease)
        finally:
            await lease.release()

    async def _call_with(self, execution: Execution, lease: Lease) -> float:
        """Call the function while a second task renews the lease; cancel the call if the lease is lost."""
        wait = self._vary(self._seconds * POLL_INTERVALS)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lease.keep, tasks.cancel_scope)
            wait = await self._call_once(execution)
            tasks.cancel_scope.cancel()
        return wait

    def _vary(self, seconds: float) -> float:
        return seconds * random.uniform(1 - self._jitter, 1 + self._jitter)


def name_of(func: Any) -> str:
    """Return the name of a function for logs."""
    while hasattr(func, "func"):
        func = func.func  # functools.partial
    name: str = getattr(func, "__qualname__", None) or type(func).__qualname__
    return name


def check_positive(name: str, seconds: float) -> None:
    """Refuse a time that is not a positive number of seconds."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {seconds!r:.80}.")
    if not seconds > 0:
        raise ValueError(f"{name} must be more than 0 seconds, not {seconds!r:.80}.")


def check_fraction(name: str, value: float, most: float) -> None:
    """Refuse a value that is not a number from 0 to ``most``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {value!r:.80}.")
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be between 0 and {most}, not {value!r:.80}.")


def check_flag(name: str, value: bool) -> None:
    """Refuse a value that is not a bool: the string "false" would count as true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r:.80}.")


def check_name(name: str | None) -> None:
    """Refuse a name that is not a string, or empty."""
    if name is not None and (not isinstance(name, str) or not name):
        raise TypeError(f"name must be a string that is not empty, or None, not {name!r:.80}.")


def check_choice(name: str, value: str, choices: tuple[str, str]) -> None:
    """Refuse a value that is not one of two choices."""
    if value not in choices:
        raise ValueError(f"{name} must be {choices[0]!r} or {choices[1]!r}, not {value!r:.80}.")
