"""The app that sends and takes a gigabyte, for spica and for Starlette."""

import importlib
from collections.abc import AsyncIterator
from typing import Any

GIGABYTE = 1024**3
CHUNK = bytes(64 * 1024)


async def gigabyte() -> AsyncIterator[bytes]:
    for _ in range(GIGABYTE // len(CHUNK)):
        yield CHUNK


def transfer_app(package: str, application: str) -> Any:
    """Send and take a gigabyte, neither of which fits in the memory that is allowed."""
    applications = importlib.import_module(f"{package}.applications")
    responses = importlib.import_module(f"{package}.responses")
    routing = importlib.import_module(f"{package}.routing")

    async def download(request: Any) -> Any:
        return responses.StreamingResponse(gigabyte(), media_type="application/octet-stream")

    async def upload(request: Any) -> Any:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return responses.PlainTextResponse(str(size))

    async def spool(request: Any) -> Any:
        async with request.form() as form:
            return responses.PlainTextResponse(str(form["file"].size))

    routes = [
        routing.Route("/download", download),
        routing.Route("/upload", upload, methods=["POST"]),
        routing.Route("/spool", spool, methods=["POST"]),
    ]
    return getattr(applications, application)(routes=routes, max_body_size=2 * GIGABYTE)
