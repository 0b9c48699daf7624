"""The app that is soaked: the example, and beside it what can be counted.

``/soak/report`` tells what the process holds, ``/soak/task`` promises background tasks, ``/soak/session``
writes a session, ``/soak/stream`` sends until the client has gone, ``/soak/form`` reads a form and forgets to
close it.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import tempfile
import threading
from collections.abc import AsyncIterator
from typing import Any

from notes.app import app as example

from spica.applications import Spica
from spica.background import BackgroundTask, BackgroundTasks
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.gzip import GZipMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.requests import Request
from spica.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from spica.routing import Mount, Route


class Counts:
    """What was begun, and what was ended."""

    def __init__(self) -> None:
        self.promised = 0
        self.kept = 0
        self.sessions = 0
        self.streams = 0
        self.forms = 0
        self.lock = threading.Lock()

    def keep(self) -> None:
        with self.lock:  # from the event loop and from threads
            self.kept += 1

    async def keep_soon(self) -> None:
        await asyncio.sleep(0)
        self.keep()


counts = Counts()


async def task(request: Request) -> Response:
    """Promise three tasks, whether or not the client stays."""
    tasks = BackgroundTasks([BackgroundTask(counts.keep_soon), BackgroundTask(counts.keep)])
    tasks.add_task(counts.keep_soon)
    counts.promised += 3
    return PlainTextResponse("promised", background=tasks)


async def session(request: Request) -> Response:
    """Count in the session."""
    number = request.session["number"] = request.session.get("number", 0) + 1
    counts.sessions += 1
    return JSONResponse(number)


async def endless() -> AsyncIterator[bytes]:
    counts.streams += 1
    try:
        while True:
            yield bytes(16 * 1024)
            await asyncio.sleep(0.005)
    finally:
        counts.streams -= 1


async def stream(request: Request) -> Response:
    return StreamingResponse(endless(), media_type="application/octet-stream")


async def form(request: Request) -> Response:
    """Read a form, and leave it open."""
    found = await request.form(max_memory_size=100 * 1024)
    counts.forms += 1
    return JSONResponse(len(found))


async def pass_on(request: Request, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["x-passed"] = "1"
    return response


async def report(request: Request) -> Response:
    """Tell what the process holds."""
    gc.collect()
    give_back_memory()
    mine = asyncio.current_task()
    found: dict[str, Any] = dict(vars(counts))
    del found["lock"]
    return JSONResponse(
        {
            **found,
            "tasks": len([task for task in asyncio.all_tasks() if task is not mine]),
            "threads": threading.active_count(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "temporary": len(os.listdir(tempfile.gettempdir())) + open_temporary_files(),
            "kilobytes": resident_kilobytes(),
        }
    )


def open_temporary_files() -> int:
    """Count the open files of the temporary directory, deleted ones too."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # that of the listing itself
            continue
        found += target.startswith(tempfile.gettempdir() + os.sep)
    return found


def give_back_memory() -> None:
    """Let the allocator give back what is free, where it can (glibc), so that only what is held counts."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident_kilobytes() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


counted = Spica(
    routes=[
        Mount(
            "/soak",
            routes=[
                Route("/report", report),
                Route("/task", task, methods=["POST"]),
                Route("/session", session, methods=["POST"]),
                Route("/stream", stream),
                Route("/form", form, methods=["POST"], max_body_size=4 * 1024 * 1024),
            ],
        )
    ],
    middleware=[
        Middleware(GZipMiddleware),
        Middleware(SessionMiddleware, secret_key="of the soak"),
        Middleware(BaseHTTPMiddleware, dispatch=pass_on),
    ],
)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Pass on to the example what is not counted."""
    is_counted = scope["type"] == "http" and scope["path"].startswith("/soak/")
    await (counted if is_counted else example)(scope, receive, send)
