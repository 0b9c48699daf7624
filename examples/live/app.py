"""Put the showcase together: demos, shared state, middleware."""

from live import (
    api,
    attack,
    chat,
    dashboard,
    devices,
    editing,
    files,
    layers,
    limits,
    load,
    operations,
    payments,
    report,
    showcase,
    tasks,
    whoami,
    workers,
    writer,
)
from live.state import DEBUG, channels, runs, store
from spica.applications import Spica
from spica.exceptions import HTTPException
from spica.reading import InvalidInput
from spica.requests import Request
from spica.responses import JSONResponse, Response
from spica.routing import Mount, Route

PAGES = (
    *(chat, dashboard, writer, devices, limits),
    *(layers, attack, load, whoami, files),
    *(report, payments, editing, tasks, api, operations),
)
"""The modules of the pages, in the order of the menu."""

showcase.DEMOS.extend(module.page for module in PAGES)


async def http_error(request: Request, exc: Exception) -> Response:
    """Answer scripts with JSON and people with a page."""
    assert isinstance(exc, HTTPException)
    if "text/html" not in request.headers.get("accept", ""):
        content = {"error": exc.detail}
        return JSONResponse(content, status_code=exc.status_code, headers=exc.headers)
    context = {"status": exc.status_code, "detail": exc.detail}
    return showcase.templates.TemplateResponse(
        request, "error.html", context, status_code=exc.status_code, headers=exc.headers
    )


async def invalid_input(request: Request, exc: Exception) -> Response:
    """Answer with the mistakes, each with a pointer to its place."""
    assert isinstance(exc, InvalidInput)
    return exc.to_response()


app = Spica(
    debug=DEBUG,
    lifespan=[channels.lifespan, runs.lifespan, operations.lifespan],
    drain_seconds=3,
    max_body_size=64 * 1024,
    routes=[
        Route("/", showcase.index, name="index"),
        *(route for module in PAGES for route in module.routes),
        *workers.routes,
        Mount("/static", files.make_static(), name="static"),
    ],
    middleware=layers.make_layers(),
    exception_handlers={HTTPException: http_error, InvalidInput: invalid_input},
)

# With the shared store, one worker of all makes these calls. Without it, each worker does.
app.tasks.every(1, dashboard.measure, store=store)
app.tasks.every(2, tasks.tick, store=store)
app.tasks.every(0.2, load.sample)
