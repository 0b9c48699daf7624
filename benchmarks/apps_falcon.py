"""Falcon's apps (compiled with Cython), for the cases that it has a plain way for."""

from collections.abc import AsyncIterator
from typing import Any

import falcon
import falcon.asgi

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


class Plain:
    async def on_get(self, req: Any, resp: Any) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "Hello, world!"


class Json:
    def __init__(self, value: Any) -> None:
        self.value = value

    async def on_get(self, req: Any, resp: Any) -> None:
        resp.media = self.value


class Params:
    async def on_get(self, req: Any, resp: Any, user_id: int, slug: str) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = f"{user_id} {slug}"


class Item:
    async def on_get(self, req: Any, resp: Any, id: str) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = id


class Refuse:
    async def on_get(self, req: Any, resp: Any) -> None:
        raise falcon.HTTPForbidden(title="No entry")


class JsonEcho:
    async def on_post(self, req: Any, resp: Any) -> None:
        resp.media = await req.get_media()


class JsonBody:
    async def on_post(self, req: Any, resp: Any) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = str(len(await req.get_media()))


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(STREAM_CHUNKS):
        yield STREAM_CHUNK


class Stream:
    async def on_get(self, req: Any, resp: Any) -> None:
        resp.content_type = "application/octet-stream"
        resp.stream = chunks()


async def words() -> AsyncIterator[bytes]:
    for word in WORDS:
        yield word.encode()


class Words:
    async def on_get(self, req: Any, resp: Any) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = words()


class Echo:
    async def on_websocket(self, req: Any, ws: Any) -> None:
        await ws.accept()
        for _ in range(10):
            await ws.send_text(await ws.receive_text())
        await ws.close()


class Pass:
    async def process_response(self, req: Any, resp: Any, resource: Any, succeeded: bool) -> None:
        pass


class AddHeader:
    async def process_response(self, req: Any, resp: Any, resource: Any, succeeded: bool) -> None:
        resp.set_header("x-passed", "1")


def single(path: str, resource: Any, *middlewares: Any) -> Any:
    app = falcon.asgi.App(middleware=list(middlewares))
    app.add_route(path, resource)
    return app


def apps(material: Material) -> Apps:
    table = falcon.asgi.App()
    for n in range(ROUTES // 2):
        table.add_route(f"/group{n}/items", Plain())
        table.add_route(f"/group{n}/items/{{id}}", Item())
    return {
        "plain": single("/", Plain()),
        "json": single("/", Json(SMALL)),
        "json-rows": single("/", Json(ROWS)),
        "json-null": single("/", Json(SMALL_WITH_NULL)),
        "json-mixed-rows": single("/", Json(MIXED_ROWS)),
        "params": single("/users/{user_id:int}/posts/{slug}", Params()),
        "last-route": table,
        "not-found": table,
        "not-allowed": table,
        "exception": single("/", Refuse()),
        "json-echo": single("/", JsonEcho()),
        "json-body": single("/", JsonBody()),
        "json-mixed-body": single("/", JsonBody()),
        "stream": single("/", Stream()),
        "stream-text": single("/", Words()),
        "middleware-1": single("/", Plain(), Pass()),
        "middleware-5": single("/", Plain(), *(Pass() for _ in range(5))),
        "middleware-headers": single("/", Plain(), *(AddHeader() for _ in range(5))),
        "websocket": single("/ws", Echo()),
    }
