"""The same notes as JSON, for programs."""

from typing import Any

from notes.database import Notebook
from notes.pages import what_is_wrong
from spica.concurrency import run_in_threadpool
from spica.endpoints import HTTPEndpoint
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses import JSONResponse, Response
from spica.routing import Route

MAX_LIMIT = 100


class Notes(HTTPEndpoint):
    """All notes."""

    async def get(self, request: Request) -> Response:
        """Return the notes that contain ``?q=``, at most ``?limit=``."""
        notebook: Notebook = request.state.notebook
        words = request.query_params.get("q", "")
        limit = parse_limit(request.query_params.get("limit", "20"))
        notes = await run_in_threadpool(notebook.find, words, limit)
        return JSONResponse({"notes": [note.as_dict() for note in notes]})

    async def post(self, request: Request) -> Response:
        """Keep a note: ``{"title": ..., "text": ...}``."""
        notebook: Notebook = request.state.notebook
        title, text = parse_note(await request.json())
        note = await run_in_threadpool(notebook.add, title, text)
        url = request.url_for("api:note", note_id=note.id)
        return JSONResponse(note.as_dict(), status_code=201, headers={"location": str(url)})


class OneNote(HTTPEndpoint):
    """One note."""

    async def get(self, request: Request) -> Response:
        notebook: Notebook = request.state.notebook
        note = await run_in_threadpool(notebook.get, request.path_params["note_id"])
        return JSONResponse(note.as_dict())

    async def delete(self, request: Request) -> Response:
        notebook: Notebook = request.state.notebook
        await run_in_threadpool(notebook.delete, request.path_params["note_id"])
        return Response(status_code=204)


def parse_limit(text: str) -> int:
    """Return a number from 1 to 100. Raises: HTTPException (422) for anything else."""
    if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_LIMIT:
        return int(text)
    raise HTTPException(422, f"limit is a number from 1 to {MAX_LIMIT}, not {text[:20]!r}.")


def parse_note(value: Any) -> tuple[str, str]:
    """Return title and text. Raises: HTTPException (422) when they are not there."""
    if not isinstance(value, dict):
        raise HTTPException(422, "A note is an object with a title and a text.")
    title, text = value.get("title"), value.get("text")
    if not isinstance(title, str) or not isinstance(text, str):
        raise HTTPException(422, "title and text are strings.")
    title, text = title.strip(), text.strip()
    problem = what_is_wrong(title, text)
    if problem:
        raise HTTPException(422, problem)
    return title, text


routes = [
    Route("/notes", Notes, name="notes"),
    Route("/notes/{note_id:int}", OneNote, name="note"),
]
