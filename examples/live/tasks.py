"""Work that outlives its request, and work that repeats on one worker of all."""

import os

import anyio

from live.showcase import SERVICE, Demo
from live.state import channels
from spica.middleware.requestid import request_id
from spica.requests import Request
from spica.responses import EventSourceResponse, JSONResponse, Response
from spica.routing import Route

STEPS = 5


async def bake(number: str) -> None:
    """Work for 2.5 seconds. The task keeps the id of the request that has started it."""
    for step in range(1, STEPS + 1):
        await anyio.sleep(0.5)
        progress = {"task": number, "step": step, "steps": STEPS, "worker": os.getpid()}
        await channels.publish("baking", {**progress, "request_id": request_id.get()})


async def start(request: Request) -> Response:
    """Start a task, and answer at once. A deploy waits for the task, as long as the drain lasts."""
    number = request_id.get()[:6]
    request.app.tasks.start(bake, number)
    return JSONResponse({"task": number, "worker": os.getpid()}, status_code=202)


async def tick() -> None:
    """Publish a tick. ``live.app`` has it repeated: on one worker, because it passes the shared store."""
    await channels.publish("ticks", {"worker": os.getpid()})


async def progress(request: Request) -> Response:
    """Stream the steps of tasks."""
    return EventSourceResponse(channels.events("baking"))


async def ticks(request: Request) -> Response:
    """Stream the ticks."""
    return EventSourceResponse(channels.events("ticks"))


page = Demo(
    SERVICE,
    __name__,
    "Tasks",
    "A task that goes on after its response, and one that repeats on one of the two workers.",
    ("bake", "start", "tick"),
    "tasks",
)

routes = [
    Route("/tasks", page.show, name="tasks"),
    Route("/tasks/start", start, methods=["POST"], name="start_task"),
    Route("/tasks/progress", progress, name="task_progress"),
    Route("/tasks/ticks", ticks, name="ticks"),
]
