"""The app that the servers serve: the example, with a window to what goes on in its process.

``/observed/report`` tells which tasks run and which temporary files are open. ``/observed/endless``
streams until the client has gone.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from typing import Any

from notes.app import app as example

from spica.applications import Spica
from spica.requests import Request
from spica.responses import JSONResponse, Response, StreamingResponse
from spica.routing import Route


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


observation = Spica(routes=[Route("/observed/report", report), Route("/observed/endless", endless)])


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Pass on to the example what is not meant for the window."""
    is_ours = scope["type"] == "http" and scope["path"].startswith("/observed/")
    await (observation if is_ours else example)(scope, receive, send)
