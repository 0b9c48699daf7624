"""The pages that people see."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from notes.database import Note, Notebook
from spica.background import BackgroundTask
from spica.concurrency import run_in_threadpool
from spica.datastructures import FormData, UploadFile
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from spica.templating import Jinja2Templates

PAGE_SIZE = 10
MAX_TITLE_LENGTH = 100


def label(request: Request) -> dict[str, Any]:
    """Give every template the label that the middleware has put on the request."""
    return {"request_label": getattr(request.state, "label", "")}


templates = Jinja2Templates(
    directory=Path(__file__).parent / "templates", context_processors=[label]
)


async def index(request: Request) -> Response:
    """List the notes, ``?q=`` only those with some words, ``?page=`` by the page."""
    return await list_notes(request, {}, None)


async def list_notes(
    request: Request, fields: dict[str, str], problem: str | None, status_code: int = 200
) -> Response:
    """Show the notes below the form for a new one, which may have been filled in wrongly."""
    notebook: Notebook = request.state.notebook
    words = request.query_params.get("q", "")
    page = page_number(request.query_params.get("page", "1"))
    # One more than fits tells whether there is a next page.
    notes = await run_in_threadpool(notebook.find, words, PAGE_SIZE + 1, (page - 1) * PAGE_SIZE)
    context = {
        "notes": notes[:PAGE_SIZE],
        "words": words,
        "page": page,
        "has_next": len(notes) > PAGE_SIZE,
        "fields": fields,
        "problem": problem,
    }
    return templates.TemplateResponse(request, "index.html", context, status_code=status_code)


def page_number(text: str) -> int:
    """Return the number of a page; what makes no sense is the first one."""
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    return max(int(text), 1) if is_number else 1


async def show(request: Request) -> Response:
    notebook: Notebook = request.state.notebook
    note = await run_in_threadpool(notebook.get, request.path_params["note_id"])
    return templates.TemplateResponse(request, "note.html", {"note": note})


async def create(request: Request) -> Response:
    """Keep a note that was sent by the form, then show it."""
    notebook: Notebook = request.state.notebook
    async with request.form(max_files=1, max_fields=10) as form:
        title, text = text_field(form, "title"), text_field(form, "text")
        problem = what_is_wrong(title, text)
        if problem:
            fields = {"title": title, "text": text}
            return await list_notes(request, fields, problem, status_code=422)
        upload = form.get("attachment")
        if isinstance(upload, UploadFile) and upload.filename:
            # Only for the headers of a download: the file itself is kept under a number.
            name = upload.safe_filename
            note = await run_in_threadpool(notebook.add, title, text, name, upload.file)
            task = BackgroundTask(notebook.compute_digest, note.id)
        else:
            note = await run_in_threadpool(notebook.add, title, text)
            task = None
    # 303: the browser fetches the note, and reloading does not send the form again.
    url = request.url_for("note", note_id=note.id)
    return RedirectResponse(url, status_code=303, background=task)


def text_field(form: FormData, name: str) -> str:
    """Return a field's text; a missing one, or a file in its place, is empty."""
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def what_is_wrong(title: str, text: str) -> str | None:
    """Say what keeps a note from being one, or None."""
    if not title:
        return "A note needs a title."
    if len(title) > MAX_TITLE_LENGTH:
        return f"A title has at most {MAX_TITLE_LENGTH} characters, this one has {len(title)}."
    if not text:
        return "A note needs some text."
    try:
        (title + text).encode()
    except UnicodeEncodeError:  # JSON can spell halves of characters, which nothing can store
        return "A note consists of whole characters."
    return None


async def delete(request: Request) -> Response:
    notebook: Notebook = request.state.notebook
    await run_in_threadpool(notebook.delete, request.path_params["note_id"])
    return RedirectResponse(request.url_for("index"), status_code=303)


async def attachment(request: Request) -> Response:
    """Send the file that came with a note, to be saved under the name that it had."""
    notebook: Notebook = request.state.notebook
    note = await run_in_threadpool(notebook.get, request.path_params["note_id"])
    if note.file_name is None:
        raise HTTPException(404, "This note has no attachment.")
    # What strangers have uploaded must never be shown as a page of ours.
    headers = {"x-content-type-options": "nosniff"}
    path = notebook.attachment_path(note.id)
    return FileResponse(
        path, filename=note.file_name, media_type="application/octet-stream", headers=headers
    )


async def export(request: Request) -> Response:
    """Send all notes as a table. It is made while it is sent, so it may be of any length."""
    notebook: Notebook = request.state.notebook
    headers = {"content-disposition": 'attachment; filename="notes.csv"'}
    return StreamingResponse(csv_lines(notebook.export()), media_type="text/csv", headers=headers)


def csv_lines(notes: Iterator[Note]) -> Iterator[str]:
    """A generator that blocks is run in a thread, one line at a time."""
    yield csv_line("id", "created", "title", "text")
    for note in notes:
        yield csv_line(note.id, note.created, note.title, note.text)


def csv_line(*values: object) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue()


async def chat(request: Request) -> Response:
    return templates.TemplateResponse(request, "chat.html")
