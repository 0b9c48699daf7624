"""Two people edit one text. The second one gets a 412, and keeps what they have typed."""

import json
import secrets
from dataclasses import dataclass
from typing import Any

from live.showcase import SERVICE, Demo
from live.state import store
from spica.caching import conditional
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses import JSONResponse, Response
from spica.routing import Route

BEGINNING = {"text": "Spica is the brightest star in Virgo.", "version": 1}


@dataclass
class Draft:
    """A new text."""

    text: str


async def current() -> dict[str, Any]:
    """Return the text and its version."""
    saved = await store.get("article")
    return json.loads(saved) if saved else BEGINNING


def present(article: dict[str, Any]) -> Response:
    """Return the text, with its version as the tag."""
    return JSONResponse(article, headers={"etag": f'"{article["version"]}"'})


async def read(request: Request) -> Response:
    """Return the text, or a 304 to a browser that has this version."""
    return conditional(request, present(await current()))


async def save(request: Request) -> Response:
    """Save a draft, if it changes the version that its author has read."""
    if "if-match" not in request.headers:
        raise HTTPException(428, "Send If-Match with the version that you have read.")
    draft = await request.read(Draft)
    # One writer at a time, on all workers. With a database: UPDATE ... WHERE version = ...
    writer = secrets.token_hex(8)
    if not await store.acquire("article:writer", writer, seconds=5):
        raise HTTPException(503, "Somebody saves right now. Try again.", {"retry-after": "1"})
    try:
        article = await current()
        unchanged = present(article)
        answer = conditional(request, unchanged)
        if answer is not unchanged:
            return answer  # 412: another version is there
        article = {"text": draft.text[:500], "version": article["version"] + 1}
        await store.set("article", json.dumps(article).encode(), seconds=3600)
        return present(article)
    finally:
        await store.release("article:writer", writer)


page = Demo(
    SERVICE,
    __name__,
    "An edit conflict",
    "Two editors, one text: the second save is refused instead of overwriting the first one.",
    ("present", "read", "save"),
    "caching",
)

routes = [
    Route("/editing", page.show, name="editing"),
    Route("/editing/article", read, name="article"),
    Route("/editing/article", save, methods=["PUT"]),
]
