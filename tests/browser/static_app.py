"""A built site with hashed names and compressed siblings, for ``test_static_files.py``."""

import os

from spica.applications import Spica
from spica.responses import HTMLResponse
from spica.routing import Mount, Route
from spica.staticfiles import StaticFiles

files = StaticFiles(
    directory=os.environ["BUILT"], manifest="manifest.json", precompressed=["zstd", "br", "gzip"]
)
site = StaticFiles(directory=os.environ["BUILT"], fallback="index.html")


async def page(request):
    return HTMLResponse(
        "<!doctype html><title>waiting</title><link rel='icon' href='data:,'>"
        f"<link rel='stylesheet' href='{request.url_for('static', path='site.css')}'>"
        f"<script src='{request.url_for('static', path='app.js')}'></script><p>text</p>"
    )


app = Spica(
    routes=[
        Route("/page", page),
        Mount("/static", files, name="static"),
        Mount("/", site),
    ]
)
