"""Forms, files, sessions, templates, streams, WebSockets and settings, as applications write them."""

from collections.abc import AsyncGenerator
from typing import Any, assert_type

from spica.applications import Spica
from spica.background import BackgroundTask, BackgroundTasks
from spica.config import Config
from spica.datastructures import URL, FormData, Secret, UploadFile
from spica.endpoints import HTTPEndpoint, WebSocketEndpoint
from spica.requests import Request
from spica.responses import (
    FileResponse,
    HTMLResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from spica.routing import Host, Mount, Route, WebSocketRoute
from spica.staticfiles import StaticFiles
from spica.templating import Jinja2Templates
from spica.testclient import TestClient
from spica.websockets import WebSocket, WebSocketDisconnect

config = Config()
DEBUG = config("DEBUG", cast=bool, default=False)
KEY = config("KEY", cast=Secret, default=Secret("x"))
NAME = config("NAME", default="spica")
templates = Jinja2Templates(directory="templates")


async def login(request: Request) -> Response:
    form = await request.form()
    assert_type(form, FormData)
    assert_type(form.get("name"), UploadFile | str | None)
    name = form["name"]
    if not isinstance(name, str):
        return templates.TemplateResponse(request, "login.html", {"error": "A name, please"})
    request.session["user"] = name
    response = RedirectResponse(request.url_for("home"), status_code=303)
    response.set_cookie("theme", "dark", httponly=True, samesite="lax")
    assert_type(request.url, URL)
    return response


async def upload(request: Request) -> Response:
    async with request.form(max_files=3) as form:
        for name, value in form.multi_items():
            assert_type(name, str)
            if isinstance(value, UploadFile):
                assert_type(await value.read(), bytes)
                assert_type(value.filename, str | None)
    tasks = BackgroundTasks()
    tasks.add_task(print, "stored")
    return HTMLResponse("<p>stored", background=tasks)


async def chunks() -> AsyncGenerator[bytes]:
    yield b"a"


async def stream(request: Request) -> StreamingResponse:
    async for chunk in request.stream():
        assert_type(chunk, bytes)
    return StreamingResponse(chunks(), media_type="text/plain", background=BackgroundTask(print))


async def download(request: Request) -> FileResponse:
    return FileResponse("report.pdf", filename="report.pdf")


class Item(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return Response()

    def post(self, request: Request) -> Response:
        return Response()


class Echo(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_text(data)


async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            assert_type(await websocket.receive_text(), str)
            assert_type(websocket.query_params.get("room"), str | None)
    except WebSocketDisconnect:
        pass


app = Spica(
    debug=DEBUG,
    routes=[
        Route("/", login, name="home", methods=["GET", "POST"]),
        Route("/upload", upload, methods=["POST"], max_body_size=1024),
        Route("/stream", stream, methods=["POST"]),
        Route("/download", download),
        Route("/item", Item),
        WebSocketRoute("/echo", Echo),
        WebSocketRoute("/chat", chat),
        Mount("/static", StaticFiles(directory="static"), name="static"),
        Host("api.example.org", Spica()),
    ],
)


@app.websocket_route("/more")
async def more(websocket: WebSocket) -> None:
    await websocket.accept()


def test() -> None:
    assert_type(DEBUG, bool)
    assert_type(KEY, Secret)
    assert_type(NAME, str)
    with TestClient(app) as client:
        assert client.get("/").status_code == 200
        with client.websocket_connect("/chat") as websocket:
            websocket.send_text("hello")
