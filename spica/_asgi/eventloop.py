"""Which event loop runs: asyncio's, whose fast ways may be taken, or another.

asyncio is never imported for the question: where it was not imported, it does not run.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


def running_asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """Return the asyncio loop that runs in this thread; None where it is another, or none."""
    module = sys.modules.get("asyncio")
    if module is None:
        return None
    try:
        loop: asyncio.AbstractEventLoop = module.get_running_loop()
    except RuntimeError:
        return None
    return loop
