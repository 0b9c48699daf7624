"""The page "From socket to endpoint" names files and functions of the code, and the files of a connection.

If a test fails because you have renamed or moved something, change docs/guide/walk.md.
"""

import ast
import contextlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import anyio
import pytest

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.responses import PlainTextResponse
from spica.routing import Mount, Route, WebSocketRoute

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guide" / "walk.md").read_text("utf-8")
ROW = re.compile(r"^\| \d \| `(spica/[\w/]+\.py)` \| `([\w.]+)` \|", re.MULTILINE)
SECTIONS = dict(section.split("\n", 1) for section in PAGE.split("\n## ")[1:])
MAX_FILES = 14


def functions_in(file: str) -> set[str]:
    """Return the functions and methods that a file defines, as `name` or `Class.name`."""
    names = set()
    for node in ast.parse((ROOT / file).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = (ast.FunctionDef, ast.AsyncFunctionDef)
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, methods)}
    return names


@pytest.mark.parametrize(("file", "function"), sorted(set(ROW.findall(PAGE))))
def test_a_row_names_a_function_of_its_file(file, function):
    assert function in functions_in(file), "Change docs/guide/walk.md."


def test_every_file_on_the_page_exists():
    files = re.findall(r"spica/[\w/]+\.py", PAGE)

    assert [file for file in files if not (ROOT / file).exists()] == []


async def hello(request):
    return PlainTextResponse("hello")


async def broken(request):
    raise KeyError


async def answer_key_error(request, exc):
    return PlainTextResponse("handled", status_code=404)


async def echo_form(request):
    async with request.form() as form:
        return PlainTextResponse(form["a"])


async def echo(websocket):
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


async def foreign(scope, receive, send):
    await PlainTextResponse("foreign")(scope, receive, send)


class Pass(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        return await call_next(request)


FORM = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n'
HTTP = {
    "type": "http",
    "method": "GET",
    "path": "/",
    "query_string": b"",
    "headers": [(b"content-type", b"multipart/form-data; boundary=b")],
}
BODY = [{"type": "http.request", "body": FORM}]
FRAMES = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "a"}]


def files_entered(app, scope, messages) -> set[str]:
    """Return the files of spica that a second connection to the application enters."""
    entered: set[str] = set()

    def note(frame: FrameType, event: str, arg: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(ROOT / "spica"):
            entered.add(str(file.relative_to(ROOT)))

    async def connect() -> None:
        waiting = iter(messages)

        async def receive():
            return next(waiting, {"type": "http.disconnect"})

        async def send(message):
            pass

        with contextlib.suppress(KeyError):  # the server gets an unhandled error
            await app(dict(scope), receive, send)

    async def connect_twice() -> None:
        await connect()  # builds the stack and the index
        before: Callable[..., object] | None = sys.getprofile()
        sys.setprofile(note)
        try:
            await connect()
        finally:
            sys.setprofile(before)

    anyio.run(connect_twice)
    return entered


def files_of(*sections: str) -> set[str]:
    return {file for section in sections for file, _ in ROW.findall(SECTIONS[section])}


def test_a_plain_get_enters_only_files_of_its_table():
    app = Spica(routes=[Route("/", hello)], middleware=[Middleware(Pass)])

    listed = files_of("A plain GET")
    assert files_entered(app, HTTP, BODY) <= listed
    assert len(listed) <= MAX_FILES


def test_a_get_without_middleware_enters_seven_files():
    assert len(files_entered(Spica(routes=[Route("/", hello)]), HTTP, BODY)) == 7


@pytest.mark.parametrize(
    ("section", "app", "scope", "messages"),
    [
        (
            "A form upload",
            Spica(routes=[Route("/", echo_form, methods=["POST"])]),
            {**HTTP, "method": "POST"},
            BODY,
        ),
        (
            "A dispatch middleware around a foreign app",
            Spica(routes=[Mount("/", foreign)], middleware=[Middleware(Pass)]),
            HTTP,
            BODY,
        ),
        (
            "A WebSocket",
            Spica(routes=[WebSocketRoute("/", echo)]),
            {**HTTP, "type": "websocket"},
            FRAMES,
        ),
    ],
    ids=["form", "foreign app", "WebSocket"],
)
def test_a_connection_enters_the_files_of_its_table(section, app, scope, messages):
    assert files_of(section) - files_entered(app, scope, messages) == set()


def test_a_handled_and_an_unhandled_error_enter_the_files_of_their_table():
    app = Spica(
        routes=[Route("/", broken)],
        middleware=[Middleware(CORSMiddleware, allow_origins="*")],
    )
    handled = Spica(routes=[Route("/", broken)], exception_handlers={KeyError: answer_key_error})
    from_another_origin = {**HTTP, "headers": [(b"origin", b"https://example.org")]}

    entered = files_entered(app, from_another_origin, BODY) | files_entered(handled, HTTP, BODY)

    assert files_of("An error") - entered == set()
