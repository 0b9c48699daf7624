"""Send a file in chunks where the server can't open it by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spica.types import Send

CHUNK_SIZE = 64 * 1024
"""Bytes that are read at once."""


async def stream_file(path: str, send: Send) -> None:
    """Send the file at ``path`` as body messages, read in worker threads."""
    import anyio  # here: the server opens nearly every file itself

    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(CHUNK_SIZE):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
