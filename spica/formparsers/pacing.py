"""Hand the event loop back now and then while a large form is parsed."""

SLICE_SIZE = 64 * 1024
"""Bytes that are parsed in one go, without a look at anything else; less than some milliseconds."""

_CHUNK_COST = 256  # what a chunk costs beside its bytes, in bytes: tiny chunks are work too


class Pacer:
    """Count work, and tell when it is time to let others run."""

    __slots__ = ("_left", "_quantum")

    def __init__(self, quantum: int = 4 * SLICE_SIZE) -> None:
        self._quantum = self._left = quantum

    def is_due(self, size: int) -> bool:
        """Count `size` bytes of work to be done; True when `rest` should be awaited first."""
        self._left -= size + _CHUNK_COST
        return self._left <= 0

    async def rest(self) -> None:
        """Let other tasks run."""
        import anyio.lowlevel

        self._left = self._quantum
        await anyio.lowlevel.checkpoint()
