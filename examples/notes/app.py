"""Put the application together: settings, lifespan, routes, middleware, handlers of exceptions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypedDict

from notes import api, chat, errors, pages
from notes.database import Notebook, NoteNotFound
from notes.middleware import RequestLabel
from spica.applications import Spica
from spica.concurrency import run_in_threadpool
from spica.config import Config
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.compression import CompressionMiddleware
from spica.middleware.crossorigin import CrossOriginMiddleware
from spica.middleware.securityheaders import SecurityHeadersMiddleware
from spica.routing import Mount, Route, WebSocketRoute
from spica.staticfiles import StaticFiles

HERE = Path(__file__).parent
MEGABYTE = 1024 * 1024

config = Config()
DEBUG = config("NOTES_DEBUG", cast=bool, default=False)
DIRECTORY = config("NOTES_DIRECTORY", cast=Path, default=HERE / "data")


class SharedState(TypedDict):
    """What the lifespan hands to every request, as ``request.state``."""

    notebook: Notebook
    chat_room: chat.Room


@asynccontextmanager
async def lifespan(app: Spica) -> AsyncIterator[SharedState]:
    """Open the database before the first request, and close it after the last."""
    notebook = await run_in_threadpool(Notebook, DIRECTORY)
    try:
        yield {"notebook": notebook, "chat_room": chat.Room()}
    finally:
        await run_in_threadpool(notebook.close)


app = Spica(
    debug=DEBUG,
    lifespan=lifespan,
    # A body larger than this is refused with a 413, except where a route says otherwise.
    max_body_size=64 * 1024,
    routes=[
        Route("/", pages.index, name="index"),
        # Only here do files arrive, so only here may a body be large.
        Route("/notes", pages.create, methods=["POST"], name="create", max_body_size=4 * MEGABYTE),
        Route("/notes/{note_id:int}", pages.show, name="note"),
        Route("/notes/{note_id:int}/delete", pages.delete, methods=["POST"], name="delete"),
        Route("/notes/{note_id:int}/attachment", pages.attachment, name="attachment"),
        Route("/notes.csv", pages.export, name="export"),
        Route("/chat", pages.chat, name="chat"),
        WebSocketRoute("/chat/live", chat.live, name="chat_live"),
        Mount("/api", routes=api.routes, name="api"),
        Mount(
            "/static",
            # Browsers ask whether a file has changed, instead of guessing how long to keep it.
            StaticFiles(directory=HERE / "static", cache_control="no-cache"),
            name="static",
        ),
    ],
    middleware=[
        Middleware(RequestLabel),
        Middleware(SecurityHeadersMiddleware),
        # Forms and WebSockets of other sites are refused.
        Middleware(CrossOriginMiddleware),
        Middleware(CompressionMiddleware, minimum_size=1024),
    ],
    exception_handlers={
        HTTPException: errors.http_error,
        NoteNotFound: errors.note_not_found,
        500: errors.server_error,
    },
)
