"""A slow report. Twenty visitors ask for it at once, and one worker computes it once."""

import os
import time

import anyio
import httpx2

from live.showcase import SERVICE, Demo
from live.state import store
from live.visitors import few, open_visitors, own_url
from spica.caching import CacheControl
from spica.middleware import Middleware
from spica.middleware.cache import ResponseCacheMiddleware, invalidate
from spica.requests import Request
from spica.responses import JSONResponse, Response
from spica.routing import Route

VISITORS = 20
SECONDS = 1.5

cache = Middleware(ResponseCacheMiddleware, store=store)


async def numbers(request: Request) -> Response:
    """Compute the report, which takes its time."""
    await anyio.sleep(SECONDS)
    content = {"worker": os.getpid(), "computed_at": time.time()}
    response = JSONResponse(content, headers={"cache-tag": "report"})
    response.cache_control = CacheControl(public=True, max_age=20)
    return response


async def visit(client: httpx2.AsyncClient, answers: list[dict[str, object]]) -> None:
    """Ask for the report, and note how the answer came."""
    begin = time.perf_counter()
    answer = await client.get("/report/numbers")
    answers.append(
        {
            **answer.json(),
            "seconds": time.perf_counter() - begin,
            "age": answer.headers.get("age"),
            "cache": answer.headers.get("cache-status"),
        }
    )


async def open_tabs(request: Request) -> Response:
    """Ask for the report with 20 connections at once, which both workers share."""
    answers: list[dict[str, object]] = []
    async with open_visitors(own_url(request)) as client, anyio.create_task_group() as group:
        for _ in range(VISITORS):
            group.start_soon(visit, client, answers)
    return JSONResponse(answers)


async def forget(request: Request) -> Response:
    """Drop the report from the cache, on all workers. The next visitor gets a new one."""
    await invalidate("report", store=store)
    return Response(status_code=204)


page = Demo(
    SERVICE,
    __name__,
    "A slow report",
    "Twenty visitors ask at once, two workers compute once: a shared cache with single flight.",
    ("cache", "numbers", "forget"),
    "caching",
)

routes = [
    Route("/report", page.show, name="report"),
    Route("/report/numbers", numbers, middleware=[cache]),
    Route("/report/tabs", open_tabs, methods=["POST"], name="open_tabs", middleware=[few]),
    Route("/report/forget", forget, methods=["POST"], name="forget_report"),
]
