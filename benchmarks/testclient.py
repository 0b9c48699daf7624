"""What a GET costs with each test client, in memory.

The clients take turns, and the quickest rounds are compared, in CPU time: nothing here waits for the outside,
and other processes change it little. Each client calls an application that answers with two bytes.
"""

import argparse
import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.table import markdown_table

REQUESTS = 50
"""Requests in a round."""

BOUNDS = {"spica TestClient": 0.45, "Litestar AsyncTestClient": 1.0}
"""The largest ratio of AsyncTestClient to another client."""

Round = Callable[[], Awaitable[float]]


class AsyncRound:
    """One round of an asynchronous client."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def __call__(self) -> float:
        begin = time.process_time()
        for _ in range(REQUESTS):
            response = await self.client.get("/")
        seconds = time.process_time() - begin
        assert response.text == "ok"
        return seconds / REQUESTS


class SyncRound(AsyncRound):
    """One round of a synchronous client, in the thread of the others."""

    async def __call__(self) -> float:
        begin = time.process_time()
        for _ in range(REQUESTS):
            response = self.client.get("/")
        seconds = time.process_time() - begin
        assert response.text == "ok"
        return seconds / REQUESTS


def spica_app() -> Any:
    from spica.applications import Spica
    from spica.responses import PlainTextResponse
    from spica.routing import Route

    async def ok(request: Any) -> PlainTextResponse:
        return PlainTextResponse("ok")

    return Spica(routes=[Route("/", ok)])


def litestar_app() -> Any:
    from litestar import Litestar, get

    @get("/", media_type="text/plain")
    async def ok() -> str:
        return "ok"

    return Litestar([ok], openapi_config=None)


async def open_clients(stack: AsyncExitStack) -> dict[str, Round]:
    import httpx2

    from spica.testclient import AsyncTestClient, TestClient

    transport = httpx2.ASGITransport(spica_app())
    over_transport = httpx2.AsyncClient(transport=transport, base_url="http://testserver")
    rounds: dict[str, Round] = {
        "spica AsyncTestClient": AsyncRound(
            await stack.enter_async_context(AsyncTestClient(spica_app()))
        ),
        "spica TestClient": SyncRound(stack.enter_context(TestClient(spica_app()))),
        "httpx2 over its ASGITransport": AsyncRound(
            await stack.enter_async_context(over_transport)
        ),
    }
    try:
        from litestar.testing import AsyncTestClient as LitestarClient
    except ImportError as error:
        print(f"Litestar is left out: {error}")
    else:
        rounds["Litestar AsyncTestClient"] = AsyncRound(
            await stack.enter_async_context(LitestarClient(litestar_app()))
        )
    return rounds


async def measure(rounds: int) -> dict[str, float]:
    """Return the seconds of a request, by client."""
    async with AsyncExitStack() as stack:
        clients = await open_clients(stack)
        logging.disable(logging.INFO)  # Litestar logs each request of httpx
        best = dict.fromkeys(clients, float("inf"))
        for _ in range(rounds):
            for name, run_round in clients.items():
                best[name] = min(best[name], await run_round())
        return best


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=60, help="rounds of each client (60)")


def run(options: argparse.Namespace) -> int:
    times = asyncio.run(measure(options.rounds))
    own = times["spica AsyncTestClient"]
    rows = []
    is_missed = False
    for name, seconds in times.items():
        bound = BOUNDS.get(name)
        ratio = own / seconds
        is_missed |= bound is not None and ratio > bound
        rows.append(
            [name, f"{seconds * 1e6:.0f}", f"{ratio:.2f}", "" if bound is None else f"{bound:.2f}"]
        )
    head = ["client", "us of CPU per GET", "AsyncTestClient to it", "at most"]
    print(markdown_table(head, rows))
    return int(is_missed)
