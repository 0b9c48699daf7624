"""Put the chunks of a body together, at a cost that is linear in its size, however small they are."""

from __future__ import annotations

SMALL_SIZE = 512
"""Bytes of a chunk below which it is copied at once: as an object of its own, one of two bytes would take
some thirty times its size in memory."""


class Gathering:
    """Chunks that are joined in the end, and how many bytes they are."""

    __slots__ = ("_parts", "_small", "size")

    def __init__(self) -> None:
        self._parts: list[bytes | bytearray] = []
        self._small: bytearray | None = None  # the last part, where small chunks go
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Take the next chunk."""
        self.size += len(chunk)
        if len(chunk) >= SMALL_SIZE:
            self._small = None
            self._parts.append(chunk)
        elif self._small is not None:
            self._small += chunk
        else:
            self._small = bytearray(chunk)
            self._parts.append(self._small)

    def join(self) -> bytes:
        """Return them as one."""
        return b"".join(self._parts)
