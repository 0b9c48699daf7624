"""Apps that can be made larger: more routes, more middlewares, larger bodies."""

import importlib
from typing import Any

from benchmarks.apps_toolkit import Toolkit, passing

APPLICATIONS = {"spica": "Spica", "starlette": "Starlette"}
MAX_BODY_SIZE = 2 * 1024**3


class Maker:
    """spica's apps and Starlette's."""

    def __init__(self, package: str, application: str) -> None:
        self.kit = Toolkit(package, application)

    async def plain(self, request: Any) -> Any:
        return self.kit.PlainTextResponse("Hello, world!")

    async def item(self, request: Any) -> Any:
        return self.kit.PlainTextResponse(request.path_params["id"])

    async def stream(self, request: Any) -> Any:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return self.kit.PlainTextResponse(str(size))

    async def form(self, request: Any) -> Any:
        async with request.form() as form:
            return self.kit.PlainTextResponse(str(form["file"].size))

    async def body(self, request: Any) -> Any:
        return self.kit.PlainTextResponse(str(len(await request.body())))

    def with_routes(self, number: int) -> Any:
        """Return an app with so many routes, each with a parameter."""
        routes = [self.kit.Route(f"/group{n}/items/{{id}}", self.item) for n in range(number)]
        return self.kit.Application(routes=routes)

    def with_middlewares(self, number: int) -> Any:
        """Return an app behind so many ``dispatch`` middlewares."""
        route = self.kit.Route("/", self.plain)
        return self.kit.Application(routes=[route], middleware=passing(self.kit, number))

    def with_body(self, way: str) -> Any:
        """Return an app that reads the body as a stream, as a form with a file, or as a whole."""
        route = self.kit.Route("/", getattr(self, way), methods=["POST"])
        return self.kit.Application(routes=[route], max_body_size=MAX_BODY_SIZE)


def maker(framework: str) -> Any:
    """Return what makes the apps of one framework.

    Raises:
        ImportError: it is not installed.
    """
    if framework in APPLICATIONS:
        return Maker(framework, APPLICATIONS[framework])
    return importlib.import_module(f"benchmarks.growth.apps_{framework}").Maker()
