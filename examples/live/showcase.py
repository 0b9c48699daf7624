"""The pages: a list of demos, and the code that each page shows next to its demo."""

import inspect
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from live.state import CONTROLS, HERE, STORE
from spica.requests import Request
from spica.responses import Response
from spica.templating import Jinja2Templates


def about_worker(request: Request) -> dict[str, Any]:
    """Return what every template may show: the demos, and the worker that has answered."""
    return {
        "demos": DEMOS,
        "worker": os.getpid(),
        "backend": STORE.partition(":")[0],
        "controls": CONTROLS,
        "user": request.session.get("user"),
    }


def format_time(seconds: float) -> str:
    """Return a time since the epoch as hours and minutes."""
    return time.strftime("%H:%M", time.localtime(seconds))


templates = Jinja2Templates(HERE / "templates", context_processors=[about_worker])
templates.env.filters["time"] = format_time


@dataclass(frozen=True)
class Demo:
    """One page of the showcase.

    Args:
        name: the name of its route and its template.
        title: the heading.
        summary: one sentence for the front page.
        code: the functions whose source the page shows.
    """

    name: str
    title: str
    summary: str
    code: tuple[Callable[..., Any], ...] = field(default=(), repr=False)

    @property
    def source(self) -> str:
        """The code, as it is in the file."""
        return "\n\n".join(inspect.getsource(function).rstrip() for function in self.code)

    async def show(self, request: Request) -> Response:
        """Show the page of the demo."""
        return templates.TemplateResponse(request, f"{self.name}.html", {"demo": self})


DEMOS: list[Demo] = []


def add_demo(name: str, title: str, summary: str, *code: Callable[..., Any]) -> Demo:
    """Add a demo to the list, in the order of the imports of ``live.app``."""
    demo = Demo(name, title, summary, code)
    DEMOS.append(demo)
    return demo


async def index(request: Request) -> Response:
    """Show the front page."""
    return templates.TemplateResponse(request, "index.html")
