"""A rate limit that you can see. All workers count together."""

import os

from live.showcase import LIVE, Demo
from live.state import store
from spica.middleware import Middleware
from spica.middleware.ratelimit import Limit, RateLimitMiddleware
from spica.requests import Request
from spica.responses import JSONResponse, Response
from spica.routing import Route
from spica.stores import Rate

limited = Middleware(RateLimitMiddleware, Limit(Rate(5, seconds=10)), store=store)


async def press(request: Request) -> Response:
    """Answer a press of the button. The limit is around the route: 5 in 10 seconds."""
    return JSONResponse({"worker": os.getpid()})


page = Demo(
    LIVE,
    __name__,
    "A rate limit",
    "Five presses in ten seconds, whichever worker counts them.",
    ("limited", "press"),
    "rate-limits",
)

routes = [
    Route("/limits", page.show, name="limits"),
    Route("/limits/press", press, methods=["POST"], name="press", middleware=[limited]),
]
