"""A shop with idempotency keys and stored responses, on the SQLite file that ``SERVICE_FILE`` names."""

import os
from pathlib import Path

import anyio

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.cache import ResponseCacheMiddleware
from spica.middleware.idempotency import IdempotencyMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, Response, StreamingResponse
from spica.routing import Route
from spica.stores import open_store

file = os.environ["SERVICE_FILE"]
store = open_store(f"sqlite:///{file}", timeout_seconds=10)  # on a busy machine too
log = Path(f"{file}.log")


def note(word: str) -> int:
    """Write down a run, and return how many there are."""
    with log.open("a") as stream:
        stream.write(word + "\n")
    return len(log.read_text().split())


async def index(request: Request) -> Response:
    return PlainTextResponse("ready")


async def pay(request: Request) -> Response:
    is_first = note("pay") == 1
    return StreamingResponse(receipt(is_first), 201)


async def receipt(is_endless: bool):
    yield "paid"
    if is_endless:
        await anyio.sleep_forever()


async def report(request: Request) -> Response:
    note("report")
    await anyio.sleep(0.5)
    return PlainTextResponse("report", headers={"cache-control": "public, max-age=60"})


app = Spica(
    routes=[
        Route("/", index),
        Route("/pay", pay, methods=["POST"]),
        Route("/report", report),
    ],
    middleware=[
        Middleware(ResponseCacheMiddleware, store=store),
        Middleware(IdempotencyMiddleware, store=store, lease_seconds=1.5),
    ],
    lifespan=[store.lifespan],
)
