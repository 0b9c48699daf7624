"""Whole requests of rate-limited applications: spica next to slowapi, and both while Redis is silent."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.driver import App, Call, take_time
from benchmarks.measuring import note

Operation = Callable[[], Awaitable[object]]

SILENT_MILLISECONDS = 1000
"""How long Redis answers nothing."""


def spica_app(store: Any) -> App:
    from spica.applications import Spica
    from spica.middleware import Middleware
    from spica.middleware.ratelimit import Limit, Rate, RateLimitMiddleware
    from spica.responses import PlainTextResponse
    from spica.routing import Route

    async def index(request: Any) -> Any:
        return PlainTextResponse("ok")

    recipe = Middleware(RateLimitMiddleware, Limit(Rate(10**6, 3600)), store=store)
    return Spica(routes=[Route("/", index)], middleware=[recipe])


def slowapi_app(uri: str) -> App | None:
    """Return the same application with Starlette and slowapi, or None without slowapi."""
    try:
        from slowapi import Limiter
        from slowapi.util import get_remote_address
    except ImportError as error:
        note(f"slowapi is left out: {error}")
        return None
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    limiter = Limiter(key_func=get_remote_address, storage_uri=uri, headers_enabled=True)

    async def index(request: Any) -> Any:
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/", limiter.limit("1000000/hour")(index))])
    app.state.limiter = limiter
    return app


RATIOS = (("request, spica on Redis", "request, slowapi on Redis"),)


class Request:
    """An operation: one request to an application whose counts are in Redis."""

    def __init__(self, app: App, url: str) -> None:
        self.app = app
        self.url = url

    async def __call__(self) -> None:
        await take_time(self.app, Call("/"), 1)


async def operations(stack: AsyncExitStack, url: str) -> dict[str, Operation]:
    """Return the requests to both applications."""
    from spica.stores import open_store

    store = await stack.enter_async_context(open_store(url))
    found: dict[str, Operation] = {"request, spica on Redis": Request(spica_app(store), url)}
    slow = slowapi_app(url)
    if slow is not None:
        found["request, slowapi on Redis"] = Request(slow, url)
    return found


async def print_gaps(operations: dict[str, Operation]) -> None:
    """Print how long each application stops the event loop while Redis is silent."""
    for name, operation in operations.items():
        if isinstance(operation, Request):
            gap = await widest_gap(operation.app, operation.url)
            print(f"{name}: the loop stopped for {1e3 * gap:.0f} ms while Redis was silent for 1 s")


async def widest_gap(app: App, url: str) -> float:
    """Return the longest time, in seconds, in which the event loop did nothing else."""
    from redis.asyncio import Redis

    await take_time(app, Call("/"), 1)
    async with Redis.from_url(url) as client:
        await client.execute_command("CLIENT", "PAUSE", str(SILENT_MILLISECONDS), "ALL")
    gaps: list[float] = []
    heart = asyncio.create_task(_beat(gaps))
    await asyncio.sleep(0.01)
    await take_time(app, Call("/"), 1)
    await asyncio.sleep(SILENT_MILLISECONDS / 1000)
    heart.cancel()
    return max(gaps)


async def _beat(gaps: list[float]) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now
