"""A reply that writes itself. It goes on while nobody watches, and continues after a reload."""

import secrets
from collections.abc import AsyncIterator

import anyio

from live.showcase import LIVE, Demo
from live.state import runs
from spica.requests import Request
from spica.responses import EventSourceResponse, JSONResponse, Response, last_event_id
from spica.routing import Route

STORY = (
    "Vega is the fifth-brightest star in the night sky. It is 25 light-years away, in the constellation "
    "Lyra. About 14,000 years ago it was the northern pole star, and it will be again in another 12,000 "
    "years. Vega was the first star, after the Sun, that somebody photographed, in 1850. You can close this "
    "page now, reload it, or kill the worker that serves it: the text continues at the letter where you "
    "left it, as long as the worker that writes it lives. If that one dies, the page says so."
)


async def write(topic: str) -> AsyncIterator[str]:
    """Yield the words of a reply, as a language model does."""
    yield f"About {topic}: "
    for word in STORY.split(" "):
        await anyio.sleep(0.12)
        yield word + " "


async def start(request: Request) -> Response:
    """Start a run. A second click returns the run that is still going."""
    key = request.session.setdefault("writer", secrets.token_hex(8))
    run = await runs.start(write("Vega"), key=f"writer:{key}", max_seconds=120)
    request.session["run"] = run.id
    return JSONResponse({"run": run.id}, status_code=201)


async def read(request: Request) -> Response:
    """Stream a run from its beginning, or from the last event that the browser has."""
    events = runs.events(request.path_params["run"], after=last_event_id(request))
    return EventSourceResponse(events)


page = Demo(
    LIVE,
    __name__,
    "A text that writes itself",
    "A run that outlives its request: close the page, come back, and read on.",
    ("write", "start", "read"),
    "runs",
)

routes = [
    Route("/writer", page.show, name="writer"),
    Route("/writer/runs", start, methods=["POST"], name="start_run"),
    Route("/writer/runs/{run}", read, name="read_run"),
]
