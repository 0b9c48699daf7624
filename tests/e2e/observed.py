"""The app that the servers serve: the example, with a window to what goes on in its process.

``/observed/report`` tells which tasks run and which temporary files are open. ``/observed/endless``
streams until the client has gone. ``/observed/size/soon`` waits half a second for each part of a body.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import anyio
from notes.app import app as example

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.requests import Request
from spica.responses import JSONResponse, Response, StreamingResponse
from spica.routing import Route
from spica.servers.rsgi import RSGI


class Streams:
    """Count the endless streams that run."""

    def __init__(self) -> None:
        self.open = 0

    async def endless(self) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            while True:
                yield bytes(64 * 1024)
                await asyncio.sleep(0.001)
        finally:
            self.open -= 1


streams = Streams()


async def report(request: Request) -> Response:
    mine = asyncio.current_task()
    tasks = [task.get_coro().__qualname__ for task in asyncio.all_tasks() if task is not mine]
    found = {"tasks": sorted(tasks), "files": open_temporary_files(), "streams": streams.open}
    return JSONResponse(found)


def open_temporary_files() -> list[str]:
    """The files of the temporary directory that this process holds open, deleted ones too."""
    descriptors = "/proc/self/fd"
    if not os.path.isdir(descriptors):  # not Linux
        return sorted(os.listdir(tempfile.gettempdir()))
    found = []
    for name in os.listdir(descriptors):
        try:
            target = os.readlink(f"{descriptors}/{name}")
        except OSError:  # that of the listing itself
            continue
        if target.startswith(tempfile.gettempdir() + os.sep):
            found.append(target)
    return found


async def endless(request: Request) -> Response:
    return StreamingResponse(streams.endless(), media_type="application/octet-stream")


async def send_by_hand(send: Any, body: bytes, is_complete: bool = True) -> None:
    headers = [(b"content-length", b"5"), (b"x-sent", b"by hand")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": not is_complete})


async def by_hand(request: Request) -> Response | None:
    """Send by ``request._send``, in a child task as the MCP SDK does, and end in the way of the path."""
    end = request.path_params["end"]
    async with anyio.create_task_group() as tasks:
        if end == "truncated":
            tasks.start_soon(send_by_hand, request._send, b"ab", False)
        else:
            tasks.start_soon(send_by_hand, request._send, b"whole")
    if end == "raises":
        raise ValueError("after a response by hand")
    return Response("second") if end == "returns" else None


async def fails(request: Request) -> Response:
    raise ValueError("before a response")


async def failing_handler(request: Request, exc: Exception) -> Response:
    raise RuntimeError("an error handler that fails")


class Name(BaseHTTPMiddleware):
    """Add a header to each response."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        response.headers["x-name"] = "observed"
        return response


async def size(request: Request) -> Response:
    return JSONResponse(len(await request.body()))


observation = Spica(
    routes=[
        Route("/observed/report", report),
        Route("/observed/endless", endless),
        Route("/observed/by-hand/{end}", by_hand),
        Route("/observed/fails", fails),
        Route("/observed/size", size, methods=["POST"]),
        Route("/observed/size/soon", size, methods=["POST"], body_idle_seconds=0.5),
    ],
    middleware=[Middleware(Name)],
    exception_handlers={ValueError: failing_handler},
)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Pass on to the example what is not meant for the window."""
    is_ours = scope["type"] == "http" and scope["path"].startswith("/observed/")
    await (observation if is_ours else example)(scope, receive, send)


rsgi_app = RSGI(app)
