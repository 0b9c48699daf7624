"""Measure shared state: rate limits on each store, next to ``limits`` and a SET of Redis, sessions, and event
streams.

All rows take turns in one process, and the best round of each counts. "50 wait" is the time per operation
when 50 tasks use the store at once. Redis starts for the measurement. Without it, its rows are left out.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks import state_channels, state_events, state_ratelimits, state_sessions
from benchmarks.measuring import note
from benchmarks.servers import redis_url
from benchmarks.table import markdown_table
from spica.stores import Rate, open_store

BURST = 10**6
"""All requests pass: refusing one is cheaper."""

SHORT_RUNS = 10
"""The runs of a round, of which the best one counts."""

Operation = Callable[[], Awaitable[object]]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=500, help="operations in a round")


def run(options: argparse.Namespace) -> int:
    asyncio.run(measure(options.rounds, options.calls))
    is_within = asyncio.run(state_events.measure(options.rounds))
    is_within &= asyncio.run(state_channels.measure(options.rounds))
    return int(not is_within)


async def measure(rounds: int, calls: int) -> None:
    async with AsyncExitStack() as stack:
        operations = await open_operations(stack)
        best: dict[str, list[float]] = {name: [1.0, 1.0] for name in operations}
        for operation in operations.values():
            await operation()
        for _ in range(rounds):
            for name, operation in operations.items():
                # Short runs, because other work of the machine spoils most of the long ones.
                for _ in range(SHORT_RUNS):
                    seconds = await one_by_one(operation, calls // SHORT_RUNS)
                    best[name][0] = min(best[name][0], seconds)
                best[name][1] = min(best[name][1], await at_once(operation, calls))
        print_times(best)
        await state_ratelimits.print_gaps(operations)


def print_times(best: dict[str, list[float]]) -> None:
    rows = [[name, *(f"{1e6 * seconds:.1f}" for seconds in times)] for name, times in best.items()]
    print(markdown_table(["operation", "alone, us", "50 wait, us"], rows))
    print_ratios(best)


RATIOS = (
    ("take, Redis", "SET, Redis"),
    ("take, Redis", "limits, Redis"),
    *state_ratelimits.RATIOS,
    *state_sessions.RATIOS,
)


def print_ratios(best: dict[str, list[float]]) -> None:
    for name, other in state_sessions.DIFFERENCES:
        print(f"{name} - {other}: {1e6 * (best[name][0] - best[other][0]):.2f} us")
    for name, other in RATIOS:
        if name in best and other in best:
            alone, waiting = (a / b for a, b in zip(best[name], best[other], strict=True))
            print(f"{name} / {other}: {alone:.2f} alone, {waiting:.2f} when 50 wait")


async def open_operations(stack: AsyncExitStack) -> dict[str, Operation]:
    rate = Rate(BURST, 3600)
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    memory = open_store("memory://")
    sqlite = open_store(f"sqlite:///{Path(folder) / 'state.db'}", timeout_seconds=5)
    await stack.enter_async_context(sqlite)
    operations: dict[str, Operation] = {
        "take, memory": lambda: memory.take("192.0.2.1", rate),
        "take, SQLite": lambda: sqlite.take("192.0.2.1", rate),
    }
    add_limits(operations, "limits, memory", "async+memory://")
    url = stack.enter_context(redis_url())
    if url is None:
        note("Redis is left out: there is no redis-server")
        return operations | await state_sessions.operations(None, None)
    await add_redis(stack, operations, url)
    operations |= await state_ratelimits.operations(stack, url)
    return operations


async def add_redis(stack: AsyncExitStack, operations: dict[str, Operation], url: str) -> None:
    from redis.asyncio import BlockingConnectionPool, Redis

    store = await stack.enter_async_context(open_store(url, timeout_seconds=5))
    pool = BlockingConnectionPool.from_url(url, max_connections=50)
    client = await stack.enter_async_context(Redis(connection_pool=pool))
    rate = Rate(BURST, 3600)
    operations["take, Redis"] = lambda: store.take("192.0.2.1", rate)
    operations["SET, Redis"] = lambda: client.set("key", "1234567890123456", px=60_000)
    add_limits(operations, "limits, Redis", f"async+{url}")
    operations |= await state_sessions.operations(store, client)


def add_limits(operations: dict[str, Operation], name: str, uri: str) -> None:
    """Add a row for ``limits``: a fixed window, and the numbers for the headers."""
    try:
        from limits import RateLimitItemPerHour
        from limits.aio.strategies import FixedWindowRateLimiter
        from limits.storage import storage_from_string

        limiter = FixedWindowRateLimiter(storage_from_string(uri, implementation="redispy"))
    except Exception as error:
        note(f"{name} is left out: {type(error).__name__}: {error}")
        return
    item = RateLimitItemPerHour(BURST)

    async def hit() -> Any:
        allowed = await limiter.hit(item, "192.0.2.1")
        return allowed, await limiter.get_window_stats(item, "192.0.2.1")

    operations[name] = hit


async def one_by_one(operation: Operation, calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        await operation()
    return (time.perf_counter() - begin) / calls


async def at_once(operation: Operation, calls: int) -> float:
    begin = time.perf_counter()
    tasks = [asyncio.create_task(one_by_one(operation, calls // 50)) for _ in range(50)]
    await asyncio.gather(*tasks)
    return (time.perf_counter() - begin) / (calls // 50 * 50)
