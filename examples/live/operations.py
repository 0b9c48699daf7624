"""What the people who run a service see: request ids, the access log, metrics, and the health of a worker."""

import logging
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from live.showcase import SERVICE, Demo
from live.state import channels, store
from live.workers import check_controls
from spica.applications import Spica
from spica.health import health_routes
from spica.middleware.metrics import metrics_response
from spica.middleware.requestid import request_id
from spica.requests import Request
from spica.responses import EventSourceResponse, JSONResponse, Response
from spica.routing import Route


class LastLines(logging.Handler):
    """Keep the last lines of the access log, besides the log itself."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=12)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


last_lines = LastLines()
logging.getLogger("spica.access").addHandler(last_lines)


async def log(request: Request) -> Response:
    """Return the last lines of this worker, and the id of this request."""
    check_controls()  # The lines have the addresses of visitors.
    lines = list(reversed(last_lines.lines))
    content = {"worker": os.getpid(), "request_id": request_id.get(), "lines": lines}
    return JSONResponse(content)


async def metrics(request: Request) -> Response:
    """Return the metrics of all workers, for Prometheus. The internet must not reach this."""
    check_controls()
    return metrics_response(request)


async def publish_state(app: Spica) -> None:
    """Publish that this worker is ready, and later that it drains: from then on, /readyz answers 503."""
    await channels.publish("workers", {"worker": os.getpid(), "state": "ready"})
    await app.shutdown.wait()
    state = f"drains, because of {app.shutdown.reason}"
    await channels.publish("workers", {"worker": os.getpid(), "state": state})


@asynccontextmanager
async def lifespan(app: Spica) -> AsyncIterator[None]:
    """Watch the state of this worker, as long as it runs."""
    async with anyio.create_task_group() as group:
        group.start_soon(publish_state, app)
        yield
        group.cancel_scope.cancel()


async def watch(request: Request) -> Response:
    """Stream the states of all workers."""
    return EventSourceResponse(channels.events("workers"))


page = Demo(
    SERVICE,
    __name__,
    "Operations",
    "Request ids, an access log that knows how requests ended, metrics for Prometheus, health checks.",
    ("LastLines", "log", "metrics", "publish_state", "lifespan"),
    "observability",
)

routes = [
    Route("/operations", page.show, name="operations"),
    Route("/operations/log", log, name="log"),
    Route("/operations/workers", watch, name="workers"),
    Route("/metrics", metrics, name="metrics"),
    *health_routes({"store": store.ping}),
]
