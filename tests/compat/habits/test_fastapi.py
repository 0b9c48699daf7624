"""What tracing agents and FastAPI itself do to a FastAPI application, each in a Python of its own."""

import pytest

BEGIN = """
import spica.compat
spica.compat.install()
import fastapi
from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
import starlette.middleware.errors

class Tracer:
    def __init__(self, app):
        self.app = app
    async def __call__(self, scope, receive, send):
        seen.append(scope["type"])
        await self.app(scope, receive, send)

seen = []
app = FastAPI()

@app.get("/")
async def index(request: Request):
    return {"route": request.scope["route"].path}
"""

PROGRAMS = {
    "ddtrace wraps build_middleware_stack of the class": """
old = FastAPI.build_middleware_stack
FastAPI.build_middleware_stack = lambda self: Tracer(old(self))
assert TestClient(app).get("/").json() == {"route": "/"}
assert seen == ["http"]
""",
    "opentelemetry replaces build_middleware_stack of the instance": """
old = app.build_middleware_stack
def build():
    stack = old()
    assert isinstance(stack, starlette.middleware.errors.ServerErrorMiddleware)
    stack.app = Tracer(stack.app)
    return stack
app.build_middleware_stack = build
assert TestClient(app).get("/").json() == {"route": "/"}
app.middleware_stack = None
assert TestClient(app).get("/").json() == {"route": "/"}
assert seen == ["http", "http"]
""",
    "routers are included while serving": """
client = TestClient(app)
assert client.get("/late/x").status_code == 404
router = APIRouter(prefix="/late")
@router.get("/x")
def late():
    return 1
app.include_router(router)
assert client.get("/late/x").json() == 1
@router.get("/y")
def later():
    return 2
assert client.get("/late/y").status_code in (200, 404)  # as the release of FastAPI has it
assert client.put("/late/x").status_code == 405
assert client.put("/late/x").headers["allow"] == "GET"
""",
    "applications are mounted below routers": """
child = FastAPI()
@child.get("/u/{number}")
def user(number: int, request: Request):
    return {"number": number, "url": str(request.url), "root": request.scope["root_path"]}
router = APIRouter()
router.mount("/c", child, name="c")
app.include_router(router, prefix="/api")
app.mount("/d", child)
client = TestClient(app)
assert client.get("/api/c/u/1").json()["root"] == "/api/c"
assert client.get("/d/u/1").json()["number"] == 1
assert client.get("/d/u/x").status_code == 422
""",
    "five middlewares stand around a body that each reads": """
for number in range(5):
    @app.middleware("http")
    async def middleware(request, call_next):
        seen.append(await request.body())
        response = await call_next(request)
        response.headers.append("x-seen", "1")
        return response
@app.post("/echo")
async def echo(request: Request):
    return (await request.body()).decode()
answer = TestClient(app).post("/echo", content=b"abc")
assert answer.json() == "abc"
assert seen == [b"abc"] * 5
assert answer.headers.get_list("x-seen") == ["1"] * 5
""",
    "websockets and their errors": """
from starlette.exceptions import WebSocketException
from starlette.websockets import WebSocketDisconnect
@app.websocket("/ws/{number}")
async def socket(websocket: WebSocket, number: int):
    await websocket.accept()
    if number == 7:
        raise WebSocketException(4007, "seven")
    await websocket.send_json({"number": number})
client = TestClient(app)
with client.websocket_connect("/ws/1") as websocket:
    assert websocket.receive_json() == {"number": 1}
try:
    with client.websocket_connect("/ws/7") as websocket:
        websocket.receive_text()
    raise SystemExit("not closed")
except WebSocketDisconnect as exc:
    assert (exc.code, exc.reason) == (4007, "seven")
try:
    with client.websocket_connect("/ws/x"):
        raise SystemExit("not refused")
except WebSocketDisconnect as exc:
    assert exc.code == 1008
""",
    "server-sent events are a response class, and a dependency reads the position": """
from fastapi import Depends
from spica.responses import EventSourceResponse, ServerSentEvent, last_event_id
def position(request: Request) -> str | None:
    return last_event_id(request)
@app.get("/events", response_class=EventSourceResponse)
async def events(after: str | None = Depends(position)):
    async def numbers():
        for number in range(int(after or 0) + 1, 4):
            yield ServerSentEvent({"number": number}, id=number)
    return EventSourceResponse(numbers())
client = TestClient(app)
read = [event.json() for event in client.get("/events", headers={"Last-Event-ID": "1"}).events()]
assert read == [{"number": 2}, {"number": 3}], read
assert client.get("/openapi.json").status_code == 200
""",
    "the shutdown is that of the application, also for an included router and a mount": """
import asyncio
from fastapi.responses import StreamingResponse
from spica.testclient import AsyncTestClient
router = APIRouter()
inner = FastAPI()
@router.get("/stream")
async def stream(request: Request):
    async def ticks():
        async with request.app.shutdown.cancel_soon(seconds=0):
            while True:
                yield b"tick"
                await asyncio.sleep(0.01)
        yield b"last"
    return StreamingResponse(ticks())
inner.include_router(router)
app.include_router(router)
app.mount("/inner", inner)
app.drain_seconds = 5
async def main():
    async with AsyncTestClient(app) as client:
        for path in ("/stream", "/inner/stream"):
            async with client.stream("GET", path) as response:
                chunks = response.aiter_raw()
                await anext(chunks)
                client.shutdown()
                assert [chunk async for chunk in chunks][-1] == b"last"
        assert 4 < app.shutdown.deadline() <= 5
asyncio.run(main())
""",
    "a body over its limit is a 413, not a validation error": """
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
app.add_middleware(RequestBodyLimitMiddleware, max_body_size=3)
@app.post("/echo")
async def echo(words: list[int]):
    return words
client = TestClient(app, headers={"content-type": "application/json"})
assert client.post("/echo", content=b"[1]").json() == [1]
assert client.post("/echo", content=b"[1,2]").status_code == 413
def parts():
    yield b"[1,"
    yield b"2]"
assert client.post("/echo", content=parts()).status_code == 413
""",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_fastapi(program, run_python):
    run_python(BEGIN + program)
