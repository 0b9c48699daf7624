"""An event loop whose clock jumps to the next timer when nothing else is to be done."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing


class _JumpingSelector(selectors.SelectSelector):
    """A selector that never waits: it adds to the time what it should have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise RuntimeError("Nothing will ever happen any more.")
            self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop with a clock of its own."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_in_virtual_time(backend: str, function: Callable[[], Awaitable[Any]]) -> Any:
    """Run ``function`` where sleeping takes no time."""
    if backend == "trio":
        return trio.run(function, clock=trio.testing.MockClock(autojump_threshold=0))
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(function())  # type: ignore[arg-type]  # an async function makes a coroutine
