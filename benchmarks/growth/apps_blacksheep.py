"""BlackSheep's apps that can be made larger."""

from typing import Any

from blacksheep import Application, Request, Response, Router
from blacksheep.server.responses import text

from benchmarks.apps_blacksheep import item, let_pass, plain, single


async def stream(request: Request) -> Response:
    size = 0
    chunks: Any = request.stream()
    async for chunk in chunks:
        size += len(chunk)
    return text(str(size))


async def form(request: Request) -> Response:
    files = await request.files()
    return text(str(len(files[0].data)))


async def body(request: Request) -> Response:
    return text(str(len(await request.read() or b"")))


WAYS = {"stream": stream, "form": form, "body": body}


class Maker:
    """The same apps as ``benchmarks.growth.apps.Maker`` makes."""

    def with_routes(self, number: int) -> Any:
        app = Application(router=Router())
        for n in range(number):
            app.router.add("GET", f"/group{n}/items/{{id}}", item)
        return app

    def with_middlewares(self, number: int) -> Any:
        return single("GET", "/", plain, *[let_pass] * number)

    def with_body(self, way: str) -> Any:
        return single("POST", "/", WAYS[way])
