"""A burst of requests, more than the server can do. It serves what it can, and refuses the rest at once."""

import math
import os
import random
from collections import Counter

import anyio
import httpx2

from live.showcase import FRONT, Demo
from live.state import channels
from live.visitors import few, open_visitors, own_url
from spica.middleware import Middleware
from spica.middleware.admission import AdmissionGauges, AdmissionMiddleware
from spica.requests import Request
from spica.responses import EventSourceResponse, JSONResponse, PlainTextResponse, Response
from spica.routing import Route

REQUESTS = 300
SECONDS = 4.5

gauges = AdmissionGauges()
counts = Counter[str]()
published: dict[str, int] = {}

admission = Middleware(
    AdmissionMiddleware, max_active=4, max_waiting=6, max_wait_seconds=0.5, gauges=gauges
)


async def work(request: Request) -> Response:
    """Take 50 to 450 ms. The route allows 400."""
    try:
        await anyio.sleep(random.uniform(0.05, 0.45))
    except anyio.get_cancelled_exc_class():
        counts["late"] += 1
        raise
    counts["served"] += 1
    return PlainTextResponse("done")


async def sample() -> None:
    """Publish the numbers of this worker, if they have changed. Each worker does so 5 times a second."""
    numbers = {
        "active": gauges.active,
        "waiting": gauges.waiting,
        "refused": gauges.refused,
        "served": counts["served"],
        "late": counts["late"],
    }
    if numbers != published:
        published.update(numbers)
        await channels.publish("load-page", {"worker": os.getpid(), **numbers})


async def burst(url: str) -> None:
    """Send the requests: a few at first, then more and more, then fewer again."""
    answers: list[httpx2.Response] = []

    async def visit() -> None:
        answers.append(await client.get("/load/work"))

    async with open_visitors(url) as client, anyio.create_task_group() as group:
        for number in range(REQUESTS):
            group.start_soon(visit)
            rush = math.sin(math.pi * number / REQUESTS)
            await anyio.sleep(SECONDS / REQUESTS * (1.6 - rush))
    waits = sorted(
        {answer.headers["retry-after"] for answer in answers if answer.status_code == 503}
    )
    statuses = Counter(str(answer.status_code) for answer in answers)
    await channels.publish("load-page", {"statuses": statuses, "waits": waits}, event="end")


async def start(request: Request) -> Response:
    """Start the burst as a task of the application, so that this request ends at once."""
    request.app.tasks.start(burst, own_url(request), at_shutdown="cancel")
    return JSONResponse({"requests": REQUESTS}, status_code=202)


async def watch(request: Request) -> Response:
    """Stream the numbers of all workers."""
    return EventSourceResponse(channels.events("load-page"))


page = Demo(
    FRONT,
    __name__,
    "Under load",
    "300 requests for eight places: some wait, some get a 503 at once, and none takes the site down.",
    ("admission", "work", "sample"),
    "overload",
)

routes = [
    Route("/load", page.show, name="load"),
    Route("/load/start", start, methods=["POST"], name="start_load", middleware=[few]),
    Route("/load/watch", watch, name="watch_load"),
    Route("/load/work", work, timeout_seconds=0.4, middleware=[admission]),
]
