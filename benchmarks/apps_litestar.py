"""Litestar's apps (JSON by msgspec), for the cases that it has a plain way for."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from litestar import Litestar, MediaType, Request, Response, WebSocket, get, post, websocket
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import HTTPException
from litestar.response import Stream

from benchmarks.cases import (
    MIXED_ROWS,
    ROUTES,
    ROWS,
    SMALL,
    SMALL_WITH_NULL,
    STREAM_CHUNK,
    STREAM_CHUNKS,
    Apps,
    Material,
)


@get("/", media_type=MediaType.TEXT)
async def plain() -> str:
    return "Hello, world!"


@get("/")
async def small_json() -> dict[str, Any]:
    return SMALL


@get("/")
async def json_rows() -> list[dict[str, Any]]:
    return ROWS


@get("/")
async def json_null() -> dict[str, Any]:
    return SMALL_WITH_NULL


@get("/")
async def json_mixed_rows() -> list[dict[str, Any]]:
    return MIXED_ROWS


@get("/users/{user_id:int}/posts/{slug:str}", media_type=MediaType.TEXT)
async def params(user_id: int, slug: str) -> str:
    return f"{user_id} {slug}"


@get("/")
async def refuse() -> None:
    raise HTTPException("No entry", status_code=403)


async def nothing() -> None:
    pass


@get("/")
async def background() -> Response[str]:
    return Response("Hello, world!", media_type="text/plain", background=BackgroundTask(nothing))


@post("/", status_code=200)
async def json_echo(request: Request[Any, Any, Any]) -> Any:
    return await request.json()


@post("/", status_code=200, media_type=MediaType.TEXT)
async def json_body(request: Request[Any, Any, Any]) -> str:
    return str(len(await request.json()))


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(STREAM_CHUNKS):
        yield STREAM_CHUNK


@get("/")
async def stream() -> Stream:
    return Stream(chunks(), media_type="application/octet-stream")


@get("/", media_type=MediaType.TEXT, sync_to_thread=True)
def thread() -> str:
    return "Hello, world!"


@websocket("/ws")
async def echo(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    for _ in range(10):
        await socket.send_text(await socket.receive_text())
    await socket.close()


class Pass:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class AddHeader:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_more(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-passed", b"1")]
            await send(message)

        await self.app(scope, receive, send_more)


def fixed_route(path: str) -> Any:
    @get(path, media_type=MediaType.TEXT)
    async def items() -> str:
        return "Hello, world!"

    return items


def item_route(path: str) -> Any:
    @get(path, media_type=MediaType.TEXT)
    async def item(id: str) -> str:
        return id

    return item


def application(*handlers: Any, middleware: Sequence[Any] = ()) -> Litestar:
    return Litestar([*handlers], openapi_config=None, middleware=middleware)


def apps(material: Material) -> Apps:
    groups = range(ROUTES // 2)
    table = application(
        *(fixed_route(f"/group{n}/items") for n in groups),
        *(item_route(f"/group{n}/items/{{id:str}}") for n in groups),
    )
    return {
        "plain": application(plain),
        "json": application(small_json),
        "json-rows": application(json_rows),
        "json-null": application(json_null),
        "json-mixed-rows": application(json_mixed_rows),
        "params": application(params),
        "last-route": table,
        "not-found": table,
        "not-allowed": table,
        "exception": application(refuse),
        "background": application(background),
        "json-echo": application(json_echo),
        "json-body": application(json_body),
        "json-mixed-body": application(json_body),
        "stream": application(stream),
        "middleware-1": application(plain, middleware=[Pass]),
        "middleware-5": application(plain, middleware=[Pass] * 5),
        "middleware-headers": application(plain, middleware=[AddHeader] * 5),
        "websocket": application(echo),
        "thread": application(thread),
        "thread-30": application(thread),
    }
