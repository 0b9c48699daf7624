"""A dashboard: one worker of the fleet measures, and all pages watch."""

import os
import time

from live.showcase import LIVE, Demo
from live.state import channels
from spica.requests import Request
from spica.responses import EventSourceResponse, Response, last_event_id
from spica.routing import Route


async def measure() -> None:
    """Publish the load of this machine. ``app.tasks.every`` runs it on one worker, once a second."""
    load = os.getloadavg()[0]
    await channels.publish("load", {"load": load, "worker": os.getpid(), "at": time.time()})


async def load(request: Request) -> Response:
    """Stream the measurements. A browser that reconnects continues after its last event."""
    events = channels.events("load", after=last_event_id(request))
    return EventSourceResponse(events)


page = Demo(
    LIVE,
    __name__,
    "Dashboard",
    "Server-sent events that continue after a broken connection, from a task that runs on one worker.",
    ("measure", "load"),
    "events",
)

routes = [
    Route("/dashboard", page.show, name="dashboard"),
    Route("/dashboard/load", load, name="measurements"),
]
