"""Static files for production, and uploads that arrive compressed.

``spica static build`` hashes the names of the files and compresses them. ``scripts/run`` calls it before the
server starts; without a build, for example in development, the same pages use the files as they are.
"""

import json
from pathlib import Path

from live.showcase import FRONT, Demo, templates
from live.state import DEBUG, DIRECTORY, HERE
from spica.middleware import Middleware
from spica.middleware.compression import DecompressionMiddleware
from spica.requests import Request
from spica.responses import JSONResponse, Response
from spica.routing import Route
from spica.staticfiles import StaticFiles

BUILT = DIRECTORY / "static"
MANIFEST = BUILT / "manifest.json"


def make_static() -> StaticFiles:
    """Return the files of the last build, or the source if there is none."""
    if DEBUG or not MANIFEST.exists():
        return StaticFiles(directory=HERE / "static")
    return StaticFiles(
        directory=BUILT,
        manifest="manifest.json",
        precompressed=["zstd", "br", "gzip"],
        # Several machines have equal files, and not equal times.
        etag="content",
    )


def sizes_of(name: str) -> dict[str, int]:
    """Return the bytes of a file and of its compressed siblings."""
    names = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    path = BUILT / names[name] if name in names else HERE / "static" / name
    siblings = {ending: Path(f"{path}.{ending}") for ending in ("gz", "br", "zst")}
    found = {ending: each.stat().st_size for ending, each in siblings.items() if each.exists()}
    return {"source": path.stat().st_size, **found}


def size_of_site() -> dict[str, int]:
    """Return the bytes of all files, as they are and as a browser gets them with Brotli."""
    sizes = [sizes_of(path.name) for path in (HERE / "static").iterdir()]
    sent = sum(each.get("br", each["source"]) for each in sizes)
    return {"files": len(sizes), "source": sum(each["source"] for each in sizes), "sent": sent}


async def upload(request: Request) -> Response:
    """Count the bytes of a body that the client may have compressed."""
    size = 0
    async for chunk in request.stream():  # decoded while it arrives, at most 64 KiB at once
        size += len(chunk)
    return JSONResponse({"size": size})


decoding = Middleware(DecompressionMiddleware)


def show(request: Request) -> Response:
    """Show the files of this page. It runs in a thread, because it reads from the disk."""
    names = ("style.css", "chat.js", "load.js", "files.js", "icon.svg")
    context = {
        "demo": page,
        "files": {name: sizes_of(name) for name in names},
        "site": size_of_site(),
        "is_built": MANIFEST.exists() and not DEBUG,
    }
    return templates.TemplateResponse(request, "files.html", context)


page = Demo(
    FRONT,
    __name__,
    "Static files",
    "Hashed names that browsers keep for a year, siblings compressed in advance, and compressed uploads.",
    ("make_static", "upload", "decoding"),
    "static-files",
)

routes = [
    Route("/files", show, name="files"),
    Route(
        "/files/upload",
        upload,
        methods=["POST"],
        name="upload",
        # The limit counts decoded bytes, so a small body cannot unpack to a large one.
        max_body_size=1024 * 1024,
        middleware=[decoding],
    ),
]
