"""BlackSheep's apps (compiled with Cython), for the cases that it has a plain way for."""

from collections.abc import AsyncIterator
from typing import Any

from blacksheep import (
    Application,
    Request,
    Response,
    Router,
    StreamedContent,
    WebSocket,
)
from blacksheep.exceptions import Forbidden
from blacksheep.server.responses import json, text

from benchmarks.cases import (
    MIXED_ROWS,
    ROUTES,
    ROWS,
    SMALL,
    SMALL_WITH_NULL,
    STREAM_CHUNK,
    STREAM_CHUNKS,
    WORDS,
    Apps,
    Material,
)


async def plain() -> Response:
    return text("Hello, world!")


async def small_json() -> Response:
    return json(SMALL)


async def json_rows() -> Response:
    return json(ROWS)


async def json_null() -> Response:
    return json(SMALL_WITH_NULL)


async def json_mixed_rows() -> Response:
    return json(MIXED_ROWS)


async def params(user_id: int, slug: str) -> Response:
    return text(f"{user_id} {slug}")


async def item(id: str) -> Response:
    return text(id)


async def refuse() -> Response:
    raise Forbidden()


async def json_echo(request: Request) -> Response:
    return json(await request.json())


async def json_body(request: Request) -> Response:
    return text(str(len(await request.json())))


async def upload(request: Request) -> Response:
    files = await request.files()
    return text(str(len(files[0].data)))


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(STREAM_CHUNKS):
        yield STREAM_CHUNK


async def stream() -> Response:
    return Response(200, content=StreamedContent(b"application/octet-stream", chunks))


async def words() -> AsyncIterator[bytes]:
    for word in WORDS:
        yield word.encode()


async def stream_words() -> Response:
    return Response(200, content=StreamedContent(b"text/plain", words))


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    for _ in range(10):
        await websocket.send_text(await websocket.receive_text())
    await websocket.close()


async def let_pass(request: Request, handler: Any) -> Any:
    return await handler(request)


async def add_header(request: Request, handler: Any) -> Response:
    response: Response = await handler(request)
    response.add_header(b"x-passed", b"1")
    return response


def single(method: str, path: str, handler: Any, *middlewares: Any) -> Application:
    app = Application(router=Router())
    app.router.add(method, path, handler)
    app.middlewares.extend(middlewares)
    return app


def apps(material: Material) -> Apps:
    table = Application(router=Router())
    for n in range(ROUTES // 2):
        table.router.add("GET", f"/group{n}/items", plain)
        table.router.add("GET", f"/group{n}/items/{{id}}", item)
    socket = Application(router=Router())
    socket.router.add_ws("/ws", echo)
    static = Application(router=Router())
    static.serve_files(material.directory, root_path="static", extensions={".txt"})
    return {
        "plain": single("GET", "/", plain),
        "json": single("GET", "/", small_json),
        "json-rows": single("GET", "/", json_rows),
        "json-null": single("GET", "/", json_null),
        "json-mixed-rows": single("GET", "/", json_mixed_rows),
        "params": single("GET", "/users/{user_id}/posts/{slug}", params),
        "last-route": table,
        "not-found": table,
        "exception": single("GET", "/", refuse),
        "json-echo": single("POST", "/", json_echo),
        "json-body": single("POST", "/", json_body),
        "json-mixed-body": single("POST", "/", json_body),
        "stream": single("GET", "/", stream),
        "stream-text": single("GET", "/", stream_words),
        "middleware-1": single("GET", "/", plain, let_pass),
        "middleware-5": single("GET", "/", plain, *[let_pass] * 5),
        "middleware-headers": single("GET", "/", plain, *[add_header] * 5),
        "websocket": socket,
        "static": static,
        "upload": single("POST", "/", upload),
    }
