"""The pages: a list of demos, and the code that each page shows next to its demo."""

import ast
import os
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from live.highlight import highlight
from live.state import CONTROLS, HERE, STORE
from spica.requests import Request
from spica.responses import Response
from spica.templating import Jinja2Templates

GROUPS = ("Live pages, shared state", "In front of your code", "Running a service")
LIVE, FRONT, SERVICE = GROUPS

STORES = {"sqlite": "SQLite", "postgresql": "Postgres", "postgres": "Postgres"}

HELLO = """\
from spica import JSONResponse, Request, Response, Spica

app = Spica()


@app.get("/hello/{name}")
async def hello(request: Request) -> Response:
    return JSONResponse({"hello": request.path_params["name"]})
"""


def about_worker(request: Request) -> dict[str, Any]:
    """Return what every template may show: the demos, and the worker that has answered."""
    return {
        "demos": DEMOS,
        "groups": [(group, [demo for demo in DEMOS if demo.group == group]) for group in GROUPS],
        "worker": os.getpid(),
        "backend": backend_name(STORE),
        "controls": CONTROLS,
        "user": request.session.get("user"),
    }


def backend_name(url: str) -> str:
    """Return the name of the store at a URL, for people."""
    scheme = url.partition(":")[0]
    return STORES.get(scheme, scheme.capitalize())


def format_time(seconds: float) -> str:
    """Return a time since the epoch as hours and minutes."""
    return time.strftime("%H:%M", time.localtime(seconds))


templates = Jinja2Templates(HERE / "templates", context_processors=[about_worker])
templates.env.filters["time"] = format_time


@dataclass(frozen=True)
class Demo:
    """One page of the showcase.

    Args:
        group: the heading under which the front page lists it.
        module: the module of the page.
        title: the heading of the page.
        summary: one sentence for the front page.
        code: the names of the module whose source the page shows.
        guide: the page of the guide that explains it.
    """

    group: str
    module: str
    title: str
    summary: str
    code: tuple[str, ...]
    guide: str

    @property
    def name(self) -> str:
        """The name of the page's route and template: that of its module."""
        return self.module.rpartition(".")[2]

    @cached_property
    def file(self) -> Path:
        """The file of the module."""
        return Path(str(sys.modules[self.module].__file__))

    @cached_property
    def lines(self) -> int:
        """The number of lines of the file."""
        return len(self.file.read_text("utf-8").splitlines())

    @cached_property
    def source(self) -> Markup:
        """The code, as it is in the file."""
        found = read_source(self.file.read_text("utf-8"))
        return highlight("\n\n\n".join(found[name] for name in self.code))

    async def show(self, request: Request) -> Response:
        """Show the page of the demo."""
        return templates.TemplateResponse(request, f"{self.name}.html", {"demo": self})


DEMOS: list[Demo] = []
"""The pages, in the order of the menu. ``live.app`` fills it."""


def read_source(text: str) -> dict[str, str]:
    """Return the source of each name that a module defines, with its decorators."""
    lines = text.splitlines()
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            begin = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            found[node.name] = "\n".join(lines[begin - 1 : node.end_lineno])
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = "\n".join(lines[node.lineno - 1 : node.end_lineno])
    return found


async def index(request: Request) -> Response:
    """Show the front page."""
    return templates.TemplateResponse(request, "index.html", {"hello": highlight(HELLO)})
