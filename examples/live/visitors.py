"""Visitors: other clients of this server, for demos that need more of them than one browser has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from live.state import store
from spica.middleware import Middleware
from spica.middleware.ratelimit import Limit, Rate, RateLimitMiddleware
from spica.requests import Request

# One press of a button becomes many requests, so only a few presses are allowed.
few = Middleware(RateLimitMiddleware, Limit(Rate(10, seconds=60), name="visitors"), store=store)


def own_url(request: Request) -> str:
    """Return the address that this server listens on.

    It comes from the socket. The field Host comes from the client, which could name any machine.
    """
    host, port = request.scope["server"]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@asynccontextmanager
async def open_visitors(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Open a client that sends as many requests at once as the caller starts."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx2.AsyncClient(
        base_url=url, limits=limits, timeout=30, trust_env=False
    ) as client:
        yield client
