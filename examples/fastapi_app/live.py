"""A live auction: a FastAPI application that uses the production kit of spica.

Start it on spica from this folder's parent, with as many workers as you like:

    AUCTION_SECRET=... python -m spica.compat uvicorn fastapi_app.live:app --workers 4

All workers share one SQLite file. ``AUCTION_STORE=redis://localhost:6379/0`` moves the state to Redis.
"""

import asyncio
import os
import secrets
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.middleware import Middleware
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from spica.channels import Channels, Runs
from spica.middleware.admission import AdmissionMiddleware
from spica.middleware.compression import CompressionMiddleware
from spica.middleware.crossorigin import CrossOriginMiddleware
from spica.middleware.proxyheaders import ProxyHeadersMiddleware
from spica.middleware.ratelimit import Limit, Limiter, Rate, RateLimitMiddleware, by_session
from spica.middleware.securityheaders import SecurityHeadersMiddleware
from spica.middleware.sessions import SessionMiddleware, Sessions
from spica.middleware.timeout import TimeoutMiddleware
from spica.responses import EventSourceResponse, last_event_id
from spica.stores import open_store

STORE = os.environ.get("AUCTION_STORE", "sqlite:///auction.db")
SECRET = os.environ.get("AUCTION_SECRET") or secrets.token_hex(32)
"""Set it for several workers, or they do not accept each other's cookies."""

store = open_store(STORE)
sessions = Sessions(store)
channels = Channels(STORE)
runs = Runs(channels, store)
limiter = Limiter(store)
bids_of_a_session = Limit(Rate(30, 60, burst=5), name="bids", key=by_session)


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.tasks.every(5, announce, store=store)
    async with channels.lifespan(app), runs.lifespan(app), store.lifespan(app):
        yield


app = FastAPI(
    title="Auction",
    lifespan=lifespan,
    middleware=[  # the first one is the outermost
        Middleware(ProxyHeadersMiddleware),
        Middleware(SecurityHeadersMiddleware),
        Middleware(CrossOriginMiddleware),
        Middleware(AdmissionMiddleware, max_active=2000, max_waiting=100),
        Middleware(RateLimitMiddleware, Limit(Rate(600, 60)), store=store),
        Middleware(CompressionMiddleware),
        Middleware(TimeoutMiddleware, seconds=10),
        Middleware(SessionMiddleware, secret_key=SECRET, store=store),
    ],
)


async def announce() -> None:
    """Tell the time to everybody, from one worker of all."""
    await channels.publish("clock", "The auction is open.")


def get_user(request: Request) -> str:
    user = request.session.get("user")
    if user is None:
        raise HTTPException(status_code=401, detail="log in first")
    return user


User = Annotated[str, Depends(get_user)]


class Login(BaseModel):
    name: str = Field(min_length=1, max_length=40)


class Bid(BaseModel):
    amount: int = Field(gt=0, le=1_000_000)


@app.get("/", response_class=HTMLResponse)
def index(request: Request) -> str:
    return f"""<!doctype html><title>Auction</title><ul></ul>
    <script nonce="{request.csp_nonce}">
      new EventSource("/events").onmessage = (event) =>
        document.querySelector("ul").append(event.data, document.createElement("br"))
    </script>"""


@app.post("/login")
async def login(login: Login, request: Request):
    request.session.bind(login.name)
    request.session["user"] = login.name
    return {"user": login.name}


@app.get("/devices")
async def list_devices(user: User):
    return [info.id_hash for info in await sessions.of(user)]


@app.post("/logout-everywhere")
async def log_out_everywhere(user: User):
    return {"ended": await sessions.revoke_all(user)}


@app.post("/bids", status_code=201)
async def bid(bid: Bid, user: User, request: Request):
    await limiter.take(request, bids_of_a_session)
    request.session["last"] = bid.amount
    id = await channels.publish("bids", {"user": user, "amount": bid.amount})
    request.app.tasks.start(write_receipt, user, bid.amount, name="receipt")
    return {"id": id, "seconds_left": request.deadline.remaining_seconds}


async def write_receipt(user: str, amount: int) -> None:
    """Continue after the response."""
    await channels.publish("receipts", f"{user}: {amount}")


@app.get("/events")
async def stream_bids(request: Request):
    return EventSourceResponse(
        channels.events("bids", "receipts", "clock", after=last_event_id(request))
    )


@app.get("/history")
async def show_history():
    """Return the last bids, which is long enough to be compressed."""
    return [message.data for message in await channels.history("bids", max_events=100)]


@app.websocket("/live")
async def forward_bids(websocket: WebSocket, after: str | None = None):
    await websocket.accept()
    await channels.forward(websocket, "bids", after=after)


async def describe(lot: int):
    """Write a description word by word, as an AI agent does."""
    for word in f"Lot {lot} is a lamp from 1920.".split():
        yield word
        await asyncio.sleep(0.01)


@app.post("/lots/{lot}/description")
async def start_description(lot: int, user: User):
    return {"run": (await runs.start(describe(lot), key=f"lot:{lot}")).id}


@app.get("/runs/{id}")
async def read_description(id: str, request: Request):
    return EventSourceResponse(runs.events(id, after=last_event_id(request)))
