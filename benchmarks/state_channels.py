"""Measure channels: a fan-out to 1000 subscribers beside Litestar's, and publishing on Redis beside PUBLISH.

All rows take turns in one process, and the best round of each counts.
"""

import asyncio
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.measuring import note
from benchmarks.servers import redis_url
from benchmarks.table import markdown_table
from spica.channels import Channels

SUBSCRIBERS = 1000
BURST = 100
IDLE = 10_000
PUBLISHES = 300
BOUNDS = {"a burst of 100 events": 0.40, "a single event": 1.0, "publish on Redis": 1.6}
"""The largest allowed ratio to the other package."""

Work = Callable[[], Awaitable[None]]


class Readers:
    """Tasks that count the events that they get, and a wait for all of them."""

    def __init__(self) -> None:
        self.left = 0
        self.done = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def read(self, events: Any) -> None:
        async for _ in events:
            self.left -= 1
            if not self.left:
                self.done.set()

    def start(self, events: Any) -> None:
        self.tasks.append(asyncio.create_task(self.read(events)))

    def expect(self, events: int) -> None:
        self.left = events * len(self.tasks)
        self.done.clear()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def spica(stack: AsyncExitStack) -> tuple[Readers, Callable[[], Awaitable[Any]]]:
    channels = Channels()
    await stack.enter_async_context(channels.lifespan())
    readers = Readers()
    for _ in range(SUBSCRIBERS):
        readers.start(await stack.enter_async_context(channels.subscribe("news")))
    stack.push_async_callback(readers.stop)
    return readers, lambda: channels.publish("news", "hello world")


async def litestar(stack: AsyncExitStack) -> tuple[Readers, Callable[[], Awaitable[Any]]]:
    from litestar.channels import ChannelsPlugin
    from litestar.channels.backends.memory import MemoryChannelsBackend

    plugin = ChannelsPlugin(MemoryChannelsBackend(), channels=["news"])
    await stack.enter_async_context(plugin)
    readers = Readers()
    for _ in range(SUBSCRIBERS):
        subscriber = await plugin.subscribe(["news"])
        readers.start(subscriber.iter_events())
    stack.push_async_callback(readers.stop)
    return readers, lambda: plugin.wait_published("hello world", ["news"])


async def deliver(readers: Readers, publish: Callable[[], Awaitable[Any]], events: int) -> float:
    """Return the seconds for one delivery."""
    readers.expect(events)
    begin = time.perf_counter()
    for _ in range(events):
        await publish()
    await readers.done.wait()
    return (time.perf_counter() - begin) / events / SUBSCRIBERS


async def fan_out(rounds: int) -> dict[str, list[float]]:
    best = {"a burst of 100 events": [1.0, 1.0], "a single event": [1.0, 1.0]}
    async with AsyncExitStack() as stack:
        peers = [await spica(stack), await litestar(stack)]
        for _ in range(rounds):
            for index, (readers, publish) in enumerate(peers):
                for row, events in zip(best, (BURST, 1), strict=True):
                    seconds = min([await deliver(readers, publish, events) for _ in range(3)])
                    best[row][index] = min(best[row][index], seconds)
    return best


async def redis(rounds: int, url: str) -> list[float]:
    from redis.asyncio import Redis

    best = [1.0, 1.0]
    channels = Channels(url)
    async with channels.lifespan(), Redis.from_url(url) as client:
        works = (lambda: channels.publish("news", "hello"), lambda: client.publish("news", "hello"))
        for _ in range(rounds):
            for index, work in enumerate(works):
                begin = time.perf_counter()
                for _ in range(PUBLISHES):
                    await work()
                best[index] = min(best[index], (time.perf_counter() - begin) / PUBLISHES)
    return best


async def idle_memory() -> float:
    """Return the bytes of an idle subscription with the task that reads it."""
    async with AsyncExitStack() as stack:
        channels = Channels()
        await stack.enter_async_context(channels.lifespan())
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        readers = Readers()
        for number in range(IDLE):
            context = channels.subscribe(f"room {number % 100}")
            readers.start(await stack.enter_async_context(context))
        await asyncio.sleep(0.1)
        used = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        await readers.stop()
    return used / IDLE


async def measure(rounds: int) -> bool:
    """Print the rows, and return whether all are within their bounds."""
    best = await fan_out(rounds)
    with redis_url() as url:
        if url is None:
            note("Redis is left out: there is no redis-server")
        else:
            best["publish on Redis"] = await redis(rounds, url)
    rows = [
        [
            name,
            *(f"{1e6 * each:.2f}" for each in times),
            f"{times[0] / times[1]:.2f}",
            str(BOUNDS[name]),
        ]
        for name, times in best.items()
    ]
    headings = ["channels", "spica, us", "Litestar or PUBLISH, us", "ratio", "bound"]
    print(markdown_table(headings, rows))
    print(f"An idle subscription: {await idle_memory() / 1024:.1f} KiB with its task (bound 6)")
    return all(times[0] / times[1] <= BOUNDS[name] for name, times in best.items())
