"""The application of the endurance test. All its state is in the store that ``LIVE_STORE`` names."""

import os

import anyio

from spica import JSONResponse, Middleware, Spica
from spica.channels import Channels, History
from spica.middleware.ratelimit import Limit, Limiter, Rate, by_header
from spica.middleware.sessions import SessionMiddleware
from spica.requests import Request
from spica.responses import EventSourceResponse, last_event_id
from spica.routing import Mount, Route, WebSocketRoute
from spica.stores import open_store
from spica.websockets import WebSocket

BURST = 10
url = os.environ["LIVE_STORE"]
store = open_store(url)
channels = Channels(url, history=History(max_events=100_000))
# So few requests a day that a key gets no second burst during the test.
limit = Limit(Rate(BURST, 86400, burst=BURST), key=by_header("x-key"))
limiter = Limiter(store, on_unavailable="deny")


async def show_pid(request: Request) -> JSONResponse:
    return JSONResponse(os.getpid())


async def stream(request: Request) -> EventSourceResponse:
    return EventSourceResponse(
        channels.events(request.path_params["channel"], after=last_event_id(request))
    )


async def forward(websocket: WebSocket) -> None:
    await websocket.accept()
    channel, after = websocket.path_params["channel"], websocket.query_params["after"]
    await channels.forward(websocket, channel, after=after)


async def publish(request: Request) -> JSONResponse:
    channel = request.path_params["channel"]
    return JSONResponse(await channels.publish(channel, await request.json()))


async def position(request: Request) -> JSONResponse:
    return JSONResponse(await channels.position(request.path_params["channel"]))


async def take(request: Request) -> JSONResponse:
    await limiter.take(request, limit)
    return JSONResponse("admitted")


async def login(request: Request) -> JSONResponse:
    request.session.bind(request.query_params["user"])
    return JSONResponse(dict(request.session))


async def write(request: Request) -> JSONResponse:
    """Change a key of a session that exists, and stay a while if the client asks for it."""
    if not request.session.created_at:
        return JSONResponse({}, 401)
    query = request.query_params
    request.session[query["key"]] = query["value"]
    await anyio.sleep(float(query.get("sleep", "0")))
    return JSONResponse(dict(request.session))


async def show(request: Request) -> JSONResponse:
    return JSONResponse(dict(request.session), 200 if request.session.created_at else 401)


async def logout(request: Request) -> JSONResponse:
    request.session.clear()
    return JSONResponse({})


app = Spica(
    routes=[
        Route("/pid", show_pid),
        Route("/events/{channel}", stream),
        WebSocketRoute("/socket/{channel}", forward),
        Route("/publish/{channel}", publish, methods=["POST"]),
        Route("/position/{channel}", position),
        Route("/take", take),
        Mount(
            "/session",
            routes=[
                Route("/login", login),
                Route("/write", write),
                Route("/show", show),
                Route("/logout", logout),
            ],
            middleware=[Middleware(SessionMiddleware, secret_key="k" * 32, store=store)],
        ),
    ],
    lifespan=[channels.lifespan, store.lifespan],
)
