"""Put the showcase together: demos, shared state, middleware."""

from live import chat, dashboard, devices, layers, limits, showcase, workers, writer
from live.state import HERE, channels, config, runs, store
from spica.applications import Spica
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses import JSONResponse, Response
from spica.routing import Mount, Route
from spica.staticfiles import StaticFiles

DEBUG = config("LIVE_DEBUG", cast=bool, default=False)


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


app = Spica(
    debug=DEBUG,
    lifespan=[channels.lifespan, runs.lifespan],
    drain_seconds=3,
    max_body_size=64 * 1024,
    routes=[
        Route("/", showcase.index, name="index"),
        *chat.routes,
        *dashboard.routes,
        *writer.routes,
        *devices.routes,
        *limits.routes,
        *layers.routes,
        *workers.routes,
        Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
    ],
    middleware=layers.make_layers(),
    exception_handlers={HTTPException: http_error},
)

app.tasks.every(1, dashboard.measure, store=store)
