"""Measure server-sent events: ``EventSourceResponse`` beside ``sse-starlette`` on Starlette.

Both serve the same events in memory. The server's side takes each message at once.
"""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

from benchmarks.measuring import note
from benchmarks.table import markdown_table

EVENTS = 2_000
STREAMS = 1_000
BOUNDS = {"an event": 0.30, "a response with one event": 0.20}
"""The largest allowed ratio to sse-starlette."""


class Connection:
    """The server's side of one request."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.has_asked = False

    async def receive(self) -> dict[str, Any]:
        if not self.has_asked:
            self.has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        pass


class Events:
    """An application that sends ``count`` events; -1 is one event, and then nothing for ever."""

    def __init__(self, library: Any, application: Callable[..., Any], route: Any) -> None:
        self.library = library
        self.count = 1
        self.app = application(routes=[route("/", self.endpoint)])

    async def endpoint(self, request: Any) -> Any:
        return self.library.EventSourceResponse(self.events())

    async def events(self) -> AsyncIterator[Any]:
        for number in range(abs(self.count)):
            yield self.library.ServerSentEvent("hello world", id=str(number), event="tick")
        if self.count < 0:
            await asyncio.get_running_loop().create_future()

    async def serve(self, connection: Connection) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "raw_path": b"/",
            "root_path": "",
            "query_string": b"",
            "headers": [],
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 5000),
        }
        await self.app(scope, connection.receive, connection.send)

    async def seconds(self, count: int, requests: int) -> float:
        """Return the seconds of a request with ``count`` events."""
        self.count = count
        begin = time.perf_counter()
        for _ in range(requests):
            await self.serve(Connection())
        return (time.perf_counter() - begin) / requests

    async def idle(self) -> tuple[float, float]:
        """Return the tasks and the bytes of each of many idle streams."""
        self.count = -1
        connections = [Connection() for _ in range(STREAMS)]
        before = len(asyncio.all_tasks())
        tracemalloc.start()
        streams = [asyncio.create_task(self.serve(connection)) for connection in connections]
        await asyncio.sleep(1)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        tasks = len(asyncio.all_tasks()) - before
        for connection in connections:
            connection.left.set()
        await asyncio.gather(*streams)
        return tasks / STREAMS, size / STREAMS


def applications() -> dict[str, Events]:
    import spica.applications
    import spica.responses
    import spica.routing

    found = {"spica": Events(spica.responses, spica.applications.Spica, spica.routing.Route)}
    try:
        import sse_starlette
        import starlette.applications
        import starlette.routing
    except ImportError as error:
        note(f"sse-starlette is left out: {error}")
        return found
    found["sse-starlette"] = Events(
        sse_starlette, starlette.applications.Starlette, starlette.routing.Route
    )
    return found


async def measure(rounds: int) -> bool:
    """Print the figures; return whether all are within their bounds."""
    apps = applications()
    best = {name: [float("inf")] * 2 for name in apps}
    for _ in range(rounds):
        for name, app in apps.items():
            one = await app.seconds(1, 100)
            many = await app.seconds(EVENTS, 1)
            best[name] = [min(a, b) for a, b in zip(best[name], (many, one), strict=True)]
    for name, (many, one) in best.items():
        best[name] = [(many - one) / (EVENTS - 1), one]
    rows = []
    for name, app in apps.items():
        tasks, size = await app.idle()
        times = [f"{1e6 * seconds:.2f}" for seconds in best[name]]
        rows.append([name, *times, f"{tasks:.2f}", f"{size / 1024:.1f}"])
    print(
        markdown_table(
            [
                "package",
                *(f"{case}, us" for case in BOUNDS),
                "tasks of a stream",
                "KiB of a stream",
            ],
            rows,
        )
    )
    if "sse-starlette" not in best:
        return True
    ratios = [a / b for a, b in zip(best["spica"], best["sse-starlette"], strict=True)]
    for (case, bound), ratio in zip(BOUNDS.items(), ratios, strict=True):
        print(f"{case}, spica / sse-starlette: {ratio:.2f} (at most {bound})")
    return all(ratio <= bound for ratio, bound in zip(ratios, BOUNDS.values(), strict=True))
