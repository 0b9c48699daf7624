"""Runs that count, on the SQLite file that ``RUNS_FILE`` names, and a WebSocket that polls."""

import os

import anyio

from spica.applications import Spica
from spica.channels import Channels, Runs
from spica.requests import Request
from spica.responses import EventSourceResponse, JSONResponse, last_event_id
from spica.routing import Route, WebSocketRoute
from spica.stores import open_store
from spica.websockets import ReceiveTimeout, WebSocket

url = os.environ.get("RUNS_FILE", "memory://")
channels = Channels(url)
runs = Runs(channels, open_store(url, timeout_seconds=10))
runs.lease_seconds, runs.renew_seconds = 3.0, 0.5  # the tests do not wait for half a minute


async def count():
    for number in range(1, 10_000):
        yield number
        await anyio.sleep(0.01)


async def start(request: Request) -> JSONResponse:
    return JSONResponse((await runs.start(count(), key="k")).id)


async def read(request: Request) -> EventSourceResponse:
    id = request.path_params["id"]
    return EventSourceResponse(runs.events(id, after=last_event_id(request)))


async def cancel(request: Request) -> JSONResponse:
    return JSONResponse(await runs.cancel(request.path_params["id"]))


async def poll(websocket: WebSocket) -> None:
    await websocket.accept()
    received, timeouts = [], 0
    while "end" not in received:
        try:
            received.append(await websocket.receive_text(timeout_seconds=0.0005))
        except ReceiveTimeout:
            timeouts += 1
            if timeouts >= 10:
                timeouts = 0
                await websocket.send_text("waited often")
    await websocket.send_json(received)


app = Spica(
    routes=[
        Route("/start", start, methods=["POST"]),
        Route("/runs/{id}", read),
        Route("/runs/{id}", cancel, methods=["DELETE"]),
        WebSocketRoute("/poll", poll),
    ],
    lifespan=[channels.lifespan, runs.lifespan],
    drain_seconds=0.3,
)
