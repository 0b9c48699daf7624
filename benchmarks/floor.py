"""Show what the time of a request goes to: steps from a bare ASGI app up to the whole application.

Each step does what the one before does and a part more, without a framework where that is possible.
"""

import argparse
import asyncio
import json
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import anyio.to_thread

from benchmarks.apps_bare import Fixed
from benchmarks.apps_toolkit import Toolkit, foreign
from benchmarks.cases import Material
from benchmarks.driver import Call
from benchmarks.measuring import best_times, load
from benchmarks.report import Times, floors_table

HELLO = "Hello, world!"


@dataclass(frozen=True)
class Step:
    """One app, and what it does beyond the step before."""

    name: str
    title: str
    app: Any


class ResponseAlone:
    """Make the response in a bare ASGI app, and send it."""

    def __init__(self, kit: Toolkit) -> None:
        self.response = kit.PlainTextResponse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.response(HELLO)(scope, receive, send)


class Endpoint(ResponseAlone):
    """Make the request too, and await an endpoint."""

    def __init__(self, kit: Toolkit) -> None:
        super().__init__(kit)
        self.request = kit.take("requests", "Request")

    async def endpoint(self, request: Any) -> Any:
        return self.response(HELLO)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        response = await self.endpoint(self.request(scope, receive, send))
        await response(scope, receive, send)


class TwoHalts:
    """Run a task that halts twice: while a middleware looks at the start of the response, and at its end."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        started, wanted, over = (loop.create_future() for _ in range(3))
        task = loop.create_task(self.run(started, wanted, over))
        await started
        wanted.set_result(None)
        await over
        await foreign(scope, receive, send)
        del task

    async def run(self, started: Any, wanted: Any, over: Any) -> None:
        started.set_result(None)
        await wanted
        over.set_result(None)


class OwnThread:
    """Call a function in a waiting thread by the cheapest means there are: a queue and a callback."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Any] = SimpleQueue()
        self.answer = Fixed(200, b"text/plain", HELLO.encode())
        Thread(target=self.work, daemon=True).start()

    def work(self) -> None:
        while True:
            loop, future = self.calls.get()
            loop.call_soon_threadsafe(future.set_result, None)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.calls.put((loop, future))
        await future
        await self.answer(scope, receive, send)


class AnyIOThread:
    """Call a function in a thread of AnyIO's."""

    def __init__(self) -> None:
        self.answer = Fixed(200, b"text/plain", HELLO.encode())

    def work(self) -> None:
        pass

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await anyio.to_thread.run_sync(self.work)
        await self.answer(scope, receive, send)


def steps(directory: Path) -> list[Step]:
    """Return all steps, in three groups."""
    material = Material(directory)
    material.write()
    kit, spica, starlette = (
        Toolkit("spica", "Spica"),
        load("spica", material),
        load("starlette", material),
    )
    return [
        Step("bare", "plain text: a bare ASGI app", Fixed(200, b"text/plain", HELLO.encode())),
        Step("response", "… that makes and sends a `PlainTextResponse`", ResponseAlone(kit)),
        Step("endpoint", "… and makes a `Request` and awaits an endpoint", Endpoint(kit)),
        Step("plain", "the application", spica["plain"]),
        Step("turns", "opaque app: nothing but a task with two halts", TwoHalts()),
        Step("opaque", "the application, with five middlewares", spica["middleware-opaque"]),
        Step("own-thread", "thread: nothing but a queue and a callback", OwnThread()),
        Step("anyio-thread", "`anyio.to_thread.run_sync` alone", AnyIOThread()),
        Step("thread", "the application", spica["thread"]),
        Step("thread-starlette", "Starlette's", starlette["thread"]),
    ]


async def measure(rounds: int) -> Times:
    """Return the seconds of each step, by its title."""
    with tempfile.TemporaryDirectory() as directory:
        all_steps = steps(Path(directory))
        times = await best_times({step.name: (step.app, Call("/")) for step in all_steps}, rounds)
    return {step.name: (step.title, times[step.name]) for step in all_steps}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=21, help="rounds a step (default: 21)")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured there")


def run(options: argparse.Namespace) -> int:
    """Measure and print the steps."""
    times = asyncio.run(measure(options.rounds))
    print(floors_table({f"Python {platform.python_version()}": times}))
    if options.json:
        Path(options.json).write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")
    return 0
