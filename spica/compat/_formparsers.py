"""Functions of ``starlette.formparsers`` that other packages import, though they are private there."""

from __future__ import annotations


def user_safe_decode(src: bytes | bytearray, codec: str) -> str:
    """Decode ``src``; as Latin-1, which fits any bytes, where the charset is unknown or does not fit."""
    try:
        return src.decode(codec)
    except (UnicodeDecodeError, LookupError):
        return src.decode("latin-1")
