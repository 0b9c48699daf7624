"""Falcon's apps that can be made larger."""

from typing import Any

import falcon.asgi

from benchmarks.apps_falcon import Item, Pass, Plain, single


class Stream:
    async def on_post(self, req: Any, resp: Any) -> None:
        size = 0
        async for chunk in req.stream:
            size += len(chunk)
        resp.text = str(size)


class Form:
    async def on_post(self, req: Any, resp: Any) -> None:
        size = 0
        async for part in await req.get_media():
            async for chunk in part.stream:
                size += len(chunk)
        resp.text = str(size)


class Body:
    async def on_post(self, req: Any, resp: Any) -> None:
        resp.text = str(len(await req.stream.read()))


WAYS = {"stream": Stream, "form": Form, "body": Body}


class Maker:
    """The same apps as ``benchmarks.growth.apps.Maker`` makes."""

    def with_routes(self, number: int) -> Any:
        app = falcon.asgi.App()
        for n in range(number):
            app.add_route(f"/group{n}/items/{{id}}", Item())
        return app

    def with_middlewares(self, number: int) -> Any:
        return single("/", Plain(), *(Pass() for _ in range(number)))

    def with_body(self, way: str) -> Any:
        return single("/", WAYS[way]())
