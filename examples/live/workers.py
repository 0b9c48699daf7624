"""The worker that serves a page, and the buttons that replace it."""

import os
import signal

import anyio

from live.state import CONTROLS
from spica.background import BackgroundTask
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses import JSONResponse, Response
from spica.routing import Route

SIGNALS = {"kill": signal.SIGKILL, "deploy": signal.SIGTERM}


def check_controls() -> None:
    """Refuse what only the owner of the machine may do and see."""
    if not CONTROLS:
        raise HTTPException(403, "Set LIVE_CONTROLS=1 to use this on your own machine.")


async def end_worker(number: signal.Signals) -> None:
    """Send a signal to this process, once its last response has left."""
    await anyio.sleep(0.05)
    os.kill(os.getpid(), number)


async def which(request: Request) -> Response:
    """Name the worker that answers."""
    return JSONResponse({"worker": os.getpid()})


async def replace(request: Request) -> Response:
    """End this worker: at once (kill), or with a drain (deploy). The supervisor starts another one."""
    check_controls()
    number = SIGNALS.get(request.path_params["how"])
    if number is None:
        raise HTTPException(404)
    return JSONResponse({"worker": os.getpid()}, background=BackgroundTask(end_worker, number))


routes = [
    Route("/worker", which, name="worker"),
    Route("/worker/{how}", replace, methods=["POST"], name="replace_worker"),
]
